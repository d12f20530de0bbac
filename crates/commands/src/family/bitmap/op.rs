//! BITOP.

use super::each_piece;
use crate::family::common::*;
use crate::family::string::text_of;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at, each,
};
use keyspace::{EventClass, SetTtl};
use resp::Args;

/// BITOP AND|OR|XOR|NOT destkey key [key …]
pub const BITOP: Command<DataFn> = Command::new(
    CommandSpec::new("bitop", -4, Group::Bitmap)
        .flags(GROW)
        .keys(&[at(2, OW_UPDATE), each(3, RO_ACCESS)])
        .since("2.6.0")
        .doc("O(n) for n bytes of all keys", "Combines strings bit by bit and stores the result."),
    bitop,
);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn parse(word: &[u8]) -> Result<Operation, CommandError> {
        match word.to_ascii_lowercase().as_slice() {
            b"and" => Ok(Operation::And),
            b"or" => Ok(Operation::Or),
            b"xor" => Ok(Operation::Xor),
            b"not" => Ok(Operation::Not),
            _ => Err(CommandError::SYNTAX),
        }
    }

    /// Combines bytes of the result with those of another string. Loops of this form are compiled
    /// to operations on whole vectors.
    fn combine(self, result: &mut [u8], other: &[u8]) {
        let pairs = result.iter_mut().zip(other);
        match self {
            Operation::And => pairs.for_each(|(own, other)| *own &= other),
            Operation::Or => pairs.for_each(|(own, other)| *own |= other),
            Operation::Xor => pairs.for_each(|(own, other)| *own ^= other),
            Operation::Not => pairs.for_each(|(own, other)| *own = !other),
        }
    }
}

/// Shorter strings count as if zeros followed them; the result is as long as the longest one.
/// Source: redis 7.0 `bitops.c:bitopCommand`.
fn bitop(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    const ONE_SOURCE: CommandError =
        CommandError::new("ERR BITOP NOT must be called with a single source key.");
    let (operation, dest) = (Operation::parse(args.at(1))?, args.at(2));
    if operation == Operation::Not && args.len() != 4 {
        return Err(ONE_SOURCE);
    }
    let mut len = 0;
    for key in args.tail(3).iter() {
        len = len.max(ctx.keys.string(key)?.map_or(0, |text| text.len()));
    }
    if len == 0 {
        if ctx.keys.remove(dest) {
            ctx.keys.modified(EventClass::GENERIC, "del", dest);
        }
        ctx.reply.integer(0);
        return Ok(Effect::Verbatim);
    }
    let result = combined(ctx, args, operation, len)?;
    ctx.keys.set_string(dest, b"", SetTtl::Clear);
    if let Some(entry) = ctx.keys.write(dest) {
        entry.write_str_at(0, &result);
    }
    ctx.keys.modified(EventClass::STRING, "set", dest);
    ctx.reply.count(len);
    Ok(Effect::Verbatim)
}

fn combined(
    ctx: &Ctx<'_, '_>,
    args: &Args<'_>,
    operation: Operation,
    len: usize,
) -> Result<Vec<u8>, CommandError> {
    let mut result = vec![0; len];
    for (index, key) in args.tail(3).iter().enumerate() {
        let operation = if index == 0 && operation != Operation::Not {
            Operation::Or // The first string is taken as it is.
        } else {
            operation
        };
        let mut at = 0;
        if let Some(entry) = ctx.keys.view(key) {
            each_piece(text_of(entry)?, 0, usize::MAX, &mut |piece| {
                operation.combine(&mut result[at..], piece);
                at += piece.len();
            });
        }
        if operation == Operation::And {
            result[at..].fill(0);
        }
    }
    Ok(result)
}
