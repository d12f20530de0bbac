//! Reading arguments: numbers, expiry times, and the options that several commands share.
//!
//! Every function answers a bad argument with the error text that Redis has for it, so that a
//! command only says which rule holds. Nothing here looks at keys.

use crate::longdouble::LongDouble;
use crate::{CommandError, Ctx, Env};
use resp::Args;
use stdx::{UnixMs, parse_f64, parse_i64};

/// A 64-bit integer. Source: redis 7.0 `object.c:getLongLongFromObjectOrReply`.
#[inline]
pub fn int(arg: &[u8]) -> Result<i64, CommandError> {
    parse_i64(arg).ok_or(CommandError::NOT_INTEGER)
}

/// A 64-bit integer, with an error of the command's own.
pub fn int_or(arg: &[u8], error: CommandError) -> Result<i64, CommandError> {
    parse_i64(arg).ok_or(error)
}

/// An integer in `min..=max`. Source: redis 7.0 `object.c:getRangeLongFromObjectOrReply`.
pub fn int_between(arg: &[u8], min: i64, max: i64) -> Result<i64, CommandError> {
    let value = int(arg)?;
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    let text = format!("ERR value is out of range, value must between {min} and {max}");
    Err(CommandError::owned(text))
}

/// An integer in `min..=max`; anything else, words included, gets `error`.
pub fn int_between_or(
    arg: &[u8],
    min: i64,
    max: i64,
    error: CommandError,
) -> Result<i64, CommandError> {
    parse_i64(arg).filter(|value| (min..=max).contains(value)).ok_or(error)
}

/// An integer of 0 or more, such as the count of LPOP.
/// Source: redis 7.0 `object.c:getPositiveLongFromObjectOrReply`.
pub fn not_negative(arg: &[u8]) -> Result<i64, CommandError> {
    int_between_or(arg, 0, i64::MAX, CommandError::NOT_POSITIVE)
}

/// A double. Source: redis 7.0 `object.c:getDoubleFromObjectOrReply`.
pub fn float(arg: &[u8]) -> Result<f64, CommandError> {
    parse_f64(arg).ok_or(CommandError::NOT_FLOAT)
}

/// The time-out of a blocking command, in seconds with a fraction: the moment when waiting ends,
/// `None` for ever. Source: redis 7.0 `timeout.c:getTimeoutFromObjectOrReply`.
pub fn timeout(arg: &[u8], now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    const NOT_FLOAT: CommandError = CommandError::new("ERR timeout is not a float or out of range");
    let seconds = match (parse_f64(arg), LongDouble::parse(arg)) {
        (Some(seconds), _) => seconds,
        // Too big for a double, but not for the long double that Redis reads it as.
        (None, Some(LongDouble::Finite { neg, exp: 0.., .. })) if neg => f64::NEG_INFINITY,
        (None, Some(LongDouble::Finite { exp: 0.., .. })) => f64::INFINITY,
        _ => return Err(NOT_FLOAT),
    };
    let ms = seconds * 1000.0;
    if ms > i64::MAX as f64 {
        return Err(CommandError::new("ERR timeout is out of range"));
    }
    let ms = ms.ceil() as i64;
    if ms < 0 {
        return Err(CommandError::new("ERR timeout is negative"));
    }
    if ms == 0 {
        return Ok(None);
    }
    match now.0.checked_add(ms) {
        Some(at) => Ok(Some(UnixMs(at))),
        None => Err(CommandError::new("ERR timeout is out of range")),
    }
}

/// How an expiry time is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeForm {
    /// Seconds from now.
    InSeconds,
    /// Milliseconds from now.
    InMs,
    /// Unix time in seconds.
    AtSeconds,
    /// Unix time in milliseconds.
    AtMs,
}

impl TimeForm {
    /// True if the number counts seconds.
    pub fn seconds(self) -> bool {
        matches!(self, TimeForm::InSeconds | TimeForm::AtSeconds)
    }

    /// True if the number counts from now.
    pub fn relative(self) -> bool {
        matches!(self, TimeForm::InSeconds | TimeForm::InMs)
    }
}

/// The expiry time of SET, SETEX and GETEX, in Unix ms: must lie after the epoch. `name` is the
/// command's, for the error. Source: redis 7.0 `t_string.c:getExpireMillisecondsOrReply`.
pub fn expire_at(arg: &[u8], form: TimeForm, now: UnixMs, name: &str) -> Result<i64, CommandError> {
    let value = int(arg)?;
    let invalid = || CommandError::invalid_expire(name);
    if value <= 0 {
        return Err(invalid());
    }
    let ms = if form.seconds() { value.checked_mul(1000).ok_or_else(invalid)? } else { value };
    if form.relative() { ms.checked_add(now.0).ok_or_else(invalid) } else { Ok(ms) }
}

/// Parses the word at `index` and the integer behind it, if the word is `name` and an argument
/// follows it.
pub fn option_value<'a>(args: &Args<'a>, index: usize, name: &str) -> Option<&'a [u8]> {
    if args.is(index, name) { args.get(index + 1) } else { None }
}

/// The cursor of SCAN, SSCAN, HSCAN and ZSCAN.
/// Source: redis 7.0 `db.c:parseScanCursorOrReply`, with C's rules for `strtoul`.
pub fn cursor(arg: &[u8]) -> Result<u64, CommandError> {
    const INVALID: CommandError = CommandError::new("ERR invalid cursor");
    let (negative, digits) = match arg {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, arg),
    };
    if digits.is_empty() && !arg.is_empty() {
        return Err(INVALID);
    }
    let value = digits.iter().try_fold(0u64, |value, &digit| {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(digit)) }
    });
    let value = value.ok_or(INVALID)?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// Which options a command of the SCAN family has beside MATCH and COUNT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanKind {
    /// SCAN: TYPE.
    Keys,
    /// HSCAN: NOVALUES.
    Hash,
    /// SSCAN and ZSCAN: none.
    Other,
}

