//! Replies of commands as Lua values, and what a script returns as a reply.
//! Source: redis 7.0 `script_lua.c:redisProtocolToLuaType*`, `luaReplyToRedisReply`.

use crate::args::to_integer;
use crate::raise::error_table;
use mlua::{Lua, Table, Value};
use resp::Reply;

/// Nesting beyond this is refused.
const DEPTH_MAX: usize = 1000;

/// One reply as a value; an error reply is `Err` with its text.
pub(crate) fn to_lua(lua: &Lua, bytes: &[u8]) -> mlua::Result<Result<Value, Vec<u8>>> {
    if let [b'-', text @ ..] = bytes {
        let end = text.iter().position(|&b| b == b'\r').unwrap_or(text.len());
        return Ok(Err(text[..end].to_vec()));
    }
    let mut cursor = Cursor { lua, bytes, at: 0 };
    Ok(Ok(cursor.value()?))
}

struct Cursor<'a> {
    lua: &'a Lua,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn line(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at += (end + 1).min(rest.len());
        let line = &rest[..end];
        line.strip_suffix(b"\r").unwrap_or(line)
    }

    fn bulk(&mut self, length: i64) -> Option<&'a [u8]> {
        let length = usize::try_from(length).ok()?;
        let bytes = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length + 2;
        Some(bytes)
    }

    fn string(&self, bytes: &[u8]) -> mlua::Result<Value> {
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn field(&self, name: &str, value: Value) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    }

    /// Replies are our own: they are whole, and nested as deep as commands nest them.
    fn value(&mut self) -> mlua::Result<Value> {
        let line = self.line();
        let Some((&mark, rest)) = line.split_first() else { return Ok(Value::Nil) };
        let number = || stdx::parse_i64(rest).unwrap_or(0);
        match mark {
            b':' => Ok(Value::Number(number() as f64)),
            b'+' => self.field("ok", self.string(rest)?),
            b'-' => Ok(Value::Table(error_table(self.lua, rest, true)?)),
            b'$' => match self.bulk(number()) {
                Some(bytes) => self.string(bytes),
                None => Ok(Value::Boolean(false)),
            },
            b'_' => Ok(Value::Nil),
            b'#' => Ok(Value::Boolean(rest == b"t")),
            b',' => {
                let value = crate::number::strtod(rest).map_or(0.0, |(value, _)| value);
                self.field("double", Value::Number(value))
            }
            b'(' => self.field("big_number", self.string(rest)?),
            b'=' => {
                let bytes = self.bulk(number()).unwrap_or_default();
                let table = self.lua.create_table()?;
                table.raw_set("string", self.string(bytes.get(4..).unwrap_or_default())?)?;
                table.raw_set("format", self.string(bytes.get(..3).unwrap_or_default())?)?;
                self.field("verbatim_string", Value::Table(table))
            }
            b'*' | b'>' => {
                let count = number();
                if count < 0 {
                    return Ok(Value::Boolean(false));
                }
                let table = self.lua.create_table_with_capacity(count as usize, 0)?;
                for index in 1..=count {
                    let value = self.value()?;
                    table.raw_set(index, value)?;
                }
                Ok(Value::Table(table))
            }
            b'~' => {
                let table = self.lua.create_table()?;
                for _ in 0..number() {
                    let value = self.value()?;
                    table.raw_set(value, true)?;
                }
                self.field("set", Value::Table(table))
            }
            b'%' => {
                let table = self.lua.create_table()?;
                for _ in 0..number() {
                    let key = self.value()?;
                    let value = self.value()?;
                    table.raw_set(key, value)?;
                }
                self.field("map", Value::Table(table))
            }
            b'|' => {
                // An attribute says something about the reply behind it; scripts do not see it.
                for _ in 0..number() * 2 {
                    self.value()?;
                }
                self.value()
            }
            _ => Ok(Value::Nil),
        }
    }
}

