//! Two sides that talk through buffers which cut, hold back and damage what goes through them.

use crate::pem::Pem;
use crate::{
    Channel, ClientAuth, ClientOptions, ClientSettings, Files, ServerOptions, Settings, error_text,
};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

pub(crate) const CA: &str = include_str!("testdata/ca.crt");
pub(crate) const SERVER_CERT: &str = include_str!("testdata/server.crt");

pub(crate) fn pem(path: &str, text: &str) -> Pem {
    Pem { path: path.into(), bytes: text.as_bytes().to_vec() }
}

/// The files that the tests have.
struct Made;

impl Files for Made {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        let text = match path {
            "ca.crt" | "dir/a.0" => CA,
            "ca.key" => include_str!("testdata/ca.key"),
            "server.crt" => SERVER_CERT,
            "server.key" => include_str!("testdata/server.key"),
            "v1.crt" => include_str!("testdata/v1.crt"),
            "v1.key" => include_str!("testdata/v1.key"),
            "encrypted.key" => include_str!("testdata/encrypted.key"),
            "stranger.crt" => include_str!("testdata/stranger.crt"),
            "junk" | "dir/readme" => "junk",
            _ => return Err("No such file or directory".into()),
        };
        Ok(text.into())
    }

    fn list(&self, folder: &str) -> Result<Vec<String>, String> {
        match folder {
            "dir" => Ok(vec!["dir/readme".into(), "dir/a.0".into(), "dir/gone".into()]),
            _ => Err("No such file or directory".into()),
        }
    }
}

fn options() -> ServerOptions {
    ServerOptions {
        cert_file: "server.crt".into(),
        key_file: "server.key".into(),
        ca_cert_file: "ca.crt".into(),
        session_caching: true,
        ..ServerOptions::default()
    }
}

fn settings(change: impl FnOnce(&mut ServerOptions)) -> Result<Settings, String> {
    let mut options = options();
    change(&mut options);
    Settings::new(&options, &Made, || 0)
}

fn client(change: impl FnOnce(&mut ClientOptions)) -> Result<ClientSettings, String> {
    let mut options = ClientOptions {
        cacert: "ca.crt".into(),
        cert: "server.crt".into(),
        key: "server.key".into(),
        ..ClientOptions::default()
    };
    change(&mut options);
    ClientSettings::new(&options, &Made)
}

/// One direction of a wire.
#[derive(Default)]
struct Buffer {
    bytes: VecDeque<u8>,
    ended: bool,
}

/// One end of a wire that takes and gives `step` bytes at once, and holds `room`.
struct End {
    from: Rc<RefCell<Buffer>>,
    to: Rc<RefCell<Buffer>>,
    step: usize,
    room: usize,
}

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut from = self.from.borrow_mut();
        let count = from.bytes.len().min(self.step).min(buffer.len());
        if count == 0 {
            return if from.ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        for (to, byte) in buffer.iter_mut().zip(from.bytes.drain(..count)) {
            *to = byte;
        }
        Ok(count)
    }
}

impl Write for End {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut to = self.to.borrow_mut();
        let count = bytes.len().min(self.step).min(self.room.saturating_sub(to.bytes.len()));
        if count == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        to.bytes.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wire(step: usize, room: usize) -> (End, End) {
    let (a, b) = (Rc::<RefCell<Buffer>>::default(), Rc::<RefCell<Buffer>>::default());
    let end =
        |from: &Rc<_>, to: &Rc<_>| End { from: Rc::clone(from), to: Rc::clone(to), step, room };
    (end(&a, &b), end(&b, &a))
}

/// A client and a server in conversation.
struct Pair {
    client: Channel,
    client_wire: End,
    server: Channel,
    server_wire: End,
}

impl Pair {
    fn new(server: &Settings, client: &ClientSettings, step: usize, room: usize) -> Pair {
        let (client_wire, server_wire) = wire(step, room);
        Pair {
            client: Channel::connect(client, "127.0.0.1").expect("client"),
            client_wire,
            server: Channel::accept(&server.server).expect("server"),
            server_wire,
        }
    }

