//! Bit commands: strings seen as arrays of bits, the first bit being the highest of the first byte.
//!
//! A write makes the string reach up to its last bit first. Long strings are stored in pages
//! (`structures::PagedStr`) and are changed in place, whatever their length.

mod count;
mod field;
mod op;
mod single;

use crate::family::string::text_of;
use crate::{Command, CommandError, Ctx, DataFn, Env};
use keyspace::SetTtl;
use stdx::parse_i64;
use structures::{Entry, StrRef};

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[
    &single::SETBIT,
    &single::GETBIT,
    &count::BITCOUNT,
    &count::BITPOS,
    &op::BITOP,
    &field::BITFIELD,
    &field::BITFIELD_RO,
];

/// A bit's place from the start. `width` is that of a BITFIELD type, for the form `#n` (the n-th
/// field of that width); `None` where this form is not known.
/// Source: redis 7.0 `bitops.c:getBitOffsetFromArgument`.
fn bit_offset(arg: &[u8], width: Option<u32>, env: &Env) -> Result<u64, CommandError> {
    const ERROR: CommandError =
        CommandError::new("ERR bit offset is not an integer or out of range");
    let offset = match (arg, width) {
        ([b'#', number @ ..], Some(width)) => {
            parse_i64(number).and_then(|number| number.checked_mul(i64::from(width)))
        }
        _ => parse_i64(arg),
    };
    let offset = offset.and_then(|offset| u64::try_from(offset).ok()).ok_or(ERROR)?;
    if !env.from_master && offset >> 3 >= env.bulk_max {
        return Err(ERROR);
    }
    Ok(offset)
}

/// Makes the string at `key` reach up to a bit and runs `f` on its entry. `f` is told whether the
/// string is new or has grown.
/// Source: redis 7.0 `bitops.c:lookupStringForBitCommand`.
fn with_room<R>(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    last_bit: u64,
    f: impl FnOnce(&mut Entry, bool) -> R,
) -> Result<R, CommandError> {
    let len = (last_bit >> 3) as usize + 1;
    let old_len = match ctx.keys.before_write(key) {
        Some(entry) => Some(text_of(entry)?.len()),
        None => None,
    };
    if old_len.is_none() {
        ctx.keys.set_string(key, b"", SetTtl::Clear);
    }
    let entry = ctx.keys.write(key).ok_or(CommandError::NO_SUCH_KEY)?;
    entry.grow_str(len);
    Ok(f(entry, old_len.is_none_or(|old_len| old_len < len)))
}

/// Calls `f` on the bytes `start..end` (cut to the text), piece by piece in order.
fn each_piece(text: StrRef<'_>, start: usize, end: usize, f: &mut dyn FnMut(&[u8])) {
    match text {
        StrRef::Paged(pages) => pages.read(start, end, f),
        StrRef::Bytes(_) | StrRef::Int(_) => text.with(|bytes| {
            let end = end.min(bytes.len());
            if start < end {
                f(&bytes[start..end]);
            }
        }),
    }
}

#[cfg(test)]
mod tests;
