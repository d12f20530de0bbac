//! What is known of a command before it runs.

use crate::{CommandResult, Ctx};
use resp::Args;
use smallvec::SmallVec;

bitflags::bitflags! {
    /// Command flags, as COMMAND INFO names them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// May change data.
        const WRITE = 1;
        /// Reads data only.
        const READONLY = 1 << 1;
        /// May need memory: refused beyond `maxmemory`.
        const DENYOOM = 1 << 2;
        /// For administrators.
        const ADMIN = 1 << 3;
        /// Publishes or subscribes.
        const PUBSUB = 1 << 4;
        /// Not from scripts.
        const NOSCRIPT = 1 << 5;
        /// May block the connection.
        const BLOCKING = 1 << 6;
        /// Works while a data set is loaded.
        const LOADING = 1 << 7;
        /// Works on a replica that lost its master, whatever `replica-serve-stale-data` says.
        const STALE = 1 << 8;
        /// Not shown by MONITOR.
        const SKIP_MONITOR = 1 << 9;
        /// Not kept by SLOWLOG.
        const SKIP_SLOWLOG = 1 << 10;
        /// Implies ASKING.
        const ASKING = 1 << 11;
        /// Constant or logarithmic time.
        const FAST = 1 << 12;
        /// Works before authentication.
        const NO_AUTH = 1 << 13;
        /// May replicate although it is not flagged as a write (EVAL, PUBLISH).
        const MAY_REPLICATE = 1 << 14;
        /// Works while a script runs too long.
        const ALLOW_BUSY = 1 << 15;
        /// Not inside MULTI.
        const NO_MULTI = 1 << 16;
        /// Not while loading in the background.
        const NO_ASYNC_LOADING = 1 << 17;
        /// Only a sentinel has it.
        const ONLY_SENTINEL = 1 << 18;
        /// A sentinel has it too.
        const SENTINEL = 1 << 19;
        /// Keys can't be told from the table alone.
        const MOVABLE_KEYS = 1 << 20;
        /// Ours: takes every stripe, since it changes the whole keyspace.
        const ALL_STRIPES = 1 << 21;
        /// Ours: takes no stripe at start; walks them one at a time (KEYS, SCAN, RANDOMKEY).
        const WALKS = 1 << 22;
        /// May come without keys although the key specs find some (EVAL).
        const NO_MANDATORY_KEYS = 1 << 23;
    }
}

bitflags::bitflags! {
    /// ACL categories. Those that follow from the flags are added by [`CommandSpec::categories`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AclCategories: u32 {
        /// @keyspace
        const KEYSPACE = 1;
        /// @read
        const READ = 1 << 1;
        /// @write
        const WRITE = 1 << 2;
        /// @set
        const SET = 1 << 3;
        /// @sortedset
        const SORTEDSET = 1 << 4;
        /// @list
        const LIST = 1 << 5;
        /// @hash
        const HASH = 1 << 6;
        /// @string
        const STRING = 1 << 7;
        /// @bitmap
        const BITMAP = 1 << 8;
        /// @hyperloglog
        const HYPERLOGLOG = 1 << 9;
        /// @geo
        const GEO = 1 << 10;
        /// @stream
        const STREAM = 1 << 11;
        /// @pubsub
        const PUBSUB = 1 << 12;
        /// @admin
        const ADMIN = 1 << 13;
        /// @fast
        const FAST = 1 << 14;
        /// @slow
        const SLOW = 1 << 15;
        /// @blocking
        const BLOCKING = 1 << 16;
        /// @dangerous
        const DANGEROUS = 1 << 17;
        /// @connection
        const CONNECTION = 1 << 18;
        /// @transaction
        const TRANSACTION = 1 << 19;
        /// @scripting
        const SCRIPTING = 1 << 20;
    }
}

bitflags::bitflags! {
    /// What a command does with a key.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct KeyFlags: u16 {
        /// Reads the value.
        const RO = 1;
        /// Reads and writes the value.
        const RW = 1 << 1;
        /// Overwrites the value.
        const OW = 1 << 2;
        /// Removes the key.
        const RM = 1 << 3;
        /// Returns, copies or uses the value.
        const ACCESS = 1 << 4;
        /// Changes existing data of the value.
        const UPDATE = 1 << 5;
        /// Adds data to the value.
        const INSERT = 1 << 6;
        /// Removes data of the value.
        const DELETE = 1 << 7;
        /// Looks like a key but is none.
        const NOT_KEY = 1 << 8;
        /// The spec does not find all keys.
        const INCOMPLETE = 1 << 9;
        /// What is done depends on the arguments.
        const VARIABLE_FLAGS = 1 << 10;
    }
}

