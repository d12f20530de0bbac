//! The cache of scripts, the libraries of functions, and what runs at this moment.

use super::{ABOUT, BUSY_EVAL, BUSY_FUNCTION};
use crate::lock;
use commands::CommandError;
use resp::OwnedArgs;
use scripting::{Engine, Flags, Function, Kind, Library, Random};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// One script of the cache.
#[derive(Debug)]
pub struct Script {
    /// Hexadecimal SHA1 of the whole body.
    pub sha: String,
    /// Its source, without the line of flags.
    pub source: Vec<u8>,
    /// Its flags.
    pub flags: Flags,
    /// It was seen to need more than the stripes of its declared keys.
    pub beyond: AtomicBool,
}

/// A running script has neither written nor been told to end.
const FRESH: u8 = 0;
/// It has called a command that writes.
const WROTE: u8 = 1;
/// It is to end.
const KILLED: u8 = 2;

/// Whether a script has written or is to end: one of both at most, for a script that has written must
/// be allowed to finish.
#[derive(Debug, Default)]
pub struct Fate(AtomicU8);

impl Fate {
    fn become_one(&self, new: u8) -> bool {
        match self.0.compare_exchange(FRESH, new, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(old) => old == new,
        }
    }

    /// It is about to write. False if it is to end instead.
    pub(crate) fn write(&self) -> bool {
        self.become_one(WROTE)
    }

    /// It is to end. False if it has written.
    pub(crate) fn kill(&self) -> bool {
        self.become_one(KILLED)
    }

    /// It has called a command that writes.
    pub fn wrote(&self) -> bool {
        self.0.load(Ordering::Acquire) == WROTE
    }

    /// It is to end.
    pub fn killed(&self) -> bool {
        self.0.load(Ordering::Acquire) == KILLED
    }
}

/// A script that runs.
#[derive(Debug)]
pub struct Running {
    /// A function, not a script.
    pub is_function: bool,
    /// The function's name and the command that started it: set before [`Running::is_late`].
    pub called: OnceLock<(String, OwnedArgs)>,
    /// Monotonic microseconds of its start.
    pub started_us: u64,
    /// Whether it has written, or is to end.
    pub fate: Fate,
    /// It runs for longer than `busy-reply-threshold`.
    pub is_late: AtomicBool,
    /// It runs the master's commands, and is not to be killed.
    pub from_master: bool,
}

/// Libraries of functions, and the interpreter that they share.
#[derive(Default)]
pub struct Functions {
    /// Made when the first library is loaded.
    pub(crate) engine: Option<Box<Engine>>,
    /// By name.
    pub(crate) libraries: BTreeMap<String, Library>,
}

/// What becomes of libraries that are there already when others are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestorePolicy {
    /// They go.
    Flush,
    /// They stay; the same name is an error.
    Append,
    /// Those of the same name are replaced.
    Replace,
}

/// Numbers of scripts and their bytes, for INFO.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScriptMemory {
    /// Bytes of the interpreters for scripts.
    pub vm_eval: u64,
    /// Bytes of the functions' interpreter.
    pub vm_functions: u64,
    /// Scripts in the cache.
    pub cached: u64,
    /// Their bytes.
    pub cached_bytes: u64,
    /// Functions.
    pub functions: u64,
    /// Libraries.
    pub libraries: u64,
    /// Bytes of their sources.
    pub library_bytes: u64,
}

/// Everything about scripts that workers share.
#[derive(Default)]
pub struct Scripts {
    cache: Mutex<BTreeMap<String, Arc<Script>>>,
    /// Grows when the cache is flushed: workers forget what they have compiled.
    pub(crate) epoch: AtomicU64,
    pub(crate) functions: Mutex<Functions>,
    pub(crate) random: Random,
    running: Mutex<Vec<Arc<Running>>>,
    /// Scripts that run.
    pub(crate) count: AtomicUsize,
    /// Scripts that had to start again, since the start.
    pub(crate) again: AtomicU64,
    /// Scripts that run for too long.
    pub(crate) late: AtomicUsize,
    /// Bytes of the scripts in the cache.
    cached_bytes: AtomicU64,
    /// Bytes of the interpreters of all workers, by worker.
    pub(crate) vm_eval: Mutex<BTreeMap<usize, u64>>,
    /// There was such a script once.
    had_late: AtomicBool,
    /// What could not be done while stripes were held for long.
    pub(super) later: Mutex<Vec<super::Later>>,
    /// Bytes of the functions' interpreter.
    pub(crate) vm_functions: AtomicU64,
}

