//! `DUMP` and `RESTORE` payloads and whole files, against a real server.

use persistence::crc64::crc64;
use persistence::dump::{
    FunctionRestoreError, RestoreError, dump_payload, function_dump_payload,
    function_restore_payload, restore_payload,
};
use persistence::rdb::{Access, DecodeOptions, EncodeOptions, RdbStream};
use stdx::Prng;
use structures::Limits;

use crate::model::{Model, as_ref, every_form, random, read};
use crate::old::{listpack, string, ziplist};
use crate::server::{RealServer, Reply};

/// A payload with a right footer around any bytes.
fn sealed(body: &[u8], version: u16) -> Vec<u8> {
    let mut out = body.to_vec();
    out.extend_from_slice(&version.to_le_bytes());
    let crc = crc64(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn decode() -> DecodeOptions {
    DecodeOptions::default()
}

/// Values by name: one of every form and some random ones.
fn values() -> Vec<(String, Model)> {
    let mut prng = Prng::new(99);
    let mut all: Vec<(String, Model)> =
        every_form().into_iter().map(|(name, model)| (name.to_string(), model)).collect();
    for i in 0..60 {
        all.push((format!("random:{i}"), random(&mut prng, 300)));
    }
    all
}

#[test]
fn payloads_of_a_real_server_restore_here() {
    for arguments in [&["--rdbcompression", "yes"], &["--rdbcompression", "no"]] {
        let Some(mut server) = RealServer::start(None, arguments) else { return };
        for (name, model) in values() {
            server.store(name.as_bytes(), &model);
            let payload = server.run(&[b"DUMP", name.as_bytes()]).bulk();
            let value = restore_payload(&payload, &decode()).unwrap();
            assert_eq!(Model::of(&value), model, "{name}");
        }
    }
}

#[test]
fn our_payloads_restore_in_a_real_server() {
    let Some(mut server) = RealServer::start(None, &["--sanitize-dump-payload", "yes"]) else {
        return;
    };
    let tiny = Limits {
        set_max_listpack_entries: 2,
        zset_max_listpack_entries: 2,
        hash_max_listpack_entries: 2,
        quicklist_packed_threshold: 40,
        list_max_listpack_size: 4,
        ..Limits::default()
    };
    for limits in [Limits::default(), tiny] {
        for compress in [true, false] {
            let options = EncodeOptions { compress, ..EncodeOptions::default() };
            for (name, model) in values() {
                let payload = dump_payload(as_ref(&model.build(&limits)), &options);
                let restored = restore_payload(&payload, &decode()).unwrap();
                assert_eq!(Model::of(&restored), model, "{name}");
                let key = name.as_bytes();
                let reply = server.run(&[b"RESTORE", key, b"0", &payload, b"REPLACE"]);
                assert_eq!(reply, Reply::Status("OK".into()), "{name}");
                assert_eq!(server.content(key), model, "{name}");
            }
        }
    }
}

/// A payload that the real server makes of a value is byte for byte ours, where nothing is left
/// to choice (no compression, no hash order).
#[test]
fn payloads_are_the_same_bytes() {
    let Some(mut server) = RealServer::start(None, &["--rdbcompression", "no"]) else { return };
    let options = EncodeOptions { compress: false, ..EncodeOptions::default() };
    let mut compared = 0;
    for (name, model) in every_form() {
        if ["set:texts", "set:table", "set:mixed-table", "hash:table", "hash:long-value"]
            .contains(&name)
        {
            continue;
        }
        server.store(name.as_bytes(), &model);
        let theirs = server.run(&[b"DUMP", name.as_bytes()]).bulk();
        let restored = restore_payload(&theirs, &decode()).unwrap();
        let ours = dump_payload(as_ref(&restored), &options);
        assert!(ours == theirs, "{name}:\n{}\n{}", ours.escape_ascii(), theirs.escape_ascii());
        compared += 1;
    }
    assert!(compared > 20);
}

#[test]
fn our_files_load_in_a_real_server() {
    for compress in [true, false] {
        let options = EncodeOptions { compress, ..EncodeOptions::default() };
        let mut stream = RdbStream::new(Vec::new(), options, true);
        stream.aux(b"redis-ver", b"7.4.0").unwrap();
        stream
            .function(b"#!lua name=l\nredis.register_function('f', function() return 7 end)")
            .unwrap();
        let values = values();
        stream.select_db(0).unwrap();
        stream.resize_db(values.len() as u64, 1).unwrap();
        for (name, model) in &values {
            let value = model.build(&Limits::default());
            stream.key(name.as_bytes(), as_ref(&value), None, Access::None).unwrap();
        }
        stream.select_db(3).unwrap();
        let value = Model::Str(b"v".to_vec()).build(&Limits::default());
        stream.key(b"late", as_ref(&value), Some(4_102_444_800_123), Access::Idle(7)).unwrap();
        stream.key(b"past", as_ref(&value), Some(1000), Access::Freq(9)).unwrap();
        let (bytes, _) = stream.finish().unwrap();
        let Some(mut server) = RealServer::start(Some(&bytes), &[]) else { return };
        assert_eq!(server.text("DBSIZE"), Reply::Int(values.len() as i64));
        for (name, model) in &values {
            assert_eq!(&server.content(name.as_bytes()), model, "{name}");
        }
        assert_eq!(server.text("FCALL f 0"), Reply::Int(7));
        server.text("SELECT 3");
        assert_eq!(server.text("KEYS *").bulks(), [b"late"]);
        assert_eq!(server.text("PEXPIRETIME late"), Reply::Int(4_102_444_800_123));
        // And back: what the real server saves is what we wrote.
        let content = read(&server.save()).unwrap();
        for (name, model) in &values {
            assert_eq!(&content.key(name).value, model, "{name}");
        }
    }
}

/// The class of an answer to a payload: taken, wrong footer, bad data.
fn ours(payload: &[u8], options: &DecodeOptions) -> String {
    match restore_payload(payload, options) {
        Ok(_) => "OK".into(),
        Err(error) => error.to_string(),
    }
}

/// Payloads that test the edges, with the answers of 7.0.15 under `sanitize-dump-payload yes`.
fn edges() -> Vec<(Vec<u8>, &'static str)> {
    const OK: &str = "OK";
    const BAD: &str = "ERR Bad data format";
    const WRONG: &str = "ERR DUMP payload version or checksum are wrong";
    let pack = |code: u8, pack: Vec<u8>| sealed(&[&[code][..], &string(&pack)].concat(), 10);
    let good = sealed(b"\0\x02hi", 10);
    let mut flipped = good.clone();
    flipped[2] ^= 1;
    vec![
        (good.clone(), OK),
        (sealed(b"\0\x02hi and more", 10), OK),
        (sealed(b"\0\x02hi", 0), OK),
        (sealed(b"\0\x02hi", 9), OK),
        (sealed(b"", 10), BAD),
        (sealed(b"\x08\x02hi", 10), BAD),
        (sealed(b"\x07\x81\0\0\0\0\0\0\0\0\0", 10), BAD),
        (sealed(b"\x02\0", 10), BAD),
        (sealed(b"\x02\x02\x01a\x01a", 10), BAD),
        (sealed(b"\x04\x02\x01a\x01b\x01a\x01c", 10), BAD),
        (sealed(&[&b"\x05\x01\x01a"[..], &f64::NAN.to_le_bytes()].concat(), 10), BAD),
        (pack(16, listpack(&[])), BAD),
        (pack(16, listpack(&["a", "b", "a", "c"])), BAD),
        (pack(16, listpack(&["a", "b", "c"])), BAD),
        (pack(17, listpack(&["a", "1", "a", "2"])), BAD),
        (pack(13, ziplist(&["a", "1", "a", "2"])), BAD),
        (pack(13, ziplist(&["a", "1", "b", "2"])), OK),
        (pack(11, b"\x02\0\0\0\x02\0\0\0\x05\0\x01\0".to_vec()), BAD),
        (pack(11, b"\x02\0\0\0\0\0\0\0".to_vec()), BAD),
        (pack(11, b"\x02\0\0\0\x02\0\0\0\x01\0\x05\0".to_vec()), OK),
        (sealed(b"\x12\0", 10), BAD),
        (sealed(b"\x12\x01\x03\x01a", 10), BAD),
        (sealed(b"\x12\x02\x01\x01a\x01\x01b", 10), OK),
        (
            sealed(
                &[
                    &b"\x12\x02\x02"[..],
                    &string(&listpack(&[])),
                    b"\x02",
                    &string(&listpack(&["a"])),
                ]
                .concat(),
                10,
            ),
            OK,
        ),
        (good[..good.len() - 1].to_vec(), WRONG),
        (good[..9].to_vec(), WRONG),
        (Vec::new(), WRONG),
        (flipped, WRONG),
        (sealed(b"\0\x02hi", 13), WRONG),
        (sealed(b"\0\x02hi", 80), WRONG),
    ]
}

#[test]
fn errors_are_those_of_the_real_server() {
    for (payload, expected) in edges() {
        assert_eq!(ours(&payload, &decode()), expected, "{}", payload.escape_ascii());
    }
    // Up to what we read, later versions are taken; 7.0 itself stops at 10.
    assert_eq!(ours(&sealed(b"\0\x02hi", 12), &decode()), "OK");
    let Some(mut server) = RealServer::start(None, &["--sanitize-dump-payload", "yes"]) else {
        return;
    };
    for (payload, expected) in edges() {
        let reply = server.run(&[b"RESTORE", b"k", b"0", &payload, b"REPLACE"]);
        let text = match reply {
            Reply::Status(text) | Reply::Error(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text, expected, "{}", payload.escape_ascii());
    }
}

#[test]
fn libraries() {
    let code = "#!lua name=l\nredis.register_function('f', function() return 7 end)";
    let options = EncodeOptions::default();
    let payload = function_dump_payload([code.as_bytes(), b"other"], &options);
    assert_eq!(function_restore_payload(&payload).unwrap(), [code.as_bytes(), b"other"]);
    assert!(function_restore_payload(&sealed(b"", 10)).unwrap().is_empty());
    let error = |body: &[u8]| function_restore_payload(&sealed(body, 10)).unwrap_err().to_string();
    let cases: [&[u8]; 2] = [b"\0\x02hi", b"\xf5\x50ab"];
    let ours = cases.map(error);
    assert_eq!(ours, ["ERR given type is not a function", "ERR Failed loading library payload"]);
    assert!(matches!(
        function_restore_payload(&sealed(b"\xf6\x02ab", 10)),
        Err(FunctionRestoreError::PreGa)
    ));
    assert!(matches!(
        function_restore_payload(&payload[1..]),
        Err(FunctionRestoreError::VersionOrChecksum)
    ));
    let Some(mut server) = RealServer::start(None, &[]) else { return };
    for (body, text) in cases.iter().zip(ours) {
        let reply = server.run(&[b"FUNCTION", b"RESTORE", &sealed(body, 10)]);
        assert_eq!(reply, Reply::Error(text));
    }
    let payload = function_dump_payload([code.as_bytes()], &options);
    let reply = server.run(&[b"FUNCTION", b"RESTORE", &payload]);
    assert_eq!(reply, Reply::Status("OK".into()));
    assert_eq!(server.text("FCALL f 0"), Reply::Int(7));
    let theirs = server.text("FUNCTION DUMP").bulk();
    assert_eq!(function_restore_payload(&theirs).unwrap(), [code.as_bytes()]);
}

#[test]
fn error_details_are_kept() {
    let Err(RestoreError::BadData(Some(error))) =
        restore_payload(&sealed(b"\x02\x02\x01a\x01a", 10), &decode())
    else {
        panic!("bad data expected")
    };
    assert!(error.to_string().contains("duplicate"), "{error}");
    assert!(matches!(
        restore_payload(&sealed(b"\x02\0", 10), &decode()),
        Err(RestoreError::BadData(None))
    ));
}