/// Where a run of keys begins.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// At this argument.
    Index(usize),
    /// After this word, looked for from an argument on (from the end if negative).
    Keyword(&'static str, i32),
    /// Not to be told.
    Unknown,
}

/// How a run of keys goes on.
#[derive(Clone, Copy, Debug)]
pub enum Find {
    /// Up to `last` arguments after the beginning (from the end of all arguments if negative), one
    /// in `step`; with `limit` > 1 only the first 1/limit of the rest.
    Range {
        /// Last one, relative to the beginning; -1 is the last argument.
        last: i32,
        /// Distance of two keys.
        step: usize,
        /// 0 or 1: no limit.
        limit: usize,
    },
    /// An argument holds the number of keys.
    KeyNum {
        /// Its place, relative to the beginning.
        at: usize,
        /// Place of the first key, relative to the beginning.
        first: usize,
        /// Distance of two keys.
        step: usize,
    },
    /// Not to be told.
    Unknown,
}

/// One run of keys among a command's arguments.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    /// Where it begins.
    pub begin: Begin,
    /// How it goes on.
    pub find: Find,
    /// What is done with these keys.
    pub flags: KeyFlags,
    /// A word for people, as COMMAND INFO shows it.
    pub notes: &'static str,
}

/// One key at argument `index`.
pub const fn at(index: usize, flags: KeyFlags) -> KeySpec {
    span(index, 0, 1, flags)
}

/// All arguments from `index` on are keys.
pub const fn each(index: usize, flags: KeyFlags) -> KeySpec {
    span(index, -1, 1, flags)
}

/// Keys from `index` on, up to `last` (relative, negative from the end), one in `step`.
pub const fn span(index: usize, last: i32, step: usize, flags: KeyFlags) -> KeySpec {
    KeySpec {
        begin: Begin::Index(index),
        find: Find::Range { last, step, limit: 0 },
        flags,
        notes: "",
    }
}

/// Keys from `index` to the last argument but one.
pub const fn upto_last(index: usize, flags: KeyFlags) -> KeySpec {
    span(index, -2, 1, flags)
}

/// Argument `index` holds the number of keys that follow it.
pub const fn keynum(index: usize, flags: KeyFlags) -> KeySpec {
    KeySpec {
        begin: Begin::Index(index),
        find: Find::KeyNum { at: 0, first: 1, step: 1 },
        flags,
        notes: "",
    }
}

impl KeySpec {
    /// With a note for people.
    pub const fn notes(mut self, notes: &'static str) -> KeySpec {
        self.notes = notes;
        self
    }
}

/// Family of a command, as COMMAND DOCS names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Pubsub,
    Transactions,
    Connection,
    Server,
    Scripting,
    Hyperloglog,
    Cluster,
    Geo,
    Stream,
    Bitmap,
    Sentinel,
}

impl Group {
    /// Its name in COMMAND DOCS.
    pub fn name(self) -> &'static str {
        match self {
            Group::Generic => "generic",
            Group::String => "string",
            Group::List => "list",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Hash => "hash",
            Group::Pubsub => "pubsub",
            Group::Transactions => "transactions",
            Group::Connection => "connection",
            Group::Server => "server",
            Group::Scripting => "scripting",
            Group::Hyperloglog => "hyperloglog",
            Group::Cluster => "cluster",
            Group::Geo => "geo",
            Group::Stream => "stream",
            Group::Bitmap => "bitmap",
            Group::Sentinel => "sentinel",
        }
    }

    const fn category(self) -> AclCategories {
        match self {
            Group::Generic => AclCategories::KEYSPACE,
            Group::String => AclCategories::STRING,
            Group::List => AclCategories::LIST,
            Group::Set => AclCategories::SET,
            Group::SortedSet => AclCategories::SORTEDSET,
            Group::Hash => AclCategories::HASH,
            Group::Connection => AclCategories::CONNECTION,
            Group::Transactions => AclCategories::TRANSACTION,
            Group::Hyperloglog => AclCategories::HYPERLOGLOG,
            Group::Geo => AclCategories::GEO,
            Group::Stream => AclCategories::STREAM,
            Group::Bitmap => AclCategories::BITMAP,
            Group::Scripting => AclCategories::SCRIPTING,
            Group::Pubsub | Group::Server | Group::Cluster | Group::Sentinel => {
                AclCategories::empty()
            }
        }
    }
}

