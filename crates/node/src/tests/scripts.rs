//! Scripts beside each other: on the stripes of their declared keys, taken back and started again.

use crate::testkit::{Kit, readable};
use crate::{Node, Session, Worker};
use keyspace::StripeMask;
use resp::{OwnedArgs, Reply};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use stdx::Prng;

/// One connection on one worker.
struct Caller<'a> {
    node: &'a Node,
    worker: &'a mut Worker,
    session: &'a mut Session,
}

impl Caller<'_> {
    fn run<T: AsRef<[u8]>>(&mut self, argv: &[T]) -> String {
        self.worker.now = self.node.host.now();
        let args = OwnedArgs::from_parts(argv);
        let mut reply = Reply::new(self.session.protocol);
        self.node.handle(self.worker, self.session, &args.as_args(), &mut reply);
        readable(&reply.into_bytes())
    }

    fn line(&mut self, line: &str) -> String {
        self.run(&resp::split_args(line.as_bytes()).expect("quotes are balanced"))
    }

    fn eval(&mut self, source: &str, keys: &[&str]) -> String {
        let number = keys.len().to_string();
        let mut argv = vec!["eval", source, &number];
        argv.extend(keys);
        self.run(&argv)
    }
}

fn caller(kit: &mut Kit) -> Caller<'_> {
    Caller { node: &kit.node, worker: &mut kit.worker, session: &mut kit.session }
}

/// A key of this stripe.
fn key_in(node: &Node, stripe: usize, nth: usize) -> String {
    let all = (0..).map(|n| format!("key{n}"));
    all.filter(|key| node.keyspace.stripe_of(key.as_bytes()) == stripe).nth(nth).expect("no end")
}

/// Tells that something is over.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Runs `f` while somebody holds `stripe`, until a script had to start again. Returns whether one had.
fn held_until_again(kit: &mut Kit, stripe: usize, f: impl FnOnce(&mut Caller<'_>)) -> bool {
    let mut caller = caller(kit);
    let node = caller.node;
    let again = || node.scripts.again.load(Relaxed);
    let before = again();
    let (started, done) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let held = node.keyspace.hold(StripeMask::of(stripe));
            started.store(true, Relaxed);
            while again() == before && !done.load(Relaxed) {
                std::thread::yield_now();
            }
            drop(held);
        });
        while !started.load(Relaxed) {
            std::thread::yield_now();
        }
        // Also if an assertion fails.
        let _done = Done(&done);
        f(&mut caller);
    });
    again() > before
}

#[test]
fn a_script_that_keeps_to_its_keys_waits_for_nobody_else() {
    let mut kit = Kit::default();
    let (mine, other) = (key_in(&kit.node, 0, 0), key_in(&kit.node, 1, 0));
    let mut caller = caller(&mut kit);
    let held = caller.node.keyspace.hold(StripeMask::of(1));
    let source = "redis.call('set', KEYS[1], 'a') redis.log(3, 'hi') return {redis.call('get', KEYS[1]), redis.call('ping')}";
    assert_eq!(caller.eval(source, &[&mine]), "*2 $1 a +PONG");
    assert_eq!(
        caller.eval("redis.call('select', 3) return redis.call('incr', KEYS[1])", &[&mine]),
        ":1"
    );
    assert_eq!(caller.eval("return 1 + 1", &[]), ":2");
    assert_eq!(
        caller.line("evalsha_ro 0000000000000000000000000000000000000000 0").split(' ').next(),
        Some("-NOSCRIPT")
    );
    drop(held);
    // One that goes beyond them gets what is free, and takes everything from then on.
    let beyond = format!("return redis.call('get', '{other}')");
    assert_eq!(caller.eval(&beyond, &[&mine]), "$-1");
    let sha = scripting::sha1_hex(beyond.as_bytes());
    let script = caller.node.scripts.get(sha.as_bytes()).expect("it is kept");
    assert!(script.beyond.load(Relaxed));
    let sha = scripting::sha1_hex(source.as_bytes());
    assert!(!caller.node.scripts.get(sha.as_bytes()).expect("it is kept").beyond.load(Relaxed));
    assert_eq!(kit.node.scripts.again.load(Relaxed), 0);
    assert!(kit.calls().iter().any(|call| call == "log 3 hi"));
}

