//! The script that runs at this moment, as the interpreter's functions reach it.
//!
//! A run puts its way to the server into the thread that it runs on, and takes it away at its end.

use mlua::{Lua, MultiValue, Value};
use scoped_tls_hkt::{ReborrowMut, scoped_thread_local};

/// What is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Call,
    Pcall,
    Log,
    SetRepl,
    SetResp,
    AclCheck,
}

/// A run in progress.
pub(crate) trait Asked {
    /// One of the functions of `redis` was called.
    fn answer(&mut self, lua: &Lua, what: Ask, args: MultiValue) -> mlua::Result<Option<Value>>;
    /// Time has passed. False if the script has to end.
    fn tick(&mut self) -> bool;
    /// What a killed script says.
    fn kill_text(&self) -> &'static str;
}

struct Way<'a>(&'a mut (dyn Asked + 'a));

impl<'a, 'b: 'a> ReborrowMut<'a> for Way<'b> {
    type Result = Way<'a>;
    fn reborrow_mut(&'a mut self) -> Way<'a> {
        Way(&mut *self.0)
    }
}

scoped_thread_local!(static mut RUN: for<'a> Way<'a>);

/// Runs a script by `body`, with what its functions ask answered by `run`.
pub(crate) fn enter<R>(run: &mut dyn Asked, body: impl FnOnce() -> R) -> R {
    RUN.set(Way(run), body)
}

fn with<R>(f: impl FnOnce(&mut dyn Asked) -> R) -> Option<R> {
    // While the server answers one question no other can be asked: it is not there then.
    RUN.is_set().then(|| RUN.with(|way| f(&mut *way.0)))
}

/// Asks the server something; the answer, if there is one.
pub(crate) fn ask(lua: &Lua, what: Ask, args: MultiValue) -> mlua::Result<Option<Value>> {
    with(|run| run.answer(lua, what, args)).unwrap_or_else(|| {
        Err(crate::raise::table("ERR redis API can only be called by a running script"))
    })
}

/// Tells the server that time passes. False if the script has to end.
pub(crate) fn tick() -> bool {
    with(|run| run.tick()).unwrap_or(true)
}

/// What a killed script says.
pub(crate) fn kill_text() -> &'static str {
    with(|run| run.kill_text()).unwrap_or("Script killed")
}
