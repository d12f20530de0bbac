//! How each type of value is read from words, shown by CONFIG GET and written by CONFIG REWRITE.
//!
//! The type of a `Config` field chooses the implementation; what differs between directives of one
//! type (bounds, unit, checks) is in the directive's row.
//!
//! Source: redis 7.0 `config.c` (the `*ConfigSet`, `*ConfigGet`, `*ConfigRewrite` families); every
//! text was compared with a running 7.0.15.

use crate::directives::{Directive, Kind};
use crate::text::{Text, is_space, join, push_quoted};
use crate::types::{
    HostPort, MemoryOrPercent, NotifyFlags, OutputBufferLimit, OutputBufferLimits, SavePoint,
    ShutdownFlags,
};

/// Where a value comes from; a few directives add up while a file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The first line of this directive while files are read.
    FileFirst,
    /// A later line of this directive.
    FileAgain,
    /// CONFIG SET.
    Command,
}

/// One field of [`crate::Config`].
pub(crate) trait Value {
    /// Reads the words after the name. The error is Redis's reason; on error the field may be
    /// changed in part (callers work on a copy).
    fn set(&mut self, row: &Directive, words: &[&[u8]], origin: Origin) -> Result<(), String>;

    /// The text of CONFIG GET.
    fn show(&self, row: &Directive) -> Vec<u8>;

    /// The lines of CONFIG REWRITE with the flag that says: write it even if the file has no line
    /// for it. `default` is the field of a fresh configuration.
    fn lines(&self, row: &Directive, default: &dyn Value) -> Vec<(Vec<u8>, bool)> {
        let shown = self.show(row);
        let changed = shown != default.show(row);
        vec![(line(row, &shown), changed)]
    }

    /// The accepted words, for types with choices.
    fn words(&self) -> &'static [&'static str] {
        &[]
    }
}

fn line(row: &Directive, value: &[u8]) -> Vec<u8> {
    join(&[row.name.as_bytes(), value])
}

fn quoted_line(row: &Directive, value: &[u8]) -> Vec<u8> {
    let mut out = row.name.as_bytes().to_vec();
    out.push(b' ');
    push_quoted(&mut out, value);
    out
}

/// Words side by side, quoted where a reader would take them apart; none at all is `""`.
fn words_line(row: &Directive, words: &[&[u8]]) -> Vec<u8> {
    let plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\".contains(byte);
    let quoted: Vec<Vec<u8>> = words
        .iter()
        .map(|word| {
            if !word.is_empty() && word.iter().all(plain) {
                return word.to_vec();
            }
            let mut out = Vec::new();
            push_quoted(&mut out, word);
            out
        })
        .collect();
    match quoted.as_slice() {
        [] => quoted_line(row, b""),
        // A lone word is split once more by the reader.
        [one] if one.starts_with(b"\"") => quoted_line(row, one),
        several => line(row, &several.join(&b' ')),
    }
}

/// The single word of a directive that takes one.
fn one<'a>(words: &[&'a [u8]]) -> Result<&'a [u8], String> {
    match words {
        [word] => Ok(word),
        _ => Err("wrong number of arguments".into()),
    }
}

impl Value for bool {
    fn set(&mut self, row: &Directive, words: &[&[u8]], origin: Origin) -> Result<(), String> {
        *self = match one(words)? {
            word if word.eq_ignore_ascii_case(b"yes") => match (row.kind, origin) {
                (Kind::OnlyInFile(reason), Origin::Command) => return Err(reason.into()),
                _ => true,
            },
            word if word.eq_ignore_ascii_case(b"no") => false,
            _ => return Err("argument must be 'yes' or 'no'".into()),
        };
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }

    fn words(&self) -> &'static [&'static str] {
        &["yes", "no"]
    }
}

