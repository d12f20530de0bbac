//! How a reply is printed: the form for people and the raw form, as redis-cli prints them.
//!
//! Checked side by side with redis-cli 7.0.15 by `tests/tools/shell.rs`.

use super::answer::{Answer, Kind};

/// The form for programs: strings as they are, elements joined by `delimiter`, a blank between the
/// two halves of a map's pair. Without a line end, except after an error, which ends its line.
pub fn raw(answer: &Answer, delimiter: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    push_raw(&mut out, answer, delimiter);
    out
}

fn push_raw(out: &mut Vec<u8>, answer: &Answer, delimiter: &[u8]) {
    match answer {
        Answer::Nil => {}
        Answer::Error(text) => {
            out.extend_from_slice(text);
            out.push(b'\n');
        }
        Answer::Status(text)
        | Answer::Bulk(text)
        | Answer::Verbatim(text)
        | Answer::Double(text)
        | Answer::BigNumber(text) => out.extend_from_slice(text),
        Answer::Integer(value) => stdx::push_i64(out, *value),
        Answer::Bool(value) => out.extend_from_slice(bool_text(*value)),
        Answer::List(_, items) => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(delimiter);
                }
                push_raw(out, item, delimiter);
            }
        }
        Answer::Map(pairs) => {
            for (index, (key, value)) in pairs.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(delimiter);
                }
                push_raw(out, key, delimiter);
                out.push(b' ');
                push_raw(out, value, delimiter);
            }
        }
    }
}

fn bool_text(value: bool) -> &'static [u8] {
    if value { b"(true)" } else { b"(false)" }
}

/// The form for people: every type says what it is, strings are quoted, elements numbered. Ends its
/// line.
pub fn standard(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::new();
    push_standard(&mut out, answer, 0);
    out
}

/// `indent` is the column at which the lines of this reply after its first begin.
fn push_standard(out: &mut Vec<u8>, answer: &Answer, indent: usize) {
    match answer {
        Answer::Error(text) => {
            out.extend_from_slice(b"(error) ");
            out.extend_from_slice(text);
        }
        Answer::Status(text) | Answer::Verbatim(text) | Answer::BigNumber(text) => {
            out.extend_from_slice(text);
        }
        Answer::Integer(value) => {
            out.extend_from_slice(b"(integer) ");
            stdx::push_i64(out, *value);
        }
        Answer::Double(text) => {
            out.extend_from_slice(b"(double) ");
            out.extend_from_slice(text);
        }
        Answer::Bulk(text) => out.extend_from_slice(resp::quote(text).as_bytes()),
        Answer::Nil => out.extend_from_slice(b"(nil)"),
        Answer::Bool(value) => out.extend_from_slice(bool_text(*value)),
        Answer::List(kind, items) => return push_list(out, *kind, items, indent),
        Answer::Map(pairs) => return push_map(out, pairs, indent),
    }
    out.push(b'\n');
}

fn push_list(out: &mut Vec<u8>, kind: Kind, items: &[Answer], indent: usize) {
    if items.is_empty() {
        out.extend_from_slice(match kind {
            Kind::Array => b"(empty array)\n",
            Kind::Set => b"(empty set)\n",
            Kind::Push => b"(empty push)\n",
        });
        return;
    }
    let mark = if kind == Kind::Set { '~' } else { ')' };
    let width = decimal_width(items.len());
    for (index, item) in items.iter().enumerate() {
        push_number(out, index, width, mark, indent);
        push_standard(out, item, indent + width + 2);
    }
}

fn push_map(out: &mut Vec<u8>, pairs: &[(Answer, Answer)], indent: usize) {
    if pairs.is_empty() {
        out.extend_from_slice(b"(empty hash)\n");
        return;
    }
    let width = decimal_width(pairs.len());
    let inner = indent + width + 2;
    for (index, (key, value)) in pairs.iter().enumerate() {
        push_number(out, index, width, '#', indent);
        push_standard(out, key, inner);
        out.pop();
        out.extend_from_slice(b" => ");
        let before = out.len();
        push_standard(out, value, inner);
        // A list that needs more than one line begins on a line of its own.
        let is_list = matches!(value, Answer::List(..) | Answer::Map(_));
        if is_list && out[before..out.len() - 1].contains(&b'\n') {
            let text = out.split_off(before);
            out.push(b'\n');
            out.resize(out.len() + inner, b' ');
            out.extend_from_slice(&text);
        }
    }
}

