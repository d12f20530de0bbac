//! `string.find`, `match`, `gmatch` and `gsub` on our own matcher, which a kill can reach.

use crate::args::{Argv, as_bytes, type_name};
use crate::current;
use crate::pattern::{Capture, Matcher, Stop};
use crate::raise;
use mlua::{Lua, MultiValue, Table, Value};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most bytes that `gsub` and `rep` make.
const BYTES_MAX: usize = 512 << 20;

fn stopped(lua: &Lua, stop: Stop) -> mlua::Error {
    match stop {
        Stop::Bad(text) => raise::text(lua, text),
        Stop::Killed => raise::kill(current::kill_text()),
    }
}

fn captured(lua: &Lua, text: &[u8], capture: Capture) -> mlua::Result<Value> {
    match capture {
        Capture::Piece(start, end) => Ok(Value::String(lua.create_string(&text[start..end])?)),
        Capture::Position(at) => Ok(Value::Number((at + 1) as f64)),
        Capture::Open(_) => Err(raise::text(lua, "unfinished capture")),
    }
}

/// Where a search begins: from 1, from the end if negative, within the text.
fn start_of(argv: &Argv<'_>, at: usize, length: usize) -> mlua::Result<usize> {
    let init = argv.integer_or(at, 1)?;
    let init = if init < 0 { init.saturating_add(length as i64 + 1) } else { init };
    Ok((init.max(1) as u64 - 1).min(length as u64) as usize)
}

fn is_plain(pattern: &[u8]) -> bool {
    // As a C string: what follows a NUL is not looked at.
    let end = pattern.iter().position(|&b| b == 0).unwrap_or(pattern.len());
    !pattern[..end].iter().any(|byte| b"^$*+?.([%-".contains(byte))
}

fn find_plain(text: &[u8], needle: &[u8], start: usize) -> Option<usize> {
    let rest = &text[start..];
    if needle.is_empty() {
        return Some(start);
    }
    memchr::memmem::find(rest, needle).map(|at| at + start)
}

fn find(lua: &Lua, args: MultiValue, is_find: bool) -> mlua::Result<MultiValue> {
    let argv = Argv::new(lua, if is_find { "find" } else { "match" }, args);
    let (text, pattern) = (argv.bytes(1)?, argv.bytes(2)?);
    let mut at = start_of(&argv, 3, text.len())?;
    let flag =
        matches!(argv.get(4), Some(value) if !matches!(value, Value::Nil | Value::Boolean(false)));
    if is_find && (flag || is_plain(&pattern)) {
        let Some(found) = find_plain(&text, &pattern, at) else {
            return Ok(MultiValue::from_vec(vec![Value::Nil]));
        };
        return Ok(MultiValue::from_vec(vec![
            Value::Number((found + 1) as f64),
            Value::Number((found + pattern.len()) as f64),
        ]));
    }
    let anchored = pattern.first() == Some(&b'^');
    let mut go_on = current::tick;
    let mut matcher = Matcher::new(&text, &pattern, &mut go_on);
    loop {
        let found = matcher.run(at, usize::from(anchored)).map_err(|stop| stopped(lua, stop))?;
        if let Some(end) = found {
            let mut out = Vec::new();
            let mut captures = matcher.captures(at, end);
            if is_find {
                out.push(Value::Number((at + 1) as f64));
                out.push(Value::Number(end as f64));
                if captures == [Capture::Piece(at, end)] && !pattern.contains(&b'(') {
                    captures.clear();
                }
            }
            for capture in captures {
                out.push(captured(lua, &text, capture)?);
            }
            return Ok(MultiValue::from_vec(out));
        }
        at += 1;
        if anchored || at > text.len() {
            return Ok(MultiValue::from_vec(vec![Value::Nil]));
        }
    }
}

