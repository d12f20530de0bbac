//! BITFIELD and BITFIELD_RO: integers of any width at any bit.

use super::{bit_offset, with_room};
use crate::args::int;
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Env, Group, KeyFlags,
    KeyList, at,
};
use keyspace::EventClass;
use resp::{Args, Reply};
use smallvec::SmallVec;
use structures::{Entry, StrRef, ValueRef};

/// BITFIELD key [GET type offset | [OVERFLOW WRAP|SAT|FAIL] SET type offset value |
/// INCRBY type offset increment] …
pub const BITFIELD: Command<DataFn> = Command::new(
    CommandSpec::new("bitfield", -2, Group::Bitmap)
        .flags(GROW)
        .keys(&[at(1, RW_ACCESS_UPDATE.union(KeyFlags::VARIABLE_FLAGS))
            .notes("This command allows both access and modification of the key")])
        .find_keys(|args| Some(bitfield_keys(args)))
        .since("3.2.0")
        .doc("O(1) for each operation", "Reads, sets and increments integers inside a string."),
    |ctx, args| bitfield(ctx, args, false),
);

/// BITFIELD_RO key [GET type offset] …
pub const BITFIELD_RO: Command<DataFn> = Command::new(
    CommandSpec::new("bitfield_ro", -2, Group::Bitmap)
        .flags(READ_FAST)
        .keys(&[at(1, RO_ACCESS)])
        .since("6.0.0")
        .doc("O(1) for each operation", "Reads integers inside a string."),
    |ctx, args| bitfield(ctx, args, true),
);

/// Only reads, if there is nothing but GET. Source: redis 7.0 `db.c:bitfieldGetKeys`.
fn bitfield_keys(args: &Args<'_>) -> KeyList {
    let mut index = 2;
    while index < args.len() {
        let left = args.len() - index - 1;
        if args.is(index, "get") && left >= 2 {
            index += 3;
        } else if args.is(index, "overflow") && left >= 1 {
            index += 2;
        } else {
            return KeyList::from_iter([(1, RW_ACCESS_UPDATE)]);
        }
    }
    KeyList::from_iter([(1, RO_ACCESS)])
}

/// A type such as `i16` or `u5`.
#[derive(Clone, Copy)]
struct FieldType {
    signed: bool,
    /// 1 to 64, or to 63 without a sign.
    bits: u32,
}

/// What becomes of a number that does not fit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64, Overflow),
    IncrBy(i64, Overflow),
}

#[derive(Clone, Copy)]
struct Operation {
    field: FieldType,
    offset: u64,
    action: Action,
}

type Operations = SmallVec<[Operation; 4]>;

impl FieldType {
    fn parse(arg: &[u8]) -> Result<FieldType, CommandError> {
        const ERROR: CommandError = CommandError::new(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported \
             but i64 is.",
        );
        let (signed, digits) = match arg {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return Err(ERROR),
        };
        let most = if signed { 64 } else { 63 };
        let bits = stdx::parse_i64(digits).filter(|bits| (1..=most).contains(bits));
        Ok(FieldType { signed, bits: bits.ok_or(ERROR)? as u32 })
    }

    fn mask(self) -> u64 {
        u64::MAX >> (64 - self.bits)
    }

    /// The number that these bits mean.
    fn number(self, bits: u64) -> i64 {
        let unused = 64 - self.bits;
        if self.signed { ((bits << unused) as i64) >> unused } else { bits as i64 }
    }

    /// `value + incr`, if it fits; else what `overflow` makes of it: `None` is a failure.
    /// Source: redis 7.0 `bitops.c:checkSignedBitfieldOverflow` and its unsigned twin, with their
    /// wrapping differences: a number far below the smallest one counts as too big.
    fn fit(self, value: i64, incr: i64, overflow: Overflow) -> Option<i64> {
        let beyond = if self.signed {
            self.signed_beyond(value, incr)
        } else {
            self.unsigned_beyond(value, incr)
        };
        match (beyond, overflow) {
            (None, _) => Some(value.wrapping_add(incr)),
            (Some(_), Overflow::Fail) => None,
            (Some(limit), Overflow::Saturate) => Some(limit),
            (Some(_), Overflow::Wrap) => {
                Some(self.number(value.wrapping_add(incr) as u64 & self.mask()))
            }
        }
    }

    /// The limit that is passed, if one is.
    fn signed_beyond(self, value: i64, incr: i64) -> Option<i64> {
        let max = (self.mask() >> 1) as i64;
        let min = -max - 1;
        let (most, least) = (max.wrapping_sub(value), min.wrapping_sub(value));
        let narrow = self.bits != 64;
        if value > max || (incr > most && (narrow || (value >= 0 && incr > 0))) {
            Some(max)
        } else if value < min || (incr < least && (narrow || (value < 0 && incr < 0))) {
            Some(min)
        } else {
            None
        }
    }

    fn unsigned_beyond(self, value: i64, incr: i64) -> Option<i64> {
        let (max, unsigned) = (self.mask(), value as u64);
        let (most, least) = (max.wrapping_sub(unsigned) as i64, value.wrapping_neg());
        if unsigned > max || (incr > 0 && incr > most) {
            Some(max as i64)
        } else if incr < 0 && incr < least {
            Some(0)
        } else {
            None
        }
    }
}

