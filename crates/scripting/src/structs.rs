//! The library `struct`: values packed as C structures.
//! Source: behaviour of Roberto Ierusalimschy's struct 0.2 as Redis has it.

use crate::args::Argv;
use crate::raise;
use mlua::{Lua, MultiValue, Table, Value};

const INTEGER_MAX: usize = 32;
/// Largest alignment of a C type here.
const ALIGN_MAX: usize = 8;
/// The most bytes that are packed.
const PACKED_MAX: usize = 512 << 20;

/// How the next values are laid out.
struct Layout<'a> {
    format: &'a [u8],
    at: usize,
    little: bool,
    align: usize,
}

impl<'a> Layout<'a> {
    fn new(format: &'a [u8]) -> Layout<'a> {
        // As a C string: up to the first NUL.
        let end = format.iter().position(|&b| b == 0).unwrap_or(format.len());
        Layout { format: &format[..end], at: 0, little: true, align: 1 }
    }

    fn next(&mut self) -> Option<u8> {
        let option = self.format.get(self.at).copied();
        self.at += usize::from(option.is_some());
        option
    }

    /// A number in the format, or `default` without digits.
    fn count(&mut self, lua: &Lua, default: usize) -> mlua::Result<usize> {
        if !self.format.get(self.at).is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut value: i64 = 0;
        while let Some(digit) = self.format.get(self.at).filter(|b| b.is_ascii_digit()) {
            let digit = i64::from(digit - b'0');
            if value > (i64::from(i32::MAX) - digit) / 10 {
                return Err(raise::text(lua, "integral size overflow"));
            }
            value = value * 10 + digit;
            self.at += 1;
        }
        Ok(value as usize)
    }

    fn size_of(&mut self, lua: &Lua, option: u8) -> mlua::Result<usize> {
        Ok(match option {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.count(lua, 1)?,
            b'i' | b'I' => {
                let size = self.count(lua, 4)?;
                if size > INTEGER_MAX {
                    return Err(raise::text(
                        lua,
                        format!("integral size {size} is larger than limit of {INTEGER_MAX}"),
                    ));
                }
                size
            }
            _ => 0,
        })
    }

    /// Bytes to skip so that a value of this size is aligned at `position`.
    fn padding(&self, size: usize, option: u8, position: usize) -> usize {
        if size == 0 || option == b'c' {
            return 0;
        }
        let align = size.min(self.align);
        if align > 1 { (align - (position & (align - 1))) & (align - 1) } else { 0 }
    }

    fn control(&mut self, argv: &Argv<'_>, option: u8) -> mlua::Result<()> {
        match option {
            b' ' => {}
            b'>' => self.little = false,
            b'<' => self.little = true,
            b'!' => {
                let align = self.count(argv.lua, ALIGN_MAX)?;
                if align == 0 || align & (align - 1) != 0 {
                    let text = format!("alignment {align} is not a power of 2");
                    return Err(raise::text(argv.lua, text));
                }
                self.align = align;
            }
            other => {
                let mut text = b"invalid format option '".to_vec();
                text.extend_from_slice(&[other, b'\'']);
                return Err(argv.bad(1, text));
            }
        }
        Ok(())
    }
}

fn put_integer(out: &mut Vec<u8>, value: f64, size: usize, little: bool) {
    // As C casts: a negative number through the signed type.
    let bits = if value < 0.0 {
        crate::args::to_integer(value) as u64
    } else if value >= 18446744073709551616.0 || value.is_nan() {
        if value.is_nan() { 1 << 63 } else { 0 }
    } else {
        value as u64
    };
    let start = out.len();
    for byte in 0..size {
        out.push(if byte < 8 { (bits >> (8 * byte)) as u8 } else { 0 });
    }
    if !little {
        out[start..].reverse();
    }
}

fn get_integer(bytes: &[u8], little: bool, signed: bool) -> f64 {
    let size = bytes.len();
    let mut bits: u64 = 0;
    let mut add = |byte: &u8| bits = bits.wrapping_shl(8) | u64::from(*byte);
    if little {
        bytes.iter().rev().for_each(&mut add)
    } else {
        bytes.iter().for_each(&mut add)
    }
    if !signed {
        return bits as f64;
    }
    let mask = u64::MAX.wrapping_shl((size as u32 * 8).wrapping_sub(1));
    if bits & mask != 0 {
        bits |= mask;
    }
    bits as i64 as f64
}

fn pack(lua: &Lua, args: MultiValue) -> mlua::Result<mlua::LuaString> {
    let argv = Argv::new(lua, "pack", args);
    let format = argv.bytes(1)?;
    let mut layout = Layout::new(&format);
    let mut out = Vec::new();
    let mut arg = 2;
    // A missing argument is nil here, as a function of Redis puts one on the stack.
    let number = |at: usize| -> mlua::Result<f64> {
        if at > argv.len() {
            return Err(argv.bad(at, "number expected, got nil"));
        }
        argv.number(at)
    };
    let text = |at: usize| -> mlua::Result<Vec<u8>> {
        if at > argv.len() {
            return Err(argv.bad(at, "string expected, got nil"));
        }
        argv.bytes(at)
    };
    while let Some(option) = layout.next() {
        let size = layout.size_of(lua, option)?;
        let padding = layout.padding(size, option, out.len());
        out.resize(out.len() + padding, 0);
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                put_integer(&mut out, number(arg)?, size, layout.little);
                arg += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let bytes = (number(arg)? as f32).to_le_bytes();
                extend(&mut out, &bytes, layout.little);
                arg += 1;
            }
            b'd' => {
                extend(&mut out, &number(arg)?.to_le_bytes(), layout.little);
                arg += 1;
            }
            b'c' | b's' => {
                let bytes = text(arg)?;
                arg += 1;
                let size = if size == 0 { bytes.len() } else { size };
                if bytes.len() < size {
                    return Err(argv.bad(arg, "string too short"));
                }
                out.extend_from_slice(&bytes[..size]);
                if option == b's' {
                    out.push(0);
                }
            }
            other => layout.control(&argv, other)?,
        }
        if out.len() > PACKED_MAX {
            return Err(raise::text(lua, "resulting string too large"));
        }
    }
    lua.create_string(out)
}