    /// Sends `bytes` from the client and has the server send them back; what the client gets.
    fn echo(&mut self, bytes: &[u8], buffer: usize) -> io::Result<Vec<u8>> {
        let (mut sent, mut echoed, mut back) = (0, Vec::new(), Vec::new());
        let mut done = 0;
        let mut room = vec![0; buffer];
        for _ in 0..4_000_000 {
            if sent < bytes.len() {
                sent += quiet(self.client.write(&mut self.client_wire, &bytes[sent..]))?;
            }
            let got = quiet(self.server.read(&mut self.server_wire, &mut room))?;
            echoed.extend_from_slice(&room[..got]);
            if done < echoed.len() {
                done += quiet(self.server.write(&mut self.server_wire, &echoed[done..]))?;
            }
            self.server.flush(&mut self.server_wire)?;
            self.client.flush(&mut self.client_wire)?;
            let got = quiet(self.client.read(&mut self.client_wire, &mut room))?;
            back.extend_from_slice(&room[..got]);
            assert!(self.server.unsent() < 80_000 && self.client.unsent() < 80_000);
            if back.len() == bytes.len() {
                return Ok(back);
            }
        }
        panic!("{} of {} bytes came back", back.len(), bytes.len());
    }
}

/// `WouldBlock` is nothing.
fn quiet(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
        other => other,
    }
}

fn noise(count: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[test]
fn bytes_arrive_whole_however_the_wire_cuts_them() {
    let (server, client) = (settings(|_| {}).expect("server"), client(|_| {}).expect("client"));
    for (step, room, buffer, count) in [
        (1, 1, 7, 2_000),
        (3, 50, 64, 20_000),
        (1_000, 5_000, 65_536, 300_000),
        (usize::MAX, usize::MAX, 65_536, 3_000_000),
        (100_000, 200_000, 16, 100_000),
    ] {
        let bytes = noise(count);
        let mut pair = Pair::new(&server, &client, step, room);
        let back = pair.echo(&bytes, buffer).expect("an echo");
        assert!(back == bytes, "step {step}, room {room}, buffer {buffer}");
        assert!(!pair.server.is_handshaking() && !pair.client.is_handshaking());
    }
}

#[test]
fn a_slow_reader_holds_the_writer_back() {
    let (server, client) = (settings(|_| {}).expect("server"), client(|_| {}).expect("client"));
    let mut pair = Pair::new(&server, &client, usize::MAX, 10_000);
    pair.echo(b"x", 10).expect("an echo");
    let bytes = noise(1 << 20);
    let mut taken = 0;
    while let Ok(count) = pair.server.write(&mut pair.server_wire, &bytes[taken..]) {
        taken += count;
    }
    assert_eq!(taken, 65_536);
    assert!(pair.server.unsent() > 50_000 && pair.server.unsent() < 70_000);
    assert!(!pair.server.flush(&mut pair.server_wire).expect("a wire that stands"));
}

#[test]
fn the_end_comes_behind_the_last_bytes() {
    let (server, client) = (settings(|_| {}).expect("server"), client(|_| {}).expect("client"));
    let mut pair = Pair::new(&server, &client, usize::MAX, usize::MAX);
    pair.echo(b"x", 10).expect("an echo");
    pair.client.write(&mut pair.client_wire, b"last").expect("a write");
    pair.client.close(&mut pair.client_wire);
    let mut buffer = [0; 100];
    assert_eq!(pair.server.read(&mut pair.server_wire, &mut buffer).expect("bytes"), 4);
    // Nothing will happen on the wire: the reader has to be told to come again.
    assert!(pair.server.has_more());
    assert_eq!(pair.server.read(&mut pair.server_wire, &mut buffer).expect("the end"), 0);
    assert_eq!(pair.server.read(&mut pair.server_wire, &mut buffer).expect("the end"), 0);
    // The other direction still stands.
    pair.server.write(&mut pair.server_wire, b"bye").expect("a write");
    assert_eq!(pair.client.read(&mut pair.client_wire, &mut buffer).expect("bytes"), 3);

    // Without a word of farewell it is an end as well, but not in the handshake.
    let mut pair = Pair::new(&server, &client, usize::MAX, usize::MAX);
    let mut cut = Pair::new(&server, &client, 10, usize::MAX);
    pair.echo(b"x", 10).expect("an echo");
    pair.server_wire.from.borrow_mut().ended = true;
    assert_eq!(pair.server.read(&mut pair.server_wire, &mut buffer).expect("the end"), 0);
    cut.server_wire.from.borrow_mut().ended = true;
    let error = cut.server.read(&mut cut.server_wire, &mut buffer).unwrap_err();
    assert_eq!(error_text(&error), "unexpected eof while reading");
}

#[test]
fn garbage_and_plain_requests_are_refused() {
    let server = settings(|_| {}).expect("server");
    for bytes in [
        &b"PING\r\n"[..],
        b"*1\r\n$4\r\nPING\r\n",
        &[0; 70_000],
        &noise(70_000),
        &[0x16, 3, 1, 255, 255, 1, 0],
    ] {
        let (mut near, mut far) = wire(usize::MAX, usize::MAX);
        let mut channel = Channel::accept(&server.server).expect("server");
        near.write_all(bytes).expect("room");
        near.to.borrow_mut().ended = true;
        let mut buffer = [0; 65_536];
        let error = channel.read(&mut far, &mut buffer).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof));
        assert!(!error_text(&error).is_empty());
        // It stays so.
        assert!(channel.read(&mut far, &mut buffer).is_err());
        assert!(channel.write(&mut far, b"x").is_err());
    }
}

