//! Short scripted scenes for what a template cannot say: random results, several connections, blocking, cursors, the wire.
//!
//! A scene gets both servers in equal state and leaves them so. Those in which a server may choose are in `choices.rs`.

use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::choices::{
    draw, pop_random, random_fields, random_key, random_members, random_sorted_members,
    scan_inside, scan_keys,
};
use super::compare::{Compare, pairs, sorted};
use super::session::{Session, Step};
use super::tokens::Gen;
use crate::wire::{Client, Value, escape, render};

/// One scene.
pub type Scene = fn(&mut Session, &mut Gen) -> Result<()>;

/// All scenes with their weights.
pub const SCENES: &[(u64, &str, Scene)] = &[
    (20, "pop a random member", pop_random),
    (20, "random members of a set", random_members),
    (14, "random fields of a hash", random_fields),
    (14, "random members of a sorted set", random_sorted_members),
    (6, "random key", random_key),
    (6, "whole SCAN", scan_keys),
    (12, "whole HSCAN, SSCAN, ZSCAN", scan_inside),
    (20, "DUMP and RESTORE across", dump_restore),
    (4, "RESTORE errors", restore_errors),
    (10, "WATCH", watch),
    (8, "pub/sub", publish_subscribe),
    (8, "client-side caching and shard channels", tracking),
    (10, "blocked client served", blocked_served),
    (4, "client unblocked", unblock),
    (8, "short time to live", short_ttl),
    (6, "change of protocol", hello),
    (3, "RESET", reset),
    (3, "CLIENT REPLY", client_reply),
    (8, "bytes on the wire", raw_bytes),
    (2, "DEBUG RELOAD", reload),
    (2, "MONITOR", monitor),
    (3, "QUIT", quit),
    (4, "a user's rights change", changed_rights),
];

/// Each server must understand the other's DUMP, and hold the same value afterwards.
fn dump_restore(session: &mut Session, random: &mut Gen) -> Result<()> {
    let (key, copy) = (draw(random, "k"), draw(random, "k"));
    let (a, b) = session.both(&[b"DUMP", &key[..]])?;
    let (Some(dump_a), Some(dump_b)) = (a.bytes(), b.bytes()) else {
        session.expect(&[b"DUMP", &key[..]], Compare::Exact, &a, &b);
        return Ok(());
    };
    let options: &[&[u8]] = match random.rng.below(6) {
        0..3 => &[b"0", b"", b"REPLACE"],
        3 => &[b"100000", b"", b"REPLACE"],
        4 => &[b"3000000000000", b"", b"REPLACE", b"ABSTTL"],
        _ => &[b"0", b""],
    };
    let command = |payload: &[u8]| {
        let mut command = vec![b"RESTORE".to_vec(), copy.clone()];
        command.extend(options.iter().map(|option| option.to_vec()));
        command[3] = payload.to_vec();
        command
    };
    // Crosswise: the first server gets the second one's bytes.
    let to_a = session.clients[0].call(&command(dump_b))?;
    let to_b = session.clients[1].call(&command(dump_a))?;
    session.sent += 1;
    if !session.expect(&command(dump_a), Compare::Exact, &to_a, &to_b) {
        return Ok(());
    }
    session.check(&[&b"DEBUG"[..], b"DIGEST-VALUE", &copy[..]], Compare::Exact)?;
    session.check(&[&b"OBJECT"[..], b"ENCODING", &copy[..]], Compare::Exact)?;
    session.check(&[b"PTTL", &copy[..]], Compare::Within(2000))?;
    Ok(())
}

