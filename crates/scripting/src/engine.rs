//! One interpreter: scripts compiled and run in it.

use crate::api::{self, About};
use crate::args::{as_bytes, as_number, to_integer};
use crate::convert;
use crate::current::{self, Ask, Asked};
use crate::raise::{self, Raise};
use crate::random::Random;
use crate::sandbox::{Sandbox, compile};
use mlua::{Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};
use resp::{OwnedArgs, Protocol, Reply};
use std::sync::{Arc, Mutex, PoisonError};

/// What a running script asks of the server.
pub trait Host {
    /// Runs a command and writes its reply. An error is the text of a refusal.
    fn call(&mut self, args: &OwnedArgs, reply: &mut Reply) -> Result<(), Vec<u8>>;
    /// Time has passed, a fraction of a millisecond or so. False if the script has to end.
    fn tick(&mut self) -> bool;
    /// A line for the log: level 0 debug, 1 verbose, 2 notice, 3 warning.
    fn log(&mut self, level: u8, line: &[u8]);
    /// Where the effects of further commands go, [`crate::REPL_AOF`] and [`crate::REPL_REPLICA`].
    fn set_repl(&mut self, bits: i64);
    /// Whether the user may run this command; `None` if there is no such command.
    fn may_run(&mut self, args: &OwnedArgs) -> Option<bool>;
    /// The script has to end now, whatever it says about errors: asked after everything that it did.
    fn is_over(&self) -> bool {
        false
    }
}

/// Why a script ended with an error: the reply's text, without `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The text, with its code.
    pub text: Vec<u8>,
    /// Statistics have counted this error already.
    pub counted: bool,
}

/// What an interpreter is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// EVAL and its relatives.
    Eval,
    /// Libraries of functions.
    Functions,
}

/// Instructions between two questions to the host.
const INSTRUCTIONS: u32 = 10_000;
/// Bytes that one interpreter may have.
const MEMORY_MAX: usize = 1 << 30;
/// Arguments of a script that are handed over one by one.
const FEW: usize = 8;
/// Runs between two steps of the garbage collector.
const COLLECT_EVERY: u32 = 50;

/// A compiled script or function.
#[derive(Clone)]
pub struct Compiled(pub(crate) Code);

#[derive(Clone)]
pub(crate) enum Code {
    /// What [`Sandbox::bind`] makes of a script.
    Script { lists: Function, few: Function },
    /// A function of a library.
    Function(Function),
}

/// An error that ended a script: its text, whether statistics have counted it, and its place
/// (source, line).
struct Ended {
    text: Vec<u8>,
    counted: bool,
    place: Option<(String, usize)>,
}

/// What the error handler has seen last.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Option<Ended>>>);

impl Seen {
    fn put(&self, ended: Ended) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
    }

    fn take(&self) -> Option<Ended> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// One interpreter.
pub struct Engine {
    pub(crate) lua: Lua,
    pub(crate) about: About,
    pub(crate) sandbox: Sandbox,
    handler: Function,
    seen: Seen,
    /// Room for a run's replies and commands, kept for the next run.
    room: (Vec<u8>, OwnedArgs),
    runs: u32,
}

impl Engine {
    /// A fresh interpreter.
    pub fn new(kind: Kind, about: About, random: &Random) -> Result<Engine, String> {
        Engine::build(kind, about, random).map_err(|error| error.to_string())
    }

    fn build(kind: Kind, about: About, random: &Random) -> mlua::Result<Engine> {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH | StdLib::OS;
        let lua = Lua::new_with(libraries, LuaOptions::default())?;
        let sandbox = Sandbox::new(&lua, random)?;
        let redis = api::library(&lua, about, kind == Kind::Eval)?;
        let redis = sandbox.protect(&lua, &redis)?;
        sandbox.globals.raw_set("redis", &redis)?;
        sandbox.globals.raw_set("server", &redis)?;
        let seen = Seen::default();
        let handler = error_handler(&lua, seen.clone())?;
        if kind == Kind::Eval {
            sandbox.globals.raw_set("__redis__err__handler", plain_handler(&lua)?)?;
        }
        lua.set_global_hook(HookTriggers::new().every_nth_instruction(INSTRUCTIONS), |_, _| {
            if current::tick() {
                Ok(VmState::Continue)
            } else {
                Err(raise::kill(current::kill_text()))
            }
        })?;
        lua.gc_collect()?;
        lua.set_memory_limit(MEMORY_MAX)?;
        Ok(Engine { lua, about, sandbox, handler, seen, room: Default::default(), runs: 0 })
    }

