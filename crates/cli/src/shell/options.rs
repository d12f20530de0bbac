//! The client's command line, in redis-cli's form: options first, then the command and its
//! arguments, which are taken as they are even when they begin with a dash.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Path of a unix socket, instead of host and port.
    pub socket: Option<OsString>,
    /// Password, from `-a`, `-u` or REDISCLI_AUTH.
    pub password: Option<Vec<u8>>,
    /// True if the password was on the command line, where others can read it.
    pub password_in_arguments: bool,
    /// ACL user; without one the default user is meant.
    pub user: Option<Vec<u8>>,
    /// Database index, as given.
    pub db: i64,
    /// 2 or 3 if asked for; otherwise the server's default (2) and no HELLO is sent.
    pub protocol: Option<u8>,
    /// Keep quiet about passwords on the command line.
    pub no_auth_warning: bool,
    /// How often to run the command; negative means for ever.
    pub repeat: i64,
    /// Pause between repetitions, in seconds.
    pub interval: f64,
    /// Take the last argument from standard input.
    pub last_argument_from_stdin: bool,
    /// Exit with 1 when the command answers an error.
    pub error_exit: bool,
    /// `--raw` (true), `--no-raw` (false), or by what standard output is.
    pub raw: Option<bool>,
    /// `--csv`, `--json`, `--quoted-json`: a form of its own instead of raw or not.
    pub form: Option<Form>,
    /// HELLO 3 may fail without a word being said about the protocol that was asked for.
    pub protocol_is_a_wish: bool,
    /// What stands between the elements of a raw reply.
    pub delimiter: Vec<u8>,
    /// What stands behind a raw reply.
    pub reply_delimiter: Vec<u8>,
    /// The argument that standard input takes the place of.
    pub stdin_tag: Option<Vec<u8>>,
    /// Arguments are quoted strings.
    pub quoted_input: bool,
    /// Follow redirections of a cluster.
    pub cluster: bool,
    /// Ask for the password at the terminal.
    pub askpass: bool,
    /// What to do instead of running a command.
    pub mode: Option<Mode>,
    /// Which keys `--scan` and the like look at.
    pub pattern: Option<Vec<u8>>,
    /// The COUNT of SCAN.
    pub count: Option<i64>,
    /// Elements of a value that `--memkeys` looks at; 0 means the server's own choice.
    pub memkeys_samples: i64,
    /// Seconds that `--pipe` waits for the last reply; 0 means for ever.
    pub pipe_timeout: i64,
    /// Show messages that nobody asked for; by default on a terminal only.
    pub show_pushes: Option<bool>,
    /// `--tls`, `rediss://`
    pub tls: bool,
    /// `--cacert` and what else says how to speak TLS.
    pub tls_options: tls::ClientOptions,
    /// `--sni`
    pub sni: Option<String>,
    /// The command and its arguments; empty means prompt or standard input.
    pub command: Vec<Vec<u8>>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            host: "127.0.0.1".into(),
            port: 6379,
            socket: None,
            password: None,
            password_in_arguments: false,
            user: None,
            db: 0,
            protocol: None,
            no_auth_warning: false,
            repeat: 1,
            interval: 0.0,
            last_argument_from_stdin: false,
            error_exit: false,
            raw: None,
            form: None,
            protocol_is_a_wish: false,
            delimiter: b"\n".to_vec(),
            reply_delimiter: b"\n".to_vec(),
            stdin_tag: None,
            quoted_input: false,
            cluster: false,
            askpass: false,
            mode: None,
            pattern: None,
            count: None,
            memkeys_samples: 0,
            pipe_timeout: 30,
            show_pushes: None,
            tls: false,
            tls_options: tls::ClientOptions::default(),
            sni: None,
            command: Vec::new(),
        }
    }
}

/// Forms of output for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `--csv`
    Csv,
    /// `--json`
    Json,
    /// `--quoted-json`
    QuotedJson,
}

