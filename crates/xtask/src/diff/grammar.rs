//! Command templates: parsing them, and making random commands of them.
//!
//! The templates themselves are data (`tests/diff-grammar.txt`, whose head explains the notation). This file knows how a
//! template is read and expanded, not what any command means; `tokens.rs` knows what a `$name` stands for.

use anyhow::{Context, Result, bail};

use super::compare::Compare;
use super::tokens::{Gen, Token, token};

/// One template with its weight and its rule of comparison.
pub struct Template {
    /// How often it is taken, relative to the others.
    pub weight: u64,
    /// How replies are compared.
    pub compare: Compare,
    /// False for commands that must never be distorted at random (they could block, or end the session).
    pub mutable: bool,
    root: Node,
}

enum Node {
    Literal(Vec<u8>),
    Token(Token),
    Sequence(Vec<Node>),
    Choice(Vec<Node>),
    Optional(Box<Node>),
    Repeat { inner: Box<Node>, min: u64, max: u64 },
}

/// All templates of a grammar file.
pub struct Grammar {
    templates: Vec<Template>,
    total: u64,
}

impl Grammar {
    /// Reads a grammar; an error names its line.
    pub fn parse(text: &str) -> Result<Grammar> {
        let mut templates = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let template = parse_line(line).with_context(|| format!("line {}: {line}", at + 1))?;
            templates.push(template);
        }
        let total = templates.iter().map(|template| template.weight).sum();
        if total == 0 {
            bail!("the grammar is empty");
        }
        Ok(Grammar { templates, total })
    }

    /// A template by weight.
    pub fn pick(&self, draw: &mut Gen) -> &Template {
        let mut at = draw.rng.below(self.total);
        for template in &self.templates {
            if at < template.weight {
                return template;
            }
            at -= template.weight;
        }
        unreachable!("the weights add up to the total")
    }
}

impl Template {
    /// One random command of this form.
    pub fn expand(&self, draw: &mut Gen) -> Vec<Vec<u8>> {
        let mut args = Vec::new();
        expand(&self.root, draw, &mut args);
        args
    }
}

fn expand(node: &Node, draw: &mut Gen, args: &mut Vec<Vec<u8>>) {
    match node {
        Node::Literal(text) => args.push(text.clone()),
        Node::Token(make) => {
            let made = make(draw);
            args.push(made);
        }
        Node::Sequence(parts) => parts.iter().for_each(|part| expand(part, draw, args)),
        Node::Choice(parts) => {
            let at = draw.rng.below(parts.len() as u64) as usize;
            expand(&parts[at], draw, args);
        }
        Node::Optional(inner) => {
            if draw.rng.chance(40) {
                expand(inner, draw, args);
            }
        }
        Node::Repeat { inner, min, max } => {
            for _ in 0..draw.rng.between(*min, *max) {
                expand(inner, draw, args);
            }
        }
    }
}

fn parse_line(line: &str) -> Result<Template> {
    let mut words = line.split_whitespace();
    let weight = words.next().context("no weight")?.parse().context("the weight is no number")?;
    let mode = words.next().context("no comparison")?;
    let (mode, mutable) = match mode.strip_suffix('!') {
        Some(mode) => (mode, false),
        None => (mode, true),
    };
    let compare = Compare::parse(mode).with_context(|| format!("no comparison {mode:?}"))?;
    let rest: Vec<&str> = words.collect();
    let lexemes = lex(&rest.join(" "));
    let mut at = 0;
    let root = parse_choice(&lexemes, &mut at)?;
    if at != lexemes.len() {
        bail!("unexpected {:?}", lexemes[at]);
    }
    Ok(Template { weight, compare, mutable, root })
}

