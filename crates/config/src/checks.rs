//! Checks of single text directives: what can't work is refused with Redis's reason. Each is named in
//! its directive's row; whether a file or address exists is for the room that uses it.

use crate::text::{is_space, lossy};

/// `dbfilename`: a file in `dir`, never a path.
pub(crate) fn dbfilename(word: &[u8]) -> Result<(), String> {
    bare_name(word, "dbfilename can't be a path, just a filename")
}

/// `appendfilename`.
pub(crate) fn appendfilename(word: &[u8]) -> Result<(), String> {
    if word.is_empty() {
        return Err("appendfilename can't be empty".into());
    }
    bare_name(word, "appendfilename can't be a path, just a filename")
}

/// `appenddirname`.
pub(crate) fn appenddirname(word: &[u8]) -> Result<(), String> {
    if word.is_empty() {
        return Err("appenddirname can't be empty".into());
    }
    bare_name(word, "appenddirname can't be a path, just a dirname")
}

fn bare_name(word: &[u8], reason: &str) -> Result<(), String> {
    if word.contains(&b'/') { Err(reason.into()) } else { Ok(()) }
}

/// `extra-ports`: numbers, separated by blanks.
pub(crate) fn ports(word: &[u8]) -> Result<(), String> {
    let fits = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    if lossy(word).split_whitespace().all(fits) {
        return Ok(());
    }
    Err("extra-ports must be ports between 1 and 65535, separated by blanks".into())
}

/// `cluster-announce-hostname`.
pub(crate) fn hostname(word: &[u8]) -> Result<(), String> {
    if word.len() >= 256 {
        return Err("Hostnames must be less than 256 characters".into());
    }
    if !word.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.')) {
        let reason = "Hostnames may only contain alphanumeric characters, hyphens or dots";
        return Err(reason.into());
    }
    Ok(())
}

/// `cluster-announce-human-nodename` (7.2).
pub(crate) fn nodename(word: &[u8]) -> Result<(), String> {
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    if !word.iter().all(allowed) {
        let reason = "Announced human node name contained invalid character";
        return Err(reason.into());
    }
    Ok(())
}

/// `proc-title-template`: `{name}` of known names only, and not empty.
pub(crate) fn title_template(word: &[u8]) -> Result<(), String> {
    let bad = || Err("template format is invalid or contains unknown variables".to_string());
    let known =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    let mut rest = word;
    let mut empty = true;
    while let [first, tail @ ..] = rest {
        empty &= is_space(*first);
        rest = tail;
        if *first != b'{' || rest.first() == Some(&b'{') {
            if *first == b'{' {
                rest = &rest[1..];
            }
            continue;
        }
        let Some(end) = rest.iter().position(|&b| b == b'}') else {
            return bad();
        };
        if !known.contains(&&*lossy(&rest[..end])) {
            return bad();
        }
        rest = &rest[end + 1..];
    }
    if empty { bad() } else { Ok(()) }
}
