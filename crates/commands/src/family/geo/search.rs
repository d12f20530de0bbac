//! GEOSEARCH and GEOSEARCHSTORE, and the older GEORADIUS and GEORADIUSBYMEMBER.

use super::area::{Search, Shape};
use super::hash::{Point, point_of};
use super::{point, reply_distance, reply_point, unit};
use crate::args::int;
use crate::family::collections::store;
use crate::family::common::*;
use crate::family::order::sort_part;
use crate::{
    Begin, Command, CommandError, CommandResult, CommandSpec, Ctx, DataFn, Effect, Find, Group,
    KeyList, KeySpec, at,
};
use keyspace::EventClass;
use resp::Args;
use std::cmp::Ordering;
use structures::{ScoreRange, Value, Zset};

/// GEOSEARCH key FROMMEMBER member|FROMLONLAT longitude latitude
/// BYRADIUS radius unit|BYBOX width height unit [ASC|DESC] [COUNT count [ANY]]
/// [WITHCOORD] [WITHDIST] [WITHHASH]
pub const GEOSEARCH: Command<DataFn> = Command::new(
    CommandSpec::new("geosearch", -7, Group::Geo)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("6.2.0")
        .doc(
            "O(n+log(m)) for n members around the area, m in all",
            "Returns the members of a geo set inside a circle or a box.",
        ),
    |ctx, args| search(ctx, args, Form::Search),
);

/// GEOSEARCHSTORE destination source FROMMEMBER member|FROMLONLAT longitude latitude
/// BYRADIUS radius unit|BYBOX width height unit [ASC|DESC] [COUNT count [ANY]] [STOREDIST]
pub const GEOSEARCHSTORE: Command<DataFn> = Command::new(
    CommandSpec::new("geosearchstore", -8, Group::Geo)
        .flags(GROW)
        .keys(&[at(1, OW_UPDATE), at(2, RO_ACCESS)])
        .since("6.2.0")
        .doc(
            "O(n+log(m)) for n members around the area, m in all",
            "Stores the members of a geo set inside a circle or a box.",
        ),
    |ctx, args| search(ctx, args, Form::SearchStore),
);

/// A key after a word, looked for from argument `from` on.
const fn after(word: &'static str, from: i32) -> KeySpec {
    KeySpec {
        begin: Begin::Keyword(word, from),
        find: Find::Range { last: 0, step: 1, limit: 0 },
        flags: OW_UPDATE,
        notes: "",
    }
}

/// Every key that STORE or STOREDIST may name: the last one counts, but all must be held.
fn radius_keys(args: &Args<'_>, first_option: usize) -> KeyList {
    let mut keys = KeyList::from_iter([(1, RO_ACCESS)]);
    let mut index = first_option;
    while index + 1 < args.len() {
        if args.is(index, "store") || args.is(index, "storedist") {
            keys.push((index + 1, OW_UPDATE));
            index += 1;
        }
        index += 1;
    }
    keys
}

const COMPLEXITY: &str = "O(n+log(m)) for n members around the area, m in all";

/// GEORADIUS key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC|DESC] [STORE key|STOREDIST key]
pub const GEORADIUS: Command<DataFn> = Command::new(
    CommandSpec::new("georadius", -6, Group::Geo)
        .flags(GROW)
        .keys(&[at(1, RO_ACCESS), after("STORE", 6), after("STOREDIST", 6)])
        .find_keys(|args| Some(radius_keys(args, 6)))
        .since("3.2.0")
        .doc(COMPLEXITY, "Returns or stores the members of a geo set around a place.")
        .deprecated("6.2.0", "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` argument"),
    |ctx, args| search(ctx, args, Form::Radius { store: true }),
);

