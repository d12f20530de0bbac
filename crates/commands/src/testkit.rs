//! Runs commands in tests as `node` will: on a small keyspace, with the stripes held, an error's
//! partial reply dropped and an effect without change dropped.
//!
//! Replies are compared as readable text: the bytes with each line end shown as one blank, so `GET`
//! of `ab` is `$2 ab`.

use crate::{Block, Command, CommandSpec, Ctx, DataFn, Effect, Env, Flags};
use keyspace::{
    Change, Changes, EventClass, ExpireRule, KeyOptions, Keys, Keyspace, MemoryPolicy, StripeBy,
    StripeMask,
};
use resp::{OwnedArgs, Protocol, Reply};
use stdx::{Prng, UnixMs};
use structures::Limits;

/// The time at which every kit starts.
pub const START: i64 = 1_700_000_000_000;

/// A keyspace with everything that commands need.
pub struct Kit {
    /// The keyspace: 4 databases, 4 stripes.
    pub space: Keyspace,
    /// The connection's database.
    pub db: usize,
    /// The connection's protocol.
    pub protocol: Protocol,
    /// Settings for commands.
    pub env: Env,
    /// How keys are looked at; the time is taken from `env`.
    pub options: KeyOptions,
    /// For random choices.
    pub rng: Prng,
}

/// What one command did.
pub struct Outcome {
    /// The reply as it would be sent.
    pub bytes: Vec<u8>,
    /// The reply, readable.
    pub reply: String,
    /// What goes on the log: commands separated by `; `, arguments by blanks.
    pub effect: String,
    /// Keyspace events: `name key`, in order.
    pub events: Vec<String>,
    /// What a blocked command waits for.
    pub block: Option<Block>,
    /// The whole account.
    pub changes: Changes,
}

impl Default for Kit {
    fn default() -> Kit {
        let now = UnixMs(START);
        Kit {
            space: Keyspace::new(4, 4, StripeBy::Hash),
            db: 0,
            protocol: Protocol::Resp2,
            env: Env {
                now,
                limits: Limits::default(),
                bulk_max: 512 << 20,
                may_block: true,
                from_master: false,
                recorded: true,
                lazy_user_del: false,
                lazy_expire: false,
                compress: true,
                hll_sparse_max: 3000,
                reads_every_key: true,
                sanitize: true,
            },
            options: KeyOptions {
                now,
                expire: ExpireRule::Remove,
                notify: !(EventClass::NEW.0 | EventClass::KEY_MISS.0),
                touch: true,
                policy: MemoryPolicy::Lru,
            },
            rng: Prng::new(1),
        }
    }
}

/// Bytes as readable text: line ends become blanks.
pub fn readable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).replace("\r\n", " ");
    text.strip_suffix(' ').map(str::to_owned).unwrap_or(text)
}

/// Finds a command by name; the second argument chooses a container's subcommand.
pub fn lookup(args: &OwnedArgs) -> Option<&'static Command<DataFn>> {
    let args = args.as_args();
    let command = crate::all().find(|command| args.is(0, command.spec.name))?;
    let sub = command.subcommands.iter().find(|sub| args.is(1, sub.spec.short_name()));
    Some(sub.copied().unwrap_or(command))
}

fn joined(args: &OwnedArgs) -> String {
    let words: Vec<_> = args.as_args().iter().map(String::from_utf8_lossy).collect();
    words.join(" ")
}

impl Kit {
    /// A kit with a RESP3 connection.
    pub fn resp3() -> Kit {
        Kit { protocol: Protocol::Resp3, ..Kit::default() }
    }

    /// Lets time pass.
    pub fn advance(&mut self, ms: i64) {
        self.env.now = self.env.now + ms;
    }

    /// Runs a command given as one line, split as an inline request is.
    pub fn line(&mut self, line: &str) -> Outcome {
        let parts = resp::split_args(line.as_bytes()).expect("quotes are balanced");
        self.run(&parts)
    }

