//! Who the connections belong to: the users of this node, and what becomes of connections when
//! their user changes or goes.
//!
//! A connection holds its user's cell. Rules are exchanged in the cell as a whole, so a change holds
//! for every request that begins after it, on every worker, without a message. Only subscriptions
//! outlast a request: those who may have lost a channel are looked at by the worker that owns them,
//! when it is between two requests.
//!
//! The rules themselves are the business of the crate `acl`.

use crate::client::ClientInfo;
use crate::registry::{CommandEntry, CommandRef, registry};
use crate::{Message, Node, Session, lock};
use acl::{Catalog, CatalogEntry, Context, Denied, Incident, Reason, User};
use arc_swap::ArcSwap;
use commands::CommandError;
use config::{AclPubsubDefault, Config, LoadError, SourceLine};
use resp::Args;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use stdx::UnixMs;

/// One user, shared by all of their connections.
#[derive(Debug)]
pub struct UserCell {
    name: Vec<u8>,
    rules: ArcSwap<User>,
    /// Nothing is forbidden: requests are not looked at.
    free: AtomicBool,
}

impl UserCell {
    fn new(name: &[u8], user: User) -> Arc<UserCell> {
        let free = AtomicBool::new(user.is_free());
        Arc::new(UserCell { name: name.to_vec(), rules: ArcSwap::from_pointee(user), free })
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The rules in force.
    pub fn rules(&self) -> Arc<User> {
        self.rules.load_full()
    }

    /// True if nothing is forbidden.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.free.load(Ordering::Acquire)
    }

    fn set(&self, user: User) {
        let free = user.is_free();
        self.rules.store(Arc::new(user));
        self.free.store(free, Ordering::Release);
    }
}

/// All users by name.
type Users = BTreeMap<Vec<u8>, Arc<UserCell>>;

/// The users of a node, and what was denied them.
pub struct Access {
    users: Mutex<Users>,
    default: Arc<UserCell>,
    /// ACL LOG.
    pub(crate) log: Mutex<acl::Log>,
}

impl Access {
    /// The user `default` alone, with the password of `requirepass`.
    pub fn new(config: &Config) -> Access {
        let default = UserCell::new(b"default", User::everybody(&DATA_NODE));
        let users = BTreeMap::from([(b"default".to_vec(), Arc::clone(&default))]);
        let access = Access { users: Mutex::new(users), default, log: Mutex::default() };
        if let Some(password) = config.requirepass.non_empty() {
            access.set_default_password(password);
        }
        access
    }

    /// The user of new connections.
    pub fn default_user(&self) -> Arc<UserCell> {
        Arc::clone(&self.default)
    }

    /// True if a new connection belongs to `default` without a password.
    pub fn is_open(&self) -> bool {
        let default = self.default.rules.load();
        default.is_enabled() && default.needs_no_password()
    }

    /// What `requirepass` says of the user `default`; an empty password means none.
    /// Source: redis 7.0 `acl.c:ACLUpdateDefaultUserPassword`.
    pub fn set_default_password(&self, password: &[u8]) {
        let _one_at_a_time = lock(&self.users);
        let mut user = User::clone(&self.default.rules.load());
        let rule = match password {
            [] => b"nopass".to_vec(),
            password => [b">", password].concat(),
        };
        for rule in [b"resetpass".as_slice(), &rule] {
            let applied = user.apply(rule, &DATA_NODE);
            debug_assert!(applied.is_ok());
        }
        self.default.set(user);
    }

    /// One user.
    pub fn find(&self, name: &[u8]) -> Option<Arc<UserCell>> {
        lock(&self.users).get(name).cloned()
    }

    /// Names and rules of all users, in the order of names.
    pub fn all(&self) -> Vec<(Vec<u8>, Arc<User>)> {
        lock(&self.users).iter().map(|(name, cell)| (name.clone(), cell.rules())).collect()
    }

    /// A line for every user, as files and ACL LIST have them.
    pub fn lines(&self) -> Vec<Vec<u8>> {
        acl::show_users(self.all().iter().map(|(name, user)| (name.as_slice(), user.as_ref())))
    }
}

