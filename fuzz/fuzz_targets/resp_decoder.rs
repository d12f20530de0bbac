//! The request decoder: any bytes, whole and in pieces, give the same requests and the same error.
#![no_main]

use libfuzzer_sys::fuzz_target;
use resp::{Decoded, Decoder, Limits};

/// Decodes `bytes` as they arrive in pieces of `step`; the requests, and the error that ended it.
fn decode(bytes: &[u8], step: usize, limits: &Limits) -> (Vec<Vec<Vec<u8>>>, Option<String>) {
    let (mut decoder, mut requests) = (Decoder::new(), Vec::new());
    let (mut start, mut end) = (0, 0);
    while end < bytes.len() {
        end = (end + step).min(bytes.len());
        loop {
            match decoder.decode(&bytes[start..end], limits) {
                Ok(Decoded::Request { consumed }) => {
                    assert!(consumed > 0 && start + consumed <= end);
                    let args = decoder.args(&bytes[start..end]);
                    requests.push(args.iter().map(<[u8]>::to_vec).collect());
                    start += consumed;
                }
                Ok(Decoded::Nothing { consumed }) => {
                    assert!(consumed > 0 && start + consumed <= end);
                    start += consumed;
                }
                Ok(Decoded::Incomplete { .. }) => break,
                Err(error) => return (requests, Some(error.text().to_owned())),
            }
        }
    }
    (requests, None)
}

fuzz_target!(|input: (bool, u8, &[u8])| {
    let (authenticated, step, bytes) = input;
    let limits = Limits { authenticated, ..Limits::default() };
    let whole = decode(bytes, bytes.len().max(1), &limits);
    let pieces = decode(bytes, usize::from(step % 16) + 1, &limits);
    assert_eq!(whole, pieces);
});
