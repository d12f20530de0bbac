//! Scripts and functions: what is known of them, which of them run, and what they may do.
//!
//! A script takes every stripe: it may name any key. Each worker has an interpreter of its own for
//! scripts, compiled from the shared cache when needed; functions share one, since a library may
//! keep values between calls.

mod host;
mod later;
mod run;
mod store;

pub(crate) use later::Later;
pub(crate) use run::{EvalBy, Evaluator, eval, fcall, keep};
pub use store::{Functions, RestorePolicy, Running, Script, ScriptMemory, Scripts};

use scripting::About;

/// What scripts are told of this server.
pub(crate) const ABOUT: About =
    About { version: crate::command::REDIS_VERSION, version_number: 0x0007_0400 };

/// What everybody hears while a script runs too long.
pub(crate) const BUSY_EVAL: &str =
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.";
/// As [`BUSY_EVAL`], for a function.
pub(crate) const BUSY_FUNCTION: &str =
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.";
