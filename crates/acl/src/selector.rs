//! One set of rights: commands, keys and channels that go together.
//!
//! A user has a root selector, and more of them in parentheses; a request is allowed if one of them
//! allows all of it.

use crate::{Catalog, CatalogEntry, Denied, RuleError, category_name, has_spaces};
use commands::{CommandSpec, Flags, KeyFlags, exact_flags, keys_loosely, keys_of};
use resp::Args;
use std::collections::BTreeMap;

/// Keys that may be read, written, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPattern {
    /// A glob pattern.
    pub pattern: Vec<u8>,
    /// The value may be read.
    pub read: bool,
    /// The value may be changed.
    pub write: bool,
}

/// Where a command names a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its first argument that does.
    pub first: usize,
    /// All arguments from there on.
    pub all: bool,
    /// They are patterns.
    pub pattern: bool,
}

/// Where a command names channels to publish to or to listen on. Unsubscribing needs no right.
/// Source: redis 7.0 `db.c:getChannelsFromCommand`.
pub fn channels_of(name: &str) -> Option<Channel> {
    match name {
        "publish" | "spublish" => Some(Channel { first: 1, all: false, pattern: false }),
        "subscribe" | "ssubscribe" => Some(Channel { first: 1, all: true, pattern: false }),
        "psubscribe" => Some(Channel { first: 1, all: true, pattern: true }),
        _ => None,
    }
}

/// One set of rights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Every command, whatever it is. Taking one away ends this.
    all_commands: bool,
    /// The rules begin with `+@all`: commands that are still to come are allowed too.
    future: bool,
    /// Bits of allowed commands, by number.
    allowed: Vec<u64>,
    /// First arguments with which a command is allowed that otherwise is not.
    first_args: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The rules behind `+@all` or `-@all`, in order: true for `+`.
    rules: Vec<(bool, Vec<u8>)>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Vec<u8>>,
}

/// Commands whose number is beyond every catalog stand for those to come; this keeps bit vectors
/// from ever growing by a mistake.
const IDS_MAX: usize = 1 << 16;

impl Selector {
    /// A selector without rights, but with all channels if `acl-pubsub-default` says so.
    pub fn new(all_channels: bool) -> Selector {
        Selector { all_channels, ..Selector::default() }
    }

    /// True if nothing is forbidden.
    pub fn is_free(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Applies one rule. Source: redis 7.2 `acl.c:ACLSetSelector`.
    pub fn apply(&mut self, rule: &[u8], catalog: &Catalog) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if is("allkeys") || rule == b"~*" {
            self.all_keys = true;
            self.keys.clear();
        } else if is("resetkeys") {
            self.all_keys = false;
            self.keys.clear();
        } else if is("allchannels") || rule == b"&*" {
            self.all_channels = true;
            self.channels.clear();
        } else if is("resetchannels") {
            self.all_channels = false;
            self.channels.clear();
        } else if is("allcommands") || is("+@all") {
            self.every_command(catalog, true);
        } else if is("nocommands") || is("-@all") {
            self.every_command(catalog, false);
        } else {
            return match rule {
                [b'~' | b'%', ..] => self.key_rule(rule),
                [b'&', pattern @ ..] => self.channel_rule(pattern),
                [b'+', b'@', category @ ..] => self.category_rule(category, true, catalog),
                [b'-', b'@', category @ ..] => self.category_rule(category, false, catalog),
                [b'+', name @ ..] => self.allow(name, catalog),
                [b'-', name @ ..] => {
                    let command = catalog.find(name).ok_or(RuleError::Unknown)?;
                    self.set_command(command, false);
                    self.note(command.name.as_bytes(), false);
                    Ok(())
                }
                _ => Err(RuleError::Syntax),
            };
        }
        Ok(())
    }

    // ---- commands ------------------------------------------------------------------------------

    fn every_command(&mut self, catalog: &Catalog, allow: bool) {
        self.allowed.clear();
        self.allowed.resize(catalog.ids().div_ceil(64), if allow { u64::MAX } else { 0 });
        (self.all_commands, self.future) = (allow, allow);
        self.first_args.clear();
        self.rules.clear();
    }

    fn has_bit(&self, id: usize) -> bool {
        self.allowed.get(id / 64).map_or(self.future, |word| word & (1 << (id % 64)) != 0)
    }

