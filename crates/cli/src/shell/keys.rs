//! Modes that walk over all keys: `--scan`, `--bigkeys`, `--memkeys`, `--hotkeys`.

use std::time::Duration;

use super::answer::Answer;
use super::options::{Mode, Options};
use super::session::emit;
use super::tool::{Failure, Tool, scan};

/// A type of value, in the order of redis-cli's summary.
struct Kind {
    name: &'static str,
    /// The command that tells its size.
    size: &'static [u8],
    unit: &'static str,
    count: u64,
    total: u64,
    biggest: u64,
    biggest_key: Option<Vec<u8>>,
}

const fn kind(name: &'static str, size: &'static [u8], unit: &'static str) -> Kind {
    Kind { name, size, unit, count: 0, total: 0, biggest: 0, biggest_key: None }
}

fn kinds() -> Vec<Kind> {
    vec![
        kind("list", b"LLEN", "items"),
        kind("hash", b"HLEN", "fields"),
        kind("string", b"STRLEN", "bytes"),
        kind("stream", b"XLEN", "entries"),
        kind("set", b"SCARD", "members"),
        kind("zset", b"ZCARD", "members"),
    ]
}

fn rest(options: &Options) {
    if let Ok(pause) = Duration::try_from_secs_f64(options.interval) {
        std::thread::sleep(pause);
    }
}

/// `--scan`: the keys, one a line.
pub fn list(options: &Options, standard: bool) -> Result<(), Failure> {
    let mut tool = Tool::connect(options)?;
    let mut cursor = b"0".to_vec();
    loop {
        let (next, keys) = scan(&mut tool, options, &cursor)?;
        let mut lines = Vec::new();
        for key in keys {
            if standard {
                lines.extend_from_slice(resp::quote(&key).as_bytes());
            } else {
                lines.extend_from_slice(&key);
            }
            lines.push(b'\n');
        }
        emit(&lines)?;
        cursor = next;
        if cursor == b"0" {
            return Ok(());
        }
        rest(options);
    }
}

/// Replies of as many commands as `commands` holds, sent at once.
fn ask_all(tool: &mut Tool, commands: &[Vec<&[u8]>]) -> Result<Vec<Answer>, Failure> {
    for words in commands {
        tool.send(words)?;
    }
    commands.iter().map(|_| tool.receive()).collect()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

fn say(text: String) -> Result<(), Failure> {
    Ok(emit(text.as_bytes())?)
}

fn head(adjective: &str) -> Result<(), Failure> {
    say(format!(
        "\n# Scanning the entire keyspace to find {adjective} keys as well as\n\
         # average sizes per key type.  You can use -i 0.1 to sleep 0.1 sec\n\
         # per 100 SCAN commands (not usually needed).\n\n"
    ))
}

fn db_size(tool: &mut Tool) -> Result<u64, Failure> {
    match tool.ask(&[b"DBSIZE"])? {
        Answer::Integer(size) => Ok(size.max(0).unsigned_abs()),
        Answer::Error(text) => Err(Failure(format!(
            "Couldn't determine DBSIZE! Error: {}",
            String::from_utf8_lossy(&text)
        ))),
        _ => Err(Failure("Non INTEGER response from DBSIZE!".into())),
    }
}

/// `--bigkeys` and `--memkeys`: the biggest value of each type, by elements or by memory.
pub fn big(options: &Options) -> Result<(), Failure> {
    let by_memory = options.mode == Some(Mode::MemKeys);
    let mut tool = Tool::connect(options)?;
    head("biggest")?;
    let whole = db_size(&mut tool)?;
    let (mut kinds, mut cursor) = (kinds(), b"0".to_vec());
    let (mut sampled, mut key_bytes, mut rounds) = (0_u64, 0_u64, 0_u64);
    loop {
        let (next, keys) = scan(&mut tool, options, &cursor)?;
        let percent = share(sampled, whole);
        let commands: Vec<_> = keys.iter().map(|key| vec![&b"TYPE"[..], key]).collect();
        let types = ask_all(&mut tool, &commands)?;
        let of_keys: Vec<Option<usize>> = types
            .iter()
            .map(|reply| {
                let name = reply.text().unwrap_or_default();
                kinds.iter().position(|kind| kind.name.as_bytes() == name)
            })
            .collect();
        let samples = options.memkeys_samples.to_string();
        let mut commands = Vec::new();
        for (key, at) in keys.iter().zip(&of_keys) {
            let Some(at) = at else { continue };
            commands.push(if !by_memory {
                vec![kinds[*at].size, key]
            } else if options.memkeys_samples == 0 {
                vec![&b"MEMORY"[..], b"USAGE", key]
            } else {
                vec![&b"MEMORY"[..], b"USAGE", key, b"SAMPLES", samples.as_bytes()]
            });
        }
        let mut sizes = ask_all(&mut tool, &commands)?.into_iter();
        for (key, at) in keys.iter().zip(&of_keys) {
            sampled += 1;
            key_bytes += key.len() as u64;
            let Some(at) = at else { continue };
            // A key that has gone or changed since counts nothing.
            let size = match sizes.next() {
                Some(Answer::Integer(size)) => size.max(0).unsigned_abs(),
                _ => 0,
            };
            note(&mut kinds[*at], key, size, by_memory, percent)?;
        }
        if sampled / 1_000_000 != (sampled - keys.len() as u64) / 1_000_000 {
            say(format!("[{percent:05.2}%] Sampled {sampled} keys so far\n"))?;
        }
        cursor = next;
        if cursor == b"0" {
            break;
        }
        rounds += 1;
        if rounds.is_multiple_of(100) {
            rest(options);
        }
    }
    summary(&kinds, sampled, key_bytes, by_memory)
}

fn unit(kind: &Kind, by_memory: bool) -> &'static str {
    if by_memory { "bytes" } else { kind.unit }
}

