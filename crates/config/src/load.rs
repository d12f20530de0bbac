//! Configuration files: from text to values, with Redis's exact complaints.
//!
//! Files are read by the caller, also those that an `include` names; so a folder of test texts and a
//! real folder load the same way. Lines that belong to other rooms (users, renamed commands, Sentinel's
//! own) are kept as words with their place in the file, so that their errors can point at them too.
//!
//! Source: redis 7.0 `config.c:loadServerConfigFromString`, `loadServerConfig`; every text compared with
//! a running 7.0.15.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::directives::{Config, DIRECTIVES, Directive, words_before_comment};
use crate::text::{Text, before_comments, drop_zero_bytes, lossy, split_words, trim_line};
use crate::value::Origin;

/// How deep files may include each other; Redis recurses until it crashes.
const INCLUDE_DEPTH_MAX: usize = 32;

/// Names that old versions had. A line with one value is read and ignored.
const FORMER: &[&str] =
    &["list-max-ziplist-entries", "list-max-ziplist-value", "lua-replicate-commands"];

/// A line that another room understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceLine {
    /// Counted from 1, in its own file.
    pub number: usize,
    /// The line without blanks around it.
    pub text: Text,
    /// Its words, the directive's name included.
    pub words: Vec<Vec<u8>>,
}

impl SourceLine {
    /// A complaint about this line.
    pub fn error(&self, reason: impl Into<String>) -> LoadError {
        LoadError::Line { number: self.number, line: self.text.clone(), reason: reason.into() }
    }
}

/// Why a configuration was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// A line is wrong.
    Line {
        /// Counted from 1, in the file that holds it.
        number: usize,
        /// The line without blanks around it.
        line: Text,
        /// Redis's reason.
        reason: String,
    },
    /// Directives don't go together, or what they name can't be used.
    General(String),
    /// A file can't be read; Redis logs this instead of printing it.
    Unreadable {
        /// As written.
        path: Text,
        /// The operating system's reason.
        reason: String,
    },
}

impl LoadError {
    /// What redis-server prints on its standard error before it exits with status 1; for
    /// [`LoadError::Unreadable`] the log line (level warning).
    pub fn message(&self, version: &str) -> Vec<u8> {
        let head = format!("\n*** FATAL CONFIG FILE ERROR (Redis {version}) ***\n");
        match self {
            LoadError::Line { number, line, reason } => [
                head.as_bytes(),
                format!("Reading the configuration file, at line {number}\n>>> '").as_bytes(),
                line,
                format!("'\n{reason}\n").as_bytes(),
            ]
            .concat(),
            LoadError::General(reason) => format!("{head}{reason}\n").into_bytes(),
            LoadError::Unreadable { path, reason } => {
                let text = format!("Fatal error, can't open config file '{path}': {reason}");
                text.into_bytes()
            }
        }
    }

    /// For an unknown directive: what to do about it, or the known one that was probably meant.
    pub fn advice(&self) -> Option<String> {
        let LoadError::Line { line, reason, .. } = self else { return None };
        if reason != BAD_DIRECTIVE {
            return None;
        }
        let words = split_words(line)?;
        let name = words.first()?.to_ascii_lowercase();
        if let Some((_, advice)) = ELSEWHERE.iter().find(|(other, _)| other.as_bytes() == name) {
            return Some((*advice).to_string());
        }
        match nearest_name(&name)? {
            // The number of its arguments is wrong, as the error says.
            known if known.as_bytes() == name => None,
            known => Some(format!("did you mean '{known}'?")),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::Line { number, line, reason } => {
                write!(f, "line {number}, '{line}': {reason}")
            }
            LoadError::General(reason) => f.write_str(reason),
            LoadError::Unreadable { path, reason } => {
                write!(f, "can't open config file '{path}': {reason}")
            }
        }
    }
}

impl std::error::Error for LoadError {}

const BAD_DIRECTIVE: &str = "Bad directive or wrong number of arguments";

/// Lines that are no directive with one value in a field of [`Config`].
const LINES: &[&str] = &["include", "rename-command", "user", "loadmodule", "sentinel"];

