//! The two servers under comparison, what was sent to them, and what differed.
//!
//! Everything goes to both servers; both work at the same time. A difference is recorded with the commands that touched its
//! keys before; then both servers are emptied, so that one difference does not bring a hundred others with it.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::compare::Compare;
use super::exceptions::Exceptions;
use crate::server::Server;
use crate::wire::{Client, Value, escape, render};

/// One command with its rule.
#[derive(Clone)]
pub struct Step {
    /// The words.
    pub args: Vec<Vec<u8>>,
    /// How its replies are compared.
    pub compare: Compare,
}

impl Step {
    /// A step compared byte for byte.
    pub fn exact<A: AsRef<[u8]>>(args: &[A]) -> Step {
        Step { args: words(args), compare: Compare::Exact }
    }
}

/// Copies of the words of a command.
pub fn words<A: AsRef<[u8]>>(args: &[A]) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.as_ref().to_vec()).collect()
}

/// The commands sent since both servers were last empty, for reports and for shrinking.
#[derive(Clone)]
pub struct Sent {
    /// The number of the command within the run.
    pub number: u64,
    /// The words.
    pub args: Rc<Vec<Vec<u8>>>,
}

/// A difference.
pub struct Mismatch {
    /// The number of the command within the run.
    pub number: u64,
    /// The words of the command.
    pub args: Vec<Vec<u8>>,
    /// Both replies, as text, and where they differ.
    pub detail: String,
    /// The commands before it that named one of its keys (or all of them, when it names none).
    pub history: Vec<Sent>,
    /// In a few words what kind of difference it is.
    pub kinds: String,
    /// The rule that it broke.
    pub compare: Compare,
    /// RESP version and database at that time.
    pub setting: (u8, Vec<u8>),
}

impl Mismatch {
    /// Equal for differences that most likely have one cause: the same command, the same kinds of reply, the same errors.
    pub fn likeness(&self) -> String {
        let name = self.args.first().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
        format!("{} {}", escape(&name), self.kinds)
    }
}

/// How many commands back a report and a shrink may look.
const HISTORY: usize = 30_000;

/// Both servers, one connection to each, and the record of a run.
pub struct Session {
    /// The two servers; the first one is the yardstick.
    pub servers: [Server; 2],
    /// The main connection to each.
    pub clients: [Client; 2],
    /// RESP version of the main connections.
    pub proto: u8,
    /// The selected database, as last sent.
    pub db: Vec<u8>,
    /// Commands sent so far.
    pub sent: u64,
    /// Differences so far.
    pub mismatches: Vec<Mismatch>,
    /// Differences on purpose.
    pub exceptions: Exceptions,
    /// Commands by name: sent, and answered without an error by the first server.
    pub covered: BTreeMap<String, (u64, u64)>,
    history: Vec<Sent>,
    /// Set by the first difference after a reset: the next batch begins on empty servers.
    pub tainted: bool,
}

impl Session {
    /// Connects to both servers.
    pub fn new(servers: [Server; 2], exceptions: Exceptions) -> Result<Session> {
        let clients = [servers[0].client()?, servers[1].client()?];
        Ok(Session {
            servers,
            clients,
            proto: 2,
            db: b"0".to_vec(),
            sent: 0,
            mismatches: Vec::new(),
            exceptions,
            covered: BTreeMap::new(),
            history: Vec::new(),
            tainted: false,
        })
    }

    /// Sends all steps in one go to both servers and compares the replies one by one.
    pub fn pipeline(&mut self, steps: &[Step]) -> Result<()> {
        for client in &mut self.clients {
            steps.iter().for_each(|step| client.push(&step.args));
        }
        // Both work while we wait for the first.
        for at in 0..2 {
            self.clients[at].flush().with_context(|| self.obituary(at, steps))?;
        }
        let first = self.sent;
        for step in steps {
            self.note(step);
        }
        for (at, step) in steps.iter().enumerate() {
            let a = self.clients[0].read().with_context(|| self.obituary(0, &steps[at..]))?;
            let b = self.clients[1].read().with_context(|| self.obituary(1, &steps[at..]))?;
            self.count(&step.args, &a);
            if !self.judge(&step.compare, &step.args, &a, &b) {
                self.record(first + at as u64 + 1, step, &a, &b);
            }
        }
        Ok(())
    }

