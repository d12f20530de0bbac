//! Streams, as clients see them: replies, effects, events and counts as redis-server 7.0.15 has
//! them, and 7.2 where it differs on purpose.

use crate::testkit::{Kit, START};

const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

fn filled() -> Kit {
    let mut kit = Kit::default();
    kit.check(&[
        ("XADD k 1-1 a 1", "$3 1-1"),
        ("XADD k 1-2 a 2", "$3 1-2"),
        ("XADD k 2-0 b 3 c 4", "$3 2-0"),
        ("XGROUP CREATE k g 0", "+OK"),
        ("SET s x", "+OK"),
    ]);
    kit
}

#[test]
fn entries_are_added_with_rising_ids() {
    let mut kit = Kit::default();
    kit.check(&[
        ("XADD k NOMKSTREAM 1 a b", "$-1"),
        ("XADD k 0-0 a b", "-ERR The ID specified in XADD must be greater than 0-0"),
        ("EXISTS k", ":0"),
        ("XADD k * a b", "$15 1700000000000-0"),
        ("XADD k * a b", "$15 1700000000000-1"),
        ("XADD k 1700000000000-* a b", "$15 1700000000000-2"),
        ("XADD k 1800000000000-* a b", "$15 1800000000000-0"),
        (
            "XADD k 1-* a b",
            "-ERR The ID specified in XADD is equal or smaller than the target stream top item",
        ),
        ("XADD k 5-5-5 a b", "-ERR Invalid stream ID specified as stream command argument"),
        ("XADD k * a", "-ERR wrong number of arguments for 'xadd' command"),
        ("XADD k * a b c", "-ERR wrong number of arguments for 'xadd' command"),
        ("XADD k MAXLEN 1", "-ERR wrong number of arguments for 'xadd' command"),
        ("XLEN k", ":4"),
        ("TYPE k", "+stream"),
        ("OBJECT ENCODING k", "$6 stream"),
        ("SET s 1", "+OK"),
        ("XADD s * a b", WRONG),
        ("XLEN s", WRONG),
        (
            "XADD e 18446744073709551615-18446744073709551615 a b",
            "$41 18446744073709551615-18446744073709551615",
        ),
        (
            "XADD e * a b",
            "-ERR The stream has exhausted the last possible ID, unable to add more items",
        ),
    ]);
}

#[test]
fn the_log_has_ids_and_exact_thresholds() {
    let mut kit = Kit::default();
    kit.env.limits.stream_node_max_entries = 2;
    kit.check_effects(&[
        ("XADD k 5 a b", "XADD k 5 a b"),
        ("XADD k 5-* a b", "XADD k 5-1 a b"),
        ("XADD k * a b", "XADD k 1700000000000-0 a b"),
        ("XADD k NOMKSTREAM MAXLEN ~ 2 * a b", "XADD k NOMKSTREAM MAXLEN = 2 1700000000000-1 a b"),
        ("XADD k MAXLEN 3 * a b", "XADD k MAXLEN 3 1700000000000-2 a b"),
        ("XADD k MAXLEN ~ 0 LIMIT 1 * a b", "XADD k MAXLEN = 4 LIMIT 1 1700000000000-3 a b"),
        ("XTRIM k MAXLEN ~ 1", "XTRIM k MAXLEN = 2"),
        ("XTRIM k MAXLEN ~ 1", ""),
        (
            "XADD k MINID ~ 99999999999999 * a b",
            "XADD k MINID = 18446744073709551615-18446744073709551615 1700000000000-4 a b",
        ),
        ("XTRIM k MINID 1700000000000-4", ""),
        ("XADD k MINID ~ 1 * a b", "XADD k MINID = 1700000000000-5 1700000000000-5 a b"),
        ("XTRIM k MAXLEN 0", "XTRIM k MAXLEN 0"),
        ("XADD k MINID ~ 99999999999999 99-1 a b", ""),
        ("XDEL k 1-1", ""),
        ("XSETID k 1700000000000-9", "XSETID k 1700000000000-9"),
    ]);
    // What a master has cut, a replica cuts whatever LIMIT says.
    kit.env.from_master = true;
    kit.check(&[("XADD k MAXLEN = 1 LIMIT 1 1800000000000-0 a b", "$15 1800000000000-0")]);
}

