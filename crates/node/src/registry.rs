//! Every command of this node by name: data commands from `commands`, the node's own from here.

use crate::NodeFn;
use commands::{Begin, Command, CommandSpec, DataFn, Find, Flags, KeyFlags};
use hashbrown::HashTable;
use std::sync::LazyLock;
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
    /// Named by the first argument alone: neither a container nor a subcommand.
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
    table: HashTable<CommandRef>,
    /// Top-level commands in the order of their names, those of both kinds of node.
    pub top: Vec<CommandRef>,
    /// Those that a data node has.
    pub of_data_node: Vec<CommandRef>,
    /// Those that a sentinel has.
    pub of_sentinel: Vec<CommandRef>,
    /// Every command, subcommands included, by its index.
    pub by_index: Vec<CommandRef>,
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::build);

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

/// Longest name of a command.
const NAME_MAX: usize = 32;

fn lower<'b>(name: &[u8], buffer: &'b mut [u8; NAME_MAX]) -> Option<&'b [u8]> {
    let target = buffer.get_mut(..name.len())?;
    for (to, from) in target.iter_mut().zip(name) {
        *to = from.to_ascii_lowercase();
    }
    Some(target)
}

impl Registry {
    fn build() -> Registry {
        let mut registry = Registry {
            table: HashTable::new(),
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
        registry.top.sort_by_key(|entry| entry.spec.name);
        let having = |kind: fn(&CommandEntry) -> bool| {
            registry.top.iter().copied().filter(|e| kind(e)).collect()
        };
        registry.of_data_node = having(CommandEntry::is_of_data_node);
        registry.of_sentinel = having(CommandEntry::is_of_sentinel);
        for entry in &registry.top {
            let hash = hash_bytes(entry.spec.name.as_bytes());
            registry.table.insert_unique(hash, entry, |e| hash_bytes(e.spec.name.as_bytes()));
        }
        registry
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
        let is_plain = subcommands.is_empty() && !spec.name.contains('|');
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
        let name = lower(name, &mut buffer)?;
        self.table.find(hash_bytes(name), |entry| entry.spec.name.as_bytes() == name).copied()
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
