//! What a sentinel checks before it starts: its file, its scripts, directives that it can't honour.

use super::{Refusal, note};
use crate::server::config_file::ConfigFile;
use config::{Config, LoadError, Loaded};
use rustix::fs::{Access, access};
use sentinel::SentinelConf;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The file in which the state is kept: a sentinel that would forget its votes must not vote.
pub fn writable_file(file: &ConfigFile) -> Result<PathBuf, Refusal> {
    let Some(path) = &file.path else {
        return Err(Refusal::Log(
            "Sentinel needs config file on disk to save state. Exiting...".into(),
        ));
    };
    match access(path, Access::WRITE_OK) {
        Ok(()) => Ok(path.clone()),
        Err(error) => {
            let why = plain(&error.into());
            Err(Refusal::Log(format!(
                "Sentinel config file {} is not writable: {why}. Exiting...",
                path.display()
            )))
        }
    }
}

/// The operating system's words without the number that Rust adds.
pub fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string(),
        None => text,
    }
}

/// Reads the file's `sentinel` lines, and those that came from elsewhere: the command line, the
/// standard input, included files. An error is the text to be printed.
pub fn read(loaded: &Loaded, path: &Path) -> Result<SentinelConf, String> {
    let mut text = std::fs::read(path).map_err(|error| {
        format!("Fatal error, can't open config file '{}': {}\n", path.display(), plain(&error))
    })?;
    let own: Vec<Vec<Vec<u8>>> =
        text.split(|&b| b == b'\n').filter_map(words_of_sentinel_line).collect();
    if !text.is_empty() && !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    for line in loaded.sentinel.iter().filter(|line| !own.contains(&comparable(&line.words))) {
        text.extend(line_of(&line.words));
    }
    SentinelConf::parse(&text).map_err(|error| {
        let text = error.to_string();
        log_unresolved(&text);
        fatal(&text)
    })
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

/// A line of these words, quoted where they need it: the command line quotes all of them.
fn line_of(words: &[Vec<u8>]) -> Vec<u8> {
    let mut line = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let plain =
            !word.is_empty() && word.iter().all(|b| b.is_ascii_graphic() && !b"\"'\\".contains(b));
        if at > 0 {
            line.push(b' ');
        }
        if plain {
            line.extend_from_slice(word);
        } else {
            config::push_quoted(&mut line, word);
        }
    }
    line.push(b'\n');
    line
}

/// The words of a line, if it is one of Sentinel's.
fn words_of_sentinel_line(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let words = config::split_words(line.trim_ascii())?;
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

/// Every script must be there when it is needed.
pub fn check_scripts(conf: &SentinelConf) -> Result<(), String> {
    match conf.scripts().iter().find(|script| !is_executable(&script.path)) {
        None => Ok(()),
        Some(script) => Err(fatal(&script.error.to_string())),
    }
}

/// True if the file exists and may be executed by this process.
pub fn is_executable(path: &str) -> bool {
    access(path, Access::EXEC_OK).is_ok()
}

/// What can't work yet must not seem to.
pub fn refuse_unsupported(loaded: &Loaded) -> Result<(), Refusal> {
    let config = &loaded.config;
    if config.tls_port != 0 || config.tls_replication {
        return Err(refusal("TLS is not supported yet; take `tls-port` and `tls-replication` out"));
    }
    Ok(())
}

/// Everything that is wrong with the `sentinel` lines of a text, with those of included files
/// behind them, and with directives that a sentinel can't honour.
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
    match refuse_unsupported(loaded) {
        Err(Refusal::Log(why) | Refusal::Print(why)) => wrong.push(LoadError::General(why)),
        Ok(()) => {}
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
    use super::read;
    use crate::server::config_file;

    /// Loads a file and options as a start does; returns the ordinary result or the error's text.
    fn start(name: &str, file: &str, options: &str) -> Result<sentinel::SentinelConf, String> {
        let path = std::env::temp_dir().join(format!("redoubt-conf-{}-{name}", std::process::id()));
        std::fs::write(&path, file).expect("a temporary file");
        let text = format!("{file}\n{options}");
        let loaded = config_file::load(text.as_bytes(), true).map_err(|error| error.to_string());
        let conf = loaded.and_then(|loaded| read(&loaded, &path));
        std::fs::remove_file(&path).expect("the temporary file");
        conf
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
