//! What a sentinel checks before it starts: its file, its scripts, directives that it can't honour.

use super::state::{self, line_of};
use super::{Refusal, note};
use crate::container;
use crate::program::Composed;
use crate::server::config_file::{self, ConfigFile};
use config::{AnnounceViews, Config, LoadError, Loaded};
use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;
use sentinel::SentinelConf;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use stdx::ViewAddrs;

/// Where the state is kept, and the text to start from.
pub struct Source {
    /// The file that is written.
    pub path: PathBuf,
    /// What the machine reads: the configuration with its state.
    pub text: Vec<u8>,
    /// The lines that the environment gave, for complaints.
    composed: Composed,
    /// Holds the lock of a file that other containers may have mounted as well.
    _lock: Option<File>,
}

/// Finds the file in which the state is kept: a sentinel that would forget its votes must not vote.
///
/// That is the configuration file. Where it can't be written, for it is mounted read-only, or another
/// container's sentinel keeps its own state there, or there is none because the environment says
/// everything, the state goes to `dir`.
pub fn source(loaded: &Loaded, file: &ConfigFile) -> Result<Source, Refusal> {
    let in_container = container::is_active();
    let Some(path) = &file.path else {
        if in_container {
            return state_in_dir(loaded, file, "the environment", false, None);
        }
        return Err(Refusal::Log(
            "Sentinel needs config file on disk to save state. Exiting...".into(),
        ));
    };
    let shown = path.display().to_string();
    let state = dir_of(loaded).join(state::STATE_FILE);
    if state != *path && std::fs::read(&state).is_ok_and(|text| state::belongs_to(&text, &shown)) {
        return state_in_dir(loaded, file, &shown, false, Some("as before"));
    }
    match access(path, Access::WRITE_OK) {
        Ok(()) if in_container => match own(path) {
            Some(lock) => in_place(loaded, file, path, Some(lock)),
            None => {
                let why = "another sentinel uses its configuration file";
                state_in_dir(loaded, file, &shown, true, Some(why))
            }
        },
        Ok(()) => in_place(loaded, file, path, None),
        Err(error) if state != *path && (in_container || error == Errno::ROFS) => {
            let why = format!("{shown} can't be written ({})", plain(&error.into()));
            state_in_dir(loaded, file, &shown, false, Some(&why))
        }
        Err(error) => {
            let why = plain(&error.into());
            Err(Refusal::Log(format!(
                "Sentinel config file {shown} is not writable: {why}. Exiting..."
            )))
        }
    }
}

/// Locks a file; nothing if somebody else has it.
fn own(path: &Path) -> Option<File> {
    let file = File::options().read(true).write(true).open(path).ok()?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok().then_some(file)
}

fn dir_of(loaded: &Loaded) -> PathBuf {
    PathBuf::from(loaded.config.dir.to_str().into_owned())
}

/// The state in the configuration file itself; lines from elsewhere (the command line, the standard
/// input, included files) follow the file's own.
fn in_place(
    loaded: &Loaded,
    file: &ConfigFile,
    path: &Path,
    lock: Option<File>,
) -> Result<Source, Refusal> {
    let mut text = file.composed.text.clone();
    let own: Vec<Vec<Vec<u8>>> =
        text.split(|&b| b == b'\n').filter_map(words_of_sentinel_line).collect();
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    for line in &loaded.sentinel {
        let words = words_of_sentinel_line(&line.text);
        if words.is_none_or(|words| !own.contains(&words)) {
            text.extend(line_of(&line.words));
            text.push(b'\n');
        }
    }
    Ok(Source { path: path.to_path_buf(), text, composed: file.composed.clone(), _lock: lock })
}

/// The state in `dir`, beside nothing that belongs to somebody else.
fn state_in_dir(
    loaded: &Loaded,
    file: &ConfigFile,
    configuration: &str,
    shared: bool,
    why: Option<&str>,
) -> Result<Source, Refusal> {
    let path = dir_of(loaded).join(state::STATE_FILE);
    let old = match std::fs::read(&path) {
        Ok(old) => Some(old),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            let why = plain(&error);
            return Err(refusal(&format!(
                "reading the sentinel's state {}: {why}",
                path.display()
            )));
        }
    };
    let lines: Vec<Vec<u8>> = loaded.sentinel.iter().map(|line| line.text.to_vec()).collect();
    let text = state::merged(configuration, &lines, shared, old.as_deref());
    config_file::replace(&path, &text, true).map_err(|error| {
        refusal(&format!(
            "the sentinel's state can't be kept in {}: {}; mount a volume that user {} may write",
            path.display(),
            plain(&error),
            rustix::process::geteuid().as_raw()
        ))
    })?;
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    note(&format!("This sentinel's state is kept in {}{why}.", path.display()));
    Ok(Source { path, text, composed: file.composed.clone(), _lock: None })
}