/// Implements `Value` for an enum made by `choices!`.
macro_rules! choice_value {
    ($name:ident) => {
        impl crate::value::Value for $name {
            fn set(
                &mut self,
                _: &crate::directives::Directive,
                words: &[&[u8]],
                _: crate::value::Origin,
            ) -> Result<(), String> {
                *self = match words {
                    [word] => $name::from_word(word),
                    _ => None,
                }
                .ok_or_else(|| crate::value::must_be_one_of($name::WORDS))?;
                Ok(())
            }

            fn show(&self, _: &crate::directives::Directive) -> Vec<u8> {
                self.as_str().into()
            }

            fn words(&self) -> &'static [&'static str] {
                $name::WORDS
            }
        }
    };
}
pub(crate) use choice_value;

pub(crate) fn must_be_one_of(words: &[&str]) -> String {
    format!("argument(s) must be one of the following: {}", words.join(", "))
}

/// Reads a size: digits and a unit of b, k (1000), kb (1024), m, mb, g, gb in any case. As in
/// Redis no digits count as 0. Too large numbers are refused, where Redis wraps around silently.
pub(crate) fn parse_memory(word: &[u8]) -> Option<u64> {
    let digits = word.iter().take_while(|b| b.is_ascii_digit()).count();
    let unit: u64 = match word[digits..].to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number = word[..digits].iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })?;
    number.checked_mul(unit)
}

