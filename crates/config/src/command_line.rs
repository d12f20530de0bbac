//! The command line of `redis-server` and `redis-sentinel`, in all forms that scripts use.
//!
//! Options are turned into configuration lines that stand behind the file's text, so that one reader
//! serves both, and an error counts lines as Redis does: through the file, then the options.
//!
//! Source: redis 7.0 `server.c:main`; compared with a running 7.0.15 over the inputs in `testdata`.

use crate::text::{push_quoted, split_words};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run a server.
    Run,
    /// Print the version and exit with status 0.
    Version,
    /// Print the usage on standard error and exit with status 1.
    Help,
    /// `--test-memory MEGABYTES`; `None` if the number of words is wrong.
    TestMemory(Option<Vec<u8>>),
    /// `--check-system`.
    CheckSystem,
}

/// A parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// What to do.
    pub action: Action,
    /// Run as Sentinel.
    pub sentinel: bool,
    /// The configuration file, as given.
    pub file: Option<Vec<u8>>,
    /// Read more configuration from standard input.
    pub stdin: bool,
    /// The options as configuration lines.
    pub options: Vec<u8>,
}

impl CommandLine {
    /// Reads the words after the program's name. `sentinel` says that the program was called by a
    /// name that makes it a Sentinel.
    pub fn parse(args: &[Vec<u8>], sentinel: bool) -> CommandLine {
        let action = match args.first().map(Vec::as_slice) {
            Some(b"-v" | b"--version") => Action::Version,
            Some(b"-h" | b"--help") => Action::Help,
            Some(b"--test-memory") => {
                Action::TestMemory(if args.len() == 2 { args.get(1).cloned() } else { None })
            }
            Some(b"--check-system") => Action::CheckSystem,
            _ => Action::Run,
        };
        let sentinel = sentinel || args.iter().any(|arg| arg == b"--sentinel");
        let mut line =
            CommandLine { action, sentinel, file: None, stdin: false, options: Vec::new() };
        if line.action != Action::Run {
            return line;
        }
        match args.split_first() {
            Some((file, rest)) if !file.starts_with(b"-") => {
                line.file = (!file.is_empty()).then(|| file.clone());
                line.read_options(rest, false);
            }
            _ => line.read_options(args, true),
        }
        line
    }

    /// `first_may_be_stdin`: no file came before, so that a `-` in front counts.
    fn read_options(&mut self, args: &[Vec<u8>], first_may_be_stdin: bool) {
        // After a name the next word is its value, whatever it looks like.
        let mut name_wants_value = false;
        for (at, arg) in args.iter().enumerate() {
            let last = at + 1 == args.len();
            if arg == b"-" && ((at == 0 && first_may_be_stdin) || last) {
                self.stdin = true;
            } else if let (Some(option), false) = (arg.strip_prefix(b"--"), name_wants_value) {
                let next_is_option = args.get(at + 1).is_some_and(|next| next.starts_with(b"--"));
                name_wants_value = self.push_option(arg, option, next_is_option, last);
            } else {
                push_quoted(&mut self.options, arg);
                self.options.push(b' ');
                name_wants_value = false;
            }
        }
    }

    /// Starts a line; returns whether the next word is its value.
    fn push_option(&mut self, arg: &[u8], option: &[u8], next_is_option: bool, last: bool) -> bool {
        if !self.options.is_empty() {
            self.options.push(b'\n');
        }
        self.options.extend_from_slice(option);
        self.options.push(b' ');
        // `"--maxmemory 700mb"` brings its value along.
        if split_words(arg).is_none_or(|words| words.len() != 1) {
            return false;
        }
        // An empty list of save points in a script leaves `--save` alone; it means `--save ""`.
        if arg.eq_ignore_ascii_case(b"--save") && (next_is_option || last) {
            self.options.extend_from_slice(b"\"\"");
            return false;
        }
        !(arg.eq_ignore_ascii_case(b"--sentinel") && next_is_option)
    }

    /// The whole text to load: the file, then standard input, then the options.
    pub fn config_text(&self, file: &[u8], stdin: &[u8]) -> Vec<u8> {
        [file, stdin, b"\n", &self.options].concat()
    }
}

/// The text of `--help`.
pub fn usage() -> &'static str {
    "\
Usage: ./redis-server [/path/to/redis.conf] [options] [-]
       ./redis-server - (read config from stdin)
       ./redis-server -v or --version
       ./redis-server -h or --help
       ./redis-server --check-system

Any directive of the configuration file can be given as an option:
       ./redis-server --port 7777 --replicaof 127.0.0.1 8888
       ./redis-server /etc/myredis.conf --loglevel verbose
       echo 'maxmemory 128mb' | ./redis-server -

As Sentinel:
       ./redis-server /etc/sentinel.conf --sentinel
"
}

/// The text for `--test-memory` without its number, on standard error, exit status 1.
pub const TEST_MEMORY_USAGE: &str = "Please specify the amount of memory to test in megabytes.\n\
                                     Example: ./redis-server --test-memory 4096\n\n";