/// What is known of a command before it runs. `const` builder: see any family for examples.
#[derive(Clone, Copy, Debug)]
pub struct CommandSpec {
    /// Lower-case name; a subcommand's is `container|name`.
    pub name: &'static str,
    /// Number of arguments, the name included; negative: at least so many.
    pub arity: i32,
    /// Flags.
    pub flags: Flags,
    /// Where its keys are.
    pub keys: &'static [KeySpec],
    /// Family.
    pub group: Group,
    /// ACL categories beyond those that follow from flags and group.
    pub extra_categories: AclCategories,
    /// False for the few commands that are not in their group's ACL category (OBJECT, SORT).
    pub group_category: bool,
    /// First version of Redis that has it.
    pub since: &'static str,
    /// Cost in words.
    pub complexity: &'static str,
    /// One line that says what it does (own wording).
    pub summary: &'static str,
    /// COMMAND INFO's tips.
    pub tips: &'static [&'static str],
    /// `(since, replaced by)` if the command is deprecated.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// Finds the keys, where `keys` can't tell them all; `None` if the arguments are wrong, as
    /// [`keys_of`] says.
    pub find_keys: Option<fn(&Args<'_>) -> Option<KeyList>>,
    /// Whether, with these arguments, the command touches keys that it finds only as it runs.
    pub everywhere: Option<fn(&Args<'_>) -> bool>,
}

impl CommandSpec {
    /// A spec with name, arity and family; the rest by the methods below.
    pub const fn new(name: &'static str, arity: i32, group: Group) -> CommandSpec {
        CommandSpec {
            name,
            arity,
            flags: Flags::empty(),
            keys: &[],
            group,
            extra_categories: AclCategories::empty(),
            group_category: true,
            since: "1.0.0",
            complexity: "O(1)",
            summary: "",
            tips: &[],
            deprecated: None,
            find_keys: None,
            everywhere: None,
        }
    }

    /// Adds flags.
    pub const fn flags(mut self, flags: Flags) -> CommandSpec {
        self.flags = self.flags.union(flags);
        self
    }

    /// Sets where the keys are.
    pub const fn keys(mut self, keys: &'static [KeySpec]) -> CommandSpec {
        self.keys = keys;
        self
    }

    /// Adds ACL categories that don't follow from flags and group.
    pub const fn acl(mut self, categories: AclCategories) -> CommandSpec {
        self.extra_categories = self.extra_categories.union(categories);
        self
    }

    /// Takes it out of its group's ACL category.
    pub const fn without_group_category(mut self) -> CommandSpec {
        self.group_category = false;
        self
    }

    /// Sets the first version of Redis that has it.
    pub const fn since(mut self, version: &'static str) -> CommandSpec {
        self.since = version;
        self
    }

    /// Sets the cost in words and the one-line description.
    pub const fn doc(mut self, complexity: &'static str, summary: &'static str) -> CommandSpec {
        self.complexity = complexity;
        self.summary = summary;
        self
    }

    /// Sets the tips.
    pub const fn tips(mut self, tips: &'static [&'static str]) -> CommandSpec {
        self.tips = tips;
        self
    }

    /// Marks it deprecated.
    pub const fn deprecated(
        mut self,
        since: &'static str,
        replacement: &'static str,
    ) -> CommandSpec {
        self.deprecated = Some((since, replacement));
        self
    }

    /// Sets a function that finds the keys, for commands whose key specs can't tell them all.
    pub const fn find_keys(mut self, find: fn(&Args<'_>) -> Option<KeyList>) -> CommandSpec {
        self.find_keys = Some(find);
        self
    }

    /// Sets a function that says whether the command, with these arguments, touches keys that it
    /// finds only as it runs: all stripes are held for it then.
    pub const fn everywhere(mut self, test: fn(&Args<'_>) -> bool) -> CommandSpec {
        self.everywhere = Some(test);
        self
    }

    /// True if keys beyond those of [`keys_of`] are touched.
    #[inline]
    pub fn reaches_everywhere(&self, args: &Args<'_>) -> bool {
        self.everywhere.is_some_and(|test| test(args))
    }

    /// All ACL categories. Source: redis 7.0 `server.c:setImplicitACLCategories`.
    pub const fn categories(&self) -> AclCategories {
        let mut all = self.extra_categories;
        if self.group_category {
            all = all.union(self.group.category());
        }
        if self.flags.contains(Flags::WRITE) {
            all = all.union(AclCategories::WRITE);
        }
        // Scripts may read and write, but say so by their own flags.
        if self.flags.contains(Flags::READONLY) && !matches!(self.group, Group::Scripting) {
            all = all.union(AclCategories::READ);
        }
        if self.flags.contains(Flags::ADMIN) {
            all = all.union(AclCategories::ADMIN).union(AclCategories::DANGEROUS);
        }
        if self.flags.contains(Flags::PUBSUB) {
            all = all.union(AclCategories::PUBSUB);
        }
        if self.flags.contains(Flags::BLOCKING) {
            all = all.union(AclCategories::BLOCKING);
        }
        if self.flags.contains(Flags::FAST) {
            all.union(AclCategories::FAST)
        } else {
            all.union(AclCategories::SLOW)
        }
    }

    /// True if `count` arguments, the name included, are right in number.
    #[inline]
    pub fn arity_fits(&self, count: usize) -> bool {
        if self.arity >= 0 { count == self.arity as usize } else { count >= -self.arity as usize }
    }

    /// The name as its container knows it: `get` for `config|get`.
    pub fn short_name(&self) -> &'static str {
        self.name.split_once('|').map_or(self.name, |(_, sub)| sub)
    }

    /// First key, last key and step as old clients want them (COMMAND INFO).
    /// Source: redis 7.0 `server.c:populateCommandLegacyRangeSpec`.
    pub fn legacy_range(&self) -> (i64, i64, i64) {
        let mut ranges = self.keys.iter().filter_map(|spec| match (spec.begin, spec.find) {
            (Begin::Index(first), Find::Range { last, step, limit: 0 | 1 }) => {
                let last = if last >= 0 { first as i64 + i64::from(last) } else { i64::from(last) };
                Some((first as i64, last, step as i64))
            }
            _ => None,
        });
        let Some(mut all) = ranges.next() else { return (0, 0, 0) };
        for (first, last, step) in ranges {
            // Neighbouring single keys are one range; anything else is left out.
            if step != 1 || all.2 != 1 || all.1 < 0 || first != all.1 + 1 {
                continue;
            }
            all.1 = last;
        }
        all
    }

    /// True if [`CommandSpec::legacy_range`] does not tell all keys.
    pub fn movable_keys(&self) -> bool {
        self.flags.contains(Flags::MOVABLE_KEYS)
            || self.keys.iter().any(|spec| {
                !matches!(
                    (spec.begin, spec.find),
                    (Begin::Index(_), Find::Range { limit: 0 | 1, .. })
                )
            })
    }
}

/// A data command's function.
pub type DataFn = fn(&mut Ctx<'_, '_>, &Args<'_>) -> CommandResult;

/// A command: what is known of it, and what runs it.
#[derive(Debug)]
pub struct Command<F: 'static> {
    /// What is known of it.
    pub spec: CommandSpec,
    /// What runs it. A container's own is called for a missing or unknown subcommand.
    pub run: F,
    /// Its subcommands.
    pub subcommands: &'static [&'static Command<F>],
}

