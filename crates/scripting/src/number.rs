//! Numbers as C's `printf` and `strtod` have them.

/// `%.{precision}g`.
pub(crate) fn format_g(value: f64, precision: usize) -> Vec<u8> {
    if value.is_nan() {
        return if value.is_sign_negative() { b"-nan".to_vec() } else { b"nan".to_vec() };
    }
    if value.is_infinite() {
        return if value < 0.0 { b"-inf".to_vec() } else { b"inf".to_vec() };
    }
    let precision = precision.max(1);
    let scientific = format!("{value:.*e}", precision - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| -> String {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        } else {
            text.to_string()
        }
    };
    if exponent < -4 || exponent >= precision as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{}{:02}", trim(mantissa), sign, exponent.abs()).into_bytes();
    }
    let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
    trim(&format!("{value:.decimals$}")).into_bytes()
}

/// What `strtod` reads at the start of `text`: the number and how many bytes it took, or nothing.
pub(crate) fn strtod(text: &[u8]) -> Option<(f64, usize)> {
    let blanks = text.iter().take_while(|b| b.is_ascii_whitespace() || **b == 0x0b).count();
    let rest = &text[blanks..];
    let (negative, sign) = match rest.first() {
        Some(b'-') => (true, 1),
        Some(b'+') => (false, 1),
        _ => (false, 0),
    };
    let body = &rest[sign..];
    let (value, used) = unsigned(body)?;
    Some((if negative { -value } else { value }, blanks + sign + used))
}

fn starts(text: &[u8], word: &[u8]) -> bool {
    text.len() >= word.len() && text[..word.len()].eq_ignore_ascii_case(word)
}

fn unsigned(text: &[u8]) -> Option<(f64, usize)> {
    if starts(text, b"infinity") {
        return Some((f64::INFINITY, 8));
    }
    if starts(text, b"inf") {
        return Some((f64::INFINITY, 3));
    }
    if starts(text, b"nan") {
        return Some((f64::NAN, 3));
    }
    if starts(text, b"0x")
        && let Some(found) = hexadecimal(&text[2..])
    {
        return Some((found.0, found.1 + 2));
    }
    let digits = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(0);
    let mut end = whole;
    let mut fraction = 0;
    if text.get(end) == Some(&b'.') {
        fraction = digits(end + 1);
        if whole + fraction > 0 {
            end += 1 + fraction;
        }
    }
    if whole + fraction == 0 {
        return None;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = text.get(end + 1 + sign..).map_or(0, |_| digits(end + 1 + sign));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, end))
}

/// Digits behind `0x`, with a fraction and a binary exponent.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    let (mut value, mut at, mut any, mut scale) = (0f64, 0, false, 0i32);
    let mut point = false;
    while let Some(&byte) = text.get(at) {
        if let Some(digit) = (byte as char).to_digit(16) {
            value = value * 16.0 + f64::from(digit);
            any = true;
            if point {
                scale -= 4;
            }
        } else if byte == b'.' && !point {
            point = true;
        } else {
            break;
        }
        at += 1;
    }
    if !any {
        return None;
    }
    if matches!(text.get(at), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let digits = text.get(at + 1 + sign..).unwrap_or_default();
        let count = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        if count > 0 {
            let shown = std::str::from_utf8(&digits[..count.min(6)]).ok()?;
            let amount: i32 = shown.parse().ok()?;
            scale = scale.saturating_add(if text[at + 1] == b'-' { -amount } else { amount });
            at += 1 + sign + count;
        }
    }
    Some((value * 2f64.powi(scale), at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn g(value: f64) -> String {
        String::from_utf8(format_g(value, 14)).unwrap()
    }

    #[test]
    fn as_printf() {
        for (value, text) in [
            (1e15, "1e+15"),
            (123456789012345.0, "1.2345678901234e+14"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.33333333333333"),
            (-0.0, "-0"),
            (100.0, "100"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1e300, "1e+300"),
            (99999999999999.9, "1e+14"),
        ] {
            assert_eq!(g(value), text);
        }
    }

    #[test]
    fn as_strtod() {
        for (text, value, used) in [
            ("12.5e3x", 12500.0, 6),
            ("-0x1f", -31.0, 5),
            ("1e", 1.0, 1),
            (".5", 0.5, 2),
            ("5.", 5.0, 2),
            ("-infinity", f64::NEG_INFINITY, 9),
            ("0x", 0.0, 1),
        ] {
            assert_eq!(strtod(text.as_bytes()), Some((value, used)), "{text}");
        }
        for text in ["", "-", ".", "e5", "x"] {
            assert_eq!(strtod(text.as_bytes()), None, "{text}");
        }
    }
}
