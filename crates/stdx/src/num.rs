//! Numbers as text, by the strict rules that Redis's protocol and packed encodings need.
//!
//! Source: redis 7.0 `util.c:string2ll`, `string2d`, and for doubles the shortest form that 7.2
//! and later print.

/// The longest text of an `i64`, with its sign.
pub const I64_MAX_LEN: usize = 20;

/// Parses a canonical decimal `i64`: no blanks, no plus sign, no leading zeros, no `-0`.
/// A text that this accepts is exactly what [`push_i64`] prints for the result.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    if digits[0] == b'0' {
        return (text == b"0").then_some(0);
    }
    let mut value: u64 = 0;
    for &d in digits {
        let d = d.wrapping_sub(b'0');
        if d > 9 {
            return None;
        }
        value = value * 10 + u64::from(d); // 19 digits always fit u64.
    }
    if negative {
        (value <= 1 << 63).then(|| (value as i64).wrapping_neg())
    } else {
        i64::try_from(value).ok()
    }
}

/// Parses a canonical decimal `u64`.
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 || (text[0] == b'0' && text.len() > 1) {
        return None;
    }
    text.iter().try_fold(0u64, |value, &d| {
        let d = d.wrapping_sub(b'0');
        if d > 9 { None } else { value.checked_mul(10)?.checked_add(u64::from(d)) }
    })
}

/// Appends the decimal text of `value`.
pub fn push_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Appends the decimal text of `value`.
pub fn push_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Parses a double as Redis does for scores and increments: decimal or hexadecimal, `inf` and
/// `infinity` in any case, no blanks around it, never `nan`.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let first = *unsigned.as_bytes().first()?;
    if first == b'n' || first == b'N' {
        return None;
    }
    if unsigned.len() > 2 && (unsigned.starts_with("0x") || unsigned.starts_with("0X")) {
        let value = parse_hex_f64(&unsigned[2..])?;
        return Some(if text.starts_with('-') { -value } else { value });
    }
    let value: f64 = text.parse().ok()?;
    // strtod reports overflow by ERANGE, which Redis refuses; the word `inf` is fine.
    if value.is_infinite() && !first.eq_ignore_ascii_case(&b'i') {
        return None;
    }
    // The same for numbers so small that they become zero.
    if value == 0.0 && has_significant_digit(unsigned) {
        return None;
    }
    Some(value)
}

/// True if a decimal number that was written so is not zero.
fn has_significant_digit(text: &str) -> bool {
    text.bytes().take_while(|b| !b.eq_ignore_ascii_case(&b'e')).any(|b| matches!(b, b'1'..=b'9'))
}

