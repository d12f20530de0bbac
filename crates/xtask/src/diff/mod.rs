//! `cargo xtask diff`: the same seeded random commands to two servers, replies compared.
//!
//! Most commands come from templates (`tests/diff-grammar.txt`) and go out in pipelined batches; scenes (`procedures.rs`) cover
//! what needs more than one connection or has random results. Every few thousand commands the whole data set is compared.
//! Differences on purpose are listed in `tests/exceptions.tsv`. A difference is shown with its seed, its command number and a
//! history that was made as short as replaying it allows.

mod choices;
mod compare;
mod exceptions;
mod grammar;
mod procedures;
mod scripts;
mod session;
mod shrink;
mod tokens;

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};

use self::compare::{Compare, sorted};
use self::exceptions::Exceptions;
use self::grammar::Grammar;
use self::session::{Session, Step, show};
use self::tokens::Gen;
use crate::paths;
use crate::server::{Program, Server};
use crate::wire::{Value, escape, render};

/// What the command line says.
#[derive(clap::Args)]
pub struct Options {
    /// The seed; the same seed gives the same commands.
    #[arg(long)]
    seed: Option<u64>,
    /// How many commands.
    #[arg(long, default_value_t = 500_000)]
    commands: u64,
    /// The yardstick: a command line that takes redis-server's arguments.
    #[arg(long, default_value = "redis-server")]
    a: String,
    /// The server under test; the default is the release build of redoubt, or $REDOUBT_BIN.
    #[arg(long)]
    b: Option<String>,
    /// Stop after so many differences.
    #[arg(long, default_value_t = 10)]
    mismatches: usize,
    /// Only templates and scenes whose text contains this word.
    #[arg(long)]
    only: Option<String>,
}

impl Options {
    /// A run of this seed against the product.
    pub fn seeded(seed: u64, commands: u64) -> Options {
        let a = "redis-server".into();
        Options { seed: Some(seed), commands, a, b: None, mismatches: 10, only: None }
    }
}

/// Settings that the run changes; put back whenever the servers are emptied.
const INITIAL_CONFIG: &[(&str, &str)] = &[
    ("hash-max-listpack-entries", "128"),
    ("hash-max-listpack-value", "64"),
    ("zset-max-listpack-entries", "128"),
    ("zset-max-listpack-value", "64"),
    ("set-max-intset-entries", "512"),
    ("list-max-listpack-size", "-2"),
    ("notify-keyspace-events", ""),
    // Timing decides what it holds.
    ("slowlog-log-slower-than", "-1"),
];

/// Families of commands of which every one must be exercised.
const FAMILIES: &[&str] = &[
    "string",
    "list",
    "set",
    "hash",
    "sortedset",
    "keyspace",
    "transaction",
    "pubsub",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
];
/// Commands of these families that are not here yet, or take seconds.
const NOT_YET: &[&str] = &["migrate", "restore-asking", "pfselftest"];

/// How often the whole data set is compared.
const DIGEST_EVERY: u64 = 5_000;

/// Runs the test; the number of compared commands.
pub fn run(options: &Options) -> Result<u64> {
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let seed = options.seed.unwrap_or(clock.as_millis() as u64 % 1_000_000_000);
    let programs = [
        Program::parse(&options.a)?,
        match &options.b {
            Some(line) => Program::parse(line)?,
            None => Program::redoubt()?,
        },
    ];
    println!("diff: seed {seed}, {} commands", options.commands);
    for program in &programs {
        println!("  {}: {}", program.name, program.version()?);
    }
    let exceptions = read_exceptions()?;
    // Redis looks for expired timeouts of blocked clients once a tick.
    let directives = [("enable-debug-command", "yes"), ("hz", "500")];
    let mut servers =
        [Server::start(&programs[0], &directives)?, Server::start(&programs[1], &directives)?];
    if servers[0].name == servers[1].name {
        servers[0].name.push_str(" (a)");
        servers[1].name.push_str(" (b)");
    }
    let mut run = Run {
        session: Session::new(servers, exceptions)?,
        grammar: read_grammar(options.only.as_deref())?,
        random: Gen::new(seed, clock.as_secs() as i64),
        only: options.only.clone(),
        reported: 0,
        repeats: 0,
        known: BTreeSet::new(),
    };
    let started = Instant::now();
    run.everything(options)?;
    run.finish(seed, started.elapsed(), options)
}

