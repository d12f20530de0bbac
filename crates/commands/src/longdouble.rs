//! The 80-bit floating point numbers in which INCRBYFLOAT and HINCRBYFLOAT count.
//!
//! Redis computes them in x86's extended precision (64-bit mantissa) and prints 17 digits after the
//! point; users see the difference to doubles in every second result. So parsing, adding and
//! printing are done here in integers, each correctly rounded, with the same result on every
//! machine. Rejected: double-double arithmetic, which has more precision and so other digits.
//!
//! Source: redis 7.0 `util.c:string2ld`, `util.c:ld2string` (`LD_STR_HUMAN`); the number format is
//! IEEE 754 double extended as the x87 has it.

use stdx::push_i64;

/// Exponent of the last bit of the smallest numbers.
const EXP_MIN: i32 = -16445;
/// Exponent of the last bit of the biggest numbers.
const EXP_MAX: i32 = 16320;
/// Longer texts are not numbers for Redis (`MAX_LONG_DOUBLE_CHARS`).
const TEXT_MAX: usize = 5 * 1024;
/// The biggest power of ten in 64 bits.
const TEN_19: u64 = 10_000_000_000_000_000_000;

/// An extended double that is not NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LongDouble {
    /// `man` * 2^`exp`. The top bit of `man` is set unless `exp` is the smallest or `man` is zero.
    Finite {
        /// True below zero.
        neg: bool,
        /// The mantissa.
        man: u64,
        /// Exponent of its last bit.
        exp: i32,
    },
    /// Infinite.
    Inf {
        /// True for minus infinity.
        neg: bool,
    },
}

impl LongDouble {
    /// An integer, exactly.
    pub fn from_i64(value: i64) -> LongDouble {
        round(value < 0, u128::from(value.unsigned_abs()), 0, false)
    }

    /// Parses decimal, hexadecimal, `inf` and `infinity` as `strtold` does. `None` for anything
    /// else, for NaN, and for what overflows or vanishes.
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() >= TEXT_MAX {
            return None;
        }
        let (neg, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Some(LongDouble::Inf { neg });
        }
        let value = match rest {
            [b'0', b'x' | b'X', hex @ ..] => parse_hex(neg, hex)?,
            _ => parse_decimal(neg, rest)?,
        };
        match value {
            (LongDouble::Inf { .. }, _) => None,
            (LongDouble::Finite { man: 0, .. }, false) => None,
            (value, _) => Some(value),
        }
    }

    /// The sum, correctly rounded; `None` if it is not a finite number.
    pub fn add(self, other: LongDouble) -> Option<LongDouble> {
        let (
            LongDouble::Finite { neg: neg_a, man: man_a, exp: exp_a },
            LongDouble::Finite { neg: neg_b, man: man_b, exp: exp_b },
        ) = (self, other)
        else {
            return None;
        };
        if man_a == 0 || man_b == 0 {
            return Some(if man_a == 0 { other } else { self });
        }
        // A bigger exponent means a bigger number: mantissas are normalised.
        let swap = (exp_a, man_a) < (exp_b, man_b);
        let (neg, big, exp, small, small_exp) = if swap {
            (neg_b, man_b, exp_b, man_a, exp_a)
        } else {
            (neg_a, man_a, exp_a, man_b, exp_b)
        };
        let big = u128::from(big) << 62;
        let small = u128::from(small) << 62;
        let distance = (exp - small_exp) as u32;
        let (small, lost) = match distance {
            0..=127 => (small >> distance, small & ((1 << distance) - 1) != 0),
            _ => (0, true),
        };
        let sum = if neg_a == neg_b { big + small } else { big - small - u128::from(lost) };
        match round(neg, sum, exp - 62, lost) {
            LongDouble::Inf { .. } => None,
            sum => Some(sum),
        }
    }

    /// Appends the number with up to 17 digits after the point, zeros at the end cut.
    pub fn push_human(self, out: &mut Vec<u8>) {
        let (neg, man, exp) = match self {
            LongDouble::Inf { neg } => {
                return out.extend_from_slice(if neg { b"-inf" } else { b"inf" });
            }
            LongDouble::Finite { neg, man, exp } => (neg, man, exp),
        };
        let start = out.len();
        if neg {
            out.push(b'-');
        }
        if man == 0 {
            out.push(b'0');
        } else if exp >= 0 {
            let mut whole = Big::from(man);
            whole.shift_left(exp as usize);
            whole.push_decimal(out);
        } else {
            push_fixed(man, -exp as u32, out);
        }
        if out[start..] == *b"-0" {
            out.remove(start);
        }
    }

    /// The same in a vector of its own.
    pub fn to_text(self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24);
        self.push_human(&mut out);
        out
    }
}