/// `hhh.hhhp±d` without the `0x`; digits beyond 64 bits lose precision as in strtod.
fn parse_hex_f64(text: &str) -> Option<f64> {
    let (mantissa, exponent) = match text.find(['p', 'P']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0f64;
    for c in whole.chars() {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let mut unit = 1.0 / 16.0;
    for c in fraction.chars() {
        value += f64::from(c.to_digit(16)?) * unit;
        unit /= 16.0;
    }
    let value = value * 2f64.powi(exponent);
    value.is_finite().then_some(value)
}

/// Appends the shortest text that reads back as `value`, in the layout of Redis 7.2
/// (`util.c:d2string` with `fpconv_dtoa`); `inf`, `-inf`, `nan`.
pub fn format_f64(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        return out.extend_from_slice(b"nan");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    if value == 0.0 {
        return out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    }
    // Whole numbers up to 2^62 are printed by their digits (redis 7.2 `util.c:double2ll`).
    if value == value.trunc() && value.abs() <= (i64::MAX / 2) as f64 {
        return push_i64(out, value as i64);
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let (digits, exponent) = split_decimal(text);
    if value < 0.0 {
        out.push(b'-');
    }
    layout(out, &digits, exponent);
}

/// The significant digits of a decimal text and the exponent of the first one
/// (`12.5` gives `125`, 1).
fn split_decimal(text: &str) -> (Vec<u8>, i32) {
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().unwrap_or(0)),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let mut exponent = exponent + whole.len() as i32 - 1;
    let zeros = digits.iter().take_while(|&&d| d == b'0').count();
    digits.drain(..zeros);
    exponent -= zeros as i32;
    while digits.last() == Some(&b'0') {
        digits.pop();
    }
    (digits, exponent)
}

/// Lays out `digits` with the first one worth 10^`exponent`.
/// Source: redis 7.2 `deps/fpconv`: plain digits while few zeros have to be added on either
/// side, else the exponential form.
fn layout(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    let count = digits.len() as i32;
    // `k` is the power of ten of the last digit.
    let k = exponent - (count - 1);
    if k >= 0 && exponent < count + 7 {
        out.extend_from_slice(digits);
        out.extend(std::iter::repeat_n(b'0', k as usize));
    } else if k < 0 && (k > -7 || exponent.abs() < 4) {
        if exponent < 0 {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
            out.extend_from_slice(digits);
        } else {
            let whole = (exponent + 1) as usize;
            out.extend_from_slice(&digits[..whole]);
            out.push(b'.');
            out.extend_from_slice(&digits[whole..]);
        }
    } else {
        out.push(digits[0]);
        if count > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.push(b'e');
        out.push(if exponent < 0 { b'-' } else { b'+' });
        push_i64(out, i64::from(exponent.abs()));
    }
}

/// Appends `value` with up to 17 digits after the point and trailing zeros cut, the form of
/// INCRBYFLOAT (`ld2string` in its human-friendly mode), computed from a double.
pub fn format_f64_fixed17(out: &mut Vec<u8>, value: f64) {
    if value.is_infinite() {
        return out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    }
    let text = format!("{value:.17}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    out.extend_from_slice(if text == "-0" { b"0" } else { text.as_bytes() });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: f64) -> String {
        let mut out = Vec::new();
        format_f64(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integers_are_canonical_only() {
        for good in ["0", "-1", "9223372036854775807", "-9223372036854775808", "10"] {
            let value = parse_i64(good.as_bytes()).unwrap();
            let mut out = Vec::new();
            push_i64(&mut out, value);
            assert_eq!(out, good.as_bytes());
        }
        for bad in [
            "",
            "-",
            "+1",
            "01",
            "-0",
            " 1",
            "1 ",
            "1a",
            "9223372036854775808",
            "-9223372036854775809",
            "99999999999999999999",
        ] {
            assert_eq!(parse_i64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn doubles_parse_as_redis_does() {
        for (text, value) in [
            ("1", 1.0),
            ("-1.5e3", -1500.0),
            ("inf", f64::INFINITY),
            ("-INF", f64::NEG_INFINITY),
            ("+inf", f64::INFINITY),
            ("infinity", f64::INFINITY),
            ("0x10", 16.0),
            ("0x1.8p1", 3.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("-0e-400", 0.0),
            ("5e-324", 5e-324),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        for bad in ["", "nan", "-nan", " 1", "1 ", "1x", "1e400", "1e-400", "--1", "0x"] {
            assert_eq!(parse_f64(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn doubles_print_shortest() {
        for (value, text) in [
            (0.1, "0.1"),
            (3.0, "3"),
            (-0.0, "-0"),
            (1e21, "1e+21"),
            (1.5, "1.5"),
            (-2.25, "-2.25"),
            (1e-7, "1e-7"),
            (f64::INFINITY, "inf"),
            (5e-324, "5e-324"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (2.1415926535, "2.1415926535"),
            (0.001, "0.001"),
            (1e17, "100000000000000000"),
            (5e15, "5000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (4611686018427388928.0, "4611686018427389000"),
            (4e15, "4000000000000000"),
        ] {
            assert_eq!(shown(value), text, "{value}");
        }
    }
}
