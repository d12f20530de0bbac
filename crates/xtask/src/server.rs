//! Server programs as child processes: which one, started where, ready when, ended always.
//!
//! Knows nothing about what is asked of a server. Every process started here dies with its handle.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::paths;
use crate::wire::Client;

/// A program that takes redis-server's arguments, for example `redis-server` or `target/release/redoubt server`.
#[derive(Clone, Debug)]
pub struct Program {
    /// What reports call it.
    pub name: String,
    words: Vec<String>,
}

impl Program {
    /// A program by its command line: words separated by blanks.
    pub fn parse(line: &str) -> Result<Program> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let first = words.first().context("an empty program")?;
        let stem = Path::new(first).file_name().map(|name| name.to_string_lossy().into_owned());
        Ok(Program { name: stem.unwrap_or_else(|| first.clone()), words })
    }

    /// Debian's redis-server.
    pub fn redis() -> Result<Program> {
        Program::parse("redis-server")
    }

    /// The product: `$REDOUBT_BIN server`, or the release build.
    pub fn redoubt() -> Result<Program> {
        let binary = paths::redoubt_binary();
        if !binary.exists() {
            bail!("{} does not exist: build it, or set REDOUBT_BIN", binary.display());
        }
        Ok(Program {
            name: "redoubt".into(),
            words: vec![binary.to_string_lossy().into_owned(), "server".into()],
        })
    }

    /// Its version line, as `--version` prints it.
    pub fn version(&self) -> Result<String> {
        let output = Command::new(&self.words[0]).args(&self.words[1..]).arg("--version").output();
        let output = output.with_context(|| format!("cannot run {:?}", self.words))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }
}

/// A running server in a folder of its own; killed and cleaned up when dropped.
pub struct Server {
    /// What reports call it.
    pub name: String,
    /// The TCP port on 127.0.0.1.
    pub port: u16,
    child: Child,
    dir: PathBuf,
}

impl Server {
    /// Starts `program` on a free port with `directives` (name, value), and waits until it answers PING.
    pub fn start(program: &Program, directives: &[(&str, &str)]) -> Result<Server> {
        let dir = scratch_dir("server")?;
        let port = free_port()?;
        let log = File::create(dir.join("log"))?;
        let mut command = Command::new(&program.words[0]);
        command.args(&program.words[1..]);
        for (name, value) in
            [("port", port.to_string().as_str()), ("bind", "127.0.0.1"), ("save", "")]
                .iter()
                .chain(directives)
        {
            command.arg(format!("--{name}")).arg(value);
        }
        let child = command
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {:?}", program.words))?;
        let mut server = Server { name: program.name.clone(), port, child, dir };
        server.wait_until_ready(Duration::from_secs(30))?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, limit: Duration) -> Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at start ({status}):\n{}", self.name, self.log_tail());
            }
            let answer = Client::connect(self.port, Duration::from_secs(1))
                .and_then(|mut client| client.call(&["PING"]));
            if answer.is_ok_and(|reply| reply.bytes() == Some(b"PONG")) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{} is not ready after {limit:?}:\n{}", self.name, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// A new connection with a time-out of a minute.
    pub fn client(&self) -> Result<Client> {
        Client::connect(self.port, Duration::from_secs(60))
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True while the process runs.
    pub fn alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// The last lines that it wrote.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(self.dir.join("log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// CPU time used so far, (user, system) in seconds, all threads.
    pub fn cpu_seconds(&self) -> Result<(f64, f64)> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        // The name in parentheses may hold blanks: count from behind it.
        let fields: Vec<&str> =
            stat.rsplit_once(')').context("stat without a name")?.1.split_whitespace().collect();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let user: f64 = fields.get(11).context("stat is short")?.parse()?;
        let system: f64 = fields.get(12).context("stat is short")?.parse()?;
        Ok((user / ticks, system / ticks))
    }

    /// A size in bytes from the process's status: `VmRSS` is resident memory.
    pub fn memory(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))
            .with_context(|| format!("status has no {field}"))?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            // A stopped process does not die of SIGTERM; SIGKILL always works. Both fail only when it is gone already.
            let _ = kill_process(pid, Signal::KILL);
        }
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// A TCP port on 127.0.0.1 that nobody listens on, below the range that outgoing connections use.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Start at a place that follows from the process id, so that two runs at once rarely meet.
    for _ in 0..2000 {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let at = 20_000 + (std::process::id().wrapping_mul(97) + step) % 10_000;
        let port = u16::try_from(at)?;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no free port between 20000 and 30000")
}

/// A new empty folder below the target folder.
pub fn scratch_dir(purpose: &str) -> Result<PathBuf> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let dir =
        paths::target().join("scratch").join(format!("{purpose}-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}