/// `man` / 2^`shift` with 17 digits, the last one rounded to nearest, ties to even.
fn push_fixed(man: u64, shift: u32, out: &mut Vec<u8>) {
    const SCALE: u128 = 100_000_000_000_000_000;
    let scaled = u128::from(man) * SCALE; // Below 2^121.
    let units = if shift < 128 { shift_right_even(scaled, shift, false) } else { 0 };
    let (whole, mut fraction) = (units / SCALE, units % SCALE);
    out.extend_from_slice(whole.to_string().as_bytes());
    if fraction == 0 {
        return;
    }
    let mut digits = 17;
    while fraction.is_multiple_of(10) {
        fraction /= 10;
        digits -= 1;
    }
    out.extend_from_slice(format!(".{fraction:0digits$}").as_bytes());
}

/// `value` >> `shift`, to nearest, ties to even; `lost` says that bits below it were set. `shift`
/// is below 128.
fn shift_right_even(value: u128, shift: u32, lost: bool) -> u128 {
    if shift == 0 {
        return value;
    }
    let kept = value >> shift;
    let rest = value & ((1 << shift) - 1);
    let half = 1u128 << (shift - 1);
    let up = rest > half || (rest == half && (lost || kept & 1 == 1));
    kept + u128::from(up)
}

/// The number nearest to `man` * 2^`exp`. With `lost` the true value lies a little above, by less
/// than the last bit; `man` has more than 64 bits then.
fn round(neg: bool, man: u128, exp: i32, lost: bool) -> LongDouble {
    if man == 0 {
        return LongDouble::Finite { neg, man: 0, exp: 0 };
    }
    let bits = 128 - man.leading_zeros() as i32;
    let shift = (bits - 64).max(EXP_MIN - exp);
    let (mut man, mut exp) = if shift <= 0 {
        debug_assert!(!lost);
        (man << -shift, exp + shift)
    } else if shift < 128 {
        (shift_right_even(man, shift as u32, lost), exp + shift)
    } else {
        (0, EXP_MIN)
    };
    if man >> 64 != 0 {
        man >>= 1;
        exp += 1;
    }
    if exp > EXP_MAX {
        return LongDouble::Inf { neg };
    }
    LongDouble::Finite { neg, man: man as u64, exp: if man == 0 { 0 } else { exp } }
}

/// The exponent behind `e` or `p`: an optional sign and digits; far ones are cut at a million.
fn parse_exponent(text: &[u8]) -> Option<i64> {
    let (neg, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i64, |v, d| (v * 10 + i64::from(d - b'0')).min(1_000_000));
    Some(if neg { -value } else { value })
}

