//! Against bytes from a real redis-server (7.0.15, cut from DUMP payloads), against a naive model,
//! and against broken bytes.

use super::*;
use stdx::Prng;

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// `RPUSH` of the texts below.
const REAL_LIST: &str = "40010000230080018161028b68656c6c6f20776f726c640c000101017f01c08002dfff02dffb02cfff02f1001003d00002f1ffef03f1ff7f03f200800004f1008003f2ff7fff04f2ffff7f04f30000800005f200008004f3ffff7fff05f3ffffff7f05f4000000800000000009f30000008005f4ffffff7fffffffff09f4ffffffffffffff7f09f400000000000000800993393232333337323033363835343737353830381482303103822d3003822b31038220310383312e3504bf78787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787878787840e0407979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797942ff";

fn real_texts() -> Vec<Vec<u8>> {
    let short = [
        "",
        "a",
        "hello world",
        "0",
        "1",
        "127",
        "128",
        "-1",
        "-5",
        "4095",
        "4096",
        "-4096",
        "-4097",
        "32767",
        "32768",
        "-32768",
        "-32769",
        "8388607",
        "8388608",
        "-8388608",
        "-8388609",
        "2147483647",
        "2147483648",
        "-2147483648",
        "-2147483649",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "01",
        "-0",
        "+1",
        " 1",
        "1.5",
    ];
    let mut texts: Vec<Vec<u8>> = short.iter().map(|text| text.as_bytes().to_vec()).collect();
    texts.push(vec![b'x'; 63]);
    texts.push(vec![b'y'; 64]);
    texts
}

#[test]
fn bytes_are_those_of_redis() {
    let mut pack = Listpack::new();
    real_texts().iter().for_each(|text| pack.push_back(text));
    let real = unhex(REAL_LIST);
    assert_eq!(pack.as_bytes(), real);
    let read = Listpack::from_bytes(real).unwrap();
    assert!(read.iter().map(Elem::to_vec).eq(real_texts()));
    assert!(read.iter().rev().map(Elem::to_vec).eq(real_texts().into_iter().rev()));
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 }
        })
    })
}

#[test]
fn long_strings_and_backlens_are_those_of_redis() {
    // Field-value pairs around each border of the string and backlen encodings.
    let mut pack = Listpack::new();
    for (field, byte, len) in [
        ("k4095", b'p', 4095),
        ("k4096", b'q', 4096),
        ("k16381", b'r', 16376),
        ("k16382", b's', 16378),
        ("k16383", b't', 16379),
        ("x", b't', 16377),
    ] {
        pack.push_back(field.as_bytes());
        pack.push_back(&vec![byte; len]);
    }
    assert_eq!(pack.byte_len(), 73790);
    assert_eq!(crc32(pack.as_bytes()), 0xb329_358b);
    assert!(Listpack::from_bytes(pack.as_bytes().to_vec()).is_ok());
}

fn random_text(prng: &mut Prng) -> Vec<u8> {
    match prng.below(6) {
        0 => (prng.next_u64() as i64 >> prng.below(64)).to_string().into_bytes(),
        1 => prng.below(200).to_string().into_bytes(),
        2 => vec![b'L'; prng.between(60, 70) as usize],
        3 if prng.chance(10) => vec![b'V'; prng.between(4090, 4100) as usize],
        _ => prng.hex(prng.clone().below(12) as usize).into_bytes(),
    }
}

fn check(pack: &Listpack, model: &[Vec<u8>]) {
    assert_eq!(pack.len(), model.len());
    assert!(pack.iter().map(Elem::to_vec).eq(model.iter().cloned()));
    assert!(pack.iter().rev().map(Elem::to_vec).eq(model.iter().rev().cloned()));
    assert!(Listpack::from_bytes(pack.as_bytes().to_vec()).is_ok());
}

