//! What a hash offers about the times of its fields.

use super::timed::{TimedPack, TimedTable};
use super::{Hash, HashIter, Repr};
use crate::hash::hash_bytes;
use crate::listpack::{Corrupt, Listpack};
use crate::{Elem, Limits};
use stdx::Prng;

/// Draws of a field that is not due, before all fields are walked for one.
const DRAWS_MAX: usize = 64;

impl Hash {
    /// Takes over a listpack of fields, values and times (0 for none) that was read from a file or
    /// peer. It is put in order if it is not; it becomes a table if it has more fields than allowed.
    ///
    /// # Errors
    /// If a field has no value or time, occurs twice, or a time is none.
    pub fn from_timed_listpack(pack: Listpack, limits: &Limits) -> Result<Hash, Corrupt> {
        let timed = TimedPack::from_triples(pack)?;
        let mut hash = Hash(Repr::TimedPack(Box::new(timed)));
        if hash.len() > limits.hash_max_listpack_entries {
            hash.become_table();
        }
        Ok(hash)
    }

    /// The listpack of triples of a small hash whose fields may have times.
    pub fn as_timed_listpack(&self) -> Option<&Listpack> {
        match &self.0 {
            Repr::TimedPack(timed) => Some(&timed.pack),
            _ => None,
        }
    }

    /// The fields and values of a small hash in a listpack of their own, without times.
    pub fn to_plain_listpack(&self) -> Option<Listpack> {
        match &self.0 {
            Repr::Listpack(pack) => Some(pack.clone()),
            Repr::TimedPack(timed) => Some(timed.to_pairs()),
            Repr::Table(_) | Repr::TimedTable(_) => None,
        }
    }

    /// Whether the hash has a form that knows times: a field has one, or had.
    pub fn knows_times(&self) -> bool {
        !matches!(&self.0, Repr::Listpack(_) | Repr::Table(_))
    }

    /// Whether a field has a time.
    pub fn has_times(&self) -> bool {
        match &self.0 {
            Repr::Listpack(_) | Repr::Table(_) => false,
            Repr::TimedPack(timed) => timed.first_time().is_some(),
            Repr::TimedTable(timed) => timed.timed > 0,
        }
    }

    /// No field is due before this; `None` if none will ever be.
    pub fn next_due(&self) -> Option<i64> {
        match &self.0 {
            Repr::Listpack(_) | Repr::Table(_) => None,
            Repr::TimedPack(timed) => timed.first_time(),
            Repr::TimedTable(timed) => timed.first_time(),
        }
    }

    /// Whether a field may be due at `now`.
    pub fn may_have_due(&self, now: i64) -> bool {
        self.next_due().is_some_and(|first| first <= now)
    }

    /// The time of a field; `None` without the field.
    pub fn time_of(&self, field: &[u8]) -> Option<Option<i64>> {
        match &self.0 {
            Repr::Listpack(_) | Repr::Table(_) => self.contains(field).then_some(None),
            Repr::TimedPack(timed) => timed.find(field).map(|triple| triple.time),
            Repr::TimedTable(timed) => {
                timed.table.get(hash_bytes(field), field).map(|entry| entry.time())
            }
        }
    }

    /// Whether there is such a field and it is due at `now`.
    pub fn is_due(&self, field: &[u8], now: i64) -> bool {
        match &self.0 {
            Repr::Listpack(_) | Repr::Table(_) => false,
            _ => self.time_of(field).flatten().is_some_and(|time| time <= now),
        }
    }

    /// Sets or clears the time of a field; false without the field. The hash takes a form that knows
    /// times with the first one.
    pub fn set_time(&mut self, field: &[u8], time: Option<i64>) -> bool {
        if let Repr::Listpack(_) | Repr::Table(_) = &self.0 {
            if time.is_none() || !self.contains(field) {
                return self.contains(field);
            }
            self.become_timed();
        }
        match &mut self.0 {
            Repr::TimedPack(timed) => timed.set_time(field, time),
            Repr::TimedTable(timed) => timed.set_time(field, time),
            Repr::Listpack(_) | Repr::Table(_) => unreachable!("it knows times now"),
        }
    }

