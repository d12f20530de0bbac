//! What may follow the cursor: the rest of a command's arguments in grey, and names of commands to
//! complete. The server tells (COMMAND DOCS); one that does not is taken for a Redis of our time.
//!
//! A hint is what is still to be typed. Words that stand there already are matched with the
//! arguments from left to right; options that any order allows are taken where they fit.

use std::collections::BTreeMap;

use cmdargs::Argument;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::answer::Answer;

/// What the prompt knows of commands.
pub struct Hints {
    /// Full names in upper case, words apart by a blank: arguments.
    commands: BTreeMap<String, Vec<Argument>>,
    colours: bool,
}

impl Hints {
    /// Without a server: the commands of our own table.
    pub fn built_in(colours: bool) -> Hints {
        let commands = cmdargs::commands()
            .map(|name| (shown_name(name), cmdargs::of(name).to_vec()))
            .collect();
        Hints { commands, colours }
    }

    /// Takes what a server says in answer to COMMAND DOCS. Nothing changes if that makes no sense.
    pub fn learn(&mut self, docs: &Answer) {
        let mut commands = BTreeMap::new();
        for (name, doc) in pairs(docs) {
            add_command(&mut commands, &name, doc);
        }
        if !commands.is_empty() {
            self.commands = commands;
        }
    }

    /// The rest of the arguments behind a line, or nothing.
    fn hint(&self, line: &str) -> Option<String> {
        // Only behind a whole word: the next one is not begun.
        let words = resp::split_args(line.as_bytes()).ok()?;
        let words: Vec<String> =
            words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let ends_word = line.ends_with(' ');
        let first = words.first()?.to_ascii_uppercase();
        let with_sub = words.get(1).map(|sub| format!("{first} {}", sub.to_ascii_uppercase()));
        let (arguments, used) = match with_sub.and_then(|name| self.commands.get(&name)) {
            Some(arguments) => (arguments, 2),
            None => (self.commands.get(&first)?, 1),
        };
        // A word that is being typed is not matched yet; the hint begins behind it.
        let typed = &words[used..];
        let rest = rest_of(arguments, typed);
        let text = rest.join(" ");
        if text.is_empty() {
            return None;
        }
        Some(if ends_word { text } else { format!(" {text}") })
    }

    /// Where the last word begins, and whole names that begin like it.
    fn complete(&self, line: &str) -> (usize, Vec<String>) {
        let wanted = line.to_ascii_uppercase();
        let lower = line.bytes().any(|b| b.is_ascii_lowercase());
        let names = self.commands.keys().filter(|name| name.starts_with(&wanted));
        let mut names: Vec<String> = names
            .map(|name| if lower { name.to_ascii_lowercase() } else { name.clone() })
            .collect();
        names.dedup();
        (0, if line.is_empty() { Vec::new() } else { names })
    }
}

fn shown_name(name: &str) -> String {
    name.replace('|', " ").to_ascii_uppercase()
}

fn add_command(commands: &mut BTreeMap<String, Vec<Argument>>, name: &str, doc: &Answer) {
    let mut arguments = Vec::new();
    let mut is_container = false;
    for (field, value) in pairs(doc) {
        match field.as_str() {
            "arguments" => arguments = argument_list(value, 0),
            "subcommands" => {
                is_container = true;
                for (sub, doc) in pairs(value) {
                    // Redis writes `container|sub`, older ones the short name.
                    let full = if sub.contains('|') { sub } else { format!("{name}|{sub}") };
                    add_command(commands, &full, doc);
                }
            }
            _ => {}
        }
    }
    if !is_container || !arguments.is_empty() {
        commands.insert(shown_name(name), arguments);
    }
}

/// Arguments consist of others so deep at most.
const DEPTH_MAX: usize = 16;

fn argument_list(value: &Answer, depth: usize) -> Vec<Argument> {
    let Answer::List(_, items) = value else { return Vec::new() };
    if depth == DEPTH_MAX {
        return Vec::new();
    }
    items
        .iter()
        .map(|item| {
            let mut argument = Argument::default();
            let mut display = None;
            for (field, value) in pairs(item) {
                match field.as_str() {
                    "name" => argument.name = text_of(value),
                    "display_text" => display = Some(text_of(value)),
                    "type" => argument.kind = text_of(value),
                    "token" => argument.token = Some(text_of(value)),
                    "flags" => {
                        let Answer::List(_, flags) = value else { continue };
                        let has = |name: &str| flags.iter().any(|flag| text_of(flag) == name);
                        argument.optional = has("optional");
                        argument.multiple = has("multiple");
                        argument.multiple_token = has("multiple_token");
                    }
                    "arguments" => argument.arguments = argument_list(value, depth + 1),
                    _ => {}
                }
            }
            if let Some(display) = display {
                argument.name = display;
            }
            argument
        })
        .collect()
}