    /// Bytes that the interpreter uses.
    pub fn memory(&self) -> usize {
        self.lua.used_memory()
    }

    /// Compiles a script; `source` has no first line with flags any more. The error is a reply's
    /// text.
    pub fn compile(&self, source: &[u8]) -> Result<Compiled, Vec<u8>> {
        compile(&self.lua, source, "@user_script")
            .and_then(|code| {
                let (lists, few) = self
                    .sandbox
                    .bind
                    .call((code, &self.handler, &self.sandbox.globals))
                    .map_err(|error| raise::read(&error).to_string().into_bytes())?;
                Ok(Compiled(Code::Script { lists, few }))
            })
            .map_err(|text| [b"ERR Error compiling script (new function): ", &text[..]].concat())
    }

    /// Runs a compiled script. `name` is what errors call it. Nothing is written on a failure.
    pub fn run(
        &mut self,
        script: &Compiled,
        name: &str,
        keys: &[&[u8]],
        argv: &[&[u8]],
        host: &mut dyn Host,
        reply: &mut Reply,
    ) -> Result<(), Failure> {
        let before = reply.mark();
        let (buffer, words) = std::mem::take(&mut self.room);
        let scratch = Reply::with_buffer(buffer, Protocol::Resp2);
        let mut run = Run { host, scratch, words, killed: false };
        let result = self.run_protected(script, name, keys, argv, &mut run, reply);
        self.room = (std::mem::take(run.scratch.buffer_mut()), run.words);
        self.clean_up();
        match result {
            Ok(done) => done,
            Err(error) => {
                reply.rewind(before);
                let text = raise::read(&error).to_string();
                Err(Failure { text: running(name, text.as_bytes()), counted: false })
            }
        }
    }

    fn run_protected(
        &mut self,
        script: &Compiled,
        name: &str,
        keys: &[&[u8]],
        argv: &[&[u8]],
        run: &mut Run<'_>,
        reply: &mut Reply,
    ) -> mlua::Result<Result<(), Failure>> {
        let lua = &self.lua;
        let (ok, value): (bool, Value) = match (&script.0, keys) {
            (Code::Script { few, .. }, [key]) if argv.len() <= FEW => {
                call_with_few(lua, few, key, argv, run)?
            }
            (code, keys) => {
                let (keys, argv) = (list(lua, keys)?, list(lua, argv)?);
                current::enter(run, || match code {
                    Code::Script { lists, .. } => lists.call((&keys, &argv)),
                    Code::Function(code) => {
                        self.sandbox.run.call((code, &self.handler, &keys, &argv))
                    }
                })?
            }
        };
        if !ok {
            return Ok(Err(self.failure(name, &value, run.killed)));
        }
        let resp3 = run.scratch.is_resp3();
        Ok(convert::to_reply(&value, resp3, reply)?.map_err(|text| {
            let counted = matches!(&value, Value::Table(table)
                if table.raw_get::<bool>("ignore_error_stats_update").unwrap_or(false));
            Failure { text, counted }
        }))
    }

    fn failure(&self, name: &str, value: &Value, killed: bool) -> Failure {
        match self.seen.take() {
            Some(Ended { text, counted, place }) => {
                let mut text = convert::up_to_nul(&text).to_vec();
                if let Some((source, line)) = place {
                    let tail = format!(" script: {name}, on {source}:{line}.");
                    text.extend_from_slice(tail.as_bytes());
                }
                Failure { text, counted }
            }
            None if killed => Failure { text: running(name, KILLED.as_bytes()), counted: false },
            None => {
                let text = as_bytes(value).unwrap_or_else(|| b"execution failure".to_vec());
                Failure { text: running(name, &text), counted: false }
            }
        }
    }

    /// Between two scripts.
    fn clean_up(&mut self) {
        self.runs += 1;
        if self.runs.is_multiple_of(COLLECT_EVERY) {
            // A script may have stopped the collector.
            self.lua.gc_restart();
            // An error of the collector is an error of a finalizer; scripts have none.
            let _ = self.lua.gc_step();
        }
        if self.memory() > MEMORY_MAX / 2 {
            let _ = self.lua.gc_collect();
        }
    }
}

/// What a script that was killed says.
pub(crate) const KILLED: &str = "ERR Script killed by user with SCRIPT KILL...";

fn running(name: &str, text: &[u8]) -> Vec<u8> {
    let text = &text[..text.len().min(100)];
    [b"ERR Error running script ", name.as_bytes(), b", ", text].concat()
}

