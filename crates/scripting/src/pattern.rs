//! Lua 5.1's patterns, matched without recursion that a pattern's length could drive too deep, and
//! with a bound that can be asked from outside: a pattern can need exponential time.
//! Source: Lua 5.1 reference manual, section 5.4.1; error texts of `lstrlib.c`.

/// Why a match ended without an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The pattern is wrong.
    Bad(&'static str),
    /// The caller's `go_on` said no.
    Killed,
}

/// The most captures.
const CAPTURES_MAX: usize = 32;
/// How deep items of a pattern may nest the matcher.
const DEPTH_MAX: usize = 200;
/// Steps between two questions.
const STEPS: u32 = 50_000;

/// One capture: where, and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capture {
    /// From here on, its end not met yet.
    Open(usize),
    /// A piece of the subject.
    Piece(usize, usize),
    /// A position, counted from 0.
    Position(usize),
}

/// A match in progress.
pub(crate) struct Matcher<'a> {
    text: &'a [u8],
    pattern: &'a [u8],
    captures: Vec<Capture>,
    depth: usize,
    steps: u32,
    go_on: &'a mut dyn FnMut() -> bool,
}

type Found = Result<Option<usize>, Stop>;

impl<'a> Matcher<'a> {
    pub(crate) fn new(
        text: &'a [u8],
        pattern: &'a [u8],
        go_on: &'a mut dyn FnMut() -> bool,
    ) -> Matcher<'a> {
        Matcher { text, pattern, captures: Vec::new(), depth: 0, steps: 0, go_on }
    }

    /// The end of a match that begins at `start`.
    pub(crate) fn run(&mut self, start: usize, from: usize) -> Found {
        self.captures.clear();
        self.depth = 0;
        self.matches(start, from)
    }

    /// The captures, the whole match if the pattern has none.
    pub(crate) fn captures(&self, start: usize, end: usize) -> Vec<Capture> {
        if self.captures.is_empty() {
            vec![Capture::Piece(start, end)]
        } else {
            self.captures.clone()
        }
    }

    fn step(&mut self) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps < STEPS {
            return Ok(());
        }
        self.steps = 0;
        if (self.go_on)() { Ok(()) } else { Err(Stop::Killed) }
    }

    fn matches(&mut self, s: usize, p: usize) -> Found {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(Stop::Bad("pattern too complex"));
        }
        let found = self.items(s, p);
        self.depth -= 1;
        found
    }

    fn items(&mut self, mut s: usize, mut p: usize) -> Found {
        loop {
            self.step()?;
            let Some(&item) = self.pattern.get(p) else { return Ok(Some(s)) };
            match item {
                b'(' => {
                    return if self.pattern.get(p + 1) == Some(&b')') {
                        self.open(s, p + 2, Capture::Position(s))
                    } else {
                        self.open(s, p + 1, Capture::Open(s))
                    };
                }
                b')' => return self.close(s, p + 1),
                b'%' => match self.pattern.get(p + 1) {
                    Some(b'b') => match self.balanced(s, p + 2)? {
                        Some(end) => {
                            (s, p) = (end, p + 4);
                            continue;
                        }
                        None => return Ok(None),
                    },
                    Some(b'f') => {
                        p += 2;
                        if self.pattern.get(p) != Some(&b'[') {
                            return Err(Stop::Bad("missing '[' after '%f' in pattern"));
                        }
                        let end = self.class_end(p)?;
                        let before = if s == 0 { 0 } else { self.text[s - 1] };
                        let here = self.text.get(s).copied().unwrap_or(0);
                        if self.in_set(before, p, end - 1) || !self.in_set(here, p, end - 1) {
                            return Ok(None);
                        }
                        p = end;
                        continue;
                    }
                    Some(digit) if digit.is_ascii_digit() => {
                        match self.back_reference(s, *digit)? {
                            Some(end) => {
                                (s, p) = (end, p + 2);
                                continue;
                            }
                            None => return Ok(None),
                        }
                    }
                    _ => {}
                },
                b'$' if p + 1 == self.pattern.len() => {
                    return Ok((s == self.text.len()).then_some(s));
                }
                _ => {}
            }
            let end = self.class_end(p)?;
            let here = s < self.text.len() && self.single(self.text[s], p, end);
            match self.pattern.get(end) {
                Some(b'?') => {
                    if here && let Some(found) = self.matches(s + 1, end + 1)? {
                        return Ok(Some(found));
                    }
                    p = end + 1;
                }
                Some(b'*') => return self.most(s, p, end, 0),
                Some(b'+') => return if here { self.most(s, p, end, 1) } else { Ok(None) },
                Some(b'-') => return self.least(s, p, end),
                _ => {
                    if !here {
                        return Ok(None);
                    }
                    (s, p) = (s + 1, end);
                }
            }
        }
    }

    fn most(&mut self, s: usize, p: usize, end: usize, least: usize) -> Found {
        let mut count = 0;
        while s + count < self.text.len() && self.single(self.text[s + count], p, end) {
            self.step()?;
            count += 1;
        }
        while count >= least {
            if let Some(found) = self.matches(s + count, end + 1)? {
                return Ok(Some(found));
            }
            if count == 0 {
                break;
            }
            count -= 1;
        }
        Ok(None)
    }

    fn least(&mut self, mut s: usize, p: usize, end: usize) -> Found {
        loop {
            if let Some(found) = self.matches(s, end + 1)? {
                return Ok(Some(found));
            }
            if s < self.text.len() && self.single(self.text[s], p, end) {
                s += 1;
            } else {
                return Ok(None);
            }
        }
    }

    fn open(&mut self, s: usize, p: usize, capture: Capture) -> Found {
        if self.captures.len() >= CAPTURES_MAX {
            return Err(Stop::Bad("too many captures"));
        }
        self.captures.push(capture);
        let level = self.captures.len();
        let found = self.matches(s, p)?;
        if found.is_none() {
            self.captures.truncate(level - 1);
        }
        Ok(found)
    }

    fn close(&mut self, s: usize, p: usize) -> Found {
        let open = self.captures.iter().rposition(|c| matches!(c, Capture::Open(_)));
        let Some(at) = open else { return Err(Stop::Bad("invalid pattern capture")) };
        let Capture::Open(start) = self.captures[at] else { return Ok(None) };
        self.captures[at] = Capture::Piece(start, s);
        let found = self.matches(s, p)?;
        if found.is_none() {
            self.captures[at] = Capture::Open(start);
        }
        Ok(found)
    }

    fn back_reference(&mut self, s: usize, digit: u8) -> Found {
        let at = usize::from(digit).wrapping_sub(usize::from(b'1'));
        match self.captures.get(at) {
            Some(Capture::Piece(start, end)) => {
                let piece = &self.text[*start..*end];
                Ok(self.text[s..].starts_with(piece).then_some(s + piece.len()))
            }
            // A position has no text; nothing is equal to it.
            Some(Capture::Position(_)) => Ok(None),
            _ => Err(Stop::Bad("invalid capture index")),
        }
    }

    fn balanced(&mut self, s: usize, p: usize) -> Found {
        let (Some(&open), Some(&close)) = (self.pattern.get(p), self.pattern.get(p + 1)) else {
            return Err(Stop::Bad("unbalanced pattern"));
        };
        if self.text.get(s) != Some(&open) {
            return Ok(None);
        }
        let mut depth = 1;
        for at in s + 1..self.text.len() {
            self.step()?;
            if self.text[at] == close {
                depth -= 1;
                if depth == 0 {
                    return Ok(Some(at + 1));
                }
            } else if self.text[at] == open {
                depth += 1;
            }
        }
        Ok(None)
    }

    /// Where the item that begins at `p` ends.
    fn class_end(&self, p: usize) -> Result<usize, Stop> {
        match self.pattern[p] {
            b'%' => {
                if p + 1 >= self.pattern.len() {
                    return Err(Stop::Bad("malformed pattern (ends with '%')"));
                }
                Ok(p + 2)
            }
            b'[' => {
                let unfinished = Stop::Bad("malformed pattern (missing ']')");
                let mut at = p + 1;
                if self.pattern.get(at) == Some(&b'^') {
                    at += 1;
                }
                let mut first = true;
                loop {
                    match self.pattern.get(at) {
                        None => return Err(unfinished),
                        Some(b']') if !first => return Ok(at + 1),
                        Some(b'%') => at += 2,
                        Some(_) => at += 1,
                    }
                    first = false;
                }
            }
            _ => Ok(p + 1),
        }
    }

    fn single(&self, byte: u8, p: usize, end: usize) -> bool {
        match self.pattern[p] {
            b'.' => true,
            b'%' => in_class(byte, self.pattern[p + 1]),
            b'[' => self.in_set(byte, p, end - 1),
            plain => plain == byte,
        }
    }

    /// Whether the set from `p` (its bracket) to `last` (its closing bracket) has the byte.
    fn in_set(&self, byte: u8, p: usize, last: usize) -> bool {
        let mut at = p + 1;
        let negated = self.pattern.get(at) == Some(&b'^');
        if negated {
            at += 1;
        }
        let set = self.pattern;
        while at < last {
            if set[at] == b'%' {
                at += 1;
                if in_class(byte, set[at]) {
                    return !negated;
                }
                at += 1;
            } else if at + 2 < last && set[at + 1] == b'-' {
                if set[at] <= byte && byte <= set[at + 2] {
                    return !negated;
                }
                at += 3;
            } else {
                if set[at] == byte {
                    return !negated;
                }
                at += 1;
            }
        }
        negated
    }
}