    fn become_timed(&mut self) {
        match &mut self.0 {
            Repr::Listpack(pack) => {
                // Times of 11 bytes at most for each pair.
                if pack.safe_to_add((pack.len() / 2).saturating_mul(11)) {
                    self.0 = Repr::TimedPack(Box::new(TimedPack::from_pairs(pack)));
                } else {
                    self.become_table();
                    self.become_timed();
                }
            }
            Repr::Table(table) => {
                let table = std::mem::take(&mut **table);
                self.0 = Repr::TimedTable(Box::new(TimedTable::from_table(table)));
            }
            Repr::TimedPack(_) | Repr::TimedTable(_) => {}
        }
    }

    /// Removes about `max` fields that are due at `now` into `out`. A big hash keeps fields back that
    /// are due since less than a tick of its index.
    pub fn take_due(&mut self, now: i64, max: usize, out: &mut Vec<Vec<u8>>) {
        match &mut self.0 {
            Repr::Listpack(_) | Repr::Table(_) => {}
            Repr::TimedPack(timed) => timed.take_due(now, max, out),
            Repr::TimedTable(timed) => timed.take_due(now, max, out),
        }
    }

    /// The value of a field that is not due at `now`.
    pub fn get_at(&self, field: &[u8], now: i64) -> Option<Elem<'_>> {
        match &self.0 {
            Repr::Listpack(_) | Repr::Table(_) => self.get(field),
            Repr::TimedPack(timed) => {
                let triple = timed.find(field)?;
                triple.time.is_none_or(|time| time > now).then_some(triple.value)
            }
            Repr::TimedTable(timed) => {
                let entry = timed.table.get(hash_bytes(field), field)?;
                let there = entry.time().is_none_or(|time| time > now);
                there.then_some(Elem::Bytes(entry.value()))
            }
        }
    }

    /// Whether there is such a field that is not due at `now`.
    pub fn contains_at(&self, field: &[u8], now: i64) -> bool {
        match &self.0 {
            Repr::Listpack(_) | Repr::Table(_) => self.contains(field),
            _ => self.get_at(field, now).is_some(),
        }
    }

    /// Number of fields that are not due at `now`: a walk if some may be.
    pub fn len_at(&self, now: i64) -> usize {
        if self.may_have_due(now) { self.iter_at(now).count() } else { self.len() }
    }

    /// The fields that are not due at `now`, with their values.
    pub fn iter_at(&self, now: i64) -> HashIter<'_> {
        let now = if self.may_have_due(now) { now } else { i64::MIN };
        HashIter { now, ..self.iter() }
    }

    /// A random field that is not due at `now`, with its value.
    pub fn random_at(&self, now: i64, prng: &mut Prng) -> Option<(Elem<'_>, Elem<'_>)> {
        if !self.may_have_due(now) {
            return self.random(prng);
        }
        for _ in 0..DRAWS_MAX {
            let (field, value) = self.random(prng)?;
            if !field.with(|text| self.is_due(text, now)) {
                return Some((field, value));
            }
        }
        let count = self.len_at(now) as u64;
        let nth = if count == 0 { return None } else { prng.below(count) };
        self.iter_at(now).nth(nth as usize)
    }

    /// What whoever keeps an index of hashes with times has noted here: the earliest time for which
    /// it has a note of this hash. Copies start without.
    pub fn note(&self) -> Option<i64> {
        match &self.0 {
            Repr::Listpack(_) | Repr::Table(_) => None,
            Repr::TimedPack(timed) => timed.note,
            Repr::TimedTable(timed) => timed.note,
        }
    }

    /// Sets [`Hash::note`]; nothing happens to a hash that never had a time.
    pub fn set_note(&mut self, note: Option<i64>) {
        match &mut self.0 {
            Repr::Listpack(_) | Repr::Table(_) => {}
            Repr::TimedPack(timed) => timed.note = note,
            Repr::TimedTable(timed) => timed.note = note,
        }
    }
}
