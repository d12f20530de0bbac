//! SORT and SORT_RO: elements of a list, set or sorted set in order, by themselves or by values of
//! keys that are named after them.
//!
//! Which keys those are is known only once the elements are read, so that all stripes are held for
//! such a request (`CommandSpec::everywhere`).

mod lookup;

use crate::args::int;
use crate::family::collections::store;
use crate::family::common::*;
use crate::family::order::sort_part;
use crate::{
    AclCategories, Begin, Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect,
    Find, Flags, Group, KeyFlags, KeyList, KeySpec, at,
};
use keyspace::EventClass;
use lookup::{Pattern, number_of};
use resp::Args;
use std::cmp::Ordering;
use structures::{Elem, List, Value, ValueRef};

/// The commands of this family.
pub const TABLE: &[&Command<DataFn>] = &[&SORT, &SORT_RO];

const CATEGORIES: AclCategories = AclCategories::SET
    .union(AclCategories::SORTEDSET)
    .union(AclCategories::LIST)
    .union(AclCategories::DANGEROUS);

const fn unknown(flags: KeyFlags, notes: &'static str) -> KeySpec {
    KeySpec { begin: Begin::Unknown, find: Find::Unknown, flags, notes }
}

const PATTERN_KEYS: KeySpec = unknown(
    RO_ACCESS,
    "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the \
     content of the key we sort",
);
const STORE_KEY: KeySpec = unknown(
    OW_UPDATE,
    "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere \
     in the argument array",
);
const COMPLEXITY: &str = "O(n+m*log(m)) for m elements, n of them returned";

/// SORT key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC|DESC] [ALPHA] [STORE destination]
pub const SORT: Command<DataFn> = Command::new(
    CommandSpec::new("sort", -2, Group::Generic)
        .flags(GROW.union(Flags::MOVABLE_KEYS))
        .keys(&[at(1, RO_ACCESS), PATTERN_KEYS, STORE_KEY])
        .find_keys(|args| Some(sort_keys(args)))
        .everywhere(has_pattern)
        .acl(CATEGORIES)
        .without_group_category()
        .doc(COMPLEXITY, "Sorts a list, set or sorted set; returns or stores the result."),
    |ctx, args| sort(ctx, args, true),
);

/// SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern …] [ASC|DESC] [ALPHA]
pub const SORT_RO: Command<DataFn> = Command::new(
    CommandSpec::new("sort_ro", -2, Group::Generic)
        .flags(READ.union(Flags::MOVABLE_KEYS))
        .keys(&[at(1, RO_ACCESS), PATTERN_KEYS])
        .find_keys(|_| Some(KeyList::from_iter([(1, RO_ACCESS)])))
        .everywhere(has_pattern)
        .acl(CATEGORIES)
        .without_group_category()
        .since("7.0.0")
        .doc(COMPLEXITY, "Sorts a list, set or sorted set and returns the result."),
    |ctx, args| sort(ctx, args, false),
);

/// Whether BY or GET may name keys: a pattern without `*` names none.
fn has_pattern(args: &Args<'_>) -> bool {
    (2..args.len().saturating_sub(1)).any(|index| {
        (args.is(index, "by") || args.is(index, "get")) && args.at(index + 1).contains(&b'*')
    })
}

/// The key to sort, and that of the last STORE. Source: redis 7.0 `db.c:sortGetKeys`.
fn sort_keys(args: &Args<'_>) -> KeyList {
    let mut keys = KeyList::from_iter([(1, RO_ACCESS)]);
    let (mut index, mut store) = (2, None);
    while index < args.len() {
        if args.is(index, "limit") {
            index += 2;
        } else if args.is(index, "by") || args.is(index, "get") {
            index += 1;
        } else if args.is(index, "store") && index + 1 < args.len() {
            index += 1;
            store = Some((index, OW_UPDATE));
        }
        index += 1;
    }
    keys.extend(store);
    keys
}

