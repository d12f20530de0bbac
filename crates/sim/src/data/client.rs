//! A client with private keys: it pipelines requests, holds each reply against its model, and after a
//! lost connection looks whether what is there can have come of what it was told.

use super::model::{Model, Op};
use resp::{ReplyParser, Value};
use std::collections::VecDeque;

/// Most requests without a reply.
const AHEAD_MAX: usize = 6;

/// A request on its way.
struct Sent {
    what: What,
    /// Replies that are still to come.
    left: usize,
}

enum What {
    Op(Op),
    /// Everything is read.
    Questions,
    /// WAIT for so many replicas.
    Wait(usize),
}

/// A state that was confirmed, and when its last write was.
#[derive(Clone)]
struct Confirmed {
    at_us: u64,
    model: Model,
}

/// A line of states that a look has found undone. A node that has not followed the master since may hold it
/// yet: it comes back if that node is made the master.
struct Branch {
    /// When the look was that found it undone.
    at_us: u64,
    states: VecDeque<Confirmed>,
    /// The last state, with some of the requests whose fate was unknown.
    ends: Vec<Model>,
}

/// How much may be missing after what has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loss {
    /// Nothing that was confirmed.
    None,
    /// What was confirmed after this moment.
    After(u64),
}

/// A client.
pub struct Client {
    /// Its number.
    pub id: usize,
    /// Its connection.
    pub conn: Option<usize>,
    /// Connections that it has left and that the node may still hear.
    pub left: Vec<usize>,
    /// It asks no more of its own.
    pub quiet: bool,
    parser: ReplyParser,
    sent: VecDeque<Sent>,
    /// States that were confirmed, oldest first; never empty.
    states: VecDeque<Confirmed>,
    /// Lines of states that were undone, oldest first.
    undone: Vec<Branch>,
    /// Another node has become the master since the last look: what was undone after this moment may
    /// come back.
    back_us: Option<u64>,
    /// Requests whose fate is unknown.
    unknown: Vec<Op>,
    /// How much may be missing when it looks next.
    loss: Loss,
    /// It has to look before it goes on.
    must_look: bool,
    /// What was confirmed before this moment, all replicas have.
    pub safe_us: Option<u64>,
    numbers: u64,
    /// Replies so far.
    pub replies: u64,
    /// Confirmed writes so far.
    pub writes: u64,
    /// Looks that have found what was expected.
    pub looks: u64,
}

impl Client {
    /// A client that has done nothing yet.
    pub fn new(id: usize) -> Client {
        Client {
            id,
            conn: None,
            left: Vec::new(),
            quiet: false,
            parser: ReplyParser::new(),
            sent: VecDeque::new(),
            states: VecDeque::from([Confirmed { at_us: 0, model: Model::default() }]),
            undone: Vec::new(),
            back_us: None,
            unknown: Vec::new(),
            loss: Loss::None,
            must_look: false,
            safe_us: None,
            numbers: 0,
            replies: 0,
            writes: 0,
            looks: 0,
        }
    }

    /// A new connection stands.
    pub fn connected(&mut self, conn: usize) {
        self.conn = Some(conn);
        self.parser = ReplyParser::new();
        self.must_look = true;
    }

    /// The connection is gone.
    pub fn disconnected(&mut self) {
        self.left.extend(self.conn.take());
        for sent in self.sent.drain(..) {
            if let What::Op(op) = sent.what
                && op.writes()
            {
                self.unknown.push(op);
            }
        }
    }

    /// So much may have been lost.
    pub fn may_lose(&mut self, loss: Loss) {
        self.loss = match (self.loss, loss) {
            (Loss::After(a), Loss::After(b)) => Loss::After(a.min(b)),
            (Loss::None, other) | (other, Loss::None) => other,
        };
    }

    /// Another node is the master: so much may have been lost, and what was undone since `back_us` may
    /// come back with it.
    pub fn may_change_line(&mut self, loss: Loss, back_us: u64) {
        self.may_lose(loss);
        self.back_us = Some(self.back_us.map_or(back_us, |old| old.min(back_us)));
    }

    /// Nothing is on its way, and the last look was fine.
    pub fn is_done(&self) -> bool {
        self.sent.is_empty() && !self.must_look && self.conn.is_some()
    }

    /// It looks once more.
    pub fn look_again(&mut self) {
        self.must_look = true;
    }