fn read_grammar(only: Option<&str>) -> Result<Grammar> {
    let path = paths::root().join("tests/diff-grammar.txt");
    let text = std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    let text: String = text
        .lines()
        .filter(|line| only.is_none_or(|word| line.to_lowercase().contains(&word.to_lowercase())))
        .map(|line| format!("{line}\n"))
        .collect();
    Grammar::parse(&text).with_context(|| format!("{}", path.display()))
}

fn read_exceptions() -> Result<Exceptions> {
    let path = paths::root().join("tests/exceptions.tsv");
    Exceptions::parse(
        &std::fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?,
    )
}

struct Run {
    session: Session,
    grammar: Grammar,
    random: Gen,
    only: Option<String>,
    reported: usize,
    /// Differences that look like one that was reported already.
    repeats: u64,
    known: BTreeSet<String>,
}

impl Run {
    fn everything(&mut self, options: &Options) -> Result<()> {
        self.session.reset()?;
        let mut next_digest = DIGEST_EVERY;
        while self.session.sent < options.commands {
            match self.random.rng.below(100) {
                0..75 => self.batch()?,
                75..82 => self.transaction()?,
                82..84 => self.with_keyspace_events()?,
                84..87 => self.as_restricted_user()?,
                _ => self.scene()?,
            }
            if self.session.sent >= next_digest {
                self.whole_digest()?;
                next_digest = self.session.sent + DIGEST_EVERY;
            }
            if self.session.tainted {
                self.report(options)?;
                if self.session.mismatches.len() >= options.mismatches {
                    break;
                }
                self.session.reset()?;
            }
        }
        self.whole_digest()?;
        self.report(options)
    }

    /// One random command of the grammar, sometimes distorted.
    fn step(&mut self) -> Step {
        let template = self.grammar.pick(&mut self.random);
        let (mut compare, mutable) = (template.compare.clone(), template.mutable);
        let mut args = template.expand(&mut self.random);
        if mutable && self.random.rng.chance(3) {
            distort(&mut args, &mut self.random);
            // With another cursor, what comes is the server's choice.
            if matches!(compare, Compare::Scan | Compare::ScanPairs) {
                compare = Compare::Kind;
            }
        }
        vary_case(&mut args, &mut self.random);
        if args[0].eq_ignore_ascii_case(b"select")
            && args.len() == 2
            && String::from_utf8_lossy(&args[1]).parse::<u8>().is_ok_and(|db| db < 16)
        {
            self.session.db = args[1].clone();
        }
        Step { args, compare }
    }

    fn batch(&mut self) -> Result<()> {
        let count = match self.random.rng.below(10) {
            0..2 => 1,
            2..5 => 8,
            _ => 64,
        };
        let steps: Vec<Step> = (0..count).map(|_| self.step()).collect();
        self.session.pipeline(&steps)
    }

    /// MULTI … EXEC of random commands; each reply inside EXEC has its own rule.
    fn transaction(&mut self) -> Result<()> {
        let count = self.random.rng.below(8);
        let inner: Vec<Step> = (0..count).map(|_| self.step()).collect();
        let mut steps = vec![Step::exact(&["MULTI"])];
        let mut rules = Vec::new();
        for step in inner {
            // These end the transaction or are not queued.
            let name = step.args[0].to_ascii_lowercase();
            if [&b"exec"[..], b"discard", b"multi"].contains(&name.as_slice()) {
                continue;
            }
            rules.push((step.compare, step.args.clone()));
            steps.push(Step { args: step.args, compare: Compare::Exact });
        }
        if self.random.rng.chance(6) {
            steps.push(Step::exact(&["MULTI"]));
        }
        if self.random.rng.chance(10) {
            steps.push(Step::exact(&["DISCARD"]));
        } else {
            steps.push(Step { args: vec![b"EXEC".to_vec()], compare: Compare::Exec(rules) });
        }
        self.session.pipeline(&steps)?;
        // A SELECT that was queued and then discarded was not carried out: begin anew from a known place.
        let db = self.session.db.clone();
        self.session.pipeline(&[Step::exact(&[&b"SELECT"[..], &db])])
    }

