//! BITCOUNT and BITPOS.

use super::each_piece;
use crate::args::int;
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use resp::Args;
use structures::StrRef;

/// BITCOUNT key [start end [BYTE|BIT]]
pub const BITCOUNT: Command<DataFn> = Command::new(
    CommandSpec::new("bitcount", -2, Group::Bitmap)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.6.0")
        .doc("O(n) for n bytes", "Counts the bits that are set in a string or a part of it."),
    bitcount,
);

/// What `start` and `end` count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(word: &[u8]) -> Result<Unit, CommandError> {
        if word.eq_ignore_ascii_case(b"bit") {
            Ok(Unit::Bit)
        } else if word.eq_ignore_ascii_case(b"byte") {
            Ok(Unit::Byte)
        } else {
            Err(CommandError::SYNTAX)
        }
    }
}

/// The bits from the first to the last one meant by `start` and `end`, both included and counted
/// from the end if negative. `None` if there are none.
fn bit_range(start: i64, end: i64, unit: Unit, len: usize) -> Option<(u64, u64)> {
    let total = if unit == Unit::Bit { (len as i64) << 3 } else { len as i64 };
    let from_end = |at: i64| if at < 0 { (total + at).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(total - 1));
    if start > end {
        return None;
    }
    let (start, end) = (start as u64, end as u64);
    Some(if unit == Unit::Bit { (start, end) } else { (start << 3, (end << 3) + 7) })
}

/// Arguments are looked at before the key, so that a missing key does not hide a mistake.
/// Source: redis 7.2 `bitops.c:bitcountCommand`.
fn bitcount(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (start, end, unit) = match args.len() {
        2 => (0, -1, Unit::Byte),
        4 | 5 => {
            let (start, end) = (int(args.at(2))?, int(args.at(3))?);
            (start, end, args.get(4).map_or(Ok(Unit::Byte), Unit::parse)?)
        }
        _ => return Err(CommandError::SYNTAX),
    };
    let text = ctx.keys.string(args.at(1))?;
    let backwards = start < 0 && end < 0 && start > end;
    let range = text.and_then(|text| Some((text, bit_range(start, end, unit, text.len())?)));
    let count = match range {
        Some((text, (first, last))) if !backwards => count_bits(text, first, last),
        _ => 0,
    };
    ctx.reply.integer(count as i64);
    Ok(Effect::None)
}

/// Set bits from `first` to `last`, both included, which lie in the text.
fn count_bits(text: StrRef<'_>, first: u64, last: u64) -> u64 {
    let (from, to) = ((first >> 3) as usize, (last >> 3) as usize);
    let mut count = 0;
    each_piece(text, from, to + 1, &mut |piece| count += ones(piece));
    let byte = |at| text.byte_at(at).unwrap_or(0);
    let before = byte(from) & !(0xff >> (first & 7));
    let behind = byte(to) & !(0xff << (7 - (last & 7)));
    count - u64::from(before.count_ones() + behind.count_ones())
}

fn ones(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let words: u64 = words.iter().map(|&w| u64::from(u64::from_ne_bytes(w).count_ones())).sum();
    words + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>()
}

/// BITPOS key bit [start [end [BYTE|BIT]]]
pub const BITPOS: Command<DataFn> = Command::new(
    CommandSpec::new("bitpos", -3, Group::Bitmap)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.8.7")
        .doc("O(n) for n bytes", "Finds the first set or clear bit in a string or a part of it."),
    bitpos,
);

/// Source: redis 7.2 `bitops.c:bitposCommand`.
fn bitpos(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    const NO_BIT: CommandError = CommandError::new("ERR The bit argument must be 1 or 0.");
    let bit = match int(args.at(2))? {
        0 => false,
        1 => true,
        _ => return Err(NO_BIT),
    };
    if args.len() > 6 {
        return Err(CommandError::SYNTAX);
    }
    let start = args.get(3).map_or(Ok(0), int)?;
    let unit = args.get(5).map_or(Ok(Unit::Byte), Unit::parse)?;
    let end = args.get(4).map(int).transpose()?;
    let Some(text) = ctx.keys.string(args.at(1))? else {
        // Nothing but clear bits, without an end.
        ctx.reply.integer(if bit { -1 } else { 0 });
        return Ok(Effect::None);
    };
    let place = bit_range(start, end.unwrap_or(-1), unit, text.len()).and_then(|(first, last)| {
        // Clear bits follow the text, unless the range has an end.
        let beyond = (!bit && end.is_none()).then_some(last + 1);
        find_bit(text, bit, first, last).or(beyond)
    });
    ctx.reply.integer(place.map_or(-1, |place| place as i64));
    Ok(Effect::None)
}

/// The first bit with this value from `first` to `last`, both included, which lie in the text.
fn find_bit(text: StrRef<'_>, bit: bool, first: u64, last: u64) -> Option<u64> {
    let (from, to) = ((first >> 3) as usize, (last >> 3) as usize);
    // The wanted bits of a byte, as ones.
    let wanted = |byte: u8| if bit { byte } else { !byte };
    let place = |at: usize, bits: u8| {
        (bits != 0).then(|| ((at as u64) << 3) + u64::from(bits.leading_zeros()))
    };
    let edge = |at: usize, mask: u8| place(at, wanted(text.byte_at(at).unwrap_or(0)) & mask);
    let (first_mask, last_mask) = (0xff >> (first & 7), 0xff << (7 - (last & 7)));
    if from == to {
        return edge(from, first_mask & last_mask);
    }
    let between = || {
        let (mut found, mut at) = (None, from + 1);
        each_piece(text, from + 1, to, &mut |piece| {
            if found.is_none() {
                let inside = first_other_than(piece, if bit { 0 } else { 0xff });
                found = inside.and_then(|i| place(at + i, wanted(piece[i])));
            }
            at += piece.len();
        });
        found
    };
    edge(from, first_mask).or_else(between).or_else(|| edge(to, last_mask))
}

/// Index of the first byte that is not `skip`.
fn first_other_than(bytes: &[u8], skip: u8) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let same = words.iter().take_while(|word| **word == [skip; 8]).count() * 8;
    let inside = bytes[same..].iter().position(|byte| *byte != skip)?;
    Some(same + inside)
}