fn text_of(value: &Answer) -> String {
    String::from_utf8_lossy(value.text().unwrap_or_default()).into_owned()
}

/// The entries of a map, or of an array of names and values in turn.
fn pairs(value: &Answer) -> Vec<(String, &Answer)> {
    match value {
        Answer::Map(entries) => {
            entries.iter().map(|(name, value)| (text_of(name), value)).collect()
        }
        Answer::List(_, items) => {
            items.chunks_exact(2).map(|pair| (text_of(&pair[0]), &pair[1])).collect()
        }
        _ => Vec::new(),
    }
}

// ---- what is still to be typed -----------------------------------------------------------------

/// The arguments that are not among the words yet, as they are shown.
fn rest_of(arguments: &[Argument], words: &[String]) -> Vec<String> {
    let mut left: Vec<&Argument> = arguments.iter().collect();
    let mut at = 0;
    while at < words.len() {
        // The next argument that must come, and the optional ones before it, in any order.
        let must =
            left.iter().position(|argument| !argument.optional).map_or(left.len(), |n| n + 1);
        let fits = (0..must).find_map(|index| {
            let taken = taken_by(left[index], &words[at..]);
            (taken > 0).then_some((index, taken))
        });
        let Some((index, taken)) = fits else { return Vec::new() };
        at += taken;
        if at > words.len() {
            // Words of this argument are missing.
            let mut rest = missing(left[index], taken - (at - words.len()));
            let later = left.iter().enumerate().filter(|(n, _)| *n != index);
            rest.extend(later.filter(|(n, a)| *n > index || a.optional).map(|(_, a)| shown(a)));
            return rest;
        }
        if left[index].multiple {
            // More of the same may follow, or what stands behind it.
            let again = Argument { optional: true, ..left[index].clone() };
            if at == words.len() {
                let mut rest = vec![shown(&again)];
                rest.extend(left.iter().skip(index + 1).map(|argument| shown(argument)));
                return rest;
            }
            if taken_by(left[index], &words[at..]) > 0 && left.len() == index + 1 {
                continue;
            }
        }
        // What was left out before an argument that must come can't come any more.
        if left[index].optional {
            left.remove(index);
        } else {
            left.drain(..=index);
        }
    }
    left.into_iter().map(shown).collect()
}

/// How many words the argument takes from the front: more than there are if some are missing, 0 if
/// it does not fit.
fn taken_by(argument: &Argument, words: &[String]) -> usize {
    let mut used = 0;
    if let Some(token) = argument.token.as_deref().filter(|token| !token.is_empty()) {
        match words.first() {
            Some(word) if word.eq_ignore_ascii_case(token) => used = 1,
            _ => return 0,
        }
        if argument.kind == "pure-token" {
            return 1;
        }
    }
    let rest = &words[used..];
    match argument.kind.as_str() {
        "pure-token" => 0,
        "oneof" if rest.is_empty() => used + 1,
        "oneof" => {
            let best =
                argument.arguments.iter().map(|inner| taken_by(inner, rest)).find(|n| *n > 0);
            best.map_or(0, |taken| used + taken)
        }
        "block" => {
            for inner in &argument.arguments {
                let left = words.get(used..).unwrap_or_default();
                let taken = if left.is_empty() { 1 } else { taken_by(inner, left) };
                if taken == 0 || (left.is_empty() && inner.optional) {
                    if inner.optional {
                        continue;
                    }
                    return 0;
                }
                used += taken;
            }
            used
        }
        // A number is told from a word, so that options are not taken for one.
        "integer" | "unix-time" if argument.optional && argument.token.is_none() => {
            let fits = rest.first().is_some_and(|word| word.parse::<i64>().is_ok());
            if fits { used + 1 } else { 0 }
        }
        _ => used + 1,
    }
}

