//! Unions, intersections and differences of sorted sets and sets, with weights; returned, counted
//! or stored.

use super::{member_item, members_head};
use crate::args::{int, int_between_or};
use crate::family::collections::store;
use crate::family::common::*;
use crate::{
    Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at, keynum,
};
use keyspace::{EventClass, Keys};
use resp::Args;
use structures::{Elem, Limits, Set, Value, ValueRef, Zset};

/// ZUNION numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
pub const ZUNION: Command<DataFn> = Command::new(
    CommandSpec::new("zunion", -3, Group::SortedSet)
        .flags(READ)
        .keys(&[keynum(1, RO_ACCESS)])
        .since("6.2.0")
        .doc("O(n)+O(m*log(m)) for n members, m of them different", "Returns a union."),
    |ctx, args| show(ctx, args, Operation::Union, "zunion"),
);

/// ZINTER numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX] [WITHSCORES]
pub const ZINTER: Command<DataFn> = Command::new(
    CommandSpec::new("zinter", -3, Group::SortedSet)
        .flags(READ)
        .keys(&[keynum(1, RO_ACCESS)])
        .since("6.2.0")
        .doc(
            "O(n*k)+O(m*log(m)) for k sets, the smallest of n members, m of them in all",
            "Returns an intersection.",
        ),
    |ctx, args| show(ctx, args, Operation::Inter, "zinter"),
);

/// ZDIFF numkeys key [key …] [WITHSCORES]
pub const ZDIFF: Command<DataFn> = Command::new(
    CommandSpec::new("zdiff", -3, Group::SortedSet)
        .flags(READ)
        .keys(&[keynum(1, RO_ACCESS)])
        .since("6.2.0")
        .doc("O(n)+O(m*log(m)) for n members, m of them left", "Returns a difference."),
    |ctx, args| show(ctx, args, Operation::Diff, "zdiff"),
);

/// ZUNIONSTORE destination numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX]
pub const ZUNIONSTORE: Command<DataFn> = Command::new(
    CommandSpec::new("zunionstore", -4, Group::SortedSet)
        .flags(GROW)
        .keys(&[at(1, OW_UPDATE), keynum(2, RO_ACCESS)])
        .since("2.0.0")
        .doc("O(n)+O(m*log(m)) for n members, m of them different", "Stores a union."),
    |ctx, args| store_result(ctx, args, Operation::Union, "zunionstore"),
);

/// ZINTERSTORE destination numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM|MIN|MAX]
pub const ZINTERSTORE: Command<DataFn> = Command::new(
    CommandSpec::new("zinterstore", -4, Group::SortedSet)
        .flags(GROW)
        .keys(&[at(1, OW_UPDATE), keynum(2, RO_ACCESS)])
        .since("2.0.0")
        .doc(
            "O(n*k)+O(m*log(m)) for k sets, the smallest of n members, m of them in all",
            "Stores an intersection.",
        ),
    |ctx, args| store_result(ctx, args, Operation::Inter, "zinterstore"),
);

/// ZDIFFSTORE destination numkeys key [key …]
pub const ZDIFFSTORE: Command<DataFn> = Command::new(
    CommandSpec::new("zdiffstore", -4, Group::SortedSet)
        .flags(GROW)
        .keys(&[at(1, OW_UPDATE), keynum(2, RO_ACCESS)])
        .since("6.2.0")
        .doc("O(n)+O(m*log(m)) for n members, m of them left", "Stores a difference."),
    |ctx, args| store_result(ctx, args, Operation::Diff, "zdiffstore"),
);

/// ZINTERCARD numkeys key [key …] [LIMIT limit]
pub const ZINTERCARD: Command<DataFn> = Command::new(
    CommandSpec::new("zintercard", -3, Group::SortedSet)
        .flags(READ)
        .keys(&[keynum(1, RO_ACCESS)])
        .since("7.0.0")
        .doc(
            "O(n*k) for k sets, the smallest of n members",
            "Counts the members of an intersection.",
        ),
    zintercard,
);

/// Results are built unpacked and packed when they are stored, as in Redis: a listpack would lose
/// the sign of a negative zero, which ZUNION, ZINTER and ZDIFF show.
const UNPACKED: Limits = Limits {
    hash_max_listpack_entries: 0,
    hash_max_listpack_value: 0,
    list_max_listpack_size: -2,
    list_compress_depth: 0,
    set_max_intset_entries: 0,
    set_max_listpack_entries: 0,
    set_max_listpack_value: 0,
    zset_max_listpack_entries: 0,
    zset_max_listpack_value: 0,
    quicklist_packed_threshold: 1 << 30,
    stream_node_max_bytes: 4096,
    stream_node_max_entries: 100,
};

/// What is made of the inputs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// Which options a command has beside those of its operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Show,
    Store,
    Count,
}