/// Cuts a template into words and brackets; a closing parenthesis keeps the `*n` or `=n` behind it.
fn lex(text: &str) -> Vec<String> {
    let mut lexemes = Vec::new();
    for word in text.split(' ') {
        let mut plain = String::new();
        let mut chars = word.chars().peekable();
        while let Some(letter) = chars.next() {
            if !"()[]|".contains(letter) {
                plain.push(letter);
                continue;
            }
            if !plain.is_empty() {
                lexemes.push(std::mem::take(&mut plain));
            }
            let mut lexeme = String::from(letter);
            if letter == ')' && chars.peek().is_some_and(|next| "*=".contains(*next)) {
                lexeme.extend(chars.next());
                while chars.peek().is_some_and(char::is_ascii_digit) {
                    lexeme.extend(chars.next());
                }
            }
            lexemes.push(lexeme);
        }
        if !plain.is_empty() {
            lexemes.push(plain);
        }
    }
    lexemes
}

fn parse_choice(lexemes: &[String], at: &mut usize) -> Result<Node> {
    let mut choices = vec![parse_sequence(lexemes, at)?];
    while lexemes.get(*at).is_some_and(|lexeme| lexeme == "|") {
        *at += 1;
        choices.push(parse_sequence(lexemes, at)?);
    }
    Ok(if choices.len() == 1 { choices.remove(0) } else { Node::Choice(choices) })
}

fn parse_sequence(lexemes: &[String], at: &mut usize) -> Result<Node> {
    let mut parts = Vec::new();
    while let Some(lexeme) = lexemes.get(*at) {
        match lexeme.as_str() {
            "|" | "]" => break,
            word if word.starts_with(')') => break,
            "[" => {
                *at += 1;
                let inner = parse_choice(lexemes, at)?;
                if lexemes.get(*at).map(String::as_str) != Some("]") {
                    bail!("a '[' is not closed");
                }
                parts.push(Node::Optional(Box::new(inner)));
            }
            "(" => {
                *at += 1;
                let inner = parse_choice(lexemes, at)?;
                let close = lexemes.get(*at).filter(|close| close.starts_with(')'));
                let close = close.context("a '(' is not closed")?;
                parts.push(repeat(inner, &close[1..])?);
            }
            "\"\"" => parts.push(Node::Literal(Vec::new())),
            word => match word.strip_prefix('$') {
                Some(name) => {
                    let make = token(name).with_context(|| format!("no token ${name}"))?;
                    parts.push(Node::Token(make));
                }
                None => parts.push(Node::Literal(word.as_bytes().to_vec())),
            },
        }
        *at += 1;
    }
    Ok(if parts.len() == 1 { parts.remove(0) } else { Node::Sequence(parts) })
}

fn repeat(inner: Node, suffix: &str) -> Result<Node> {
    if suffix.is_empty() {
        return Ok(inner);
    }
    let (sign, count) = suffix.split_at(1);
    let max: u64 = count.parse().context("a repetition without a number")?;
    let min = if sign == "=" { max } else { 1 };
    Ok(Node::Repeat { inner: Box::new(inner), min, max })
}

#[cfg(test)]
mod tests {
    use super::super::tokens::Gen;
    use super::Grammar;

    #[test]
    fn templates_expand_to_what_they_say() {
        let grammar = Grammar::parse("# note\n1 exact SET a [NX|XX] (x y|z)=2\n").unwrap();
        let mut draw = Gen::new(1, 0);
        for _ in 0..200 {
            let args = grammar.pick(&mut draw).expand(&mut draw);
            let words: Vec<String> =
                args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
            let rest = words[2..].to_vec();
            let rest = match rest[0].as_str() {
                "NX" | "XX" => &rest[1..],
                _ => &rest[..],
            };
            assert!(["x y x y", "x y z", "z x y", "z z"].contains(&rest.join(" ").as_str()));
        }
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["1 exact SET (a", "1 exact SET [a", "1 exact SET $nosuch", "1 odd SET", ""] {
            assert!(Grammar::parse(text).is_err(), "{text:?}");
        }
    }
}
