//! Modes that measure a server over time: `--stat`, `--latency`, `--latency-history`,
//! `--intrinsic-latency`.

use std::time::{Duration, Instant};

use super::answer::Answer;
use super::options::{Form, Mode, Options};
use super::session::emit;
use super::tool::{Failure, Tool};

/// Pause between two PINGs, as redis-cli has it.
const BETWEEN_SAMPLES: Duration = Duration::from_millis(10);

fn interval(options: &Options, otherwise: f64) -> Duration {
    let seconds = if options.interval > 0.0 { options.interval } else { otherwise };
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::from_secs(1))
}

/// The number behind `name:` in the text of INFO.
fn field(info: &str, name: &str) -> i64 {
    info.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or(0)
}

/// Keys of all databases.
fn keys(info: &str) -> i64 {
    info.lines()
        .filter(|line| line.starts_with("db"))
        .filter_map(|line| line.split_once(":keys=")?.1.split(',').next()?.parse::<i64>().ok())
        .fold(0, i64::saturating_add)
}

/// A size in the unit that keeps it short.
fn human(bytes: i64) -> String {
    let bytes = bytes.max(0) as f64;
    let units = ["K", "M", "G", "T", "P"];
    if bytes < 1024.0 {
        return format!("{bytes}B");
    }
    let mut size = bytes / 1024.0;
    for unit in units {
        if size < 1024.0 || unit == "P" {
            return format!("{size:.2}{unit}");
        }
        size /= 1024.0;
    }
    String::new()
}

/// `--stat`: a line about the server again and again.
pub fn stat(options: &Options) -> Result<(), Failure> {
    let mut tool = Tool::connect(options)?;
    let pause = interval(options, 1.0);
    let (mut before, mut line) = (0_i64, 0_u64);
    loop {
        let info = match tool.ask(&[b"INFO"])? {
            Answer::Error(text) => {
                return Err(Failure(format!("ERROR: {}", String::from_utf8_lossy(&text))));
            }
            answer => String::from_utf8_lossy(answer.text().unwrap_or_default()).into_owned(),
        };
        let mut text = String::new();
        if line.is_multiple_of(20) {
            text += "------- data ------ --------------------- load -------------------- - child -\n\
                     keys       mem      clients blocked requests            connections          \n";
        }
        line += 1;
        let requests = field(&info, "total_commands_processed");
        let gained = if before == 0 { 0 } else { requests.saturating_sub(before) };
        before = requests;
        let children =
            [("rdb_bgsave_in_progress", 1), ("aof_rewrite_in_progress", 2), ("loading", 4)];
        let children: i64 =
            children.iter().map(|(name, bit)| if field(&info, name) != 0 { *bit } else { 0 }).sum();
        text += &format!(
            "{:<11}{:<8} {:<8}{:<8}{:<19} {:<12}{}\n",
            keys(&info),
            human(field(&info, "used_memory")),
            field(&info, "connected_clients"),
            field(&info, "blocked_clients"),
            format!("{requests} (+{gained})"),
            field(&info, "total_connections_received"),
            match children {
                0 => "",
                1 => "SAVE",
                2 => "AOF",
                3 => "SAVE+AOF",
                _ => "LOAD",
            }
        );
        emit(text.as_bytes())?;
        std::thread::sleep(pause);
    }
}

/// `--latency` and `--latency-history`. For programs (`--raw`, `--csv`, no terminal) there is one
/// result after the interval; for people the numbers move.
pub fn latency(options: &Options) -> Result<(), Failure> {
    use std::io::IsTerminal;
    let history = options.mode == Some(Mode::LatencyHistory);
    let length = interval(options, if history { 15.0 } else { 1.0 });
    let raw = options.raw.unwrap_or(!std::io::stdout().is_terminal());
    let mut tool = Tool::connect(options)?;
    let (mut least, mut most, mut sum, mut count) = (u64::MAX, 0_u64, 0_u64, 0_u64);
    let mut began = Instant::now();
    loop {
        let asked = Instant::now();
        if let Answer::Error(text) = tool.ask(&[b"PING"])? {
            return Err(Failure(format!("Error: {}", String::from_utf8_lossy(&text))));
        }
        let took = asked.elapsed().as_millis() as u64;
        (least, most) = (least.min(took), most.max(took));
        sum = sum.saturating_add(took);
        count += 1;
        let average = sum as f64 / count as f64;
        let over = began.elapsed() > length;
        let program = raw || options.form.is_some();
        if program && (history || over) {
            let comma = if options.form == Some(Form::Csv) { ',' } else { ' ' };
            let line = format!("{least}{comma}{most}{comma}{average:.2}{comma}{count}\n");
            emit(line.as_bytes())?;
            if !history {
                return Ok(());
            }
        } else if !program {
            let line = format!(
                "\x1b[0G\x1b[2Kmin: {least}, max: {most}, avg: {average:.2} ({count} samples)"
            );
            emit(line.as_bytes())?;
        }
        if history && over {
            let range = began.elapsed().as_secs_f64();
            emit(format!(" -- {range:.2} seconds range\n").as_bytes())?;
            (least, most, sum, count) = (u64::MAX, 0, 0, 0);
            began = Instant::now();
        }
        std::thread::sleep(BETWEEN_SAMPLES);
    }
}