impl<F> Command<F> {
    /// A command without subcommands.
    pub const fn new(spec: CommandSpec, run: F) -> Command<F> {
        Command { spec, run, subcommands: &[] }
    }

    /// A container of subcommands.
    pub const fn container(
        spec: CommandSpec,
        run: F,
        subcommands: &'static [&'static Command<F>],
    ) -> Command<F> {
        Command { spec, run, subcommands }
    }
}

/// Argument indices of keys with what is done to them.
pub type KeyList = SmallVec<[(usize, KeyFlags); 4]>;

/// Finds the keys among a command's arguments. `None` if the arguments make no sense (a number of
/// keys that is no number or too big): the command itself will say so.
/// Source: redis 7.0 `db.c:getKeysUsingKeySpecs`.
pub fn keys_of(spec: &CommandSpec, args: &Args<'_>) -> Option<KeyList> {
    if let Some(find) = spec.find_keys {
        return find(args);
    }
    keys_counted_by(spec, args, stdx::parse_i64)
}

/// Where keys would be if [`keys_of`] finds none because a number is badly written: the command
/// will refuse that, but whoever may not touch these keys shall hear of that first. What would be
/// done with them is not known. Source: redis 7.0 `db.c:genericGetKeys`.
pub fn keys_loosely(spec: &CommandSpec, args: &Args<'_>) -> KeyList {
    let mut keys =
        keys_counted_by(spec, args, |text| Some(leading_number(text))).unwrap_or_default();
    keys.iter_mut().for_each(|(_, flags)| *flags = KeyFlags::empty());
    keys
}