fn restore_errors(session: &mut Session, random: &mut Gen) -> Result<()> {
    let key = draw(random, "s");
    session.pipeline(&[Step::exact(&[b"SET", &key[..], b"12345 and more than an integer"])])?;
    let (a, _) = session.both(&[b"DUMP", &key[..]])?;
    let Some(good) = a.bytes().map(<[u8]>::to_vec) else { bail!("DUMP of a string failed") };
    let mut cut = good.clone();
    cut.truncate(random.rng.below(good.len() as u64) as usize);
    let mut flipped = good.clone();
    let at = random.rng.below(good.len() as u64) as usize;
    flipped[at] ^= 1 << random.rng.below(8);
    let mut newer = good.clone();
    let version_at = newer.len() - 10;
    newer[version_at] = 200;
    let commands: [&[&[u8]]; 8] = [
        &[b"RESTORE", &key, b"0", &cut, b"REPLACE"],
        &[b"RESTORE", &key, b"0", &flipped, b"REPLACE"],
        &[b"RESTORE", &key, b"0", &newer, b"REPLACE"],
        &[b"RESTORE", &key, b"0", &good],
        &[b"RESTORE", &key, b"-1", &good, b"REPLACE"],
        &[b"RESTORE", &key, b"abc", &good, b"REPLACE"],
        &[b"RESTORE", &key, b"0", &good, b"REPLACE", b"IDLETIME", b"-1"],
        &[b"RESTORE", &key, b"0", &good, b"REPLACE", b"FREQ", b"256"],
    ];
    let steps: Vec<Step> = commands.iter().map(|command| Step::exact(command)).collect();
    session.pipeline(&steps)?;
    let past: &[&[u8]] = &[b"RESTORE", &key, b"1", &good, b"REPLACE", b"ABSTTL"];
    session.pipeline(&[Step::exact(past), Step::exact(&[b"EXISTS", &key[..]])])
}

/// A second connection touches a watched key, or another one, or nothing.
fn watch(session: &mut Session, random: &mut Gen) -> Result<()> {
    let (key, other) = (draw(random, "s"), draw(random, "k"));
    session.check(&[b"WATCH", &key[..]], Compare::Exact)?;
    let mut pair = session.second_pair()?;
    let touch: Vec<&[u8]> = match random.rng.below(6) {
        0 => vec![b"SET", &key, b"changed"],
        1 => vec![b"DEL", &key],
        2 => vec![b"EXPIRE", &key, b"100000"],
        3 => vec![b"APPEND", &other, b"x"],
        4 => vec![b"GET", &key],
        _ => vec![b"TOUCH", &key],
    };
    let a = pair[0].call(&touch)?;
    let b = pair[1].call(&touch)?;
    session.sent += 1;
    session.expect(&touch, Compare::Exact, &a, &b);
    let inside = Step::exact(&[b"STRLEN", &key[..]]);
    let rules = vec![(Compare::Exact, inside.args.clone())];
    let mut steps = vec![Step::exact(&["MULTI"]), inside];
    if random.rng.chance(20) {
        steps.push(Step::exact(&[b"WATCH", &other[..]]));
    }
    if random.rng.chance(20) {
        steps.push(Step::exact(&["DISCARD"]));
    } else {
        steps.push(Step { args: vec![b"EXEC".to_vec()], compare: Compare::Exec(rules) });
    }
    session.pipeline(&steps)
}

/// The same scene on a second connection to each server; all that they send must be equal.
fn same_on_second(
    session: &mut Session,
    label: &[&[u8]],
    scene: impl Fn(&mut Client, &mut Client) -> Result<Vec<Value>>,
) -> Result<()> {
    let mut pair = session.second_pair()?;
    let [main_a, main_b] = &mut session.clients;
    let a = Value::Array(scene(main_a, &mut pair[0])?);
    let b = Value::Array(scene(main_b, &mut pair[1])?);
    session.sent += 1;
    session.expect(label, Compare::Exact, &a, &b);
    Ok(())
}

