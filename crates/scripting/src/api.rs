//! The table `redis` (also called `server`).
//! Source: redis 7.0 `script_lua.c`.

use crate::args::as_bytes;
use crate::current::{self, Ask};
use crate::raise::{self, error_table};
use mlua::{Lua, MultiValue, Table, Value};
use sha1::{Digest, Sha1};

/// What scripts are told of the server.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// `REDIS_VERSION`
    pub version: &'static str,
    /// `REDIS_VERSION_NUM`
    pub version_number: u32,
}

/// Bits of `redis.set_repl`.
pub const REPL_AOF: i64 = 1;
/// See [`REPL_AOF`].
pub const REPL_REPLICA: i64 = 2;

/// The hexadecimal SHA1 of bytes.
pub fn sha1_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |four: u8| char::from(DIGITS[usize::from(four & 15)]);
    let mut text = String::with_capacity(40);
    for byte in Sha1::digest(bytes) {
        text.push(digit(byte >> 4));
        text.push(digit(byte));
    }
    text
}

fn asks(lua: &Lua, what: Ask) -> mlua::Result<mlua::Function> {
    if matches!(what, Ask::Log | Ask::SetRepl | Ask::SetResp) {
        return lua.create_function(move |lua, args: MultiValue| {
            current::ask(lua, what, args).map(|_| ())
        });
    }
    lua.create_function(move |lua, args: MultiValue| current::ask(lua, what, args))
}

/// One string in a table, or an error table for wrong arguments.
fn one_field(lua: &Lua, args: &MultiValue) -> mlua::Result<Result<Vec<u8>, Table>> {
    match (args.len(), args.front()) {
        (1, Some(Value::String(text))) => Ok(Ok(text.as_bytes().to_vec())),
        _ => Ok(Err(error_table(lua, b"ERR wrong number or type of arguments", true)?)),
    }
}

/// The text of `redis.error_reply`: a code is put before what has none.
/// Source: redis 7.0 `script_lua.c:luaPushErrorBuff`.
fn error_text(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let text: Vec<u8> = if text.contains(&b' ') { text.to_vec() } else { [b"ERR ", text].concat() };
    let end = text.iter().rposition(|b| !matches!(b, b'\r' | b'\n')).map_or(0, |at| at + 1);
    text[..end].to_vec()
}

/// What a library may use while it is loaded and a running script too.
pub(crate) fn common(lua: &Lua, about: About) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("log", asks(lua, Ask::Log)?)?;
    for (name, level) in
        [("LOG_DEBUG", 0), ("LOG_VERBOSE", 1), ("LOG_NOTICE", 2), ("LOG_WARNING", 3)]
    {
        table.raw_set(name, level)?;
    }
    table.raw_set("REDIS_VERSION", about.version)?;
    table.raw_set("REDIS_VERSION_NUM", about.version_number)?;
    Ok(table)
}

/// The whole table.
pub(crate) fn library(lua: &Lua, about: About, for_eval: bool) -> mlua::Result<Table> {
    let table = common(lua, about)?;
    for (name, what) in [
        ("call", Ask::Call),
        ("pcall", Ask::Pcall),
        ("set_repl", Ask::SetRepl),
        ("setresp", Ask::SetResp),
        ("acl_check_cmd", Ask::AclCheck),
    ] {
        table.raw_set(name, asks(lua, what)?)?;
    }
    for (name, bits) in [
        ("REPL_NONE", 0),
        ("REPL_AOF", REPL_AOF),
        ("REPL_SLAVE", REPL_REPLICA),
        ("REPL_REPLICA", REPL_REPLICA),
        ("REPL_ALL", REPL_AOF | REPL_REPLICA),
    ] {
        table.raw_set(name, bits)?;
    }
    let error_reply =
        lua.create_function(|lua, args: MultiValue| match one_field(lua, &args)? {
            Ok(text) => error_table(lua, &error_text(&text), false),
            Err(table) => Ok(table),
        })?;
    table.raw_set("error_reply", error_reply)?;
    let status_reply =
        lua.create_function(|lua, args: MultiValue| match one_field(lua, &args)? {
            Ok(text) => {
                let table = lua.create_table()?;
                table.raw_set("ok", lua.create_string(text)?)?;
                Ok(table)
            }
            Err(table) => Ok(table),
        })?;
    table.raw_set("status_reply", status_reply)?;
    let sha1hex = lua.create_function(|_, args: MultiValue| {
        if args.len() != 1 {
            return Err(raise::table("ERR wrong number of arguments"));
        }
        Ok(sha1_hex(&args.front().and_then(as_bytes).unwrap_or_default()))
    })?;
    table.raw_set("sha1hex", sha1hex)?;
    if for_eval {
        table.raw_set("replicate_commands", lua.create_function(|_, _: MultiValue| Ok(true))?)?;
        // There is no debugger: nothing stops, nothing is printed.
        table.raw_set("breakpoint", lua.create_function(|_, _: MultiValue| Ok(false))?)?;
        table.raw_set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    }
    Ok(table)
}