/// The operating system's words without the number that Rust adds.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

/// Reads the `sentinel` lines. An error is the text to be printed.
pub fn read(source: &Source) -> Result<SentinelConf, String> {
    let conf = SentinelConf::parse(&source.text).map_err(|error| {
        if let Some(variable) = source.composed.variable_of(error.line, error.text.as_bytes()) {
            return format!("Fatal error in the environment: {variable}: {}\n", error.message);
        }
        let text = error.to_string();
        log_unresolved(&text);
        fatal(&text)
    })?;
    conf.warnings().iter().for_each(|warning| note(warning));
    Ok(conf)
}

/// A name without an address is a line of the log, too, as with redis-sentinel.
fn log_unresolved(complaint: &str) {
    if !complaint.contains("Can't resolve instance hostname") {
        return;
    }
    let line = complaint.split(">>> '").nth(1).unwrap_or_default();
    if let Some(host) = line.split_whitespace().nth(3) {
        crate::log::write(crate::log::WARNING, &format!("Failed to resolve hostname '{host}'"));
    }
}

/// The words of a line, if it is one of Sentinel's.
fn words_of_sentinel_line(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let line = line.trim_ascii();
    let words = sentinel::words_before_comment(line).or_else(|| config::split_words(line))?;
    words.first()?.eq_ignore_ascii_case(b"sentinel").then(|| comparable(&words))
}

fn comparable(words: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut words = words.to_vec();
    words.iter_mut().take(2).for_each(|word| word.make_ascii_lowercase());
    words
}

fn fatal(why: &str) -> String {
    format!("\n*** FATAL CONFIG FILE ERROR (Redis {}) ***\n{why}\n", node::command::REDIS_VERSION)
}

/// Every script must be there when it is needed, and able to run.
pub fn check_scripts(conf: &SentinelConf) -> Result<(), String> {
    for script in conf.scripts() {
        if !is_executable(&script.path) {
            return Err(fatal(&script.error.to_string()));
        }
        if let Some(lacking) = lacks_interpreter(Path::new(&script.path)) {
            let hint = "An image with a shell is the target `with-shell` of the Dockerfile.";
            return Err(fatal(&format!(
                "{}\nIt needs {lacking}, which is not here. {hint}",
                script.error
            )));
        }
    }
    Ok(())
}

/// True if the file exists and may be executed by this process.
pub fn is_executable(path: &str) -> bool {
    access(path, Access::EXEC_OK).is_ok()
}

/// The interpreter that a script's first line names, if this machine (or small image) lacks it. Found
/// at the start, it is no surprise in the middle of a failover.
fn lacks_interpreter(path: &Path) -> Option<String> {
    let mut head = Vec::new();
    File::open(path).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    let mut words = line.split_whitespace();
    let interpreter = words.next()?;
    if !is_executable(interpreter) {
        return Some(interpreter.to_string());
    }
    if !interpreter.ends_with("/env") {
        return None;
    }
    let program = words.find(|word| !word.starts_with('-') && !word.contains('='))?;
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&paths)
        .any(|folder| access(folder.join(program), Access::EXEC_OK).is_ok());
    (!found).then(|| program.to_string())
}

/// Rules of a line `sentinel announce-view` go before those of the ordinary directive.
pub fn take_views(conf: &SentinelConf, config: &mut Config) -> Result<(), Refusal> {
    if let Some(text) = conf.announce_view() {
        config.announce_view = AnnounceViews::read(text)
            .map_err(|why| refusal(&format!("`sentinel announce-view {text}`: {why}")))?;
    }
    Ok(())
}

/// What SENTINEL CONFIG SET of `announce-view` understands.
pub fn read_views(text: &str) -> Result<(String, ViewAddrs), String> {
    AnnounceViews::read(text).map(|views| (views.to_string(), views.addresses()))
}

/// Everything that is wrong with the `sentinel` lines of a text, with those of included files
/// behind them.
pub fn check_lines(text: &[u8], loaded: &Loaded) -> Vec<LoadError> {
    let mut text = text.to_vec();
    let own: Vec<_> = text.split(|&b| b == b'\n').filter_map(words_of_sentinel_line).collect();
    let others = loaded.sentinel.iter().filter(|line| !own.contains(&comparable(&line.words)));
    let others: Vec<u8> = others.flat_map(|line| line_of(&line.words)).collect();
    text.push(b'\n');
    text.extend(others);
    let wrong = SentinelConf::check(&text).into_iter().map(|error| LoadError::Line {
        number: error.line,
        line: error.text.as_str().into(),
        reason: error.message,
    });
    let mut wrong: Vec<LoadError> = wrong.collect();
    let rules = SentinelConf::parse(&text).ok();
    if let Some(text) = rules.as_ref().and_then(SentinelConf::announce_view)
        && let Err(why) = AnnounceViews::read(text)
    {
        wrong.push(LoadError::General(format!("sentinel announce-view {text}: {why}")));
    }
    wrong
}