/// What a connection in tracking mode hears of its own and of another's changes.
fn tracking(session: &mut Session, random: &mut Gen) -> Result<()> {
    let modes: &[&[&str]] =
        &[&[], &["NOLOOP"], &["BCAST"], &["BCAST", "NOLOOP"], &["OPTIN"], &["OPTOUT"]];
    let mode = modes[random.rng.below(modes.len() as u64) as usize];
    let words: &[&[&str]] = &[
        &["GET", "t:1"],
        &["MGET", "t:1", "t:2", "t:3"],
        &["LLEN", "t:2"],
        &["CLIENT", "CACHING", "YES"],
        &["CLIENT", "CACHING", "NO"],
        &["CLIENT", "TRACKINGINFO"],
        &["MULTI"],
        &["EXEC"],
        &["SET", "t:1", "v"],
        &["MSET", "t:3", "v", "t:2", "v", "t:1", "v"],
        &["DEL", "t:2", "t:1"],
        &["INCR", "t:3"],
        &["RENAME", "t:1", "t:2"],
        &["SSUBSCRIBE", "t:1", "t:2"],
        &["SUNSUBSCRIBE", "t:1"],
        &["SPUBLISH", "t:1", "m"],
    ];
    let mut some = |count: u64| -> Vec<&[&str]> {
        (0..count).map(|_| words[random.rng.below(words.len() as u64) as usize]).collect()
    };
    let (mut own, mut others) = (some(12), some(6));
    if mode.contains(&"BCAST") {
        // Redis puts together what one turn of its loop has changed: of own requests in a row any number.
        own.retain(|line| !matches!(line[0], "SET" | "MSET" | "DEL" | "INCR" | "RENAME"));
    }
    // The other connection is not to change its own state.
    others.retain(|line| {
        !matches!(line[0], "CLIENT" | "MULTI" | "EXEC" | "SSUBSCRIBE" | "SUNSUBSCRIBE")
    });
    let resp3 = session.proto == 3;
    let mut label: Vec<Vec<u8>> = vec![b"(tracking)".to_vec(), mode.join(" ").into_bytes()];
    label.extend(own.iter().chain(&others).map(|line| line.join(" ").into_bytes()));
    let label: Vec<&[u8]> = label.iter().map(Vec::as_slice).collect();
    same_on_second(session, &label, |main, second| {
        let mut seen = Vec::new();
        // HELLO tells versions.
        second.call(&["HELLO", "3"])?;
        second.push(&[&["CLIENT", "TRACKING", "ON"], mode].concat());
        second.push(&["SUBSCRIBE", "t:end"]);
        own.iter().for_each(|line| second.push(line));
        second.push(&["DISCARD"]);
        second.push(&["MGET", "t:1", "t:2"]);
        second.push(&["ECHO", "t:done"]);
        second.flush()?;
        read_until(second, &mut seen, |reply| reply.bytes() == Some(b"t:done"))?;
        for line in &others {
            seen.push(main.call(line)?);
        }
        main.call(&["PUBLISH", "t:end", "t:end"])?;
        read_until(second, &mut seen, |reply| {
            reply
                .elements()
                .is_some_and(|items| items.len() == 3 && items[2].bytes() == Some(b"t:end"))
        })?;
        seen.push(main.call(&["DEL", "t:1", "t:2", "t:3"])?);
        second.push(&["RESET"]);
        second.flush()?;
        // The last DEL is heard of, too.
        read_until(second, &mut seen, |reply| *reply == Value::Simple(b"RESET".to_vec()))?;
        if resp3 {
            second.expect_ok(&["HELLO", "3"])?;
        }
        Ok(seen)
    })
}

/// Reads what a connection gets, up to and with the reply that ends it.
fn read_until(
    client: &mut Client,
    seen: &mut Vec<Value>,
    is_last: impl Fn(&Value) -> bool,
) -> Result<()> {
    loop {
        let reply = client.read()?;
        let ended = is_last(&reply);
        seen.push(reply);
        if ended {
            return Ok(());
        }
    }
}