/// The largest binary unit that divides the size, as rewritten files show sizes.
pub(crate) fn format_memory(bytes: u64) -> String {
    for (unit, name) in [(1u64 << 30, "gb"), (1 << 20, "mb"), (1 << 10, "kb")] {
        if bytes != 0 && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// Reads a number of the row's kind and checks its bounds.
fn parse_number(row: &Directive, word: &[u8]) -> Result<i128, String> {
    let between = |number: i128, min: i64, max: u64| {
        if number < i128::from(min) || number > i128::from(max) {
            return Err(format!("argument must be between {min} and {max} inclusive"));
        }
        Ok(number)
    };
    match row.kind {
        Kind::Memory(min, max) => {
            let number = parse_memory(word).ok_or("argument must be a memory value")?;
            between(i128::from(number), min as i64, max)
        }
        Kind::MemoryRaised(floor, max) => {
            let number = parse_memory(word).ok_or("argument must be a memory value")?;
            Ok(between(i128::from(number), 1, max)?.max(i128::from(floor)))
        }
        Kind::Octal(min, max) => {
            let reason = "argument couldn't be parsed as an octal number";
            let number = parse_octal(word).ok_or(reason)?;
            if number < min || number > max {
                return Err(format!("argument must be between {min:o} and {max:o} inclusive"));
            }
            Ok(i128::from(number))
        }
        Kind::Int(min, max) => between(parse_integer(word)?, min, max),
        Kind::Capped(min, max) => {
            let number = between(parse_integer(word)?, 0, i32::MAX as u64)?;
            Ok(number.clamp(i128::from(min), i128::from(max)))
        }
        _ => unreachable!("the field of {} is a number, its kind is not", row.name),
    }
}

fn parse_integer(word: &[u8]) -> Result<i128, String> {
    let number = stdx::parse_i64(word).ok_or("argument couldn't be parsed into an integer")?;
    Ok(i128::from(number))
}

/// As strtoll with base 8: blanks and a sign may lead, and nothing at all is 0.
fn parse_octal(word: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(word).ok()?;
    let text = text.trim_start_matches(|c: char| c.is_ascii() && is_space(c as u8));
    if text.is_empty() { Some(0) } else { i64::from_str_radix(text, 8).ok() }
}

macro_rules! number_value {
    ($($ty:ty),+) => { $(
        impl Value for $ty {
            fn set(&mut self, row: &Directive, words: &[&[u8]], _: Origin) -> Result<(), String> {
                let number = parse_number(row, one(words)?)?;
                *self = <$ty>::try_from(number).expect("the row's bounds fit the field");
                Ok(())
            }

            fn show(&self, row: &Directive) -> Vec<u8> {
                match row.kind {
                    Kind::Octal(..) => format!("{self:o}").into_bytes(),
                    _ => self.to_string().into_bytes(),
                }
            }

            fn lines(&self, row: &Directive, default: &dyn Value) -> Vec<(Vec<u8>, bool)> {
                let shown = self.show(row);
                let changed = shown != default.show(row);
                match row.kind {
                    Kind::Memory(..) | Kind::MemoryRaised(..) => {
                        let bytes = *self as u64;
                        vec![(line(row, format_memory(bytes).as_bytes()), changed)]
                    }
                    _ => vec![(line(row, &shown), changed)],
                }
            }
        }
    )+ };
}
number_value!(u16, u32, u64, i32, i64);

impl Value for MemoryOrPercent {
    fn set(&mut self, _: &Directive, words: &[&[u8]], _: Origin) -> Result<(), String> {
        let bad = || "argument must be a memory or percent value".to_string();
        *self = match one(words)? {
            [digits @ .., b'%'] => {
                let percent = stdx::parse_u64(digits).ok_or_else(bad)?;
                match percent {
                    0 => MemoryOrPercent::Bytes(0),
                    1..=100 => MemoryOrPercent::Percent(percent as u8),
                    _ => return Err("percentage argument must be less or equal to 100".into()),
                }
            }
            word => match parse_memory(word).ok_or_else(bad)? {
                // Redis keeps percentages as negative numbers, and says so to too large ones.
                bytes if bytes > i64::MAX as u64 => {
                    return Err("percentage argument must be less or equal to 100".into());
                }
                bytes => MemoryOrPercent::Bytes(bytes),
            },
        };
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        match self {
            MemoryOrPercent::Bytes(bytes) => bytes.to_string().into_bytes(),
            MemoryOrPercent::Percent(percent) => format!("{percent}%").into_bytes(),
        }
    }

    fn lines(&self, row: &Directive, default: &dyn Value) -> Vec<(Vec<u8>, bool)> {
        let shown = self.show(row);
        let changed = shown != default.show(row);
        match self {
            MemoryOrPercent::Bytes(bytes) => {
                vec![(line(row, format_memory(*bytes).as_bytes()), changed)]
            }
            MemoryOrPercent::Percent(_) => vec![(line(row, &shown), changed)],
        }
    }
}

impl Value for Text {
    fn set(&mut self, row: &Directive, words: &[&[u8]], _: Origin) -> Result<(), String> {
        let word = one(words)?;
        if let Kind::Text { check: Some(check), .. } = row.kind {
            check(word)?;
        }
        *self = Text::from(word);
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        self.to_vec()
    }

    fn lines(&self, row: &Directive, default: &dyn Value) -> Vec<(Vec<u8>, bool)> {
        // Redis knows 'not set' (the line goes) and 'set to empty' (it stays).
        if self.is_empty() && matches!(row.kind, Kind::Text { empty_is_unset: true, .. }) {
            return Vec::new();
        }
        vec![(quoted_line(row, self), self.show(row) != default.show(row))]
    }
}

impl Value for Vec<SavePoint> {
    fn set(&mut self, _: &Directive, words: &[&[u8]], origin: Origin) -> Result<(), String> {
        let bad = "Invalid save parameters";
        // A lone empty word means: no save points.
        let words = if matches!(words, [word] if word.is_empty()) { &[] } else { words };
        if !words.len().is_multiple_of(2) {
            return Err(bad.into());
        }
        let mut points = Vec::new();
        for pair in words.chunks(2) {
            let secs = stdx::parse_u64(pair[0]).filter(|&n| n >= 1).ok_or(bad)?;
            let changes = stdx::parse_u64(pair[1]).ok_or(bad)?;
            points.push(SavePoint { secs, changes });
        }
        if origin != Origin::FileAgain || words.is_empty() {
            self.clear();
        }
        self.extend(points);
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        let parts: Vec<String> = self.iter().map(|p| format!("{} {}", p.secs, p.changes)).collect();
        parts.join(" ").into_bytes()
    }

    fn lines(&self, row: &Directive, _: &dyn Value) -> Vec<(Vec<u8>, bool)> {
        if self.is_empty() {
            return vec![(quoted_line(row, b""), true)];
        }
        self.iter()
            .map(|p| (line(row, format!("{} {}", p.secs, p.changes).as_bytes()), true))
            .collect()
    }
}

impl OutputBufferLimits {
    fn class(&mut self, name: &[u8]) -> Option<&mut OutputBufferLimit> {
        match name.to_ascii_lowercase().as_slice() {
            b"normal" => Some(&mut self.normal),
            b"slave" | b"replica" => Some(&mut self.replica),
            b"pubsub" => Some(&mut self.pubsub),
            _ => None,
        }
    }

    fn each(&self, replica_name: &'static str) -> [(&'static str, OutputBufferLimit); 3] {
        [("normal", self.normal), (replica_name, self.replica), ("pubsub", self.pubsub)]
    }
}

impl Value for OutputBufferLimits {
    fn set(&mut self, _: &Directive, words: &[&[u8]], origin: Origin) -> Result<(), String> {
        // CONFIG SET with an empty text changes nothing.
        if origin == Origin::Command && matches!(words, [word] if word.is_empty()) {
            return Ok(());
        }
        if !words.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        for part in words.chunks(4) {
            let class = self
                .class(part[0])
                .ok_or("Invalid client class specified in buffer limit configuration.")?;
            let bad = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
            *class = OutputBufferLimit {
                hard_bytes: parse_memory(part[1]).ok_or(bad)?,
                soft_bytes: parse_memory(part[2]).ok_or(bad)?,
                soft_secs: stdx::parse_u64(part[3]).ok_or(bad)?,
            };
        }
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        let parts = self.each("slave").map(|(name, limit)| {
            format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_secs)
        });
        parts.join(" ").into_bytes()
    }

    fn lines(&self, row: &Directive, default: &dyn Value) -> Vec<(Vec<u8>, bool)> {
        let text = |limit: OutputBufferLimit| {
            let [hard, soft] = [limit.hard_bytes, limit.soft_bytes].map(format_memory);
            format!("{hard} {soft} {}", limit.soft_secs)
        };
        let mut fresh = OutputBufferLimits::default();
        let shown = default.show(row);
        let words: Vec<&[u8]> = shown.split(|&b| b == b' ').collect();
        fresh.set(row, &words, Origin::Command).expect("a shown value can be read");
        let fresh = fresh.each("replica");
        self.each("replica")
            .into_iter()
            .zip(fresh)
            .map(|((name, limit), (_, fresh))| {
                (line(row, format!("{name} {}", text(limit)).as_bytes()), limit != fresh)
            })
            .collect()
    }
}

