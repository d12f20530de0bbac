//! Turns: the threads of simulated processes, of which exactly one runs at any time.
//!
//! A thread gives its turn back wherever the real one could lose its core or would wait: in calls of
//! files and sockets, in sleeps, on empty queues. The world decides who goes on, and when; the order
//! follows from its seed alone. Between two such points a thread is alone in the world, so what happens
//! *inside* a lock is not explored here.
//!
//! Threads, and not steps of a machine, since that leaves the production code as it is. A thread of
//! a process that died ends by unwinding from the point where it waits.

use super::disk::Disk;
use super::net::Net;
use node::Node;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use stdx::Prng;

/// Index of a process, and of the machine that it runs on.
pub type ProcId = usize;
/// Number of a thread.
pub type TaskId = u64;

/// What a thread that waits is told.
enum Go {
    Run,
    Die,
}

/// What the world is told when a thread stops.
enum Stopped {
    Waits,
    Ended { task: TaskId, panic: Option<String> },
}

/// The end of a thread of a dead process.
struct Died;

/// What happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A thread goes on, if it has not since.
    Task(TaskId, u64),
    /// The next packet of one direction of a connection arrives.
    Deliver(usize, usize),
    /// Something of the world's own.
    Own(u64),
}

struct Task {
    proc: ProcId,
    name: String,
    resume: Sender<Go>,
    /// Counts its turns.
    epoch: u64,
    /// `unpark` came before `park`.
    token: bool,
}

/// A simulated process and its machine.
pub struct Proc {
    /// Counts its lives.
    pub life: u32,
    /// It runs.
    pub alive: bool,
    /// It has ended itself, with this code.
    pub exit: Option<i32>,
    /// Its node, once it has one.
    pub node: Option<Arc<Node>>,
    /// Its machine's disk.
    pub disk: Disk,
}

/// Everything of a world that its threads share.
pub struct State {
    /// Microseconds since the beginning.
    pub now_us: u64,
    /// All chance.
    pub prng: Prng,
    queue: BTreeMap<(u64, u64), Event>,
    numbers: u64,
    tasks: BTreeMap<TaskId, Task>,
    /// The network.
    pub net: Net,
    /// Processes.
    pub procs: Vec<Proc>,
    /// Log lines.
    pub log: Vec<String>,
    /// What must not have happened.
    pub violations: Vec<String>,
    /// Turns so far.
    pub turns: u64,
}

impl State {
    /// Lets something happen.
    pub fn schedule(&mut self, at_us: u64, event: Event) {
        self.numbers += 1;
        self.queue.insert((at_us.max(self.now_us), self.numbers), event);
    }

    /// A thread that waits goes on soon.
    pub fn wake(&mut self, task: TaskId) {
        if let Some(epoch) = self.tasks.get(&task).map(|task| task.epoch) {
            let at = self.now_us + self.prng.below(20);
            self.schedule(at, Event::Task(task, epoch));
        }
    }

    /// Writes a line to the world's log.
    pub fn note(&mut self, text: String) {
        if self.log.len() >= LOG_LINES {
            self.log.drain(..LOG_LINES / 2);
        }
        let now = self.now_us;
        self.log.push(format!("{:10.6} {text}", now as f64 / 1e6));
    }
}

const LOG_LINES: usize = 20_000;
/// Wall-clock time after which a thread that keeps its turn is said to be stuck.
const STUCK: Duration = Duration::from_secs(60);

/// The state behind its lock, which only who has the turn takes.
pub struct Core(Mutex<State>);