impl Scripts {
    /// One script.
    pub fn get(&self, sha: &[u8]) -> Option<Arc<Script>> {
        let sha = std::str::from_utf8(sha).ok()?;
        if sha.bytes().any(|b| b.is_ascii_uppercase()) {
            return lock(&self.cache).get(&sha.to_ascii_lowercase()).cloned();
        }
        lock(&self.cache).get(sha).cloned()
    }

    /// Keeps a script.
    pub fn add(&self, script: Arc<Script>) {
        let bytes = script.source.len() as u64 + 144;
        if lock(&self.cache).insert(script.sha.clone(), script).is_none() {
            self.cached_bytes.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    /// Forgets all scripts.
    pub fn flush(&self) {
        lock(&self.cache).clear();
        self.cached_bytes.store(0, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Number of cached scripts, and their bytes.
    pub fn cached(&self) -> (usize, u64) {
        (lock(&self.cache).len(), self.cached_bytes.load(Ordering::Relaxed))
    }

    /// What all of this takes.
    pub fn memory(&self) -> ScriptMemory {
        let (cached, cached_bytes) = self.cached();
        let functions = lock(&self.functions);
        ScriptMemory {
            vm_eval: lock(&self.vm_eval).values().sum(),
            vm_functions: self.vm_functions.load(Ordering::Relaxed),
            cached: cached as u64,
            cached_bytes,
            functions: functions.count() as u64,
            libraries: functions.libraries.len() as u64,
            library_bytes: functions.bytes(),
        }
    }

    /// A script begins.
    pub(crate) fn begin(&self, running: &Arc<Running>) {
        lock(&self.running).push(Arc::clone(running));
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    /// It has ended.
    pub(crate) fn end(&self, running: &Arc<Running>) {
        lock(&self.running).retain(|other| !Arc::ptr_eq(other, running));
        self.count.fetch_sub(1, Ordering::AcqRel);
        if running.is_late.load(Ordering::Acquire) {
            self.late.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// It runs for too long.
    pub(crate) fn set_late(&self, running: &Running) {
        if !running.is_late.swap(true, Ordering::AcqRel) {
            self.had_late.store(true, Ordering::Relaxed);
            self.late.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Something waits for the end of a long script.
    #[inline]
    pub(super) fn has_later(&self) -> bool {
        self.had_late.load(Ordering::Relaxed) && !lock(&self.later).is_empty()
    }

    /// True while a script runs for too long.
    pub fn is_busy(&self) -> bool {
        self.late.load(Ordering::Acquire) > 0
    }

    /// The scripts that everybody waits for, the oldest first. There may be several: those that keep
    /// to their declared keys run beside each other.
    fn late_ones(&self) -> Vec<Arc<Running>> {
        let running = lock(&self.running);
        running.iter().filter(|one| one.is_late.load(Ordering::Acquire)).cloned().collect()
    }

    /// The first of the scripts that everybody waits for.
    pub fn late_one(&self) -> Option<Arc<Running>> {
        lock(&self.running).iter().find(|one| one.is_late.load(Ordering::Acquire)).cloned()
    }

    /// What everybody hears meanwhile.
    pub fn busy_error(&self) -> CommandError {
        let function = self.late_one().is_some_and(|one| one.is_function);
        CommandError::new(if function { BUSY_FUNCTION } else { BUSY_EVAL })
    }

    /// SCRIPT KILL, FUNCTION KILL: ends every late script that may be ended. Only if there is none
    /// the error tells why, of the one that is late for the longest time.
    /// Source: redis 7.0 `script.c:scriptKill`.
    pub(crate) fn kill(&self, function: bool) -> Result<(), CommandError> {
        let late = self.late_ones();
        let Some(first) = late.first() else {
            return Err(CommandError::new("NOTBUSY No scripts in execution right now."));
        };
        let mut ended = false;
        for one in late.iter().filter(|one| one.is_function == function && !one.from_master) {
            ended |= one.fate.kill();
        }
        if ended {
            return Ok(());
        }
        if first.from_master {
            return Err(CommandError::new(
                "UNKILLABLE The busy script was sent by a master instance in the context of replication and cannot be killed.",
            ));
        }
        if first.fate.wrote() {
            return Err(CommandError::new(
                "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the \
                 script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
            ));
        }
        Err(self.busy_error())
    }
}

impl Functions {
    /// One function.
    pub fn find(&self, name: &str) -> Option<&Function> {
        self.libraries.values().find_map(|library| library.functions.get(name))
    }

    /// Number of functions.
    pub fn count(&self) -> usize {
        self.libraries.values().map(|library| library.functions.len()).sum()
    }

    /// Bytes of the libraries' sources.
    pub fn bytes(&self) -> u64 {
        self.libraries.values().map(|library| library.source.len() as u64 + 200).sum()
    }

    /// Loads a library; returns its name. The error is a reply's text.
    pub(crate) fn load(
        &mut self,
        random: &Random,
        source: &[u8],
        replace: bool,
        go_on: &mut dyn FnMut() -> bool,
        log: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<String, Vec<u8>> {
        let (name, _) = scripting::header::library(source)?;
        if self.libraries.contains_key(&name) && !replace {
            return Err(format!("ERR Library '{name}' already exists").into_bytes());
        }
        if self.engine.is_none() {
            let engine = Engine::new(Kind::Functions, ABOUT, random)
                .map_err(|text| format!("ERR {text}").into_bytes())?;
            self.engine = Some(Box::new(engine));
        }
        let Some(engine) = &mut self.engine else { return Err(b"ERR no interpreter".to_vec()) };
        let library = engine.load_library(source, go_on, log)?;
        let taken = library.functions.keys().find(|function| {
            self.libraries
                .values()
                .any(|other| other.name != name && other.functions.contains_key(*function))
        });
        if let Some(function) = taken {
            return Err(format!("ERR Function {function} already exists").into_bytes());
        }
        self.libraries.insert(name.clone(), library);
        Ok(name)
    }

    /// Removes a library.
    pub(crate) fn delete(&mut self, name: &[u8]) -> bool {
        std::str::from_utf8(name).is_ok_and(|name| self.libraries.remove(name).is_some())
    }

    /// Removes everything.
    pub(crate) fn flush(&mut self) {
        self.libraries.clear();
        self.engine = None;
    }

    /// Adds libraries: all of them, or none.
    pub(crate) fn restore(
        &mut self,
        random: &Random,
        sources: &[Vec<u8>],
        policy: RestorePolicy,
        go_on: &mut dyn FnMut() -> bool,
        log: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<(), Vec<u8>> {
        let before = self.libraries.clone();
        let result = self.add_all(random, sources, policy, go_on, log);
        if result.is_err() {
            self.libraries = before;
        }
        result
    }

    fn add_all(
        &mut self,
        random: &Random,
        sources: &[Vec<u8>],
        policy: RestorePolicy,
        go_on: &mut dyn FnMut() -> bool,
        log: &mut dyn FnMut(u8, &[u8]),
    ) -> Result<(), Vec<u8>> {
        if policy == RestorePolicy::Flush {
            self.libraries.clear();
        }
        let old: Vec<String> = self.libraries.keys().cloned().collect();
        let mut added: Vec<String> = Vec::new();
        for source in sources {
            let (name, _) = scripting::header::library(source)?;
            if added.contains(&name) || (old.contains(&name) && policy != RestorePolicy::Replace) {
                let text = format!("ERR Library {name} already exists");
                return Err(text.into_bytes());
            }
            added.push(self.load(random, source, true, go_on, log)?);
        }
        Ok(())
    }
}
