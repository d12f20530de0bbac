//! The few fields of a certificate that rustls does not tell: how long it is valid, and its public
//! key also where it is of version 1.
//!
//! Source: RFC 5280, section 4.1; X.690 for the encoding.

/// A part of a certificate: tag, content, and the whole with its head.
struct Item<'a> {
    tag: u8,
    content: &'a [u8],
    whole: &'a [u8],
}

/// Cuts the next item off; nothing if the bytes are no DER.
fn next<'a>(bytes: &mut &'a [u8]) -> Option<Item<'a>> {
    let all = *bytes;
    let (&tag, rest) = all.split_first()?;
    let (&first, mut rest) = rest.split_first()?;
    let mut length = usize::from(first);
    if first & 0x80 != 0 {
        let count = usize::from(first & 0x7f);
        if count == 0 || count > 4 {
            return None;
        }
        let digits = rest.get(..count)?;
        rest = &rest[count..];
        length = digits.iter().fold(0, |sum, &digit| (sum << 8) | usize::from(digit));
    }
    let content = rest.get(..length)?;
    let used = all.len() - rest.len() + length;
    *bytes = &all[used..];
    Some(Item { tag, content, whole: &all[..used] })
}

const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;

/// Validity (not before, not after; Unix seconds) and the whole SubjectPublicKeyInfo.
pub(crate) struct Fields<'a> {
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) public_key: &'a [u8],
}

/// Reads a certificate.
pub(crate) fn fields(certificate: &[u8]) -> Option<Fields<'_>> {
    let mut bytes = certificate;
    let mut outer = next(&mut bytes)?.content;
    let mut body = next(&mut outer)?.content;
    if body.first() == Some(&VERSION) {
        next(&mut body)?;
    }
    // Serial number, algorithm, issuer.
    for _ in 0..3 {
        next(&mut body)?;
    }
    let mut validity = next(&mut body)?.content;
    let not_before = seconds(&next(&mut validity)?)?;
    let not_after = seconds(&next(&mut validity)?)?;
    let _subject = next(&mut body)?;
    Some(Fields { not_before, not_after, public_key: next(&mut body)?.whole })
}

/// Unix seconds of `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`; times before 1970 count as 1970.
fn seconds(item: &Item<'_>) -> Option<u64> {
    let text = item.content.strip_suffix(b"Z")?;
    let (year, rest) = text.split_at_checked(if item.tag == UTC_TIME { 2 } else { 4 })?;
    let number = |digits: &[u8]| -> Option<i64> {
        let text = std::str::from_utf8(digits).ok()?;
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
    };
    let mut year = number(year)?;
    if item.tag == UTC_TIME {
        year += if year >= 50 { 1900 } else { 2000 };
    }
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| number(&rest[at..at + 2]);
    let (month, day) = (part(0)?, part(2)?);
    if !(1..=12).contains(&month) {
        return None;
    }
    // Days since 1970-01-01, years beginning with March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let total = days * 86_400 + part(4)? * 3600 + part(6)? * 60 + part(8)?;
    Some(u64::try_from(total).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::{Item, UTC_TIME, fields, seconds};
    use crate::tests::{CA, SERVER_CERT};

    #[test]
    fn times_are_read() {
        let at = |tag, content: &[u8]| seconds(&Item { tag, content, whole: content });
        assert_eq!(at(UTC_TIME, b"700101000000Z"), Some(0));
        assert_eq!(at(UTC_TIME, b"261123005442Z"), Some(1_795_395_282));
        assert_eq!(at(0x18, b"20261123005442Z"), Some(1_795_395_282));
        assert_eq!(at(0x18, b"20000229235959Z"), Some(951_868_799));
        assert_eq!(at(UTC_TIME, b"500101000000Z"), Some(0));
        for bad in [&b"2611230054Z"[..], b"26112300544aZ", b"261323005442Z", b"", b"Z"] {
            assert_eq!(at(UTC_TIME, bad), None);
        }
    }

    #[test]
    fn cut_and_changed_certificates_are_no_reason_to_panic() {
        for pem in [CA, SERVER_CERT] {
            let whole = crate::tests::pem("x", pem).certificates().expect("a certificate");
            let whole = whole[0].as_ref();
            let found = fields(whole).expect("fields");
            assert!(found.not_before < found.not_after && found.public_key[0] == 0x30);
            for length in 0..whole.len() {
                // Whatever it says, it must say something.
                let _ = fields(&whole[..length]);
                let mut changed = whole.to_vec();
                changed[length] ^= 0xff;
                let _ = fields(&changed);
            }
        }
    }
}