impl Core {
    /// The state.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Here {
    core: Arc<Core>,
    proc: ProcId,
    life: u32,
    /// `None` for the world's own thread.
    task: Option<TaskId>,
    resume: Option<Receiver<Go>>,
    stopped: Sender<Stopped>,
    dead: Cell<bool>,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

fn here<R>(f: impl FnOnce(&Here) -> R) -> R {
    HERE.with(|here| f(here.borrow().as_ref().expect("called by a thread of a world")))
}

/// The state, for who has the turn, and the process that it belongs to.
pub fn with<R>(f: impl FnOnce(&mut State, ProcId) -> R) -> R {
    here(|here| f(&mut here.core.state(), here.proc))
}

/// True if the caller's process has died: what it does has no effect any more.
pub fn is_dead() -> bool {
    here(|here| here.dead.get() || here.core.state().procs[here.proc].life != here.life)
}

/// The life of the caller's process.
pub fn life() -> u32 {
    here(|here| here.life)
}

/// The calling thread.
pub fn me() -> Option<TaskId> {
    here(|here| here.task)
}

/// The world as the caller can keep it.
pub fn core() -> Arc<Core> {
    here(|here| Arc::clone(&here.core))
}

/// Gives the turn back until that moment, or until somebody wakes this thread.
pub fn park(until_us: Option<u64>) {
    let go = here(|here| {
        let (Some(task), Some(resume)) = (here.task, &here.resume) else { return None };
        if here.dead.get() {
            return None;
        }
        {
            let mut state = here.core.state();
            if let Some(until) = until_us {
                let epoch = state.tasks.get(&task).map_or(0, |task| task.epoch);
                state.schedule(until, Event::Task(task, epoch));
            }
        }
        // The world lives longer than its threads' turns.
        let _ = here.stopped.send(Stopped::Waits);
        Some(resume.recv().unwrap_or(Go::Die))
    });
    if let Some(Go::Die) = go {
        here(|here| here.dead.set(true));
        resume_unwind(Box::new(Died));
    }
}

/// Something takes so long.
pub fn spend(us: u64) {
    let until = with(|state, _| state.now_us + us);
    while !is_dead() && me().is_some() && with(|state, _| state.now_us < until) {
        park(Some(until));
    }
}

/// Work of a random length below this.
pub fn spend_below(us: u64) {
    let us = with(|state, _| state.prng.below(us.max(1)));
    spend(us);
}

/// As `thread::park_timeout`.
pub fn park_for_token(until_us: Option<u64>) {
    let Some(task) = me() else { return };
    let take = || {
        with(|state, _| state.tasks.get_mut(&task).is_some_and(|t| std::mem::take(&mut t.token)))
    };
    if !take() {
        park(until_us);
        take();
    }
}

/// As `Thread::unpark`.
pub fn give_token(task: TaskId) {
    with(|state, _| {
        if let Some(found) = state.tasks.get_mut(&task) {
            found.token = true;
            state.wake(task);
        }
    });
}

/// Starts a thread of the caller's process.
pub fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> TaskId {
    here(|here| start(&here.core, here.stopped.clone(), here.proc, name, run))
}

fn start(
    core: &Arc<Core>,
    stopped: Sender<Stopped>,
    proc: ProcId,
    name: String,
    run: impl FnOnce() + Send + 'static,
) -> TaskId {
    let (resume, resumed) = channel();
    let (task, life) = {
        let mut state = core.state();
        state.numbers += 1;
        let task = state.numbers;
        state.tasks.insert(task, Task { proc, name: name.clone(), resume, epoch: 0, token: false });
        state.wake(task);
        (task, state.procs[proc].life)
    };
    let core = Arc::clone(core);
    let body = move || {
        if !matches!(resumed.recv(), Ok(Go::Run)) {
            let _ = stopped.send(Stopped::Ended { task, panic: None });
            return;
        }
        let here = Here {
            core,
            proc,
            life,
            task: Some(task),
            resume: Some(resumed),
            stopped: stopped.clone(),
            dead: Cell::new(false),
        };
        HERE.with(|cell| *cell.borrow_mut() = Some(here));
        let panic = catch_unwind(AssertUnwindSafe(run)).err().and_then(|payload| {
            (!payload.is::<Died>()).then(|| {
                let text = payload.downcast_ref::<String>().cloned();
                text.or_else(|| payload.downcast_ref::<&str>().map(|text| text.to_string()))
                    .unwrap_or_else(|| "a panic without a text".into())
            })
        });
        let _ = stopped.send(Stopped::Ended { task, panic });
    };
    std::thread::Builder::new()
        .name(format!("{proc}:{name}"))
        .stack_size(2 << 20)
        .spawn(body)
        .expect("the system has threads");
    task
}

/// The world's side.
pub struct Turns {
    /// What the threads share.
    pub core: Arc<Core>,
    stopped: Receiver<Stopped>,
    say_stopped: Sender<Stopped>,
}

impl Turns {
    /// A world with so many machines, and nothing on them.
    pub fn new(seed: u64, procs: usize, net: Net) -> Turns {
        let (say_stopped, stopped) = channel();
        let proc =
            |_| Proc { life: 0, alive: false, exit: None, node: None, disk: Disk::default() };
        let core = Arc::new(Core(Mutex::new(State {
            now_us: 1_000_000,
            prng: Prng::new(seed),
            queue: BTreeMap::new(),
            numbers: 0,
            tasks: BTreeMap::new(),
            net,
            procs: (0..procs).map(proc).collect(),
            log: Vec::new(),
            violations: Vec::new(),
            turns: 0,
        })));
        let turns = Turns { core, stopped, say_stopped };
        turns.visit(0);
        turns
    }

