//! What a script can reach: the libraries without what would let it out, and tables that it can
//! read but not change.
//!
//! The interpreter has no read-only tables. A protected table is an empty one whose metatable
//! leads to the real one and refuses writes; every function that goes past metatables (`rawset`,
//! `next`, …) is replaced by one that knows which tables are protected.

use crate::args::{Argv, type_name};
use crate::random::Random;
use crate::{bit, cjson, cmsgpack, raise, random, strings, structs};
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, MultiValue, Table, Value, Variadic};

/// Text of every refused write.
pub(crate) const READONLY: &str = "Attempt to modify a readonly table";

/// Functions of the base library that scripts keep.
const BASE: &[&str] = &[
    "_VERSION",
    "assert",
    "collectgarbage",
    "error",
    "gcinfo",
    "getmetatable",
    "ipairs",
    "next",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawset",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
    "unpack",
    "xpcall",
];

/// The sandbox of one interpreter.
pub(crate) struct Sandbox {
    /// The real table of globals: `KEYS`, `ARGV` and `redis` are put here.
    pub globals: Table,
    /// The table of globals that scripts see.
    pub visible: Table,
    /// Real tables by their protected ones.
    pub backing: Table,
    /// Runs a function of a library with an error handler: (function, handler, keys, arguments).
    pub run: Function,
    /// Makes the two functions that run a script, for which keys and arguments are put into the
    /// globals: (script, handler, globals) to one that takes (keys, arguments) and one that takes
    /// (key, arguments…).
    pub bind: Function,
}

impl Sandbox {
    /// Cuts a fresh interpreter down.
    pub(crate) fn new(lua: &Lua, generator: &Random) -> mlua::Result<Sandbox> {
        let original = lua.globals();
        let globals = lua.create_table()?;
        for name in BASE {
            globals.raw_set(*name, original.raw_get::<Value>(*name)?)?;
        }
        let backing = lua.create_table()?;
        let string: Table = original.raw_get("string")?;
        let table: Table = original.raw_get("table")?;
        let math: Table = original.raw_get("math")?;
        let coroutine: Table = original.raw_get("coroutine")?;
        let os = lua.create_table()?;
        os.raw_set("clock", original.raw_get::<Table>("os")?.raw_get::<Value>("clock")?)?;
        random::install(lua, &math, generator)?;
        let (next_match, gsub) = strings::install(lua, &string)?;
        let (run, bind) =
            install_glue(lua, &globals, &string, &table, &coroutine, &backing, next_match, gsub)?;
        install_raw(lua, &globals, &backing)?;
        install_tables(lua, &table, &backing)?;

        let metatable: Table = lua.load("return getmetatable('')").set_name("=glue").eval()?;
        let string_metatable = protect(lua, &backing, &metatable)?;
        install_getmetatable(lua, &globals, &backing, metatable, string_metatable)?;
        for (name, library) in [
            ("string", string),
            ("table", table),
            ("math", math),
            ("coroutine", coroutine),
            ("os", os),
            ("bit", bit::library(lua)?),
            ("cjson", cjson::library(lua)?),
            ("cmsgpack", cmsgpack::library(lua)?),
            ("struct", structs::library(lua)?),
        ] {
            globals.raw_set(name, protect(lua, &backing, &library)?)?;
        }
        guard_missing(lua, &globals)?;
        let visible = protect(lua, &backing, &globals)?;
        globals.raw_set("_G", &visible)?;
        lua.set_globals(visible.clone())?;
        Ok(Sandbox { globals, visible, backing, run, bind })
    }

    /// A table that shows another one and refuses writes.
    pub(crate) fn protect(&self, lua: &Lua, real: &Table) -> mlua::Result<Table> {
        protect(lua, &self.backing, real)
    }
}

fn protect(lua: &Lua, backing: &Table, real: &Table) -> mlua::Result<Table> {
    let shown = lua.create_table()?;
    let metatable = lua.create_table()?;
    metatable.raw_set("__index", real)?;
    metatable.raw_set(
        "__newindex",
        lua.create_function(|lua, _: MultiValue| -> mlua::Result<()> {
            Err(raise::text(lua, READONLY))
        })?,
    )?;
    shown.set_metatable(Some(metatable))?;
    backing.raw_set(&shown, real)?;
    Ok(shown)
}