    /// Sends one command to both servers and returns both replies without comparing them.
    pub fn both<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Result<(Value, Value)> {
        let step = Step::exact(args);
        for client in &mut self.clients {
            client.push(&step.args);
            client.flush()?;
        }
        self.note(&step);
        let steps = [step];
        let a = self.clients[0].read().with_context(|| self.obituary(0, &steps))?;
        let b = self.clients[1].read().with_context(|| self.obituary(1, &steps))?;
        self.count(&steps[0].args, &a);
        Ok((a, b))
    }

    /// Sends one command to both servers and compares by `compare`; returns the first server's reply.
    pub fn check<A: AsRef<[u8]>>(&mut self, args: &[A], compare: Compare) -> Result<Value> {
        let (a, b) = self.both(args)?;
        self.expect(args, compare, &a, &b);
        Ok(a)
    }

    /// Compares two replies that were read elsewhere.
    pub fn expect<A: AsRef<[u8]>>(
        &mut self,
        args: &[A],
        compare: Compare,
        a: &Value,
        b: &Value,
    ) -> bool {
        let args = words(args);
        let fits = self.judge(&compare, &args, a, b);
        if !fits {
            self.record(self.sent, &Step { args, compare }, a, b);
        }
        fits
    }

    /// Records a difference found by other means than comparing two replies.
    pub fn complain<A: AsRef<[u8]>>(&mut self, args: &[A], detail: String) {
        let args = words(args);
        let history = self.relevant(&args);
        self.mismatches.push(Mismatch {
            number: self.sent,
            args,
            kinds: detail.chars().take(20).collect(),
            detail,
            history,
            compare: Compare::Exact,
            setting: (self.proto, self.db.clone()),
        });
        self.tainted = true;
    }

    fn judge(&mut self, compare: &Compare, args: &[Vec<u8>], a: &Value, b: &Value) -> bool {
        if compare.equal(a, b) {
            return true;
        }
        if let (Compare::Exec(rules), Value::Array(left), Value::Array(right)) = (compare, a, b)
            && left.len() == rules.len()
            && right.len() == rules.len()
        {
            return rules
                .iter()
                .zip(left.iter().zip(right))
                .all(|((rule, args), (a, b))| self.judge(rule, args, a, b));
        }
        self.exceptions.allow(args, &compare.in_order(a), &compare.in_order(b))
    }

    fn record(&mut self, number: u64, step: &Step, a: &Value, b: &Value) {
        let detail = format!(
            "{}: {}\n    {}: {}\n    {}",
            self.servers[0].name,
            render(a, 600),
            self.servers[1].name,
            render(b, 600),
            step.compare.difference(&step.compare.in_order(a), &step.compare.in_order(b)),
        );
        let mut history = self.relevant(&step.args);
        history.retain(|sent| sent.number < number);
        self.mismatches.push(Mismatch {
            number,
            args: step.args.clone(),
            kinds: format!("{} {}", kind_of(a), kind_of(b)),
            detail,
            history,
            compare: step.compare.clone(),
            setting: (self.proto, self.db.clone()),
        });
        self.tainted = true;
    }

    /// Adds a command to the history and follows what it changes in the session.
    fn note(&mut self, step: &Step) {
        self.sent += 1;
        if self.history.len() >= HISTORY {
            self.history.drain(..HISTORY / 2);
        }
        self.history.push(Sent { number: self.sent, args: Rc::new(step.args.clone()) });
    }

