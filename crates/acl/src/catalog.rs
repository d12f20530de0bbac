//! What this room knows of commands: names, categories, and which belong to a container.

use commands::AclCategories;
use std::collections::BTreeMap;

/// One command or subcommand.
#[derive(Clone, Debug)]
pub struct CatalogEntry {
    /// Its number in the registry.
    pub id: usize,
    /// Lower-case name, `container|sub` for a subcommand.
    pub name: &'static str,
    /// Categories.
    pub categories: AclCategories,
    /// Numbers of its subcommands.
    pub subcommands: Vec<usize>,
    /// True for a subcommand.
    pub is_sub: bool,
}

/// All commands that a kind of node has.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    entries: Vec<CatalogEntry>,
    by_name: BTreeMap<&'static str, usize>,
    /// One more than the highest number.
    ids: usize,
}

impl Catalog {
    /// A catalog of these commands, containers and subcommands alike.
    pub fn new(entries: Vec<CatalogEntry>) -> Catalog {
        let by_name = entries.iter().enumerate().map(|(at, entry)| (entry.name, at)).collect();
        let ids = entries.iter().map(|entry| entry.id + 1).max().unwrap_or(0);
        Catalog { entries, by_name, ids }
    }

    /// Finds `name` or `container|sub`, letters of either case.
    pub fn find(&self, name: &[u8]) -> Option<&CatalogEntry> {
        let name = std::str::from_utf8(name).ok()?.to_ascii_lowercase();
        self.by_name.get(name.as_str()).and_then(|&at| self.entries.get(at))
    }

    /// All of them.
    pub fn entries(&self) -> &[CatalogEntry] {
        &self.entries
    }

    /// One more than the highest number of a command.
    pub(crate) fn ids(&self) -> usize {
        self.ids
    }
}

/// All categories in the order of ACL CAT.
pub const CATEGORIES: &[(&str, AclCategories)] = &[
    ("keyspace", AclCategories::KEYSPACE),
    ("read", AclCategories::READ),
    ("write", AclCategories::WRITE),
    ("set", AclCategories::SET),
    ("sortedset", AclCategories::SORTEDSET),
    ("list", AclCategories::LIST),
    ("hash", AclCategories::HASH),
    ("string", AclCategories::STRING),
    ("bitmap", AclCategories::BITMAP),
    ("hyperloglog", AclCategories::HYPERLOGLOG),
    ("geo", AclCategories::GEO),
    ("stream", AclCategories::STREAM),
    ("pubsub", AclCategories::PUBSUB),
    ("admin", AclCategories::ADMIN),
    ("fast", AclCategories::FAST),
    ("slow", AclCategories::SLOW),
    ("blocking", AclCategories::BLOCKING),
    ("dangerous", AclCategories::DANGEROUS),
    ("connection", AclCategories::CONNECTION),
    ("transaction", AclCategories::TRANSACTION),
    ("scripting", AclCategories::SCRIPTING),
];

/// The category of this name, letters of either case.
pub fn category_name(name: &[u8]) -> Option<AclCategories> {
    CATEGORIES
        .iter()
        .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name))
        .map(|&(_, category)| category)
}