/// A name that is not there is an error, not nil.
pub(crate) fn guard_missing(lua: &Lua, globals: &Table) -> mlua::Result<()> {
    let metatable = lua.create_table()?;
    metatable.raw_set(
        "__index",
        lua.create_function(|lua, args: MultiValue| -> mlua::Result<Value> {
            let name = args.get(1).and_then(crate::args::as_bytes).unwrap_or_default();
            let mut text = b"Script attempted to access nonexistent global variable '".to_vec();
            text.extend(name);
            text.push(b'\'');
            Err(raise::text(lua, text))
        })?,
    )?;
    globals.set_metatable(Some(metatable))
}

fn original(globals: &Table, name: &str) -> mlua::Result<Value> {
    globals.raw_get(name)
}

#[allow(clippy::too_many_arguments)]
fn install_glue(
    lua: &Lua,
    globals: &Table,
    string: &Table,
    table: &Table,
    coroutine: &Table,
    backing: &Table,
    next_match: Function,
    gsub: Function,
) -> mlua::Result<(Function, Function)> {
    // Turns an error object into what scripts see. With a second argument an end that must not be
    // held up is raised again; without, it is told by a second result.
    let visible = lua.create_function(|lua, (value, strict): (Value, Option<bool>)| {
        let Value::Error(error) = &value else { return Ok((value, false)) };
        match raise::visible(lua, error)? {
            Some(seen) => Ok((seen, false)),
            None if strict.is_some() => Err((**error).clone()),
            None => Ok((Value::Nil, true)),
        }
    })?;
    let write_error =
        lua.create_function(|_, ()| -> mlua::Result<()> { Err(raise::bare(READONLY)) })?;
    let load_text = lua.create_function(load_string)?;
    globals.raw_set("loadstring", &load_text)?;
    let type_error = lua.create_function(|_, (name, at): (String, i64)| {
        Ok(format!("bad argument #{at} to '{name}' (value expected)"))
    })?;
    let chunk = lua
        .load(include_str!("glue.lua"))
        .set_name(raise::GLUE)
        .set_mode(ChunkMode::Text)
        .into_function()?;
    let arguments = MultiValue::from_vec(vec![
        original(globals, "pcall")?,
        original(globals, "xpcall")?,
        coroutine.raw_get("resume")?,
        original(globals, "error")?,
        original(globals, "type")?,
        Value::Function(gsub),
        Value::Function(next_match),
        Value::Function(visible),
        table.raw_get("sort")?,
        Value::Table(backing.clone()),
        table.raw_get("concat")?,
        Value::Function(load_text),
        Value::Function(write_error),
        original(globals, "select")?,
        original(globals, "tostring")?,
        Value::Function(type_error),
    ]);
    let parts: [Function; 8] = chunk
        .call::<Variadic<Function>>(arguments)?
        .to_vec()
        .try_into()
        .map_err(|_| mlua::Error::runtime("glue"))?;
    let [pcall, xpcall, resume, gsub, sort, load, run, bind] = parts;
    globals.raw_set("pcall", pcall)?;
    globals.raw_set("xpcall", xpcall)?;
    coroutine.raw_set("resume", resume)?;
    string.raw_set("gsub", gsub)?;
    table.raw_set("sort", sort)?;
    globals.raw_set("load", load)?;
    Ok((run, bind))
}

/// `loadstring`, for source text only: compiled code could break out of the interpreter.
fn load_string(lua: &Lua, args: MultiValue) -> mlua::Result<MultiValue> {
    let argv = Argv::new(lua, "loadstring", args);
    let text = argv.bytes(1)?;
    let name = if argv.is_none_or_nil(2) { text.clone() } else { argv.bytes(2)? };
    match compile(lua, &text, &String::from_utf8_lossy(&name)) {
        Ok(function) => Ok(MultiValue::from_vec(vec![Value::Function(function)])),
        Err(text) => {
            let text = Value::String(lua.create_string(text)?);
            Ok(MultiValue::from_vec(vec![Value::Nil, text]))
        }
    }
}