#[test]
fn options_that_make_no_sense() {
    let mut kit = filled();
    const BOTH: &str =
        "-ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
    const NO_TILDE: &str = "-ERR syntax error, LIMIT cannot be used without the special ~ option";
    kit.check(&[
        ("XADD k MAXLEN 5 LIMIT 1 7-2 a b", NO_TILDE),
        ("XADD k MAXLEN ~ 5 LIMIT -1 7-2 a b", "-ERR The LIMIT argument must be >= 0."),
        ("XADD k MAXLEN -1 7-2 a b", "-ERR The MAXLEN argument must be >= 0."),
        ("XADD k MAXLEN 5 MINID 3 7-2 a b", BOTH),
        (
            "XADD k LIMIT 5 7-2 a b",
            "-ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        ),
        ("XTRIM k FOO 1", "-ERR syntax error"),
        ("XTRIM k MAXLEN 1 MAXLEN 0", BOTH),
        ("XTRIM k MAXLEN 2 LIMIT 0", NO_TILDE),
        ("XRANGE k - + COUNT", "-ERR syntax error"),
        ("XRANGE k (- +", "-ERR Invalid stream ID specified as stream command argument"),
        (
            "XRANGE k (18446744073709551615-18446744073709551615 +",
            "-ERR invalid start ID for the interval",
        ),
        ("XREAD STREAMS k >", "-ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option."),
        ("XREAD GROUP g c STREAMS k 0", "-ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead."),
        ("XREAD BLOCK -1 STREAMS k $", "-ERR timeout is negative"),
        ("XREAD BLOCK 1.5 STREAMS k $", "-ERR timeout is not an integer or out of range"),
        ("XREADGROUP COUNT 1 STREAMS k k k > > >", "-ERR Missing GROUP option for XREADGROUP"),
        ("XREADGROUP GROUP no c STREAMS k >", "-NOGROUP No such key 'k' or consumer group 'no' in XREADGROUP with GROUP option"),
        ("XSETID k 1", "-ERR The ID specified in XSETID is smaller than the target stream top item"),
        ("XSETID no 1", "-ERR no such key"),
        ("XPENDING k g IDLE 5", "-ERR syntax error"),
        ("XPENDING k no", "-NOGROUP No such key 'k' or consumer group 'no'"),
        ("XCLAIM k g d 0 1-2 FOO", "-ERR Unrecognized XCLAIM option 'FOO'"),
        ("XCLAIM k g d 0 1-2 IDLE x", "-ERR Invalid IDLE option argument for XCLAIM"),
        ("XAUTOCLAIM k g f 0 0 COUNT 0", "-ERR COUNT must be > 0"),
        ("XGROUP CREATE k g 0", "-BUSYGROUP Consumer Group name already exists"),
        ("XGROUP FOO", "-ERR unknown subcommand 'FOO'. Try XGROUP HELP."),
        ("XGROUP SETID k g 0 MKSTREAM", "-ERR unknown subcommand or wrong number of arguments for 'SETID'. Try XGROUP HELP."),
        ("XINFO STREAM k FULL FOO 1", "-ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP."),
    ]);
}

#[test]
fn ranges_and_reads() {
    let mut kit = filled();
    kit.check(&[
        ("XRANGE k (1-1 + COUNT 1", "*1 *2 $3 1-2 *2 $1 a $1 2"),
        ("XRANGE k 1 1 COUNT 0", "*-1"),
        ("XRANGE no - + COUNT 0", "*0"),
        ("XREVRANGE k + - COUNT 1", "*1 *2 $3 2-0 *4 $1 b $1 3 $1 c $1 4"),
        ("XDEL k 1-2 9-9", ":1"),
        ("XRANGE k - 1", "*1 *2 $3 1-1 *2 $1 a $1 1"),
        ("XREAD COUNT 1 STREAMS k no 0 0", "*1 *2 $1 k *1 *2 $3 1-1 *2 $1 a $1 1"),
        ("XREAD STREAMS k $", "*-1"),
    ]);
    kit.protocol = resp::Protocol::Resp3;
    kit.check(&[
        ("XREAD STREAMS k 1-1", "%1 $1 k *1 *2 $3 2-0 *4 $1 b $1 3 $1 c $1 4"),
        ("XREAD STREAMS k $", "_"),
    ]);
}

#[test]
fn a_waiting_read_remembers_where_it_stood() {
    let mut kit = filled();
    let block = kit.line("XREAD BLOCK 50 STREAMS no k $ $").block.expect("it waits");
    assert_eq!(block.until.map(|at| at.0), Some(START + 50));
    assert!(!block.on_removal && block.null_array);
    let rerun = block.rerun.expect("IDs in place of dollars");
    let words: Vec<String> =
        rerun.as_args().iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
    assert_eq!(words.join(" "), "XREAD BLOCK 50 STREAMS no k 0-0 2-0");
    kit.check(&[("XREADGROUP GROUP g c STREAMS k >", "*1 *2 $1 k *3 *2 $3 1-1 *2 $1 a $1 1 *2 $3 1-2 *2 $1 a $1 2 *2 $3 2-0 *4 $1 b $1 3 $1 c $1 4")]);
    let block = kit.line("XREADGROUP GROUP g c BLOCK 0 STREAMS k >").block.expect("it waits");
    assert!(block.on_removal && block.until.is_none());
    kit.env.may_block = false;
    kit.check(&[("XREADGROUP GROUP g c BLOCK 0 STREAMS k >", "*-1")]);
}

#[test]
fn groups_give_each_entry_once() {
    let mut kit = filled();
    kit.check_effects(&[
        (
            "XREADGROUP GROUP g c COUNT 2 STREAMS k >",
            "XCLAIM k g c 0 1-1 TIME 1700000000000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1; \
             XCLAIM k g c 0 1-2 TIME 1700000000000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-2",
        ),
        ("XREADGROUP GROUP g c STREAMS k 0", ""),
        (
            "XREADGROUP GROUP g d NOACK STREAMS k >",
            "XGROUP CREATECONSUMER k g d; XGROUP SETID k g 2-0 ENTRIESREAD 3",
        ),
        ("XREADGROUP GROUP g e STREAMS k >", ""),
        ("XACK k g 1-1 7-7", "XACK k g 1-1 7-7"),
        ("XACK k g 1-1", ""),
    ]);
    kit.check(&[
        ("XPENDING k g", "*4 :1 $3 1-2 $3 1-2 *1 *2 $1 c $1 1"),
        ("XDEL k 1-2", ":1"),
        ("XREADGROUP GROUP g c STREAMS k 0", "*1 *2 $1 k *1 *2 $3 1-2 *-1"),
        ("XINFO GROUPS k", "*1 *12 $4 name $1 g $9 consumers :3 $7 pending :1 $17 last-delivered-id $3 2-0 $12 entries-read :3 $3 lag :0"),
    ]);
    kit.advance(70);
    kit.check(&[
        ("XPENDING k g - + 10", "*1 *4 $3 1-2 $1 c :70 :2"),
        ("XPENDING k g IDLE 71 - + 10", "*0"),
        ("XPENDING k g - + 10 d", "*0"),
        (
            "XINFO CONSUMERS k g",
            "*3 *8 $4 name $1 c $7 pending :1 $4 idle :70 $8 inactive :70 \
          *8 $4 name $1 d $7 pending :0 $4 idle :70 $8 inactive :-1 \
          *8 $4 name $1 e $7 pending :0 $4 idle :70 $8 inactive :-1",
        ),
        ("XGROUP DELCONSUMER k g c", ":1"),
        ("XPENDING k g", "*4 :0 $-1 $-1 *-1"),
        ("XGROUP DESTROY k g", ":1"),
    ]);
}

#[test]
fn claims_change_owners() {
    let mut kit = filled();
    kit.line("XREADGROUP GROUP g c STREAMS k >");
    kit.advance(100);
    kit.check(&[
        ("XCLAIM k g d 101 1-1", "*0"),
        ("XCLAIM k g d 100 1-1", "*1 *2 $3 1-1 *2 $1 a $1 1"),
        ("XCLAIM k g d 0 1-1 JUSTID IDLE 50", "*1 $3 1-1"),
        ("XPENDING k g - + 1", "*1 *4 $3 1-1 $1 d :50 :2"),
        ("XDEL k 1-2", ":1"),
    ]);
    kit.check_effects(&[
        ("XCLAIM k g d 0 9-9 FORCE", ""),
        ("XCLAIM k g d 0 9-9 LASTID 5-0", "XGROUP SETID k g 5-0 ENTRIESREAD 3"),
        (
            "XAUTOCLAIM k g f 60 0",
            "XCLAIM k g c 0 1-2 TIME 1700000000000 RETRYCOUNT 1 FORCE JUSTID LASTID 5-0; \
             XCLAIM k g f 0 2-0 TIME 1700000000100 RETRYCOUNT 2 FORCE JUSTID LASTID 5-0",
        ),
    ]);
    kit.check(&[
        ("XAUTOCLAIM k g f 0 0 COUNT 1 JUSTID", "*3 $3 2-0 *1 $3 1-1 *0"),
        ("XAUTOCLAIM k g f 0 2-0 COUNT 1", "*3 $3 0-0 *1 *2 $3 2-0 *4 $1 b $1 3 $1 c $1 4 *0"),
        ("XDEL k 2-0", ":1"),
        ("XAUTOCLAIM k g f 0 0 JUSTID", "*3 $3 0-0 *1 $3 1-1 *1 $3 2-0"),
    ]);
    // What a replica makes of a claim that its master sends.
    kit.check(&[
        ("XADD r 1-1 a b", "$3 1-1"),
        ("XGROUP CREATE r g 0", "+OK"),
        ("XCLAIM r g c 0 1-1 TIME 1700000000000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-1", "*1 $3 1-1"),
        ("XPENDING r g - + 1", "*1 *4 $3 1-1 $1 c :100 :1"),
        ("XINFO GROUPS r", "*1 *12 $4 name $1 g $9 consumers :1 $7 pending :1 $17 last-delivered-id $3 1-1 $12 entries-read $-1 $3 lag :0"),
    ]);
}

#[test]
fn events_and_counts() {
    let mut kit = Kit::default();
    kit.check_events(&[
        ("XADD k 1-1 a b", "xadd k", 1),
        ("XADD k MAXLEN 1 1-2 a b", "xadd k, xtrim k", 1),
        ("XADD k 1-3 a b", "xadd k", 1),
        ("XGROUP CREATE k g 0", "xgroup-create k", 1),
        ("XGROUP CREATE n g $ MKSTREAM", "xgroup-create n", 1),
        ("XGROUP CREATECONSUMER k g c", "xgroup-createconsumer k", 1),
        ("XGROUP CREATECONSUMER k g c", "", 0),
        ("XREADGROUP GROUP g d COUNT 1 STREAMS k >", "xgroup-createconsumer k", 2),
        ("XREADGROUP GROUP g d STREAMS k 0", "", 1),
        ("XCLAIM k g e 0 1-2", "xgroup-createconsumer k", 2),
        ("XACK k g 1-2 1-3", "", 1),
        ("XGROUP SETID k g 0", "xgroup-setid k", 1),
        ("XGROUP DELCONSUMER k g c", "xgroup-delconsumer k", 1),
        ("XGROUP DELCONSUMER k g c", "", 0),
        ("XGROUP DESTROY k g", "xgroup-destroy k", 1),
        ("XGROUP DESTROY k g", "", 0),
        ("XDEL k 1-2", "xdel k", 1),
        ("XTRIM k MAXLEN 0", "xtrim k", 1),
        ("XSETID k 9-9", "xsetid k", 1),
    ]);
    kit.check(&[("EXISTS k", ":1"), ("XLEN k", ":0")]);
}

#[test]
fn information_about_streams() {
    let mut kit = filled();
    kit.check(&[
        (
            "XINFO STREAM k",
            "*20 $6 length :3 $15 radix-tree-keys :1 $16 radix-tree-nodes :2 $17 last-generated-id $3 2-0 \
             $20 max-deleted-entry-id $3 0-0 $13 entries-added :3 $23 recorded-first-entry-id $3 1-1 $6 groups :1 \
             $11 first-entry *2 $3 1-1 *2 $1 a $1 1 $10 last-entry *2 $3 2-0 *4 $1 b $1 3 $1 c $1 4",
        ),
        ("XREADGROUP GROUP g c COUNT 1 STREAMS k >", "*1 *2 $1 k *1 *2 $3 1-1 *2 $1 a $1 1"),
        (
            "XINFO STREAM k FULL COUNT 1",
            "*18 $6 length :3 $15 radix-tree-keys :1 $16 radix-tree-nodes :2 $17 last-generated-id $3 2-0 \
             $20 max-deleted-entry-id $3 0-0 $13 entries-added :3 $23 recorded-first-entry-id $3 1-1 \
             $7 entries *1 *2 $3 1-1 *2 $1 a $1 1 $6 groups *1 *14 $4 name $1 g $17 last-delivered-id $3 1-1 \
             $12 entries-read :1 $3 lag :2 $9 pel-count :1 $7 pending *1 *4 $3 1-1 $1 c :1700000000000 :1 \
             $9 consumers *1 *10 $4 name $1 c $9 seen-time :1700000000000 $11 active-time :1700000000000 \
             $9 pel-count :1 $7 pending *1 *3 $3 1-1 :1700000000000 :1",
        ),
    ]);
}

#[test]
fn keys_of_reads_are_found_whatever_the_names() {
    let mut kit = filled();
    kit.check(&[
        ("XGROUP CREATE k STREAMS 0", "+OK"),
        (
            "XREADGROUP COUNT 1 GROUP STREAMS STREAMS STREAMS k >",
            "*1 *2 $1 k *1 *2 $3 1-1 *2 $1 a $1 1",
        ),
        ("XREAD STREAMS STREAMS 0", "*-1"),
    ]);
}

#[test]
fn payloads_carry_everything() {
    let mut kit = filled();
    kit.line("XREADGROUP GROUP g c COUNT 2 STREAMS k >");
    kit.line("XDEL k 1-1");
    let payload = kit.line("DUMP k").bytes;
    let start = payload.iter().position(|byte| *byte == b'\n').expect("a head") + 1;
    let payload = &payload[start..payload.len() - 2];
    let parts: [&[u8]; 4] = [b"RESTORE", b"copy", b"0", payload];
    assert_eq!(kit.run(&parts).reply, "+OK");
    for copy in ["COPY k twin", "XLEN k"] {
        kit.line(copy);
    }
    let full = kit.line("XINFO STREAM k FULL").reply;
    assert_eq!(kit.line("XINFO STREAM copy FULL").reply, full);
    assert_eq!(kit.line("XINFO STREAM twin FULL").reply, full);
}
