//! The running `up`: starts the members in order, keeps their processes, takes commands, tells what
//! happens, and stops everything at the end.
//!
//! One thread, the program's main one, owns everything; watchers, the control socket, signals and
//! keys only send it messages. It must be the main thread, since members live as long as the thread
//! that started them (see `spawn`).

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitCode, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::KeyEvent;
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use super::control::{self, Request, Response};
use super::event::Event;
use super::layout::{self, Layout};
use super::model::{End, Model};
use super::options::UpOptions;
use super::plan::{self, Plan};
use super::snapshot::{MemberState, Snapshot};
use super::spawn;
use super::state::{Kind, ProcessId, State};
use super::view::{Action, View};
use super::watch::{self, Target, Update};
use super::{hints, leftovers};

mod orders;
mod stop;

/// What reaches the main thread.
pub enum Message {
    /// A signal has come.
    Signal(i32),
    /// A watcher has news.
    Update(Update),
    /// Someone asks over the control socket.
    Control(Request, Sender<Response>),
    /// A key in the live view.
    Key(KeyEvent),
    /// The terminal has another size.
    Resize,
}

/// Where the time line goes, beside `up.log`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// The live view.
    View,
    /// Lines on standard output.
    Lines,
    /// Nowhere.
    Nothing,
}

/// Longest sleep of the main thread; also how soon an unnoticed change shows.
const TICK: Duration = Duration::from_millis(200);
/// Least time between two pictures of the live view.
const FRAME: Duration = Duration::from_millis(50);
/// How long replicas wait for the master, and sentinels for the replicas, at the start.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// When it is time to say what is still missing.
const SLOW_START: Duration = Duration::from_secs(30);
/// Lines of a log that are quoted when a member does not start.
const LOG_LINES: usize = 6;

/// How far the start has come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// The master is to be started.
    Begin,
    /// The master is starting; replicas follow when it answers.
    Master(Instant),
    /// Replicas are syncing; sentinels follow, and so see all of them at once.
    Replicas(Instant),
    /// Sentinels are finding each other. True once it was said that this takes long.
    Sentinels(Instant, bool),
    /// Everything was up once.
    Up,
}

struct Supervisor {
    model: Model,
    phase: Phase,
    show: Show,
    view: Option<View>,
    log: File,
    messages: Receiver<Message>,
    /// The master as last announced.
    master: Option<usize>,
    /// When the announced master was lost, and how.
    lost: Option<(Instant, String)>,
    /// Signals and requests to stop, counted: the second one means at once.
    stops: u32,
    /// A member that ended before everything was up: what to tell.
    failure: Option<String>,
    drawn: Instant,
}

/// Runs `up` until it is told to stop. The error is what to tell the user.
pub fn run(options: &UpOptions, show: Show) -> Result<ExitCode, String> {
    // Whatever is written from here on, by us or by a member, is for its owner only: servers
    // rewrite configuration files with the mask that they inherit.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let layout = Layout::new(&options.dir).map_err(|error| error.to_string())?;
    let in_dir = |error: io::Error| format!("{}: {error}", layout.dir.display());
    layout.create().map_err(in_dir)?;
    let _lock = leftovers::lock(&layout)?;
    let mut notes = leftovers::stop(&layout)?;
    let plan = plan::prepare(layout.clone(), options)?;
    notes.extend(plan.notes.iter().cloned());
    let (to, messages) = channel();
    forward_signals(to.clone()).map_err(|error| format!("signals: {error}"))?;
    let log = layout::append_private(&layout.log()).map_err(in_dir)?;
    start_watchers(&plan, &to);
    let mut supervisor = Supervisor {
        model: Model::new(plan),
        phase: Phase::Begin,
        show,
        view: None,
        log,
        messages,
        master: None,
        lost: None,
        stops: 0,
        failure: None,
        drawn: Instant::now(),
    };
    supervisor.save();
    control::serve(&layout, to.clone()).map_err(in_dir)?;
    if show == Show::View {
        supervisor.view = Some(View::open(to).map_err(|error| format!("terminal: {error}"))?);
    }
    for note in notes {
        supervisor.tell(Event::now("up", note));
    }
    let result = supervisor.live();
    // Both are of no meaning without a running `up`; the next one replaces what is left of them.
    let _ = std::fs::remove_file(layout.socket());
    result
}

fn forward_signals(to: Sender<Message>) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGCHLD, SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if to.send(Message::Signal(signal)).is_err() {
                return;
            }
        }
    });
    Ok(())
}

fn start_watchers(plan: &Plan, to: &Sender<Message>) {
    for (member, record) in plan.state.members.iter().enumerate() {
        let target = Target {
            member,
            port: record.port,
            password: plan.password.clone(),
            conf: plan::conf_path(&plan.layout, record),
        };
        let sink = || {
            let to = to.clone();
            move |update| to.send(Message::Update(update)).is_ok()
        };
        let sink_1 = sink();
        match record.kind {
            Kind::Node => {
                std::thread::spawn(move || watch::watch_node(&target, sink_1));
            }
            Kind::Sentinel => {
                let (sink_2, target_2) = (sink(), target.clone());
                std::thread::spawn(move || watch::watch_sentinel(&target, sink_1));
                std::thread::spawn(move || watch::listen(&target_2, sink_2));
            }
        }
    }
}