/// Compiles source text. The name is kept alive meanwhile: the parser does not hold on to it.
pub(crate) fn compile(lua: &Lua, text: &[u8], name: &str) -> Result<Function, Vec<u8>> {
    let name = name.split('\0').next().unwrap_or_default();
    let shown = |error: mlua::Error| match error {
        mlua::Error::SyntaxError { message, .. } => message.into_bytes(),
        other => raise::read(&other).to_string().into_bytes(),
    };
    let kept = lua.create_string(name).map_err(shown)?;
    let loaded =
        lua.load(text).set_name(name).set_mode(ChunkMode::Text).into_function().map_err(|error| {
            if text.first() == Some(&0x1b) {
                // Redis's interpreter has no reader of compiled code: it finds a wrong character.
                let shown = if name.starts_with('\x1b') {
                    "[string \"\x1bLuaQ\"]".to_string()
                } else {
                    name.trim_start_matches(['@', '=']).to_string()
                };
                return format!("{shown}:1: unexpected symbol near 'char(27)'").into_bytes();
            }
            shown(error)
        });
    drop(kept);
    loaded
}

fn install_raw(lua: &Lua, globals: &Table, backing: &Table) -> mlua::Result<()> {
    let known = backing.clone();
    let rawset = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "rawset", args);
        let table = argv.table(1)?;
        if argv.len() < 3 {
            return Err(argv.bad(argv.len() + 1, "value expected"));
        }
        refuse_protected(&known, table)?;
        match &argv.values()[1] {
            Value::Nil => return Err(raise::text(lua, "table index is nil")),
            Value::Number(key) if key.is_nan() => {
                return Err(raise::text(lua, "table index is NaN"));
            }
            key => table.raw_set(key, &argv.values()[2])?,
        }
        Ok(table.clone())
    })?;
    globals.raw_set("rawset", rawset)?;
    let known = backing.clone();
    let rawget = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "rawget", args);
        let real = real(&known, argv.table(1)?)?;
        match argv.get(2) {
            None => Err(argv.bad(2, "value expected")),
            Some(key) => real.raw_get::<Value>(key),
        }
    })?;
    globals.raw_set("rawget", rawget)?;
    let plain_next: Function = globals.raw_get("next")?;
    let known = backing.clone();
    let next = plain_next.clone();
    let pairs = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "pairs", args);
        Ok((next.clone(), real(&known, argv.table(1)?)?, Value::Nil))
    })?;
    globals.raw_set("pairs", pairs)?;
    let known = backing.clone();
    let next = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "next", args);
        let real = real(&known, argv.table(1)?)?;
        let key = argv.get(2).cloned().unwrap_or(Value::Nil);
        match plain_next.call::<MultiValue>((real, key)) {
            Ok(found) => Ok(found),
            Err(error) => Err(raise::bare(raise::read(&error).to_string())),
        }
    })?;
    globals.raw_set("next", next)?;
    let plain: Function = globals.raw_get("unpack")?;
    let unpack = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "unpack", args);
        let first = argv.integer_or(2, 1)?;
        let last = match argv.is_none_or_nil(3) {
            true => argv.table(1)?.raw_len() as i64,
            false => argv.integer(3)?,
        };
        if last.saturating_sub(first) >= 7990 {
            return Err(raise::text(lua, "too many results to unpack"));
        }
        plain.call::<MultiValue>((argv.table(1)?, first, last))
    })?;
    globals.raw_set("unpack", unpack)
}

fn real(backing: &Table, table: &Table) -> mlua::Result<Table> {
    Ok(backing.raw_get::<Option<Table>>(table)?.unwrap_or_else(|| table.clone()))
}

fn refuse_protected(backing: &Table, table: &Table) -> mlua::Result<()> {
    match backing.raw_get::<Value>(table)? {
        Value::Nil => Ok(()),
        _ => Err(raise::bare(READONLY)),
    }
}

