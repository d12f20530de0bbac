//! TLS: whatever a client sends ends in an error or in silence; whatever a file holds is read or
//! refused with a reason.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::io::{self, Read, Write};
use std::sync::LazyLock;
use tls::{Channel, ClientAuth, Files, ServerOptions, Settings};

const CERT: &[u8] = include_bytes!("../../crates/tls/src/testdata/server.crt");
const KEY: &[u8] = include_bytes!("../../crates/tls/src/testdata/server.key");

/// The server's own files, and the input as the file that is trusted.
struct Made<'a>(&'a [u8]);

impl Files for Made<'_> {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        Ok(match path {
            "cert" => CERT.to_vec(),
            "key" => KEY.to_vec(),
            _ => self.0.to_vec(),
        })
    }

    fn list(&self, _: &str) -> Result<Vec<String>, String> {
        Ok(vec!["input".into()])
    }
}

fn options() -> ServerOptions {
    ServerOptions {
        cert_file: "cert".into(),
        key_file: "key".into(),
        auth_clients: ClientAuth::No,
        session_caching: true,
        ..ServerOptions::default()
    }
}

static SERVER: LazyLock<Settings> =
    LazyLock::new(|| Settings::new(&options(), &Made(&[]), || 0).expect("good files"));

/// Gives the input in pieces and takes everything.
struct Wire<'a>(&'a [u8], usize);

impl Read for Wire<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.len().min(buffer.len()).min(self.1);
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

impl Write for Wire<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&first, rest)) = input.split_first() else { return };
    match first {
        0 => {
            // A whole PEM file, as a certificate, as a key and as what is trusted.
            for change in [
                |o: &mut ServerOptions| o.cert_file = "input".into(),
                |o: &mut ServerOptions| o.key_file = "input".into(),
                |o: &mut ServerOptions| o.ca_cert_file = "input".into(),
                |o: &mut ServerOptions| o.ca_cert_dir = "input".into(),
            ] {
                let mut options = options();
                change(&mut options);
                let _ = Settings::new(&options, &Made(rest), || 0);
            }
        }
        1 => {
            let text = String::from_utf8_lossy(rest).into_owned();
            let mut options = options();
            (options.ciphers, options.protocols) = (text.clone(), text);
            let _ = Settings::new(&options, &Made(&[]), || 0);
        }
        step => {
            let mut channel = Channel::accept(&SERVER.server).expect("a channel");
            let mut wire = Wire(rest, usize::from(step));
            let mut buffer = [0; 100];
            // The peer knows no key, so it cannot get anything through.
            for _ in 0..rest.len() + 2 {
                match channel.read(&mut wire, &mut buffer) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => panic!("bytes in the clear"),
                }
            }
            panic!("it does not end");
        }
    }
});