#[test]
fn damage_on_the_way_ends_the_connection() {
    let (server, client) = (settings(|_| {}).expect("server"), client(|_| {}).expect("client"));
    for at in 0..60 {
        let mut pair = Pair::new(&server, &client, usize::MAX, usize::MAX);
        pair.echo(b"x", 10).expect("an echo");
        pair.client.write(&mut pair.client_wire, &[b'y'; 38]).expect("a write");
        let length = {
            let mut on_the_way = pair.server_wire.from.borrow_mut();
            let length = on_the_way.bytes.len();
            on_the_way.bytes[at % length] ^= 1;
            // A changed length waits for bytes that never come.
            on_the_way.ended = true;
            length
        };
        assert_eq!(length, 60);
        let mut buffer = [0; 100];
        let result = pair.server.read(&mut pair.server_wire, &mut buffer);
        // Type and version in the record's head say nothing in TLS 1.3.
        let harmless = at < 3 && buffer[..38] == [b'y'; 38];
        assert!(harmless || !matches!(result, Ok(1..)), "byte {at}: {result:?}");
    }
}

/// How a conversation under these settings ends.
fn outcome(server: &Settings, client: &ClientSettings) -> Result<(), String> {
    let mut pair = Pair::new(server, client, usize::MAX, usize::MAX);
    pair.echo(b"hello", 10).map(|_| ()).map_err(|error| error_text(&error))
}

#[test]
fn who_is_believed() {
    let required = settings(|_| {}).expect("server");
    let optional = settings(|o| o.auth_clients = ClientAuth::Optional).expect("server");
    let none = settings(|o| o.auth_clients = ClientAuth::No).expect("server");
    let by_folder = settings(|o| {
        o.ca_cert_file.clear();
        o.ca_cert_dir = "dir".into();
    })
    .expect("server");
    let with = client(|_| {}).expect("client");
    let without = client(|o| (o.cert, o.key) = (String::new(), String::new())).expect("client");
    for server in [&required, &optional, &none, &by_folder] {
        assert_eq!(outcome(server, &with), Ok(()));
    }
    assert_eq!(outcome(&required, &without), Err("peer did not return a certificate".into()));
    assert_eq!(outcome(&optional, &without), Ok(()));
    assert_eq!(outcome(&none, &without), Ok(()));

    // One that the server does not trust is refused also where none would do.
    let other = settings(|o| o.ca_cert_file = "stranger.crt".into()).expect("server");
    let optional_other = settings(|o| {
        o.ca_cert_file = "stranger.crt".into();
        o.auth_clients = ClientAuth::Optional;
    })
    .expect("server");
    assert!(outcome(&other, &with).unwrap_err().contains("certificate"));
    assert!(outcome(&optional_other, &with).unwrap_err().contains("certificate"));

    let stranger = client(|o| o.cacert = "stranger.crt".into()).expect("client");
    assert!(outcome(&none, &stranger).unwrap_err().contains("ertificate"));
    let insecure = client(|o| (o.cacert, o.insecure) = ("stranger.crt".into(), true));
    assert_eq!(outcome(&none, &insecure.expect("client")), Ok(()));

    // A self-signed certificate is its own proof.
    let own = settings(|o| {
        (o.cert_file, o.key_file) = ("ca.crt".into(), "ca.key".into());
    })
    .expect("server");
    let own_client = client(|o| (o.cert, o.key) = ("ca.crt".into(), "ca.key".into()));
    assert_eq!(outcome(&own, &own_client.expect("client")), Ok(()));

    // Certificates of version 1 can be shown; this end does not believe them.
    let old = settings(|o| (o.cert_file, o.key_file) = ("v1.crt".into(), "v1.key".into()));
    let insecure = client(|o| o.insecure = true).expect("client");
    assert!(outcome(&old.expect("server"), &insecure).unwrap_err().contains("ersion"));
}

