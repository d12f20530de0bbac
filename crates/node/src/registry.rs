//! Every command of this node by name: data commands from `commands`, the node's own from here.

use crate::NodeFn;
use commands::{Begin, Command, CommandSpec, DataFn, Find, Flags, KeyFlags};
use hashbrown::HashTable;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, OnceLock};
use structures::hash::hash_bytes;

/// What runs a command.
#[derive(Clone, Copy)]
pub enum Run {
    /// Works on keys.
    Data(DataFn),
    /// Works on the node.
    Node(NodeFn),
}

/// One command as the node sees it.
pub struct CommandEntry {
    /// What is known of it.
    pub spec: &'static CommandSpec,
    /// What runs it.
    pub run: Run,
    /// Its place in statistics.
    pub index: usize,
    /// The one key's argument if it has just one at a fixed place, else 0.
    pub single_key: usize,
    /// Subcommands.
    pub subcommands: Vec<CommandRef>,
    /// Named by the first argument alone, and by its own name: neither a container nor a
    /// subcommand, nor renamed.
    pub is_plain: bool,
}

impl CommandEntry {
    /// True if a data node has it.
    pub fn is_of_data_node(&self) -> bool {
        !self.spec.flags.contains(Flags::ONLY_SENTINEL)
    }

    /// True if a sentinel has it.
    pub fn is_of_sentinel(&self) -> bool {
        self.spec.flags.intersects(Flags::SENTINEL | Flags::ONLY_SENTINEL)
    }
}

/// A command of the registry.
pub type CommandRef = &'static CommandEntry;

/// All commands.
pub struct Registry {
    /// By the name that clients use, in lower case.
    table: HashTable<(&'static [u8], CommandRef)>,
    /// Those of `table` whose names are too long for its way of looking up.
    long: Vec<(&'static [u8], CommandRef)>,
    /// Names that are not, or not only, those of the commands that had them.
    renamed: BTreeSet<Vec<u8>>,
    /// Top-level commands in the order of their own names, those of both kinds of node.
    pub top: Vec<CommandRef>,
    /// Those that a data node has.
    pub of_data_node: Vec<CommandRef>,
    /// Those that a sentinel has.
    pub of_sentinel: Vec<CommandRef>,
    /// Every command, subcommands included, by its index.
    pub by_index: Vec<CommandRef>,
}

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| Registry::build(RENAMES.get_or_init(Vec::new)));
static RENAMES: OnceLock<Vec<Rename>> = OnceLock::new();

/// One `rename-command`: a name in any case, and the new one; an empty one takes the command away.
pub type Rename = (Vec<u8>, Vec<u8>);

/// Sets the names of commands for the life of the process. Has to come before anything else asks
/// for a command; returns false if it came too late.
pub fn rename_commands(renames: Vec<Rename>) -> bool {
    RENAMES.set(renames).is_ok()
}

/// True if a data node (or else a sentinel) has a command of this name, written in lower case,
/// before any is renamed.
pub fn is_command(name: &[u8], of_sentinel: bool) -> bool {
    let has = |spec: &CommandSpec| {
        let only = spec.flags.contains(Flags::ONLY_SENTINEL);
        let too = spec.flags.contains(Flags::SENTINEL);
        spec.name.as_bytes() == name && if of_sentinel { only || too } else { !only }
    };
    let mut own = crate::command::TABLES.iter().flat_map(|table| table.iter());
    commands::all().any(|command| has(&command.spec))
        || own.any(|command| has(&command.spec))
        || (!of_sentinel && crate::command::later::is_name(name))
}

/// All commands.
#[inline]
pub fn registry() -> &'static Registry {
    &REGISTRY
}

impl std::fmt::Debug for CommandEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.spec.name)
    }
}

/// Longest name of a command that was not renamed.
const NAME_MAX: usize = 32;

fn lower<'b>(name: &[u8], buffer: &'b mut [u8; NAME_MAX]) -> Option<&'b [u8]> {
    let target = buffer.get_mut(..name.len())?;
    for (to, from) in target.iter_mut().zip(name) {
        *to = from.to_ascii_lowercase();
    }
    Some(target)
}

impl Registry {
    fn build(renames: &[Rename]) -> Registry {
        let mut registry = Registry {
            table: HashTable::new(),
            long: Vec::new(),
            renamed: renames.iter().map(|(old, _)| old.to_ascii_lowercase()).collect(),
            top: Vec::new(),
            of_data_node: Vec::new(),
            of_sentinel: Vec::new(),
            by_index: Vec::new(),
        };
        for command in commands::all() {
            let entry = registry.add_data(command);
            registry.top.push(entry);
        }
        for command in crate::command::TABLES.iter().flat_map(|table| table.iter()) {
            let entry = registry.add_node(command);
            registry.top.push(entry);
        }
        let names = registry.names(renames);
        let named: BTreeSet<usize> = names.values().map(|entry| entry.index).collect();
        registry.top.retain(|entry| named.contains(&entry.index));
        registry.top.sort_by_key(|entry| entry.spec.name);
        let having = |kind: fn(&CommandEntry) -> bool| {
            registry.top.iter().copied().filter(|e| kind(e)).collect()
        };
        registry.of_data_node = having(CommandEntry::is_of_data_node);
        registry.of_sentinel = having(CommandEntry::is_of_sentinel);
        for (name, entry) in names {
            let name: &'static [u8] = name.leak();
            if name.len() > NAME_MAX {
                registry.long.push((name, entry));
            } else {
                let hash = hash_bytes(name);
                registry.table.insert_unique(hash, (name, entry), |(name, _)| hash_bytes(name));
            }
        }
        registry
    }