impl Value for Vec<String> {
    fn set(&mut self, _: &Directive, words: &[&[u8]], _: Origin) -> Result<(), String> {
        if words.len() > 16 {
            return Err("Too many bind addresses specified.".into());
        }
        // A lone empty word means: no address.
        let words = if matches!(words, [word] if word.is_empty()) { &[] } else { words };
        let texts: Result<Vec<String>, _> =
            words.iter().map(|word| String::from_utf8(word.to_vec())).collect();
        *self = texts.map_err(|_| "Failed to bind to specified addresses.")?;
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        self.join(" ").into_bytes()
    }

    fn lines(&self, row: &Directive, default: &dyn Value) -> Vec<(Vec<u8>, bool)> {
        // Redis drops the line when the default is asked for.
        let shown = self.show(row);
        if shown == default.show(row) {
            return Vec::new();
        }
        let words: Vec<&[u8]> = self.iter().map(String::as_bytes).collect();
        vec![(words_line(row, &words), true)]
    }
}

impl Value for Option<HostPort> {
    fn set(&mut self, _: &Directive, words: &[&[u8]], _: Origin) -> Result<(), String> {
        let [host, port] = words else {
            return Err("wrong number of arguments".into());
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            *self = None;
            return Ok(());
        }
        let port = stdx::parse_u64(port)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or("Invalid master port")?;
        let host = String::from_utf8(host.to_vec()).map_err(|_| "Invalid master address")?;
        *self = Some(HostPort { host, port });
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        match self {
            Some(master) => format!("{} {}", master.host, master.port).into_bytes(),
            None => Vec::new(),
        }
    }

