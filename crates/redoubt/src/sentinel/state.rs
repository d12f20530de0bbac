//! The state of a sentinel whose configuration can't hold it: a file on a read-only mount, one that
//! another sentinel writes, or none at all because the environment says everything.
//!
//! The state then lives in `dir`, as a text of Sentinel's lines under a head that names the
//! configuration and its digest. As long as the configuration stays what it was, the state is the
//! whole truth, also what SENTINEL SET has changed. Once the configuration has changed, its settings
//! count, and of the state only what a sentinel has learnt: identity, epochs, who is master, who is
//! there. Texts come in and go out here; nothing is opened.

use crate::container::env::monitored;
use std::collections::BTreeMap;

/// Name of the file in `dir`.
pub const STATE_FILE: &str = "sentinel.conf";

const HEAD: &str = "# State of a sentinel. Its configuration is ";
const HINT: &str = "# Edit that configuration, not this file.";
const DIGEST: &str = "# Digest of that configuration: ";

/// True if `text` is the state that belongs to this configuration.
pub fn belongs_to(text: &[u8], configuration: &str) -> bool {
    let first = text.split(|&b| b == b'\n').next().unwrap_or_default();
    first.strip_prefix(HEAD.as_bytes()).is_some_and(|rest| rest == configuration.as_bytes())
}

/// The text to start from: the configuration's `sentinel` lines, with what the old state adds. What the
/// configuration itself holds of a state is another sentinel's if it is `shared`, and out of date if there
/// is an old state.
pub fn merged(configuration: &str, lines: &[Vec<u8>], shared: bool, old: Option<&[u8]>) -> Vec<u8> {
    let settings = || lines.iter().filter(|line| learnt_of(line).is_none());
    let digest = format!("{DIGEST}{:016x}", digest_of(settings()));
    let mut out = format!("{HEAD}{configuration}\n{HINT}\n{digest}\n").into_bytes();
    let old: Vec<&[u8]> = old.map(|old| old.split(|&b| b == b'\n').collect()).unwrap_or_default();
    let mut put = |line: &[u8]| {
        out.extend_from_slice(line);
        out.push(b'\n');
    };
    if old.contains(&digest.as_bytes()) {
        let head = [HEAD, HINT, DIGEST];
        let is_head = |line: &[u8]| head.iter().any(|head| line.starts_with(head.as_bytes()));
        old.iter().filter(|line| !line.is_empty() && !is_head(line)).for_each(|line| put(line));
        return out;
    }
    let masters: BTreeMap<String, &[u8]> =
        old.iter().filter_map(|line| Some((monitored(line)?, *line))).collect();
    let mut names = Vec::new();
    let drops_learnt = shared || old.iter().any(|line| learnt_of(line).is_some());
    for line in lines.iter().filter(|line| !drops_learnt || learnt_of(line).is_none()) {
        match monitored(line) {
            Some(name) => {
                // Who is master now was learnt; how many must agree was configured.
                let now = masters.get(&name).and_then(|old| with_quorum_of(old, line));
                put(now.as_deref().unwrap_or(line));
                names.push(name);
            }
            None => put(line),
        }
    }
    let of_these = |learnt: Learnt| match learnt {
        Learnt::Own => true,
        Learnt::Of(master) => names.contains(&master),
    };
    old.iter().filter(|line| learnt_of(line).is_some_and(of_these)).for_each(|line| put(line));
    out
}

/// The old `monitor` line with the last word of the new one.
fn with_quorum_of(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let quorum = words(new).get(5)?.clone();
    let mut words = words(old);
    *words.get_mut(5)? = quorum;
    Some(line_of(&words))
}

/// What a sentinel has learnt and nobody configures.
enum Learnt {
    /// About itself.
    Own,
    /// About a master.
    Of(String),
}

