//! Parts of the append-only file: read as they were written, and damaged in every way.

use persistence::aof::{AofError, AofErrorKind, AofEvent, AofReader, Seal, encode_commands, seal};
use structures::{Hash, Limits, List, Stream, StreamGroup, StreamId, ValueRef, Zset};

fn command(words: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    resp::encode_command(&mut out, words);
    out
}

/// A part as the server writes it: batches of commands with a seal behind each.
fn part(batches: &[&[&[&str]]]) -> Vec<u8> {
    let mut out = seal::BEGIN.to_vec();
    for batch in batches {
        let bytes: Vec<u8> = batch.iter().flat_map(|words| command(words)).collect();
        out.extend_from_slice(&bytes);
        Seal::of(&bytes).push_to(&mut out);
    }
    out
}

type End = Result<(u64, u64), AofError>;

/// All commands, and how reading ended: with the offset behind the last whole item, and what no
/// seal covers.
fn read(bytes: &[u8]) -> (Vec<Vec<String>>, End) {
    let mut reader = AofReader::new(bytes);
    let mut commands = Vec::new();
    loop {
        match reader.next_event() {
            Ok(AofEvent::Command(args)) => commands
                .push(args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect()),
            Ok(AofEvent::Annotation(_)) => {}
            Ok(AofEvent::Eof) => return (commands, Ok((reader.offset(), reader.unsealed()))),
            Err(error) => return (commands, Err(error)),
        }
    }
}

fn example() -> Vec<u8> {
    part(&[
        &[&["SELECT", "0"], &["SET", "key", "value"]],
        &[&["RPUSH", "list", "one", "two", "three"]],
        &[&["MULTI"], &["DEL", "key"], &["SET", "other", "\r\n$1"], &["EXEC"]],
    ])
}

#[test]
fn what_was_written_is_read() {
    let bytes = example();
    let (commands, end) = read(&bytes);
    assert_eq!(commands.len(), 7);
    assert_eq!(commands[2], ["RPUSH", "list", "one", "two", "three"]);
    assert_eq!(commands[5][2], "\r\n$1");
    assert_eq!(end.unwrap(), (bytes.len() as u64, 0));
    // Behind time stamps, and in small pieces.
    let stamped = [b"#TS:1700000000\r\n", &command(&["PING"])[..], b"#anything\r\n"].concat();
    let (commands, end) = read(&stamped);
    assert_eq!((commands.len(), end.unwrap()), (1, (stamped.len() as u64, stamped.len() as u64)));
}

#[test]
fn every_flipped_bit_is_found() {
    let bytes = example();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut broken = bytes.clone();
            broken[at] ^= 1 << bit;
            let (_, end) = read(&broken);
            assert!(end.is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn every_torn_tail_ends_at_a_whole_command_or_as_truncated() {
    let bytes = example();
    for len in 0..bytes.len() {
        let (commands, end) = read(&bytes[..len]);
        match end {
            Ok((offset, _)) => assert_eq!(offset, len as u64),
            Err(error) => {
                assert!(error.is_truncated(), "{len}: {error}");
                assert_eq!(error.offset, len as u64);
            }
        }
        assert!(commands.len() <= 7);
    }
}

#[test]
fn what_another_program_appended_is_read() {
    let mut bytes = example();
    bytes.extend_from_slice(&command(&["SET", "by", "redis"]));
    let (commands, end) = read(&bytes);
    assert_eq!(commands.len(), 8);
    assert_eq!(end.unwrap().1, command(&["SET", "by", "redis"]).len() as u64);
    // Going on behind it needs the mark.
    let ours = part(&[&[&["SET", "ours", "1"]]]);
    let (commands, end) = read(&[&bytes[..], &ours].concat());
    assert_eq!((commands.len(), end.unwrap().1), (9, 0));
    let without_mark = [&bytes[..], &ours[seal::BEGIN.len()..]].concat();
    let (_, end) = read(&without_mark);
    assert!(matches!(end.unwrap_err().kind, AofErrorKind::Malformed { .. }));
}

#[test]
fn errors_name_place_expectation_and_finding() {
    for (bytes, said) in [
        (
            &b"xyz\r\n"[..],
            "expected '*' and the number of arguments, found 'xyz\\r\\n' at offset 0",
        ),
        (b"*0\r\n", "expected '*' and the number of arguments, found '*0\\r\\n' at offset 0"),
        (
            b"*1\r\n+4\r\n",
            "expected '$' and the length of an argument, found '+4\\r\\n' at offset 4",
        ),
        (
            b"*1\r\n$4\r\npingXX",
            "expected the end of an argument (\\r\\n), found 'XX' at offset 12",
        ),
        (
            b"*1\r\n$4\r\npi",
            "unexpected end: expected the rest of an argument, found nothing at offset 10",
        ),
        (
            b"*1\r\n$99999999999\r\n",
            "expected '$' and the length of an argument, found '$99999999999\\r\\n' at offset 4",
        ),
    ] {
        let (_, end) = read(bytes);
        assert_eq!(end.unwrap_err().to_string(), said);
    }
    let mut bytes = example();
    let at = bytes.windows(5).position(|w| w == b"three").unwrap();
    bytes[at] = b'T';
    let text = read(&bytes).1.unwrap_err().to_string();
    assert!(text.starts_with("wrong checksum of the bytes from offset "), "{text}");
}

fn commands_of(value: ValueRef<'_>, expire_at: Option<i64>) -> Vec<Vec<String>> {
    let mut out = Vec::new();
    encode_commands(&mut out, b"k", value, expire_at);
    let (commands, end) = read(&out);
    end.unwrap();
    commands
}

#[test]
fn values_become_commands() {
    let limits = Limits::default();
    let mut list = List::new();
    (0..130).for_each(|n| list.push_back(n.to_string().as_bytes(), &limits));
    let commands = commands_of(ValueRef::List(&list), Some(1234));
    let lens: Vec<usize> = commands.iter().map(Vec::len).collect();
    assert_eq!(lens, [66, 66, 4, 3], "64 elements in a command");
    assert_eq!(commands[2], ["RPUSH", "k", "128", "129"]);
    assert_eq!(commands[3], ["PEXPIREAT", "k", "1234"]);
    let mut hash = Hash::new();
    hash.set(b"plain", b"1", &limits);
    hash.set(b"timed", b"2", &limits);
    assert!(hash.set_time(b"timed", Some(99)));
    assert_eq!(
        commands_of(ValueRef::Hash(&hash), None)[1..],
        [["HPEXPIREAT", "k", "99", "FIELDS", "1", "timed"]]
    );
    let mut zset = Zset::new();
    zset.insert(b"m", f64::INFINITY, &limits);
    assert_eq!(commands_of(ValueRef::Zset(&zset), None), [["ZADD", "k", "inf", "m"]]);
    let mut stream = Stream::new();
    stream.add_group(b"g", StreamGroup::new(StreamId::ZERO, -1));
    let commands = commands_of(ValueRef::Stream(&stream), None);
    assert_eq!(commands[0], ["XADD", "k", "MAXLEN", "0", "0-1", "x", "y"]);
    assert_eq!(commands[1], ["XSETID", "k", "0-0", "ENTRIESADDED", "0", "MAXDELETEDID", "0-0"]);
    assert_eq!(commands[2], ["XGROUP", "CREATE", "k", "g", "0-0", "ENTRIESREAD", "-1"]);
}
