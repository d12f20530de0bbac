//! A user: passwords, whether they are let in at all, and what they may do.

use crate::selector::allows_channel;
use crate::{Catalog, RuleError, Selector, has_spaces};
use commands::CommandSpec;
use resp::Args;

/// Why a request is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The command.
    Command,
    /// The key at this argument.
    Key(usize),
    /// The channel at this argument.
    Channel(usize),
}

impl Denied {
    /// How far judging came, so that of several selectors' reasons the best one is told.
    fn rank(self) -> u8 {
        match self {
            Denied::Command => 1,
            Denied::Key(_) => 2,
            Denied::Channel(_) => 4,
        }
    }

    fn place(self) -> Option<usize> {
        match self {
            Denied::Command => None,
            Denied::Key(at) | Denied::Channel(at) => Some(at),
        }
    }
}

/// One user's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    enabled: bool,
    no_password: bool,
    skip_sanitize: bool,
    /// SHA-256 in hexadecimal digits, in the order in which they were given.
    passwords: Vec<String>,
    root: Selector,
    selectors: Vec<Selector>,
    /// `acl-pubsub-default` at the time of the change.
    channels_by_default: bool,
}

impl User {
    /// A user without any right, that nobody can log in as. `all_channels` is
    /// `acl-pubsub-default`.
    pub fn new(all_channels: bool) -> User {
        User {
            enabled: false,
            no_password: false,
            skip_sanitize: false,
            passwords: Vec::new(),
            root: Selector::new(all_channels),
            selectors: Vec::new(),
            channels_by_default: all_channels,
        }
    }

    /// The user `default` as it is without any rules: everybody, everything.
    pub fn everybody(catalog: &Catalog) -> User {
        let mut user = User::new(true);
        for rule in ["+@all", "~*", "&*", "on", "nopass"] {
            let applied = user.apply(rule.as_bytes(), catalog);
            debug_assert!(applied.is_ok());
        }
        user
    }

    /// The value of `acl-pubsub-default` that `reset` and new selectors go by.
    pub fn set_channels_by_default(&mut self, all_channels: bool) {
        self.channels_by_default = all_channels;
    }

    /// Applies one rule. An empty one does nothing. Source: redis 7.2 `acl.c:ACLSetUser`.
    pub fn apply(&mut self, rule: &[u8], catalog: &Catalog) -> Result<(), RuleError> {
        let is = |word: &str| rule.eq_ignore_ascii_case(word.as_bytes());
        if rule.is_empty() {
        } else if is("on") {
            self.enabled = true;
        } else if is("off") {
            self.enabled = false;
        } else if is("nopass") {
            self.no_password = true;
            self.passwords.clear();
        } else if is("resetpass") {
            self.no_password = false;
            self.passwords.clear();
        } else if is("sanitize-payload") {
            self.skip_sanitize = false;
        } else if is("skip-sanitize-payload") {
            self.skip_sanitize = true;
        } else if is("clearselectors") {
            self.selectors.clear();
        } else if is("reset") {
            *self = User::new(self.channels_by_default);
        } else {
            return match rule {
                [b'>', password @ ..] => {
                    self.add_password(hash(password));
                    Ok(())
                }
                [b'#', digits @ ..] => {
                    self.add_password(checked_hash(digits)?);
                    Ok(())
                }
                [b'<', password @ ..] => self.remove_password(&hash(password)),
                [b'!', digits @ ..] => self.remove_password(&checked_hash(digits)?),
                [b'(', .., b')'] => self.add_selector(&rule[1..rule.len() - 1], catalog),
                _ => self.root.apply(rule, catalog),
            };
        }
        Ok(())
    }

    fn add_password(&mut self, hash: String) {
        self.no_password = false;
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
    }