/// Fills keys of every type, some with a time to live, then lets time pass.
fn prepare(kit: &mut Kit, keys: &[String]) {
    let lines = [
        "set K0 100 px 500",
        "rpush K1 a b c",
        "sadd K2 1 2 3",
        "hset K3 f 1 g x",
        "zadd K4 1 a 2 b",
        "xadd K5 1-1 a b",
        "setex K6 100 soon",
        "set K7 gone px 10",
        "del K8",
        "sadd K9 x y",
        "expire K3 50",
    ];
    for line in lines {
        let (mut text, mut at) = (line.to_string(), keys.len());
        while at > 0 {
            at -= 1;
            text = text.replace(&format!("K{at}"), &keys[at]);
        }
        assert!(!kit.line(&text).starts_with('-'), "{text}");
    }
    kit.advance(20);
}

/// Changes everything that [`prepare`] made, then asks for the first argument, an undeclared key.
const CHANGES: &str = r#"
local function change()
  redis.call('incr', KEYS[1]) redis.call('incr', KEYS[1]) redis.call('persist', KEYS[1])
  redis.call('lpop', KEYS[2]) redis.call('rpush', KEYS[2], 'd')
  redis.call('sadd', KEYS[3], 'word') redis.call('spop', KEYS[3], 4)
  redis.call('hincrby', KEYS[4], 'f', 5) redis.call('expire', KEYS[4], 77)
  redis.call('zincrby', KEYS[5], 5, 'a') redis.call('zrem', KEYS[5], 'b')
  redis.call('xadd', KEYS[6], '2-1', 'c', 'd') redis.call('del', KEYS[7])
  redis.call('get', KEYS[8]) redis.call('append', KEYS[8], 'new')
  redis.call('set', KEYS[9], 'x', 'ex', 30) redis.call('rename', KEYS[9], KEYS[1])
  redis.call('set', KEYS[10], 'over') redis.pcall('lpush', KEYS[10], 'wrong')
  redis.log(3, 'line')
end
local caught = 0
change()
for i = 1, 3 do
  local ok = pcall(function() return redis.call('incr', ARGV[1]) end)
  if not ok then caught = caught + 1 end
  redis.pcall('incr', ARGV[1])
  xpcall(function() redis.call('incr', ARGV[1]) end, function() caught = caught + 1 end)
  local co = coroutine.create(function() redis.call('incr', ARGV[1]) end)
  if not coroutine.resume(co) then caught = caught + 1 end
end
return {caught, redis.call('get', KEYS[1])}
"#;

/// What a client can see of a node.
fn looks(kit: &mut Kit) -> Vec<String> {
    let mut found = vec![kit.line("debug digest")];
    let info = kit.text("info everything");
    let wanted =
        ["rdb_changes", "keyspace_", "expired_keys", "total_error", "errorstat", "total_commands"];
    for line in info.lines() {
        let calls = line.starts_with("cmdstat_").then(|| {
            line.split(',').filter(|part| !part.contains("usec")).collect::<Vec<_>>().join(",")
        });
        if wanted.iter().any(|wanted| line.starts_with(wanted)) {
            found.push(line.to_string());
        }
        found.extend(calls);
    }
    found.extend(kit.calls().into_iter().filter(|call| call.starts_with("log 3")));
    found
}

