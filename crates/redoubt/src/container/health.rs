//! `redoubt healthcheck`: whether the server of this container answers.
//!
//! The image has nothing but this binary, so the check is part of it. It reads the command line of
//! the container's first process and its own environment, which is the same, and asks the port that
//! follows from them. Whatever answers lives; a node that loads its data is not ready yet.

use super::env::Environment;
use super::words::{Plan, plan};
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitCode;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where to ask.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    addr: SocketAddr,
    /// Only TLS is spoken there: that it accepts has to be enough.
    tls: bool,
}

/// Runs `redoubt healthcheck [PORT]`.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let target = match args.as_slice() {
        [] => of_container(),
        [port] => match port.to_str().and_then(|port| port.parse().ok()) {
            Some(port) => Ok(Target { addr: loopback(port), tls: false }),
            None => Err("usage: redoubt healthcheck [PORT]".to_string()),
        },
        _ => Err("usage: redoubt healthcheck [PORT]".to_string()),
    };
    match target.and_then(|target| ask(&target)) {
        Ok(answer) => {
            println!("{answer}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Where the container's server listens.
fn of_container() -> Result<Target, String> {
    let words = container_command().ok_or("no process of `redoubt container` was found")?;
    let environment = super::own_environment()?;
    target_of(&words, &environment, &|path| std::fs::read(path).ok())
}

/// The words of the container's command: those of its first process, or, below an init, of the
/// first process that is a `redoubt container`.
fn container_command() -> Option<Vec<Vec<u8>>> {
    let mut pids: Vec<u32> = std::fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable();
    pids.into_iter().find_map(|pid| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        words_of_container(&line)
    })
}

fn words_of_container(cmdline: &[u8]) -> Option<Vec<Vec<u8>>> {
    let line = cmdline.strip_suffix(b"\0").unwrap_or(cmdline);
    let words: Vec<Vec<u8>> = line.split(|&b| b == 0).map(<[u8]>::to_vec).collect();
    let [program, first, rest @ ..] = words.as_slice() else { return None };
    (program.ends_with(b"redoubt") && first == b"container").then(|| rest.to_vec())
}

/// What a command and an environment listen on.
fn target_of(
    words: &[Vec<u8>],
    environment: &Environment,
    read: &dyn Fn(&std::path::Path) -> Option<Vec<u8>>,
) -> Result<Target, String> {
    let Plan::Node { sentinel, args } = plan(words, environment.is_sentinel()) else {
        return Err("the container runs another program".into());
    };
    let line = config::CommandLine::parse(&args, sentinel);
    let file = line
        .file
        .as_ref()
        .and_then(|file| read(std::path::Path::new(std::ffi::OsStr::from_bytes(file))));
    let composed = crate::program::compose(&line, file.as_deref(), Some(environment))?;
    let text = line.config_text(&composed.text, b"");
    let loaded = crate::server::config_file::load(&text, line.sentinel)
        .map_err(|error| error.to_string())?;
    let config = &loaded.config;
    let (port, tls) = match (config.port, config.tls_port) {
        (0, tls) => (tls, true),
        (port, _) => (port, false),
    };
    let ips = config.bind.iter().filter_map(|word| word.trim_start_matches('-').parse().ok());
    let ip = ips
        .filter(|ip: &IpAddr| !ip.is_unspecified())
        .max_by_key(|ip| (ip.is_loopback(), ip.is_ipv4()))
        .filter(|_| !config.bind.iter().any(|word| word.contains('*') || word == "0.0.0.0"))
        .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    Ok(Target { addr: SocketAddr::new(ip, port), tls })
}

/// Asks once.
fn ask(target: &Target) -> Result<String, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", target.addr);
    let mut stream = TcpStream::connect_timeout(&target.addr, PATIENCE).map_err(fail)?;
    if target.tls {
        return Ok("accepts TLS connections".into());
    }
    stream.set_read_timeout(Some(PATIENCE)).map_err(fail)?;
    stream.write_all(b"PING\r\n").map_err(fail)?;
    let mut answer = [0; 256];
    let length = stream.read(&mut answer).map_err(fail)?;
    judge(&answer[..length])
}

/// What an answer to PING says.
fn judge(answer: &[u8]) -> Result<String, String> {
    let line = answer.split(|&b| b == b'\r').next().unwrap_or_default();
    let text = String::from_utf8_lossy(line).into_owned();
    match line.first() {
        // Also -NOAUTH, -MASTERDOWN, -BUSY: somebody is there.
        Some(b'+' | b'-') if !line.starts_with(b"-LOADING") => Ok(text),
        Some(_) => Err(text),
        None => Err("the server closed the connection".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{judge, target_of, words_of_container};
    use crate::container::env::Environment;

    fn target(command: &str, vars: &[(&str, &str)], file: &str) -> String {
        let words: Vec<Vec<u8>> =
            command.split_whitespace().map(|word| word.as_bytes().to_vec()).collect();
        let vars = vars.iter().map(|(name, value)| (name.to_string(), value.to_string()));
        let environment = Environment::read(vars, &|_| Ok(Vec::new())).expect("good variables");
        let target = target_of(&words, &environment, &|_| Some(file.as_bytes().to_vec()));
        target.map_or_else(|why| why, |target| format!("{} {}", target.addr, target.tls))
    }

    #[test]
    fn the_port_follows_from_command_environment_and_file() {
        assert_eq!(target("", &[], ""), "127.0.0.1:6379 false");
        assert_eq!(target("", &[("REDIS_PORT_NUMBER", "7000")], ""), "127.0.0.1:7000 false");
        assert_eq!(
            target("--port 7001", &[("REDIS_PORT_NUMBER", "7000")], ""),
            "127.0.0.1:7001 false"
        );
        assert_eq!(target("redis-sentinel /s.conf", &[], "port 5000 # x"), "127.0.0.1:5000 false");
        assert_eq!(target("", &[("REDIS_SENTINEL_QUORUM", "2")], ""), "127.0.0.1:26379 false");
        assert_eq!(target("redis-server --bind 10.0.0.1", &[], ""), "10.0.0.1:6379 false");
        assert_eq!(target("--bind 10.0.0.1 127.0.0.1", &[], ""), "127.0.0.1:6379 false");
        assert_eq!(target("--port 0 --tls-port 6390", &[], ""), "127.0.0.1:6390 true");
        assert_eq!(target("sh", &[], ""), "the container runs another program");
    }

    #[test]
    fn answers() {
        for good in ["+PONG\r\n", "-NOAUTH Authentication required.\r\n", "-MASTERDOWN x\r\n"] {
            assert!(judge(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["-LOADING Redis is loading\r\n", "", "HTTP/1.1"] {
            assert!(judge(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn command_lines_of_processes() {
        let words = words_of_container(b"/usr/bin/redoubt\0container\0redis-server\0");
        assert_eq!(words, Some(vec![b"redis-server".to_vec()]));
        assert_eq!(words_of_container(b"/usr/bin/redoubt\0container\0"), Some(Vec::new()));
        for line in [&b""[..], b"\0", b"redoubt\0server\0", b"sh\0container\0"] {
            assert_eq!(words_of_container(line), None);
        }
    }
}