/// A piece of work that takes well below a microsecond.
fn busy(seed: u64) -> u64 {
    let mut state = seed | 1;
    for _ in 0..40 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).rotate_left(23) ^ seed;
    }
    state
}

/// `--intrinsic-latency`: how long this machine keeps a busy process waiting, without any server.
pub fn intrinsic(seconds: u64) -> Result<(), Failure> {
    let began = Instant::now();
    let length = Duration::from_secs(seconds);
    let (mut worst, mut runs, mut state, mut last) = (0_u128, 0_u64, 1_u64, began);
    loop {
        state = std::hint::black_box(busy(state));
        let now = Instant::now();
        let took = now.duration_since(last).as_nanos();
        last = now;
        runs += 1;
        if took / 1000 > worst / 1000 {
            let line = format!("Max latency so far: {} microseconds.\n", took / 1000);
            emit(line.as_bytes())?;
        }
        worst = worst.max(took);
        if now.duration_since(began) > length {
            break;
        }
    }
    let average = began.elapsed().as_nanos() as f64 / runs as f64;
    let text = format!(
        "\n{runs} total runs (avg latency: {:.4} microseconds / {average:.2} nanoseconds per run).\n\
         Worst run took {:.0}x longer than the average latency.\n",
        average / 1000.0,
        worst as f64 / average
    );
    Ok(emit(text.as_bytes())?)
}

/// Classes of `--latency-dist`: the longest time in microseconds, and the sign.
const CLASSES: [(u64, char); 30] = [
    (10, '.'),
    (125, '-'),
    (250, '*'),
    (500, '#'),
    (1_000, '1'),
    (2_000, '2'),
    (3_000, '3'),
    (4_000, '4'),
    (5_000, '5'),
    (6_000, '6'),
    (7_000, '7'),
    (8_000, '8'),
    (9_000, '9'),
    (10_000, 'A'),
    (20_000, 'B'),
    (30_000, 'C'),
    (40_000, 'D'),
    (50_000, 'E'),
    (100_000, 'F'),
    (200_000, 'G'),
    (300_000, 'H'),
    (400_000, 'I'),
    (500_000, 'J'),
    (1_000_000, 'K'),
    (2_000_000, 'L'),
    (4_000_000, 'M'),
    (8_000_000, 'N'),
    (16_000_000, 'O'),
    (30_000_000, 'P'),
    (60_000_000, 'Q'),
];
/// The sign of all that took longer.
const LONGEST: char = '?';
/// Colours of a terminal with 256 of them, from nothing to everything.
const SPECTRUM: [u8; 19] =
    [0, 233, 234, 235, 237, 239, 241, 243, 245, 247, 144, 143, 142, 184, 226, 214, 208, 202, 196];
/// The same in shades of grey.
const GREY: [u8; 13] = [0, 233, 234, 235, 237, 239, 241, 243, 245, 247, 249, 251, 253];
const LEGEND_EVERY: u32 = 20;

/// `--latency-dist`: a line of coloured signs for each second, one sign for each class of times.
pub fn latency_dist(options: &Options) -> Result<(), Failure> {
    let length = interval(options, 1.0);
    let palette: &[u8] = if std::env::var_os("NO_COLOR").is_some() { &GREY } else { &SPECTRUM };
    let mut tool = Tool::connect(options)?;
    let mut lines = 0_u32;
    loop {
        let mut counts = [0_u64; CLASSES.len() + 1];
        let began = Instant::now();
        while began.elapsed() < length {
            let asked = Instant::now();
            if let Answer::Error(text) = tool.ask(&[b"PING"])? {
                return Err(Failure(format!("Error: {}", String::from_utf8_lossy(&text))));
            }
            let took = asked.elapsed().as_micros() as u64;
            counts[CLASSES.iter().position(|(most, _)| took <= *most).unwrap_or(CLASSES.len())] +=
                1;
        }
        if lines.is_multiple_of(LEGEND_EVERY) {
            emit(legend(palette).as_bytes())?;
        }
        lines = lines.wrapping_add(1);
        emit(spectrum_line(&counts, palette).as_bytes())?;
    }
}

fn legend(palette: &[u8]) -> String {
    let rule = "-".repeat(45);
    let shades: String = palette.iter().map(|colour| format!("\x1b[48;5;{colour}m ")).collect();
    format!(
        "{rule}\n\
         . - * #          .01 .125 .25 .5 milliseconds\n\
         1,2,3,...,9      from 1 to 9     milliseconds\n\
         A,B,C,D,E        10,20,30,40,50  milliseconds\n\
         F,G,H,I,J        .1,.2,.3,.4,.5       seconds\n\
         K,L,M,N,O,P,Q,?  1,2,4,8,16,30,60,>60 seconds\n\
         From 0 to 100%: {shades}\x1b[0m\n{rule}\n"
    )
}