fn refusal(why: &str) -> Refusal {
    Refusal::Log(format!("Fatal error: {why}."))
}

/// Directives of a data server mean nothing here. Left in force they would only mislead.
pub fn drop_data_directives(loaded: &mut Loaded) {
    for name in ["appendonly", "cluster-enabled", "replicaof", "save"] {
        if loaded.given.contains_key(name) {
            note(&format!("The directive '{name}' has no effect in a sentinel."));
        }
    }
    let config = &mut loaded.config;
    config.appendonly = false;
    config.cluster_enabled = false;
    config.replicaof = None;
    config.save.clear();
}

/// Where connections to other nodes are to come from (`bind-source-addr`).
pub fn source_address(config: &Config) -> Result<Option<IpAddr>, Refusal> {
    let Some(text) = config.bind_source_addr.non_empty() else { return Ok(None) };
    let text = String::from_utf8_lossy(text).into_owned();
    match text.parse() {
        Ok(ip) => Ok(Some(ip)),
        Err(_) => Err(refusal(&format!("`bind-source-addr {text}` is not an address"))),
    }
}

#[cfg(test)]
mod tests {
    use super::{lacks_interpreter, read, source};
    use crate::program::Composed;
    use crate::server::config_file::{self, ConfigFile};

    /// Loads a file and options as a start does; returns the ordinary result or the error's text.
    fn start(name: &str, file: &str, options: &str) -> Result<sentinel::SentinelConf, String> {
        let path = std::env::temp_dir().join(format!("redoubt-conf-{}-{name}", std::process::id()));
        std::fs::write(&path, file).expect("a temporary file");
        let text = format!("{file}\n{options}");
        let composed = Composed { text: file.as_bytes().to_vec(), ..Composed::default() };
        let config_file = ConfigFile::new(Some(path.clone()), composed, true);
        let loaded = config_file::load(text.as_bytes(), true).map_err(|error| error.to_string());
        let conf = loaded.and_then(|loaded| {
            let source = source(&loaded, &config_file).map_err(|_| "refused".to_string())?;
            read(&source)
        });
        std::fs::remove_file(&path).expect("the temporary file");
        conf
    }

    #[test]
    fn scripts_without_their_interpreter_are_found() {
        let path = std::env::temp_dir().join(format!("redoubt-script-{}", std::process::id()));
        for (text, lacking) in [
            ("#!/bin/sh\n", None),
            ("#! /nonexistent/sh -e\n", Some("/nonexistent/sh")),
            ("#!/usr/bin/env -S A=1 no-such-shell\n", Some("no-such-shell")),
            ("#!/usr/bin/env sh", None),
            ("", None),
            ("#!", None),
            ("\u{7f}ELF", None),
        ] {
            std::fs::write(&path, text).expect("a temporary file");
            assert_eq!(lacks_interpreter(&path).as_deref(), lacking, "{text}");
        }
        std::fs::remove_file(&path).expect("the temporary file");
    }

    #[test]
    fn a_comment_behind_a_line_of_the_file_makes_no_second_master() {
        let file = "sentinel monitor m 127.0.0.1 6379 2 # it's the master\nport 1 # 포트\n";
        let conf = start("comment", file, "");
        assert!(conf.is_ok(), "{conf:?}");
    }

    #[test]
    fn options_count_like_lines_of_the_file() {
        let conf =
            start("options", "port 1\n", "sentinel \"monitor\" \"m\" \"127.0.0.1\" \"6379\" \"2\"");
        assert!(conf.is_ok(), "{conf:?}");
        let error = start("quorum", "port 1\n", "sentinel monitor m 127.0.0.1 6379 0").unwrap_err();
        assert!(
            error.contains(
                "at line 2\n>>> 'sentinel monitor m 127.0.0.1 6379 0'\nQuorum must be 1 or greater."
            ),
            "{error}"
        );
    }

    #[test]
    fn an_option_that_the_file_has_already_is_not_a_second_master() {
        let file = "sentinel monitor m 127.0.0.1 6379 2\n";
        assert!(start("again", file, "SENTINEL \"Monitor\" \"m\" 127.0.0.1 6379 2").is_ok());
        let error = start("other", file, "sentinel monitor m 127.0.0.1 6380 2").unwrap_err();
        assert!(error.contains("Duplicate master name."), "{error}");
    }
}