    /// The next requests.
    pub fn ask(&mut self, prng: &mut stdx::Prng, replicas: usize) -> Vec<u8> {
        let mut out = Vec::new();
        if self.must_look {
            if self.sent.is_empty() {
                let commands = Model::questions(self.id);
                self.send(What::Questions, &commands, &mut out);
            }
            return out;
        }
        if self.quiet {
            return out;
        }
        for _ in 0..prng.below(AHEAD_MAX as u64) {
            if self.sent.len() >= AHEAD_MAX {
                break;
            }
            self.numbers += 1;
            let last = self.states.back().expect("there is always a state");
            let op = match Op::random(prng, self.numbers) {
                Op::Append(value) if last.model.is_long() => Op::Set(value),
                Op::Push(_) if last.model.is_long() => Op::Del(super::model::Key::List),
                op => op,
            };
            let commands = op.commands(self.id);
            self.send(What::Op(op), &commands, &mut out);
        }
        if replicas > 0 && !out.is_empty() && prng.chance(10) {
            let count = replicas.to_string().into_bytes();
            let command = vec![b"WAIT".to_vec(), count, b"300".to_vec()];
            self.send(What::Wait(replicas), &[command], &mut out);
        }
        out
    }

    fn send(&mut self, what: What, commands: &[Vec<Vec<u8>>], out: &mut Vec<u8>) {
        commands.iter().for_each(|command| resp::encode_command(out, command));
        self.sent.push_back(Sent { what, left: commands.len() });
    }

    /// Takes in what has arrived. An error is a broken promise.
    pub fn hear(&mut self, now_us: u64, bytes: &[u8]) -> Result<(), String> {
        self.parser.feed(bytes);
        loop {
            let reply = match self.parser.next() {
                Ok(Some(reply)) => reply,
                Ok(None) => return Ok(()),
                Err(error) => return Err(format!("client {}: no reply: {error}", self.id)),
            };
            self.replies += 1;
            let Some(first) = self.sent.front_mut() else {
                return Err(format!("client {}: a reply to nothing: {reply:?}", self.id));
            };
            first.left -= 1;
            // What comes before the reply of EXEC says nothing yet.
            if first.left > 0 {
                continue;
            }
            let Some(Sent { what, .. }) = self.sent.pop_front() else { continue };
            match what {
                What::Op(op) => self.confirmed(now_us, op, &reply)?,
                What::Questions => self.looked(now_us, &reply)?,
                What::Wait(replicas) => self.waited(replicas, &reply)?,
            }
        }
    }

    fn confirmed(&mut self, now_us: u64, op: Op, reply: &Value) -> Result<(), String> {
        if is_refusal(reply) {
            return Ok(());
        }
        let last = self.states.back().expect("there is always a state");
        let mut model = last.model.clone();
        let expected = settle(&mut model, &op, reply);
        if expected != *reply {
            return Err(format!(
                "client {}: the reply to {} is {} and should be {}",
                self.id,
                short(&op),
                short(reply),
                short(&expected)
            ));
        }
        if op.writes() {
            self.writes += 1;
            // Each has a moment of its own, also those that were told together.
            let at_us = now_us.max(last.at_us + 1);
            self.states.push_back(Confirmed { at_us, model });
        }
        Ok(())
    }

    fn waited(&mut self, replicas: usize, reply: &Value) -> Result<(), String> {
        let last = self.states.back().expect("there is always a state");
        match reply {
            Value::Int(count) if *count >= replicas as i64 => self.safe_us = Some(last.at_us + 1),
            Value::Int(_) => {}
            // A replica is asked, or a master that becomes one.
            reply if reply.is_error("ERR WAIT cannot be used") || is_refusal(reply) => {}
            reply if reply.is_error("UNBLOCKED") => {}
            reply => return Err(format!("client {}: WAIT: {}", self.id, short(reply))),
        }
        Ok(())
    }

    fn looked(&mut self, now_us: u64, reply: &Value) -> Result<(), String> {
        if is_refusal(reply) {
            // Later.
            return Ok(());
        }
        let Some(there) = Model::from_answer(reply) else {
            return Err(format!("client {}: a strange answer: {}", self.id, short(reply)));
        };
        if !self.may_be(&there) {
            let last = self.states.back().expect("there is always a state");
            let index = self.states.iter().rposition(|state| state.model == there);
            let old = index.map_or("no state that ever was".into(), |index| {
                let next = self.states.get(index + 1).map_or(0, |state| state.at_us);
                let lost = self.states.len() - 1 - index;
                format!("{lost} confirmed writes are lost, the first of {:.6} s", next as f64 / 1e6)
            });
            let alike = |state: &&Confirmed| state.model.likeness(&there);
            let nearest = self.states.iter().max_by_key(alike).unwrap_or(last);
            return Err(format!(
                "client {}: {old} (allowed {:?}, {} of unknown fate)\n  there:   {}\n  known:   {}\n  \
                 nearest: {} of {:.6} s",
                self.id,
                self.loss,
                self.unknown.len(),
                short(&there),
                short(&last.model),
                short(&nearest.model),
                nearest.at_us as f64 / 1e6,
            ));
        }
        self.looks += 1;
        self.go_on_from(now_us, &there);
        let at_us = self.states.back().map_or(now_us, |last| now_us.max(last.at_us + 1));
        self.states.push_back(Confirmed { at_us, model: there });
        self.unknown.clear();
        self.loss = Loss::None;
        self.back_us = None;
        self.safe_us = None;
        self.must_look = false;
        Ok(())
    }