fn spectrum_line(counts: &[u64], palette: &[u8]) -> String {
    let total: u64 = counts.iter().sum();
    let mut line = String::from("\x1b[38;5;0m");
    let signs = CLASSES.iter().map(|(_, sign)| *sign).chain([LONGEST]);
    for (sign, count) in signs.zip(counts) {
        let share = *count as f64 / total.max(1) as f64;
        // Whatever has happened at all is not black.
        let shade = (share * (palette.len() - 1) as f64).ceil() as usize;
        let colour = palette[shade.min(palette.len() - 1)];
        line.push_str(&format!("\x1b[48;5;{colour}m{sign}"));
    }
    line + "\x1b[0m\n"
}

/// Requests of `--lru-test` that are sent together.
const LRU_PIPELINE: u64 = 250;

/// `--lru-test`: reads keys as a cache is read, a fifth of them in four of five reads, sets those
/// that are not there, and tells each second how many were.
pub fn lru_test(options: &Options, keys: u64) -> Result<(), Failure> {
    let mut tool = Tool::connect(options)?;
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let mut rng = stdx::Prng::new(seed.map_or(1, |time| time.as_nanos() as u64));
    loop {
        let began = Instant::now();
        let (mut hits, mut misses) = (0_u64, 0_u64);
        while began.elapsed() < Duration::from_secs(1) {
            let names: Vec<String> = (0..LRU_PIPELINE)
                .map(|_| format!("lru:{}", often_the_first(&mut rng, keys)))
                .collect();
            names.iter().try_for_each(|name| tool.send(&[b"GET", name.as_bytes()]))?;
            let mut absent = Vec::new();
            for name in &names {
                match tool.receive()? {
                    Answer::Nil => absent.push(name),
                    Answer::Error(text) => return Err(lru_failure(&text)),
                    _ => hits += 1,
                }
            }
            misses += absent.len() as u64;
            absent.iter().try_for_each(|name| tool.send(&[b"SET", name.as_bytes(), b"val"]))?;
            for _ in &absent {
                if let Answer::Error(text) = tool.receive()? {
                    return Err(lru_failure(&text));
                }
            }
        }
        let gets = hits + misses;
        let percent = |part: u64| part as f64 * 100.0 / gets.max(1) as f64;
        let line = format!(
            "{gets} Gets/sec | Hits: {hits} ({:.2}%) | Misses: {misses} ({:.2}%)\n",
            percent(hits),
            percent(misses)
        );
        emit(line.as_bytes())?;
    }
}

fn lru_failure(text: &[u8]) -> Failure {
    Failure(format!("Error: {}", String::from_utf8_lossy(text)))
}

/// One of the first fifth of the numbers below `keys` in four of five cases, and so on among them.
fn often_the_first(rng: &mut stdx::Prng, keys: u64) -> u64 {
    let mut below = keys.max(1);
    while below > 1 && rng.below(5) < 4 {
        let first = (below / 5).max(1);
        if rng.below(2) == 0 || first == below {
            return rng.below(first);
        }
        below = first;
    }
    rng.below(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spectrum() {
        let mut counts = [0; CLASSES.len() + 1];
        (counts[1], counts[30]) = (99, 1);
        let line = spectrum_line(&counts, &SPECTRUM);
        assert!(line.contains("\x1b[48;5;0m.\x1b[48;5;196m-\x1b[48;5;0m*"), "{line:?}");
        assert!(line.ends_with("\x1b[48;5;233m?\x1b[0m\n"), "{line:?}");
        assert!(CLASSES.is_sorted());
        assert_eq!(spectrum_line(&[0; 31], &GREY).matches(";0m").count(), 32);
    }

    #[test]
    fn most_reads_are_of_few_keys() {
        let mut rng = stdx::Prng::new(7);
        let first = (0..10_000).filter(|_| often_the_first(&mut rng, 1000) < 200).count();
        assert!((7500..9500).contains(&first), "{first}");
        assert!((0..100).all(|_| often_the_first(&mut rng, 1) == 0));
        assert_eq!(often_the_first(&mut rng, 0), 0);
    }

    #[test]
    fn info_is_read() {
        let info =
            "# Keyspace\r\nused_memory:123\r\ndb0:keys=5,expires=0\r\ndb3:keys=7,expires=1\r\n";
        assert_eq!((keys(info), field(info, "used_memory"), field(info, "used")), (12, 123, 0));
        assert_eq!(human(1023), "1023B");
        assert_eq!(human(1536), "1.50K");
        assert_eq!(human(5 << 20), "5.00M");
    }
}