fn publish_subscribe(session: &mut Session, random: &mut Gen) -> Result<()> {
    let (channel, other, pattern) = (draw(random, "ch"), draw(random, "ch"), draw(random, "pat"));
    let payload = draw(random, "v");
    let resp3 = session.proto == 3;
    same_on_second(session, &[b"(pub/sub)", &channel, &other, &pattern], |main, second| {
        let mut seen = Vec::new();
        second.push(&[b"SUBSCRIBE", &channel[..], &other, &channel]);
        second.push(&[b"PSUBSCRIBE", &pattern[..]]);
        second.push(&["PING"]);
        second.push(&["GET", "x"]);
        second.flush()?;
        for _ in 0..6 {
            seen.push(second.read()?);
        }
        seen.push(main.call(&[b"PUBSUB", b"NUMSUB", &channel[..], &other])?);
        seen.push(main.call(&["PUBSUB", "NUMPAT"])?);
        let reply = main.call(&["PUBSUB", "CHANNELS"])?;
        seen.push(Value::Array(sorted(&reply)));
        seen.push(main.call(&[b"PUBLISH", &channel[..], &payload])?);
        main.call(&[b"PUBLISH", &channel[..], b"end"])?;
        read_until(second, &mut seen, |message| {
            message.elements().is_some_and(|items| {
                items[0].bytes() == Some(b"message") && items[2].bytes() == Some(b"end")
            })
        })?;
        second.push(&[b"UNSUBSCRIBE", &channel[..]]);
        second.push(&["PUNSUBSCRIBE"]);
        second.push(&["RESET"]);
        second.flush()?;
        // A message may still come for the pattern: read up to the reply to RESET.
        read_until(second, &mut seen, |reply| *reply == Value::Simple(b"RESET".to_vec()))?;
        if resp3 {
            second.expect_ok(&["HELLO", "3"])?;
        }
        Ok(seen)
    })
}

/// A client blocks, another one pushes: who gets what, and what is left.
fn blocked_served(session: &mut Session, random: &mut Gen) -> Result<()> {
    let (key, target) = (b"block:source".to_vec(), b"block:target".to_vec());
    let blocking: Vec<Vec<u8>> = match random.rng.below(8) {
        0 => vec![b"BLPOP".to_vec(), b"none".to_vec(), key.clone(), b"15".to_vec()],
        1 => vec![b"BRPOP".to_vec(), key.clone(), b"15".to_vec()],
        2 => [&b"BLMOVE"[..], &key, &target, b"LEFT", b"RIGHT", b"15"].map(<[u8]>::to_vec).into(),
        3 => [&b"BRPOPLPUSH"[..], &key, &target, b"15"].map(<[u8]>::to_vec).into(),
        4 => [&b"BLMPOP"[..], b"15", b"2", b"none", &key, b"LEFT", b"COUNT", b"2"]
            .map(<[u8]>::to_vec)
            .into(),
        5 => [&b"BZPOPMIN"[..], &key, b"15"].map(<[u8]>::to_vec).into(),
        6 => [&b"BZPOPMAX"[..], &key, b"15"].map(<[u8]>::to_vec).into(),
        _ => [&b"BZMPOP"[..], b"15", b"1", &key, b"MAX", b"COUNT", b"2"].map(<[u8]>::to_vec).into(),
    };
    let sorted_set = blocking[0].starts_with(b"BZ");
    let elements = [draw(random, "e"), draw(random, "e"), draw(random, "e")];
    let inside_multi = random.rng.chance(30);
    let wrong_first = random.rng.chance(20);
    let mut label: Vec<&[u8]> = vec![b"(blocked)"];
    label.extend(blocking.iter().map(Vec::as_slice));
    same_on_second(session, &label, |main, second| {
        main.call(&[b"DEL", &key[..], &target])?;
        second.push(&blocking);
        second.flush()?;
        wait_until_blocked(main)?;
        let mut seen = Vec::new();
        if wrong_first {
            // A value of another type must not wake or break the waiting client.
            seen.push(main.call(&[b"SET", &key[..], b"a string"])?);
            seen.push(main.call(&[b"DEL", &key[..]])?);
        }
        let mut push: Vec<&[u8]> = vec![if sorted_set { b"ZADD" } else { b"RPUSH" }, &key];
        for (at, element) in elements.iter().enumerate() {
            if sorted_set {
                push.push([&b"1"[..], b"2", b"1.5"][at]);
            }
            push.push(element);
        }
        if inside_multi {
            main.call(&["MULTI"])?;
            main.call(&push)?;
            main.call(&[b"TYPE", &key[..]])?;
            seen.push(main.call(&["EXEC"])?);
        } else {
            seen.push(main.call(&push)?);
        }
        seen.push(second.read()?);
        let range: &[u8] = if sorted_set { b"ZRANGE" } else { b"LRANGE" };
        seen.push(main.call(&[range, &key[..], b"0", b"-1"])?);
        seen.push(main.call(&[b"LRANGE", &target[..], b"0", b"-1"])?);
        main.call(&[b"DEL", &key[..], &target])?;
        Ok(seen)
    })
}