/// Directives of other versions and servers, and what to do about them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("gopher-enabled", "Redis 7.0 took Gopher out; remove the line"),
    ("vm-enabled", "Redis 2.6 took virtual memory out; remove the line"),
    ("server-threads", "that is KeyDB's; the number of threads is `threads` here"),
    ("server-thread-affinity", "that is KeyDB's; remove the line"),
    ("active-replica", "that is KeyDB's; a replica takes no writes here, remove the line"),
    ("multi-master", "that is KeyDB's; a replica has one master here, remove the line"),
    ("proactor_threads", "that is Dragonfly's; the number of threads is `threads` here"),
];

/// One of all that is wrong with a configuration; see [`Loader::collecting`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The `include` lines that led to the file, outermost first; empty for the main text.
    pub via: Vec<SourceLine>,
    /// What is wrong.
    pub error: LoadError,
}

/// Everything that the files said.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// `user …` lines, in order.
    pub users: Vec<SourceLine>,
    /// `rename-command NAME NEW` lines, in order. The reasons for a wrong one are
    /// [`NO_SUCH_COMMAND`] and [`COMMAND_EXISTS`].
    pub renames: Vec<SourceLine>,
    /// `loadmodule …` lines; see [`refuse_module`].
    pub modules: Vec<SourceLine>,
    /// `module.setting value` lines.
    pub module_settings: Vec<SourceLine>,
    /// `sentinel …` lines, in order.
    pub sentinel: Vec<SourceLine>,
    /// The last line of each directive that was given, by its name (not its alias).
    pub given: BTreeMap<&'static str, SourceLine>,
    /// What was read otherwise than Redis would have done, for the log.
    pub warnings: Vec<String>,
}

/// The reason for `rename-command` of an unknown command.
pub const NO_SUCH_COMMAND: &str = "No such command in rename-command";
/// The reason for `rename-command` to a name that is taken.
pub const COMMAND_EXISTS: &str = "Target command name already exists";

/// The complaint about a module's own setting (`name.setting value`).
pub fn refuse_module_setting(line: &SourceLine) -> LoadError {
    let name = line.words.first().map(|name| lossy(name)).unwrap_or_default();
    let module = name.split('.').next().unwrap_or_default();
    line.error(format!("Redoubt loads no modules, so '{module}' has no settings. Remove the line."))
}

/// The complaint about a `loadmodule` line: names the module and what to do.
pub fn refuse_module(line: &SourceLine) -> LoadError {
    let path = line.words.get(1).map(|path| lossy(path)).unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    line.error(format!(
        "Redoubt loads no modules: '{name}' is machine code for redis-server. \
         Remove the line; a client that needs the module's commands needs a redis-server."
    ))
}

impl Loaded {
    /// A complaint about a directive's value that only its use has shown (a folder that does not
    /// exist): points at its last line, or is general if a default failed.
    pub fn error_at(&self, name: &str, reason: impl Into<String>) -> LoadError {
        match self.given.get(name) {
            Some(line) => line.error(reason),
            None => LoadError::General(reason.into()),
        }
    }
}

/// The contents of included files; a pattern without a match gives an empty list.
pub type Included = Result<Vec<Vec<u8>>, LoadError>;

/// Reads files and options one after another into one configuration; of repeated directives the
/// last wins.
#[derive(Debug)]
pub struct Loader {
    loaded: Loaded,
    sentinel_mode: bool,
    /// The `include` lines that led to the text being read.
    via: Vec<SourceLine>,
    /// Which commands there are, if renames are to be checked.
    is_command: Option<fn(&[u8]) -> bool>,
    /// Names that renames took away, and those that they gave.
    taken: BTreeSet<Vec<u8>>,
    given: BTreeSet<Vec<u8>>,
    /// What is wrong so far, if reading goes on after it.
    problems: Option<Vec<Problem>>,
}