/// Runs a script with one key and a few arguments. Text goes to the interpreter's stack by the
/// shortest way, which this library has for text only.
fn call_with_few(
    lua: &Lua,
    few: &Function,
    key: &[u8],
    argv: &[&[u8]],
    run: &mut Run<'_>,
) -> mlua::Result<(bool, Value)> {
    let text = std::str::from_utf8;
    match (text(key), argv) {
        (Ok(key), []) => return current::enter(run, || few.call(key)),
        (Ok(key), [first]) => {
            if let Ok(first) = text(first) {
                return current::enter(run, || few.call((key, first)));
            }
        }
        (Ok(key), [first, second]) => {
            if let (Ok(first), Ok(second)) = (text(first), text(second)) {
                return current::enter(run, || few.call((key, first, second)));
            }
        }
        _ => {}
    }
    let words = std::iter::once(&key).chain(argv);
    let args: MultiValue = words
        .map(|word| lua.create_string(word).map(Value::String))
        .collect::<mlua::Result<_>>()?;
    current::enter(run, || few.call(args))
}

fn list(lua: &Lua, items: &[&[u8]]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(items.len(), 0)?;
    for item in items {
        table.raw_push(lua.create_string(item)?)?;
    }
    Ok(table)
}

/// The text of an error value: of `error("x")`, of `error({err = "x"})`, of one of our own.
fn describe(value: &Value) -> (Vec<u8>, bool) {
    match value {
        Value::Error(error) => match raise::read(error) {
            Raise::Text(text) => ([b"ERR ", &text[..]].concat(), false),
            Raise::Table(text, counted) => (text, counted),
            Raise::Kill(text) => (text.as_bytes().to_vec(), false),
        },
        Value::Table(table) => match table.raw_get::<Value>("err").ok().as_ref().and_then(as_bytes)
        {
            Some(text) => {
                (text, table.raw_get::<bool>("ignore_error_stats_update").unwrap_or(false))
            }
            None => (b"ERR unknown error".to_vec(), false),
        },
        Value::Nil => (b"ERR nil".to_vec(), false),
        Value::Boolean(value) => (format!("ERR {value}").into_bytes(), false),
        other => match as_bytes(other) {
            Some(text) => ([b"ERR ", &text[..]].concat(), false),
            None => (format!("ERR {}", crate::args::type_name(other)).into_bytes(), false),
        },
    }
}

fn error_handler(lua: &Lua, seen: Seen) -> mlua::Result<Function> {
    lua.create_function(move |lua, value: Value| {
        let (text, counted) = describe(&value);
        let place = raise::place(lua, 1).map(|place| {
            let source = place.source.strip_prefix('=').unwrap_or(&place.source);
            (source.to_string(), place.line)
        });
        seen.put(Ended { text, counted, place });
        Ok(Value::Nil)
    })
}

/// `__redis__err__handler`, which scripts can call: an error as a table.
fn plain_handler(lua: &Lua) -> mlua::Result<Function> {
    lua.create_function(|lua, value: Value| {
        let table = match value {
            Value::Table(table) => table,
            other => raise::error_table(lua, &describe(&other).0, false)?,
        };
        Ok(table)
    })
}

/// A run in progress.
struct Run<'h> {
    host: &'h mut dyn Host,
    /// Replies of commands; its protocol is what the script asked for.
    scratch: Reply,
    /// Words of the command that is being called.
    words: OwnedArgs,
    killed: bool,
}

impl Asked for Run<'_> {
    fn answer(&mut self, lua: &Lua, what: Ask, args: MultiValue) -> mlua::Result<Option<Value>> {
        answer(lua, self, what, args)
    }

    fn tick(&mut self) -> bool {
        let go_on = self.host.tick();
        self.killed |= !go_on;
        go_on
    }

    fn kill_text(&self) -> &'static str {
        KILLED
    }
}

impl Run<'_> {
    /// An end that the script cannot hold up, if the host wants it to end.
    fn end_if_over(&mut self) -> mlua::Result<()> {
        if self.host.is_over() {
            self.killed = true;
            return Err(raise::kill(KILLED));
        }
        Ok(())
    }
}

