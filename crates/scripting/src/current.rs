//! The script that runs at this moment, as the interpreter's functions reach it.

use mlua::{Function, MultiValue};
use std::sync::{Arc, Mutex, PoisonError};

/// A way to the host of the running script; empty in between.
#[derive(Clone, Default)]
pub(crate) struct Current(Arc<Mutex<Option<Entry>>>);

#[derive(Clone)]
struct Entry {
    host: Function,
    kill_text: &'static str,
}

/// What is asked of the host; the first argument of its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Tick = 0,
    Call = 1,
    Pcall = 2,
    Log = 3,
    SetRepl = 4,
    SetResp = 5,
    AclCheck = 6,
}

impl Current {
    /// A script begins.
    pub(crate) fn enter(&self, host: Function, kill_text: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Entry { host, kill_text });
    }

    /// It has ended.
    pub(crate) fn leave(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn entry(&self) -> Option<Entry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the host something.
    pub(crate) fn ask(&self, what: Ask, args: MultiValue) -> mlua::Result<MultiValue> {
        match self.entry() {
            Some(entry) => entry.host.call((what as u8, args)),
            None => {
                Err(crate::raise::table("ERR redis API can only be called by a running script"))
            }
        }
    }

    /// Tells the host that time passes. False if the script has to end.
    pub(crate) fn tick(&self) -> bool {
        match self.entry() {
            Some(entry) => entry.host.call::<bool>(Ask::Tick as u8).unwrap_or(false),
            None => true,
        }
    }

    /// What a killed script says.
    pub(crate) fn kill_text(&self) -> &'static str {
        self.entry().map_or("Script killed", |entry| entry.kill_text)
    }
}
