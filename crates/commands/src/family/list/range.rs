//! Commands on ranges of a list.

use crate::args::int;
use crate::family::collections::window;
use crate::family::common::*;
use crate::{Command, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use keyspace::EventClass;
use resp::Args;
use structures::List;

/// LRANGE key start stop
pub const LRANGE: Command<DataFn> = Command::new(
    CommandSpec::new("lrange", 4, Group::List)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .doc("O(s+n) for n elements that begin s from an end", "Returns a range of a list."),
    lrange,
);

fn lrange(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (start, end) = (int(args.at(2))?, int(args.at(3))?);
    let list = ctx.keys.list(args.at(1))?;
    let found = list.and_then(|list| Some((list, window(list.len(), start, end)?)));
    let Some((list, (start, len))) = found else {
        ctx.reply.array(0);
        return Ok(Effect::None);
    };
    ctx.reply.array(len);
    list.range(start, len).for_each(|element| bulk_elem(ctx.reply, element));
    Ok(Effect::None)
}

/// LTRIM key start stop
pub const LTRIM: Command<DataFn> = Command::new(
    CommandSpec::new("ltrim", 4, Group::List)
        .flags(WRITE)
        .keys(&[at(1, RW_DELETE)])
        .doc("O(n) for n elements removed", "Removes everything outside a range of a list."),
    ltrim,
);

fn ltrim(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let (start, end) = (int(args.at(2))?, int(args.at(3))?);
    let key = args.at(1);
    if let Some(list) = ctx.keys.list_mut(key)? {
        let before = list.len();
        let (start, len) = window(before, start, end).unwrap_or((0, 0));
        list.trim(start, len);
        let removed = before - List::len(list);
        // Watchers and subscribers hear of a trim that removes nothing; the log does not.
        ctx.keys.signal(key);
        ctx.keys.notify(EventClass::LIST, "ltrim", key);
        ctx.keys.dirty(removed as u64);
        ctx.keys.remove_if_empty(key);
    }
    ctx.reply.ok();
    Ok(Effect::Verbatim)
}