    /// A batch on a connection of a user with random rights.
    fn as_restricted_user(&mut self) -> Result<()> {
        const RIGHTS: [&[&str]; 7] = [
            &["+@all", "~s:*", "%R~l:*", "%W~h:*", "&news*"],
            &["+@read", "~*", "&*"],
            &["+@all", "-@dangerous", "-@blocking", "%R~*", "~[tz]:*"],
            &["+@all", "-set", "-@list", "~*", "(+@list %R~l:*)", "(+set %W~s:*)"],
            &["+@write", "+@transaction", "~*:1*"],
            &["+@fast", "-@write", "+select|0", "~*"],
            &["+@keyspace", "+@string", "+config|get", "~?:[1-6]"],
        ];
        let rights = RIGHTS[self.random.rng.below(RIGHTS.len() as u64) as usize];
        let mut rules = vec!["ACL", "SETUSER", "restricted", "reset", "on", ">secret"];
        rules.extend(rights);
        if self.random.rng.chance(30) {
            rules.push("+multi");
        }
        self.session.check(&rules, Compare::Exact)?;
        let mut pair = self.session.second_pair()?;
        let db = self.session.db.clone();
        let mut steps = vec![
            Step::exact(&["AUTH", "restricted", "wrong"]),
            Step::exact(&["AUTH", "restricted", "secret"]),
        ];
        // WAIT has other categories since 7.2. What shuts the mouth of a connection, or changes more than the data, has scenes of its own.
        let apart = |step: &Step| {
            let name = step.args[0].to_ascii_lowercase();
            ["client", "hello", "select", "swapdb", "subscribe", "psubscribe", "debug", "wait"]
                .iter()
                .any(|word| word.as_bytes() == name)
        };
        steps.extend((0..30).map(|_| self.step()).filter(|step| !apart(step)));
        self.session.db = db;
        for step in &steps {
            let replies = [pair[0].call(&step.args)?, pair[1].call(&step.args)?];
            self.session.sent += 1;
            if !self.session.expect(&step.args, step.compare.clone(), &replies[0], &replies[1]) {
                return Ok(());
            }
        }
        self.session.check(&["ACL", "LOG"], Compare::AclLog)?;
        self.session.check(&["ACL", "LOG", "RESET"], Compare::Exact)?;
        Ok(())
    }

    /// A batch under notify-keyspace-events: the events must be equal too.
    fn with_keyspace_events(&mut self) -> Result<()> {
        let classes = self.random.one_of(&["KEA", "KEA", "Kg$l", "Eshz", "KEg$lshzxetn"]);
        let on: [&[u8]; 4] = [b"CONFIG", b"SET", b"notify-keyspace-events", &classes];
        self.session.check(&on, Compare::Exact)?;
        let mut pair = self.session.second_pair()?;
        for client in &mut pair {
            client.push(&["PSUBSCRIBE", "__key*__:*"]);
            client.push(&["SUBSCRIBE", "the end"]);
            client.flush()?;
            client.read()?;
            client.read()?;
        }
        let steps: Vec<Step> = (0..30).map(|_| self.step()).collect();
        self.session.pipeline(&steps)?;
        self.session.both(&["PUBLISH", "the end", ""])?;
        let mut events = Vec::new();
        for client in &mut pair {
            let mut seen = Vec::new();
            loop {
                let message = client.read()?;
                let items = message.elements().context("a message that is no array")?;
                if items.get(1).and_then(Value::bytes) == Some(b"the end") {
                    break;
                }
                if !tells_of_a_consumer(items) {
                    seen.push(message);
                }
            }
            client.call(&["RESET"])?;
            events.push(seen);
        }
        self.session.check(&["CONFIG", "SET", "notify-keyspace-events", ""], Compare::Exact)?;
        if !self.session.tainted && events[0] != events[1] {
            self.event_difference(&events, &steps, &classes);
        }
        Ok(())
    }

    fn event_difference(&mut self, events: &[Vec<Value>], steps: &[Step], classes: &[u8]) {
        let text = |message: &Value| {
            let items = message.elements().unwrap_or_default();
            let words: Vec<String> =
                items.iter().skip(2).filter_map(Value::bytes).map(escape).collect();
            words.join(" ")
        };
        let at = (0..events[0].len().max(events[1].len()))
            .find(|at| events[0].get(*at) != events[1].get(*at))
            .unwrap_or_default();
        let near = |events: &[Value]| {
            let from = at.saturating_sub(2).min(events.len());
            let until = (at + 3).min(events.len());
            events[from..until].iter().map(text).collect::<Vec<_>>().join(" | ")
        };
        let sent: Vec<String> = steps.iter().map(|step| show(&step.args)).collect();
        let detail = format!(
            "keyspace events differ at event {at}\n    a: {}\n    b: {}\n  commands:\n    {}",
            near(&events[0]),
            near(&events[1]),
            sent.join("\n    ")
        );
        self.session.complain(&[b"(keyspace events)", classes], detail);
    }