/// Options of a command of the SCAN family.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    /// Elements to look at in one call, 1 or more.
    pub count: usize,
    /// Glob pattern of what is returned; `None` for everything.
    pub pattern: Option<&'a [u8]>,
    /// SCAN only: name of the type.
    pub of_type: Option<&'a [u8]>,
    /// HSCAN only: fields without their values.
    pub no_values: bool,
}

impl<'a> ScanOptions<'a> {
    /// Parses the options from argument `from` on. Source: redis 7.0 `db.c:scanGenericCommand`.
    pub fn parse(
        args: &Args<'a>,
        from: usize,
        kind: ScanKind,
    ) -> Result<ScanOptions<'a>, CommandError> {
        let mut options = ScanOptions { count: 10, pattern: None, of_type: None, no_values: false };
        let mut at = from;
        while at < args.len() {
            if let Some(value) = option_value(args, at, "count") {
                let count = int(value)?;
                if count < 1 {
                    return Err(CommandError::SYNTAX);
                }
                options.count = count as usize;
                at += 2;
            } else if let Some(value) = option_value(args, at, "match") {
                options.pattern = (value != b"*").then_some(value);
                at += 2;
            } else if kind == ScanKind::Keys
                && let Some(value) = option_value(args, at, "type")
            {
                options.of_type = Some(value);
                at += 2;
            } else if kind == ScanKind::Hash && args.is(at, "novalues") {
                options.no_values = true;
                at += 1;
            } else {
                return Err(CommandError::SYNTAX);
            }
        }
        Ok(options)
    }

    /// True if the pattern lets `text` through.
    pub fn matches(&self, text: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| stdx::glob_match(pattern, text, false))
    }
}

/// Checks that a string of `len` bytes may grow by `more`; commands from the master are obeyed.
/// Source: redis 7.0 `t_string.c:checkStringLength`.
pub fn check_string_len(env: &Env, len: usize, more: usize) -> Result<(), CommandError> {
    let fits = (len as u64)
        .checked_add(more as u64)
        .is_some_and(|total| env.from_master || total <= env.bulk_max);
    if fits { Ok(()) } else { Err(CommandError::STRING_TOO_LONG) }
}

/// The error for a subcommand that a container does not have, or for a wrong number of arguments.
/// Source: redis 7.0 `networking.c:addReplySubcommandSyntaxError`.
pub fn unknown_subcommand(args: &Args<'_>) -> CommandError {
    let sub = args.get(1).unwrap_or_default();
    CommandError::quoting(&[
        b"ERR unknown subcommand '",
        &sub[..sub.len().min(128)],
        b"'. Try ",
        &args.at(0).to_ascii_uppercase(),
        b" HELP.",
    ])
}

/// Writes what a container's HELP prints: its name and lines, and the lines that all have.
/// Source: redis 7.0 `networking.c:addReplyHelp`.
pub fn help(ctx: &mut Ctx<'_, '_>, name: &str, lines: &[&str]) {
    ctx.reply.array(lines.len() + 3);
    ctx.reply.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for line in lines {
        ctx.reply.simple(line);
    }
    ctx.reply.simple("HELP");
    ctx.reply.simple("    Prints this help.");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_follow_strtoul() {
        for (text, value) in [
            ("0", Some(0)),
            ("", Some(0)),
            ("+7", Some(7)),
            ("007", Some(7)),
            ("-1", Some(u64::MAX)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            (" 1", None),
            ("1 ", None),
            ("-", None),
            ("x", None),
        ] {
            assert_eq!(cursor(text.as_bytes()).ok(), value, "{text:?}");
        }
    }

    #[test]
    fn timeouts_are_moments() {
        let now = UnixMs(1000);
        assert_eq!(timeout(b"0", now), Ok(None));
        assert_eq!(timeout(b"0.0001", now), Ok(Some(UnixMs(1001))));
        assert_eq!(timeout(b"1.5", now), Ok(Some(UnixMs(2500))));
        for (text, error) in [
            ("-1", "ERR timeout is negative"),
            ("x", "ERR timeout is not a float or out of range"),
            ("1e300", "ERR timeout is out of range"),
            ("1e400", "ERR timeout is out of range"),
            ("-1e400", "ERR timeout is negative"),
            ("1e5000", "ERR timeout is not a float or out of range"),
        ] {
            assert_eq!(timeout(text.as_bytes(), now).unwrap_err().text(), error);
        }
    }

    #[test]
    fn expiry_times_stay_in_range() {
        let now = UnixMs(5);
        let at = |text: &str, form| expire_at(text.as_bytes(), form, now, "set").ok();
        assert_eq!(at("1", TimeForm::InSeconds), Some(1005));
        assert_eq!(at("1", TimeForm::InMs), Some(6));
        assert_eq!(at("1", TimeForm::AtSeconds), Some(1000));
        assert_eq!(at("1", TimeForm::AtMs), Some(1));
        assert_eq!(at("0", TimeForm::AtMs), None);
        assert_eq!(at("9223372036854775807", TimeForm::InMs), None);
        assert_eq!(at("9223372036854775807", TimeForm::AtMs), Some(i64::MAX));
        assert_eq!(at("9223372036854776", TimeForm::InSeconds), None);
    }
}