    fn remove_password(&mut self, hash: &str) -> Result<(), RuleError> {
        let at = self.passwords.iter().position(|known| known == hash);
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    fn add_selector(&mut self, rules: &[u8], catalog: &Catalog) -> Result<(), RuleError> {
        let mut selector = Selector::new(self.channels_by_default);
        // Redis takes rules that can't be parted, for want of a closing quote, for none.
        for rule in resp::split_args(rules).unwrap_or_default() {
            selector.apply(&rule, catalog)?;
        }
        self.selectors.push(selector);
        Ok(())
    }

    // ---- judging -------------------------------------------------------------------------------

    /// True if nothing is forbidden: no request of this user has to be looked at.
    pub fn is_free(&self) -> bool {
        self.all_selectors().any(Selector::is_free)
    }

    /// Whether anybody can be this user.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether any password will do.
    pub fn needs_no_password(&self) -> bool {
        self.no_password
    }

    /// Whether RESTORE takes this user's payloads without a deep check.
    pub fn skips_sanitizing(&self) -> bool {
        self.skip_sanitize
    }

    /// True if this password lets in. How long it takes does not tell how much of it was right.
    pub fn admits(&self, password: &[u8]) -> bool {
        if !self.enabled {
            return false;
        }
        let given = hash(password);
        let fits = self.passwords.iter().filter(|known| same(known, &given)).count();
        self.no_password || fits > 0
    }

    /// May this request run? Of several selectors' reasons the last key or channel is told.
    /// Source: redis 7.2 `acl.c:ACLCheckAllUserCommandPerm`.
    pub fn check(&self, spec: &CommandSpec, id: usize, args: &Args<'_>) -> Result<(), Denied> {
        let mut reason = Denied::Command;
        for selector in self.all_selectors() {
            match selector.check(spec, id, args) {
                Ok(()) => return Ok(()),
                Err(denied) => {
                    if (denied.rank(), denied.place()) > (reason.rank(), reason.place()) {
                        reason = denied;
                    }
                }
            }
        }
        Err(reason)
    }

    /// May this request run, and read keys that its arguments don't name (SORT with BY or GET)?
    /// Source: redis 7.0 `acl.c:ACLUserCheckCmdWithUnrestrictedPerms`.
    pub fn reads_every_key(&self, spec: &CommandSpec, id: usize, args: &Args<'_>) -> bool {
        self.all_selectors()
            .any(|selector| selector.reads_every_key() && selector.check(spec, id, args).is_ok())
    }

    fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    // ---- channels of those who listen ----------------------------------------------------------

    /// True if everything that `before` let listen to may still be listened to, as far as their
    /// patterns tell. Source: redis 7.2 `acl.c:getUpcomingChannelList`.
    pub fn keeps_channels_of(&self, before: &User) -> bool {
        if self.all_selectors().any(Selector::has_all_channels) {
            return true;
        }
        let now = self.channels();
        !before.all_selectors().any(Selector::has_all_channels)
            && before.channels().iter().all(|pattern| now.contains(pattern))
    }

    /// May somebody who listens to this go on?
    pub fn may_listen(&self, name: &[u8], is_pattern: bool) -> bool {
        self.all_selectors().any(Selector::has_all_channels)
            || allows_channel(&self.channels(), name, is_pattern)
    }

    fn channels(&self) -> Vec<Vec<u8>> {
        self.all_selectors().flat_map(|selector| selector.channels().iter().cloned()).collect()
    }

    // ---- showing -------------------------------------------------------------------------------

    /// The flags, as ACL GETUSER shows them.
    pub fn flags(&self) -> Vec<&'static str> {
        let mut flags = vec![if self.enabled { "on" } else { "off" }];
        if self.no_password {
            flags.push("nopass");
        }
        flags.push(if self.skip_sanitize { "skip-sanitize-payload" } else { "sanitize-payload" });
        flags
    }

    /// Hashes of the passwords.
    pub fn passwords(&self) -> &[String] {
        &self.passwords
    }

    /// The rights that are not in parentheses.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The rights in parentheses.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// All rules in one line, which makes the same user again.
    /// Source: redis 7.2 `acl.c:ACLDescribeUser`.
    pub fn show(&self) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> =
            self.flags().iter().map(|flag| flag.as_bytes().to_vec()).collect();
        words.extend(self.passwords.iter().map(|hash| format!("#{hash}").into_bytes()));
        words.push(self.root.show());
        words.extend(
            self.selectors.iter().map(|selector| [b"(", selector.show().as_slice(), b")"].concat()),
        );
        words.join(&b' ')
    }
}

/// The line of a user in ACL LIST and in files, without a line end.
pub(crate) fn line(name: &[u8], user: &User) -> Vec<u8> {
    [b"user ", name, b" ", user.show().as_slice()].concat()
}

fn hash(password: &[u8]) -> String {
    use sha2::Digest;
    use std::fmt::Write;
    sha2::Sha256::digest(password).iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn checked_hash(digits: &[u8]) -> Result<String, RuleError> {
    let fits =
        digits.len() == 64 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    match std::str::from_utf8(digits) {
        Ok(text) if fits => Ok(text.to_string()),
        _ => Err(RuleError::BadHash),
    }
}

/// Compares in a time that depends on the length alone.
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |diff, (x, y)| diff | (x ^ y)) == 0
}

/// A user's name that a file can hold.
pub(crate) fn is_name(name: &[u8]) -> bool {
    !has_spaces(name)
}