fn push_number(out: &mut Vec<u8>, index: usize, width: usize, mark: char, indent: usize) {
    if index > 0 {
        out.resize(out.len() + indent, b' ');
    }
    out.extend_from_slice(format!("{:>width$}{mark} ", index + 1).as_bytes());
}

fn decimal_width(count: usize) -> usize {
    count.checked_ilog10().unwrap_or(0) as usize + 1
}

/// A line of comma separated values, without its end.
pub fn csv(answer: &Answer) -> Vec<u8> {
    match answer {
        Answer::Error(text) => [b"ERROR,", resp::quote(text).as_bytes()].concat(),
        Answer::Status(text) | Answer::Bulk(text) | Answer::Verbatim(text) => {
            resp::quote(text).into_bytes()
        }
        Answer::Integer(value) => value.to_string().into_bytes(),
        Answer::Double(text) | Answer::BigNumber(text) => text.clone(),
        Answer::Nil => b"NULL".to_vec(),
        Answer::Bool(value) => value.to_string().into_bytes(),
        Answer::List(_, items) => items.iter().map(csv).collect::<Vec<_>>().join(&b","[..]),
        Answer::Map(pairs) => {
            let halves = pairs.iter().flat_map(|(key, value)| [csv(key), csv(value)]);
            halves.collect::<Vec<_>>().join(&b","[..])
        }
    }
}

/// The reply as JSON; `ascii` escapes what is not, in redis-cli's way.
pub fn json(answer: &Answer, ascii: bool) -> Vec<u8> {
    let mut out = Vec::new();
    push_json(&mut out, answer, ascii);
    out
}

fn push_json(out: &mut Vec<u8>, answer: &Answer, ascii: bool) {
    match answer {
        Answer::Error(text) => {
            out.extend_from_slice(b"error:");
            push_json_string(out, text, ascii);
        }
        Answer::Status(text) | Answer::Bulk(text) | Answer::Verbatim(text) => {
            push_json_string(out, text, ascii);
        }
        Answer::Integer(value) => stdx::push_i64(out, *value),
        Answer::Double(text) | Answer::BigNumber(text) => out.extend_from_slice(text),
        Answer::Nil => out.extend_from_slice(b"null"),
        Answer::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Answer::List(_, items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                push_json(out, item, ascii);
            }
            out.push(b']');
        }
        Answer::Map(pairs) => {
            out.push(b'{');
            for (index, (key, value)) in pairs.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                push_json_key(out, key, ascii);
                out.push(b':');
                push_json(out, value, ascii);
            }
            out.push(b'}');
        }
    }
}

/// Keys are strings; one that is none becomes one.
fn push_json_key(out: &mut Vec<u8>, key: &Answer, ascii: bool) {
    if key.text().is_some() {
        return push_json(out, key, ascii);
    }
    out.push(b'"');
    out.extend_from_slice(&json(key, ascii));
    out.push(b'"');
}

fn push_json_string(out: &mut Vec<u8>, text: &[u8], ascii: bool) {
    if ascii {
        let quoted = resp::quote(text);
        for byte in quoted.bytes() {
            out.push(byte);
            if byte == b'\\' {
                out.push(byte);
            }
        }
        return;
    }
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            8 => out.extend_from_slice(b"\\b"),
            12 => out.extend_from_slice(b"\\f"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// A message that came unasked while something else was waited for, on a line of its own.
pub fn push_message(answer: &Answer) -> Vec<u8> {
    let Answer::List(_, items) = answer else { return standard(answer) };
    if items.first().and_then(Answer::text) != Some(b"invalidate") {
        return standard(answer);
    }
    let mut out = b"-> invalidate: ".to_vec();
    match items.get(1) {
        Some(Answer::List(_, keys)) => {
            for (index, key) in keys.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(b", ");
                }
                out.extend_from_slice(resp::quote(key.text().unwrap_or_default()).as_bytes());
            }
        }
        _ => out.extend_from_slice(b"all keys"),
    }
    out.push(b'\n');
    out
}

