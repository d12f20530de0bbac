//! What a running script may ask of this node: commands above all.
//! Source: redis 7.0 `script.c:scriptCall`.

use super::Running;
use super::share::Shared;
use crate::registry::{CommandRef, registry};
use crate::{Node, Session, Worker};
use acl::Context;
use commands::{CommandError, Flags};
use keyspace::Keys;
use replication::Targets;
use resp::{Args, OwnedArgs, Reply};
use scripting::Host;
use std::sync::atomic::Ordering;

/// A run's way to the node.
pub(super) struct ScriptHost<'a, 'k> {
    pub node: &'a Node,
    pub worker: &'a mut Worker,
    /// The script's own session: its database is not the caller's.
    pub session: &'a mut Session,
    pub keys: &'a mut Keys<'k>,
    pub running: &'a Running,
    /// Its name and the command that started it.
    pub called: (&'a str, &'a Args<'a>),
    pub flags: scripting::Flags,
    /// Called as an _RO command, or flagged `no-writes`.
    pub read_only: bool,
    pub from_master: bool,
    pub repl: i64,
    pub threshold_us: u64,
    /// Serves other connections of this worker meanwhile.
    pub serve: &'a mut dyn FnMut(),
    /// Present while not all stripes are held.
    pub shared: Option<Shared>,
    /// The script has to end.
    pub over: bool,
    /// What it did was taken back; it has to start again.
    pub again: bool,
}

const KILLED: &str = "Lua script killed by user with SCRIPT KILL.";
/// What `redis.set_repl` names.
fn targets_of(bits: i64) -> Targets {
    match (bits & scripting::REPL_REPLICA != 0, bits & scripting::REPL_AOF != 0) {
        (true, true) => Targets::ALL,
        (true, false) => Targets::REPLICAS,
        (false, true) => Targets::AOF,
        (false, false) => Targets::NONE,
    }
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

impl ScriptHost<'_, '_> {
    /// May the script call this command now?
    fn judge(&mut self, command: CommandRef, args: &Args<'_>) -> Result<(), Vec<u8>> {
        let flags = command.spec.flags;
        if flags.contains(Flags::NOSCRIPT) {
            return Err(text("ERR This Redis command is not allowed from script"));
        }
        let node = self.node;
        let config = &self.worker.settings.config;
        let obey = self.from_master;
        let stale = node.is_replica()
            && !node.role.link_up.load(Ordering::Relaxed)
            && !config.replica_serve_stale_data;
        if stale && !obey && !flags.contains(Flags::STALE) {
            return Err(text("ERR Can not execute the command on a stale replica"));
        }
        if !obey && let Err(denied) = node.may_run(&self.session.user, command, args) {
            // The log of refusals cannot be taken back.
            if !self.take_rest(false) {
                return Err(Vec::new());
            }
            let (info, user) = (&self.session.info, &self.session.user);
            let now = self.worker.now;
            let why = node.note_denied(now, info, user, Context::Lua, denied, command, args);
            return Err([b"ERR ACL failure in script: ", &why[..]].concat());
        }
        let config = &self.worker.settings.config;
        let wrote = self.running.fate.wrote();
        if self.read_only && flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE) {
            return Err(text("ERR Write commands are not allowed from read-only scripts."));
        }
        if flags.contains(Flags::WRITE) && !wrote && !obey {
            if node.is_replica() && config.replica_read_only {
                return Err(text("READONLY You can't write against a read only replica."));
            }
            if let Some(error) = node.refuse_writes(config) {
                return Err(error.bytes().to_vec());
            }
        }
        let allow_oom = self.flags.allow_oom && !self.flags.compat;
        if flags.contains(Flags::DENYOOM) && !wrote && !obey && !allow_oom && !self.worker.has_room
        {
            return Err(text("OOM command not allowed when used memory > 'maxmemory'."));
        }
        Ok(())
    }
}

impl Host for ScriptHost<'_, '_> {
    fn call(&mut self, args: &OwnedArgs, reply: &mut Reply) -> Result<(), Vec<u8>> {
        if self.over {
            return Err(Vec::new());
        }
        let args = args.as_args();
        let unknown = || text("ERR Unknown Redis command called from script");
        let Some(command) = self.node.find_command(&args) else {
            let error = match crate::command::later::error(&args) {
                Some(error) => error.bytes().to_vec(),
                None => unknown(),
            };
            self.count_error("ERR");
            return Err(error);
        };
        if !command.spec.arity_fits(args.len()) {
            self.count_error("ERR");
            return Err(text("ERR Wrong number of args calling Redis command from script"));
        }
        if let Err(error) = self.judge(command, &args) {
            if !self.over {
                self.count_error(&String::from_utf8_lossy(&error));
            }
            return Err(error);
        }
        let shown = self.node.monitor_count.load(Ordering::Relaxed) > 0;
        if self.shared.is_some() && !self.prepare_call(command, &args, shown) {
            return Err(Vec::new());
        }
        if command.spec.flags.contains(Flags::WRITE) && !self.running.fate.write() {
            // Told to end by somebody who saw that it had not written yet.
            self.over = true;
            self.node.host.log(2, KILLED);
            return Err(Vec::new());
        }
        if shown {
            self.node.feed_monitors_as(self.worker, self.session, command, &args, Some("lua"));
        }
        self.session.protocol = reply.protocol();
        self.keys.db = self.session.db;
        let targets = self.worker.targets;
        self.worker.targets = targets_of(self.repl);
        let failed = self.node.run_in_script(
            self.worker,
            self.session,
            command,
            &args,
            self.keys,
            reply,
            self.from_master,
        );
        self.worker.targets = targets;
        self.count_call(command, failed.is_some());
        if let Some(error) = &failed {
            self.count_error(error.text());
        }
        if self.over { Err(Vec::new()) } else { Ok(()) }
    }