    fn scene(&mut self) -> Result<()> {
        let fits = |name: &str| {
            self.only
                .as_deref()
                .is_none_or(|word| name.to_lowercase().contains(&word.to_lowercase()))
        };
        let scenes: Vec<_> = procedures::SCENES.iter().filter(|scene| fits(scene.1)).collect();
        let total: u64 = scenes.iter().map(|scene| scene.0).sum();
        if total == 0 {
            return self.batch();
        }
        let mut at = self.random.rng.below(total);
        for (weight, name, scene) in scenes {
            if at < *weight {
                return scene(&mut self.session, &mut self.random).with_context(|| {
                    format!("scene '{name}', after {} commands", self.session.sent)
                });
            }
            at -= weight;
        }
        unreachable!("the weights add up to the total")
    }

    /// DEBUG DIGEST over everything; if it differs, the keys that do.
    fn whole_digest(&mut self) -> Result<()> {
        if self.session.tainted {
            return Ok(());
        }
        let (a, b) = self.session.both(&["DEBUG", "DIGEST"])?;
        if a == b {
            return Ok(());
        }
        let here = self.session.db.clone();
        let before = self.session.mismatches.len();
        for db in 0..16 {
            self.session.both(&["SELECT", &db.to_string()])?;
            self.session.db = db.to_string().into_bytes();
            let (keys_a, keys_b) = self.session.both(&["KEYS", "*"])?;
            self.session.expect(&["KEYS", "*"], Compare::Sorted, &keys_a, &keys_b);
            let mut keys = sorted(&keys_a);
            keys.extend(sorted(&keys_b));
            let keys: BTreeSet<Vec<u8>> =
                keys.iter().filter_map(|key| key.bytes().map(<[u8]>::to_vec)).collect();
            for key in keys {
                self.one_digest(&key)?;
                self.session.check(&[b"TTL", &key[..]], Compare::Within(2))?;
            }
        }
        if self.session.mismatches.len() == before {
            self.session.expect(&["DEBUG", "DIGEST"], Compare::Exact, &a, &b);
        }
        self.session.both(&[&b"SELECT"[..], &here])?;
        self.session.db = here;
        Ok(())
    }