#[test]
fn a_run_that_came_to_nothing_leaves_no_trace() {
    let run = |contended: bool| {
        let mut kit = Kit::default();
        let keys: Vec<String> = (0..10).map(|n| key_in(&kit.node, n % 2, n)).collect();
        let undeclared = key_in(&kit.node, 3, 0);
        prepare(&mut kit, &keys);
        let mut argv = vec!["eval".to_string(), CHANGES.into(), "10".into()];
        argv.extend(keys.iter().cloned());
        argv.push(undeclared);
        let mut reply = String::new();
        if contended {
            assert!(held_until_again(&mut kit, 3, |caller| reply = caller.run(&argv)));
        } else {
            reply = caller(&mut kit).run(&argv);
        }
        (reply, looks(&mut kit))
    };
    let (plain, contended) = (run(false), run(true));
    assert_eq!(plain.0, "*2 :0 $1 x");
    assert_eq!(plain.0, contended.0);
    for (plain, contended) in plain.1.iter().zip(&contended.1) {
        assert_eq!(plain, contended);
    }
    assert_eq!(plain.1.len(), contended.1.len());
}

#[test]
fn every_reason_to_start_again() {
    let mut kit = Kit::default();
    let (mine, pointer) = (key_in(&kit.node, 0, 0), key_in(&kit.node, 0, 1));
    let (other, big) = (key_in(&kit.node, 2, 0), key_in(&kit.node, 0, 2));
    kit.line(&format!("set {pointer} {other}"));
    for n in 0..600 {
        kit.line(&format!("rpush {big} element-{n}"));
    }
    let cases: &[(&str, &[&str], &str)] = &[
        // A key that the data names.
        ("return redis.call('incr', redis.call('get', KEYS[1]))", &[&pointer], ":1"),
        (
            "redis.call('set', KEYS[1], 1) return redis.call('incr', redis.call('get', KEYS[2]))",
            &[&mine, &pointer],
            ":2",
        ),
        // A value too big to be copied.
        (
            "redis.call('set', KEYS[1], 2) return redis.call('rpush', KEYS[2], 'x')",
            &[&mine, &big],
            ":601",
        ),
        // What cannot be taken back, or reaches everywhere.
        ("redis.call('set', KEYS[1], 3) return redis.call('publish', 'c', 'm')", &[&mine], ":0"),
        ("redis.call('set', KEYS[1], 4) return redis.call('dbsize')", &[&mine], ":4"),
        (
            "redis.call('set', KEYS[1], 5) return type(redis.call('lastsave'))",
            &[&mine],
            "$6 number",
        ),
        (
            "redis.call('set', KEYS[1], 6) return redis.call('copy', KEYS[1], KEYS[1], 'db', 1)",
            &[&mine],
            ":1",
        ),
        ("for i = 1, 100 do redis.log(0, 'x') end return 1", &[&mine], ":1"),
        (
            "redis.call('set', KEYS[1], 7) for i = 1, 200 do redis.call('del', KEYS[1] .. '{') end return 1",
            &[&mine],
            ":1",
        ),
    ];
    for (source, keys, expected) in cases {
        let restarted = held_until_again(&mut kit, 2, |caller| {
            assert_eq!(caller.eval(source, keys), *expected, "{source}");
        });
        // The last one may find its undeclared key in its own stripe.
        assert!(restarted || source.contains("'{'"), "{source}");
    }
    assert_eq!(kit.line(&format!("get {other}")), "$1 2");
    assert_eq!(kit.line(&format!("llen {big}")), ":601");
}

#[test]
fn who_waits_for_keys_is_served_by_a_script() {
    let mut kit = Kit::default();
    let (mine, other) = (key_in(&kit.node, 0, 0), key_in(&kit.node, 2, 0));
    let mut waiter = kit.connect();
    let mut mover = kit.connect();
    kit.line_of(&mut waiter, &format!("blpop {mine} {other} 0"));
    kit.line(&format!("eval \"return redis.call('rpush', KEYS[1], 'a', 'b')\" 1 {mine}"));
    assert_eq!(kit.messages().len(), 1);
    kit.check(&[(&format!("lrange {mine} 0 -1"), "*1 $1 b")]);
    // Undeclared, in a stripe that the script holds.
    let undeclared = key_in(&kit.node, 0, 1);
    kit.line_of(&mut mover, &format!("blmove {undeclared} {other} left left 0"));
    kit.line(&format!("eval \"return redis.call('rpush', '{undeclared}', 'c')\" 1 {mine}"));
    assert_eq!(kit.messages().len(), 1);
    kit.check(&[(&format!("lrange {other} 0 -1"), "*1 $1 c")]);
}

