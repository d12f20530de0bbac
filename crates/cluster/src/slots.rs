//! Sets of hash slots, in the layout that they have on the wire.

use std::fmt;

/// How many hash slots there are.
pub const SLOTS: u16 = 16384;

/// A set of hash slots: bit `n` is bit `n % 8` of byte `n / 8`.
#[derive(Clone, PartialEq, Eq)]
pub struct SlotSet(Box<[u8; 2048]>);

impl Default for SlotSet {
    fn default() -> SlotSet {
        SlotSet::new()
    }
}

impl SlotSet {
    /// The empty set.
    pub fn new() -> SlotSet {
        SlotSet(Box::new([0; 2048]))
    }

    /// The set with this layout; nothing when there are not 2048 bytes.
    pub fn from_bytes(bytes: &[u8]) -> Option<SlotSet> {
        let bytes: [u8; 2048] = bytes.try_into().ok()?;
        Some(SlotSet(Box::new(bytes)))
    }

    /// The layout.
    pub fn bytes(&self) -> &[u8; 2048] {
        &self.0
    }

    /// Adds a slot. Numbers beyond the last slot are ignored.
    pub fn insert(&mut self, slot: u16) {
        if let Some(byte) = self.0.get_mut(usize::from(slot / 8)) {
            *byte |= 1 << (slot % 8);
        }
    }

    /// Takes a slot out.
    pub fn remove(&mut self, slot: u16) {
        if let Some(byte) = self.0.get_mut(usize::from(slot / 8)) {
            *byte &= !(1 << (slot % 8));
        }
    }

    /// Whether a slot is in the set.
    pub fn contains(&self, slot: u16) -> bool {
        self.0.get(usize::from(slot / 8)).is_some_and(|byte| byte & (1 << (slot % 8)) != 0)
    }

    /// How many slots are in the set.
    pub fn len(&self) -> usize {
        self.0.iter().map(|byte| byte.count_ones() as usize).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }

    /// The slots in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().enumerate().filter(|(_, byte)| **byte != 0).flat_map(|(at, byte)| {
            let byte = *byte;
            (0..8u16).filter(move |bit| byte & (1 << bit) != 0).map(move |bit| at as u16 * 8 + bit)
        })
    }

    /// The slots as ranges, both ends included, in ascending order.
    pub fn ranges(&self) -> Vec<(u16, u16)> {
        ranges_of(self.iter())
    }
}

/// Ascending slots as ranges, both ends included.
pub fn ranges_of(slots: impl Iterator<Item = u16>) -> Vec<(u16, u16)> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for slot in slots {
        match ranges.last_mut() {
            Some((_, end)) if *end + 1 == slot => *end = slot,
            _ => ranges.push((slot, slot)),
        }
    }
    ranges
}

impl FromIterator<u16> for SlotSet {
    fn from_iter<T: IntoIterator<Item = u16>>(slots: T) -> SlotSet {
        let mut set = SlotSet::new();
        slots.into_iter().for_each(|slot| set.insert(slot));
        set
    }
}

impl fmt::Debug for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ranges()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{SLOTS, SlotSet};

    #[test]
    fn ranges_and_bits() {
        let mut set: SlotSet = [0, 1, 2, 7, 8, 16383].into_iter().collect();
        assert_eq!(set.ranges(), [(0, 2), (7, 8), (16383, 16383)]);
        assert_eq!((set.bytes()[0], set.bytes()[1], set.bytes()[2047]), (0x87, 1, 0x80));
        assert_eq!(set.len(), 6);
        set.remove(1);
        assert!(!set.contains(1) && set.contains(2));
        set.insert(SLOTS);
        assert!(!set.contains(SLOTS) && set.len() == 5);
        assert_eq!((0..SLOTS).collect::<SlotSet>().ranges(), [(0, 16383)]);
    }
}
