//! Scripts and functions: what is known of them, which of them run, and what they may do.
//!
//! A script starts on the stripes of the keys that it declares, so that scripts run beside each other
//! (`share.rs`); one that goes beyond them takes every stripe. Each worker has an interpreter of its own for
//! scripts, compiled from the shared cache when needed; functions share one, since a library may
//! keep values between calls, and take every stripe.

mod host;
mod later;
mod run;
mod share;
mod store;

pub(crate) use later::Later;
pub(crate) use run::{EvalBy, Evaluator, Found, Recent, eval, fcall, keep};
pub use store::{Fate, Functions, RestorePolicy, Running, Script, ScriptMemory, Scripts};

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