static DATA_NODE: LazyLock<Catalog> = LazyLock::new(|| catalog(CommandEntry::is_of_data_node));
static SENTINEL: LazyLock<Catalog> = LazyLock::new(|| catalog(CommandEntry::is_of_sentinel));

fn catalog(has: fn(&CommandEntry) -> bool) -> Catalog {
    let entries = registry().by_index.iter().filter(|command| has(command));
    Catalog::new(
        entries
            .map(|command| CatalogEntry {
                id: command.index,
                name: command.spec.name,
                categories: command.spec.categories(),
                subcommands: command
                    .subcommands
                    .iter()
                    .filter(|sub| has(sub))
                    .map(|sub| sub.index)
                    .collect(),
                is_sub: command.spec.name.contains('|'),
            })
            .collect(),
    )
}

/// `acl-pubsub-default`.
pub(crate) fn all_channels(config: &Config) -> bool {
    config.acl_pubsub_default == AclPubsubDefault::Allchannels
}

/// A complaint about the first `user` line that can't be right, whatever commands there are. Only
/// later, when users are made, unknown commands are complained about: as Redis does, to which
/// modules may bring them. Source: redis 7.0 `acl.c:ACLAppendUserForLoading`.
pub fn check_user_lines(lines: &[SourceLine], config: &Config) -> Result<(), LoadError> {
    for line in lines {
        let rules = line.words.get(2..).unwrap_or_default();
        match acl::parse_user_line(rules, all_channels(config), &DATA_NODE) {
            Ok(_) => {}
            Err(complaint) if complaint.error == acl::RuleError::Unknown => {}
            Err(complaint) => {
                // Redis counts wrong here, and names the word two before the wrong rule.
                let shown = line.words.get(complaint.at).map(|word| String::from_utf8_lossy(word));
                return Err(line.error(format!(
                    "Error in user declaration '{}': {}",
                    shown.unwrap_or_default(),
                    complaint.error
                )));
            }
        }
    }
    Ok(())
}

/// Everything that is wrong with the users of a configuration: its `user` lines, and the text of
/// its `aclfile` if that could be read.
pub fn check_users(
    lines: &[SourceLine],
    acl_file: Option<&[u8]>,
    config: &Config,
    of_sentinel: bool,
) -> Vec<LoadError> {
    let catalog: &Catalog = if of_sentinel { &SENTINEL } else { &DATA_NODE };
    let mut errors: Vec<LoadError> = lines
        .iter()
        .filter_map(|line| read_user_line(line, config, catalog).err().map(|why| line.error(why)))
        .collect();
    if config.aclfile.non_empty().is_some() && !lines.is_empty() {
        errors.push(LoadError::General(
            "`user` lines and an `aclfile` exclude each other: define users in one place".into(),
        ));
    }
    if let Some(text) = acl_file {
        let path = config.aclfile.to_str();
        let users = acl::parse_file(text, &path, all_channels(config), catalog);
        errors.extend(users.err().map(LoadError::General));
    }
    errors
}

fn read_user_line(line: &SourceLine, config: &Config, catalog: &Catalog) -> Result<User, String> {
    let name = line.words.get(1).map(Vec::as_slice).unwrap_or_default();
    if acl::has_spaces(name) {
        return Err("Spaces not allowed in ACL usernames".into());
    }
    let rules = line.words.get(2..).unwrap_or_default();
    acl::parse_user_line(rules, all_channels(config), catalog).map_err(|complaint| {
        format!(
            "Error loading ACL rule '{}' for the user named '{}': {}",
            String::from_utf8_lossy(&complaint.rule),
            String::from_utf8_lossy(name),
            complaint.error
        )
    })
}

