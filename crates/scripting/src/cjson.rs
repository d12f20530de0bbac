//! The library `cjson`: JSON both ways.
//! Source: behaviour of lua-cjson 2.1.0 as Redis has it.

mod decode;
mod encode;

use crate::args::{Argv, type_name};
use mlua::{Lua, MultiValue, Table, Value};
use std::sync::{Arc, Mutex, PoisonError};

/// What encoding and decoding may do; scripts can change it, and it stays changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    sparse_convert: bool,
    sparse_ratio: i64,
    sparse_safe: i64,
    encode_max_depth: i64,
    decode_max_depth: i64,
    precision: i64,
    keep_buffer: bool,
    encode_invalid: Invalid,
    decode_invalid: bool,
}

/// What becomes of numbers that JSON does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Refuse,
    Write,
    Null,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_max_depth: 1000,
            decode_max_depth: 1000,
            precision: 14,
            keep_buffer: true,
            encode_invalid: Invalid::Refuse,
            decode_invalid: true,
        }
    }
}

/// Nesting beyond this is refused whatever a script has set: the interpreter's own stack would end
/// about here.
const DEPTH_MAX: i64 = 2000;

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Options>>);

impl Shared {
    fn get(&self) -> Options {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Options)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// An integer argument within bounds, if it was given.
fn integer_option(argv: &Argv<'_>, at: usize, min: i64, max: i64) -> mlua::Result<Option<i64>> {
    if argv.is_none_or_nil(at) {
        return Ok(None);
    }
    let value = argv.integer(at)?;
    if value < min || value > max {
        return Err(argv.bad(at, format!("expected integer between {min} and {max}")));
    }
    Ok(Some(value))
}

fn at_most(argv: &Argv<'_>, count: usize) -> mlua::Result<()> {
    if argv.len() > count {
        return Err(argv.bad(count + 1, "found too many arguments"));
    }
    Ok(())
}

/// A boolean, or one of the words, as an index: off, on, then `word`.
fn word_option(
    argv: &Argv<'_>,
    at: usize,
    word: Option<&'static str>,
) -> mlua::Result<Option<usize>> {
    match argv.get(at) {
        None | Some(Value::Nil) => Ok(None),
        Some(Value::Boolean(on)) => Ok(Some(usize::from(*on))),
        _ => {
            let given = argv.bytes(at)?;
            match &given[..] {
                b"off" => Ok(Some(0)),
                b"on" => Ok(Some(1)),
                other if word.is_some_and(|word| word.as_bytes() == other) => Ok(Some(2)),
                other => {
                    let text = [b"invalid option '", other, b"'"].concat();
                    Err(argv.bad(at, text))
                }
            }
        }
    }
}

type Field = fn(&mut Options) -> &mut i64;

fn number_setting(
    lua: &Lua,
    shared: &Shared,
    name: &'static str,
    max: i64,
    field: Field,
) -> mlua::Result<mlua::Function> {
    let shared = shared.clone();
    lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, name, args);
        at_most(&argv, 1)?;
        if let Some(value) = integer_option(&argv, 1, 1, max)? {
            shared.change(|options| *field(options) = value);
        }
        Ok(*field(&mut shared.get()) as f64)
    })
}

fn sparse_setting(lua: &Lua, shared: &Shared) -> mlua::Result<mlua::Function> {
    let shared = shared.clone();
    lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "encode_sparse_array", args);
        at_most(&argv, 3)?;
        let int_max = i64::from(i32::MAX);
        let convert = word_option(&argv, 1, None)?;
        let ratio = integer_option(&argv, 2, 0, int_max)?;
        let safe = integer_option(&argv, 3, 0, int_max)?;
        shared.change(|options| {
            options.sparse_convert = convert.map_or(options.sparse_convert, |on| on == 1);
            options.sparse_ratio = ratio.unwrap_or(options.sparse_ratio);
            options.sparse_safe = safe.unwrap_or(options.sparse_safe);
        });
        let now = shared.get();
        Ok((now.sparse_convert, now.sparse_ratio as f64, now.sparse_safe as f64))
    })
}

fn flag_settings(lua: &Lua, table: &Table, shared: &Shared) -> mlua::Result<()> {
    let options = shared.clone();
    let keep = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "encode_keep_buffer", args);
        at_most(&argv, 1)?;
        if let Some(on) = word_option(&argv, 1, None)? {
            options.change(|options| options.keep_buffer = on == 1);
        }
        Ok(options.get().keep_buffer)
    })?;
    table.raw_set("encode_keep_buffer", keep)?;
    let options = shared.clone();
    let encode = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "encode_invalid_numbers", args);
        at_most(&argv, 1)?;
        if let Some(word) = word_option(&argv, 1, Some("null"))? {
            let chosen = [Invalid::Refuse, Invalid::Write, Invalid::Null][word];
            options.change(|options| options.encode_invalid = chosen);
        }
        Ok(match options.get().encode_invalid {
            Invalid::Refuse => Value::Boolean(false),
            Invalid::Write => Value::Boolean(true),
            Invalid::Null => Value::String(lua.create_string("null")?),
        })
    })?;
    table.raw_set("encode_invalid_numbers", encode)?;
    let options = shared.clone();
    let decode = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "decode_invalid_numbers", args);
        at_most(&argv, 1)?;
        if let Some(on) = word_option(&argv, 1, None)? {
            options.change(|options| options.decode_invalid = on == 1);
        }
        Ok(options.get().decode_invalid)
    })?;
    table.raw_set("decode_invalid_numbers", decode)
}

fn one_argument(argv: &Argv<'_>) -> mlua::Result<()> {
    if argv.len() == 1 { Ok(()) } else { Err(argv.bad(1, "expected 1 argument")) }
}

/// The library, with options of its own.
pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let shared = Shared::default();
    let table = lua.create_table()?;
    let options = shared.clone();
    let encode = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "encode", args);
        one_argument(&argv)?;
        let mut out = Vec::new();
        encode::value(lua, &options.get(), &argv.values()[0], 0, &mut out)?;
        lua.create_string(out)
    })?;
    table.raw_set("encode", encode)?;
    let options = shared.clone();
    let decode = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "decode", args);
        one_argument(&argv)?;
        decode::document(lua, &options.get(), &argv.bytes(1)?)
    })?;
    table.raw_set("decode", decode)?;
    let int_max = i64::from(i32::MAX);
    let settings: [(&'static str, i64, Field); 3] = [
        ("encode_max_depth", int_max, |options| &mut options.encode_max_depth),
        ("decode_max_depth", int_max, |options| &mut options.decode_max_depth),
        ("encode_number_precision", 14, |options| &mut options.precision),
    ];
    for (name, max, field) in settings {
        table.raw_set(name, number_setting(lua, &shared, name, max, field)?)?;
    }
    table.raw_set("encode_sparse_array", sparse_setting(lua, &shared)?)?;
    flag_settings(lua, &table, &shared)?;
    table.raw_set("new", lua.create_function(|lua, ()| library(lua))?)?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(table)
}

fn cannot(lua: &Lua, value: &Value, why: &str) -> mlua::Error {
    crate::raise::text(lua, format!("Cannot serialise {}: {why}", type_name(value)))
}