fn wait_until_blocked(main: &mut Client) -> Result<()> {
    for _ in 0..2000 {
        if main.info_field("clients", "blocked_clients")? == "1" {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("blocked_clients never became 1");
}

fn unblock(session: &mut Session, random: &mut Gen) -> Result<()> {
    let how = random.one_of(&["TIMEOUT", "ERROR", "timeout"]);
    let blocking = match random.rng.below(3) {
        0 => vec!["BLPOP", "none", "0"],
        1 => vec!["BZPOPMIN", "none", "0"],
        _ => vec!["BLMOVE", "none", "none", "LEFT", "LEFT", "0"],
    };
    same_on_second(session, &[b"(unblock)", &how], |main, second| {
        let id = match second.call(&["CLIENT", "ID"])? {
            Value::Int(id) => id.to_string().into_bytes(),
            other => bail!("CLIENT ID: {}", render(&other, 100)),
        };
        let mut seen = vec![main.call(&[&b"CLIENT"[..], b"UNBLOCK", &id[..]])?];
        second.push(&blocking);
        second.flush()?;
        wait_until_blocked(main)?;
        seen.push(main.call(&[&b"CLIENT"[..], b"UNBLOCK", &id[..], &how])?);
        seen.push(second.read()?);
        seen.push(second.call(&["PING"])?);
        Ok(seen)
    })
}

fn short_ttl(session: &mut Session, random: &mut Gen) -> Result<()> {
    let key = draw(random, "k");
    let setting: Vec<&[u8]> = match random.rng.below(4) {
        0 => vec![b"PEXPIRE", &key, b"1"],
        1 => vec![b"SET", &key, b"v", b"PX", b"1"],
        2 => vec![b"GETEX", &key, b"PX", b"1"],
        _ => vec![b"PSETEX", &key, b"2", b"v"],
    };
    session.check(&setting, Compare::Exact)?;
    std::thread::sleep(Duration::from_millis(8));
    let after: [&[&[u8]]; 5] = [
        &[b"TTL", &key],
        &[b"EXISTS", &key],
        &[b"TYPE", &key],
        &[b"OBJECT", b"ENCODING", &key],
        &[b"APPEND", &key, b"anew"],
    ];
    let steps: Vec<Step> = after.iter().map(|command| Step::exact(command)).collect();
    session.pipeline(&steps)
}

fn hello(session: &mut Session, random: &mut Gen) -> Result<()> {
    for wrong in [
        &["HELLO", "4"][..],
        &["HELLO", "abc"],
        &["HELLO", "3", "FOO"],
        &["HELLO", "2", "AUTH", "a"],
    ] {
        session.check(wrong, Compare::Exact)?;
    }
    session.proto = if random.rng.chance(50) { 3 } else { 2 };
    let version = session.proto.to_string();
    let (a, b) = session.both(&["HELLO", &version])?;
    let names = |reply: &Value| pairs(reply).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    if a.kind() != b.kind() || names(&a) != names(&b) {
        session.expect(&["HELLO", &version], Compare::Exact, &a, &b);
    }
    session.check(&["HELLO", &version, "SETNAME", "a b"], Compare::Exact)?;
    Ok(())
}

fn reset(session: &mut Session, _: &mut Gen) -> Result<()> {
    session.pipeline(&[
        Step::exact(&["WATCH", "x"]),
        Step::exact(&["MULTI"]),
        Step::exact(&["SET", "never", "1"]),
        Step::exact(&["RESET"]),
        Step::exact(&["EXEC"]),
        Step::exact(&["CLIENT", "GETNAME"]),
        Step::exact(&["EXISTS", "never"]),
    ])?;
    session.proto = 2;
    session.db = b"0".to_vec();
    Ok(())
}

fn client_reply(session: &mut Session, random: &mut Gen) -> Result<()> {
    let off = random.rng.chance(50);
    let key = draw(random, "s");
    for client in &mut session.clients {
        if off {
            client.push(&["CLIENT", "REPLY", "OFF"]);
            client.push(&[b"SET", &key[..], b"silently"]);
            client.push(&["NOSUCHCOMMAND"]);
            client.push(&["CLIENT", "REPLY", "ON"]);
        } else {
            client.push(&["CLIENT", "REPLY", "SKIP"]);
            client.push(&[b"SET", &key[..], b"skipped"]);
        }
        client.push(&[b"GET", &key[..]]);
        client.flush()?;
    }
    session.sent += 5;
    for _ in 0..if off { 2 } else { 1 } {
        let a = session.clients[0].read()?;
        let b = session.clients[1].read()?;
        session.expect(&[b"(client reply)", &key[..]], Compare::Exact, &a, &b);
    }
    Ok(())
}

/// Byte sequences that no well-behaved client sends, each on a connection of its own; after these it goes on.
const WIRE: &[&[u8]] = &[
    b"PING\r\n",
    b"PING\n",
    b"   \r\n\r\nPING\r\n",
    b"set a:inline \"x\\x41\\n\\\"\" \r\nget a:inline\r\n",
    b"set a:inline 'it\\'s'\r\nget a:inline\r\n",
    b"*0\r\n*-1\r\n",
    b"*1\r\n$4\r\nPINGxx",
    b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
    b"*3\r\n$3\r\nSET\r\n$9\r\na:inline2\r\n$3\r\n\r\n\x00\r\n",
];

/// Byte sequences after which the server closes the connection.
const WIRE_CLOSED: &[&[u8]] = &[
    b"*1\r\nPING\r\n",
    b"echo \"unbalanced\r\n",
    b"echo 'unbalanced\r\n",
    b"echo \"a\"b\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$-5\r\nPING\r\n",
    b"*1\r\n$abc\r\n",
    b"*abc\r\n",
    b"*2147483648\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$9999999999999999999\r\n",
    b"POST / HTTP/1.1\r\n",
    b"Host: localhost\r\n",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"*1\r\n:4\r\n",
    b"*+1\r\n$4\r\nPING\r\n",
    b"*01\r\n$4\r\nPING\r\n",
    b"*1\r\n$4\r\nQUIT\r\n",
    b"*1\r\n$4\r\nPING\r\n*1\r\n$x\r\n",
];

fn raw_bytes(session: &mut Session, random: &mut Gen) -> Result<()> {
    let closed = random.rng.chance(60);
    let list = if closed { WIRE_CLOSED } else { WIRE };
    let bytes = list[random.rng.below(list.len() as u64) as usize];
    let cut = random.rng.below(bytes.len() as u64) as usize;
    let run = |port: u16| -> Result<Vec<Value>> {
        let mut client = Client::connect(port, Duration::from_secs(10))?;
        if closed {
            // In one piece: bytes that arrive after the server has closed would make the kernel drop its last reply.
            client.push_raw(bytes);
        } else {
            client.push_raw(&bytes[..cut]);
            client.flush()?;
            client.push_raw(&bytes[cut..]);
            client.push(&["ECHO", "the end"]);
        }
        client.flush()?;
        let mut seen = Vec::new();
        while let Some(reply) = client.read_or_eof()? {
            let ended = reply.bytes() == Some(b"the end");
            seen.push(reply);
            if ended {
                return Ok(seen);
            }
        }
        seen.push(Value::Simple(b"(closed)".to_vec()));
        Ok(seen)
    };
    let context = || format!("bytes {} cut at {cut}", escape(bytes));
    let a = Value::Array(run(session.servers[0].port).with_context(context)?);
    let b = Value::Array(run(session.servers[1].port).with_context(context)?);
    session.sent += 1;
    session.expect(&[b"(raw bytes)", bytes], Compare::Exact, &a, &b);
    Ok(())
}

/// Saves and loads: everything must be as before.
fn reload(session: &mut Session, _: &mut Gen) -> Result<()> {
    session.check(&["DEBUG", "RELOAD"], Compare::Exact)?;
    session.check(&["DEBUG", "DIGEST"], Compare::Exact)?;
    session.check(&["DBSIZE"], Compare::Exact)?;
    Ok(())
}

fn monitor(session: &mut Session, random: &mut Gen) -> Result<()> {
    let value = draw(random, "short");
    same_on_second(session, &[b"(monitor)", &value], |main, second| {
        let mut seen = vec![second.call(&["MONITOR"])?];
        main.call(&[&b"SET"[..], b"monitored", &value[..]])?;
        main.call(&["DEL", "monitored"])?;
        for _ in 0..2 {
            let line = second.read()?;
            // Time and address differ: compare what stands behind them.
            let text = line.bytes().context("MONITOR sends text")?.to_vec();
            let from = text.iter().position(|byte| *byte == b']').context("no address")?;
            seen.push(Value::Simple(text[from..].to_vec()));
        }
        Ok(seen)
    })
}

fn quit(session: &mut Session, _: &mut Gen) -> Result<()> {
    same_on_second(session, &[b"(quit)"], |_, second| {
        let mut seen = vec![second.call(&["QUIT"])?];
        if second.read_or_eof()?.is_none() {
            seen.push(Value::Simple(b"(closed)".to_vec()));
        }
        Ok(seen)
    })
}

/// What becomes of a connection when its user loses rights, or goes.
fn changed_rights(session: &mut Session, random: &mut Gen) -> Result<()> {
    let change: &[&[u8]] = match random.rng.below(6) {
        0 => &[b"ACL", b"DELUSER", b"changing"],
        1 => &[b"ACL", b"SETUSER", b"changing", b"resetchannels"],
        2 => &[b"ACL", b"SETUSER", b"changing", b"resetchannels", b"&news*", b"&x"],
        3 => &[b"ACL", b"SETUSER", b"changing", b"off", b"-get", b"resetpass"],
        4 => &[b"CLIENT", b"KILL", b"USER", b"changing"],
        _ => &[b"ACL", b"SETUSER", b"changing", b"-@all", b"&other"],
    };
    let subscribe: &[&[u8]] = match random.rng.below(3) {
        0 => &[b"SUBSCRIBE", b"news.a"],
        1 => &[b"PSUBSCRIBE", b"news*"],
        _ => &[b"PING"],
    };
    let queued = random.rng.chance(30) && subscribe == [b"PING"];
    let mut label: Vec<&[u8]> = vec![b"(changed rights)"];
    label.extend(change);
    same_on_second(session, &label, |main, second| {
        main.expect_ok(&[
            "ACL", "SETUSER", "changing", "reset", "on", "nopass", "+@all", "~*", "&news*",
        ])?;
        let mut seen = vec![second.call(&["AUTH", "changing", ""])?, second.call(subscribe)?];
        if queued {
            seen.push(second.call(&["MULTI"])?);
            seen.push(second.call(&["GET", "s:1"])?);
            seen.push(second.call(&["ACL", "WHOAMI"])?);
        }
        seen.push(main.call(change)?);
        // Connections are ended soon, but not always before the reply.
        std::thread::sleep(Duration::from_millis(20));
        second.push(&[if queued { "EXEC" } else { "PING" }]);
        let alive = second.flush().is_ok()
            && second.read_or_eof().is_ok_and(|reply| {
                let some = reply.is_some();
                // What is forbidden is told in other words since 7.2.
                seen.extend(reply.map(|reply| match reply {
                    Value::Error(text) if text.windows(6).any(|word| word == b"NOPERM") => {
                        let code = text.split(|byte| *byte == b' ').next().unwrap_or_default();
                        Value::Error(code.to_vec())
                    }
                    other => other,
                }));
                some
            });
        if !alive {
            seen.push(Value::Simple(b"(closed)".to_vec()));
        }
        main.call(&["ACL", "DELUSER", "changing"])?;
        main.call(&["ACL", "LOG", "RESET"])?;
        Ok(seen)
    })
}
