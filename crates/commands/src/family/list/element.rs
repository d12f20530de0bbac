//! Commands on single elements of a list, by index or by value.

use crate::args::{int, int_between, int_between_or, option_value};
use crate::family::common::*;
use crate::{Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::Args;
use structures::{Elem, List};

/// LLEN key
pub const LLEN: Command<DataFn> = Command::new(
    CommandSpec::new("llen", 2, Group::List)
        .flags(READ_FAST)
        .keys(&[at(1, RO)])
        .doc("O(1)", "Returns the number of elements of a list."),
    llen,
);

fn llen(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let len = ctx.keys.list(args.at(1))?.map_or(0, List::len);
    ctx.reply.count(len);
    Ok(Effect::None)
}

/// LINDEX key index
pub const LINDEX: Command<DataFn> = Command::new(
    CommandSpec::new("lindex", 3, Group::List)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .doc("O(n) for a place n elements from the nearer end", "Returns an element by its index."),
    lindex,
);

fn lindex(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    // A missing key answers before a bad index does.
    match ctx.keys.list(args.at(1))? {
        Some(list) => bulk_elem_or_null(ctx.reply, list.get(int(args.at(2))?)),
        None => ctx.reply.null(),
    }
    Ok(Effect::None)
}

/// LSET key index element
pub const LSET: Command<DataFn> = Command::new(
    CommandSpec::new("lset", 4, Group::List).flags(GROW).keys(&[at(1, RW_UPDATE)]).doc(
        "O(n) for a place n elements from the nearer end",
        "Replaces an element by its index.",
    ),
    lset,
);

fn lset(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let key = args.at(1);
    let list = ctx.keys.list_mut(key)?.ok_or(CommandError::NO_SUCH_KEY)?;
    if !list.set(int(args.at(2))?, args.at(3), &ctx.env.limits) {
        return Err(CommandError::INDEX_OUT_OF_RANGE);
    }
    ctx.keys.modified(EventClass::LIST, "lset", key);
    ctx.reply.ok();
    Ok(Effect::Verbatim)
}

/// Options of LPOS.
struct Search {
    /// Number of the first match to return, from 1; from the tail if `from_tail`.
    rank: u64,
    from_tail: bool,
    /// The most matches to return, 0 for all; `None` for one that is not in an array.
    count: Option<i64>,
    /// The most elements to compare, 0 for all.
    max_len: i64,
}

impl Search {
    /// Source: redis 7.2 `t_list.c:lposCommand`.
    fn parse(args: &Args<'_>) -> Result<Search, CommandError> {
        const RANK: CommandError = CommandError::new(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
             or use negative to start from the end of the list",
        );
        const COUNT: CommandError = CommandError::new("ERR COUNT can't be negative");
        const MAXLEN: CommandError = CommandError::new("ERR MAXLEN can't be negative");
        let mut search = Search { rank: 1, from_tail: false, count: None, max_len: 0 };
        for index in (3..args.len()).step_by(2) {
            if let Some(value) = option_value(args, index, "rank") {
                let rank = int_between(value, -i64::MAX, i64::MAX)?;
                if rank == 0 {
                    return Err(RANK);
                }
                search.rank = rank.unsigned_abs();
                search.from_tail = rank < 0;
            } else if let Some(value) = option_value(args, index, "count") {
                search.count = Some(int_between_or(value, 0, i64::MAX, COUNT)?);
            } else if let Some(value) = option_value(args, index, "maxlen") {
                search.max_len = int_between_or(value, 0, i64::MAX, MAXLEN)?;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(search)
    }

    /// Shows the positions of the wanted matches to `f`.
    fn run(&self, list: &List, text: &[u8], f: &mut dyn FnMut(usize)) {
        let most = if self.max_len == 0 { usize::MAX } else { self.max_len as usize };
        let wanted = match self.count {
            None => 1,
            Some(0) => usize::MAX,
            Some(count) => count as usize,
        };
        let before = usize::try_from(self.rank - 1).unwrap_or(usize::MAX);
        let matches = |(_, element): &(usize, Elem<'_>)| element.eq_bytes(text);
        let last = list.len().wrapping_sub(1);
        if self.from_tail {
            let found = list.iter().rev().enumerate().take(most).filter(matches);
            found.skip(before).take(wanted).for_each(|(index, _)| f(last - index));
        } else {
            let found = list.iter().enumerate().take(most).filter(matches);
            found.skip(before).take(wanted).for_each(|(index, _)| f(index));
        }
    }
}

/// LPOS key element [RANK rank] [COUNT count] [MAXLEN len]
pub const LPOS: Command<DataFn> = Command::new(
    CommandSpec::new("lpos", -3, Group::List)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("6.0.6")
        .doc("O(n) for n elements compared", "Returns the indices of elements by their value."),
    lpos,
);

fn lpos(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let search = Search::parse(args)?;
    let mark = ctx.reply.mark();
    let mut found = 0;
    if let Some(list) = ctx.keys.list(args.at(1))? {
        search.run(list, args.at(2), &mut |index| {
            ctx.reply.count(index);
            found += 1;
        });
    }
    if search.count.is_some() {
        ctx.reply.array_at(mark, found);
    } else if found == 0 {
        ctx.reply.null();
    }
    Ok(Effect::None)
}

/// LREM key count element
pub const LREM: Command<DataFn> = Command::new(
    CommandSpec::new("lrem", 4, Group::List)
        .flags(WRITE)
        .keys(&[at(1, RW_DELETE)])
        .doc("O(n) for n elements of the list", "Removes elements by their value."),
    lrem,
);

fn lrem(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (key, count) = (args.at(1), int(args.at(2))?);
    let removed = ctx.keys.list_mut(key)?.map_or(0, |list| list.remove(count, args.at(3)));
    if removed > 0 {
        ctx.keys.modified(EventClass::LIST, "lrem", key);
        ctx.keys.dirty(removed as u64 - 1);
        ctx.keys.remove_if_empty(key);
    }
    ctx.reply.count(removed);
    Ok(Effect::Verbatim)
}