    fn count(&mut self, args: &[Vec<u8>], reply: &Value) {
        let Some(name) = args.first() else { return };
        let name = String::from_utf8_lossy(name).to_lowercase();
        let counts = self.covered.entry(name).or_default();
        counts.0 += 1;
        if !reply.is_error() {
            counts.1 += 1;
        }
    }

    /// The earlier commands that share an argument (a likely key) with `args`; commands without keys that change everything too.
    fn relevant(&self, args: &[Vec<u8>]) -> Vec<Sent> {
        let names: Vec<&Vec<u8>> = args.iter().skip(1).collect();
        let sweeping: [&[u8]; 8] =
            [b"select", b"swapdb", b"flushdb", b"flushall", b"config", b"multi", b"exec", b"hello"];
        self.history
            .iter()
            .filter(|sent| {
                let first = sent.args.first().map(|name| name.to_ascii_lowercase());
                first.is_some_and(|name| sweeping.contains(&name.as_slice()))
                    || sent.args.iter().skip(1).any(|arg| names.contains(&arg) && arg.len() != 1)
            })
            .cloned()
            .collect()
    }

    fn obituary(&self, at: usize, steps: &[Step]) -> String {
        let next: Vec<String> = steps.iter().take(12).map(|step| show(&step.args)).collect();
        format!(
            "{} failed after command {}; unanswered:\n  {}\nits log:\n{}",
            self.servers[at].name,
            self.sent,
            next.join("\n  "),
            self.servers[at].log_tail()
        )
    }

    /// Empties both servers and puts both connections back into the state of a new one (RESP version kept).
    pub fn reset(&mut self) -> Result<()> {
        for at in 0..2 {
            self.clients[at] = self.servers[at].client()?;
            let client = &mut self.clients[at];
            client.expect_ok(&["FLUSHALL"])?;
            for (name, value) in super::INITIAL_CONFIG {
                client.expect_ok(&["CONFIG", "SET", name, value])?;
            }
            let users = client.call(&["ACL", "USERS"])?;
            for user in users.elements().unwrap_or_default().iter().filter_map(Value::bytes) {
                if user != b"default" {
                    client.call(&[&b"ACL"[..], b"DELUSER", user])?;
                }
            }
            client.expect_ok(&["ACL", "LOG", "RESET"])?;
            client.expect_ok(&["HELLO", if self.proto == 3 { "3" } else { "2" }])?;
        }
        self.db = b"0".to_vec();
        self.history.clear();
        self.tainted = false;
        Ok(())
    }

    /// A second connection to each server, in the same RESP version.
    pub fn second_pair(&self) -> Result<[Client; 2]> {
        let mut pair = [
            Client::connect(self.servers[0].port, Duration::from_secs(20))?,
            Client::connect(self.servers[1].port, Duration::from_secs(20))?,
        ];
        for client in &mut pair {
            client.expect_ok(&["HELLO", if self.proto == 3 { "3" } else { "2" }])?;
            let selected = client.call(&[&b"SELECT"[..], &self.db])?;
            if selected.is_error() {
                bail!(
                    "SELECT {} on a second connection: {}",
                    escape(&self.db),
                    render(&selected, 100)
                );
            }
        }
        Ok(pair)
    }
}

fn kind_of(reply: &Value) -> String {
    match reply {
        Value::Error(text) => escape(&text[..text.len().min(40)]),
        other => other.kind().to_owned(),
    }
}

/// A command as a line that redis-cli would take, long words cut.
pub fn show(args: &[Vec<u8>]) -> String {
    let words: Vec<String> = args
        .iter()
        .take(24)
        .map(|arg| {
            let text = escape(&arg[..arg.len().min(80)]);
            let text =
                if arg.len() > 80 { format!("{text}…({} bytes)", arg.len()) } else { text };
            if text.is_empty() || text.contains(' ') || text.contains('\\') {
                format!("\"{text}\"")
            } else {
                text
            }
        })
        .collect();
    let more = args.len().saturating_sub(24);
    words.join(" ") + &if more > 0 { format!(" …({more} more)") } else { String::new() }
}