#[test]
fn versions_and_ciphers_are_kept_to() {
    let two = settings(|o| o.protocols = "TLSv1.2".into()).expect("server");
    let three = settings(|o| o.protocols = "tlsv1.3".into()).expect("server");
    let any = client(|_| {}).expect("client");
    assert_eq!((outcome(&two, &any), outcome(&three, &any)), (Ok(()), Ok(())));
    let chacha =
        client(|o| o.ciphersuites = "TLS_CHACHA20_POLY1305_SHA256".into()).expect("client");
    let aes = settings(|o| {
        o.protocols = "TLSv1.3".into();
        o.ciphersuites = "TLS_AES_256_GCM_SHA384".into();
    })
    .expect("server");
    assert!(outcome(&aes, &chacha).is_err());
    assert_eq!(outcome(&three, &chacha), Ok(()));
    let named =
        settings(|o| o.ciphers = "DEFAULT:!MEDIUM:DHE-RSA-AES128-SHA".into()).expect("server");
    assert_eq!(named.notes.len(), 1);
    assert!(named.notes[0].contains("'DHE-RSA-AES128-SHA'"), "{:?}", named.notes);
}

#[test]
fn what_is_wrong_is_said_in_the_words_of_redis() {
    let error = |change: fn(&mut ServerOptions)| settings(change).unwrap_err();
    assert_eq!(error(|o| o.cert_file.clear()), "No tls-cert-file configured!");
    assert_eq!(error(|o| o.key_file.clear()), "No tls-key-file configured!");
    assert!(error(|o| o.ca_cert_file.clear()).starts_with("Either tls-ca-cert-file or"));
    assert_eq!(
        error(|o| o.cert_file = "nope".into()),
        "Failed to load certificate: nope: No such file or directory"
    );
    assert!(
        error(|o| o.cert_file = "junk".into()).starts_with("Failed to load certificate: junk: ")
    );
    assert_eq!(
        error(|o| o.key_file = "nope".into()),
        "Failed to load private key: nope: No such file or directory"
    );
    assert_eq!(
        error(|o| o.key_file = "ca.key".into()),
        "Failed to load private key: ca.key: key values mismatch"
    );
    assert!(error(|o| o.key_file = "junk".into()).contains("junk: no private key found"));
    assert!(error(|o| o.key_file = "encrypted.key".into()).contains("the key is encrypted"));
    assert!(
        error(|o| o.ca_cert_file = "junk".into())
            .starts_with("Failed to configure CA certificate(s) file/directory: junk")
    );
    assert!(error(|o| o.ca_cert_dir = "nope".into()).contains("nope: No such file"));
    assert!(
        error(|o| o.client_cert_file = "server.crt".into())
            .starts_with("Failed to load private key")
    );
    assert!(error(|o| o.ciphers = "X".into()).contains("ciphers: X"));
    let error = |change: fn(&mut ClientOptions)| client(change).unwrap_err();
    assert_eq!(error(|o| o.cacert = "junk".into()), "Invalid CA Certificate File/Directory");
    assert!(error(|o| o.cert = "junk".into()).starts_with("Invalid client certificate"));
    assert!(error(|o| o.key.clear()).contains("must both be specified"));
    let plain = settings(|o| {
        (o.ca_cert_file, o.auth_clients) = (String::new(), ClientAuth::No);
    });
    assert!(plain.is_ok());
}
