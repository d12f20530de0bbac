//! The append-only file: any part, and any manifest, ends in its last command or in an error, without a panic and
//! without much memory. A manifest that is read is written as something that reads the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use persistence::aof::{AofEvent, AofReader, Manifest, Seal};

fuzz_target!(|input: (u8, &[u8])| {
    let (kind, bytes) = input;
    if kind % 4 == 0 {
        if let Ok(manifest) = Manifest::parse(bytes)
            && !(manifest.is_empty() && manifest.history.is_empty())
        {
            let again = Manifest::parse(&manifest.to_bytes()).expect("our own manifest is read");
            assert_eq!(again.base, manifest.base);
            assert_eq!(again.incrs, manifest.incrs);
            assert_eq!(again.history, manifest.history);
        }
        return;
    }
    // A whole segment with its seal in front, so that the rest is read as a sealed file's.
    let mut file = Vec::new();
    if kind % 4 > 1 {
        let command = b"*1\r\n$4\r\nPING\r\n";
        file.extend_from_slice(command);
        Seal::of(command).push_to(&mut file);
    }
    file.extend_from_slice(bytes);
    let mut reader = AofReader::new(file.as_slice());
    loop {
        match reader.next_event() {
            Ok(AofEvent::Command(args)) => assert!(args.iter().map(<[u8]>::len).sum::<usize>() <= file.len()),
            Ok(AofEvent::Annotation(line)) => assert_eq!(line.first(), Some(&b'#')),
            Ok(AofEvent::Eof) | Err(_) => break,
        }
    }
    assert!(reader.offset() <= file.len() as u64);
    assert!(reader.unsealed() <= reader.offset());
});
