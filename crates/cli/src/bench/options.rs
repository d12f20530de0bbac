//! The benchmark's command line, in redis-benchmark's form.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;

use crate::shell;

/// What to measure, and how.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Address, password, database and protocol, as the client knows them.
    pub server: shell::Options,
    /// `-c`
    pub clients: usize,
    /// `-n`
    pub requests: u64,
    /// `-d`
    pub data_size: usize,
    /// `--threads`; 0: one thread, and the report says "no".
    pub threads: usize,
    /// `-k`
    pub keep_alive: bool,
    /// `-r`
    pub keyspace: Option<u64>,
    /// `-P`
    pub pipeline: u64,
    /// `-q`
    pub quiet: bool,
    /// `--precision`
    pub precision: usize,
    /// `--csv`
    pub csv: bool,
    /// `-l`
    pub forever: bool,
    /// `-I`
    pub idle: bool,
    /// `-t`, in lower case
    pub tests: Option<Vec<String>>,
    /// `--seed`
    pub seed: u64,
    /// `--enable-tracking`
    pub tracking: bool,
    /// `-x`: the command's last argument came from standard input and is no part of its title.
    pub stdin: bool,
    /// An arbitrary command.
    pub command: Vec<Vec<u8>>,
}

/// What the command line turned out to be.
pub enum Parsed {
    /// Go on with these.
    Run(Box<Options>),
    /// Print this.
    Say(String),
}

const HELP: &str = "\
redoubt benchmark: measure a server, in the form of redis-benchmark

Usage: redoubt benchmark [OPTIONS] [COMMAND [ARGUMENT ...]]

  -h HOST, -p PORT, -s SOCKET, -a PASSWORD, --user USER, -u URI, --dbnum DB, -3
                     the server, as for `redoubt cli`
  --tls, --sni, --cacert, --cacertdir, --insecure, --cert, --key, --tls-ciphers,
  --tls-ciphersuites speak TLS, as for `redoubt cli`
  -c N               connections (default 50)
  -n N               requests of each test (default 100000)
  -d BYTES           size of values (default 3)
  --threads N        threads that drive the connections
  -k 0|1             0: a new connection for every batch (default 1)
  -r N               put a number below N in place of __rand_int__ in keys and arguments
  -P N               requests sent at once on a connection (default 1)
  -q                 one line for each test
  --precision N      decimal places of latencies in the distribution (default 0: as Redis has it)
  --csv              results as comma separated values
  -l                 go on for ever
  -t TESTS           some tests only, as in set,get,lpush
  --seed N           seed of the random numbers
  --enable-tracking  CLIENT TRACKING on, on every connection
  -I                 open idle connections and wait
  -x                 take the command's last argument from standard input
  --help, --version
";

/// Reads the command line. The error is what to print.
pub fn parse(args: Vec<OsString>) -> Result<Parsed, String> {
    let mut options = Options {
        clients: 50,
        requests: 100_000,
        data_size: 3,
        keep_alive: true,
        pipeline: 1,
        seed: u64::from(std::process::id()),
        ..Options::default()
    };
    // What the client understands in the same way is left to it.
    let mut of_client = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let name = arg.to_string_lossy().into_owned();
        let mut value = || args.next().ok_or_else(|| invalid(&name));
        match name.as_str() {
            "--help" => return Ok(Parsed::Say(HELP.into())),
            "-v" | "--version" => {
                let version = env!("CARGO_PKG_VERSION");
                return Ok(Parsed::Say(format!("redis-benchmark 7.0.15 (Redoubt {version})\n")));
            }
            "-h" | "-p" | "-s" | "-a" | "--user" | "-u" | "--sni" | "--cacert" | "--cacertdir"
            | "--cert" | "--key" | "--tls-ciphers" | "--tls-ciphersuites" => {
                of_client.extend([arg, value()?]);
            }
            "--tls" | "--insecure" => of_client.push(arg),
            "--dbnum" => of_client.extend(["-n".into(), value()?]),
            "-3" => of_client.push(arg),
            "-c" => options.clients = number(&value()?).clamp(1, 100_000) as usize,
            "-n" => options.requests = number(&value()?).max(1),
            "-d" => options.data_size = number(&value()?).clamp(1, 1 << 30) as usize,
            "--threads" => options.threads = number(&value()?).clamp(1, 500) as usize,
            "-k" => options.keep_alive = number(&value()?) != 0,
            "-r" => options.keyspace = Some(number(&value()?).max(1)),
            "-P" => options.pipeline = number(&value()?).max(1),
            "--precision" => options.precision = number(&value()?).min(3) as usize,
            "--seed" => options.seed = number(&value()?),
            "-t" => {
                let list = value()?.to_string_lossy().to_lowercase();
                options.tests = Some(list.split(',').map(str::to_owned).collect());
            }
            "-q" => options.quiet = true,
            "--csv" => options.csv = true,
            "-l" => options.forever = true,
            "-I" => options.idle = true,
            "-x" => options.stdin = true,
            "--enable-tracking" => options.tracking = true,
            "--cluster" => return Err("--cluster: cluster mode is not there yet.".into()),
            _ if name.starts_with('-') => return Err(invalid(&name)),
            _ => {
                options.command.push(arg.into_vec());
                options.command.extend(args.by_ref().map(OsString::into_vec));
            }
        }
    }
    options.server = shell::server_options(of_client)?;
    if options.stdin {
        let mut last = Vec::new();
        std::io::stdin().lock().read_to_end(&mut last).map_err(|error| error.to_string())?;
        options.command.push(last);
    }
    Ok(Parsed::Run(Box::new(options)))
}

fn invalid(name: &str) -> String {
    format!("Invalid option \"{name}\" or option argument missing\n")
}

fn number(text: &OsString) -> u64 {
    text.to_string_lossy().parse().unwrap_or(0)
}