fn keys_counted_by(
    spec: &CommandSpec,
    args: &Args<'_>,
    number: impl Fn(&[u8]) -> Option<i64>,
) -> Option<KeyList> {
    let mut keys = KeyList::new();
    for key_spec in spec.keys {
        if key_spec.flags.contains(KeyFlags::NOT_KEY) {
            continue;
        }
        let first = match key_spec.begin {
            Begin::Index(index) => index,
            Begin::Keyword(word, from) => match find_keyword(args, word, from) {
                Some(at) => at + 1,
                None => continue,
            },
            Begin::Unknown => continue,
        };
        match key_spec.find {
            Find::Range { last, step, limit } => {
                let count = args.len() as i64;
                let last = if last >= 0 {
                    first as i64 + i64::from(last)
                } else if limit > 1 {
                    first as i64 + (count - first as i64) / limit as i64 - 1
                } else {
                    count + i64::from(last)
                };
                if last >= count {
                    return None;
                }
                let mut at = first as i64;
                while at <= last {
                    keys.push((at as usize, key_spec.flags));
                    at += step as i64;
                }
            }
            Find::KeyNum { at, first: offset, step } => {
                let number = number(args.get(first + at)?)?;
                let start = first + offset;
                if number < 0 || number > args.len() as i64 {
                    return None;
                }
                if number > 0 && start + (number as usize - 1) * step >= args.len() {
                    return None;
                }
                // No keys behind a number: then those before it don't count either, as with Redis.
                if number == 0 && !keys.is_empty() {
                    return None;
                }
                keys.extend((0..number as usize).map(|n| (start + n * step, key_spec.flags)));
            }
            Find::Unknown => {}
        }
    }
    Some(keys)
}

/// A number as C's `atoi` reads it: blanks and a sign may precede it, anything may follow.
fn leading_number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let number = digits.fold(0_i64, |number, digit| {
        number.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    if negative { -number } else { number }
}

/// What this call does with a key, where the table says that it depends on the arguments.
/// Source: redis 7.0 `db.c:setGetKeys`, `bitfieldGetKeys`.
pub fn exact_flags(spec: &CommandSpec, args: &Args<'_>, flags: KeyFlags) -> KeyFlags {
    if !flags.contains(KeyFlags::VARIABLE_FLAGS) {
        return flags.difference(KeyFlags::INCOMPLETE);
    }
    match spec.name {
        "set" if !(3..args.len()).any(|at| args.is(at, "get")) => {
            KeyFlags::OW.union(KeyFlags::UPDATE)
        }
        "bitfield" if !(2..args.len()).any(|at| args.is(at, "set") || args.is(at, "incrby")) => {
            KeyFlags::RO.union(KeyFlags::ACCESS)
        }
        _ => flags.difference(KeyFlags::VARIABLE_FLAGS),
    }
}

fn find_keyword(args: &Args<'_>, word: &str, from: i32) -> Option<usize> {
    if from >= 0 {
        (from as usize..args.len()).find(|&at| args.is(at, word))
    } else {
        let start = (args.len() as i64 + i64::from(from)).max(0) as usize;
        (1..=start.min(args.len().saturating_sub(1))).rev().find(|&at| args.is(at, word))
    }
}