    /// What clients call the commands, after all renames. Rules for users, statistics and
    /// descriptions know each command by its own name.
    /// Source: redis 7.0 `config.c:loadServerConfigFromString`.
    fn names(&self, renames: &[Rename]) -> BTreeMap<Vec<u8>, CommandRef> {
        let mut names: BTreeMap<Vec<u8>, CommandRef> =
            self.top.iter().map(|&entry| (entry.spec.name.as_bytes().to_vec(), entry)).collect();
        for (old, new) in renames {
            if let Some(entry) = names.remove(&old.to_ascii_lowercase())
                && !new.is_empty()
            {
                names.insert(new.to_ascii_lowercase(), entry);
            }
        }
        names
    }

    fn add_data(&mut self, command: &'static Command<DataFn>) -> CommandRef {
        let subcommands = command.subcommands.iter().map(|sub| self.add_data(sub)).collect();
        self.add(&command.spec, Run::Data(command.run), subcommands)
    }

    fn add_node(&mut self, command: &'static Command<NodeFn>) -> CommandRef {
        let subcommands = command.subcommands.iter().map(|sub| self.add_node(sub)).collect();
        self.add(&command.spec, Run::Node(command.run), subcommands)
    }

    fn add(
        &mut self,
        spec: &'static CommandSpec,
        run: Run,
        subcommands: Vec<CommandRef>,
    ) -> CommandRef {
        let index = self.by_index.len();
        let is_plain = subcommands.is_empty()
            && !spec.name.contains('|')
            && !self.renamed.contains(spec.name.as_bytes());
        let single_key = single_key(spec);
        let entry: CommandRef = Box::leak(Box::new(CommandEntry {
            spec,
            run,
            index,
            single_key,
            subcommands,
            is_plain,
        }));
        self.by_index.push(entry);
        entry
    }

    /// Finds a command by its name, letters of either case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<CommandRef> {
        let mut buffer = [0; NAME_MAX];
        let Some(name) = lower(name, &mut buffer) else { return self.find_long(name) };
        self.table.find(hash_bytes(name), |(known, _)| *known == name).map(|(_, entry)| *entry)
    }

    #[cold]
    fn find_long(&self, name: &[u8]) -> Option<CommandRef> {
        let is_it = |known: &&(&[u8], CommandRef)| known.0.eq_ignore_ascii_case(name);
        self.long.iter().find(is_it).map(|(_, entry)| *entry)
    }

    /// Finds a subcommand of a container.
    pub fn find_sub(&self, container: CommandRef, name: &[u8]) -> Option<CommandRef> {
        container
            .subcommands
            .iter()
            .copied()
            .find(|sub| sub.spec.short_name().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Finds `name` or `container|sub`.
    pub fn find_full(&self, name: &[u8]) -> Option<CommandRef> {
        match name.iter().position(|&b| b == b'|') {
            None => self.find(name),
            Some(at) => self.find_sub(self.find(&name[..at])?, &name[at + 1..]),
        }
    }
}

fn single_key(spec: &CommandSpec) -> usize {
    match spec.keys {
        [key]
            if !key.flags.contains(KeyFlags::NOT_KEY)
                && !spec.flags.intersects(Flags::ALL_STRIPES)
                && spec.everywhere.is_none() =>
        {
            match (key.begin, key.find) {
                (Begin::Index(at), Find::Range { last: 0, .. }) => at,
                _ => 0,
            }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renamed(renames: &[(&str, &str)]) -> Registry {
        let renames: Vec<Rename> = renames
            .iter()
            .map(|(old, new)| (old.as_bytes().into(), new.as_bytes().into()))
            .collect();
        Registry::build(&renames)
    }

    #[test]
    fn renamed_commands_answer_to_their_new_names_alone() {
        let long = "x".repeat(64);
        let names = [("GET", "fetch"), ("set", long.as_str()), ("config", ""), ("FETCH", "Take")];
        let registry = renamed(&names);
        let found = |name: &str| registry.find_full(name.as_bytes()).map(|entry| entry.spec.name);
        for gone in ["get", "fetch", "set", "config", "config|get", ""] {
            assert_eq!(found(gone), None, "{gone}");
        }
        assert_eq!(found("TAKE"), Some("get"));
        assert_eq!(found(&long.to_uppercase()), Some("set"));
        assert!(!registry.find(b"take").unwrap().is_plain);
        let plain = renamed(&[]);
        assert!(plain.find(b"get").unwrap().is_plain);
        // Statistics and rules still know them all.
        assert_eq!(registry.by_index.len(), plain.by_index.len());
        assert_eq!(registry.of_data_node.len() + 1, plain.of_data_node.len());
    }

    #[test]
    fn names_may_change_places() {
        let registry = renamed(&[("get", "x"), ("set", "get"), ("x", "set")]);
        assert_eq!(registry.find(b"set").map(|entry| entry.spec.name), Some("get"));
        assert_eq!(registry.find(b"get").map(|entry| entry.spec.name), Some("set"));
    }

    #[test]
    fn names_of_both_kinds_of_node() {
        assert!(is_command(b"get", false) && !is_command(b"get", true));
        assert!(is_command(b"ping", false) && is_command(b"ping", true));
        assert!(is_command(b"sentinel", true) && !is_command(b"sentinel", false));
        assert!(!is_command(b"config|get", false) && !is_command(b"GET", false));
    }
}