    /// What the world's own thread does next, it does on this machine.
    pub fn visit(&self, proc: ProcId) {
        let here = Here {
            core: Arc::clone(&self.core),
            proc,
            life: self.core.state().procs[proc].life,
            task: None,
            resume: None,
            stopped: self.say_stopped.clone(),
            dead: Cell::new(false),
        };
        HERE.with(|cell| *cell.borrow_mut() = Some(here));
    }

    /// Starts a process.
    pub fn boot(&self, proc: ProcId, main: impl FnOnce() + Send + 'static) {
        {
            let mut state = self.core.state();
            let machine = &mut state.procs[proc];
            assert!(!machine.alive, "one process on each machine");
            machine.life += 1;
            machine.alive = true;
            machine.exit = None;
        }
        start(&self.core, self.say_stopped.clone(), proc, "main".into(), main);
    }

    /// Ends a process at once, wherever its threads are.
    pub fn kill(&self, proc: ProcId) {
        let dying: Vec<(TaskId, Sender<Go>)> = {
            let mut state = self.core.state();
            state.procs[proc].life += 1;
            state.procs[proc].alive = false;
            let of = |(id, task): (&TaskId, &Task)| {
                (task.proc == proc).then(|| (*id, task.resume.clone()))
            };
            state.tasks.iter().filter_map(of).collect()
        };
        for (_, resume) in dying {
            let _ = resume.send(Go::Die);
            self.await_stop();
        }
        let mut state = self.core.state();
        // Dropped outside the lock: the node's destructors may ask for it.
        let node = state.procs[proc].node.take();
        drop(state);
        drop(node);
    }

    fn await_stop(&self) {
        match self.stopped.recv_timeout(STUCK) {
            Ok(Stopped::Waits) => {}
            Ok(Stopped::Ended { task, panic }) => {
                let mut state = self.core.state();
                let Some(ended) = state.tasks.remove(&task) else { return };
                if let Some(panic) = panic {
                    let text = format!("node {} thread {}: panic: {panic}", ended.proc, ended.name);
                    state.note(text.clone());
                    state.violations.push(text);
                    state.procs[ended.proc].exit.get_or_insert(134);
                }
            }
            Err(_) => {
                panic!("a thread keeps its turn: it waits for something outside of the world")
            }
        }
    }

    /// Lets the next thing happen, at most at `until_us`. Returns what is the world's own to do.
    pub fn step(&self, until_us: u64) -> Option<Event> {
        let resume = {
            let mut state = self.core.state();
            let Some((&(at, number), &event)) =
                state.queue.first_key_value().filter(|((at, _), _)| *at <= until_us)
            else {
                state.now_us = state.now_us.max(until_us);
                return None;
            };
            state.queue.remove(&(at, number));
            state.now_us = state.now_us.max(at);
            let Event::Task(task, epoch) = event else { return Some(event) };
            let Some(found) = state.tasks.get_mut(&task).filter(|task| task.epoch == epoch) else {
                return Some(event);
            };
            found.epoch += 1;
            let resume = found.resume.clone();
            state.turns += 1;
            resume
        };
        let _ = resume.send(Go::Run);
        self.await_stop();
        Some(Event::Task(0, 0))
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        let procs = self.core.state().procs.len();
        for proc in 0..procs {
            self.kill(proc);
        }
        HERE.with(|cell| cell.borrow_mut().take());
    }
}
