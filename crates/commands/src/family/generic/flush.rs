//! Commands on whole databases. They hold every stripe.

use crate::args::int_between_or;
use crate::{
    AclCategories, Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Flags,
    Group,
};
use resp::Args;

const ALL_SUCCEEDED: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

const fn flush_spec(name: &'static str, summary: &'static str) -> CommandSpec {
    CommandSpec::new(name, -1, Group::Server)
        .flags(Flags::WRITE.union(Flags::ALL_STRIPES))
        .acl(AclCategories::KEYSPACE.union(AclCategories::DANGEROUS))
        .tips(ALL_SUCCEEDED)
        .doc("O(1), the memory is freed in the background", summary)
}

/// FLUSHDB [ASYNC | SYNC]
pub const FLUSHDB: Command<DataFn> =
    Command::new(flush_spec("flushdb", "Removes all keys of the database."), |ctx, args| {
        let db = ctx.keys.db;
        flush(ctx, args, Some(db))
    });

/// FLUSHALL [ASYNC | SYNC]
pub const FLUSHALL: Command<DataFn> =
    Command::new(flush_spec("flushall", "Removes all keys of all databases."), |ctx, args| {
        flush(ctx, args, None)
    });

fn flush(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, db: Option<usize>) -> CommandResult {
    if args.len() > 2 || (args.len() == 2 && !args.is(1, "sync") && !args.is(1, "async")) {
        return Err(CommandError::SYNTAX);
    }
    let (removed, tables) = ctx.keys.flush(db);
    ctx.keys.dirty(removed);
    ctx.keys.changes.tables.extend(tables);
    ctx.reply.ok();
    // Goes on the log even if nothing was there: a replica may have more.
    Ok(Effect::Replace(vec![args.to_owned_args()]))
}

/// SWAPDB index1 index2
pub const SWAPDB: Command<DataFn> = Command::new(
    CommandSpec::new("swapdb", 3, Group::Server)
        .flags(Flags::WRITE.union(Flags::FAST).union(Flags::ALL_STRIPES))
        .acl(AclCategories::KEYSPACE.union(AclCategories::DANGEROUS))
        .since("4.0.0")
        .doc("O(1) per stripe", "Exchanges the keys of two databases."),
    swapdb,
);

fn swapdb(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let index =
        |at, error| int_between_or(args.at(at), i64::from(i32::MIN), i64::from(i32::MAX), error);
    let first = index(1, CommandError::new("ERR invalid first DB index"))?;
    let second = index(2, CommandError::new("ERR invalid second DB index"))?;
    let databases = ctx.keys.space().databases();
    let known = |index| usize::try_from(index).ok().filter(|&db| db < databases);
    let (Some(first), Some(second)) = (known(first), known(second)) else {
        return Err(CommandError::DB_INDEX);
    };
    if first != second {
        ctx.keys.swap_dbs(first, second);
    }
    ctx.keys.dirty(1);
    ctx.reply.ok();
    Ok(Effect::Verbatim)
}