/// Writes what a script returned. `script_resp3` says whether the script asked for RESP3: then
/// booleans are written as such. An error table as the whole result is `Err` with its text.
pub(crate) fn to_reply(
    value: &Value,
    script_resp3: bool,
    reply: &mut Reply,
) -> mlua::Result<Result<(), Vec<u8>>> {
    if let Value::Table(table) = value
        && let Value::String(text) = table.raw_get::<Value>("err")?
    {
        return Ok(Err(up_to_nul(&text.as_bytes()).to_vec()));
    }
    write(value, script_resp3, 0, reply)?;
    Ok(Ok(()))
}

fn write(value: &Value, script_resp3: bool, depth: usize, reply: &mut Reply) -> mlua::Result<()> {
    match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Boolean(value) if script_resp3 => reply.boolean(*value),
        Value::Boolean(true) => reply.integer(1),
        Value::Integer(number) => reply.integer(*number),
        Value::Number(number) => reply.integer(to_integer(*number)),
        Value::Table(table) => {
            if depth >= DEPTH_MAX {
                reply.error("ERR reached lua stack limit");
            } else {
                write_table(table, script_resp3, depth + 1, reply)?;
            }
        }
        _ => reply.null(),
    }
    Ok(())
}

fn write_table(
    table: &Table,
    script_resp3: bool,
    depth: usize,
    reply: &mut Reply,
) -> mlua::Result<()> {
    if let Value::String(text) = table.raw_get::<Value>("err")? {
        reply.error_bytes(up_to_nul(&text.as_bytes()));
        return Ok(());
    }
    if let Value::String(text) = table.raw_get::<Value>("ok")? {
        simple(&text.as_bytes(), reply);
        return Ok(());
    }
    match table.raw_get::<Value>("double")? {
        Value::Number(number) => {
            reply.double(number);
            return Ok(());
        }
        Value::Integer(number) => {
            reply.double(number as f64);
            return Ok(());
        }
        _ => {}
    }
    if let Value::Table(map) = table.raw_get::<Value>("map")? {
        let mark = reply.mark();
        let mut pairs = 0;
        for pair in map.pairs::<Value, Value>() {
            let (key, value) = pair?;
            write(&key, script_resp3, depth, reply)?;
            write(&value, script_resp3, depth, reply)?;
            pairs += 1;
        }
        reply.map_at(mark, pairs);
        return Ok(());
    }
    if let Value::Table(set) = table.raw_get::<Value>("set")? {
        let mark = reply.mark();
        let mut members = 0;
        for pair in set.pairs::<Value, Value>() {
            write(&pair?.0, script_resp3, depth, reply)?;
            members += 1;
        }
        reply.set_at(mark, members);
        return Ok(());
    }
    if let Value::String(digits) = table.raw_get::<Value>("big_number")? {
        let shown: String = String::from_utf8_lossy(&digits.as_bytes())
            .chars()
            .map(|c| if matches!(c, '\r' | '\n') { ' ' } else { c })
            .collect();
        reply.big_number(&shown);
        return Ok(());
    }
    if let Value::Table(verbatim) = table.raw_get::<Value>("verbatim_string")?
        && let (Value::String(text), Value::String(format)) =
            (verbatim.raw_get::<Value>("string")?, verbatim.raw_get::<Value>("format")?)
    {
        let mut shown = String::from_utf8_lossy(&format.as_bytes()).into_owned();
        shown.retain(|c| c.is_ascii() && !c.is_ascii_control());
        shown.push_str("   ");
        shown.truncate(3);
        reply.verbatim(&shown, &text.as_bytes());
        return Ok(());
    }
    let mark = reply.mark();
    let mut items = 0;
    loop {
        match table.raw_get::<Value>(items as i64 + 1)? {
            Value::Nil => break,
            value => write(&value, script_resp3, depth, reply)?,
        }
        items += 1;
    }
    reply.array_at(mark, items);
    Ok(())
}

/// Status and error texts end at a NUL: Redis reads them as C strings.
pub(crate) fn up_to_nul(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

fn simple(text: &[u8], reply: &mut Reply) {
    let text = up_to_nul(text);
    let buffer = reply.buffer_mut();
    buffer.push(b'+');
    buffer.extend(text.iter().map(|&b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
    buffer.extend_from_slice(b"\r\n");
}