impl Supervisor {
    fn live(mut self) -> Result<ExitCode, String> {
        while self.stops == 0 && self.failure.is_none() {
            self.advance();
            self.draw(false);
            match self.messages.recv_timeout(TICK) {
                Ok(message) => self.handle(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => self.stops += 1,
            }
            while let Ok(message) = self.messages.try_recv() {
                self.handle(message);
            }
            self.reap();
            self.follow_master();
        }
        let failure = self.failure.take();
        self.stop_all();
        self.view = None;
        match failure {
            Some(failure) => Err(failure),
            None => {
                if self.show == Show::View {
                    println!(
                        "stopped; `{} up` on the same folder goes on from here",
                        hints::program()
                    );
                }
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    /// Adds to the time line.
    fn tell(&mut self, event: Event) {
        let line = event.line();
        self.model.note(event);
        self.print(&line);
    }

    /// Writes a line where lines go. Failing to tell is no reason to stop what runs.
    fn print(&mut self, line: &str) {
        let _ = writeln!(self.log, "{line}");
        if self.show == Show::Lines {
            let mut out = io::stdout().lock();
            let _ = writeln!(out, "{line}").and_then(|()| out.flush());
        }
    }

    fn tell_of(&mut self, index: usize, text: impl Into<String>) {
        let event = Event::now(&self.model.members[index].record.name, text);
        self.tell(event);
    }

    /// Keeps `up.json` in step with the processes.
    fn save(&mut self) {
        let state = State {
            supervisor: ProcessId::own(),
            members: self.model.members.iter().map(|m| m.record.clone()).collect(),
            ..self.model.plan.state.clone()
        };
        if let Err(error) = state.save(&self.model.plan.layout) {
            self.tell(Event::now("up", format!("cannot write up.json: {error}")));
        }
    }

    // ----- the start -----

    /// Starts whoever's turn has come.
    fn advance(&mut self) {
        let master = self.model.plan.master;
        match self.phase {
            Phase::Begin => {
                self.spawn_or_fail(master);
                self.phase = Phase::Master(Instant::now());
            }
            Phase::Master(since) => {
                let state = self.model.members[master].state();
                if state == MemberState::Running || since.elapsed() > START_PATIENCE {
                    let nodes: Vec<usize> =
                        self.model.of_kind(Kind::Node).filter(|index| *index != master).collect();
                    nodes.into_iter().for_each(|index| self.spawn_or_fail(index));
                    self.phase = Phase::Replicas(Instant::now());
                }
            }
            Phase::Replicas(since) => {
                let in_step = |index: usize| {
                    let facts = self.model.members[index].node.as_ref();
                    facts.is_some_and(|facts| facts.link_up || facts.role == "master")
                };
                let all = self.model.of_kind(Kind::Node).all(in_step);
                if all || since.elapsed() > START_PATIENCE {
                    let sentinels: Vec<usize> = self.model.of_kind(Kind::Sentinel).collect();
                    sentinels.into_iter().for_each(|index| self.spawn_or_fail(index));
                    self.phase = Phase::Sentinels(Instant::now(), false);
                }
            }
            Phase::Sentinels(since, said) => {
                let snapshot = self.model.snapshot();
                if snapshot.ready {
                    self.phase = Phase::Up;
                    self.announce(&snapshot);
                } else if !said && since.elapsed() > SLOW_START {
                    self.phase = Phase::Sentinels(since, true);
                    let text = format!("still waiting for {}", snapshot.waiting_for.join("; "));
                    self.tell(Event::now("up", text));
                }
            }
            Phase::Up => {}
        }
    }

    /// The line that says that everything is up, and what to type now.
    fn announce(&mut self, snapshot: &Snapshot) {
        let ports = |ports: Vec<u16>| -> String {
            ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ")
        };
        let master = snapshot.master.as_deref().unwrap_or_default();
        let replicas = snapshot.nodes.iter().filter(|node| node.member.name != master);
        let line = format!(
            "ready: master {master} at {}, replicas at {}, sentinels at {} ({})",
            snapshot.master_address.as_deref().unwrap_or_default(),
            ports(replicas.map(|node| node.member.port).collect()),
            ports(snapshot.sentinels.iter().map(|s| s.member.port).collect()),
            snapshot.master_name,
        );
        let event = Event::now("up", format!("ready: everything is up, {master} is the master"));
        self.model.ready_at = Some(event.at);
        self.model.note(event);
        self.print(&line);
        self.print("try it from another shell:");
        for hint in hints::lines(snapshot) {
            self.print(&format!("  {hint}"));
        }
    }

    fn spawn_or_fail(&mut self, index: usize) {
        if let Err(text) = self.spawn(index) {
            self.failure.get_or_insert(text);
        }
    }

    fn spawn(&mut self, index: usize) -> Result<(), String> {
        let record = self.model.members[index].record.clone();
        let layout = &self.model.plan.layout;
        let (conf, log) = (plan::conf_path(layout, &record), plan::log_path(layout, &record));
        let child = spawn::spawn(record.kind, &conf, &log)
            .map_err(|error| format!("cannot start {}: {error}", record.name))?;
        let pid = child.id();
        let member = &mut self.model.members[index];
        member.forget();
        member.record.process = ProcessId::of(pid);
        member.child = Some(child);
        member.end = None;
        member.kill_requested = false;
        self.save();
        self.tell_of(index, format!("started: pid {pid}, port {}", record.port));
        Ok(())
    }

    // ----- what happens -----

    fn handle(&mut self, message: Message) {
        match message {
            // The children are looked after in every round.
            Message::Signal(SIGCHLD) => {}
            Message::Signal(_) => self.stops += 1,
            Message::Update(update) => {
                for event in self.model.take(update) {
                    self.tell(event);
                }
            }
            Message::Control(request, reply) => {
                let response = self.obey(&request);
                // Whoever asked may have left.
                let _ = reply.send(response);
            }
            Message::Key(key) => self.key(key),
            Message::Resize => self.draw(true),
        }
    }

    /// Notices members that have ended.
    fn reap(&mut self) {
        for index in 0..self.model.members.len() {
            let Some(child) = &mut self.model.members[index].child else { continue };
            if let Ok(Some(status)) = child.try_wait() {
                self.ended(index, status);
            }
        }
    }

    fn ended(&mut self, index: usize, status: ExitStatus) {
        let text = status_text(status);
        let member = &mut self.model.members[index];
        member.child = None;
        member.record.process = None;
        member.forget();
        let by_request = member.kill_requested || self.stops > 0;
        member.end =
            Some(if member.kill_requested { End::Killed } else { End::Exited(text.clone()) });
        let name = member.record.name.clone();
        self.save();
        if Some(index) == self.master {
            self.lost.get_or_insert((Instant::now(), format!("{name} ended")));
        }
        if by_request {
            return self.tell_of(index, text);
        }
        let log = plan::log_path(&self.model.plan.layout, &self.model.members[index].record);
        self.tell_of(index, format!("{text}; its log is {}", layout::display(&log)));
        if self.phase != Phase::Up && self.failure.is_none() {
            self.failure = Some(format!(
                "{name} did not stay up: {text}. The end of {}:\n{}",
                layout::display(&log),
                last_lines(&log)
            ));
        }
    }

    /// Says when another node has become master, and how long there was none.
    fn follow_master(&mut self) {
        let Some(now) = self.model.master().filter(|index| Some(*index) != self.master) else {
            return;
        };
        let member = &self.model.members[now];
        if member.node.as_ref().is_none_or(|facts| facts.role != "master") {
            return;
        }
        let name = member.record.name.clone();
        if let Some(before) = self.master.replace(now) {
            let before = &self.model.members[before].record.name;
            let text = match self.lost.take() {
                Some((since, how)) => {
                    format!(
                        "{name} is master now, {:.2} s after {how}",
                        since.elapsed().as_secs_f64()
                    )
                }
                None => format!("{name} is master now, {before} was"),
            };
            self.tell(Event::now("up", text));
        }
        self.lost = None;
    }

    fn draw(&mut self, now: bool) {
        if self.view.is_none() || !(now || self.drawn.elapsed() >= FRAME) {
            return;
        }
        self.drawn = Instant::now();
        let snapshot = self.model.snapshot();
        let names = self.model.names();
        if let Some(view) = &mut self.view {
            // A terminal that has gone is noticed by SIGHUP.
            let _ = view.draw(&snapshot, &self.model.events, &names, self.stops > 0);
        }
    }

    fn key(&mut self, key: KeyEvent) {
        let count = self.model.members.len();
        let Some(action) = self.view.as_mut().and_then(|view| view.key(key, count)) else {
            return self.draw(true);
        };
        let result = match action {
            Action::Quit => {
                self.stops += 1;
                return;
            }
            Action::Kill(index) => self.kill(index),
            Action::PauseOrResume(index) => {
                if self.model.members[index].state() == MemberState::Paused {
                    self.resume(index)
                } else {
                    self.pause(index)
                }
            }
            Action::Start(index) => self.start(index),
        };
        if let Some(view) = &mut self.view {
            view.set_message(result.err().unwrap_or_default());
        }
        self.draw(true);
    }
}

/// How a process ended, in words.
fn status_text(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(0), _) => "ended".into(),
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => {
            let name = match signal {
                2 => " (SIGINT)",
                6 => " (SIGABRT)",
                9 => " (SIGKILL)",
                11 => " (SIGSEGV)",
                15 => " (SIGTERM)",
                _ => "",
            };
            format!("was killed by signal {signal}{name}")
        }
        (None, None) => "ended".into(),
    }
}

fn last_lines(path: &PathBuf) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(LOG_LINES);
    lines[from..].iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// The view, if there is a terminal to show it on.
pub fn show_for(options: &UpOptions) -> Show {
    let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if options.plain || dumb || !io::stdout().is_terminal() { Show::Lines } else { Show::View }
}
