//! Scenes with replies that the server may choose: random members, and cursors with the order of what they bring.
//!
//! A choice is checked against what could have been chosen; where it changes data, the other server is brought into line.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use super::compare::{Compare, pairs};
use super::session::Session;
use super::tokens::{Gen, token};
use crate::wire::{Value, escape, render};

/// An argument by the name of its token.
pub fn draw(random: &mut Gen, name: &str) -> Vec<u8> {
    match token(name) {
        Some(make) => make(random),
        None => unreachable!("a scene names the unknown token {name}"),
    }
}

fn members(reply: &Value) -> BTreeSet<Vec<u8>> {
    let items = reply.elements().unwrap_or_default();
    items.iter().filter_map(|item| item.bytes().map(<[u8]>::to_vec)).collect()
}

/// SPOP without and with a count; afterwards both servers lack what either has popped.
pub fn pop_random(session: &mut Session, random: &mut Gen) -> Result<()> {
    let key = draw(random, "t");
    let before = session.check(&[b"SMEMBERS", &key[..]], Compare::Sorted)?;
    let count = random.rng.below(6).to_string();
    let with_count = random.rng.chance(40);
    let mut command: Vec<&[u8]> = vec![b"SPOP", &key];
    if with_count {
        command.push(count.as_bytes());
    }
    let (a, b) = session.both(&command)?;
    let all = members(&before);
    if a.is_error() || b.is_error() || a.is_null() || b.is_null() || all.is_empty() {
        session.expect(&command, Compare::Exact, &a, &b);
        return Ok(());
    }
    let popped = |reply: &Value| match reply.bytes() {
        Some(one) => BTreeSet::from([one.to_vec()]),
        None => members(reply),
    };
    let (got_a, got_b) = (popped(&a), popped(&b));
    if a.kind() != b.kind() || got_a.len() != got_b.len() || !got_b.is_subset(&all) {
        session.expect(&command, Compare::Exact, &a, &b);
        return Ok(());
    }
    for (at, other) in [(0, got_b), (1, got_a)] {
        if other.is_empty() {
            continue;
        }
        let mut command = vec![b"SREM".to_vec(), key.clone()];
        command.extend(other);
        session.clients[at].expect_ok(&command)?;
    }
    session.check(&[b"SMEMBERS", &key[..]], Compare::Sorted)?;
    Ok(())
}

/// A random subset: right size, right members, no doubles unless the count is negative.
fn check_choice(
    session: &mut Session,
    command: &[Vec<u8>],
    count: Option<i64>,
    all: &BTreeSet<Vec<u8>>,
    chosen: fn(&Value) -> Vec<Vec<u8>>,
) -> Result<()> {
    let (a, b) = session.both(command)?;
    if a.is_error() || a.is_null() || b.is_error() || b.is_null() {
        session.expect(command, Compare::Exact, &a, &b);
        return Ok(());
    }
    let got = chosen(&b);
    let distinct: BTreeSet<Vec<u8>> = got.iter().cloned().collect();
    let size_fits = chosen(&a).len() == got.len();
    let doubles_fit = count.is_some_and(|count| count < 0) || distinct.len() == got.len();
    if a.kind() != b.kind() || !size_fits || !doubles_fit || !distinct.is_subset(all) {
        session.expect(command, Compare::Exact, &a, &b);
    }
    Ok(())
}

fn random_count(random: &mut Gen) -> Option<i64> {
    match random.rng.below(10) {
        0..3 => None,
        3..6 => Some(random.rng.below(10) as i64),
        6 => Some(1000),
        _ => Some(-(random.rng.below(12) as i64)),
    }
}

fn one_or_many(reply: &Value) -> Vec<Vec<u8>> {
    match reply.bytes() {
        Some(one) => vec![one.to_vec()],
        None => {
            let items = reply.elements().unwrap_or_default();
            items.iter().filter_map(|item| item.bytes().map(<[u8]>::to_vec)).collect()
        }
    }
}

/// With values or scores: pairs, joined by a byte that no element ends with by chance in both.
fn joined_pairs(reply: &Value) -> Vec<Vec<u8>> {
    let items = reply.elements().unwrap_or_default();
    let nested = items.iter().all(|item| item.elements().is_some());
    let join = |left: &Value, right: &Value| {
        let number =
            |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
        let left = left.bytes().unwrap_or_default();
        let right = right.bytes().unwrap_or_default();
        // Scores are compared as numbers: the text of one server may be the shorter form.
        let right = match number(right) {
            Some(number) => number.to_bits().to_string().into_bytes(),
            None => right.to_vec(),
        };
        [left, b"\x00=", &right].concat()
    };
    if nested {
        items
            .iter()
            .filter_map(Value::elements)
            .filter(|pair| pair.len() == 2)
            .map(|pair| join(&pair[0], &pair[1]))
            .collect()
    } else {
        items
            .chunks(2)
            .filter(|pair| pair.len() == 2)
            .map(|pair| join(&pair[0], &pair[1]))
            .collect()
    }
}

fn all_pairs(reply: &Value) -> BTreeSet<Vec<u8>> {
    let flat = pairs(reply).into_iter().flat_map(|(key, item)| [key, item]).collect();
    joined_pairs(&Value::Array(flat)).into_iter().collect()
}

/// SRANDMEMBER with and without a count.
pub fn random_members(session: &mut Session, random: &mut Gen) -> Result<()> {
    let key = draw(random, "t");
    let all = members(&session.check(&[b"SMEMBERS", &key[..]], Compare::Sorted)?);
    let count = random_count(random);
    let mut command = vec![b"SRANDMEMBER".to_vec(), key];
    command.extend(count.map(|count| count.to_string().into_bytes()));
    check_choice(session, &command, count, &all, one_or_many)
}

