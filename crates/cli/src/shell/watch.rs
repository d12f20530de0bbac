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

#[cfg(test)]
mod tests {
    use super::*;

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
