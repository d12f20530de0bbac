//! ZSCAN.

use crate::args::{ScanKind, ScanOptions, cursor};
use crate::family::common::*;
use crate::{Command, CommandResult, CommandSpec, Ctx, DataFn, Effect, Group, at};
use resp::{Args, Reply};

/// ZSCAN key cursor [MATCH pattern] [COUNT count]
pub const ZSCAN: Command<DataFn> = Command::new(
    CommandSpec::new("zscan", -3, Group::SortedSet)
        .flags(READ)
        .keys(&[at(1, RO_ACCESS)])
        .since("2.8.0")
        .tips(&["nondeterministic_output"])
        .doc(
            "O(1) for a call, O(n) for all n members",
            "Walks over a sorted set, a part in a call.",
        ),
    zscan,
);

fn zscan(ctx: &mut Ctx<'_, '_>, args: &Args<'_>) -> CommandResult {
    let start = cursor(args.at(2))?;
    let Some(zset) = ctx.keys.zset(args.at(1))? else {
        scan_reply(ctx.reply, 0, 0, &Reply::default());
        return Ok(Effect::None);
    };
    let options = ScanOptions::parse(args, 3, ScanKind::Other)?;
    let packed = zset.as_listpack().is_some();
    let mut items = Reply::new(ctx.reply.protocol());
    let mut len = 0;
    let mut text = Vec::with_capacity(32);
    let next = zset.scan(start, options.count, &mut |member, score| {
        if !member.with(|text| options.matches(text)) {
            return;
        }
        // A packed set shows its scores as they are stored, a big one by other rules, as in Redis;
        // a bulk string even in RESP3.
        text.clear();
        if packed {
            stdx::format_f64(&mut text, score);
        } else {
            push_17_digits(&mut text, score);
        }
        bulk_elem(&mut items, member);
        items.bulk(&text);
        len += 2;
    });
    scan_reply(ctx.reply, next, len, &items);
    Ok(Effect::None)
}

/// Appends a score with 17 significant digits, trailing zeros cut: C's `%.17g`.
/// Source: redis 7.2 `db.c:scanCallback`, `util.c:ld2string`.
fn push_17_digits(out: &mut Vec<u8>, value: f64) {
    if value.is_infinite() {
        return out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    let text = format!("{value:.16e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        let text = format!("{value:.*}", (16 - exponent) as usize);
        return out.extend_from_slice(without_zeros(&text).as_bytes());
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let text = format!("{}e{sign}{:02}", without_zeros(mantissa), exponent.abs());
    out.extend_from_slice(text.as_bytes());
}

/// A number without the zeros at the end of its fraction.
fn without_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_have_17_digits() {
        for (value, text) in [
            (0.1, "0.10000000000000001"),
            (0.0, "0"),
            (-0.0, "-0"),
            (100.0, "100"),
            (1.5, "1.5"),
            (3.3e-5, "3.3000000000000003e-05"),
            (0.0001, "0.0001"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1e100, "1e+100"),
            (1.2345678901234567e20, "1.2345678901234567e+20"),
            (5e-324, "4.9406564584124654e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            let mut out = Vec::new();
            push_17_digits(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