/// Many workers, scripts of every kind: money moves between accounts, and nobody ever sees a sum that
/// is not the whole.
#[test]
fn scripts_beside_each_other_are_atomic() {
    const ACCOUNTS: u64 = 12;
    const ROUNDS: u64 = 1500;
    /// Both accounts declared; one of them; none; by what the data says.
    const MOVES: [&str; 4] = [
        "local from, to = KEYS[1], KEYS[2]",
        "local from, to = KEYS[1], ARGV[2]",
        "local from, to = ARGV[1], ARGV[2]",
        "local from, to = KEYS[1], 'a:' .. (redis.call('hget', KEYS[1], 'next') or 0)",
    ];
    const BODY: &str = r#"
        local n = tonumber(ARGV[3])
        pcall(function()
          redis.call('hincrby', from, 'sum', -n) redis.call('hincrby', to, 'sum', n)
          redis.call('hset', from, 'next', ARGV[3])
        end)
        return 1"#;
    const SUM: &str =
        "local s = 0 for i = 0, 11 do s = s + redis.call('hget', 'a:' .. i, 'sum') end return s";
    let workers = 3;
    let mut kit = Kit::with_workers(workers, |_| {});
    for account in 0..ACCOUNTS {
        kit.line(&format!("hset a:{account} sum 100"));
    }
    let sums = AtomicU64::new(0);
    let kit = kit;
    std::thread::scope(|scope| {
        for index in 0..workers {
            let (node, sums) = (&kit.node, &sums);
            let mut session = kit.connect();
            scope.spawn(move || {
                let mut worker = Worker::new(node, index, index as u64 + 1);
                let mut caller = Caller { node, worker: &mut worker, session: &mut session };
                let mut prng = Prng::new(index as u64 + 11);
                for round in 0..ROUNDS {
                    if prng.below(8) == 0 {
                        let keys: Vec<String> = (0..ACCOUNTS).map(|n| format!("a:{n}")).collect();
                        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                        // All declared, or none.
                        let keys = if round % 2 == 0 { &keys[..] } else { &[] };
                        let source =
                            if round % 2 == 0 { SUM.to_string() } else { format!("{SUM} ") };
                        assert_eq!(caller.eval(&source, keys), format!(":{}", ACCOUNTS * 100));
                        sums.fetch_add(1, Relaxed);
                        continue;
                    }
                    // Flushing the cache makes the scripts unknown again, so that they start on few stripes.
                    if prng.below(40) == 0 {
                        caller.line("script flush");
                    }
                    let kind = prng.below(4) as usize;
                    let source = format!("{}{BODY}", MOVES[kind]);
                    let (from, to) = (prng.below(ACCOUNTS), prng.below(ACCOUNTS));
                    let (from, to) = (format!("a:{from}"), format!("a:{to}"));
                    let n = prng.below(12).to_string();
                    let number = ["2", "1", "0", "1"][kind];
                    let mut argv = vec!["eval", &source, number];
                    let declared: [&[&str]; 4] = [&[&from, &to], &[&from], &[], &[&from]];
                    argv.extend(declared[kind]);
                    argv.extend([from.as_str(), &to, &n]);
                    assert_eq!(caller.run(&argv), ":1");
                }
            });
        }
    });
    assert!(sums.load(Relaxed) > 0);
    let mut kit = kit;
    assert_eq!(caller(&mut kit).eval(SUM, &[]), format!(":{}", ACCOUNTS * 100));
    assert_eq!(kit.node.scripts.count.load(Relaxed), 0);
}

#[test]
fn a_script_that_is_to_end_writes_no_more() {
    let fate = crate::script::Fate::default();
    assert!(!fate.wrote() && !fate.killed());
    assert!(fate.kill() && fate.killed() && fate.kill());
    assert!(!fate.write() && !fate.wrote());
    let fate = crate::script::Fate::default();
    assert!(fate.write() && fate.wrote() && fate.write());
    assert!(!fate.kill() && !fate.killed());
}
