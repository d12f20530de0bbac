//! Libraries of functions: loading one, and what it registers.
//! Source: redis 7.0 `function_lua.c`.

use crate::api;
use crate::args::{as_bytes, type_name};
use crate::current::{self, Ask, Asked};
use crate::engine::{Code, Compiled, Engine};
use crate::header::{self, Flags};
use crate::raise::{self, Raise};
use crate::sandbox::{compile, guard_missing};
use mlua::{Lua, MultiValue, Table, Value};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// One function of a library.
#[derive(Clone)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Its description, if it gave one.
    pub description: Option<Vec<u8>>,
    /// Its flags.
    pub flags: Flags,
    /// What runs.
    pub code: Compiled,
}

/// One library.
#[derive(Clone)]
pub struct Library {
    /// Its name.
    pub name: String,
    /// Its whole source, the first line included.
    pub source: Vec<u8>,
    /// Its functions by name.
    pub functions: BTreeMap<String, Function>,
}

#[derive(Clone, Default)]
struct Found(Arc<Mutex<BTreeMap<String, Function>>>);

impl Found {
    fn add(&self, function: Function) -> mlua::Result<()> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(&function.name) {
            return Err(raise::table("ERR Function already exists in the library"));
        }
        all.insert(function.name.clone(), function);
        Ok(())
    }
}

impl Engine {
    /// Runs a library's source, which registers functions. `go_on` is asked from time to time; on
    /// `false` loading is given up. The error is a reply's text.
    pub fn load_library(
        &mut self,
        source: &[u8],
        go_on: &mut dyn FnMut() -> bool,
        log: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<Library, Vec<u8>> {
        let (name, code) = header::library(source)?;
        let compiled = compile(&self.lua, code, "@user_function")
            .map_err(|text| [b"ERR Error compiling function: ", &text[..]].concat())?;
        let found = Found::default();
        let failed = |text: Vec<u8>| [b"ERR Error registering functions: ", &text[..]].concat();
        match self.run_source(&compiled, &found, go_on, log) {
            Ok(Ok(())) => {}
            Ok(Err(text)) => return Err(failed(text)),
            Err(error) => return Err(failed(raise::read(&error).to_string().into_bytes())),
        }
        let functions =
            std::mem::take(&mut *found.0.lock().unwrap_or_else(PoisonError::into_inner));
        if functions.is_empty() {
            return Err(b"ERR No functions registered".to_vec());
        }
        Ok(Library { name, source: source.to_vec(), functions })
    }

    /// While a library is loaded its globals are the table `redis` alone, of what loading may use.
    fn run_source(
        &mut self,
        code: &mlua::Function,
        found: &Found,
        go_on: &mut dyn FnMut() -> bool,
        log: &mut dyn FnMut(u8, &[u8]),
    ) -> mlua::Result<Result<(), Vec<u8>>> {
        let lua = &self.lua;
        let loading = api::common(lua, self.about)?;
        loading.raw_set("register_function", register(lua, found)?)?;
        guard_missing(lua, &loading)?;
        let loading = self.sandbox.protect(lua, &loading)?;
        let globals = lua.create_table()?;
        globals.raw_set("redis", &loading)?;
        globals.raw_set("server", loading)?;
        guard_missing(lua, &globals)?;
        let metatable = self.sandbox.visible.metatable();
        let Some(metatable) = metatable else { return Ok(Err(b"ERR no globals".to_vec())) };
        metatable.raw_set("__index", globals)?;
        let describing = self.describing(lua)?;
        let result = current::enter(&mut Loading { go_on, log }, || {
            self.sandbox.run.call::<(bool, Value)>((code, describing, Value::Nil, Value::Nil))
        });
        metatable.raw_set("__index", &self.sandbox.globals)?;
        let (ok, value) = result?;
        if ok {
            return Ok(Ok(()));
        }
        let text = as_bytes(&value).unwrap_or_else(|| type_name(&value).as_bytes().to_vec());
        Ok(Err(text))
    }

    fn describing(&self, lua: &Lua) -> mlua::Result<mlua::Function> {
        lua.create_function(|lua, value: Value| {
            let text = match &value {
                Value::Error(error) => match raise::read(error) {
                    Raise::Text(text) => [b"ERR ", &text[..]].concat(),
                    Raise::Table(text, _) => text,
                    Raise::Kill(text) => text.as_bytes().to_vec(),
                },
                other => match as_bytes(other) {
                    Some(text) => [b"ERR ", &text[..]].concat(),
                    None => b"ERR unknown error".to_vec(),
                },
            };
            lua.create_string(text)
        })
    }
}

/// A library that is being loaded.
struct Loading<'a, 'b> {
    go_on: &'a mut dyn FnMut() -> bool,
    log: &'b mut dyn FnMut(u8, &[u8]),
}

impl Asked for Loading<'_, '_> {
    fn answer(&mut self, _: &Lua, what: Ask, args: MultiValue) -> mlua::Result<Option<Value>> {
        if what != Ask::Log {
            return Err(raise::table("ERR redis API can not be called while a library is loaded"));
        }
        if args.len() < 2 {
            return Err(raise::table("ERR redis.log() requires two arguments or more."));
        }
        let level = match args.front() {
            Some(Value::Integer(level)) => *level,
            _ => return Err(raise::table("ERR First argument must be a number (log level).")),
        };
        let Some(level) = u8::try_from(level).ok().filter(|level| *level <= 3) else {
            return Err(raise::table("ERR Invalid debug level."));
        };
        let words: Vec<Vec<u8>> = args.iter().skip(1).filter_map(as_bytes).collect();
        (self.log)(level, &words.join(&b' '));
        Ok(None)
    }