fn install_getmetatable(
    lua: &Lua,
    globals: &Table,
    backing: &Table,
    string_metatable: Table,
    shown: Table,
) -> mlua::Result<()> {
    let plain: Function = globals.raw_get("getmetatable")?;
    let known = backing.clone();
    let globals_metatable = {
        let table = lua.create_table()?;
        protect(lua, backing, &table)?
    };
    let own = globals.clone();
    let getmetatable = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "getmetatable", args);
        match argv.get(1) {
            None => Err(argv.bad(1, "value expected")),
            Some(Value::Table(table)) => match known.raw_get::<Option<Table>>(table)? {
                // Only the table of globals has one that can be seen.
                Some(real) if real == own => Ok(Value::Table(globals_metatable.clone())),
                Some(_) => Ok(Value::Nil),
                None => plain.call::<Value>(table),
            },
            Some(Value::Error(_)) => Ok(Value::Nil),
            Some(value) => {
                let found = plain.call::<Value>(value)?;
                let is_strings =
                    matches!(&found, Value::Table(table) if *table == string_metatable);
                Ok(if is_strings { Value::Table(shown.clone()) } else { found })
            }
        }
    })?;
    globals.raw_set("getmetatable", getmetatable)?;
    let known = backing.clone();
    let setmetatable = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "setmetatable", args);
        let table = argv.table(1)?;
        let metatable = match argv.get(2) {
            Some(Value::Nil) => None,
            Some(Value::Table(table)) => Some(table.clone()),
            _ => return Err(argv.bad(2, "nil or table expected")),
        };
        refuse_protected(&known, table)?;
        if let Some(old) = table.metatable()
            && !matches!(old.raw_get::<Value>("__metatable")?, Value::Nil)
        {
            return Err(raise::text(lua, "cannot change a protected metatable"));
        }
        table.set_metatable(metatable)?;
        Ok(table.clone())
    })?;
    globals.raw_set("setmetatable", setmetatable)
}

fn install_tables(lua: &Lua, table: &Table, backing: &Table) -> mlua::Result<()> {
    let known = backing.clone();
    let insert = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "insert", args);
        let table = argv.table(1)?;
        let end = table.raw_len() as i64 + 1;
        match argv.len() {
            2 => {
                refuse_protected(&known, table)?;
                table.raw_set(end, &argv.values()[1])?;
            }
            3 => {
                let at = i64::from(argv.integer(2)? as i32);
                refuse_protected(&known, table)?;
                let mut index = end.max(at);
                if index - at > 50_000_000 {
                    return Err(raise::text(lua, "position out of bounds"));
                }
                while index > at {
                    table.raw_set(index, table.raw_get::<Value>(index - 1)?)?;
                    index -= 1;
                }
                table.raw_set(at, &argv.values()[2])?;
            }
            _ => return Err(raise::text(lua, "wrong number of arguments to 'insert'")),
        }
        Ok(())
    })?;
    table.raw_set("insert", insert)?;
    let known = backing.clone();
    let remove = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "remove", args);
        let table = argv.table(1)?;
        let end = table.raw_len() as i64;
        let at = argv.integer_or(2, end)?;
        if at < 1 || at > end {
            return Ok(MultiValue::new());
        }
        refuse_protected(&known, table)?;
        let removed: Value = table.raw_get(at)?;
        for index in at..end {
            table.raw_set(index, table.raw_get::<Value>(index + 1)?)?;
        }
        table.raw_set(end, Value::Nil)?;
        Ok(MultiValue::from_vec(vec![removed]))
    })?;
    table.raw_set("remove", remove)?;
    let known = backing.clone();
    let plain: Function = table.raw_get("foreach")?;
    let foreach = lua.create_function(move |lua, args: MultiValue| {
        let argv = Argv::new(lua, "foreach", args);
        let real = real(&known, argv.table(1)?)?;
        let function = match argv.get(2) {
            Some(Value::Function(function)) => function.clone(),
            other => {
                let got = other.map_or("no value", type_name);
                return Err(argv.bad(2, format!("function expected, got {got}")));
            }
        };
        plain.call::<MultiValue>((real, function))
    })?;
    table.raw_set("foreach", foreach)
}