fn gmatch(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::Function> {
    let argv = Argv::new(lua, "gmatch", args);
    let (text, pattern) = (argv.bytes(1)?, argv.bytes(2)?);
    let position = Arc::new(AtomicUsize::new(0));
    lua.create_function(move |lua, _: MultiValue| {
        let mut go_on = current::tick;
        let mut matcher = Matcher::new(&text, &pattern, &mut go_on);
        let first = position.load(Ordering::Relaxed);
        for at in first..=text.len() {
            let found = matcher.run(at, 0).map_err(|stop| stopped(lua, stop))?;
            if let Some(end) = found {
                position.store(if end == at { end + 1 } else { end }, Ordering::Relaxed);
                let values: mlua::Result<Vec<Value>> = matcher
                    .captures(at, end)
                    .into_iter()
                    .map(|capture| captured(lua, &text, capture))
                    .collect();
                return Ok(MultiValue::from_vec(values?));
            }
        }
        position.store(text.len() + 1, Ordering::Relaxed);
        Ok(MultiValue::from_vec(vec![Value::Nil]))
    })
}

/// The matches of a text for `gsub`: a function that gives the next one from a position on, as its
/// start (from 1), its end and its captures, or nil. The replacing is done by Lua code, so that
/// errors of a script's own function pass through unchanged.
fn matches_of(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::Function> {
    let argv = Argv::new(lua, "gsub", args);
    let (text, pattern) = (argv.bytes(1)?, argv.bytes(2)?);
    lua.create_function(move |lua, at: usize| {
        let anchored = pattern.first() == Some(&b'^');
        let mut go_on = current::tick;
        let mut matcher = Matcher::new(&text, &pattern, &mut go_on);
        for start in at.saturating_sub(1)..=text.len() {
            let found =
                matcher.run(start, usize::from(anchored)).map_err(|stop| stopped(lua, stop))?;
            if let Some(end) = found {
                let mut out = vec![Value::Number((start + 1) as f64), Value::Number(end as f64)];
                for capture in matcher.captures(start, end) {
                    out.push(captured(lua, &text, capture)?);
                }
                return Ok(MultiValue::from_vec(out));
            }
            if anchored {
                break;
            }
        }
        Ok(MultiValue::from_vec(vec![Value::Nil]))
    })
}

/// What takes the place of a match.
enum Replacement<'a> {
    Text(Vec<u8>),
    Table(&'a Table),
}

fn gsub(lua: &Lua, args: MultiValue) -> mlua::Result<(mlua::LuaString, f64)> {
    let argv = Argv::new(lua, "gsub", args);
    let (text, pattern) = (argv.bytes(1)?, argv.bytes(2)?);
    let replacement = match argv.get(3) {
        Some(Value::Table(table)) => Replacement::Table(table),
        Some(value) if as_bytes(value).is_some() => Replacement::Text(argv.bytes(3)?),
        _ => return Err(argv.bad(3, "string/function/table expected")),
    };
    let most = argv.integer_or(4, text.len() as i64 + 1)?;
    let anchored = pattern.first() == Some(&b'^');
    let mut go_on = current::tick;
    let mut matcher = Matcher::new(&text, &pattern, &mut go_on);
    let (mut out, mut at, mut count) = (Vec::new(), 0, 0);
    while count < most {
        let found = matcher.run(at, usize::from(anchored)).map_err(|stop| stopped(lua, stop))?;
        if let Some(end) = found {
            count += 1;
            let captures = matcher.captures(at, end);
            replace(lua, &replacement, &text, &text[at..end], &captures, &mut out)?;
            if out.len() > BYTES_MAX {
                return Err(raise::text(lua, "resulting string too large"));
            }
        }
        match found {
            Some(end) if end > at => at = end,
            _ if at < text.len() => {
                out.push(text[at]);
                at += 1;
            }
            _ => break,
        }
        if anchored {
            break;
        }
    }
    out.extend_from_slice(text.get(at..).unwrap_or_default());
    Ok((lua.create_string(out)?, count as f64))
}

fn replace(
    lua: &Lua,
    replacement: &Replacement<'_>,
    text: &[u8],
    whole: &[u8],
    captures: &[Capture],
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    match replacement {
        Replacement::Text(template) => {
            let mut bytes = template.iter();
            while let Some(&byte) = bytes.next() {
                if byte != b'%' {
                    out.push(byte);
                    continue;
                }
                match bytes.next() {
                    Some(b'0') => out.extend_from_slice(whole),
                    Some(digit) if digit.is_ascii_digit() => {
                        let index = usize::from(digit - b'1');
                        let Some(&capture) = captures.get(index) else {
                            return Err(raise::text(lua, "invalid capture index"));
                        };
                        let value = captured(lua, text, capture)?;
                        out.extend(as_bytes(&value).unwrap_or_default());
                    }
                    Some(other) => out.push(*other),
                    None => {}
                }
            }
        }
        Replacement::Table(table) => {
            let Some(&first) = captures.first() else { return Ok(()) };
            let value: Value = table.get(captured(lua, text, first)?)?;
            match &value {
                Value::Nil | Value::Boolean(false) => out.extend_from_slice(whole),
                other => match as_bytes(other) {
                    Some(bytes) => out.extend(bytes),
                    None => {
                        let text = format!("invalid replacement value (a {})", type_name(other));
                        return Err(raise::text(lua, text));
                    }
                },
            }
        }
    }
    Ok(())
}

fn repeat(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::LuaString> {
    let argv = Argv::new(lua, "rep", args);
    let (text, times) = (argv.bytes(1)?, argv.integer(2)?.max(0) as usize);
    if text.len().checked_mul(times).is_none_or(|length| length > BYTES_MAX) {
        return Err(raise::text(lua, "resulting string too large"));
    }
    lua.create_string(text.repeat(times))
}

/// Puts our functions into `string`; returns the matches for `gsub` and `gsub` without functions.
pub(crate) fn install(lua: &Lua, string: &Table) -> mlua::Result<(mlua::Function, mlua::Function)> {
    let of =
        |is_find: bool| lua.create_function(move |lua, args: MultiValue| find(lua, args, is_find));
    string.raw_set("find", of(true)?)?;
    string.raw_set("match", of(false)?)?;
    let function = lua.create_function(gmatch)?;
    string.raw_set("gmatch", &function)?;
    string.raw_set("gfind", function)?;
    string.raw_set("rep", lua.create_function(repeat)?)?;
    Ok((lua.create_function(matches_of)?, lua.create_function(gsub)?))
}
