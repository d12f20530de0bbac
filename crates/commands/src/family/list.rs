//! List commands: pushes, pops, single elements and ranges, moves between lists, and waiting.
//!
//! A blocking command is its plain form with a time-out: it is run again when one of its keys gets
//! elements, so that none of them knows whether it has waited.

mod blocking;
mod element;
mod movement;
mod pop;
mod push;
mod range;

use crate::{Command, CommandError, Ctx, DataFn};
use keyspace::EventClass;
use structures::{List, ValueRef};

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[
    &push::LPUSH,
    &push::RPUSH,
    &push::LPUSHX,
    &push::RPUSHX,
    &push::LINSERT,
    &pop::LPOP,
    &pop::RPOP,
    &pop::LMPOP,
    &element::LLEN,
    &element::LINDEX,
    &element::LSET,
    &element::LPOS,
    &element::LREM,
    &range::LRANGE,
    &range::LTRIM,
    &movement::LMOVE,
    &movement::RPOPLPUSH,
    &movement::BLMOVE,
    &movement::BRPOPLPUSH,
    &blocking::BLPOP,
    &blocking::BRPOP,
    &blocking::BLMPOP,
];

/// An end of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Left,
    Right,
}

impl End {
    /// `LEFT` or `RIGHT`.
    fn parse(word: &[u8]) -> Option<End> {
        if word.eq_ignore_ascii_case(b"left") {
            Some(End::Left)
        } else if word.eq_ignore_ascii_case(b"right") {
            Some(End::Right)
        } else {
            None
        }
    }

    /// The plain pop at this end, for the log.
    fn pop_name(self) -> &'static [u8] {
        match self {
            End::Left => b"LPOP",
            End::Right => b"RPOP",
        }
    }

    fn pop_event(self) -> &'static str {
        match self {
            End::Left => "lpop",
            End::Right => "rpop",
        }
    }

    fn push_event(self) -> &'static str {
        match self {
            End::Left => "lpush",
            End::Right => "rpush",
        }
    }
}

/// The list at a key, before a write: no access, no statistics.
fn peek_list<'a>(ctx: &'a mut Ctx<'_, '_>, key: &[u8]) -> Result<Option<&'a List>, CommandError> {
    match ctx.keys.peek(key).map(|entry| entry.value()) {
        None => Ok(None),
        Some(ValueRef::List(list)) => Ok(Some(list)),
        Some(_) => Err(CommandError::WRONG_TYPE),
    }
}

/// `count` elements were popped: notes the change and removes an empty list.
/// Source: redis 7.0 `t_list.c:listElementsRemoved`.
fn popped(ctx: &mut Ctx<'_, '_>, key: &[u8], end: End, count: usize) {
    ctx.keys.modified(EventClass::LIST, end.pop_event(), key);
    ctx.keys.dirty(count as u64 - 1);
    ctx.keys.remove_if_empty(key);
}

#[cfg(test)]
mod tests;