/// HRANDFIELD, also with values.
pub fn random_fields(session: &mut Session, random: &mut Gen) -> Result<()> {
    let key = draw(random, "h");
    let reply = session.check(&[b"HGETALL", &key[..]], Compare::Pairs)?;
    let count = random_count(random);
    let mut command = vec![b"HRANDFIELD".to_vec(), key];
    command.extend(count.map(|count| count.to_string().into_bytes()));
    if count.is_some() && random.rng.chance(50) {
        command.push(b"WITHVALUES".to_vec());
        return check_choice(session, &command, count, &all_pairs(&reply), joined_pairs);
    }
    let all = pairs(&reply).into_iter().filter_map(|(field, _)| field.bytes().map(<[u8]>::to_vec));
    let all = all.collect();
    check_choice(session, &command, count, &all, one_or_many)
}

/// ZRANDMEMBER, also with scores.
pub fn random_sorted_members(session: &mut Session, random: &mut Gen) -> Result<()> {
    let key = draw(random, "z");
    let reply =
        session.check(&[b"ZRANGE", &key[..], b"0", b"-1", b"WITHSCORES"], Compare::Exact)?;
    let count = random_count(random);
    let mut command = vec![b"ZRANDMEMBER".to_vec(), key];
    command.extend(count.map(|count| count.to_string().into_bytes()));
    if count.is_some() && random.rng.chance(50) {
        command.push(b"WITHSCORES".to_vec());
        return check_choice(session, &command, count, &all_pairs(&reply), joined_pairs);
    }
    let all = pairs(&reply).into_iter().filter_map(|(name, _)| name.bytes().map(<[u8]>::to_vec));
    let all = all.collect();
    check_choice(session, &command, count, &all, one_or_many)
}

/// RANDOMKEY.
pub fn random_key(session: &mut Session, _: &mut Gen) -> Result<()> {
    let all = members(&session.check(&["KEYS", "*"], Compare::Sorted)?);
    let (a, b) = session.both(&["RANDOMKEY"])?;
    let known = b.bytes().is_some_and(|key| all.contains(key));
    if a.kind() != b.kind() || !(known || b.is_null()) {
        session.expect(&["RANDOMKEY"], Compare::Exact, &a, &b);
    }
    Ok(())
}

/// Follows a cursor to its end on one server; the elements in order, without doubles.
fn follow_cursor(
    session: &mut Session,
    at: usize,
    command: &[Vec<u8>],
    cursor_at: usize,
    paired: bool,
) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    let mut command = command.to_vec();
    for _ in 0..200_000 {
        let reply = session.clients[at].call(&command)?;
        session.sent += u64::from(at == 0);
        let Some([cursor, items]) = reply.elements() else {
            found.push(render(&reply, 200).into_bytes());
            break;
        };
        let items = if paired { joined_pairs(items) } else { one_or_many(items) };
        found.extend(items);
        let cursor = cursor.bytes().context("a cursor that is no string")?;
        if cursor == b"0" {
            found.sort();
            found.dedup();
            return Ok(found);
        }
        command[cursor_at] = cursor.to_vec();
    }
    found.sort();
    Ok(found)
}

fn whole_scan(session: &mut Session, command: &[Vec<u8>], at: usize, paired: bool) -> Result<()> {
    let a = follow_cursor(session, 0, command, at, paired)?;
    let b = follow_cursor(session, 1, command, at, paired)?;
    if a != b {
        let only = |left: &[Vec<u8>], right: &[Vec<u8>]| {
            let missing = left.iter().filter(|item| !right.contains(item)).take(10);
            missing.map(|item| escape(item)).collect::<Vec<_>>().join(", ")
        };
        let detail = format!(
            "followed to its end: {} and {} elements; only the first: {}; only the second: {}",
            a.len(),
            b.len(),
            only(&a, &b),
            only(&b, &a)
        );
        session.complain(command, detail);
    }
    Ok(())
}

/// SCAN with options, followed to its end.
pub fn scan_keys(session: &mut Session, random: &mut Gen) -> Result<()> {
    let mut command = vec![b"SCAN".to_vec(), b"0".to_vec()];
    if random.rng.chance(50) {
        command.extend([b"MATCH".to_vec(), draw(random, "pat")]);
    }
    if random.rng.chance(50) {
        command.extend([b"count".to_vec(), random.rng.between(1, 30).to_string().into_bytes()]);
    }
    if random.rng.chance(30) {
        command.extend([b"TYPE".to_vec(), random.one_of(&["string", "hash", "zset", "list"])]);
    }
    whole_scan(session, &command, 1, false)
}

/// HSCAN, SSCAN or ZSCAN with options, followed to its end.
pub fn scan_inside(session: &mut Session, random: &mut Gen) -> Result<()> {
    let (name, kind) =
        [("SSCAN", "t"), ("HSCAN", "h"), ("ZSCAN", "z")][random.rng.below(3) as usize];
    let mut command = vec![name.as_bytes().to_vec(), draw(random, kind), b"0".to_vec()];
    if random.rng.chance(40) {
        command.extend([b"MATCH".to_vec(), draw(random, "pat")]);
    }
    if random.rng.chance(50) {
        command.extend([b"COUNT".to_vec(), random.rng.between(1, 20).to_string().into_bytes()]);
    }
    whole_scan(session, &command, 2, name != "SSCAN")
}