    /// Runs a command given by its arguments.
    pub fn run<T: AsRef<[u8]>>(&mut self, argv: &[T]) -> Outcome {
        let args = OwnedArgs::from_parts(argv);
        let command = lookup(&args).unwrap_or_else(|| panic!("no command {args:?}"));
        let mut reply = Reply::new(self.protocol);
        if !command.spec.arity_fits(argv.len()) {
            reply.error(crate::CommandError::arity(command.spec.name).text());
            return Outcome::new(&args, reply, Effect::None, Changes::default());
        }
        let mask = self.stripes_of(&command.spec, &args);
        self.options.now = self.env.now;
        let mut keys = Keys::new(self.space.hold(mask), self.db, self.options);
        let mut ctx =
            Ctx { keys: &mut keys, reply: &mut reply, rng: &mut self.rng, env: &self.env };
        let effect = match (command.run)(&mut ctx, &args.as_args()) {
            Ok(effect) => effect,
            Err(error) => {
                reply = Reply::new(self.protocol);
                reply.error(error.text());
                Effect::None
            }
        };
        assert_eq!(keys.db, self.db, "a command comes back to its database");
        Outcome::new(&args, reply, effect, keys.finish())
    }

    /// The stripes that `node` would hold: so a command that touches a key which its spec does not
    /// name fails its test.
    fn stripes_of(&self, spec: &CommandSpec, args: &OwnedArgs) -> StripeMask {
        let args = args.as_args();
        if spec.flags.contains(Flags::ALL_STRIPES) || spec.reaches_everywhere(&args) {
            return self.space.all();
        }
        let mut mask = StripeMask::default();
        for (index, _) in crate::keys_of(spec, &args).unwrap_or_default() {
            mask.add(self.space.stripe_of(args.at(index)));
        }
        mask
    }

    /// Runs lines in turn and compares each reply with the readable text beside it.
    #[track_caller]
    pub fn check(&mut self, table: &[(&str, &str)]) {
        for (line, expected) in table {
            assert_eq!(self.line(line).reply, *expected, "reply of {line}");
        }
    }

    /// Runs lines in turn and compares what goes on the log.
    #[track_caller]
    pub fn check_effects(&mut self, table: &[(&str, &str)]) {
        for (line, expected) in table {
            assert_eq!(self.line(line).effect, *expected, "effect of {line}");
        }
    }

    /// Runs lines in turn and compares the keyspace events, separated by `, `, and the count of
    /// changes.
    #[track_caller]
    pub fn check_events(&mut self, table: &[(&str, &str, u64)]) {
        for (line, expected, dirty) in table {
            let outcome = self.line(line);
            assert_eq!(outcome.events.join(", "), *expected, "events of {line}");
            assert_eq!(outcome.changes.dirty, *dirty, "changes of {line}");
        }
    }
}

impl Outcome {
    fn new(args: &OwnedArgs, reply: Reply, effect: Effect, changes: Changes) -> Outcome {
        let mut commands: Vec<String> = Vec::new();
        for change in &changes.implied {
            commands.push(match change {
                Change::Expired { key, .. } => format!("DEL {}", String::from_utf8_lossy(key)),
                Change::ExpiredFields { key, fields, .. } => {
                    let words = [&[b"HDEL".to_vec(), key.to_vec()][..], fields].concat();
                    String::from_utf8_lossy(&words.join(&b' ')).into_owned()
                }
            });
        }
        let mut block = None;
        match effect {
            Effect::None => {}
            Effect::Verbatim if changes.dirty > 0 => commands.push(joined(args)),
            Effect::Verbatim => {}
            Effect::Replace(list) => commands.extend(list.iter().map(joined)),
            Effect::Block(wait) => {
                assert!(reply.is_empty(), "a blocked command has written no reply");
                block = Some(wait);
            }
        }
        let events = changes
            .events
            .iter()
            .map(|event| format!("{} {}", event.name, String::from_utf8_lossy(&event.key)))
            .collect();
        let bytes = reply.into_bytes();
        let reply = readable(&bytes);
        Outcome { bytes, reply, effect: commands.join("; "), events, block, changes }
    }
}