/// What is missing of an argument of which so many words stand there.
fn missing(argument: &Argument, have: usize) -> Vec<String> {
    let whole = shown(&Argument { optional: false, multiple: false, ..argument.clone() });
    let words: Vec<&str> = whole.split(' ').collect();
    words.iter().skip(have).map(|word| (*word).to_string()).collect()
}

/// An argument as hints show it: `[EX seconds]`, `NX|XX`, `key [key ...]`.
fn shown(argument: &Argument) -> String {
    let mut text = match argument.kind.as_str() {
        "pure-token" => String::new(),
        "oneof" => argument.arguments.iter().map(shown).collect::<Vec<_>>().join("|"),
        "block" => argument.arguments.iter().map(shown).collect::<Vec<_>>().join(" "),
        _ => argument.name.clone(),
    };
    let token = argument.token.as_ref().map(|token| match token.as_str() {
        "" => "\"\"".to_string(),
        token => token.to_string(),
    });
    if let Some(token) = &token {
        text = if text.is_empty() { token.clone() } else { format!("{token} {text}") };
    }
    if argument.multiple {
        let again = match &token {
            Some(token) if !argument.multiple_token => {
                text.strip_prefix(&format!("{token} ")).unwrap_or(&text).to_string()
            }
            _ => text.clone(),
        };
        text = format!("{text} [{again} ...]");
    }
    if argument.optional { format!("[{text}]") } else { text }
}

// ---- the editor's side -------------------------------------------------------------------------

impl Hinter for Hints {
    type Hint = String;

    fn hint(&self, line: &str, pos: usize, _: &Context<'_>) -> Option<String> {
        if pos < line.len() { None } else { Hints::hint(self, line) }
    }
}

impl Completer for Hints {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        _: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(Hints::complete(self, &line[..pos]))
    }
}

impl Highlighter for Hints {
    fn highlight_hint<'h>(&self, hint: &'h str) -> std::borrow::Cow<'h, str> {
        if self.colours {
            format!("\x1b[90m{hint}\x1b[0m").into()
        } else {
            // Without a colour a hint could not be told from what was typed.
            "".into()
        }
    }
}

impl Validator for Hints {}
impl Helper for Hints {}

#[cfg(test)]
mod tests {
    use super::super::answer::Kind;
    use super::*;

    fn hint(line: &str) -> String {
        Hints::built_in(true).hint(line).unwrap_or_default()
    }

    #[test]
    fn what_is_still_to_be_typed() {
        for (line, rest) in [
            ("get", " key"),
            ("GET ", "key"),
            ("get k", ""),
            ("nosuch ", ""),
            (
                "set k",
                " value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
            ),
            (
                "set k v get ",
                "[NX|XX] [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
            ),
            ("set k v ex 10 ", "[NX|XX] [GET]"),
            ("mget ", "key [key ...]"),
            ("mget a ", "[key [key ...]]"),
            ("config get ", "parameter [parameter ...]"),
            ("expire k 10 ", "[NX|XX|GT|LT]"),
            ("client no-evict ", "ON|OFF"),
            ("set \"unbalanced", ""),
        ] {
            assert_eq!(hint(line), rest, "{line}");
        }
    }

    #[test]
    fn names_are_completed() {
        let hints = Hints::built_in(true);
        let (at, names) = hints.complete("client no-");
        assert_eq!((at, names), (0, vec!["client no-evict".into(), "client no-touch".into()]));
        assert!(hints.complete("GETR").1.contains(&"GETRANGE".to_string()));
        assert!(hints.complete("").1.is_empty());
    }

    #[test]
    fn a_servers_docs_take_the_place() {
        let list = |items| Answer::List(Kind::Array, items);
        let text = |text: &str| Answer::Bulk(text.as_bytes().to_vec());
        let argument = list(vec![
            text("name"),
            text("thing"),
            text("type"),
            text("string"),
            text("flags"),
            list(vec![Answer::Status(b"multiple".to_vec())]),
        ]);
        let doc = list(vec![text("arguments"), list(vec![argument])]);
        let mut hints = Hints::built_in(true);
        hints.learn(&list(vec![text("mine"), doc]));
        assert_eq!(hints.hint("mine ").as_deref(), Some("thing [thing ...]"));
        assert_eq!(hints.hint("get "), None);
        hints.learn(&Answer::Nil);
        assert!(hints.hint("mine ").is_some());
    }
}
