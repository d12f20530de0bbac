//! The append-only file as the node sees it: what goes into it, what has to wait for it.

use crate::testkit::{Kit, readable};
use crate::{AofState, Message, Next, OnFile, StreamApplier};
use replication::FileBatch;

fn kit() -> Kit {
    let mut kit = Kit::new(|config| {
        config.appendonly = true;
        config.appendfsync = config::AppendFsync::Always;
    });
    kit.node.log.open_file();
    kit.node.aof.set_state(AofState::On);
    kit.node.set_file_gate();
    kit.line("ping");
    kit
}

/// What the file got since the last look, one command a line.
fn file(kit: &Kit) -> Vec<String> {
    let mut batch = FileBatch::default();
    kit.node.log.take_file(&mut batch, Vec::new());
    let bytes: Vec<u8> = batch.pieces.iter().flat_map(|piece| piece.to_vec()).collect();
    let mut reader = persistence::aof::AofReader::new(&bytes[..]);
    let mut lines = Vec::new();
    while let Ok(persistence::aof::AofEvent::Command(args)) = reader.next_event() {
        let words: Vec<String> =
            args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        lines.push(words.join(" "));
    }
    lines
}

fn synced(kit: &Kit) {
    let position = kit.node.log.file_position();
    kit.node.log.note_synced(position, 0);
    kit.node.open_file_gate(position);
}

#[test]
fn effects_go_into_the_file_and_messages_do_not() {
    let mut kit = kit();
    for line in [
        "set a 1",
        "publish ch m",
        "del none",
        "get a",
        "select 3",
        "incr n",
        "multi",
        "set x 1",
        "set y 2",
        "exec",
    ] {
        kit.line(line);
    }
    assert_eq!(
        file(&kit),
        ["SELECT 0", "set a 1", "SELECT 3", "incr n", "MULTI", "set x 1", "set y 2", "EXEC"]
    );
    assert_eq!(kit.node.log.offset(), 0, "no replica, no offset");
}

#[test]
fn replies_wait_for_what_they_show() {
    let mut kit = kit();
    kit.worker.begin_turn();
    kit.line("set a 1");
    let wrote = kit.worker.take_dependence();
    assert!(wrote.write > 0 && !kit.node.aof.is_open_to(wrote));
    kit.line("get a");
    let read = kit.worker.take_dependence();
    assert_eq!(read, OnFile { write: 0, read: wrote.write });
    assert!(!kit.node.aof.is_open_to(read));
    kit.line("ping");
    assert_eq!(kit.worker.take_dependence(), OnFile::default());
    kit.line("info");
    assert_eq!(
        kit.worker.take_dependence(),
        OnFile::default(),
        "nobody waits to be told how it is"
    );
    kit.line("dbsize");
    assert!(kit.worker.take_dependence().read >= wrote.write);
    kit.node.aof.wait(0);
    synced(&kit);
    assert!(kit.node.aof.is_open_to(wrote) && kit.node.aof.is_open_to(read));
    assert!(kit.messages().iter().any(|message| matches!(message, Message::OpenGate)));
}

#[test]
fn a_full_disk_refuses_writers_and_lets_readers_go_on() {
    let mut kit = kit();
    kit.line("set a 1");
    let wrote = kit.worker.take_dependence();
    assert!(kit.node.aof.set_error(Some("No space left on device".into())));
    let refused = "-MISCONF Errors writing to the AOF file: No space left on device";
    kit.check(&[
        ("set b 1", refused),
        ("ping", refused),
        ("del a", refused),
        ("get a", "$1 1"),
        ("eval \"return redis.pcall('set', 'b', '1')\" 0", refused),
    ]);
    assert!(!kit.node.aof.is_open_to(wrote), "the writer's own reply still waits");
    assert!(kit.node.aof.is_open_to(OnFile { write: 0, read: wrote.write }));
    assert!(kit.node.aof.set_error(None));
    kit.check(&[("set b 1", "+OK"), ("ping", "+PONG")]);
}

#[test]
fn waitaof_answers_when_it_is_on_disk() {
    let mut kit = kit();
    kit.check(&[
        ("waitaof 2 0 0", "-ERR value is out of range, value must between 0 and 1"),
        ("waitaof x 0 0", "-ERR value is not an integer or out of range"),
        ("waitaof 0 -1 0", "-ERR value is out of range, must be positive"),
        ("waitaof 0 0 x", "-ERR timeout is not an integer or out of range"),
        ("waitaof 0 0 -1", "-ERR timeout is negative"),
        ("waitaof 1 0 0", "*2 :1 :0"),
    ]);
    kit.line("set a 1");
    kit.check(&[("waitaof 0 0 0", "*2 :0 :0"), ("waitaof 1 0 0", "")]);
    assert_eq!(kit.next, Next::Blocked);
    synced(&kit);
    kit.node.open_gate();
    let answers: Vec<String> = kit
        .messages()
        .into_iter()
        .filter_map(|message| match message {
            Message::Unblock { bytes, .. } => Some(readable(&bytes)),
            _ => None,
        })
        .collect();
    assert_eq!(answers, ["*2 :1 :0"]);
    let mut off = Kit::default();
    off.check(&[(
        "waitaof 1 0 0",
        "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
    )]);
}

#[test]
fn set_repl_rules_the_file_too() {
    let mut kit = kit();
    kit.line(
        "eval \"redis.set_repl(redis.REPL_AOF) redis.call('set','f','1') redis.set_repl(redis.REPL_REPLICA) \
         redis.call('set','r','1') redis.set_repl(redis.REPL_NONE) redis.call('set','n','1')\" 0",
    );
    assert_eq!(file(&kit), ["SELECT 0", "set f 1"]);
}

#[test]
fn a_replica_keeps_its_masters_writes() {
    let mut kit = kit();
    kit.node.log.follow();
    let id = replication::ReplId::parse(&[b'a'; 40]).expect("an id");
    kit.node.log.adopt(id, 0, 0);
    kit.node.role.is_replica.store(true, std::sync::atomic::Ordering::Release);
    let mut applier = StreamApplier::new(&kit.node, "127.0.0.1:1".into(), 0, 0, 0);
    let mut stream = Vec::new();
    for line in [
        "ping",
        "SELECT 2",
        "SET a 1",
        "publish c m",
        "MULTI",
        "SET b 1",
        "SELECT 4",
        "SET c 1",
        "EXEC",
        "SET d 1",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        resp::encode_command(&mut stream, &words);
    }
    for byte in stream.chunks(7) {
        applier.feed(&kit.node, &mut kit.worker, byte).expect("a good stream");
    }
    assert_eq!(
        file(&kit),
        ["SELECT 2", "SET a 1", "MULTI", "SET b 1", "SELECT 4", "SET c 1", "EXEC", "SET d 1"]
    );
    assert_eq!(kit.node.log.offset(), stream.len() as u64);
}