fn extend(out: &mut Vec<u8>, bytes: &[u8], little: bool) {
    if little {
        out.extend_from_slice(bytes);
    } else {
        out.extend(bytes.iter().rev());
    }
}

/// The most values that one call returns.
const RESULTS_MAX: usize = 7900;

fn unpack(lua: &Lua, args: MultiValue) -> mlua::Result<MultiValue> {
    let argv = Argv::new(lua, "unpack", args);
    let format = argv.bytes(1)?;
    let data = argv.bytes(2)?;
    let offset = argv.integer_or(3, 1)?;
    if offset < 1 {
        return Err(argv.bad(3, "offset must be 1 or greater"));
    }
    let mut layout = Layout::new(&format);
    let mut position = (offset - 1) as usize;
    let mut results: Vec<Value> = Vec::new();
    while let Some(option) = layout.next() {
        let mut size = layout.size_of(lua, option)?;
        let padding = layout.padding(size, option, position);
        position = position.saturating_add(padding);
        if size > data.len() || position > data.len() - size {
            return Err(argv.bad(2, "data string too short"));
        }
        if results.len() >= RESULTS_MAX {
            return Err(raise::text(lua, "stack overflow (too many results)"));
        }
        let field = &data[position..position + size];
        let ordered = |out: &mut [u8]| {
            out.copy_from_slice(field);
            if !layout.little {
                out.reverse();
            }
        };
        match option {
            b'b' | b'B' | b'h' | b'H' | b'l' | b'L' | b'T' | b'i' | b'I' => {
                // A type letter in lower case is signed.
                let number = get_integer(field, layout.little, option.is_ascii_lowercase());
                results.push(Value::Number(number));
            }
            b'x' => {}
            b'f' => {
                let mut bytes = [0; 4];
                ordered(&mut bytes);
                results.push(Value::Number(f64::from(f32::from_le_bytes(bytes))));
            }
            b'd' => {
                let mut bytes = [0; 8];
                ordered(&mut bytes);
                results.push(Value::Number(f64::from_le_bytes(bytes)));
            }
            b'c' => {
                if size == 0 {
                    let last = results.last().and_then(|value| match value {
                        Value::Number(number) => Some(*number),
                        _ => None,
                    });
                    let Some(wanted) = last else {
                        return Err(raise::text(lua, "format 'c0' needs a previous size"));
                    };
                    results.pop();
                    let wanted = crate::args::to_integer(wanted);
                    if wanted < 0 || wanted as usize > data.len() - position {
                        return Err(argv.bad(2, "data string too short"));
                    }
                    size = wanted as usize;
                }
                let bytes = &data[position..position + size];
                results.push(Value::String(lua.create_string(bytes)?));
            }
            b's' => {
                let rest = &data[position..];
                let Some(end) = rest.iter().position(|&b| b == 0) else {
                    return Err(raise::text(lua, "unfinished string in data"));
                };
                results.push(Value::String(lua.create_string(&rest[..end])?));
                size = end + 1;
            }
            other => layout.control(&argv, other)?,
        }
        position += size;
    }
    results.push(Value::Number((position + 1) as f64));
    Ok(MultiValue::from_vec(results))
}

fn size(lua: &Lua, args: MultiValue) -> mlua::Result<f64> {
    let argv = Argv::new(lua, "size", args);
    let format = argv.bytes(1)?;
    let mut layout = Layout::new(&format);
    let mut position = 0usize;
    while let Some(option) = layout.next() {
        let size = layout.size_of(lua, option)?;
        position = position.saturating_add(layout.padding(size, option, position));
        if option == b's' {
            return Err(argv.bad(1, "option 's' has no fixed size"));
        }
        if option == b'c' && size == 0 {
            return Err(argv.bad(1, "option 'c0' has no fixed size"));
        }
        if !option.is_ascii_alphanumeric() {
            layout.control(&argv, option)?;
        }
        position = position.saturating_add(size);
    }
    Ok(position as f64)
}

/// The library.
pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", lua.create_function(pack)?)?;
    table.raw_set("unpack", lua.create_function(unpack)?)?;
    table.raw_set("size", lua.create_function(size)?)?;
    Ok(table)
}
