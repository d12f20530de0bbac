//! Lua values as JSON.

use super::{DEPTH_MAX, Invalid, Options, cannot};
use crate::number::format_g;
use crate::raise;
use mlua::{Lua, Table, Value};

/// The most bytes that are written: a string cannot be longer.
const BYTES_MAX: usize = 512 << 20;

/// Appends a value.
pub(super) fn value(
    lua: &Lua,
    options: &Options,
    value: &Value,
    depth: i64,
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    if out.len() > BYTES_MAX {
        return Err(raise::text(lua, "resulting string too large"));
    }
    match value {
        Value::String(text) => string(&text.as_bytes(), out),
        Value::Integer(number) => out.extend(format_g(*number as f64, options.precision as usize)),
        Value::Number(n) => number(lua, options, value, *n, out)?,
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Nil => out.extend_from_slice(b"null"),
        Value::LightUserData(pointer) if pointer.0.is_null() => out.extend_from_slice(b"null"),
        Value::Table(inner) => table(lua, options, value, inner, depth + 1, out)?,
        _ => return Err(cannot(lua, value, "type not supported")),
    }
    Ok(())
}

fn number(
    lua: &Lua,
    options: &Options,
    value: &Value,
    number: f64,
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    if !number.is_finite() {
        match options.encode_invalid {
            Invalid::Refuse => return Err(cannot(lua, value, "must not be NaN or Inf")),
            Invalid::Null => {
                out.extend_from_slice(b"null");
                return Ok(());
            }
            Invalid::Write => {}
        }
    }
    out.extend(format_g(number, options.precision as usize));
    Ok(())
}

fn string(text: &[u8], out: &mut Vec<u8>) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'/' => out.extend_from_slice(b"\\/"),
            8 => out.extend_from_slice(b"\\b"),
            9 => out.extend_from_slice(b"\\t"),
            10 => out.extend_from_slice(b"\\n"),
            12 => out.extend_from_slice(b"\\f"),
            13 => out.extend_from_slice(b"\\r"),
            0..=31 | 127 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// The highest index if the table can be an array.
fn array_length(
    lua: &Lua,
    options: &Options,
    value: &Value,
    table: &Table,
) -> mlua::Result<Option<i64>> {
    let (mut highest, mut items) = (0i64, 0i64);
    for pair in table.pairs::<Value, Value>() {
        let index = match pair?.0 {
            Value::Integer(index) if index >= 1 => index,
            Value::Number(index) if index >= 1.0 && index.floor() == index => index as i64,
            _ => return Ok(None),
        };
        highest = highest.max(index);
        items += 1;
    }
    let sparse = options.sparse_ratio > 0
        && highest > items.saturating_mul(options.sparse_ratio)
        && highest > options.sparse_safe;
    if sparse {
        if !options.sparse_convert {
            return Err(cannot(lua, value, "excessively sparse array"));
        }
        return Ok(None);
    }
    Ok((items > 0).then_some(highest))
}

fn table(
    lua: &Lua,
    options: &Options,
    whole: &Value,
    table: &Table,
    depth: i64,
    out: &mut Vec<u8>,
) -> mlua::Result<()> {
    if depth > options.encode_max_depth.min(DEPTH_MAX) {
        let text = format!("Cannot serialise, excessive nesting ({depth})");
        return Err(raise::text(lua, text));
    }
    if let Some(length) = array_length(lua, options, whole, table)? {
        out.push(b'[');
        for index in 1..=length {
            if index > 1 {
                out.push(b',');
            }
            value(lua, options, &table.raw_get(index)?, depth, out)?;
        }
        out.push(b']');
        return Ok(());
    }
    out.push(b'{');
    let mut first = true;
    for pair in table.pairs::<Value, Value>() {
        let (key, inner) = pair?;
        if !first {
            out.push(b',');
        }
        first = false;
        match &key {
            Value::Integer(_) | Value::Number(_) => {
                out.push(b'"');
                value(lua, options, &key, depth, out)?;
                out.extend_from_slice(b"\":");
            }
            Value::String(text) => {
                string(&text.as_bytes(), out);
                out.push(b':');
            }
            _ => return Err(cannot(lua, &key, "table key must be a number or string")),
        }
        value(lua, options, &inner, depth, out)?;
    }
    out.push(b'}');
    Ok(())
}