impl Loader {
    /// Starts from the defaults; in Sentinel mode port 26379 and no protected mode, and `sentinel`
    /// lines are allowed.
    pub fn new(sentinel_mode: bool) -> Loader {
        let mut loaded = Loaded::default();
        if sentinel_mode {
            loaded.config.port = 26379;
            loaded.config.protected_mode = false;
        }
        Loader {
            loaded,
            sentinel_mode,
            via: Vec::new(),
            is_command: None,
            taken: BTreeSet::new(),
            given: BTreeSet::new(),
            problems: None,
        }
    }

    /// Also checks `rename-command` lines; `is_command` knows the names of commands, in lower case.
    pub fn with_commands(mut self, is_command: fn(&[u8]) -> bool) -> Loader {
        self.is_command = Some(is_command);
        self
    }

    /// Reads on after an error; [`Loader::check`] tells them all.
    pub fn collecting(mut self) -> Loader {
        self.problems = Some(Vec::new());
        self
    }

    /// Reads a whole text. `include` gets a path or glob pattern and the `dir` given so far (relative
    /// paths count from there) and returns the files' contents; see [`Included`].
    pub fn load(
        &mut self,
        text: &[u8],
        include: &mut dyn FnMut(&[u8], &Config) -> Included,
    ) -> Result<(), LoadError> {
        let text = drop_zero_bytes(text);
        for (index, line) in text.split(|&b| b == b'\n').enumerate() {
            let line = trim_line(line);
            if line.is_empty() || line[0] == b'#' {
                continue;
            }
            if let Err(error) = self.line(index + 1, line, include) {
                match &mut self.problems {
                    Some(problems) => problems.push(Problem { via: self.via.clone(), error }),
                    None => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn line(
        &mut self,
        number: usize,
        line: &[u8],
        include: &mut dyn FnMut(&[u8], &Config) -> Included,
    ) -> Result<(), LoadError> {
        let mut line = SourceLine { number, text: Text::from(line), words: Vec::new() };
        line.words = self
            .words(&line)
            .ok_or_else(|| line.error("Unbalanced quotes in configuration line"))?;
        let Some(name) = line.words.first_mut() else {
            return Ok(());
        };
        name.make_ascii_lowercase();
        if let Some(row) = Directive::find(name) {
            return self.directive(row, line);
        }
        let (name, count) = (lossy(name).into_owned(), line.words.len());
        match (name.as_str(), count) {
            ("include", 2) => return self.include(line, include),
            ("rename-command", 3) => {
                self.check_rename(&line)?;
                self.loaded.renames.push(line);
            }
            ("user", 2..) => {
                self.check_user(&line)?;
                self.loaded.users.push(line);
            }
            ("loadmodule", 2..) => self.loaded.modules.push(line),
            ("sentinel", 1) => {}
            ("sentinel", _) if !self.sentinel_mode => {
                return Err(line.error("sentinel directive while not in sentinel mode"));
            }
            ("sentinel", _) => self.loaded.sentinel.push(line),
            (former, 2) if FORMER.contains(&former) => {}
            (setting, 1) if setting.contains('.') => {
                return Err(line.error("Module config specified without value"));
            }
            (setting, _) if setting.contains('.') => self.loaded.module_settings.push(line),
            _ => return Err(line.error(BAD_DIRECTIVE)),
        }
        Ok(())
    }

    /// The words of a line, without a comment that follows a directive's only value. Redis refuses
    /// such lines, although many files have them.
    fn words(&mut self, line: &SourceLine) -> Option<Vec<Vec<u8>>> {
        if let Some(words) = words_before_comment(&line.text) {
            self.loaded.warnings.push(format!(
                "Line {} of the configuration, '{}': what follows the value is taken as a comment. \
                 redis-server refuses such a line; better write the comment on a line of its own.",
                line.number,
                lossy(&words[0])
            ));
            return Some(words);
        }
        // How many words Sentinel's lines have is known to who reads them; here a comment must only
        // not be in the way.
        split_words(&line.text).or_else(|| {
            before_comments(&line.text).find(|words| {
                words.first().is_some_and(|name| name.eq_ignore_ascii_case(b"sentinel"))
            })
        })
    }

    fn directive(&mut self, row: &'static Directive, line: SourceLine) -> Result<(), LoadError> {
        let seen = self.loaded.given.contains_key(row.name);
        let origin = if seen { Origin::FileAgain } else { Origin::FileFirst };
        // Several values may come as one quoted word, which is a line of its own; Redis takes one
        // that can't be split for nothing at all.
        let split = match &line.words[1..] {
            [one] if row.takes_words() && !one.is_empty() => {
                Some(split_words(one).unwrap_or_default())
            }
            _ => None,
        };
        let words = split.as_deref().unwrap_or(&line.words[1..]);
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        if !row.takes_words() && words.len() != 1 {
            return Err(line.error("wrong number of arguments"));
        }
        row.set(&mut self.loaded.config, &words, origin).map_err(|reason| line.error(reason))?;
        self.loaded.given.insert(row.name, line);
        Ok(())
    }

    fn include(
        &mut self,
        line: SourceLine,
        include: &mut dyn FnMut(&[u8], &Config) -> Included,
    ) -> Result<(), LoadError> {
        if self.via.len() == INCLUDE_DEPTH_MAX {
            return Err(line.error("Files include each other too deeply"));
        }
        let texts = include(&line.words[1], &self.loaded.config)?;
        self.via.push(line);
        for text in texts {
            self.load(&text, include)?;
        }
        self.via.pop();
        Ok(())
    }

    /// Source: redis 7.0 `config.c:loadServerConfigFromString`. Names are taken away and given in the
    /// order of the lines.
    fn check_rename(&mut self, line: &SourceLine) -> Result<(), LoadError> {
        let Some(is_command) = self.is_command else { return Ok(()) };
        let [old, new] = [1, 2].map(|at| line.words[at].to_ascii_lowercase());
        if !self.given.remove(&old) {
            if self.taken.contains(&old) || !is_command(&old) {
                return Err(line.error(NO_SUCH_COMMAND));
            }
            self.taken.insert(old);
        }
        if new.is_empty() {
            return Ok(());
        }
        let is_free = !is_command(&new) || self.taken.contains(&new);
        if !is_free || !self.given.insert(new) {
            return Err(line.error(COMMAND_EXISTS));
        }
        Ok(())
    }

    fn check_user(&self, line: &SourceLine) -> Result<(), LoadError> {
        let name = &line.words[1];
        if self.loaded.users.iter().any(|user| user.words[1] == *name) {
            return Err(line.error(format!(
                "Error in user declaration '{}': Duplicate user found. \
                 A user can only be defined once in config files",
                lossy(name)
            )));
        }
        Ok(())
    }

    /// Ends reading and checks what holds between directives.
    pub fn finish(self) -> Result<Loaded, LoadError> {
        self.between().map_or(Ok(self.loaded), Err)
    }

    fn between(&self) -> Option<LoadError> {
        let config = &self.loaded.config;
        (config.cluster_enabled && config.replicaof.is_some())
            .then(|| LoadError::General("replicaof directive not allowed in cluster mode".into()))
    }

    /// Ends reading of a [`Loader::collecting`]: what could be read, and everything that is wrong.
    pub fn check(mut self) -> (Loaded, Vec<Problem>) {
        let between = self.between().map(|error| Problem { via: Vec::new(), error });
        let mut problems = self.problems.take().unwrap_or_default();
        problems.extend(between);
        (self.loaded, problems)
    }
}

/// The directive whose name looks most like `name`, if any comes near.
pub fn nearest_name(name: &[u8]) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    if name.len() > 64 {
        return None;
    }
    let allowed = (name.len() / 4).clamp(1, 3);
    DIRECTIVES
        .iter()
        .filter(|row| !row.is_hidden())
        .flat_map(Directive::names)
        .chain(LINES.iter().copied())
        .map(|known| (edit_distance(&name, known.as_bytes()), known))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, known)| known)
}

/// Insertions, deletions, replacements and swaps of neighbours between two names.
fn edit_distance(a: &[u8], b: &[u8]) -> usize {
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replace = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let plain = replace.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { plain.min(rows[i - 2][j - 2] + 1) } else { plain }
            };
        }
    }
    rows[a.len()][b.len()]
}