/// GEORADIUS_RO key longitude latitude radius unit [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC|DESC]
pub const GEORADIUS_RO: Command<DataFn> = Command::new(
    CommandSpec::new("georadius_ro", -6, Group::Geo)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("3.2.10")
        .doc(COMPLEXITY, "Returns the members of a geo set around a place.")
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` argument"),
    |ctx, args| search(ctx, args, Form::Radius { store: false }),
);

/// GEORADIUSBYMEMBER key member radius unit [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC|DESC] [STORE key|STOREDIST key]
pub const GEORADIUSBYMEMBER: Command<DataFn> = Command::new(
    CommandSpec::new("georadiusbymember", -5, Group::Geo)
        .flags(GROW)
        .keys(&[at(1, RO_ACCESS), after("STORE", 5), after("STOREDIST", 5)])
        .find_keys(|args| Some(radius_keys(args, 5)))
        .since("3.2.0")
        .doc(COMPLEXITY, "Returns or stores the members of a geo set around one of them.")
        .deprecated(
            "6.2.0",
            "`GEOSEARCH` and `GEOSEARCHSTORE` with the `BYRADIUS` and `FROMMEMBER` arguments",
        ),
    |ctx, args| search(ctx, args, Form::ByMember { store: true }),
);

/// GEORADIUSBYMEMBER_RO key member radius unit [WITHCOORD] [WITHDIST] [WITHHASH]
/// [COUNT count [ANY]] [ASC|DESC]
pub const GEORADIUSBYMEMBER_RO: Command<DataFn> = Command::new(
    CommandSpec::new("georadiusbymember_ro", -5, Group::Geo)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("3.2.10")
        .doc(COMPLEXITY, "Returns the members of a geo set around one of them.")
        .deprecated("6.2.0", "`GEOSEARCH` with the `BYRADIUS` and `FROMMEMBER` arguments"),
    |ctx, args| search(ctx, args, Form::ByMember { store: false }),
);

/// Which command is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Search,
    SearchStore,
    Radius { store: bool },
    ByMember { store: bool },
}

impl Form {
    /// GEOSEARCH and GEOSEARCHSTORE say by words where and what they search.
    fn by_words(self) -> bool {
        matches!(self, Form::Search | Form::SearchStore)
    }

    fn may_store(self) -> bool {
        matches!(self, Form::Radius { store: true } | Form::ByMember { store: true })
    }

    fn source_at(self) -> usize {
        if self == Form::SearchStore { 2 } else { 1 }
    }

    fn first_option(self) -> usize {
        match self {
            Form::Search => 2,
            Form::SearchStore => 3,
            Form::Radius { .. } => 6,
            Form::ByMember { .. } => 5,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    No,
    Ascending,
    Descending,
}

/// Where the search starts from.
#[derive(Clone, Copy, PartialEq)]
enum Origin {
    Unknown,
    Member(Option<Point>),
    Place(Point),
}

/// What the options say.
struct Request<'a> {
    from: Origin,
    /// The shape, and metres of its unit.
    shape: Option<(Shape, f64)>,
    with_dist: bool,
    with_hash: bool,
    with_coord: bool,
    sort: Sort,
    /// 0: all.
    count: usize,
    any: bool,
    store: Option<&'a [u8]>,
    store_dist: bool,
}

/// A member that was found.
struct Found {
    member: Vec<u8>,
    score: f64,
    place: Point,
    /// Metres.
    distance: f64,
}

/// `radius unit`. Source: redis 7.0 `geo.c:extractDistanceOrReply`.
fn radius(length: &[u8], of_unit: &[u8]) -> Result<(Shape, f64), CommandError> {
    let radius = length_of(length, "ERR need numeric radius")?;
    if radius < 0.0 {
        return Err(CommandError::new("ERR radius cannot be negative"));
    }
    Ok((Shape::Circle { radius }, unit(of_unit)?))
}

fn length_of(arg: &[u8], error: &'static str) -> Result<f64, CommandError> {
    stdx::parse_f64(arg).ok_or(CommandError::new(error))
}

/// `width height unit`. Source: redis 7.0 `geo.c:extractBoxOrReply`.
fn rectangle(args: &Args<'_>, index: usize) -> Result<(Shape, f64), CommandError> {
    let width = length_of(args.at(index), "ERR need numeric width")?;
    let height = length_of(args.at(index + 1), "ERR need numeric height")?;
    if width < 0.0 || height < 0.0 {
        return Err(CommandError::new("ERR height or width cannot be negative"));
    }
    Ok((Shape::Box { width, height }, unit(args.at(index + 2))?))
}

/// The place of a member.
fn member_place(zset: &Zset, member: &[u8]) -> Result<Point, CommandError> {
    const ERROR: CommandError = CommandError::new("ERR could not decode requested zset member");
    zset.score(member).map(point_of).ok_or(ERROR)
}

impl<'a> Request<'a> {
    /// Source: redis 7.0 `geo.c:georadiusGeneric`. What stands before the options is looked at
    /// first; a member is looked for as soon as it is named.
    fn parse(
        args: &Args<'a>,
        form: Form,
        zset: Option<&Zset>,
    ) -> Result<Request<'a>, CommandError> {
        let mut request = Request {
            from: Origin::Unknown,
            shape: None,
            with_dist: false,
            with_hash: false,
            with_coord: false,
            sort: Sort::No,
            count: 0,
            any: false,
            store: (form == Form::SearchStore).then(|| args.at(1)),
            store_dist: false,
        };
        match (form, zset) {
            (Form::Radius { .. }, _) => {
                request.from = Origin::Place(point(args.at(2), args.at(3))?);
                request.shape = Some(radius(args.at(4), args.at(5))?);
            }
            (Form::ByMember { .. }, Some(zset)) => {
                request.from = Origin::Member(Some(member_place(zset, args.at(2))?));
                request.shape = Some(radius(args.at(3), args.at(4))?);
            }
            _ => {}
        }
        let mut index = form.first_option();
        while index < args.len() {
            index += request.option(args, index, form, zset)?;
        }
        request.check(args, form)?;
        Ok(request)
    }

    /// Takes the option at `index`; returns how many arguments it has, its name included.
    fn option(
        &mut self,
        args: &Args<'a>,
        index: usize,
        form: Form,
        zset: Option<&Zset>,
    ) -> Result<usize, CommandError> {
        let word = args.at(index).to_ascii_lowercase();
        let left = args.len() - index - 1;
        match word.as_slice() {
            b"withdist" => self.with_dist = true,
            b"withhash" => self.with_hash = true,
            b"withcoord" => self.with_coord = true,
            b"any" => self.any = true,
            b"asc" => self.sort = Sort::Ascending,
            b"desc" => self.sort = Sort::Descending,
            b"count" if left >= 1 => {
                let count = int(args.at(index + 1))?;
                if count <= 0 {
                    return Err(CommandError::new("ERR COUNT must be > 0"));
                }
                self.count = count as usize;
                return Ok(2);
            }
            b"store" | b"storedist" if form.may_store() && left >= 1 => {
                self.store = Some(args.at(index + 1));
                self.store_dist = word == b"storedist";
                return Ok(2);
            }
            b"storedist" if form == Form::SearchStore => self.store_dist = true,
            _ if form.by_words() => return self.area_option(args, index, &word, zset),
            _ => return Err(CommandError::SYNTAX),
        }
        Ok(1)
    }

    /// Where and what GEOSEARCH searches.
    fn area_option(
        &mut self,
        args: &Args<'a>,
        index: usize,
        word: &[u8],
        zset: Option<&Zset>,
    ) -> Result<usize, CommandError> {
        let left = args.len() - index - 1;
        match (word, &self.from, &self.shape) {
            (b"frommember", Origin::Unknown | Origin::Member(_), _) if left >= 1 => {
                // Without a source key the mistakes behind are reported first.
                let place = zset.map(|zset| member_place(zset, args.at(index + 1)));
                self.from = Origin::Member(place.transpose()?);
                Ok(2)
            }
            (b"fromlonlat", Origin::Unknown | Origin::Place(_), _) if left >= 2 => {
                self.from = Origin::Place(point(args.at(index + 1), args.at(index + 2))?);
                Ok(3)
            }
            (b"byradius", _, None | Some((Shape::Circle { .. }, _))) if left >= 2 => {
                self.shape = Some(radius(args.at(index + 1), args.at(index + 2))?);
                Ok(3)
            }
            (b"bybox", _, None | Some((Shape::Box { .. }, _))) if left >= 3 => {
                self.shape = Some(rectangle(args, index + 1)?);
                Ok(4)
            }
            _ => Err(CommandError::SYNTAX),
        }
    }

    /// What the options say together.
    fn check(&self, args: &Args<'_>, form: Form) -> Result<(), CommandError> {
        if self.store.is_some() && (self.with_dist || self.with_hash || self.with_coord) {
            return Err(CommandError::new(match form {
                Form::SearchStore => {
                    "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD \
                     options"
                }
                _ => {
                    "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and \
                     WITHCOORD options"
                }
            }));
        }
        if form.by_words() && self.from == Origin::Unknown {
            return Err(CommandError::quoting(&[
                b"ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ",
                args.at(0),
            ]));
        }
        if form.by_words() && self.shape.is_none() {
            return Err(CommandError::quoting(&[
                b"ERR exactly one of BYRADIUS and BYBOX can be specified for ",
                args.at(0),
            ]));
        }
        if self.any && self.count == 0 {
            return Err(CommandError::new("ERR the ANY argument requires COUNT argument"));
        }
        Ok(())
    }

    fn search(&self) -> Option<Search> {
        let middle = match self.from {
            Origin::Place(place) | Origin::Member(Some(place)) => place,
            Origin::Unknown | Origin::Member(None) => return None,
        };
        self.shape.map(|(shape, unit)| Search { middle, shape, unit })
    }

    /// The members asked for, in their order.
    fn find(&self, zset: &Zset, search: &Search) -> Vec<Found> {
        let limit = if self.any { self.count } else { usize::MAX };
        let mut found = Vec::new();
        'squares: for square in search.squares() {
            let (min, max) = square.scores();
            let range = ScoreRange { min, max, min_excl: false, max_excl: true };
            for (member, score) in zset.range_by_score(&range, false) {
                let place = point_of(score);
                if let Some(distance) = search.distance_of(place) {
                    found.push(Found { member: member.to_vec(), score, place, distance });
                }
                if found.len() >= limit {
                    break 'squares;
                }
            }
        }
        let wanted = if self.count == 0 { found.len() } else { self.count.min(found.len()) };
        // A count without an order means the nearest ones.
        let sort = match self.sort {
            Sort::No if self.count > 0 && !self.any => Sort::Ascending,
            sort => sort,
        };
        let nearer = |a: &Found, b: &Found| a.distance.total_cmp(&b.distance);
        let order: &dyn Fn(&Found, &Found) -> Ordering = match sort {
            Sort::Ascending => &nearer,
            Sort::Descending => &|a, b| nearer(b, a),
            Sort::No => {
                found.truncate(wanted);
                return found;
            }
        };
        if wanted == found.len() {
            found.sort_by(order);
        } else {
            sort_part(&mut found, 0, wanted.saturating_sub(1), order);
        }
        found.truncate(wanted);
        found
    }
}

fn search(ctx: &mut Ctx<'_, '_>, args: &Args<'_>, form: Form) -> CommandResult {
    let zset = ctx.keys.zset(args.at(form.source_at()))?;
    let request = Request::parse(args, form, zset)?;
    let search = request.search();
    let found = match (zset, &search) {
        (Some(zset), Some(search)) => request.find(zset, search),
        _ => Vec::new(),
    };
    let unit = search.map_or(1.0, |search| search.unit);
    match request.store {
        Some(key) => store_found(ctx, key, &found, unit, request.store_dist, form),
        None => {
            show(ctx, &request, &found, unit);
            Ok(Effect::None)
        }
    }
}

fn show(ctx: &mut Ctx<'_, '_>, request: &Request<'_>, found: &[Found], unit: f64) {
    let extras = [request.with_dist, request.with_hash, request.with_coord];
    let extras = extras.into_iter().filter(|wanted| *wanted).count();
    ctx.reply.array(found.len());
    for one in found {
        if extras > 0 {
            ctx.reply.array(extras + 1);
        }
        ctx.reply.bulk(&one.member);
        if request.with_dist {
            reply_distance(ctx.reply, one.distance / unit);
        }
        if request.with_hash {
            ctx.reply.integer(one.score as i64);
        }
        if request.with_coord {
            reply_point(ctx.reply, one.place);
        }
    }
}

fn store_found(
    ctx: &mut Ctx<'_, '_>,
    key: &[u8],
    found: &[Found],
    unit: f64,
    store_dist: bool,
    form: Form,
) -> CommandResult {
    let mut zset = Box::new(Zset::new());
    for one in found {
        let score = if store_dist { one.distance / unit } else { one.score };
        // A distance that is no number can't be a score.
        let score = if score.is_nan() { 0.0 } else { score };
        zset.insert(&one.member, score, &ctx.env.limits);
    }
    let event = if form.by_words() { "geosearchstore" } else { "georadiusstore" };
    let len = zset.len();
    ctx.keys.dirty((len as u64).saturating_sub(1));
    store(ctx, key, Value::Zset(zset), len, EventClass::ZSET, event)
}
