//! The library `cmsgpack`: MessagePack both ways.
//! Source: behaviour of lua-cmsgpack 0.4.0 as Redis has it; the MessagePack specification.

use crate::args::{Argv, to_integer};
use crate::raise;
use mlua::{Lua, MultiValue, Table, Value};

/// Tables nested deeper than this are packed as nil.
const NESTING_MAX: usize = 16;
/// Nesting beyond this is not unpacked.
const DEPTH_MAX: usize = 2000;
/// The most bytes that are packed.
const BYTES_MAX: usize = 512 << 20;
/// The most values that one call returns.
const RESULTS_MAX: usize = 7900;

fn integer(out: &mut Vec<u8>, value: i64) {
    match value {
        0..=127 => out.push(value as u8),
        128..=0xff => out.extend([0xcc, value as u8]),
        0x100..=0xffff => {
            out.push(0xcd);
            out.extend((value as u16).to_be_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xce);
            out.extend((value as u32).to_be_bytes());
        }
        0x1_0000_0000.. => {
            out.push(0xcf);
            out.extend((value as u64).to_be_bytes());
        }
        -32..=-1 => out.push(value as u8),
        -128..=-33 => out.extend([0xd0, value as u8]),
        -32768..=-129 => {
            out.push(0xd1);
            out.extend((value as i16).to_be_bytes());
        }
        -0x8000_0000..=-32769 => {
            out.push(0xd2);
            out.extend((value as i32).to_be_bytes());
        }
        _ => {
            out.push(0xd3);
            out.extend(value.to_be_bytes());
        }
    }
}