/// What the script's functions ask; some have no result.
fn answer(
    lua: &Lua,
    run: &mut Run<'_>,
    what: Ask,
    args: MultiValue,
) -> mlua::Result<Option<Value>> {
    let value = match what {
        Ask::Call => call(lua, run, &args, true)?,
        Ask::Pcall => call(lua, run, &args, false)?,
        Ask::Log => {
            log(run, &args)?;
            run.end_if_over()?;
            return Ok(None);
        }
        Ask::SetRepl => {
            let bits = match (args.len(), args.front()) {
                (1, Some(value)) => as_number(lua, value).map_or(0, to_integer),
                _ => return Err(raise::table("ERR redis.set_repl() requires two arguments.")),
            };
            if bits & !(api::REPL_AOF | api::REPL_REPLICA) != 0 {
                return Err(raise::table(
                    "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
                ));
            }
            run.host.set_repl(bits);
            return Ok(None);
        }
        Ask::SetResp => {
            let version = match (args.len(), args.front()) {
                (1, Some(value)) => as_number(lua, value).map_or(0, to_integer),
                _ => return Err(raise::table("ERR redis.setresp() requires one argument.")),
            };
            run.scratch.set_protocol(match version {
                2 => Protocol::Resp2,
                3 => Protocol::Resp3,
                _ => return Err(raise::table("ERR RESP version must be 2 or 3.")),
            });
            return Ok(None);
        }
        Ask::AclCheck => {
            if args.is_empty() {
                return Err(raise::table(NO_ARGUMENT));
            }
            if !command_args(&args, &mut run.words) {
                return Err(raise::table(
                    "ERR redis.acl_check_cmd() require all arguments to be strings or integers",
                ));
            }
            match run.host.may_run(&run.words) {
                Some(may) => Value::Boolean(may),
                None => {
                    return Err(raise::table(
                        "ERR Invalid command passed to redis.acl_check_cmd()",
                    ));
                }
            }
        }
    };
    Ok(Some(value))
}

const NO_ARGUMENT: &str = "ERR Please specify at least one argument for this redis lib call";

/// More than a command's words may have together, far above what the interpreter's memory is for.
const WORDS_MAX: usize = 2 << 30;

/// Makes a command of a call's arguments. False if one of them is neither text nor a number, or
/// if they are too large together.
fn command_args(args: &MultiValue, out: &mut OwnedArgs) -> bool {
    out.clear();
    let mut room = WORDS_MAX;
    for value in args {
        match value {
            Value::String(text) => {
                let text = text.as_bytes();
                let Some(left) = room.checked_sub(text.len()) else { return false };
                room = left;
                out.push(&text);
            }
            Value::Integer(number) => out.push(number.to_string().as_bytes()),
            Value::Number(number) => {
                let mut text = Vec::new();
                stdx::format_f64(&mut text, *number);
                out.push(&text);
            }
            _ => return false,
        }
    }
    true
}

fn call(lua: &Lua, run: &mut Run<'_>, args: &MultiValue, raises: bool) -> mlua::Result<Value> {
    let outcome = if args.is_empty() {
        Err(NO_ARGUMENT.as_bytes().to_vec())
    } else {
        if command_args(args, &mut run.words) {
            run.scratch.buffer_mut().clear();
            match run.host.call(&run.words, &mut run.scratch) {
                Ok(()) => convert::to_lua(lua, run.scratch.bytes())?,
                Err(text) => {
                    run.end_if_over()?;
                    Err(text)
                }
            }
        } else {
            Err(b"ERR Lua redis lib command arguments must be strings or integers".to_vec())
        }
    };
    if run.words.mem_usage() > 1 << 20 {
        run.words = OwnedArgs::default();
    }
    if run.scratch.buffer_mut().capacity() > 1 << 20 {
        *run.scratch.buffer_mut() = Vec::new();
    }
    match outcome {
        Ok(value) => Ok(value),
        Err(text) if raises => Err(raise::table(text)),
        Err(text) => Ok(Value::Table(raise::error_table(lua, &text, true)?)),
    }
}

fn log(run: &mut Run<'_>, args: &MultiValue) -> mlua::Result<()> {
    if args.len() < 2 {
        return Err(raise::table("ERR redis.log() requires two arguments or more."));
    }
    let level = match args.front() {
        Some(Value::Integer(level)) => *level,
        Some(Value::Number(level)) => to_integer(*level),
        _ => return Err(raise::table("ERR First argument must be a number (log level).")),
    };
    let Some(level) = u8::try_from(level).ok().filter(|level| *level <= 3) else {
        return Err(raise::table("ERR Invalid debug level."));
    };
    let words: Vec<Vec<u8>> = args.iter().skip(1).filter_map(as_bytes).collect();
    run.host.log(level, &words.join(&b' '));
    Ok(())
}
