//! Glob patterns over bytes, as Redis matches them everywhere.
//!
//! Source: redis 7.0 `util.c:stringmatchlen`. A recursive matcher takes exponential time for patterns
//! such as `a*a*a*a*b`; Redis guards by giving up early. This one never goes back beyond the last
//! `*`, which is enough for globs, so that the worst case is pattern length times text length.

/// Whether `text` matches `pattern` as a whole.
///
/// `*` any bytes, `?` one byte, `[abc]`, `[a-c]`, `[^a]` one byte out of a set, `\x` the byte `x`.
/// A set that is not closed ends with the pattern; a lone backslash at the end stands for itself.
///
/// Redis's oddity is kept: nothing but the empty pattern matches the empty text, not even `*`.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // Where to go on if the rest fails: after the last star, with one more byte taken by it.
    let mut retry: Option<(usize, usize)> = None;
    loop {
        if pattern.get(p) == Some(&b'*') {
            while pattern.get(p) == Some(&b'*') {
                p += 1;
            }
            if p == pattern.len() {
                return true;
            }
            retry = Some((p, t));
            continue;
        }
        if p == pattern.len() && t == text.len() {
            return true;
        }
        let step = match text.get(t) {
            Some(&byte) if p < pattern.len() => match_one(&pattern[p..], byte, nocase),
            _ => None,
        };
        match (step, retry) {
            (Some(used), _) => {
                p += used;
                t += 1;
            }
            (None, Some((after_star, taken))) if taken < text.len() => {
                retry = Some((after_star, taken + 1));
                p = after_star;
                t = taken + 1;
            }
            _ => return false,
        }
    }
}

/// Matches one byte against the element at the pattern's head (not a star); returns the element's
/// length.
fn match_one(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    let fold = |b: u8| if nocase { b.to_ascii_lowercase() } else { b };
    match pattern {
        [b'?', ..] => Some(1),
        [b'[', set @ ..] => {
            let (found, used) = match_set(set, fold(byte), fold);
            found.then_some(used + 1)
        }
        [b'\\', literal, ..] => (fold(*literal) == fold(byte)).then_some(2),
        [literal, ..] => (fold(*literal) == fold(byte)).then_some(1),
        [] => None,
    }
}

/// Reads the set after its `[`; returns whether it holds `byte` and how much of the pattern it is.
fn match_set(set: &[u8], byte: u8, fold: impl Fn(u8) -> u8) -> (bool, usize) {
    let negated = set.first() == Some(&b'^');
    let mut at = usize::from(negated);
    let mut found = false;
    loop {
        match &set[at..] {
            [b'\\', literal, ..] => {
                found |= fold(*literal) == byte;
                at += 2;
            }
            [b']', ..] => {
                at += 1;
                break;
            }
            [] => break,
            [from, b'-', to, ..] => {
                let (from, to) = (fold(*from).min(fold(*to)), fold(*from).max(fold(*to)));
                found |= (from..=to).contains(&byte);
                at += 3;
            }
            [literal, ..] => {
                found |= fold(*literal) == byte;
                at += 1;
            }
        }
    }
    (found != negated, at)
}

#[cfg(test)]
mod tests {
    use super::glob_match;

    fn check(pattern: &str, text: &str) -> bool {
        glob_match(pattern.as_bytes(), text.as_bytes(), false)
    }

    #[test]
    fn as_redis() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "", false),
            ("*", "", false),
            ("**", "", false),
            ("*", "anything", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b*", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c*e", "abcdf", false),
            ("**a**", "xax", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("?", "", false),
            ("h[ae]llo", "hallo", true),
            ("h[ae]llo", "hillo", false),
            ("h[^e]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-b]llo", "hbllo", true),
            ("h[b-a]llo", "hallo", true),
            ("h[a-b]llo", "hcllo", false),
            ("[\\]]", "]", true),
            ("[a\\-z]", "-", true),
            ("[a\\-z]", "m", false),
            ("[", "a", false),
            ("[a", "a", true),
            ("[^", "a", true),
            ("[]", "a", false),
            ("[^]", "a", true),
            ("[a-", "a", true),
            ("[a-", "-", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a\\", "a\\", true),
            ("a\\", "a", false),
            ("*\\?", "what?", true),
            ("key:[0-9]*", "key:42", true),
            ("*[0-9]", "key:4x2", true),
            ("__key*@*__:*", "__keyspace@0__:x", true),
        ] {
            assert_eq!(check(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn without_case() {
        assert!(glob_match(b"MAXmem*", b"maxmemory-policy", true));
        assert!(!glob_match(b"MAXmem*", b"maxmemory-policy", false));
        assert!(glob_match(b"[A-C]", b"b", true));
        assert!(glob_match(b"\\A", b"a", true));
    }

    #[test]
    fn binary() {
        assert!(glob_match(b"\x00*\xff", b"\x00\x01\xff", false));
        assert!(glob_match(b"[\x80-\xff]", b"\x90", false));
    }

    /// `a*a*a*…b` against a long run of `a`: exponential where a matcher tries every star again.
    #[test]
    fn pathological_pattern_ends() {
        let pattern = [b"a*".repeat(1000).as_slice(), b"b"].concat();
        assert!(!glob_match(&pattern, &b"a".repeat(20_000), false));
        let pattern = b"*?".repeat(500);
        assert!(glob_match(&pattern, &b"a".repeat(20_000), false));
        assert!(!glob_match(&pattern, &b"a".repeat(499), false));
    }

    /// Against a matcher that is plainly right and slow.
    #[test]
    fn agrees_with_naive() {
        fn naive(pattern: &[u8], text: &[u8]) -> bool {
            match pattern {
                [] => text.is_empty(),
                [b'*', rest @ ..] => (0..=text.len()).any(|n| naive(rest, &text[n..])),
                [b'?', rest @ ..] => !text.is_empty() && naive(rest, &text[1..]),
                [c, rest @ ..] => text.first() == Some(c) && naive(rest, &text[1..]),
            }
        }
        let mut prng = crate::Prng::new(7);
        let mut matches = 0;
        for _ in 0..20_000 {
            let mut pick = |alphabet: &[u8], most: u64| -> Vec<u8> {
                let len = prng.below(most + 1);
                (0..len).map(|_| alphabet[prng.below(alphabet.len() as u64) as usize]).collect()
            };
            let (pattern, text) = (pick(b"ab*?", 8), pick(b"ab", 10));
            let expected =
                if text.is_empty() { pattern.is_empty() } else { naive(&pattern, &text) };
            matches += u32::from(expected);
            assert_eq!(glob_match(&pattern, &text, false), expected, "{pattern:?} {text:?}");
        }
        assert!(matches > 1000);
    }
}
