//! EVAL, EVALSHA, FCALL: from arguments to a run.
//! Source: redis 7.0 `eval.c:evalGenericCommand`, `functions.c:fcallCommandGeneric`.

use super::host::{ScriptHost, may_start};
use super::share::Shared;
use super::store::Fate;
use super::{ABOUT, Running, Script};
use crate::{After, Node, NodeCtx, lock};
use commands::CommandError;
use resp::Args;
use scripting::{Compiled, Engine, Failure, Flags, Kind};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

type Result<T> = std::result::Result<T, CommandError>;

/// How a script is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EvalBy {
    /// By its source.
    Source,
    /// By its SHA1.
    Sha,
}

/// The script that a command names.
pub(crate) enum Found {
    /// One of the cache.
    Cached(Arc<Script>),
    /// None; the SHA1 of a source that was given.
    Unknown(String),
}

/// The script that a worker looked up last by its source: whoever sends sources sends the same one again
/// and again.
pub(crate) struct Recent {
    body: Vec<u8>,
    script: Arc<Script>,
    epoch: u64,
}

/// The longest source that a worker remembers.
const RECENT_MAX: usize = 64 << 10;

impl Found {
    /// Looks it up. The arguments are at least three.
    pub(crate) fn look_up(
        node: &Node,
        recent: &mut Option<Recent>,
        args: &Args<'_>,
        by: EvalBy,
    ) -> Found {
        let name = args.at(1);
        if by == EvalBy::Sha {
            return node.scripts.get(name).map_or(Found::Unknown(String::new()), Found::Cached);
        }
        let epoch = node.scripts.epoch.load(Ordering::Acquire);
        if let Some(recent) = recent
            && recent.epoch == epoch
            && recent.body == name
        {
            return Found::Cached(Arc::clone(&recent.script));
        }
        let sha = scripting::sha1_hex(name);
        match node.scripts.get(sha.as_bytes()) {
            None => Found::Unknown(sha),
            Some(script) => {
                if name.len() <= RECENT_MAX {
                    let script = Arc::clone(&script);
                    *recent = Some(Recent { body: name.to_vec(), script, epoch });
                }
                Found::Cached(script)
            }
        }
    }

    /// True if it is known to need more than the stripes of its declared keys.
    pub(crate) fn goes_beyond(&self) -> bool {
        matches!(self, Found::Cached(script) if script.beyond.load(Ordering::Relaxed))
    }
}

/// A worker's interpreter for scripts.
pub(crate) struct Evaluator {
    engine: Engine,
    compiled: BTreeMap<String, Compiled>,
    epoch: u64,
    /// Its bytes, as told last.
    told: u64,
}

/// A change of an interpreter's bytes that is worth a lock.
const TELL_STEP: u64 = 1024;

impl Evaluator {
    fn of<'w>(cx: &'w mut NodeCtx<'_, '_>) -> Result<&'w mut Evaluator> {
        let epoch = cx.node.scripts.epoch.load(Ordering::Acquire);
        let stale = cx.worker.evaluator.as_ref().is_none_or(|old| old.epoch != epoch);
        if stale {
            let engine = Engine::new(Kind::Eval, ABOUT, &cx.node.scripts.random)
                .map_err(|text| CommandError::owned(format!("ERR {text}")))?;
            let fresh = Evaluator { engine, compiled: BTreeMap::new(), epoch, told: 0 };
            cx.worker.evaluator = Some(Box::new(fresh));
        }
        match &mut cx.worker.evaluator {
            Some(evaluator) => Ok(evaluator),
            None => Err(CommandError::new("ERR no interpreter")),
        }
    }

    fn compiled(&mut self, script: &Script) -> Result<Compiled> {
        if let Some(compiled) = self.compiled.get(&script.sha) {
            return Ok(compiled.clone());
        }
        let compiled =
            self.engine.compile(&script.source).map_err(|text| CommandError::quoting(&[&text]))?;
        self.compiled.insert(script.sha.clone(), compiled.clone());
        Ok(compiled)
    }
}

/// Compiles a script and keeps it in the cache.
pub(crate) fn keep(cx: &mut NodeCtx<'_, '_>, body: &[u8], sha: String) -> Result<Arc<Script>> {
    let (flags, source) =
        scripting::header::script(body).map_err(|text| CommandError::quoting(&[&text]))?;
    let beyond = AtomicBool::new(false);
    let script = Arc::new(Script { sha, source: source.to_vec(), flags, beyond });
    Evaluator::of(cx)?.compiled(&script)?;
    cx.node.scripts.add(Arc::clone(&script));
    Ok(script)
}

type Words<'a> = SmallVec<[&'a [u8]; 6]>;

/// Keys and arguments behind the number of keys.
fn split<'a>(args: &Args<'a>) -> Result<(Words<'a>, Words<'a>)> {
    let rest = args.tail(3);
    let number = stdx::parse_i64(args.at(2))
        .ok_or(CommandError::new("ERR value is not an integer or out of range"))?;
    if number > rest.len() as i64 {
        return Err(CommandError::new("ERR Number of keys can't be greater than number of args"));
    }
    if number < 0 {
        return Err(CommandError::new("ERR Number of keys can't be negative"));
    }
    let keys = rest.iter().take(number as usize).collect();
    Ok((keys, rest.iter().skip(number as usize).collect()))
}

