//! DEBUG DIGEST and DEBUG DIGEST-VALUE: 160 bits that two servers with the same data agree on,
//! whatever the order and the encoding of their elements.
//!
//! What has an order (a list, a field with its value) is mixed: hashed into a running SHA-1. What
//! has none (the members of a set, the keys of a database) is folded by exclusive or. Byte for byte
//! the sums of redis-server 7.0, so that the two can be compared.
//!
//! Source: redis 7.0 `debug.c:computeDatasetDigest`, `xorObjectDigest`.

use keyspace::Keys;
use sha1::{Digest as _, Sha1};
use structures::{Elem, Entry, Hash, ValueRef};

/// A sum of 160 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(pub [u8; 20]);

impl Digest {
    /// Folds in the hash of `bytes`, in whatever order.
    fn fold(&mut self, bytes: &[u8]) {
        let sum = Sha1::digest(bytes);
        self.0.iter_mut().zip(sum.iter()).for_each(|(own, other)| *own ^= other);
    }

    /// Mixes in `bytes`: their place in the sequence matters.
    fn mix(&mut self, bytes: &[u8]) {
        self.fold(bytes);
        self.0 = Sha1::digest(self.0).into();
    }

    fn mix_elem(&mut self, elem: Elem<'_>) {
        elem.with(|text| self.mix(text));
    }

    /// 40 lower-case hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The sum of all databases. The stripes must all be held, or none: then it is the sum of one
/// moment only while nobody writes.
pub fn of_keyspace(keys: &mut Keys<'_>) -> Digest {
    let mut digest = Digest::default();
    for db in 0..keys.space().databases() {
        let mut sum = Digest::default();
        let mut empty = true;
        keys.each_stripe(|stripe| {
            for entry in stripe.db(db).table().iter() {
                empty = false;
                let mut one = Digest::default();
                one.mix(entry.key());
                add_value(&mut one, entry);
                sum.fold(&one.0);
            }
        });
        if !empty {
            digest.mix(&(db as u32).to_be_bytes());
            digest.0.iter_mut().zip(sum.0).for_each(|(own, other)| *own ^= other);
        }
    }
    digest
}

/// The sum of a key's value and of whether it expires; the key itself is not in it. All zeros
/// stand for a missing key. Redis shows keys here whose time has come but which are not removed
/// yet: look the entry up under `ExpireRule::Ignore`.
pub fn of_value(entry: Option<&Entry>) -> Digest {
    let mut digest = Digest::default();
    if let Some(entry) = entry {
        add_value(&mut digest, entry);
    }
    digest
}

fn add_value(digest: &mut Digest, entry: &Entry) {
    // The numbers of the types are those of Redis's object header.
    let type_number = match entry.value() {
        ValueRef::Str(_) => 0u32,
        ValueRef::List(_) => 1,
        ValueRef::Set(_) => 2,
        ValueRef::Zset(_) => 3,
        ValueRef::Hash(_) => 4,
        ValueRef::Stream(_) => 6,
    };
    digest.mix(&type_number.to_be_bytes());
    match entry.value() {
        ValueRef::Str(text) => text.with(|text| digest.mix(text)),
        ValueRef::List(list) => list.iter().for_each(|elem| digest.mix_elem(elem)),
        ValueRef::Set(set) => {
            set.iter().for_each(|member| member.with(|text| digest.fold(text)));
        }
        ValueRef::Zset(zset) => zset.iter().for_each(|(member, score)| {
            let mut one = Digest::default();
            one.mix_elem(member);
            one.mix(score_text(score).as_bytes());
            digest.fold(&one.0);
        }),
        ValueRef::Hash(hash) => add_hash(digest, hash),
        // Groups are not part of it.
        ValueRef::Stream(stream) => stream.iter().for_each(|item| {
            digest.mix(format!("{}.{}", item.id.ms, item.id.seq).as_bytes());
            item.iter().for_each(|(field, value)| {
                digest.mix_elem(field);
                digest.mix_elem(value);
            });
        }),
    }
    if entry.stamp().is_some() {
        digest.fold(b"!!expire!!");
    }
}

/// Source: redis 7.4 `debug.c:xorObjectDigest` for fields with a time.
fn add_hash(digest: &mut Digest, hash: &Hash) {
    let mut fields = hash.iter();
    while let Some((field, value, time)) = fields.next_timed() {
        let mut one = Digest::default();
        one.mix_elem(field);
        one.mix_elem(value);
        if time.is_some() {
            one.fold(b"!!hexpire!!");
        }
        digest.fold(&one.0);
    }
}

/// A score as C's `%.17g` prints it.
fn score_text(score: f64) -> String {
    if score.is_infinite() {
        return if score < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    if score == 0.0 {
        return if score.is_sign_negative() { "-0" } else { "0" }.to_owned();
    }
    let scientific = format!("{score:.16e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| text.trim_end_matches('0').trim_end_matches('.').to_owned();
    if (-4..17).contains(&exponent) {
        let decimals = (16 - exponent) as usize;
        let text = format!("{score:.decimals$}");
        return if decimals == 0 { text } else { trim(&text) };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

#[cfg(test)]
mod tests;
