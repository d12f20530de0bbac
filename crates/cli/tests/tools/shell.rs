//! `cli` beside redis-cli: the same server, the same arguments, the same input; output on both
//! streams and exit code must be equal.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

use resp::{Decoded, Decoder, Limits};

use super::{TOOLS, have};

/// Replies that a command `r N` gets, byte by byte.
const CANNED: &[&[u8]] = &[
    b"+OK\r\n",
    b"-ERR no\r\n",
    b"-\r\n",
    b":-12\r\n",
    b"$5\r\na\x01\n\"\\\r\n",
    b"$4\r\nab\n\n\r\n",
    b"$0\r\n\r\n",
    b"+\r\n",
    b"_\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"~0\r\n",
    b"%0\r\n",
    b"=6\r\ntxt:a\n\r\n",
    b"=7\r\nmkd:abc\r\n",
    b",1.50\r\n",
    b",1e10\r\n",
    b",inf\r\n",
    b"#t\r\n",
    b"*1\r\n#f\r\n",
    b"*3\r\n=5\r\ntxt:a\r\n+b\r\n-ERR x\r\n",
    b"*2\r\n_\r\n$-1\r\n",
    b"%2\r\n+a\r\n*1\r\n*2\r\n:1\r\n:2\r\n+b\r\n*0\r\n",
    b"%2\r\n*2\r\n:1\r\n:2\r\n%1\r\n+k\r\n+v\r\n+b\r\n~2\r\n:1\r\n*2\r\n:3\r\n:4\r\n",
    b"*2\r\n%1\r\n+a\r\n%2\r\n+x\r\n:1\r\n+y\r\n*2\r\n:1\r\n:2\r\n%0\r\n",
    b"~1\r\n~1\r\n~2\r\n:1\r\n:2\r\n",
    b"*11\r\n:0\r\n:1\r\n:2\r\n*1\r\n:3\r\n:4\r\n:5\r\n:6\r\n:7\r\n:8\r\n*2\r\n:9\r\n:9\r\n:10\r\n",
    b"x\r\n",
    b"",
    b"*2\r\n:1\r\n",
];

/// Serves [`CANNED`] on a port of its own until the test ends. An empty or unfinished reply is
/// followed by the end of the connection.
fn canned_server() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    port
}

fn serve(mut stream: TcpStream) {
    let (mut decoder, mut input, mut buffer) = (Decoder::new(), Vec::new(), [0; 4096]);
    let limits = Limits::default();
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        input.extend_from_slice(&buffer[..count]);
        while let Ok(Decoded::Request { consumed }) = decoder.decode(&input, &limits) {
            let words: Vec<Vec<u8>> = decoder.args(&input).iter().map(<[u8]>::to_vec).collect();
            input.drain(..consumed);
            let reply: &[u8] = match words[0].to_ascii_lowercase().as_slice() {
                b"hello" => b"%1\r\n+proto\r\n:3\r\n",
                b"r" => CANNED[String::from_utf8_lossy(&words[1]).parse::<usize>().unwrap()],
                _ => b"+OK\r\n",
            };
            if stream.write_all(reply).is_err() || matches!(reply, b"" | b"*2\r\n:1\r\n") {
                return;
            }
        }
    }
}

fn run(program: &mut Command, input: &[u8]) -> Output {
    let mut child = program
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that does not read its input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Runs both programs.
fn both(args: &[&str], input: &[u8]) -> (Output, Output) {
    let theirs = run(Command::new("redis-cli").args(args), input);
    let ours = run(Command::new(TOOLS).arg("cli").args(args), input);
    (theirs, ours)
}

fn same(args: &[&str], input: &[u8]) {
    let (theirs, ours) = both(args, input);
    let text = |output: &Output| {
        format!(
            "{}\n--- stderr\n{}\n--- {:?}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            output.status.code()
        )
    };
    assert_eq!(text(&theirs), text(&ours), "{args:?} < {:?}", String::from_utf8_lossy(input));
}

#[test]
fn replies_look_as_in_redis_cli() {
    if !have("redis-cli") {
        return;
    }
    let port = canned_server().to_string();
    for form in [
        &["-3", "--no-raw"][..],
        &["-3"],
        &["--no-raw"],
        &["-3", "-d", ", ", "-D", "|"],
        &["-e"],
        &["--csv"],
        &["--json"],
        &["--quoted-json"],
        &["--json", "-2"],
        &["--csv", "-3"],
    ] {
        for index in 0..CANNED.len() {
            let index = index.to_string();
            let args = [&["-p", &port][..], form, &["r", &index]].concat();
            same(&args, b"");
        }
    }
}

#[test]
fn input_lines_work_as_in_redis_cli() {
    if !have("redis-cli") {
        return;
    }
    let port = canned_server().to_string();
    let args = ["-p", port.as_str()];
    for input in [
        "",
        "\n  \n",
        "r 0\nr 1\nr 3\n",
        "r 0",
        "set a \"x y\n r 4\n",
        "'r' \"0\"\n",
        "3 r 0\n0 r 0\n",
        "r 27\nquit\nr 0\n",
        "EXIT\nr 0\n",
        "# a b\n",
        "multi\nselect 3\nexec\nr 0\n",
        // The connection is lost and made anew.
        "r 29\nr 0\n",
        "r 28\nr 0\n",
    ] {
        same(&args, input.as_bytes());
        same(&[&args[..], &["--no-raw"]].concat(), input.as_bytes());
    }
    same(&["-p", &port, "-x", "set", "a"], b"the value\n");
    same(&["-p", &port, "-r", "3", "r", "0"], b"");
    same(&["-p", &port, "-n", "4", "r", "0"], b"");
}

#[test]
fn mistakes_are_answered_as_in_redis_cli() {
    if !have("redis-cli") {
        return;
    }
    let port = canned_server().to_string();
    // Nobody listens on a port that was just given back.
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    for args in [
        &["-p", &closed, "ping"][..],
        &["-p", &closed, "-n", "3", "ping"],
        &["-p", &closed],
        &["-s", "/no/such/socket", "ping"],
        &["-h", "no.such.host.invalid", "ping"],
        &["-p", &port, "--no-such-option"],
        &["-p", &port, "-n"],
        &["-p", &port, "-a", "secret", "r", "0"],
        &["-p", &port, "-a", "secret", "--no-auth-warning", "r", "0"],
        &["-p", &port, "--user", "u", "--pass", "secret", "r", "0"],
    ] {
        same(args, b"");
    }
    same(&["-p", &closed], b"ping\nping\n");
}

#[test]
fn a_reply_that_redis_cli_cannot_show_is_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut buffer = [0; 512];
        let _ = stream.read(&mut buffer).unwrap();
        stream.write_all(b"|1\r\n+ttl\r\n:3\r\n*3\r\n(123456789012345678901234567890\r\n,nan\r\n!5\r\nERR x\r\n").unwrap();
    });
    let output = run(Command::new(TOOLS).args(["cli", "--no-raw", "-p", &port, "x"]), b"");
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "1) 123456789012345678901234567890\n2) (double) nan\n3) (error) ERR x\n"
    );
}

#[test]
fn help_and_version() {
    for args in [&["cli", "--help"][..], &["cli", "help"], &["cli", "-h"]] {
        let output = run(Command::new(TOOLS).args(args), b"");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.contains("-p PORT") && text.contains("Examples"));
    }
    let output = run(Command::new(TOOLS).args(["cli", "--version"]), b"");
    assert!(output.stdout.starts_with(b"redis-cli 7.0.15 "));
}
