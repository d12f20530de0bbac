//! What arguments the commands take: the trees that COMMAND DOCS shows and that a client hints by.
//!
//! `table.txt` has a line for each command with arguments: its name, a tab, its arguments. An
//! argument is written `name:type`, and behind it, where they apply: `@0` the key specification that
//! it belongs to, `=TOKEN` the word before it, `?` it is optional, `*` it may be repeated, `+` the word
//! before it is repeated, too, `>7.0.0` since when it is there, `!7.0.0` since when it is out of date,
//! and the arguments that it consists of in parentheses. Names and words with other signs stand in
//! double quotes. The facts are those of redis 7.0.15 and, for newer commands, of the versions that
//! have them. Nothing is known here of how commands run or of who is told.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// One argument of a command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Argument {
    /// Its name, for people.
    pub name: String,
    /// `string`, `integer`, `double`, `key`, `pattern`, `unix-time`, `pure-token` (the word alone),
    /// `oneof` or `block` (of others).
    pub kind: String,
    /// Which of the command's key specifications finds it.
    pub key_spec: Option<usize>,
    /// The word before it.
    pub token: Option<String>,
    /// The version that brought it, if that is not the command's own.
    pub since: Option<String>,
    /// The version since which there is something better.
    pub deprecated_since: Option<String>,
    /// May be left out.
    pub optional: bool,
    /// May be repeated.
    pub multiple: bool,
    /// The word is repeated with it.
    pub multiple_token: bool,
    /// What it consists of, or one of which it is.
    pub arguments: Vec<Argument>,
}

static TABLE: LazyLock<BTreeMap<&'static str, Vec<Argument>>> = LazyLock::new(|| {
    let lines = include_str!("table.txt").lines().filter_map(|line| line.split_once('\t'));
    lines
        .map(|(name, text)| {
            let arguments = parse(text);
            (name, arguments.unwrap_or_else(|at| panic!("table.txt: {name}: {at}")))
        })
        .collect()
});

/// The arguments of a command, by its full name in lower case (`client|kill`).
pub fn of(command: &str) -> &'static [Argument] {
    TABLE.get(command).map(Vec::as_slice).unwrap_or_default()
}

/// The names of all commands with arguments, in their order.
pub fn commands() -> impl Iterator<Item = &'static str> {
    TABLE.keys().copied()
}

/// Reads arguments in the notation of the table. An error is the rest that can't be read.
pub fn parse(text: &str) -> Result<Vec<Argument>, String> {
    let mut reader = Reader { rest: text };
    let arguments = reader.arguments(0)?;
    if reader.rest.is_empty() { Ok(arguments) } else { Err(reader.rest.into()) }
}

/// Arguments consist of others so deep at most; the table needs four.
const DEPTH_MAX: usize = 16;

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn arguments(&mut self, depth: usize) -> Result<Vec<Argument>, String> {
        let mut arguments = Vec::new();
        loop {
            arguments.push(self.argument(depth)?);
            match self.rest.strip_prefix(' ') {
                Some(rest) => self.rest = rest,
                None => return Ok(arguments),
            }
        }
    }

    fn argument(&mut self, depth: usize) -> Result<Argument, String> {
        let name = self.word()?;
        self.expect(':')?;
        let mut argument = Argument { name, kind: self.word()?, ..Argument::default() };
        loop {
            let Some(sign) = self.rest.chars().next() else { return Ok(argument) };
            match sign {
                ' ' | ')' => return Ok(argument),
                '?' | '*' | '+' | '@' | '=' | '>' | '!' | '(' => {
                    self.rest = &self.rest[1..];
                }
                _ => return Err(self.rest.into()),
            }
            match sign {
                '?' => argument.optional = true,
                '*' => argument.multiple = true,
                '+' => argument.multiple_token = true,
                '@' => {
                    let word = self.word()?;
                    argument.key_spec = Some(word.parse().map_err(|_| word)?);
                }
                '=' if self.rest.starts_with('=') => {
                    self.rest = &self.rest[1..];
                    argument.token = Some("=".into());
                }
                '=' => argument.token = Some(self.word()?),
                '>' => argument.since = Some(self.word()?),
                '!' => argument.deprecated_since = Some(self.word()?),
                _ if depth == DEPTH_MAX => return Err(self.rest.into()),
                _ => {
                    argument.arguments = self.arguments(depth + 1)?;
                    self.expect(')')?;
                }
            }
        }
    }

    /// Up to the next sign, or in double quotes.
    fn word(&mut self) -> Result<String, String> {
        if let Some(quoted) = self.rest.strip_prefix('"') {
            let (word, rest) = quoted.split_once('"').ok_or(quoted)?;
            self.rest = rest;
            return Ok(word.into());
        }
        let end = self.rest.find([' ', ':', '@', '=', '?', '*', '+', '>', '!', '(', ')']);
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        if word.is_empty() { Err(rest.into()) } else { Ok(word.into()) }
    }

    fn expect(&mut self, sign: char) -> Result<(), String> {
        self.rest = self.rest.strip_prefix(sign).ok_or(self.rest)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table_can_be_read() {
        let lines = include_str!("table.txt").lines().count();
        assert_eq!(commands().count(), lines);
        let kinds = [
            "string",
            "integer",
            "double",
            "key",
            "pattern",
            "unix-time",
            "pure-token",
            "oneof",
            "block",
        ];
        fn check(argument: &Argument, kinds: &[&str]) {
            assert!(kinds.contains(&argument.kind.as_str()), "{argument:?}");
            let of_others = matches!(argument.kind.as_str(), "oneof" | "block");
            assert_eq!(of_others, !argument.arguments.is_empty(), "{argument:?}");
            argument.arguments.iter().for_each(|inner| check(inner, kinds));
        }
        fn has_tokens(argument: &Argument) -> bool {
            (argument.kind != "pure-token" || argument.token.is_some())
                && argument.arguments.iter().all(has_tokens)
        }
        for name in commands() {
            of(name).iter().for_each(|argument| check(argument, &kinds));
            // redis-server 7.0.15 names no tokens there either.
            let without = name == "sentinel|simulate-failure";
            assert!(without || of(name).iter().all(has_tokens), "{name}");
        }
        assert_eq!(include_str!("table.txt").lines().filter(|l| !l.contains('\t')).count(), 0);
    }

    #[test]
    fn one_of_everything() {
        let found =
            parse("key:key@1?* \"a b\":oneof=GET?+>6.2.0!7.0.0(x:pure-token== y:string)").unwrap();
        assert_eq!(found.len(), 2);
        assert!(found[0].optional && found[0].multiple && found[0].key_spec == Some(1));
        let second = &found[1];
        assert_eq!((second.name.as_str(), second.token.as_deref()), ("a b", Some("GET")));
        assert_eq!(second.since.as_deref(), Some("6.2.0"));
        assert_eq!(second.deprecated_since.as_deref(), Some("7.0.0"));
        assert!(second.multiple_token && !second.multiple);
        assert_eq!(second.arguments[0].token.as_deref(), Some("="));
        assert_eq!(second.arguments[1].kind, "string");
    }

    #[test]
    fn bad_lines_are_refused() {
        for bad in [
            "", "a", "a:", ":b", "a:b(", "a:b(c:d", "a:b)", "a:b@x", "a:b  c:d", "\"a:b", "a:b=",
            "a:b:c",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let deep = format!("a:block({}", "b:block(".repeat(100));
        assert!(parse(&deep).is_err());
    }
}