/// What the options say.
struct Request<'a> {
    by: Option<&'a [u8]>,
    /// BY names a constant: the order of the elements stays.
    unsorted: bool,
    /// First element and number of elements; negative: all.
    limit: (i64, i64),
    get: Vec<&'a [u8]>,
    desc: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Source: redis 7.0 `sort.c:sortCommandGeneric`.
    fn parse(
        args: &Args<'a>,
        may_store: bool,
        reads_every_key: bool,
    ) -> Result<Request<'a>, CommandError> {
        let mut request = Request {
            by: None,
            unsorted: false,
            limit: (0, -1),
            get: Vec::new(),
            desc: false,
            alpha: false,
            store: None,
        };
        let mut index = 2;
        while index < args.len() {
            let left = args.len() - index - 1;
            match args.at(index).to_ascii_lowercase().as_slice() {
                b"asc" => request.desc = false,
                b"desc" => request.desc = true,
                b"alpha" => request.alpha = true,
                b"limit" if left >= 2 => {
                    request.limit = (int(args.at(index + 1))?, int(args.at(index + 2))?);
                    index += 2;
                }
                b"store" if may_store && left >= 1 => {
                    request.store = Some(args.at(index + 1));
                    index += 1;
                }
                b"by" if left >= 1 => {
                    let by = args.at(index + 1);
                    request.by = Some(by);
                    if !lookup::c_text(by).contains(&b'*') {
                        request.unsorted = true;
                    } else if !reads_every_key {
                        return Err(CommandError::new(
                            "ERR BY option of SORT denied due to insufficient ACL permissions.",
                        ));
                    }
                    index += 1;
                }
                b"get" if left >= 1 => {
                    if !reads_every_key {
                        return Err(CommandError::new(
                            "ERR GET option of SORT denied due to insufficient ACL permissions.",
                        ));
                    }
                    request.get.push(args.at(index + 1));
                    index += 1;
                }
                _ => return Err(CommandError::SYNTAX),
            }
            index += 1;
        }
        Ok(request)
    }

    /// Which of `len` elements are wanted: the first one and how many.
    fn window(&self, len: usize) -> (usize, usize) {
        let len = len as i64;
        let (first, count) = (self.limit.0.clamp(0, len), self.limit.1.clamp(-1, len));
        let count = if count < 0 { len - first } else { count.min(len - first) };
        (first as usize, count as usize)
    }
}

/// What an element is sorted by.
enum Weight {
    Number(f64),
    /// `None` where the key is missing: sorted before everything.
    Text(Option<Vec<u8>>),
    /// The element itself, as text.
    Own,
}

struct Item {
    element: Vec<u8>,
    weight: Weight,
}

fn sort(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, may_store: bool) -> CommandResult {
    let (key, mut request) =
        (args.at(1), Request::parse(args, may_store, ctx.env.reads_every_key)?);
    let (elements, is_set) = load(ctx, key, &request)?;
    if is_set && request.unsorted && request.store.is_some() {
        // What is stored must be the same everywhere, and a set has no order.
        request.unsorted = false;
        request.alpha = true;
        request.by = None;
    }
    let (first, count) = match request.unsorted && !is_set {
        true => (0, elements.len()),
        false => request.window(elements.len()),
    };
    let sorted = if request.unsorted {
        elements
    } else {
        in_order(ctx, elements, is_set, &request, (first, count))?
    };
    let wanted = &sorted[first..first + count];
    match request.store {
        Some(dest) => store_list(ctx, dest, wanted, &request.get),
        None => {
            show(ctx, wanted, &request.get);
            Ok(Effect::None)
        }
    }
}

/// The elements of the key, and whether it is a set. Those of a list or sorted set that are not to
/// be sorted are only the wanted ones, backwards if the order is to be descending.
fn load(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    request: &Request<'_>,
) -> Result<(Vec<Vec<u8>>, bool), CommandError> {
    let part = |len: usize| if request.unsorted { request.window(len) } else { (0, len) };
    let backwards = request.unsorted && request.desc;
    match ctx.keys.value(key) {
        None => Ok((Vec::new(), false)),
        Some(ValueRef::Set(set)) => Ok((set.iter().map(Elem::to_vec).collect(), true)),
        Some(ValueRef::List(list)) => {
            let (first, count) = part(list.len());
            let elements = if backwards {
                list.range_rev(first, count).map(Elem::to_vec).collect()
            } else {
                list.range(first, count).map(Elem::to_vec).collect()
            };
            Ok((elements, false))
        }
        Some(ValueRef::Zset(zset)) => {
            let (first, count) = part(zset.len());
            let members = zset.range_by_rank(first, count, backwards);
            let members = members.map(|(member, _)| member.to_vec()).collect();
            if zset.encoding() == "listpack"
                && let Some(zset) = ctx.keys.zset_mut(key)?
            {
                // As in Redis, a sorted set is unpacked for it and stays so.
                zset.unpack();
            }
            Ok((members, false))
        }
        Some(_) => Err(CommandError::WRONG_TYPE),
    }
}