impl Node {
    /// The commands that rules may name on this kind of node.
    pub fn catalog(&self) -> &'static Catalog {
        if self.sentinel.get().is_some() { &SENTINEL } else { &DATA_NODE }
    }

    /// True if this connection has to log in before anything else.
    /// Source: redis 7.0 `server.c:authRequired`.
    #[inline]
    pub fn must_authenticate(&self, session: &Session) -> bool {
        !session.authenticated && !self.access.is_open()
    }

    /// Gives a connection to the user `default`, let in if that needs no password.
    pub(crate) fn set_default_user(&self, session: &mut Session) {
        let _users = lock(&self.access.users);
        session.user = self.access.default_user();
        session.authenticated = self.access.is_open();
        lock(&session.info.names).user = b"default".to_vec();
    }

    // ---- judging -------------------------------------------------------------------------------

    /// May this user run this request? Scripts ask it for each of theirs; connections are judged
    /// when their requests are admitted.
    #[inline]
    pub fn may_run(
        &self,
        user: &UserCell,
        command: CommandRef,
        args: &Args<'_>,
    ) -> Result<(), Denied> {
        if user.is_free() {
            return Ok(());
        }
        user.rules.load().check(command.spec, command.index, args)
    }

    /// May this user run this request, and read keys that its arguments don't name?
    pub fn reads_every_key(&self, user: &UserCell, command: CommandRef, args: &Args<'_>) -> bool {
        user.is_free() || user.rules.load().reads_every_key(command.spec, command.index, args)
    }

    /// Keeps in ACL LOG and in INFO that a request was not allowed; returns the error for it,
    /// without its code (`NOPERM`). Source: redis 7.2 `acl.c:getAclErrorMessage`.
    #[allow(clippy::too_many_arguments)]
    pub fn note_denied(
        &self,
        now: crate::Now,
        client: &ClientInfo,
        user: &UserCell,
        context: Context,
        denied: Denied,
        command: CommandRef,
        args: &Args<'_>,
    ) -> Vec<u8> {
        let (reason, object) = match denied {
            Denied::Command => (Reason::Command, command.spec.name.as_bytes()),
            Denied::Key(at) => (Reason::Key, args.at(at)),
            Denied::Channel(at) => (Reason::Channel, args.at(at)),
        };
        self.note_incident(now, client, user.name(), context, reason, object);
        denied_text(denied, user.name(), command, args, false)
    }

    /// Keeps something that was not allowed in ACL LOG and counts it.
    pub(crate) fn note_incident(
        &self,
        now: crate::Now,
        client: &ClientInfo,
        username: &[u8],
        context: Context,
        reason: Reason,
        object: &[u8],
    ) {
        let counter = match reason {
            Reason::Auth => &self.stats.auth_denied,
            Reason::Command => &self.stats.command_denied,
            Reason::Key => &self.stats.key_denied,
            Reason::Channel => &self.stats.channel_denied,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let max = usize::try_from(self.settings.load().config.acllog_max_len).unwrap_or(usize::MAX);
        let last = client.last_command.load(Ordering::Relaxed) as usize;
        let last = registry().by_index.get(last).map_or("NULL", |command| command.spec.name);
        let UnixMs(at) = now.unix();
        let incident = Incident {
            reason,
            context,
            object: object.to_vec(),
            username: username.to_vec(),
            client: client.line(now.mono().0, last),
            at,
        };
        lock(&self.access.log).add(incident, max);
    }

    /// Checks a user and password, as `command` in `context` asks, and gives the connection to that user.
    /// Source: redis 7.2 `acl.c:ACLAuthenticateUser`.
    #[allow(clippy::too_many_arguments)]
    pub fn authenticate(
        &self,
        now: crate::Now,
        session: &mut Session,
        user: &[u8],
        password: &[u8],
        command: &[u8],
        context: Context,
    ) -> Result<(), CommandError> {
        {
            // Under this lock a user that is found is not being deleted: who looks for their
            // connections afterwards finds this one too.
            let users = lock(&self.access.users);
            if let Some(cell) = users.get(user)
                && cell.rules.load().admits(password)
            {
                session.user = Arc::clone(cell);
                session.authenticated = true;
                lock(&session.info.names).user = user.to_vec();
                return Ok(());
            }
        }
        self.note_incident(now, &session.info, user, context, Reason::Auth, command);
        Err(CommandError::new("WRONGPASS invalid username-password pair or user is disabled."))
    }

    // ---- changing ------------------------------------------------------------------------------

    /// Changes a user, or makes one; all rules or none. Source: redis 7.2 `acl.c:aclCommand`.
    pub(crate) fn set_user(
        &self,
        name: &[u8],
        rules: &[Vec<u8>],
    ) -> Result<(), (Vec<u8>, acl::RuleError)> {
        let channels = all_channels(&self.settings.load().config);
        let mut users = lock(&self.access.users);
        let cell = users.get(name);
        let before = cell.map(|cell| cell.rules());
        let mut user =
            before.as_ref().map_or_else(|| User::new(channels), |before| User::clone(before));
        user.set_channels_by_default(channels);
        for rule in rules {
            user.apply(rule, self.catalog()).map_err(|error| (rule.clone(), error))?;
        }
        match (cell, before) {
            (Some(cell), Some(before)) => {
                let keeps = user.keeps_channels_of(&before);
                cell.set(user);
                if !keeps {
                    self.check_listeners_of(name);
                }
            }
            _ => {
                users.insert(name.to_vec(), UserCell::new(name, user));
            }
        }
        Ok(())
    }

    /// Removes users, and ends their connections. Returns how many there were, and whether the
    /// connection `own` is among those to end: it ends when it has its reply.
    pub(crate) fn delete_users(&self, names: &[&[u8]], own: u64) -> (usize, bool) {
        let mut users = lock(&self.access.users);
        let (mut deleted, mut ends_own) = (0, false);
        for name in names {
            if let Some(cell) = users.remove(*name) {
                deleted += 1;
                ends_own |= self.end_user(&cell, own);
            }
        }
        (deleted, ends_own)
    }

    /// Ends the connections of a user who is gone, and takes every right from what still runs.
    fn end_user(&self, cell: &UserCell, own: u64) -> bool {
        cell.set(User::new(false));
        let mut ends_own = false;
        for client in self.connections_of(cell.name()) {
            if client.id == own {
                client.killed.store(true, Ordering::Relaxed);
                ends_own = true;
            } else {
                self.kill_client(&client);
            }
        }
        ends_own
    }

    fn connections_of(&self, name: &[u8]) -> Vec<Arc<ClientInfo>> {
        let mut clients = self.clients.all();
        clients.retain(|client| {
            !client.master.load(Ordering::Relaxed) && lock(&client.names).user == name
        });
        clients
    }

    /// Lets the owners of a user's connections end those that listen to what they may not.
    fn check_listeners_of(&self, name: &[u8]) {
        for client in self.connections_of(name) {
            if let Some(mailbox) = self.mailboxes.get(client.worker()) {
                mailbox.send(Message::CheckChannels { client: client.id });
            }
        }
    }

    /// May this connection go on listening to all it listens to?
    pub fn may_listen_on(&self, session: &Session) -> bool {
        let rules = session.user.rules.load();
        let mut channels = session.channels.iter().chain(&session.shards);
        channels.all(|channel| rules.may_listen(channel, false))
            && session.patterns.iter().all(|pattern| rules.may_listen(pattern, true))
    }

    /// Puts other users in the place of all; connections of those who are gone end. Returns whether
    /// the connection `own` is among them. Source: redis 7.2 `acl.c:ACLLoadFromFile`.
    fn replace_users(&self, mut new: BTreeMap<Vec<u8>, User>, own: u64) -> bool {
        let mut users = lock(&self.access.users);
        let default = new.remove(b"default".as_slice());
        let default = default.unwrap_or_else(|| User::everybody(self.catalog()));
        new.insert(b"default".to_vec(), default);
        let gone: Vec<Arc<UserCell>> = users
            .iter()
            .filter(|(name, _)| !new.contains_key(*name))
            .map(|(_, cell)| Arc::clone(cell))
            .collect();
        let mut ends_own = false;
        for cell in gone {
            users.remove(cell.name());
            ends_own |= self.end_user(&cell, own);
        }
        for (name, user) in new {
            match users.get(&name) {
                Some(cell) => {
                    let keeps = user.keeps_channels_of(&cell.rules());
                    cell.set(user);
                    if !keeps {
                        self.check_listeners_of(&name);
                    }
                }
                None => {
                    let cell = UserCell::new(&name, user);
                    users.insert(name, cell);
                }
            }
        }
        ends_own
    }

    // ---- files ---------------------------------------------------------------------------------

    /// Makes the users that the configuration tells of. An error ends the start; what led to it was
    /// logged. Source: redis 7.0 `acl.c:ACLLoadUsersAtStartup`.
    pub fn load_users_at_start(&self, lines: &[SourceLine]) -> Result<(), String> {
        let settings = self.settings.load_full();
        let config = &settings.config;
        let has_file = config.aclfile.non_empty().is_some();
        if has_file && !lines.is_empty() {
            return Err("Configuring Redis with users defined in redis.conf and at the same setting an ACL file \
                 path is invalid. This setup is very likely to lead to configuration errors and security holes, please \
                 define either an ACL file or declare users directly in your redis.conf, but not both."
                .into());
        }
        for line in lines {
            self.load_user_line(line, config).map_err(|why| {
                self.host.log(3, &why);
                "Critical error while loading ACLs. Exiting.".to_string()
            })?;
        }
        if has_file {
            self.load_acl_file(0).map_err(|errors| {
                format!("Aborting Redis startup because of ACL errors: {errors}")
            })?;
        }
        Ok(())
    }

    fn load_user_line(&self, line: &SourceLine, config: &Config) -> Result<(), String> {
        let name = line.words.get(1).map(Vec::as_slice).unwrap_or_default();
        let user = read_user_line(line, config, self.catalog())?;
        if !user.is_enabled() {
            self.host.log(
                2,
                &format!(
                    "The user '{}' is disabled (there is no 'on' modifier in the user description). Make sure this is not a configuration error.",
                    String::from_utf8_lossy(name)
                ),
            );
        }
        let mut users = lock(&self.access.users);
        match users.get(name) {
            Some(cell) => cell.set(user),
            None => {
                users.insert(name.to_vec(), UserCell::new(name, user));
            }
        }
        Ok(())
    }

    /// Reads the users of `aclfile`, all or none of them; see [`Node::replace_users`].
    pub(crate) fn load_acl_file(&self, own: u64) -> Result<bool, String> {
        let settings = self.settings.load_full();
        let path = settings.config.aclfile.to_str().into_owned();
        let text = self
            .host
            .read_acl_file(&path)
            .map_err(|why| format!("Error loading ACLs, opening file '{path}': {why}"))?;
        let users = acl::parse_file(&text, &path, all_channels(&settings.config), self.catalog())?;
        Ok(self.replace_users(users, own))
    }

    /// Writes all users into `aclfile`.
    pub(crate) fn save_acl_file(&self) -> Result<(), String> {
        let path = self.settings.load().config.aclfile.to_str().into_owned();
        let mut text = Vec::new();
        for line in self.access.lines() {
            text.extend_from_slice(&line);
            text.push(b'\n');
        }
        self.host.write_acl_file(&path, &text)
    }
}

/// Why a request is not allowed, in Redis's words; `named` tells the key or channel too.
/// Source: redis 7.2 `acl.c:getAclErrorMessage`.
pub(crate) fn denied_text(
    denied: Denied,
    user: &[u8],
    command: CommandRef,
    args: &Args<'_>,
    named: bool,
) -> Vec<u8> {
    let (at, thing) = match denied {
        Denied::Command => {
            let name = command.spec.name.as_bytes();
            return [b"User ", user, b" has no permissions to run the '", name, b"' command"]
                .concat();
        }
        Denied::Key(at) => (at, "key"),
        Denied::Channel(at) => (at, "channel"),
    };
    if named {
        let thing = thing.as_bytes();
        [b"User ", user, b" has no permissions to access the '", args.at(at), b"' ", thing].concat()
    } else {
        format!("No permissions to access a {thing}").into_bytes()
    }
}
