//! `redoubt check-config`: everything that is wrong with a configuration at once, without a start.
//!
//! It reads what a start would read, in the same way, and goes on after an error. Nothing is opened
//! for writing, no folder is entered, no port is taken.

use crate::io::sys;
use crate::server::config_file;
use config::{Action, CommandLine, LoadError, Loaded, Problem};
use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: redoubt check-config FILE|- [--sentinel] [--directive value ...]

Tells everything that is wrong with a configuration file (and options) that redis-server, or with
--sentinel redis-sentinel, would be started with. Nothing is started and nothing is changed.
Exit status: 0 all is well, 1 something is wrong, 2 the file can't be read or the command line is wrong.
";

/// Runs the subcommand.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let args: Vec<Vec<u8>> = args.into_iter().map(OsStringExt::into_vec).collect();
    let line = CommandLine::parse(&args, false);
    if line.action == Action::Help {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    if line.action != Action::Run || args.is_empty() {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    }
    let (name, text) = match read(&line) {
        Ok(read) => read,
        Err(why) => {
            eprintln!("{why}");
            return ExitCode::from(2);
        }
    };
    let (loaded, problems) = check(&text, line.sentinel);
    for problem in &problems {
        println!("{}", shown(&name, problem));
    }
    for row in loaded.config.without_effect() {
        println!("{name}: note: '{}' is accepted but has no effect here", row.name);
    }
    match problems.len() {
        0 => {
            println!("{name}: no errors");
            ExitCode::SUCCESS
        }
        count => {
            println!("{name}: {count} error{}", if count == 1 { "" } else { "s" });
            ExitCode::FAILURE
        }
    }
}

/// The name to show, and the whole text: the file, the standard input, the options.
fn read(line: &CommandLine) -> Result<(String, Vec<u8>), String> {
    let mut file = Vec::new();
    let mut name = "(command line)".to_string();
    if let Some(path) = &line.file {
        let path = Path::new(OsStr::from_bytes(path));
        name = path.display().to_string();
        file = std::fs::read(path).map_err(|error| format!("{name}: {}", sys::reason(&error)))?;
    }
    let mut stdin = Vec::new();
    if line.stdin {
        if line.file.is_none() {
            name = "(standard input)".to_string();
        }
        std::io::stdin()
            .read_to_end(&mut stdin)
            .map_err(|error| format!("(standard input): {}", sys::reason(&error)))?;
    }
    Ok((name, line.config_text(&file, &stdin)))
}

/// What a start would look at, in the same order, all of it; sorted by the place.
fn check(text: &[u8], sentinel: bool) -> (Loaded, Vec<Problem>) {
    structures::hash::set_seed(crate::server::random_seed());
    let (loaded, mut problems) = config_file::check(text, sentinel);
    crate::program::install_renames(&loaded);
    let config = &loaded.config;
    let mut add = |error: LoadError| problems.push(Problem { via: Vec::new(), error });
    loaded.modules.iter().map(config::refuse_module).for_each(&mut add);
    loaded.module_settings.iter().map(config::refuse_module_setting).for_each(&mut add);
    let acl_file = match config.aclfile.non_empty().map(|path| Path::new(OsStr::from_bytes(path))) {
        None => None,
        // Relative to `dir`, where the server works.
        Some(path) => match std::fs::read(Path::new(&*config.dir.to_str()).join(path)) {
            Ok(text) => Some(text),
            Err(error) => {
                let why = format!("{}: {}", path.display(), sys::reason(&error));
                add(loaded.error_at("aclfile", why));
                None
            }
        },
    };
    node::check_users(&loaded.users, acl_file.as_deref(), config, sentinel)
        .into_iter()
        .for_each(&mut add);
    if let Some(dir) = config.dir.non_empty()
        && let Err(error) = std::fs::read_dir(OsStr::from_bytes(dir))
    {
        add(loaded.error_at("dir", sys::reason(&error)));
    }
    if let Some(logfile) = config.logfile.non_empty() {
        let path = Path::new(&*config.dir.to_str()).join(OsStr::from_bytes(logfile));
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if path.is_dir() || folder.is_some_and(|folder| !folder.is_dir()) {
            add(loaded.error_at("logfile", "there can be no file of this name"));
        }
    }
    if sentinel {
        crate::sentinel::check_lines(text, &loaded).into_iter().for_each(&mut add);
    } else {
        let refused = crate::server::unsupported(config);
        refused.into_iter().map(|(name, why)| loaded.error_at(name, why)).for_each(&mut add);
    }
    // The same line is not complained about twice, and lines come in their order.
    problems.sort_by_key(place);
    problems.dedup_by_key(|problem| (place(problem), problem.error.to_string()));
    (loaded, problems)
}

/// Where a problem stands: lines of the main text first, what is about no line last.
fn place(problem: &Problem) -> (usize, usize) {
    let own = match &problem.error {
        LoadError::Line { number, .. } => *number,
        LoadError::Unreadable { .. } | LoadError::General(_) => usize::MAX,
    };
    match problem.via.first() {
        Some(line) => (line.number, own),
        None => (own, 0),
    }
}

/// `FILE:LINE: reason: 'the line' (advice)`.
fn shown(name: &str, problem: &Problem) -> String {
    let mut out = name.to_string();
    for line in &problem.via {
        let path = line.words.get(1).map(|path| String::from_utf8_lossy(path)).unwrap_or_default();
        out.push_str(&format!(":{}: {path}", line.number));
    }
    match &problem.error {
        LoadError::Line { number, line, reason } => {
            out.push_str(&format!(":{number}: {reason}: '{}'", line.to_str()));
        }
        error => out.push_str(&format!(": {error}")),
    }
    if let Some(advice) = problem.error.advice() {
        out.push_str(&format!(" ({advice})"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    // Names of commands can be changed once in a process: one test for all.
    #[test]
    fn everything_at_once() {
        let text = "port x\nmaxmemroy 1gb\nloadmodule /a/rejson.so\nrename-command GET SET\n\
                    user a on +nosuchcommand\nuser b on >x +get\ncluster-enabled yes\n\ndir /no/such\n\
                    rejson.size 5\nrename-command CONFIG \"\"\nsyslog-ident other\n";
        let (loaded, problems) = check(text.as_bytes(), false);
        let lines: Vec<String> = problems.iter().map(|problem| shown("f", problem)).collect();
        let starts = [
            "f:1: argument couldn't be parsed into an integer: 'port x'",
            "f:2: Bad directive or wrong number of arguments: 'maxmemroy 1gb' (did you mean 'maxmemory'?)",
            "f:3: Redoubt loads no modules: 'rejson.so' is machine code for redis-server.",
            "f:4: Target command name already exists: 'rename-command GET SET'",
            "f:5: Error loading ACL rule '+nosuchcommand' for the user named 'a': Unknown command",
            "f:7: `cluster-enabled yes` is not supported yet",
            "f:9: No such file or directory: 'dir /no/such'",
            "f:10: Redoubt loads no modules, so 'rejson' has no settings.",
        ];
        let fits = |(line, start): (&String, &&str)| line.starts_with(*start);
        assert!(lines.len() == starts.len() && lines.iter().zip(&starts).all(fits), "{lines:#?}");
        let idle: Vec<_> = loaded.config.without_effect().into_iter().map(|row| row.name).collect();
        assert_eq!(idle, ["syslog-ident", "cluster-enabled"]);
        assert!(node::registry().find(b"config").is_none());
    }
}