/// EVAL and its relatives.
pub(crate) fn eval(
    cx: &mut NodeCtx<'_, '_>,
    args: &Args<'_>,
    by: EvalBy,
    read_only: bool,
) -> Result<After> {
    let found = cx.worker.script.take();
    let (keys, argv) = split(args)?;
    let script = match found
        .unwrap_or_else(|| Found::look_up(cx.node, &mut cx.worker.recent_script, args, by))
    {
        Found::Cached(script) => script,
        Found::Unknown(_) if by == EvalBy::Sha => {
            return Err(CommandError::new("NOSCRIPT No matching script. Please use EVAL."));
        }
        Found::Unknown(sha) => keep(cx, args.at(1), sha)?,
    };
    let compiled = Evaluator::of(cx)?.compiled(&script)?;
    let Some(mut evaluator) = cx.worker.evaluator.take() else {
        return Err(CommandError::new("ERR scripts cannot call scripts"));
    };
    let start = Start { name: &script.sha, flags: script.flags, read_only, script: Some(&script) };
    let result = run(cx, args, &start, &mut evaluator.engine, &compiled, &keys, &argv);
    let memory = evaluator.engine.memory() as u64;
    if memory.abs_diff(evaluator.told) >= TELL_STEP {
        evaluator.told = memory;
        lock(&cx.node.scripts.vm_eval).insert(cx.worker.index, memory);
    }
    cx.worker.evaluator = Some(evaluator);
    result
}

/// FCALL, FCALL_RO.
pub(crate) fn fcall(cx: &mut NodeCtx<'_, '_>, args: &Args<'_>, read_only: bool) -> Result<After> {
    let name = String::from_utf8_lossy(args.at(1)).to_ascii_lowercase();
    let (mut engine, function) = {
        let mut functions = lock(&cx.node.scripts.functions);
        let found = functions
            .find(&String::from_utf8_lossy(args.at(1)))
            .or_else(|| {
                let mut all = functions.libraries.values().flat_map(|l| l.functions.values());
                all.find(|function| function.name.eq_ignore_ascii_case(&name))
            })
            .cloned();
        let Some(function) = found else {
            return Err(CommandError::new("ERR Function not found"));
        };
        // The stripes are held, all of them: nobody else wants the interpreter meanwhile.
        let Some(engine) = functions.engine.take() else {
            return Err(CommandError::new("ERR functions cannot call functions"));
        };
        (engine, function)
    };
    let result = split(args)
        .map_err(|error| match error.text() {
            "ERR value is not an integer or out of range" => {
                CommandError::new("ERR Bad number of keys provided")
            }
            _ => error,
        })
        .and_then(|(keys, argv)| {
            let start =
                Start { name: &function.name, flags: function.flags, read_only, script: None };
            run(cx, args, &start, &mut engine, &function.code, &keys, &argv)
        });
    cx.node.scripts.vm_functions.store(engine.memory() as u64, Ordering::Relaxed);
    lock(&cx.node.scripts.functions).engine = Some(engine);
    result
}

struct Start<'a> {
    name: &'a str,
    flags: Flags,
    read_only: bool,
    /// None for a function.
    script: Option<&'a Arc<Script>>,
}

fn run(
    cx: &mut NodeCtx<'_, '_>,
    args: &Args<'_>,
    start: &Start<'_>,
    engine: &mut Engine,
    code: &Compiled,
    keys: &[&[u8]],
    argv: &[&[u8]],
) -> Result<After> {
    let from_master = cx.session.info.master.load(Ordering::Relaxed);
    may_start(cx.node, cx.worker, start.flags, start.read_only, from_master)?;
    let running = Arc::new(Running {
        is_function: start.script.is_none(),
        called: OnceLock::new(),
        started_us: cx.node.host.mono_us(),
        fate: Fate::default(),
        is_late: AtomicBool::new(false),
        from_master,
    });
    let threshold = cx.worker.settings.config.busy_reply_threshold;
    let own_db = cx.session.db;
    let mut session = cx.session.stand_in();
    session.caching = cx.session.caching;
    session.db = own_db;
    // A script of the cache may hold fewer than all stripes; then it may come to nothing.
    let shared = start
        .script
        .filter(|_| !cx.keys.held().mask().covers(cx.node.keyspace.all()))
        .map(|script| Shared::new(script, cx.worker));
    if shared.is_some() {
        cx.keys.begin_undo();
    }
    cx.node.scripts.begin(&running);
    let mut host = ScriptHost {
        node: cx.node,
        worker: cx.worker,
        session: &mut session,
        keys: cx.keys,
        running: &running,
        called: (start.name, args),
        flags: start.flags,
        read_only: start.read_only || start.flags.no_writes,
        from_master,
        repl: scripting::REPL_AOF | scripting::REPL_REPLICA,
        threshold_us: if threshold == 0 { u64::MAX } else { threshold.saturating_mul(1000) },
        serve: &mut *cx.serve,
        shared,
        over: false,
        again: false,
    };
    let result = engine.run(code, start.name, keys, argv, &mut host, cx.reply);
    if let Some(shared) = host.shared.take() {
        host.keep_changes(shared);
    }
    let again = host.again;
    cx.node.scripts.end(&running);
    cx.keys.db = own_db;
    cx.session.info.db.store(own_db as u32, Ordering::Relaxed);
    cx.session.pushes.append(&mut session.pushes);
    cx.session.after.append(&mut session.after);
    if again {
        return Ok(After::Again);
    }
    result.map_err(|Failure { text, .. }| CommandError::quoting(&[&text])).map(|()| After::Done)
}
