//! The reply parser of our client side: any bytes from a peer, whole and in pieces, give the same values.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resp::ReplyParser;

fn parse(bytes: &[u8], step: usize) -> (String, bool) {
    let (mut parser, mut seen) = (ReplyParser::default(), String::new());
    for piece in bytes.chunks(step) {
        parser.feed(piece);
        loop {
            match parser.next() {
                Ok(Some(value)) => seen.push_str(&format!("{value:?}\n")),
                Ok(None) => break,
                Err(_) => return (seen, true),
            }
        }
    }
    (seen, false)
}

fuzz_target!(|input: (u8, &[u8])| {
    let (step, bytes) = input;
    assert_eq!(parse(bytes, bytes.len().max(1)), parse(bytes, usize::from(step % 16) + 1));
});