    /// DEBUG DIGEST-VALUE of a key; if it differs, both values.
    fn one_digest(&mut self, key: &[u8]) -> Result<()> {
        let words = [&b"DEBUG"[..], b"DIGEST-VALUE", key];
        let (a, b) = self.session.both(&words)?;
        if a != b {
            let kind = self.session.both(&[b"TYPE", key])?.0;
            let read: Vec<&[u8]> = match kind.bytes() {
                Some(b"string") => vec![b"GET", key],
                Some(b"list") => vec![b"LRANGE", key, b"0", b"-1"],
                Some(b"zset") => vec![b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
                Some(b"stream") => vec![b"XRANGE", key, b"-", b"+"],
                _ => vec![b"DUMP", key],
            };
            let (a, b) = self.session.both(&read)?;
            let detail = format!(
                "{}\n    a: {}\n    b: {}",
                render(&kind, 100),
                render(&a, 4000),
                render(&b, 4000)
            );
            self.session.complain(&words, detail);
        }
        Ok(())
    }

    /// Prints the differences since the last report, each with a history as short as it gets.
    fn report(&mut self, options: &Options) -> Result<()> {
        while self.reported < self.session.mismatches.len() {
            // Several differences of one batch mostly follow from the first.
            let mismatch = self.session.mismatches.remove(self.reported);
            self.session.mismatches.truncate(self.reported);
            if !self.known.insert(mismatch.likeness()) {
                self.repeats += 1;
                break;
            }
            let sent = self.session.sent;
            println!(
                "\nmismatch {} at command {} (RESP{}, db {})\n  {}\n    {}",
                self.reported + 1,
                mismatch.number,
                mismatch.setting.0,
                escape(&mismatch.setting.1),
                show(&mismatch.args),
                mismatch.detail
            );
            let scripted =
                mismatch.args[0].starts_with(b"(") || self.reported >= options.mismatches;
            let short = if scripted { None } else { shrink::shrink(&mut self.session, &mismatch)? };
            let (title, history) = match short.as_deref() {
                Some([]) => {
                    ("  shown again on empty servers, without any command before it", &[][..])
                }
                Some(history) => ("  shown again by these commands on empty servers:", history),
                None => {
                    let from = mismatch.history.len().saturating_sub(25);
                    (
                        "  the last commands that named its keys (not reproduced by them alone):",
                        &mismatch.history[from..],
                    )
                }
            };
            println!("{title}");
            for sent in history {
                println!("    {:>8}  {}", sent.number, show(&sent.args));
            }
            self.session.sent = sent;
            self.session.mismatches.truncate(self.reported);
            self.session.mismatches.push(mismatch);
            self.reported += 1;
        }
        Ok(())
    }

    fn finish(mut self, seed: u64, took: Duration, options: &Options) -> Result<u64> {
        let sent = self.session.sent;
        println!(
            "diff: seed {seed}: {sent} commands in {:.1} s ({:.0} commands/s), {} mismatches, {} more like them",
            took.as_secs_f64(),
            sent as f64 / took.as_secs_f64(),
            self.session.mismatches.len(),
            self.repeats
        );
        for line in self.session.exceptions.summary() {
            println!("  exception, tests/exceptions.tsv {line}");
        }
        for server in &mut self.session.servers {
            if !server.alive() {
                bail!("{} is not running any more:\n{}", server.name, server.log_tail());
            }
        }
        if options.only.is_none() && sent >= 100_000 {
            self.check_coverage()?;
        }
        if !self.session.mismatches.is_empty() {
            bail!("{} mismatches; replay with --seed {seed}", self.session.mismatches.len());
        }
        Ok(sent)
    }

    /// Every command of the families must have succeeded at least once.
    fn check_coverage(&mut self) -> Result<()> {
        let mut missing = Vec::new();
        for family in FAMILIES {
            let reply = self.session.clients[0]
                .expect_ok(&["COMMAND", "LIST", "FILTERBY", "ACLCAT", family])?;
            for name in reply.elements().context("COMMAND LIST is an array")? {
                let name = String::from_utf8_lossy(name.bytes().unwrap_or_default()).into_owned();
                let scenes = ["subscribe", "psubscribe", "ssubscribe", "sunsubscribe"];
                let scripted = scenes.contains(&name.as_str());
                let done = self.session.covered.get(&name).is_some_and(|(_, fine)| *fine > 0);
                if !done && !scripted && !name.contains('|') && !NOT_YET.contains(&name.as_str()) {
                    missing.push(name);
                }
            }
        }
        missing.sort();
        missing.dedup();
        println!("  commands exercised: {}", self.session.covered.len());
        if !missing.is_empty() {
            bail!("never carried out without an error: {}", missing.join(", "));
        }
        Ok(())
    }
}

/// Spoils a command: a word lost, added, replaced or doubled.
fn distort(args: &mut Vec<Vec<u8>>, random: &mut Gen) {
    let junk = tokens::token("junk").map(|make| make(random)).unwrap_or_default();
    let at = 1 + random.rng.below(args.len() as u64) as usize;
    match random.rng.below(4) {
        0 if at < args.len() => {
            args.remove(at);
        }
        1 => args.insert(at, junk),
        2 if at < args.len() => args[at] = junk,
        _ => {
            let last = args[args.len() - 1].clone();
            args.push(last);
        }
    }
}

/// Command names and option words in upper, lower and mixed case.
fn vary_case(args: &mut [Vec<u8>], random: &mut Gen) {
    for (at, arg) in args.iter_mut().enumerate() {
        let word = arg.len() >= 2 && arg.iter().all(u8::is_ascii_alphabetic);
        let upper = arg.iter().all(u8::is_ascii_uppercase);
        if !word || (at > 0 && !upper) || !random.rng.chance(35) {
            continue;
        }
        let mixed = random.rng.chance(30);
        for byte in arg.iter_mut() {
            if !mixed || random.rng.chance(50) {
                *byte = byte.to_ascii_lowercase();
            }
        }
    }
}

/// XREADGROUP and XAUTOCLAIM make their consumer in any case since 7.2, before only when there was something for it.
/// Source: redis 7.2 `t_stream.c` (xreadgroupCommand, xautoclaimCommand).
fn tells_of_a_consumer(message: &[Value]) -> bool {
    message.iter().filter_map(Value::bytes).any(|part| part.ends_with(b"xgroup-createconsumer"))
}
