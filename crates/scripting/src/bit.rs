//! The library `bit`: operations on 32-bit integers.
//! Source: behaviour of Lua BitOp 1.0.2 as Redis has it.

use crate::args::Argv;
use mlua::{Lua, MultiValue, Table};

/// A number as 32 bits: rounded to the nearest integer, then modulo 2^32. As the original does it, by
/// adding 2^52 + 2^51 and taking the lowest bits of the sum: beyond 2^51 the result is odd, but the
/// same.
fn to_bits(number: f64) -> u32 {
    (number + 6755399441055744.0).to_bits() as u32
}

fn bits(argv: &Argv<'_>, at: usize) -> mlua::Result<u32> {
    Ok(to_bits(argv.number(at)?))
}

fn signed(bits: u32) -> f64 {
    f64::from(bits as i32)
}

fn fold(lua: &Lua, name: &'static str, join: fn(u32, u32) -> u32) -> mlua::Result<mlua::Function> {
    lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, name, args);
        let mut all = bits(&argv, 1)?;
        for at in 2..=argv.len() {
            all = join(all, bits(&argv, at)?);
        }
        Ok(signed(all))
    })
}

fn shift(lua: &Lua, name: &'static str, by: fn(u32, u32) -> u32) -> mlua::Result<mlua::Function> {
    lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, name, args);
        let value = bits(&argv, 1)?;
        Ok(signed(by(value, bits(&argv, 2)? & 31)))
    })
}

fn one(lua: &Lua, name: &'static str, of: fn(u32) -> u32) -> mlua::Result<mlua::Function> {
    lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, name, args);
        Ok(signed(of(bits(&argv, 1)?)))
    })
}

fn to_hex(lua: &Lua, args: MultiValue) -> mlua::Result<String> {
    let argv = Argv::new(lua, "tohex", args);
    let value = bits(&argv, 1)?;
    let digits = if argv.is_none_or_nil(2) { 8 } else { bits(&argv, 2)? as i32 };
    let count = (digits.unsigned_abs() as usize).min(8);
    let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    Ok(text[8 - count..].to_string())
}

/// The library.
pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("tobit", one(lua, "tobit", |a| a)?)?;
    table.raw_set("bnot", one(lua, "bnot", |a| !a)?)?;
    table.raw_set("bswap", one(lua, "bswap", u32::swap_bytes)?)?;
    table.raw_set("band", fold(lua, "band", |a, b| a & b)?)?;
    table.raw_set("bor", fold(lua, "bor", |a, b| a | b)?)?;
    table.raw_set("bxor", fold(lua, "bxor", |a, b| a ^ b)?)?;
    table.raw_set("lshift", shift(lua, "lshift", |a, n| a << n)?)?;
    table.raw_set("rshift", shift(lua, "rshift", |a, n| a >> n)?)?;
    table.raw_set("arshift", shift(lua, "arshift", |a, n| ((a as i32) >> n) as u32)?)?;
    table.raw_set("rol", shift(lua, "rol", u32::rotate_left)?)?;
    table.raw_set("ror", shift(lua, "ror", u32::rotate_right)?)?;
    table.raw_set("tohex", lua.create_function(to_hex)?)?;
    Ok(table)
}