    /// The line of states that ends with what is there; what is on other lines was undone. Older ones of
    /// the line may come back yet, those that were undone only with another master.
    fn go_on_from(&mut self, now_us: u64, there: &Model) {
        let mut ends = self.possible();
        let old = self.states.iter().rposition(|state| state.model == *there);
        let was_possible = ends.contains(there);
        ends.retain(|end| end != there);
        let back = if was_possible || old.is_some() { None } else { self.branch_with(there) };
        let length =
            if was_possible { self.states.len() } else { old.map_or(0, |index| index + 1) };
        if length < self.states.len() || !ends.is_empty() {
            self.undone.push(Branch { at_us: now_us, states: self.states.clone(), ends });
        }
        match back {
            Some(states) => self.states = states,
            None => self.states.truncate(length.max(1)),
        }
    }

    /// The line up to this state, of those that were undone and may come back.
    fn branch_with(&self, there: &Model) -> Option<VecDeque<Confirmed>> {
        let back_us = self.back_us?;
        let Loss::After(at) = self.loss else { return None };
        let from = back_us.max(at);
        self.undone.iter().rev().filter(|branch| branch.at_us >= from).find_map(|branch| {
            let mut states = branch.states.clone();
            if !branch.ends.contains(there) {
                let index = states.iter().rposition(|state| state.model == *there)?;
                states.truncate(index + 1);
            }
            Some(states)
        })
    }

    /// What is there if nothing confirmed was lost: each of the requests whose fate is unknown may have
    /// been run, in order.
    fn possible(&self) -> Vec<Model> {
        let last = self.states.back().expect("there is always a state");
        let mut possible = vec![last.model.clone()];
        for op in &self.unknown {
            for index in 0..possible.len() {
                let mut with = possible[index].clone();
                with.apply(op);
                if !possible.contains(&with) {
                    possible.push(with);
                }
            }
        }
        possible
    }

    /// Whether these can be the private keys now.
    fn may_be(&self, there: &Model) -> bool {
        if self.possible().contains(there) {
            return true;
        }
        let Loss::After(at) = self.loss else { return false };
        // A state that was followed by a confirmed write before that moment is too old.
        let next = self.states.iter().skip(1);
        let mut pairs = self.states.iter().zip(next);
        pairs.any(|(old, next)| next.at_us >= at && old.model == *there)
            || self.branch_with(there).is_some()
    }

    /// Old states can't come back any more.
    pub fn forget_before(&mut self, at_us: u64) {
        while self.states.len() > 1 && self.states[1].at_us < at_us {
            self.states.pop_front();
        }
        self.undone.retain(|branch| branch.at_us >= at_us);
    }
}

/// Runs a request on the model; returns what the reply should be. Scripts within a transaction are judged
/// when they run, as in Redis: they may be refused there alone.
fn settle(model: &mut Model, op: &Op, reply: &Value) -> Value {
    match (op, reply) {
        (Op::Multi(ops), Value::Array(replies)) if ops.len() == replies.len() => {
            let one = |(op, reply): (&Op, &Value)| match op {
                Op::Eval(_) if is_refusal(reply) => reply.clone(),
                op => model.apply(op),
            };
            Value::Array(ops.iter().zip(replies).map(one).collect())
        }
        _ => model.apply(op),
    }
}

/// A reply that says that nothing was done, for a reason that may come about.
fn is_refusal(reply: &Value) -> bool {
    ["LOADING", "MISCONF", "READONLY", "MASTERDOWN", "NOREPLICAS", "EXECABORT"]
        .iter()
        .any(|code| reply.is_error(code))
}

fn short(value: &impl std::fmt::Debug) -> String {
    let text = shown(&format!("{value:?}"));
    text.chars().take(700).collect()
}