#[test]
fn behaves_as_a_vector_of_texts() {
    let mut prng = Prng::new(11);
    let (mut pack, mut model) = (Listpack::new(), Vec::<Vec<u8>>::new());
    for step in 0..20_000 {
        let text = random_text(&mut prng);
        let len = model.len() as u64;
        let i = prng.below(len + 1) as usize;
        match prng.below(if len > 60 { 14 } else { 9 }) {
            0 => {
                pack.push_front(&text);
                model.insert(0, text);
            }
            1 | 2 => {
                pack.push_back(&text);
                model.push(text);
            }
            3 | 4 => {
                pack.insert_at(i, &text);
                model.insert(i, text);
            }
            5 if i < model.len() => {
                pack.replace_at(i, &text);
                model[i] = text;
            }
            6 => {
                assert_eq!(pack.get(i).map(Elem::to_vec), model.get(i).cloned());
                let wanted = model.get(i).cloned().unwrap_or(text);
                assert_eq!(pack.find(&wanted, 0), model.iter().position(|own| *own == wanted));
                let pairs = model.iter().step_by(2).position(|own| *own == wanted);
                assert_eq!(pack.find(&wanted, 1), pairs.map(|i| i * 2));
            }
            7 if prng.chance(30) => {
                let at = pack.seek(i).unwrap_or(pack.end());
                let right = pack.split_off(at);
                check(&pack, &model[..i]);
                check(&right, &model[i..]);
                pack.append(&right);
            }
            _ => {
                let n = prng.below(4) as usize;
                let end = (i + n).min(model.len());
                assert_eq!(pack.delete_range(i, n), end - i);
                model.drain(i..end);
            }
        }
        if step % 16 == 0 {
            check(&pack, &model);
        }
        assert_eq!(pack.mem_usage(), crate::class_size(pack.byte_len()));
    }
    check(&pack, &model);
}

#[test]
fn more_than_65534_elements_are_counted_by_walking() {
    let mut pack = Listpack::new();
    for i in 0..70_000u32 {
        pack.push_elem(Elem::Int(i64::from(i % 10)));
    }
    assert_eq!(pack.count(), COUNT_UNKNOWN);
    assert_eq!(pack.len(), 70_000);
    assert_eq!(pack.get(69_999), Some(Elem::Int(9)));
    assert!(pack.get(70_000).is_none());
    assert_eq!(pack.delete_range(10, 69_000), 69_000);
    assert_eq!(pack.len(), 1_000);
    assert!(Listpack::from_bytes(pack.as_bytes().to_vec()).is_ok());
}

#[test]
fn broken_bytes_are_refused_without_a_panic() {
    let mut prng = Prng::new(3);
    let real = unhex(REAL_LIST);
    let mut accepted = 0;
    for _ in 0..30_000 {
        let mut bytes = real.clone();
        for _ in 0..prng.between(1, 4) {
            let at = prng.below(bytes.len() as u64) as usize;
            match prng.below(4) {
                0 => {
                    bytes.remove(at);
                }
                1 => bytes.insert(at, prng.next_u64() as u8),
                _ => bytes[at] = prng.next_u64() as u8,
            }
        }
        // Half of the time the total length is told right, so that faults inside are reached.
        if prng.chance(50) {
            let total = (bytes.len() as u32).to_le_bytes();
            bytes[..4].copy_from_slice(&total);
        }
        if let Ok(mut pack) = Listpack::from_bytes(bytes) {
            accepted += 1;
            let texts: Vec<_> = pack.iter().map(Elem::to_vec).collect();
            assert_eq!(pack.iter().rev().count(), texts.len());
            pack.push_front(b"x");
            pack.delete_range(1, 1);
        }
    }
    assert!(accepted > 100, "some changes only change a text");
    for len in 0..7 {
        assert!(Listpack::from_bytes(vec![0xff; len]).is_err());
    }
    for _ in 0..20_000 {
        let n = prng.between(1, 40) as usize;
        let mut bytes: Vec<u8> = (0..n + 7).map(|_| prng.next_u64() as u8).collect();
        bytes[..4].copy_from_slice(&(n as u32 + 7).to_le_bytes());
        bytes[4..6].copy_from_slice(&[0xff, 0xff]);
        bytes[n + 6] = END;
        let _ = Listpack::from_bytes(bytes);
    }
    let error = Listpack::from_bytes(vec![7, 0, 0, 0, 1, 0, 0xff]).unwrap_err();
    assert_eq!(error, Corrupt { offset: 4, expected: "the number of listpack entries" });
}