/// What `redoubt cli` can do instead of running commands.
#[derive(Clone, Debug, PartialEq)]
pub enum Mode {
    /// `--pipe`
    Pipe,
    /// `--scan`
    Scan,
    /// `--bigkeys`
    BigKeys,
    /// `--memkeys`
    MemKeys,
    /// `--hotkeys`
    HotKeys,
    /// `--stat`
    Stat,
    /// `--latency`
    Latency,
    /// `--latency-history`
    LatencyHistory,
    /// `--intrinsic-latency`, in seconds
    Intrinsic(u64),
    /// `--latency-dist`
    LatencyDist,
    /// `--lru-test`, with so many keys
    LruTest(u64),
    /// `--rdb`, `--functions-rdb`: the file, and whether it is to hold functions alone
    Rdb(OsString, bool),
    /// `--replica`
    Replica,
    /// `--eval`: the script's file
    Eval(OsString),
}

/// What the command line turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Parsed {
    /// Go on with these.
    Run(Box<Options>),
    /// `--help`
    Help,
    /// `--version`
    Version,
}

/// Reads the command line; `auth_env` is the value of REDISCLI_AUTH.
/// The error is what to print, in redis-cli's words.
pub fn parse(args: Vec<OsString>, auth_env: Option<OsString>) -> Result<Parsed, String> {
    let mut options = Options { password: auth_env.map(OsString::into_vec), ..Options::default() };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let Some(name) = arg.to_str().filter(|name| name.starts_with('-')).map(str::to_owned)
        else {
            options.command.push(arg.into_vec());
            options.command.extend(args.map(OsString::into_vec));
            break;
        };
        match name.as_str() {
            "--help" => return Ok(Parsed::Help),
            "-v" | "--version" => return Ok(Parsed::Version),
            // Without a host to follow, it is what -h means elsewhere.
            "-h" if args.len() == 0 => return Ok(Parsed::Help),
            _ if flag(&mut options, &name) => {}
            _ if refusal(&name).is_some() => return Err(refusal(&name).unwrap_or_default()),
            _ => {
                let value = args.next().ok_or_else(|| unrecognized(&name))?;
                with_value(&mut options, &name, value)?;
            }
        }
    }
    Ok(Parsed::Run(Box::new(options)))
}

fn unrecognized(name: &str) -> String {
    format!("Unrecognized option or bad number of args for: '{name}'")
}

/// Options without a value. False if `name` is none of them.
fn flag(options: &mut Options, name: &str) -> bool {
    match name {
        "-2" => (options.protocol, options.protocol_is_a_wish) = (Some(2), false),
        "-3" => (options.protocol, options.protocol_is_a_wish) = (Some(3), false),
        "-x" => options.last_argument_from_stdin = true,
        "-e" => options.error_exit = true,
        "--raw" => (options.raw, options.form) = (Some(true), None),
        "--no-raw" => (options.raw, options.form) = (Some(false), None),
        "--csv" => options.form = Some(Form::Csv),
        "--json" | "--quoted-json" => {
            options.form = Some(if name == "--json" { Form::Json } else { Form::QuotedJson });
            options.protocol_is_a_wish |= options.protocol.is_none();
            options.protocol = options.protocol.or(Some(3));
        }
        "-c" => options.cluster = true,
        "--quoted-input" => options.quoted_input = true,
        "--askpass" => options.askpass = true,
        // It makes only the cluster manager talk more.
        "--verbose" => {}
        "--pipe" => options.mode = Some(Mode::Pipe),
        "--scan" => options.mode = Some(Mode::Scan),
        "--bigkeys" => options.mode = Some(Mode::BigKeys),
        "--memkeys" => options.mode = Some(Mode::MemKeys),
        "--hotkeys" => options.mode = Some(Mode::HotKeys),
        "--stat" => options.mode = Some(Mode::Stat),
        "--latency" => options.mode = Some(Mode::Latency),
        "--latency-history" => options.mode = Some(Mode::LatencyHistory),
        "--latency-dist" => options.mode = Some(Mode::LatencyDist),
        "--replica" | "--slave" => options.mode = Some(Mode::Replica),
        "--no-auth-warning" => options.no_auth_warning = true,
        "--tls" => options.tls = true,
        "--insecure" => options.tls_options.insecure = true,
        _ => return false,
    }
    true
}