/// Splits off the exponent and the point: the digits, how many of them stand after the point, and
/// the exponent.
fn split_number(text: &[u8], exponent_mark: u8) -> Option<(Vec<u8>, i64, i64)> {
    let mark = text.iter().position(|b| b.to_ascii_lowercase() == exponent_mark);
    let (mantissa, exponent) = match mark {
        Some(at) => (&text[..at], parse_exponent(&text[at + 1..])?),
        None => (text, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|&b| b == b'.') {
        Some(point) => (&mantissa[..point], &mantissa[point + 1..]),
        None => (mantissa, &[][..]),
    };
    let digits = [whole, fraction].concat();
    (!digits.is_empty()).then_some((digits, fraction.len() as i64, exponent))
}

/// Hexadecimal digits, then `p` and a power of two. The flag says that the number is truly zero.
fn parse_hex(neg: bool, text: &[u8]) -> Option<(LongDouble, bool)> {
    let (digits, after_point, exponent) = split_number(text, b'p')?;
    let (mut man, mut exp, mut lost) = (0u128, exponent - 4 * after_point, false);
    for digit in digits {
        let digit = (digit as char).to_digit(16)?;
        if man >> 120 == 0 {
            man = man << 4 | u128::from(digit);
        } else {
            lost |= digit != 0;
            exp += 4;
        }
    }
    Some((round(neg, man, exp as i32, lost), man == 0))
}

/// Decimal digits, then `e` and a power of ten. The flag says that the number is truly zero.
fn parse_decimal(neg: bool, text: &[u8]) -> Option<(LongDouble, bool)> {
    let (mut digits, after_point, exponent) = split_number(text, b'e')?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut exponent = exponent - after_point;
    while digits.last() == Some(&b'0') {
        digits.pop();
        exponent += 1;
    }
    let zeros = digits.iter().take_while(|&&d| d == b'0').count();
    let digits = &digits[zeros..];
    if digits.is_empty() {
        return Some((LongDouble::Finite { neg, man: 0, exp: 0 }, true));
    }
    let size = digits.len() as i64 + exponent;
    let value = if size > 4940 {
        LongDouble::Inf { neg }
    } else if size < -4960 {
        LongDouble::Finite { neg, man: 0, exp: 0 }
    } else if digits.len() <= 19 && exponent.abs() <= 19 {
        let number = digits.iter().fold(0u64, |v, d| v * 10 + u64::from(d - b'0'));
        let power = 10u64.pow(exponent.unsigned_abs() as u32);
        if exponent >= 0 {
            round(neg, u128::from(number) * u128::from(power), 0, false)
        } else {
            divide_small(neg, number, power)
        }
    } else {
        scale_big(neg, Big::from_decimal(digits), exponent)
    };
    Some((value, false))
}

/// `number` / `power`; neither is zero.
fn divide_small(neg: bool, number: u64, power: u64) -> LongDouble {
    let (up, down) = (number.leading_zeros(), power.leading_zeros());
    let (number, power) = (u128::from(number << up), u128::from(power << down));
    // Two steps of a long division give 127 bits of the quotient.
    let first = (number << 64) / power;
    let second = (((number << 64) % power) << 64) / power;
    let rest = (((number << 64) % power) << 64) % power;
    let quotient = first << 62 | second >> 2;
    let lost = second & 3 != 0 || rest != 0;
    round(neg, quotient, down as i32 - up as i32 - 126, lost)
}

/// `number` * 10^`exponent`; `number` is not zero.
fn scale_big(neg: bool, mut number: Big, exponent: i64) -> LongDouble {
    if exponent >= 0 {
        number.multiply_ten(exponent as usize);
        let (top, exp, lost) = number.top_bits();
        return round(neg, top, exp, lost);
    }
    let mut power = Big::from(1);
    power.multiply_ten(exponent.unsigned_abs() as usize);
    // The quotient of the shifted numbers lies in 2^66 .. 2^69.
    let shift = 67 + power.bits() as i32 - number.bits() as i32;
    if shift >= 0 {
        number.shift_left(shift as usize);
    } else {
        power.shift_left(-shift as usize);
    }
    power.shift_left(69);
    let mut quotient = 0u128;
    for _ in 0..70 {
        quotient <<= 1;
        if number.at_least(&power) {
            number.subtract(&power);
            quotient |= 1;
        }
        power.halve();
    }
    round(neg, quotient, -shift, !number.is_zero())
}

/// A natural number of any size: 64-bit digits, the lowest first, no zeros at the top.
struct Big(Vec<u64>);

impl From<u64> for Big {
    fn from(value: u64) -> Big {
        Big(if value == 0 { Vec::new() } else { vec![value] })
    }
}

impl Big {
    fn from_decimal(digits: &[u8]) -> Big {
        let mut big = Big(Vec::new());
        for chunk in digits.chunks(19) {
            let value = chunk.iter().fold(0u64, |v, d| v * 10 + u64::from(d - b'0'));
            big.multiply_add(10u64.pow(chunk.len() as u32), value);
        }
        big
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 64 - top.leading_zeros() as usize)
    }

    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }

    fn multiply_add(&mut self, by: u64, plus: u64) {
        let mut carry = u128::from(plus);
        for digit in &mut self.0 {
            carry += u128::from(*digit) * u128::from(by);
            *digit = carry as u64;
            carry >>= 64;
        }
        if carry != 0 {
            self.0.push(carry as u64);
        }
    }

    fn multiply_ten(&mut self, mut times: usize) {
        while times >= 19 {
            self.multiply_add(TEN_19, 0);
            times -= 19;
        }
        self.multiply_add(10u64.pow(times as u32), 0);
    }

    fn shift_left(&mut self, by: usize) {
        let bits = by % 64;
        if bits > 0 {
            let mut carry = 0;
            for digit in &mut self.0 {
                let next = *digit >> (64 - bits);
                *digit = *digit << bits | carry;
                carry = next;
            }
            if carry != 0 {
                self.0.push(carry);
            }
        }
        if !self.0.is_empty() {
            self.0.splice(0..0, std::iter::repeat_n(0, by / 64));
        }
    }

    fn halve(&mut self) {
        let mut carry = 0;
        for digit in self.0.iter_mut().rev() {
            let next = *digit << 63;
            *digit = *digit >> 1 | carry;
            carry = next;
        }
        self.trim();
    }

    fn at_least(&self, other: &Big) -> bool {
        match self.0.len().cmp(&other.0.len()) {
            std::cmp::Ordering::Equal => self.0.iter().rev().ge(other.0.iter().rev()),
            order => order.is_gt(),
        }
    }

    /// Subtracts a number that is not bigger.
    fn subtract(&mut self, other: &Big) {
        let mut borrow = false;
        for (at, digit) in self.0.iter_mut().enumerate() {
            let (value, under) = digit.overflowing_sub(other.0.get(at).copied().unwrap_or(0));
            let (value, under_too) = value.overflowing_sub(u64::from(borrow));
            *digit = value;
            borrow = under || under_too;
        }
        debug_assert!(!borrow);
        self.trim();
    }

    /// The highest 128 bits, the exponent of the last of them, and whether bits below are set.
    fn top_bits(&self) -> (u128, i32, bool) {
        let down = self.bits().saturating_sub(128);
        let (skip, bits) = (down / 64, down % 64);
        let digit = |at: usize| u128::from(self.0.get(skip + at).copied().unwrap_or(0));
        let mut top = digit(0) | digit(1) << 64;
        let mut lost = self.0[..skip].iter().any(|&digit| digit != 0);
        if bits > 0 {
            lost |= top & ((1 << bits) - 1) != 0;
            top = top >> bits | digit(2) << (128 - bits);
        }
        (top, down as i32, lost)
    }

    fn push_decimal(mut self, out: &mut Vec<u8>) {
        let mut chunks = Vec::new();
        while !self.is_zero() {
            let mut rest = 0u128;
            for digit in self.0.iter_mut().rev() {
                let value = rest << 64 | u128::from(*digit);
                *digit = (value / u128::from(TEN_19)) as u64;
                rest = value % u128::from(TEN_19);
            }
            chunks.push(rest as u64);
            self.trim();
        }
        for (at, chunk) in chunks.iter().rev().enumerate() {
            let text = if at == 0 { chunk.to_string() } else { format!("{chunk:019}") };
            out.extend_from_slice(text.as_bytes());
        }
        if chunks.is_empty() {
            push_i64(out, 0);
        }
    }
}

#[cfg(test)]
mod tests;