fn in_class(byte: u8, class: u8) -> bool {
    let found = match class.to_ascii_lowercase() {
        b'a' => byte.is_ascii_alphabetic(),
        b'c' => byte.is_ascii_control(),
        b'd' => byte.is_ascii_digit(),
        b'l' => byte.is_ascii_lowercase(),
        b'p' => byte.is_ascii_punctuation(),
        b's' => matches!(byte, b' ' | 9..=13),
        b'u' => byte.is_ascii_uppercase(),
        b'w' => byte.is_ascii_alphanumeric(),
        b'x' => byte.is_ascii_hexdigit(),
        b'z' => byte == 0,
        _ => return class == byte,
    };
    found != class.is_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, pattern: &str) -> Result<Option<(usize, usize)>, Stop> {
        let mut go = || true;
        let mut matcher = Matcher::new(text.as_bytes(), pattern.as_bytes(), &mut go);
        for start in 0..=text.len() {
            if let Some(end) = matcher.run(start, 0)? {
                return Ok(Some((start, end)));
            }
        }
        Ok(None)
    }

    #[test]
    fn finds_what_the_manual_says() {
        for (text, pattern, place) in [
            ("hello world", "o w", Some((4, 7))),
            ("THE (quick) fox", "%((%a+)%)", Some((4, 11))),
            ("aaab", "a-b", Some((0, 4))),
            ("x = {a{b}c}", "%b{}", Some((4, 11))),
            ("abc", "[]a]", Some((0, 1))),
            ("abc", "[^a-b]", Some((2, 3))),
            ("a-b", "[a%-]+", Some((0, 2))),
            ("\"it's\"", "([\"']).-%1", Some((0, 6))),
            ("abc", "%f[%w]b", None),
            ("", "x*", Some((0, 0))),
        ] {
            assert_eq!(find(text, pattern), Ok(place), "{text} {pattern}");
        }
    }

    #[test]
    fn wrong_patterns_say_why() {
        for (pattern, why) in [
            ("(", "unfinished"),
            ("[a", "malformed pattern (missing ']')"),
            ("a%", "malformed pattern (ends with '%')"),
            ("a)", "invalid pattern capture"),
            ("%1", "invalid capture index"),
            ("%bx", "unbalanced pattern"),
        ] {
            match find("abc", pattern) {
                Err(Stop::Bad(text)) => assert!(text.contains(why), "{pattern}: {text}"),
                Ok(_) => assert_eq!(why, "unfinished", "{pattern}: left to the caller"),
                other => panic!("{pattern}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_long_search_can_be_ended_and_a_long_pattern_is_refused() {
        let text = "a".repeat(30_000);
        let pattern = format!("{}b", "a-".repeat(20));
        let mut asked = 0;
        let mut go = || {
            asked += 1;
            asked < 3
        };
        let mut matcher = Matcher::new(text.as_bytes(), pattern.as_bytes(), &mut go);
        assert_eq!(matcher.run(0, 0), Err(Stop::Killed));
        let pattern = "a?".repeat(100_000);
        assert_eq!(find(&text, &pattern), Err(Stop::Bad("pattern too complex")));
    }
}
