//! The data commands: what they are called, which keys they take, what they do.
//!
//! A command is one [`Command`] constant beside its function, listed once in its family's table.
//! COMMAND, ACL categories, the locking of stripes, arity errors and the fuzz grammar follow from
//! the [`CommandSpec`]. A function works on [`Ctx`]: it looks at and changes keys through
//! [`keyspace::Keys`], writes its reply, and returns an [`Effect`], the form in which its change
//! goes on the log. Sockets, roles and clocks are not known here; commands that are about the
//! server and not about data (CLIENT, CONFIG, SUBSCRIBE …) live in `node`, under the same spec.

mod ctx;
mod error;
mod longdouble;
mod spec;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;

pub mod args;
pub mod digest;
pub mod family;
pub mod mem;

pub use ctx::{Block, CommandResult, Ctx, Effect, Env};
pub use error::CommandError;
pub use family::stream::no_group_to_read;
pub use spec::{
    AclCategories, Begin, Command, CommandSpec, DataFn, Find, Flags, Group, KeyFlags, KeyList,
    KeySpec, at, each, exact_flags, keynum, keys_loosely, keys_of, span, upto_last,
};

/// Every data command.
pub fn all() -> impl Iterator<Item = &'static Command<DataFn>> {
    family::TABLES.iter().flat_map(|table| table.iter().copied())
}