fn note(
    kind: &mut Kind,
    key: &[u8],
    size: u64,
    by_memory: bool,
    percent: f64,
) -> Result<(), Failure> {
    kind.count += 1;
    kind.total = kind.total.saturating_add(size);
    if size <= kind.biggest {
        return Ok(());
    }
    (kind.biggest, kind.biggest_key) = (size, Some(key.to_vec()));
    say(format!(
        "[{percent:05.2}%] Biggest {:<6} found so far '{}' with {size} {}\n",
        kind.name,
        resp::quote(key),
        unit(kind, by_memory)
    ))
}

fn summary(kinds: &[Kind], sampled: u64, key_bytes: u64, by_memory: bool) -> Result<(), Failure> {
    let average = if sampled == 0 { 0.0 } else { key_bytes as f64 / sampled as f64 };
    let mut text = format!(
        "\n-------- summary -------\n\nSampled {sampled} keys in the keyspace!\n\
         Total key length in bytes is {key_bytes} (avg len {average:.2})\n\n"
    );
    for kind in kinds {
        if let Some(key) = &kind.biggest_key {
            let (name, unit, key) = (kind.name, unit(kind, by_memory), resp::quote(key));
            text += &format!("Biggest {name:>6} found '{key}' has {} {unit}\n", kind.biggest);
        }
    }
    text.push('\n');
    for kind in kinds {
        let average = if kind.count == 0 { 0.0 } else { kind.total as f64 / kind.count as f64 };
        text += &format!(
            "{} {}s with {} {} ({:05.2}% of keys, avg size {average:.2})\n",
            kind.count,
            kind.name,
            kind.total,
            unit(kind, by_memory),
            share(kind.count, sampled),
        );
    }
    say(text)
}

/// How many hot keys are kept.
const HOT_KEYS: usize = 16;

/// `--hotkeys`: the keys with the highest LFU counters.
pub fn hot(options: &Options) -> Result<(), Failure> {
    let mut tool = Tool::connect(options)?;
    head("hot")?;
    let whole = db_size(&mut tool)?;
    let (mut cursor, mut sampled, mut rounds) = (b"0".to_vec(), 0_u64, 0_u64);
    // Rising counters; among equals the one found first is the hotter.
    let mut hottest: Vec<(i64, Vec<u8>)> = Vec::new();
    loop {
        let (next, keys) = scan(&mut tool, options, &cursor)?;
        let percent = share(sampled, whole);
        let commands: Vec<_> = keys.iter().map(|key| vec![&b"OBJECT"[..], b"FREQ", key]).collect();
        for (key, reply) in keys.iter().zip(ask_all(&mut tool, &commands)?) {
            sampled += 1;
            let counter = match reply {
                Answer::Integer(counter) => counter,
                Answer::Error(text) => {
                    return Err(Failure(format!("Error: {}", String::from_utf8_lossy(&text))));
                }
                _ => 0,
            };
            if counter == 0 || (hottest.len() == HOT_KEYS && hottest[0].0 > counter) {
                continue;
            }
            let at = hottest.partition_point(|(other, _)| *other < counter);
            hottest.insert(at, (counter, key.clone()));
            if hottest.len() > HOT_KEYS {
                hottest.remove(0);
            }
            let key = resp::quote(key);
            say(format!(
                "[{percent:05.2}%] Hot key '{key}' found so far with counter {counter}\n"
            ))?;
        }
        cursor = next;
        if cursor == b"0" {
            break;
        }
        rounds += 1;
        if rounds.is_multiple_of(100) {
            rest(options);
        }
    }
    let mut text =
        format!("\n-------- summary -------\n\nSampled {sampled} keys in the keyspace!\n");
    for (counter, key) in hottest.iter().rev() {
        text += &format!("hot key found with counter: {counter}\tkeyname: {}\n", resp::quote(key));
    }
    say(text)
}