    fn tick(&mut self) -> bool {
        if self.over {
            return false;
        }
        let now = self.node.host.mono_us();
        if now.saturating_sub(self.running.started_us) >= self.threshold_us {
            if !self.running.is_late.load(Ordering::Relaxed) {
                let (name, args) = self.called;
                self.running.called.get_or_init(|| (name.to_string(), args.to_owned_args()));
                self.node.scripts.set_late(self.running);
                let line = format!(
                    "Slow script detected: still in execution after {} milliseconds. You can try killing the script using the {} command.",
                    self.threshold_us / 1000,
                    if self.running.is_function { "FUNCTION KILL" } else { "SCRIPT KILL" }
                );
                self.node.host.log(3, &line);
            }
            (self.serve)();
        }
        if self.running.fate.killed() {
            self.node.host.log(2, KILLED);
            return false;
        }
        true
    }

    fn log(&mut self, level: u8, line: &[u8]) {
        self.log_line(level, String::from_utf8_lossy(line).into_owned());
    }

    fn is_over(&self) -> bool {
        self.over
    }

    fn set_repl(&mut self, bits: i64) {
        self.repl = bits;
    }

    fn may_run(&mut self, args: &OwnedArgs) -> Option<bool> {
        registry().find(args.as_args().at(0))?;
        let command = self.node.find_command(&args.as_args())?;
        Some(self.node.may_run(&self.session.user, command, &args.as_args()).is_ok())
    }
}

/// The judgement on a script as a whole, before it runs.
/// Source: redis 7.0 `script.c:scriptPrepareForRun`.
pub(super) fn may_start(
    node: &Node,
    worker: &Worker,
    flags: scripting::Flags,
    read_only: bool,
    from_master: bool,
) -> Result<(), CommandError> {
    let config = &worker.settings.config;
    let stale = node.is_replica()
        && !node.role.link_up.load(Ordering::Relaxed)
        && !config.replica_serve_stale_data;
    if flags.compat {
        if stale && !from_master {
            return Err(CommandError::new(
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            ));
        }
        return Ok(());
    }
    if flags.no_cluster && config.cluster_enabled {
        return Err(CommandError::new(
            "ERR Can not run script on cluster, 'no-cluster' flag is set.",
        ));
    }
    if stale && !flags.allow_stale && !from_master {
        return Err(CommandError::new(
            "MASTERDOWN Link with MASTER is down, replica-serve-stale-data is set to 'no' and 'allow-stale' flag is not set on the script.",
        ));
    }
    if !flags.no_writes {
        if node.is_replica() && config.replica_read_only && !from_master {
            return Err(CommandError::new(
                "READONLY Can not run script with write flag on readonly replica.",
            ));
        }
        if let Some(error) =
            node.refuse_writes(config).filter(|_| !from_master && !node.is_replica())
        {
            if error.text().starts_with("MISCONF") {
                return Err(CommandError::new(
                    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. \
                     Writable scripts are blocked. Use 'no-writes' flag for read only scripts.",
                ));
            }
            return Err(error);
        }
        if read_only {
            return Err(CommandError::new(
                "ERR Can not execute a script with write flag using *_ro command.",
            ));
        }
    }
    if !worker.has_room && !flags.allow_oom && !flags.no_writes && !from_master {
        return Err(CommandError::new(
            "OOM allow-oom flag is not set on the script, can not run it when used memory > 'maxmemory'",
        ));
    }
    Ok(())
}