/// The elements, of which those in the window are where a full sort puts them.
fn in_order(
    ctx: &mut Ctx<'_, '_>,
    mut elements: Vec<Vec<u8>>,
    is_set: bool,
    request: &Request<'_>,
    (first, count): (usize, usize),
) -> Result<Vec<Vec<u8>>, CommandError> {
    const NOT_NUMBERS: CommandError =
        CommandError::new("ERR One or more scores can't be converted into double");
    if is_set && request.store.is_some() {
        // Elements that compare as equal are stored in the same order everywhere.
        elements.sort_unstable();
    }
    let by = request.by.map(Pattern::new);
    let mut wrong = false;
    let mut items = Vec::with_capacity(elements.len());
    for element in elements {
        let value = by.as_ref().map(|by| by.value(ctx.keys, &element));
        let weight = match (request.alpha, value) {
            (true, None) => Weight::Own,
            (true, Some(text)) => Weight::Text(text),
            (false, Some(None)) => Weight::Number(0.0),
            (false, value) => {
                let text = value.flatten();
                let number = number_of(text.as_deref().unwrap_or(&element));
                wrong |= number.is_none();
                Weight::Number(number.unwrap_or(0.0))
            }
        };
        items.push(Item { element, weight });
    }
    if wrong {
        return Err(NOT_NUMBERS);
    }
    let whole = request.store.is_some();
    let (desc, len) = (request.desc, items.len());
    let order = |a: &Item, b: &Item| {
        let order = compare(a, b, whole);
        if desc { order.reverse() } else { order }
    };
    if by.is_some() && count != len {
        if count > 0 {
            sort_part(&mut items, first, first + count - 1, &order);
        }
    } else {
        items.sort_by(order);
    }
    Ok(items.into_iter().map(|item| item.element).collect())
}

/// Source: redis 7.0 `sort.c:sortCompare`. Texts that are only shown are compared by the C library,
/// which stops at a NUL; what is stored is compared as a `whole`.
fn compare(a: &Item, b: &Item, whole: bool) -> Ordering {
    let texts = |a: &[u8], b: &[u8]| {
        if whole { a.cmp(b) } else { lookup::c_text(a).cmp(lookup::c_text(b)) }
    };
    match (&a.weight, &b.weight) {
        (Weight::Number(x), Weight::Number(y)) => {
            // None of them is NaN. Equal ones are told apart by the elements.
            x.partial_cmp(y).unwrap_or(Ordering::Equal).then_with(|| a.element.cmp(&b.element))
        }
        (Weight::Text(Some(x)), Weight::Text(Some(y))) => texts(x, y),
        (Weight::Text(x), Weight::Text(y)) => x.is_some().cmp(&y.is_some()),
        _ => texts(&a.element, &b.element),
    }
}

fn show(ctx: &mut Ctx<'_, '_>, elements: &[Vec<u8>], get: &[&[u8]]) {
    if get.is_empty() {
        ctx.reply.array(elements.len());
        elements.iter().for_each(|element| ctx.reply.bulk(element));
        return;
    }
    let patterns: Vec<Pattern<'_>> = get.iter().map(|get| Pattern::new(get)).collect();
    ctx.reply.array(elements.len() * patterns.len());
    for element in elements {
        for pattern in &patterns {
            match pattern.value(ctx.keys, element) {
                Some(value) => ctx.reply.bulk(&value),
                None => ctx.reply.null(),
            }
        }
    }
}

fn store_list(
    ctx: &mut Ctx<'_, '_>,
    dest: &[u8],
    elements: &[Vec<u8>],
    get: &[&[u8]],
) -> CommandResult {
    let patterns: Vec<Pattern<'_>> = get.iter().map(|get| Pattern::new(get)).collect();
    let mut list = Box::new(List::new());
    let limits = &ctx.env.limits;
    for element in elements {
        if patterns.is_empty() {
            list.push_back(element, limits);
        }
        for pattern in &patterns {
            let value = pattern.value(ctx.keys, element).unwrap_or_default();
            list.push_back(&value, limits);
        }
    }
    let len = list.len();
    ctx.keys.dirty((len as u64).saturating_sub(1));
    store(ctx, dest, Value::List(list), len, EventClass::LIST, "sortstore")
}

#[cfg(test)]
mod tests;