fn learnt_of(line: &[u8]) -> Option<Learnt> {
    if line.starts_with(b"# Started without state") {
        return Some(Learnt::Own);
    }
    let words = words(line);
    let [first, directive, rest @ ..] = words.as_slice() else { return None };
    if !first.eq_ignore_ascii_case(b"sentinel") {
        return None;
    }
    match directive.to_ascii_lowercase().as_slice() {
        b"myid" | b"current-epoch" => Some(Learnt::Own),
        b"config-epoch" | b"leader-epoch" | b"known-replica" | b"known-slave"
        | b"known-sentinel" | b"known-view" => {
            let master = rest.first().map(|name| String::from_utf8_lossy(name).into_owned());
            Some(Learnt::Of(master.unwrap_or_default()))
        }
        _ => None,
    }
}

fn words(line: &[u8]) -> Vec<Vec<u8>> {
    config::split_words(line.trim_ascii()).unwrap_or_default()
}

/// A line of these words, quoted where they need it: the command line quotes all of them.
pub fn line_of(words: &[Vec<u8>]) -> Vec<u8> {
    let mut line = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let plain =
            !word.is_empty() && word.iter().all(|b| b.is_ascii_graphic() && !b"\"'\\".contains(b));
        if at > 0 {
            line.push(b' ');
        }
        if plain {
            line.extend_from_slice(word);
        } else {
            config::push_quoted(&mut line, word);
        }
    }
    line
}

/// FNV-1a over all lines: it has to tell an edited file from the same one, nothing more.
fn digest_of<'a>(lines: impl Iterator<Item = &'a Vec<u8>>) -> u64 {
    let bytes = lines.flat_map(|line| line.iter().chain(b"\n"));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::{belongs_to, merged};

    fn lines(text: &str) -> Vec<Vec<u8>> {
        text.lines().map(|line| line.as_bytes().to_vec()).collect()
    }

    const CONF: &str = "sentinel monitor m redis 6379 2\nsentinel auth-pass m x\n";

    fn text(bytes: &[u8]) -> String {
        String::from_utf8(bytes.to_vec()).expect("text")
    }

    #[test]
    fn the_first_start_takes_the_configuration() {
        let state = merged("/etc/s.conf", &lines(CONF), false, None);
        assert!(belongs_to(&state, "/etc/s.conf"));
        assert!(!belongs_to(&state, "/etc/s.con") && !belongs_to(b"", ""));
        assert!(text(&state).ends_with(CONF));
    }

    #[test]
    fn the_state_of_another_sentinel_is_not_ours() {
        let shared = format!("{CONF}sentinel myid abc\nsentinel known-replica m r 1\n");
        assert!(text(&merged("c", &lines(&shared), true, None)).ends_with(CONF));
        // A file that nobody writes may bring an identity along.
        assert!(text(&merged("c", &lines(&shared), false, None)).ends_with(&shared));
        let own = text(&merged("c", &lines(CONF), true, None)) + "sentinel myid def\n";
        assert_eq!(text(&merged("c", &lines(&shared), false, Some(own.as_bytes()))), own);
    }

    #[test]
    fn an_unchanged_configuration_leaves_the_state_alone() {
        let first = text(&merged("c", &lines(CONF), false, None));
        let changed = first.replace("redis 6379", "10.0.0.2 6379").replace("pass m x", "pass m y")
            + "sentinel myid abc\n";
        assert_eq!(text(&merged("c", &lines(CONF), false, Some(changed.as_bytes()))), changed);
    }

    #[test]
    fn a_changed_configuration_keeps_what_was_learnt() {
        let old = text(&merged("c", &lines(CONF), false, None))
            .replace("redis 6379", "10.0.0.2 6379")
            + "sentinel myid abc\nsentinel config-epoch m 4\nsentinel config-epoch gone 9\n\
               sentinel known-replica m redis 6379\nsentinel down-after-milliseconds m 5\n\
               # Started without state: no votes are given yet\n";
        let conf = "sentinel monitor m redis 6379 3\nsentinel auth-pass m z\n";
        let new = text(&merged("c", &lines(conf), false, Some(old.as_bytes())));
        let body: Vec<&str> = new.lines().skip(3).collect();
        assert_eq!(
            body,
            [
                "sentinel monitor m 10.0.0.2 6379 3",
                "sentinel auth-pass m z",
                "sentinel myid abc",
                "sentinel config-epoch m 4",
                "sentinel known-replica m redis 6379",
                "# Started without state: no votes are given yet",
            ]
        );
    }
}