/// True for commands whose reply is a text made to be read: it is printed as it is, in every form.
pub fn is_plain_text(words: &[Vec<u8>]) -> bool {
    let word = |index: usize| {
        words
            .get(index)
            .map(|w| String::from_utf8_lossy(w).to_ascii_lowercase())
            .unwrap_or_default()
    };
    match (word(0).as_str(), word(1).as_str()) {
        ("info" | "lolwut", _) => true,
        ("debug", "htstats" | "htstats-key" | "client-eviction") => true,
        ("memory", "malloc-stats" | "doctor") => true,
        ("cluster", "nodes" | "info") => words.len() == 2,
        ("client", "list" | "info") => true,
        ("latency", "graph" | "doctor") => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(wire: &[u8]) -> String {
        let answer = super::super::answer::read(&mut std::io::Cursor::new(wire)).unwrap();
        String::from_utf8(standard(&answer)).unwrap()
    }

    fn show_raw(wire: &[u8]) -> String {
        let answer = super::super::answer::read(&mut std::io::Cursor::new(wire)).unwrap();
        String::from_utf8(raw(&answer, b"\n")).unwrap()
    }

    // The expected texts are what redis-cli 7.0.15 printed for the same bytes.

    #[test]
    fn scalars() {
        assert_eq!(show(b"+OK\r\n"), "OK\n");
        assert_eq!(show(b"-ERR x\r\n"), "(error) ERR x\n");
        assert_eq!(show(b":12\r\n"), "(integer) 12\n");
        assert_eq!(show(b"$5\r\na\x01\n\"\\\r\n"), "\"a\\x01\\n\\\"\\\\\"\n");
        assert_eq!(show(b"_\r\n"), "(nil)\n");
        assert_eq!(show(b",1.50\r\n"), "(double) 1.50\n");
        assert_eq!(show(b"=6\r\ntxt:a\n\r\n"), "a\n\n");
        assert_eq!(show_raw(b"-ERR x\r\n"), "ERR x\n");
        assert_eq!(show_raw(b"_\r\n"), "");
        assert_eq!(show_raw(b"#f\r\n"), "(false)");
    }

    #[test]
    fn lists_and_maps() {
        assert_eq!(show(b"*0\r\n~0\r\n"), "(empty array)\n");
        assert_eq!(show(b"%0\r\n"), "(empty hash)\n");
        assert_eq!(
            show(b"%2\r\n+a\r\n*1\r\n*2\r\n:1\r\n:2\r\n+b\r\n*0\r\n"),
            "1# a => \n   1) 1) (integer) 1\n      2) (integer) 2\n2# b => (empty array)\n"
        );
        assert_eq!(
            show(b"%2\r\n*2\r\n:1\r\n:2\r\n%1\r\n+k\r\n+v\r\n+b\r\n~2\r\n:1\r\n*2\r\n:3\r\n:4\r\n"),
            "1# 1) (integer) 1\n   2) (integer) 2 => 1# k => v\n2# b => \n   1~ (integer) 1\n   \
             2~ 1) (integer) 3\n      2) (integer) 4\n"
        );
        let ten = [&b"*10\r\n"[..], &b":1\r\n".repeat(10)].concat();
        assert!(show(&ten).starts_with(" 1) (integer) 1\n 2) "));
        assert_eq!(
            show_raw(b"%2\r\n*2\r\n:1\r\n:2\r\n%1\r\n+k\r\n+v\r\n+b\r\n~1\r\n-E\r\n"),
            "1\n2 k v\nb E\n"
        );
    }

    #[test]
    fn texts_and_pushes() {
        let words = |line: &str| resp::split_args(line.as_bytes()).unwrap();
        assert!(is_plain_text(&words("INFO server")));
        assert!(is_plain_text(&words("client LIST")));
        assert!(!is_plain_text(&words("client kill x")));
        let push = Answer::List(
            Kind::Push,
            vec![
                Answer::Bulk(b"invalidate".to_vec()),
                Answer::List(Kind::Array, vec![Answer::Bulk(b"k".to_vec())]),
            ],
        );
        assert_eq!(push_message(&push), b"-> invalidate: \"k\"\n");
    }
}