/// Lists of byte values as text.
fn shown(debug: &str) -> String {
    let mut out = String::new();
    let mut rest = debug;
    while let Some(at) = rest.find('[') {
        let (before, list) = rest.split_at(at);
        out.push_str(before);
        let end = list.find(']').unwrap_or(list.len() - 1);
        let numbers: Option<Vec<u8>> =
            list[1..end].split(", ").map(|number| number.parse().ok()).collect();
        match numbers {
            Some(bytes) => {
                let text: String = bytes.iter().take(40).map(|&byte| byte as char).collect();
                out.push_str(&format!("{text:?}"));
                rest = &list[end + 1..];
            }
            None => {
                out.push('[');
                rest = &list[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::Prng;

    fn asked(seed: u64) -> (Client, Vec<Value>) {
        let mut client = Client::new(0);
        let mut prng = Prng::new(seed);
        client.conn = Some(0);
        while client.sent.len() < 2 {
            client.ask(&mut prng, 0);
        }
        let mut model = Model::default();
        let mut replies = Vec::new();
        for sent in &client.sent {
            let What::Op(op) = &sent.what else { continue };
            replies.extend((1..sent.left).map(|_| Value::Simple(b"OK".to_vec())));
            replies.push(model.apply(op));
        }
        (client, replies)
    }

    fn encoded(value: &Value) -> Vec<u8> {
        match value {
            Value::Simple(text) => [b"+", &text[..], b"\r\n"].concat(),
            Value::Int(n) => format!(":{n}\r\n").into_bytes(),
            Value::Null => b"$-1\r\n".to_vec(),
            Value::Bulk(b) => [format!("${}\r\n", b.len()).as_bytes(), b, b"\r\n"].concat(),
            Value::Array(items) => {
                let mut out = format!("*{}\r\n", items.len()).into_bytes();
                items.iter().for_each(|item| out.extend(encoded(item)));
                out
            }
            other => panic!("not of these: {other:?}"),
        }
    }

    /// The checks can fail: replies in another order than the requests are found.
    #[test]
    fn replies_out_of_order_are_found() {
        let mut found = 0;
        for seed in 1..=50 {
            let (mut client, replies) = asked(seed);
            let fine: Vec<u8> = replies.iter().flat_map(encoded).collect();
            assert_eq!(client.hear(1, &fine), Ok(()), "seed {seed}");
            let (mut client, mut replies) = asked(seed);
            let last = replies.len() - 1;
            if replies[0] == replies[last] {
                continue;
            }
            replies.swap(0, last);
            let swapped: Vec<u8> = replies.iter().flat_map(encoded).collect();
            found += usize::from(client.hear(1, &swapped).is_err());
        }
        assert!(found > 30, "{found}");
    }

    /// The checks can fail: a confirmed write that is gone is found, unless it may be.
    #[test]
    fn lost_writes_are_found() {
        let mut client = Client::new(0);
        for n in 1..=3i64 {
            client.sent.push_back(Sent { what: What::Op(Op::Incr(1)), left: 1 });
            client.hear(n as u64 * 100, format!(":{n}\r\n").as_bytes()).unwrap();
        }
        let mut two = Model::default();
        two.apply(&Op::Incr(2));
        assert!(!client.may_be(&two));
        client.may_lose(Loss::After(301));
        assert!(!client.may_be(&two), "confirmed before the moment");
        client.may_lose(Loss::After(300));
        assert!(client.may_be(&two));
        let mut five = Model::default();
        five.apply(&Op::Incr(5));
        assert!(!client.may_be(&five), "never was");
    }

    /// What a look has found undone comes back with another master that has not followed since, and in no
    /// other case.
    #[test]
    fn what_was_undone_comes_back_only_with_another_master() {
        let state = |n: i64| {
            let mut model = Model::default();
            (n > 0).then(|| model.apply(&Op::Incr(n)));
            model
        };
        let undone_at_500 = || {
            let mut client = Client::new(0);
            for n in 1..=3i64 {
                client.sent.push_back(Sent { what: What::Op(Op::Incr(1)), left: 1 });
                client.hear(n as u64 * 100, format!(":{n}\r\n").as_bytes()).unwrap();
            }
            client.unknown.push(Op::Incr(1));
            client.may_lose(Loss::After(0));
            assert!(client.may_be(&state(0)));
            client.go_on_from(500, &state(0));
            client.states.push_back(Confirmed { at_us: 500, model: state(0) });
            client.unknown.clear();
            client.loss = Loss::None;
            client
        };
        for n in 1..=4 {
            let mut client = undone_at_500();
            assert!(!client.may_be(&state(n)), "{n}: nothing has happened");
            client.may_lose(Loss::After(0));
            assert!(!client.may_be(&state(n)), "{n}: the same master came back");
            client.may_change_line(Loss::After(0), 0);
            assert!(client.may_be(&state(n)), "{n}: the other master never heard of it");
            assert!(!client.may_be(&state(5)), "never was");
        }
        let mut client = undone_at_500();
        client.may_change_line(Loss::After(0), 501);
        assert!(!client.may_be(&state(2)), "the other master has followed since");
        let mut client = undone_at_500();
        client.may_change_line(Loss::After(501), 0);
        assert!(!client.may_be(&state(2)), "all have acknowledged what came after");
    }
}