fn with_value(options: &mut Options, name: &str, value: OsString) -> Result<(), String> {
    let text = value.to_string_lossy().into_owned();
    match name {
        "-h" => options.host = text,
        "-p" => {
            options.port = text.parse().map_err(|_| "Invalid server port.".to_owned())?;
        }
        "-s" => options.socket = Some(value),
        "-a" | "--pass" => {
            options.password = Some(value.into_vec());
            options.password_in_arguments = true;
        }
        "--user" => options.user = Some(value.into_vec()),
        "-u" => uri(options, &text)?,
        "-n" => options.db = leading_number(&text),
        "-r" => options.repeat = leading_number(&text),
        "-i" => options.interval = text.parse().unwrap_or(0.0),
        "-d" => options.delimiter = value.as_bytes().to_vec(),
        "-D" => options.reply_delimiter = value.into_vec(),
        "-X" => options.stdin_tag = Some(value.into_vec()),
        "--pattern" => options.pattern = Some(value.into_vec()),
        "--quoted-pattern" => {
            options.pattern = Some(unquoted(value.as_bytes()).ok_or_else(|| {
                "Invalid quoted string specified for --quoted-pattern.".to_owned()
            })?);
        }
        "--count" => options.count = Some(leading_number(&text)),
        "--memkeys-samples" => {
            options.mode = Some(Mode::MemKeys);
            options.memkeys_samples = leading_number(&text);
        }
        "--pipe-timeout" => options.pipe_timeout = leading_number(&text),
        "--rdb" | "--functions-rdb" => {
            options.mode = Some(Mode::Rdb(value, name == "--functions-rdb"));
        }
        "--lru-test" => {
            options.mode = Some(Mode::LruTest(leading_number(&text).max(0).unsigned_abs()));
        }
        "--eval" => options.mode = Some(Mode::Eval(value)),
        "--intrinsic-latency" => {
            options.mode = Some(Mode::Intrinsic(leading_number(&text).max(0).unsigned_abs()));
        }
        "--show-pushes" => {
            options.show_pushes = Some(text.starts_with(['y', 'Y']));
        }
        "--sni" => options.sni = Some(text),
        "--cacert" => options.tls_options.cacert = text,
        "--cacertdir" => options.tls_options.cacertdir = text,
        "--cert" => options.tls_options.cert = text,
        "--key" => options.tls_options.key = text,
        "--tls-ciphers" => options.tls_options.ciphers = text,
        "--tls-ciphersuites" => options.tls_options.ciphersuites = text,
        _ => return Err(unrecognized(name)),
    }
    Ok(())
}

/// One word, quotes taken off; nothing if it is not exactly one.
pub fn unquoted(word: &[u8]) -> Option<Vec<u8>> {
    let words = resp::split_args(word).ok()?;
    <[Vec<u8>; 1]>::try_from(words).ok().map(|[word]| word)
}

/// Options that redis-cli has and this program has not, and why.
fn refusal(name: &str) -> Option<String> {
    let why = match name {
        "--cluster" => "the cluster manager is not there yet",
        "--ldb" | "--ldb-sync-mode" => "the script debugger is not there",
        _ => return None,
    };
    Some(format!("{name}: {why}."))
}

/// The number that a text begins with, 0 if there is none: redis-cli does not look further either.
fn leading_number(text: &str) -> i64 {
    let text = text.trim_start();
    let digits = text
        .char_indices()
        .find(|&(at, c)| !(c.is_ascii_digit() || (at == 0 && (c == '-' || c == '+'))))
        .map_or(text.len(), |(at, _)| at);
    text[..digits].parse().unwrap_or(0)
}

