//! CONFIG GET and CONFIG SET.
//!
//! A change is made on a copy: [`Config::prepare_set`] gives the new values and what changed, the node
//! applies the side effects, and only then puts the copy in place. Where Redis restores old values after
//! a failed effect, here nothing was touched; the node undoes the effects that it had applied.
//!
//! Source: redis 7.0 `config.c:configGetCommand`, `configSetCommand`.

use crate::directives::{Config, DIRECTIVES, Directive, Mutability};
use crate::text::lossy;
use crate::value::Origin;

/// What the asking client may do, and the server's state.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetRules {
    /// `enable-protected-configs` allows this client to change protected directives.
    pub protected_allowed: bool,
    /// Data is being loaded.
    pub loading: bool,
}

/// One directive of a CONFIG SET whose value changed, or what it names may have.
#[derive(Clone, Debug)]
pub struct Change {
    /// Its row.
    pub directive: &'static Directive,
    /// Its name or alias, as the client asked, for [`SetError::not_applied`].
    pub name: &'static str,
    /// The value before, as CONFIG GET shows it.
    pub old: Vec<u8>,
    /// The value now.
    pub new: Vec<u8>,
}

/// The outcome of a CONFIG SET that may go ahead.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// All values after the change.
    pub config: Config,
    /// What changed, in the order of the command; directives set to their present value are left
    /// out.
    pub changes: Vec<Change>,
}

/// Why CONFIG SET is refused; shows as the error reply, code included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetError(String);

impl SetError {
    /// The side effect of a directive failed.
    pub fn not_applied(name: &str, reason: &str) -> SetError {
        SetError::failed(name, reason)
    }

    fn failed(name: &str, reason: &str) -> SetError {
        SetError(format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}"
        ))
    }
}

impl std::fmt::Display for SetError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SetError {}

impl Config {
    /// CONFIG GET: names and values for patterns, each name once, by name. A text without
    /// `*`, `?` and `[` is a name and also finds hidden directives; it is shown as it was asked.
    /// (Redis's order is that of a hash table, different in every process.)
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(String, Vec<u8>, Vec<u8>)> = Vec::new();
        for pattern in patterns {
            let exact = !pattern.iter().any(|b| matches!(b, b'*' | b'?' | b'['));
            for row in DIRECTIVES {
                for name in row.names() {
                    let matches = if exact {
                        name.as_bytes().eq_ignore_ascii_case(pattern)
                    } else {
                        !row.is_hidden() && stdx::glob_match(pattern, name.as_bytes(), true)
                    };
                    if matches && !found.iter().any(|(known, ..)| known == name) {
                        let shown_as = if exact { pattern } else { name.as_bytes() };
                        found.push((name.into(), shown_as.to_vec(), row.show(self)));
                    }
                }
            }
        }
        found.sort();
        found.into_iter().map(|(_, shown_as, value)| (shown_as, value)).collect()
    }

    /// CONFIG SET of name and value pairs: all or nothing. `args` are the words after `SET`; an odd
    /// number of them is a syntax error that the command table's arity does not catch.
    pub fn prepare_set(&self, args: &[&[u8]], rules: SetRules) -> Result<Prepared, SetError> {
        if args.is_empty() || !args.len().is_multiple_of(2) {
            return Err(SetError("ERR syntax error".into()));
        }
        let pairs: Vec<(&[u8], &[u8])> = args.chunks(2).map(|pair| (pair[0], pair[1])).collect();
        let rows = find_rows(&pairs, rules)?;
        let mut config = self.clone();
        let mut changes = Vec::new();
        for ((row, name), (_, value)) in rows.into_iter().zip(pairs) {
            let words: Vec<&[u8]> = if row.takes_words() && !value.is_empty() {
                value.split(|&b| b == b' ').collect()
            } else {
                vec![value]
            };
            row.set(&mut config, &words, Origin::Command)
                .map_err(|reason| SetError::failed(name, &reason))?;
            let (old, new) = (row.show(self), row.show(&config));
            // A name and its alias may both be given; the later one stands.
            changes.retain(|change: &Change| change.directive.name != row.name);
            if old != new || row.is_volatile() {
                changes.push(Change { directive: row, name, old, new });
            }
        }
        Ok(Prepared { config, changes })
    }
}

/// Looks all names up before any value is read. The first complaint counts, but `-LOADING` outranks
/// it, because clients treat that as 'try again'.
fn find_rows(
    pairs: &[(&[u8], &[u8])],
    rules: SetRules,
) -> Result<Vec<(&'static Directive, &'static str)>, SetError> {
    let mut rows: Vec<(&'static Directive, &'static str)> = Vec::new();
    let mut error = None;
    let mut denied_while_loading = false;
    for (asked, _) in pairs {
        let Some((row, name)) = Directive::find_named(asked) else {
            error.get_or_insert_with(|| {
                SetError(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                    one_line(asked)
                ))
            });
            continue;
        };
        let reason = match row.mutability {
            Mutability::AtStart => Some("can't set immutable config"),
            Mutability::Protected if !rules.protected_allowed => Some("can't set protected config"),
            // A name and its alias in one command do not count; the last one wins.
            _ if rows.iter().any(|(_, known)| *known == name) => Some("duplicate parameter"),
            _ => None,
        };
        if let Some(reason) = reason {
            error.get_or_insert_with(|| SetError::failed(&one_line(asked), reason));
        }
        denied_while_loading |= rules.loading && row.is_denied_while_loading();
        rows.push((row, name));
    }
    if denied_while_loading {
        return Err(SetError("LOADING Redis is loading the dataset in memory".into()));
    }
    error.map_or(Ok(rows), Err)
}

/// A client's word for an error reply, which is one line.
fn one_line(word: &[u8]) -> String {
    lossy(word).replace(['\r', '\n'], " ")
}
