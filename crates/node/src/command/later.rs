//! Commands of Redis that are still to come.
//!
//! They are in no table: COMMAND does not list them, since a client that asks shall not be told that
//! they are here. Only when a name or subcommand is unknown this list is looked at, so that the
//! answer says what is the matter. A row goes when its command arrives.

use commands::CommandError;
use resp::Args;

/// Their names.
const COMMANDS: &[&str] = &["migrate"];

const TABLES: &[&[&str]] = &[COMMANDS];

/// The error for an unknown command or subcommand, if it is one that will come.
pub(crate) fn error(args: &Args<'_>) -> Option<CommandError> {
    let name = args.at(0).to_ascii_lowercase();
    let listed = |wanted: &[u8]| {
        TABLES.iter().flat_map(|table| table.iter()).find(|later| later.as_bytes() == wanted)
    };
    let sub = args.get(1).map(|sub| [&name[..], b"|", &sub.to_ascii_lowercase()].concat());
    let found = listed(&name).or_else(|| sub.and_then(|full| listed(&full)))?;
    Some(CommandError::owned(format!(
        "ERR {} is not supported yet",
        found.replace('|', " ").to_ascii_uppercase()
    )))
}

/// True if this is the name of a whole command that will come: a file may rename it already.
pub(crate) fn is_name(name: &[u8]) -> bool {
    TABLES.iter().flat_map(|table| table.iter()).any(|later| later.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::registry;
    use resp::OwnedArgs;

    fn text(words: &[&str]) -> Option<String> {
        error(&OwnedArgs::from_parts(words).as_args()).map(|error| error.text().to_string())
    }

    #[test]
    fn a_command_is_here_or_will_come_but_not_both() {
        for name in TABLES.iter().flat_map(|table| table.iter()) {
            assert!(registry().find_full(name.as_bytes()).is_none(), "{name} is here");
        }
        let mut names: Vec<&&str> = TABLES.iter().flat_map(|table| table.iter()).collect();
        names.sort();
        let before = names.len();
        names.dedup();
        assert_eq!(names.len(), before);
    }

    #[test]
    fn the_answer_names_the_command() {
        assert_eq!(
            text(&["mIgRaTe", "127.0.0.1", "1", "k", "0", "5"]).as_deref(),
            Some("ERR MIGRATE is not supported yet")
        );
        assert_eq!(text(&["pubsub", "nonsense"]), None);
        assert_eq!(text(&["nonsense"]), None);
    }
}