/// `redis://[[user]:password@]host[:port][/db]`; `rediss` means with TLS.
fn uri(options: &mut Options, uri: &str) -> Result<(), String> {
    let rest = if let Some(rest) = uri.strip_prefix("rediss://") {
        options.tls = true;
        rest
    } else {
        uri.strip_prefix("redis://").ok_or("Invalid URI scheme")?
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = match authority.rsplit_once('@') {
        Some((credentials, host)) => {
            let (user, password) = credentials.split_once(':').unwrap_or(("", credentials));
            options.user = (!user.is_empty()).then(|| percent_decoded(user));
            options.password = Some(percent_decoded(password));
            options.password_in_arguments = true;
            host
        }
        None => authority,
    };
    // The port follows the last colon, unless that colon belongs to an IPv6 address in brackets.
    let (host, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port),
        _ => (host, ""),
    };
    if !host.is_empty() {
        options.host = host.trim_start_matches('[').trim_end_matches(']').into();
    }
    if !port.is_empty() {
        options.port = port.parse().map_err(|_| "Invalid server port.".to_owned())?;
    }
    if !path.is_empty() {
        options.db = leading_number(path);
    }
    Ok(())
}

fn percent_decoded(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let hex = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &[&str]) -> Result<Options, String> {
        match parse(line.iter().map(OsString::from).collect(), None)? {
            Parsed::Run(options) => Ok(*options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_end_at_the_command() {
        let options = run(&["-h", "a", "-p", "7", "-3", "-n", "2x", "set", "-k", "--raw"]).unwrap();
        assert_eq!((options.host.as_str(), options.port, options.db), ("a", 7, 2));
        assert_eq!(options.protocol, Some(3));
        assert_eq!(options.command, [&b"set"[..], b"-k", b"--raw"]);
        assert_eq!(options.raw, None);
    }

    #[test]
    fn passwords() {
        let parsed = parse(vec!["ping".into()], Some("env".into())).unwrap();
        let Parsed::Run(options) = parsed else { panic!() };
        assert_eq!(options.password.as_deref(), Some(&b"env"[..]));
        assert!(!options.password_in_arguments);
        let options = run(&["--user", "u", "-a", "p"]).unwrap();
        assert_eq!(options.password.as_deref(), Some(&b"p"[..]));
        assert!(options.password_in_arguments);
    }

    #[test]
    fn modes_and_forms() {
        let options = run(&["--json", "--scan", "--pattern", "a*", "--count", "7"]).unwrap();
        assert_eq!((options.form, options.mode), (Some(Form::Json), Some(Mode::Scan)));
        assert_eq!((options.protocol, options.count), (Some(3), Some(7)));
        assert_eq!(run(&["--json", "-2", "x"]).unwrap().protocol, Some(2));
        assert_eq!(run(&["--csv", "--raw", "x"]).unwrap().form, None);
        assert_eq!(unquoted(b"\"a\\x20b\""), Some(b"a b".to_vec()));
        assert_eq!((unquoted(b"a b"), unquoted(b"\"a"), unquoted(b"")), (None, None, None));
        let tls = run(&["--tls", "--cacert", "ca", "--sni", "name", "--insecure"]).unwrap();
        assert!(tls.tls && tls.tls_options.insecure && tls.tls_options.cacert == "ca");
        assert_eq!(tls.sni.as_deref(), Some("name"));
        let uri = run(&["-u", "rediss://h:1/2"]).unwrap();
        assert!(uri.tls && uri.host == "h" && uri.port == 1 && uri.db == 2);
        assert!(run(&["--quoted-pattern", "\"a"]).is_err());
    }

    #[test]
    fn uris() {
        let options = run(&["-u", "redis://me:p%40ss@[::1]:7000/3"]).unwrap();
        assert_eq!((options.host.as_str(), options.port, options.db), ("::1", 7000, 3));
        assert_eq!(options.user.as_deref(), Some(&b"me"[..]));
        assert_eq!(options.password.as_deref(), Some(&b"p@ss"[..]));
        let options = run(&["-u", "redis://h"]).unwrap();
        assert_eq!((options.host.as_str(), options.port), ("h", 6379));
        assert!(run(&["-u", "http://h"]).is_err());
    }

    #[test]
    fn mistakes_are_named() {
        for (line, name) in [(&["-foo"][..], "-foo"), (&["-p"], "-p"), (&["--foo", "x"], "--foo")] {
            assert_eq!(
                run(line).unwrap_err(),
                format!("Unrecognized option or bad number of args for: '{name}'")
            );
        }
        assert_eq!(run(&["-p", "70000"]).unwrap_err(), "Invalid server port.");
    }
}