/// Source: redis 7.0 `bitops.c:bitfieldGeneric`.
fn parse(args: &Args<'_>, env: &Env) -> Result<Operations, CommandError> {
    const OVERFLOW: CommandError = CommandError::new("ERR Invalid OVERFLOW type specified");
    let mut operations = Operations::new();
    let mut overflow = Overflow::Wrap;
    let mut index = 2;
    while index < args.len() {
        let left = args.len() - index - 1;
        if args.is(index, "overflow") && left >= 1 {
            overflow = match args.at(index + 1).to_ascii_lowercase().as_slice() {
                b"wrap" => Overflow::Wrap,
                b"sat" => Overflow::Saturate,
                b"fail" => Overflow::Fail,
                _ => return Err(OVERFLOW),
            };
            index += 2;
            continue;
        }
        let is_get = args.is(index, "get") && left >= 2;
        let is_set = args.is(index, "set") && left >= 3;
        let is_incr = args.is(index, "incrby") && left >= 3;
        if !(is_get || is_set || is_incr) {
            return Err(CommandError::SYNTAX);
        }
        let field = FieldType::parse(args.at(index + 1))?;
        let offset = bit_offset(args.at(index + 2), Some(field.bits), env)?;
        let action = if is_get {
            Action::Get
        } else {
            let number = int(args.at(index + 3))?;
            if is_set { Action::Set(number, overflow) } else { Action::IncrBy(number, overflow) }
        };
        operations.push(Operation { field, offset, action });
        index += if is_get { 3 } else { 4 };
    }
    Ok(operations)
}

fn bitfield(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, read_only: bool) -> CommandResult {
    const ONLY_GET: CommandError =
        CommandError::new("ERR BITFIELD_RO only supports the GET subcommand");
    let (key, operations) = (args.at(1), parse(args, ctx.env)?);
    let writes = operations.iter().filter(|operation| !matches!(operation.action, Action::Get));
    let last_bit = writes.map(|write| write.offset + u64::from(write.field.bits) - 1).max();
    let Some(last_bit) = last_bit else {
        let text = ctx.keys.string(key)?.unwrap_or(StrRef::Bytes(b""));
        ctx.reply.array(operations.len());
        for operation in &operations {
            ctx.reply.integer(operation.field.number(read_bits(text, operation)));
        }
        return Ok(Effect::None);
    };
    if read_only {
        return Err(ONLY_GET);
    }
    let mut reply = Reply::new(ctx.reply.protocol());
    let changes = with_room(ctx, key, last_bit, |entry, grown| {
        let mut changes = 0;
        for operation in &operations {
            changes += u64::from(run(operation, entry, grown, &mut reply));
        }
        changes
    })?;
    if changes > 0 {
        ctx.keys.modified(EventClass::STRING, "setbit", key);
        ctx.keys.dirty(changes - 1);
    }
    ctx.reply.array(operations.len());
    ctx.reply.buffer_mut().extend_from_slice(reply.bytes());
    Ok(Effect::Verbatim)
}

/// Runs one operation and writes its answer; true if it counts as a change: every write does once
/// the string has `grown`.
fn run(operation: &Operation, entry: &mut Entry, grown: bool, reply: &mut Reply) -> bool {
    let old_bits = match entry.value() {
        ValueRef::Str(text) => read_bits(text, operation),
        _ => 0,
    };
    let (field, old) = (operation.field, operation.field.number(old_bits));
    let (new, answer) = match operation.action {
        Action::Get => {
            reply.integer(old);
            return false;
        }
        Action::Set(value, overflow) => (field.fit(value, 0, overflow), Some(old)),
        Action::IncrBy(incr, overflow) => (field.fit(old, incr, overflow), None),
    };
    let Some(new) = new else {
        reply.null();
        return false;
    };
    reply.integer(answer.unwrap_or(new));
    let bits = new as u64 & field.mask();
    if bits != old_bits {
        write_bits(entry, operation, bits);
    }
    grown || new != old
}

/// The bytes that a field touches (9 at most), as one big-endian number, and how far from its low
/// end the field lies.
fn window(text: StrRef<'_>, operation: &Operation) -> (u128, u32) {
    let from = (operation.offset >> 3) as usize;
    let mut bytes = Vec::with_capacity(16);
    text.read_range(from, from.saturating_add(9), &mut bytes);
    bytes.resize(16, 0);
    let word = bytes.iter().fold(0u128, |word, &byte| word << 8 | u128::from(byte));
    (word, 128 - (operation.offset & 7) as u32 - operation.field.bits)
}

/// The bits of a field; beyond the end of the text they are 0.
fn read_bits(text: StrRef<'_>, operation: &Operation) -> u64 {
    let (word, shift) = window(text, operation);
    (word >> shift) as u64 & operation.field.mask()
}

/// Writes the bits of a field that lies in the string.
fn write_bits(entry: &mut Entry, operation: &Operation, bits: u64) {
    let ValueRef::Str(text) = entry.value() else { return };
    let (word, shift) = window(text, operation);
    let mask = u128::from(operation.field.mask()) << shift;
    let word = word & !mask | u128::from(bits) << shift;
    let touched = ((operation.offset & 7) as usize + operation.field.bits as usize).div_ceil(8);
    entry.write_str_at((operation.offset >> 3) as usize, &word.to_be_bytes()[..touched]);
}