    fn lines(&self, row: &Directive, _: &dyn Value) -> Vec<(Vec<u8>, bool)> {
        let Some(master) = self else {
            return Vec::new();
        };
        let port = master.port.to_string();
        vec![(words_line(row, &[master.host.as_bytes(), port.as_bytes()]), true)]
    }
}

impl Value for [i32; 3] {
    fn set(&mut self, _: &Directive, words: &[&[u8]], _: Origin) -> Result<(), String> {
        let words: &[&[u8]; 3] = words.try_into().map_err(|_| "wrong number of arguments")?;
        for (value, word) in self.iter_mut().zip(words) {
            *value = stdx::parse_i64(word)
                .filter(|n| (-2000..=2000).contains(n))
                .map(|n| n as i32)
                .ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")?;
        }
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        format!("{} {} {}", self[0], self[1], self[2]).into_bytes()
    }
}

impl Value for NotifyFlags {
    fn set(&mut self, _: &Directive, words: &[&[u8]], _: Origin) -> Result<(), String> {
        *self = NotifyFlags::from_letters(one(words)?)
            .ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        self.letters().into_bytes()
    }

    fn lines(&self, row: &Directive, default: &dyn Value) -> Vec<(Vec<u8>, bool)> {
        vec![(quoted_line(row, &self.show(row)), self.show(row) != default.show(row))]
    }
}

impl Value for Vec<f64> {
    fn set(&mut self, row: &Directive, words: &[&[u8]], _: Origin) -> Result<(), String> {
        let words = if matches!(words, [word] if word.is_empty()) { &[] } else { words };
        let mut percentiles = Vec::new();
        for word in words {
            let value =
                stdx::parse_f64(word).ok_or_else(|| format!("Invalid {} parameters", row.name))?;
            if !(0.0..=100.0).contains(&value) {
                return Err(format!("{} parameters should sit between [0.0,100.0]", row.name));
            }
            percentiles.push(value);
        }
        *self = percentiles;
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        let parts: Vec<String> = self.iter().map(|value| percentile_text(*value)).collect();
        parts.join(" ").into_bytes()
    }

    fn lines(&self, row: &Directive, _: &dyn Value) -> Vec<(Vec<u8>, bool)> {
        if self.is_empty() {
            return vec![(quoted_line(row, b""), true)];
        }
        vec![(line(row, &self.show(row)), true)]
    }
}

/// A percentile with at most six digits after the point.
fn percentile_text(value: f64) -> String {
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

impl Value for ShutdownFlags {
    fn set(&mut self, row: &Directive, words: &[&[u8]], _: Origin) -> Result<(), String> {
        let mut flags = ShutdownFlags::default();
        let words_allowed = self.words();
        if words.is_empty() {
            return Err(must_be_one_of(words_allowed));
        }
        for word in words {
            match word.to_ascii_lowercase().as_slice() {
                b"default" => {}
                b"save" => flags.save = true,
                b"nosave" => flags.nosave = true,
                b"now" => flags.now = true,
                b"force" => flags.force = true,
                _ => return Err(must_be_one_of(words_allowed)),
            }
        }
        if flags.save && flags.nosave {
            debug_assert!(row.name.starts_with("shutdown-on-"));
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        *self = flags;
        Ok(())
    }

    fn show(&self, _: &Directive) -> Vec<u8> {
        let on = [
            (self.save, "save"),
            (self.nosave, "nosave"),
            (self.now, "now"),
            (self.force, "force"),
        ];
        let words: Vec<&str> = on.iter().filter(|(on, _)| *on).map(|(_, word)| *word).collect();
        if words.is_empty() { b"default".to_vec() } else { words.join(" ").into_bytes() }
    }

    fn words(&self) -> &'static [&'static str] {
        &["default", "save", "nosave", "now", "force"]
    }
}