    fn tick(&mut self) -> bool {
        (self.go_on)()
    }

    fn kill_text(&self) -> &'static str {
        "ERR FUNCTION LOAD timeout"
    }
}

fn register(lua: &Lua, found: &Found) -> mlua::Result<mlua::Function> {
    let found = found.clone();
    lua.create_function(move |_, args: MultiValue| {
        let function = match args.len() {
            1 => named(args.front())?,
            2 => positional(&args)?,
            _ => {
                let text = "ERR wrong number of arguments to redis.register_function";
                return Err(raise::table(text));
            }
        };
        if !header::is_name(function.name.as_bytes()) {
            return Err(raise::table(format!("ERR {}", header::BAD_NAME)));
        }
        found.add(function)
    })
}

fn positional(args: &MultiValue) -> mlua::Result<Function> {
    let name = args.front().and_then(as_bytes);
    let code = match args.get(1) {
        Some(Value::Function(code)) => code.clone(),
        _ => {
            let text = "ERR second argument to redis.register_function must be a function";
            return Err(raise::table(text));
        }
    };
    let Some(name) = name else {
        let text = "ERR first argument to redis.register_function must be a string";
        return Err(raise::table(text));
    };
    Ok(Function {
        name: String::from_utf8_lossy(&name).into_owned(),
        description: None,
        flags: Flags::default(),
        code: Compiled(Code::Function(code)),
    })
}

fn flags_of(table: &Table) -> mlua::Result<Flags> {
    let mut flags = Flags::default();
    for index in 1.. {
        match table.raw_get::<Value>(index)? {
            Value::Nil => break,
            value => {
                if !as_bytes(&value).is_some_and(|name| flags.set(&name)) {
                    return Err(raise::table("ERR unknown flag given"));
                }
            }
        }
    }
    Ok(flags)
}

fn named(argument: Option<&Value>) -> mlua::Result<Function> {
    let Some(Value::Table(table)) = argument else {
        return Err(raise::table(
            "ERR calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
        ));
    };
    let (mut name, mut description, mut code, mut flags) = (None, None, None, Flags::default());
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Value::String(key) = &key else {
            return Err(raise::table(UNKNOWN_ARGUMENT));
        };
        match &key.as_bytes()[..] {
            b"function_name" => match as_bytes(&value) {
                Some(text) => name = Some(text),
                None => {
                    let text = "ERR function_name argument given to redis.register_function must be a string";
                    return Err(raise::table(text));
                }
            },
            b"description" => match as_bytes(&value) {
                Some(text) => description = Some(text),
                None => {
                    let text = "ERR description argument given to redis.register_function must be a string";
                    return Err(raise::table(text));
                }
            },
            b"callback" => match value {
                Value::Function(function) => code = Some(function),
                _ => {
                    let text =
                        "ERR callback argument given to redis.register_function must be a function";
                    return Err(raise::table(text));
                }
            },
            b"flags" => match &value {
                Value::Table(list) => flags = flags_of(list)?,
                _ => {
                    let text = "ERR flags argument to redis.register_function must be a table representing function flags";
                    return Err(raise::table(text));
                }
            },
            _ => return Err(raise::table(UNKNOWN_ARGUMENT)),
        }
    }
    let Some(name) = name else {
        let text = "ERR redis.register_function must get a function name argument";
        return Err(raise::table(text));
    };
    let Some(code) = code else {
        return Err(raise::table("ERR redis.register_function must get a callback argument"));
    };
    Ok(Function {
        name: String::from_utf8_lossy(&name).into_owned(),
        description,
        flags,
        code: Compiled(Code::Function(code)),
    })
}

const UNKNOWN_ARGUMENT: &str = "ERR unknown argument given to redis.register_function";