    fn set_bit(&mut self, id: usize, value: bool) {
        if id >= IDS_MAX {
            return;
        }
        if self.allowed.len() <= id / 64 {
            self.allowed.resize(id / 64 + 1, if self.future { u64::MAX } else { 0 });
        }
        let bit = 1 << (id % 64);
        if value {
            self.allowed[id / 64] |= bit;
        } else {
            self.allowed[id / 64] &= !bit;
            self.all_commands = false;
        }
    }

    /// Source: redis 7.2 `acl.c:ACLChangeSelectorPerm`.
    fn set_command(&mut self, command: &CatalogEntry, allow: bool) {
        self.set_bit(command.id, allow);
        self.first_args.remove(&command.id);
        command.subcommands.iter().for_each(|&sub| self.set_bit(sub, allow));
    }

    fn category_rule(
        &mut self,
        name: &[u8],
        allow: bool,
        catalog: &Catalog,
    ) -> Result<(), RuleError> {
        let category = category_name(name).ok_or(RuleError::Unknown)?;
        self.note(&[b"@", name].concat(), allow);
        for entry in catalog.entries().iter().filter(|entry| entry.categories.intersects(category))
        {
            self.set_command(entry, allow);
        }
        Ok(())
    }

    fn allow(&mut self, name: &[u8], catalog: &Catalog) -> Result<(), RuleError> {
        let Some(bar) = name.iter().rposition(|&byte| byte == b'|') else {
            let command = catalog.find(name).ok_or(RuleError::Unknown)?;
            self.set_command(command, true);
            self.note(command.name.as_bytes(), true);
            return Ok(());
        };
        let (command, sub) = (catalog.find(&name[..bar]), &name[bar + 1..]);
        let command = command.ok_or(RuleError::Unknown)?;
        if command.is_sub {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        // Redis takes blanks here; but in a file they would part the rule, or begin another line.
        if sub.is_empty() || has_spaces(sub) {
            return Err(RuleError::Syntax);
        }
        if command.subcommands.is_empty() {
            let known = self.first_args.entry(command.id).or_default();
            if !known.iter().any(|arg| arg.eq_ignore_ascii_case(sub)) {
                known.push(sub.to_vec());
            }
        } else {
            let command = catalog.find(name).ok_or(RuleError::Unknown)?;
            self.set_command(command, true);
        }
        self.note(name, true);
        Ok(())
    }

    /// Keeps a rule for showing. A later one replaces an earlier one about the same thing, or about
    /// a part of it. Source: redis 7.2 `acl.c:ACLUpdateCommandRules`.
    fn note(&mut self, rule: &[u8], allow: bool) {
        let rule = rule.to_ascii_lowercase();
        self.rules.retain(|(_, old)| {
            let same_or_part = old
                .strip_prefix(rule.as_slice())
                .is_some_and(|rest| rest.is_empty() || rest[0] == b'|');
            !same_or_part
        });
        self.rules.push((allow, rule));
    }

    // ---- keys and channels ---------------------------------------------------------------------

    fn key_rule(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::KeysBehindAll);
        }
        let (mut read, mut write) = (true, true);
        let mut pattern = &rule[1..];
        if rule[0] == b'%' {
            (read, write) = (false, false);
            // The letters alone, without `~`, stand for the pattern that only an empty key matches.
            while let Some((&first, rest)) = pattern.split_first() {
                pattern = rest;
                match first.to_ascii_uppercase() {
                    b'R' if !read => read = true,
                    b'W' if !write => write = true,
                    b'~' if read || write => break,
                    _ => return Err(RuleError::Syntax),
                }
            }
            if !read && !write {
                return Err(RuleError::Syntax);
            }
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => {
                known.read |= read;
                known.write |= write;
            }
            None => self.keys.push(KeyPattern { pattern: pattern.to_vec(), read, write }),
        }
        Ok(())
    }

    fn channel_rule(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::ChannelsBehindAll);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// True if all channels are open.
    pub fn has_all_channels(&self) -> bool {
        self.all_channels
    }

    /// The channel patterns.
    pub fn channels(&self) -> &[Vec<u8>] {
        &self.channels
    }

    // ---- judging -------------------------------------------------------------------------------

    /// May this request run? Source: redis 7.2 `acl.c:ACLSelectorCheckCmd`.
    pub fn check(&self, spec: &CommandSpec, id: usize, args: &Args<'_>) -> Result<(), Denied> {
        if !self.all_commands
            && !spec.flags.contains(Flags::NO_AUTH)
            && !self.has_bit(id)
            && !self.has_first_arg(spec, id, args)
        {
            return Err(Denied::Command);
        }
        self.check_keys(spec, args)?;
        self.check_channels(spec, args)
    }

    fn has_first_arg(&self, spec: &CommandSpec, id: usize, args: &Args<'_>) -> bool {
        let at = if spec.name.contains('|') { 2 } else { 1 };
        match (self.first_args.get(&id), args.get(at)) {
            (Some(allowed), Some(arg)) => allowed.iter().any(|one| one.eq_ignore_ascii_case(arg)),
            _ => false,
        }
    }

    fn check_keys(&self, spec: &CommandSpec, args: &Args<'_>) -> Result<(), Denied> {
        if self.all_keys || spec.keys.is_empty() {
            return Ok(());
        }
        // Where the arguments make no sense, the command itself will refuse them.
        for (at, flags) in keys_of(spec, args).unwrap_or_else(|| keys_loosely(spec, args)) {
            let flags = exact_flags(spec, args, flags);
            let reads = flags.intersects(KeyFlags::ACCESS);
            let writes =
                flags.intersects(KeyFlags::INSERT.union(KeyFlags::DELETE).union(KeyFlags::UPDATE));
            if !self.allows_key(args.at(at), reads, writes) {
                return Err(Denied::Key(at));
            }
        }
        Ok(())
    }

    /// May this key be read, written, both? Source: redis 7.0 `acl.c:ACLSelectorCheckKey`.
    pub fn allows_key(&self, key: &[u8], reads: bool, writes: bool) -> bool {
        self.all_keys
            || self.keys.iter().any(|known| {
                (known.read || !reads)
                    && (known.write || !writes)
                    && stdx::glob_match(&known.pattern, key, false)
            })
    }

    /// May every key be read? What SORT with BY or GET asks, since it reads keys that its arguments
    /// don't name.
    pub fn reads_every_key(&self) -> bool {
        self.all_keys || self.keys.iter().any(|known| known.pattern == b"*" && known.read)
    }

    fn check_channels(&self, spec: &CommandSpec, args: &Args<'_>) -> Result<(), Denied> {
        if self.all_channels {
            return Ok(());
        }
        let Some(channel) = channels_of(spec.name) else { return Ok(()) };
        let end = if channel.all { args.len() } else { channel.first + 1 };
        for at in channel.first..end.min(args.len()) {
            if !allows_channel(&self.channels, args.at(at), channel.pattern) {
                return Err(Denied::Channel(at));
            }
        }
        Ok(())
    }

    // ---- showing -------------------------------------------------------------------------------

    /// The command rules, as ACL GETUSER shows them.
    pub fn show_commands(&self) -> Vec<u8> {
        let mut text = if self.future { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for (allow, rule) in &self.rules {
            text.extend_from_slice(if *allow { b" +" } else { b" -" });
            text.extend_from_slice(rule);
        }
        text
    }

    /// The key patterns, as ACL GETUSER shows them.
    pub fn show_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let shown: Vec<Vec<u8>> = self
            .keys
            .iter()
            .map(|known| {
                let head: &[u8] = match (known.read, known.write) {
                    (true, true) => b"~",
                    (true, false) => b"%R~",
                    _ => b"%W~",
                };
                [head, &known.pattern].concat()
            })
            .collect();
        shown.join(&b' ')
    }

    /// The channel patterns, as ACL GETUSER shows them.
    pub fn show_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let shown: Vec<Vec<u8>> =
            self.channels.iter().map(|pattern| [b"&", pattern.as_slice()].concat()).collect();
        shown.join(&b' ')
    }

    /// All rules in one line, which makes the same selector again.
    pub fn show(&self) -> Vec<u8> {
        let mut words = vec![self.show_keys()];
        if !self.all_channels {
            words.push(b"resetchannels".to_vec());
        }
        words.push(self.show_channels());
        words.push(self.show_commands());
        words.retain(|word| !word.is_empty());
        words.join(&b' ')
    }
}

/// A channel must match one of the patterns; a pattern must be one of them.
/// Source: redis 7.0 `acl.c:ACLCheckChannelAgainstList`.
pub(crate) fn allows_channel(allowed: &[Vec<u8>], name: &[u8], is_pattern: bool) -> bool {
    allowed.iter().any(|pattern| {
        if is_pattern { pattern == name } else { stdx::glob_match(pattern, name, false) }
    })
}