/// How the scores of a member in several inputs become one.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn parse(word: &[u8]) -> Option<Aggregate> {
        match word.to_ascii_lowercase().as_slice() {
            b"sum" => Some(Aggregate::Sum),
            b"min" => Some(Aggregate::Min),
            b"max" => Some(Aggregate::Max),
            _ => None,
        }
    }

    /// Source: redis 7.0 `t_zset.c:zunionInterAggregate`.
    fn apply(self, score: f64, other: f64) -> f64 {
        match self {
            // Infinities of both signs make 0.
            Aggregate::Sum => number(score + other),
            Aggregate::Min => {
                if other < score {
                    other
                } else {
                    score
                }
            }
            Aggregate::Max => {
                if other > score {
                    other
                } else {
                    score
                }
            }
        }
    }
}

/// The value, or 0 if it is no number (an infinite score with weight 0).
fn number(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value }
}

/// One input: a sorted set, or a set whose members all have score 1.
#[derive(Clone, Copy)]
enum Source<'a> {
    Zset(&'a Zset),
    Set(&'a Set),
    Missing,
}

impl<'a> Source<'a> {
    fn len(self) -> usize {
        match self {
            Source::Zset(zset) => zset.len(),
            Source::Set(set) => set.len(),
            Source::Missing => 0,
        }
    }

    fn score(self, member: Elem<'_>) -> Option<f64> {
        match self {
            Source::Zset(zset) => member.with(|text| zset.score(text)),
            Source::Set(set) => member.with(|text| set.contains(text)).then_some(1.0),
            Source::Missing => None,
        }
    }

    fn iter(self) -> Box<dyn Iterator<Item = (Elem<'a>, f64)> + 'a> {
        match self {
            Source::Zset(zset) => Box::new(zset.iter()),
            Source::Set(set) => Box::new(set.iter().map(|member| (member, 1.0))),
            Source::Missing => Box::new(std::iter::empty()),
        }
    }

    fn same(self, other: Source<'_>) -> bool {
        match (self, other) {
            (Source::Zset(a), Source::Zset(b)) => std::ptr::eq(a, b),
            (Source::Set(a), Source::Set(b)) => std::ptr::eq(a, b),
            _ => false,
        }
    }
}

/// `numkeys key [key …] [option …]`.
struct Request {
    /// Number of the first key's argument.
    first: usize,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Most members to count, 0 for all.
    limit: i64,
}

impl Request {
    /// Reads and checks the keys as well, since Redis does so before it parses the options: a key
    /// of another type is reported rather than a wrong option.
    /// Source: redis 7.0 `t_zset.c:zunionInterDiffGenericCommand`.
    fn parse(
        ctx: &mut Ctx<'_, '_>,
        args: &Args<'_>,
        operation: Operation,
        form: Form,
        name: &str,
    ) -> Result<Request, CommandError> {
        let numkeys_at = if form == Form::Store { 2 } else { 1 };
        let first = numkeys_at + 1;
        let count = int(args.at(numkeys_at))?;
        if count < 1 {
            let text = format!("ERR at least 1 input key is needed for '{name}' command");
            return Err(CommandError::owned(text));
        }
        if count > (args.len() - first) as i64 {
            return Err(CommandError::SYNTAX);
        }
        let count = count as usize;
        for name in args.tail(first).iter().take(count) {
            match ctx.keys.value(name) {
                None | Some(ValueRef::Zset(_) | ValueRef::Set(_)) => {}
                Some(_) => return Err(CommandError::WRONG_TYPE),
            }
        }
        let mut request = Request {
            first,
            weights: vec![1.0; count],
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
        };
        let mut index = first + count;
        while index < args.len() {
            index = request.option(args, index, operation, form)?;
        }
        Ok(request)
    }

    /// Parses the option at `index` and returns the index of the next one.
    fn option(
        &mut self,
        args: &Args<'_>,
        index: usize,
        operation: Operation,
        form: Form,
    ) -> Result<usize, CommandError> {
        const WEIGHT: CommandError = CommandError::new("ERR weight value is not a float");
        const LIMIT: CommandError = CommandError::new("ERR LIMIT can't be negative");
        let combines = operation != Operation::Diff && form != Form::Count;
        let after = args.len() - index - 1;
        if combines && args.is(index, "weights") && after >= self.weights.len() {
            for (n, weight) in self.weights.iter_mut().enumerate() {
                *weight = stdx::parse_f64(args.at(index + 1 + n)).ok_or(WEIGHT)?;
            }
            Ok(index + 1 + self.weights.len())
        } else if combines && args.is(index, "aggregate") && after >= 1 {
            self.aggregate = Aggregate::parse(args.at(index + 1)).ok_or(CommandError::SYNTAX)?;
            Ok(index + 2)
        } else if form == Form::Show && args.is(index, "withscores") {
            self.with_scores = true;
            Ok(index + 1)
        } else if form == Form::Count && args.is(index, "limit") && after >= 1 {
            self.limit = int_between_or(args.at(index + 1), 0, i64::MAX, LIMIT)?;
            Ok(index + 2)
        } else {
            Err(CommandError::SYNTAX)
        }
    }

    /// The inputs with their weights, in the order of the keys.
    fn sources<'a>(&self, keys: &'a Keys<'_>, args: &Args<'_>) -> Vec<(Source<'a>, f64)> {
        let names = args.tail(self.first);
        let view = |(name, &weight)| {
            let source = match keys.view(name).map(|entry| entry.value()) {
                Some(ValueRef::Zset(zset)) => Source::Zset(zset),
                Some(ValueRef::Set(set)) => Source::Set(set),
                _ => Source::Missing,
            };
            (source, weight)
        };
        names.iter().zip(&self.weights).map(view).collect()
    }

    fn compute(&self, keys: &Keys<'_>, args: &Args<'_>, operation: Operation) -> Zset {
        let (sources, limits) = (self.sources(keys, args), &UNPACKED);
        match operation {
            Operation::Union => union(sources, self.aggregate, limits),
            Operation::Diff => difference(&sources, limits),
            Operation::Inter => {
                let mut result = Zset::new();
                intersect(sources, self.aggregate, &mut |member, score| {
                    member.with(|text| result.insert(text, score, limits));
                    true
                });
                result
            }
        }
    }
}

fn union(mut sources: Vec<(Source<'_>, f64)>, aggregate: Aggregate, limits: &Limits) -> Zset {
    // The smallest first, as in Redis: the order of additions decides their rounding.
    sources.sort_by_key(|(source, _)| source.len());
    let mut result = Zset::new();
    result.reserve(sources.last().map_or(0, |(source, _)| source.len()), 0, limits);
    for (source, weight) in sources {
        for (member, score) in source.iter() {
            let score = number(weight * score);
            member.with(|text| {
                let before = result.score(text);
                let score = before.map_or(score, |before| aggregate.apply(before, score));
                // An update to a score that differs only in the sign of zero is none.
                if score == 0.0 && before == Some(0.0) {
                    result.remove(text);
                }
                result.insert(text, score, limits);
            });
        }
    }
    result
}

/// Shows the members that are in all inputs with their scores to `f`, as long as it returns true.
fn intersect(
    mut sources: Vec<(Source<'_>, f64)>,
    aggregate: Aggregate,
    f: &mut dyn FnMut(Elem<'_>, f64) -> bool,
) {
    sources.sort_by_key(|(source, _)| source.len());
    let Some(((smallest, weight), others)) = sources.split_first() else { return };
    for (member, score) in smallest.iter() {
        let start = number(weight * score);
        let score = others.iter().try_fold(start, |score, (other, weight)| {
            Some(aggregate.apply(score, other.score(member)? * weight))
        });
        if let Some(score) = score
            && !f(member, score)
        {
            return;
        }
    }
}

/// The members of the first input that no other one has, with their scores.
fn difference(sources: &[(Source<'_>, f64)], limits: &Limits) -> Zset {
    let mut result = Zset::new();
    let Some(((first, _), others)) = sources.split_first() else { return result };
    let mut others: Vec<Source<'_>> = others.iter().map(|(source, _)| *source).collect();
    if others.iter().any(|other| other.same(*first)) {
        return result;
    }
    // Either each member is looked for in the other inputs, or all members of all inputs are
    // walked. Source: redis 7.0 `t_zset.c:zsetChooseDiffAlgorithm`.
    let walk: usize = first.len() + others.iter().map(|other| other.len()).sum::<usize>();
    if first.len().saturating_mul(others.len() + 1) / 2 > walk {
        for (member, score) in first.iter() {
            member.with(|text| result.insert(text, score, limits));
        }
        for (member, _) in others.iter().flat_map(|other| other.iter()) {
            member.with(|text| result.remove(text));
            if result.is_empty() {
                break;
            }
        }
        result.compact(limits);
        return result;
    }
    // The biggest first: it is the likeliest to have a member.
    others.sort_by_key(|other| std::cmp::Reverse(other.len()));
    for (member, score) in first.iter() {
        if !others.iter().any(|other| other.score(member).is_some()) {
            member.with(|text| result.insert(text, score, limits));
        }
    }
    result
}

fn show(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, operation: Operation, name: &str) -> CommandResult {
    let request = Request::parse(ctx, args, operation, Form::Show, name)?;
    let result = request.compute(ctx.keys, args, operation);
    members_head(ctx.reply, result.len(), request.with_scores);
    for (member, score) in result.iter() {
        member_item(ctx.reply, member, score, request.with_scores);
    }
    Ok(Effect::None)
}

fn store_result(
    ctx: &mut Ctx<'_, '_>,
    args: &Args<'_>,
    operation: Operation,
    name: &'static str,
) -> CommandResult {
    let request = Request::parse(ctx, args, operation, Form::Store, name)?;
    let mut result = request.compute(ctx.keys, args, operation);
    result.compact(&ctx.env.limits);
    let len = result.len();
    store(ctx, args.at(1), Value::Zset(Box::new(result)), len, EventClass::ZSET, name)
}

fn zintercard(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let request = Request::parse(ctx, args, Operation::Inter, Form::Count, "zintercard")?;
    let mut found = 0;
    intersect(request.sources(ctx.keys, args), request.aggregate, &mut |_, _| {
        found += 1;
        found != request.limit
    });
    ctx.reply.integer(found);
    Ok(Effect::None)
}