fn float(out: &mut Vec<u8>, value: f64) {
    if f64::from(value as f32) == value {
        out.push(0xca);
        out.extend((value as f32).to_be_bytes());
    } else {
        out.push(0xcb);
        out.extend(value.to_be_bytes());
    }
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        length @ 0..=31 => out.push(0xa0 | length as u8),
        length @ 32..=0xff => out.extend([0xd9, length as u8]),
        length @ 0x100..=0xffff => {
            out.push(0xda);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(0xdb);
            out.extend((length as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(bytes);
}

fn head(out: &mut Vec<u8>, length: usize, fix: u8, long: u8) {
    match length {
        0..=15 => out.push(fix | length as u8),
        16..=0xffff => {
            out.push(long);
            out.extend((length as u16).to_be_bytes());
        }
        _ => {
            out.push(long + 1);
            out.extend((length as u32).to_be_bytes());
        }
    }
}

/// Number of elements if the keys are 1 to that number, else `None` and the number of pairs.
fn shape(table: &Table) -> mlua::Result<(bool, usize)> {
    let (mut highest, mut count, mut array) = (0i64, 0usize, true);
    for pair in table.pairs::<Value, Value>() {
        count += 1;
        match pair?.0 {
            Value::Integer(index) if index > 0 && index <= i64::from(i32::MAX) => {
                highest = highest.max(index);
            }
            _ => array = false,
        }
    }
    Ok((array && highest == count as i64, count))
}

fn pack_value(lua: &Lua, out: &mut Vec<u8>, value: &Value, level: usize) -> mlua::Result<()> {
    if out.len() > BYTES_MAX {
        return Err(raise::text(lua, "resulting string too large"));
    }
    match value {
        Value::String(bytes) => text(out, &bytes.as_bytes()),
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(value) => integer(out, *value),
        Value::Number(value) => float(out, *value),
        Value::Table(table) if level < NESTING_MAX => {
            let (array, count) = shape(table)?;
            if array {
                head(out, count, 0x90, 0xdc);
                for index in 1..=count {
                    pack_value(lua, out, &table.raw_get(index)?, level + 1)?;
                }
            } else {
                head(out, count, 0x80, 0xde);
                for pair in table.pairs::<Value, Value>() {
                    let (key, value) = pair?;
                    pack_value(lua, out, &key, level + 1)?;
                    pack_value(lua, out, &value, level + 1)?;
                }
            }
        }
        _ => out.push(0xc0),
    }
    Ok(())
}

fn pack(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::LuaString> {
    let argv = Argv::new(lua, "pack", args);
    if argv.len() == 0 {
        return Err(argv.bad(0, "MessagePack pack needs input."));
    }
    let mut out = Vec::new();
    for value in argv.values() {
        pack_value(lua, &mut out, value, 0)?;
    }
    lua.create_string(out)
}

struct Cursor<'a> {
    lua: &'a Lua,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn take(&mut self, length: usize) -> mlua::Result<&'a [u8]> {
        if length > self.left() {
            return Err(raise::text(self.lua, "Missing bytes in input."));
        }
        let taken = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(taken)
    }

    fn unsigned(&mut self, size: usize) -> mlua::Result<u64> {
        Ok(self.take(size)?.iter().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn signed(&mut self, size: usize) -> mlua::Result<f64> {
        let shift = 64 - 8 * size as u32;
        Ok(((self.unsigned(size)? << shift) as i64 >> shift) as f64)
    }

    fn string(&mut self, length: u64) -> mlua::Result<Value> {
        let bytes = self.take(usize::try_from(length).unwrap_or(usize::MAX))?;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        if depth > DEPTH_MAX {
            let what = "stack overflow (in function mp_decode_to_lua_type)";
            return Err(raise::text(self.lua, what));
        }
        let mark = self.take(1)?[0];
        Ok(match mark {
            0..=0x7f => Value::Number(f64::from(mark)),
            0xe0..=0xff => Value::Number(f64::from(mark as i8)),
            0x80..=0x8f => self.map(u64::from(mark & 0xf), depth)?,
            0x90..=0x9f => self.array(u64::from(mark & 0xf), depth)?,
            0xa0..=0xbf => self.string(u64::from(mark & 0x1f))?,
            0xc0 => Value::Nil,
            0xc2 => Value::Boolean(false),
            0xc3 => Value::Boolean(true),
            0xca => {
                let bits = self.unsigned(4)? as u32;
                Value::Number(f64::from(f32::from_bits(bits)))
            }
            0xcb => Value::Number(f64::from_bits(self.unsigned(8)?)),
            0xcc..=0xcf => Value::Number(self.unsigned(1 << (mark - 0xcc))? as f64),
            0xd0..=0xd3 => Value::Number(self.signed(1 << (mark - 0xd0))?),
            0xc4..=0xc6 => {
                let length = self.unsigned(1 << (mark - 0xc4))?;
                self.string(length)?
            }
            0xd9..=0xdb => {
                let length = self.unsigned(1 << (mark - 0xd9))?;
                self.string(length)?
            }
            0xdc | 0xdd => {
                let count = self.unsigned(2 << (mark - 0xdc))?;
                self.array(count, depth)?
            }
            0xde | 0xdf => {
                let count = self.unsigned(2 << (mark - 0xde))?;
                self.map(count, depth)?
            }
            _ => return Err(raise::text(self.lua, "Bad data format in input.")),
        })
    }

    fn array(&mut self, count: u64, depth: usize) -> mlua::Result<Value> {
        // Room is not reserved by the announced count: it may be a lie.
        let table = self.lua.create_table()?;
        for index in 1..=count as i64 {
            let value = self.value(depth + 1)?;
            table.raw_set(index, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, count: u64, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        for _ in 0..count {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            match &key {
                Value::Nil => return Err(raise::text(self.lua, "table index is nil")),
                Value::Number(number) if number.is_nan() => {
                    return Err(raise::text(self.lua, "table index is NaN"));
                }
                _ => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}

fn unpack_from(argv: &Argv<'_>, limit: i64, offset: i64) -> mlua::Result<MultiValue> {
    let lua = argv.lua;
    let bytes = argv.bytes(1)?;
    let all = limit == 0 && offset == 0;
    if limit < 0 || offset < 0 {
        let text = format!(
            "Invalid request to unpack with offset of {offset} and limit of {}.",
            bytes.len()
        );
        return Err(raise::text(lua, text));
    }
    if offset as usize > bytes.len() {
        let length = bytes.len();
        let text = format!("Start offset {offset} greater than input length {length}.");
        return Err(raise::text(lua, text));
    }
    let limit = if all { usize::MAX } else { limit as usize };
    let mut cursor = Cursor { lua, bytes: &bytes, at: offset as usize };
    let mut values = Vec::new();
    while cursor.left() > 0 && values.len() < limit {
        if values.len() >= RESULTS_MAX {
            return Err(raise::text(lua, "stack overflow (too many results)"));
        }
        values.push(cursor.value(0)?);
    }
    if !all {
        let next = if cursor.left() == 0 { -1.0 } else { cursor.at as f64 };
        values.insert(0, Value::Number(next));
    }
    Ok(MultiValue::from_vec(values))
}

/// The library.
pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", lua.create_function(pack)?)?;
    let all = lua.create_function(|lua, args: MultiValue| {
        unpack_from(&Argv::new(lua, "unpack", args), 0, 0)
    })?;
    table.raw_set("unpack", all)?;
    let one = lua.create_function(|lua, args: MultiValue| {
        let argv = Argv::new(lua, "unpack_one", args);
        let offset = argv.integer_or(2, 0)?;
        unpack_from(&argv, 1, i64::from(to_integer(offset as f64) as i32))
    })?;
    table.raw_set("unpack_one", one)?;
    let some = lua.create_function(|lua, args: MultiValue| {
        let argv = Argv::new(lua, "unpack_limit", args);
        let limit = argv.integer(2)? as i32;
        let offset = argv.integer_or(3, 0)? as i32;
        unpack_from(&argv, i64::from(limit), i64::from(offset))
    })?;
    table.raw_set("unpack_limit", some)?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}
