//! The entries of the tables inside big collections: a member of a set or sorted set, and a field
//! of a hash with its value. Each is one allocation behind one pointer.
//!
//! Sizes: a set member takes 1 byte beside its text, a sorted set member 9 (its score), a field
//! 3 beside field and value, and 8 more if it expires; texts of 255 bytes and more take an 8-byte length. The size of the
//! allocation is always the size class of what is in it, so nothing has to remember it.

use crate::size::class_size;
use crate::table::TableEntry;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};

/// First length that does not fit a length byte; the byte then holds this value as a mark.
const LONG: usize = 255;

fn layout(size: usize) -> Layout {
    Layout::from_size_align(class_size(size), 8).expect("an entry in memory is below isize::MAX")
}

/// A new allocation for `size` bytes, not initialised.
fn allocate(size: usize) -> NonNull<u8> {
    let layout = layout(size);
    // SAFETY: a size class is at least 8 bytes, so the layout is not empty.
    NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
}

/// A member's text with `PRE` bytes (0, or 8 for a score) before it.
///
/// Invariant: the allocation is `PRE` bytes, a length byte (255: a `u64` length follows), and that
/// many bytes of text; all of it initialised; its layout is `layout` of exactly this size.
pub(crate) struct Member<const PRE: usize>(NonNull<u8>);

// SAFETY: plain bytes owned by this handle alone, without interior mutability.
unsafe impl<const PRE: usize> Send for Member<PRE> {}
// SAFETY: as above; a shared handle gives read access only.
unsafe impl<const PRE: usize> Sync for Member<PRE> {}

/// A member of a set.
pub(crate) type SetMember = Member<0>;
/// A member of a sorted set with its score.
pub(crate) type ScoredMember = Member<8>;

/// A non-owning pointer to a [`ScoredMember`], for the tree that orders them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemberRef(NonNull<u8>);

// SAFETY: the pointer is only a number until `text` is called, whose caller vouches for it.
unsafe impl Send for MemberRef {}
// SAFETY: as above.
unsafe impl Sync for MemberRef {}

impl MemberRef {
    /// A pointer that must never be read, to fill unused slots.
    pub(crate) const NONE: MemberRef = MemberRef(NonNull::dangling());

    /// The member's text.
    ///
    /// # Safety
    /// The [`ScoredMember`] that this was taken from must live, unchanged in text, during `'a`.
    #[inline]
    pub(crate) unsafe fn text<'a>(self) -> &'a [u8] {
        // SAFETY: the member lives (caller), so its invariant holds.
        unsafe { member_text::<8>(self.0) }
    }
}

/// # Safety
/// `ptr` must be the pointer of a `Member<PRE>` that lives during `'a`.
#[inline]
unsafe fn member_text<'a, const PRE: usize>(ptr: NonNull<u8>) -> &'a [u8] {
    // SAFETY: the layout in `Member`'s invariant: length byte at `PRE`, then the text, or a `u64`
    // length (unaligned) and then the text.
    unsafe {
        let base = ptr.as_ptr().add(PRE);
        let short = usize::from(*base);
        if short < LONG {
            return std::slice::from_raw_parts(base.add(1), short);
        }
        let len = ptr::read_unaligned(base.add(1).cast::<u64>()) as usize;
        std::slice::from_raw_parts(base.add(9), len)
    }
}

impl<const PRE: usize> Member<PRE> {
    fn size(len: usize) -> usize {
        PRE + if len < LONG { 1 } else { 9 } + len
    }

    fn build(text: &[u8], prefix: [u8; PRE]) -> Member<PRE> {
        let ptr = allocate(Self::size(text.len()));
        // SAFETY: the allocation holds `size` bytes: prefix, length, text, written in this order
        // without overlap; unaligned writes where alignment is not given.
        unsafe {
            ptr::copy_nonoverlapping(prefix.as_ptr(), ptr.as_ptr(), PRE);
            let mut at = ptr.as_ptr().add(PRE);
            *at = text.len().min(LONG) as u8;
            at = at.add(1);
            if text.len() >= LONG {
                ptr::write_unaligned(at.cast::<u64>(), text.len() as u64);
                at = at.add(8);
            }
            ptr::copy_nonoverlapping(text.as_ptr(), at, text.len());
        }
        Member(ptr)
    }

    /// The member's text.
    #[inline]
    pub(crate) fn text(&self) -> &[u8] {
        // SAFETY: `self` lives while its borrow does.
        unsafe { member_text::<PRE>(self.0) }
    }

    /// Bytes requested from the allocator.
    pub(crate) fn mem_usage(&self) -> usize {
        class_size(Self::size(self.text().len()))
    }
}

impl SetMember {
    /// A member with this text.
    pub(crate) fn new(text: &[u8]) -> SetMember {
        Member::build(text, [])
    }
}

impl ScoredMember {
    /// A member with this text and score.
    pub(crate) fn new(text: &[u8], score: f64) -> ScoredMember {
        Member::build(text, score.to_ne_bytes())
    }

    /// The member's score.
    #[inline]
    pub(crate) fn score(&self) -> f64 {
        // SAFETY: the first 8 bytes hold a score and are initialised (invariant).
        f64::from_ne_bytes(unsafe { *self.0.as_ptr().cast::<[u8; 8]>() })
    }

    /// Changes the score.
    pub(crate) fn set_score(&mut self, score: f64) {
        // SAFETY: as in `score`; `self` is borrowed exclusively.
        unsafe { *self.0.as_ptr().cast::<[u8; 8]>() = score.to_ne_bytes() };
    }

    /// A non-owning pointer to this member.
    #[inline]
    pub(crate) fn as_ref(&self) -> MemberRef {
        MemberRef(self.0)
    }
}

impl<const PRE: usize> Clone for Member<PRE> {
    fn clone(&self) -> Member<PRE> {
        // SAFETY: the first `PRE` bytes are initialised (invariant).
        let prefix = unsafe { *self.0.as_ptr().cast::<[u8; PRE]>() };
        Member::build(self.text(), prefix)
    }
}

impl<const PRE: usize> Drop for Member<PRE> {
    fn drop(&mut self) {
        let size = Self::size(self.text().len());
        // SAFETY: allocated with this layout (invariant), not used afterwards.
        unsafe { dealloc(self.0.as_ptr(), layout(size)) };
    }
}

impl<const PRE: usize> TableEntry for Member<PRE> {
    /// Sorted sets, whose members have scores, see to it themselves.
    const IN_PARTS: bool = PRE == 0;

    fn twin(&self) -> Option<Member<PRE>> {
        Some(self.clone())
    }

    fn copied_bytes(&self) -> usize {
        self.mem_usage()
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.text()
    }

    #[inline]
    fn address(&self) -> *const u8 {
        self.0.as_ptr()
    }
}

/// A field of a hash and its value, and perhaps a time.
///
/// Invariant: the allocation begins with a flags byte. Short form: field length and value length
/// in one byte each. With `FLAG_LONG`: 7 unused bytes and both lengths as `u64`. Then, with
/// `FLAG_TIMED`, the time as `i64`, not aligned; then field and value. All of it is initialised, and
/// its layout is `layout` of exactly this size.
pub(crate) struct Field(NonNull<u8>);

const FLAG_LONG: u8 = 1;
const FLAG_TIMED: u8 = 2;
const SHORT_HEAD: usize = 3;
const LONG_HEAD: usize = 24;
const TIME: usize = 8;

// SAFETY: plain bytes owned by this handle alone, without interior mutability.
unsafe impl Send for Field {}
// SAFETY: as above; a shared handle gives read access only.
unsafe impl Sync for Field {}

impl Field {
    fn head(field: usize, value: usize, timed: bool) -> usize {
        let lengths = if field <= LONG && value <= LONG { SHORT_HEAD } else { LONG_HEAD };
        lengths + if timed { TIME } else { 0 }
    }

    /// A field with its value.
    pub(crate) fn new(field: &[u8], value: &[u8]) -> Field {
        Field::with_time(field, value, None)
    }

    /// A field with its value and its time.
    pub(crate) fn with_time(field: &[u8], value: &[u8], time: Option<i64>) -> Field {
        let head = Self::head(field.len(), value.len(), time.is_some());
        let ptr = allocate(head + field.len() + value.len());
        let mut new = Field(ptr);
        new.write_head(field.len(), value.len(), time);
        // SAFETY: field and value lie behind the head, within the allocation, without overlap.
        unsafe {
            let at = ptr.as_ptr().add(head);
            ptr::copy_nonoverlapping(field.as_ptr(), at, field.len());
            ptr::copy_nonoverlapping(value.as_ptr(), at.add(field.len()), value.len());
        }
        new
    }

    /// Writes the head for these lengths and this time, which must have the allocation's size.
    fn write_head(&mut self, field: usize, value: usize, time: Option<i64>) {
        let base = self.0.as_ptr();
        let head = Self::head(field, value, time.is_some());
        let flags = if time.is_some() { FLAG_TIMED } else { 0 };
        // SAFETY: `head` bytes at the start belong to the head; the `u64`s are aligned to 8, the
        // time is written unaligned in the last 8 bytes of the head.
        unsafe {
            if field <= LONG && value <= LONG {
                *base.cast::<[u8; 3]>() = [flags, field as u8, value as u8];
            } else {
                *base.cast::<[u64; 3]>() =
                    [u64::from(flags | FLAG_LONG).to_le(), field as u64, value as u64];
            }
            if let Some(time) = time {
                ptr::write_unaligned(base.add(head - TIME).cast::<i64>(), time);
            }
        }
    }

    /// Length of head, field and value.
    #[inline]
    fn lengths(&self) -> (usize, usize, usize) {
        // SAFETY: the allocation begins with at least three initialised bytes (invariant).
        let [flags, field, value] = unsafe { *self.0.as_ptr().cast::<[u8; 3]>() };
        if flags == 0 {
            return (SHORT_HEAD, usize::from(field), usize::from(value));
        }
        self.rare_lengths(flags, field, value)
    }

    fn rare_lengths(&self, flags: u8, field: u8, value: u8) -> (usize, usize, usize) {
        let time = if flags & FLAG_TIMED != 0 { TIME } else { 0 };
        if flags & FLAG_LONG == 0 {
            return (SHORT_HEAD + time, usize::from(field), usize::from(value));
        }
        // SAFETY: with this flag the head begins with three words, aligned to 8 (invariant).
        let [_, field, value] = unsafe { *self.0.as_ptr().cast::<[u64; 3]>() };
        (LONG_HEAD + time, field as usize, value as usize)
    }

    /// The field's name.
    #[inline]
    pub(crate) fn field(&self) -> &[u8] {
        let (head, field, _) = self.lengths();
        // SAFETY: the field lies behind the head (invariant).
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(head), field) }
    }

    /// The field's value.
    #[inline]
    pub(crate) fn value(&self) -> &[u8] {
        let (head, field, value) = self.lengths();
        // SAFETY: the value lies behind the field (invariant).
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(head + field), value) }
    }

    /// The field's time.
    #[inline]
    pub(crate) fn time(&self) -> Option<i64> {
        // SAFETY: the allocation begins with the flags; with `FLAG_TIMED` the last 8 bytes of the
        // head are the time (invariant).
        unsafe {
            if *self.0.as_ptr() & FLAG_TIMED == 0 {
                return None;
            }
            let (head, ..) = self.lengths();
            Some(ptr::read_unaligned(self.0.as_ptr().add(head - TIME).cast::<i64>()))
        }
    }

    /// Sets or clears the time.
    pub(crate) fn set_time(&mut self, time: Option<i64>) {
        if self.time().is_some() == time.is_some() {
            let (_, field, value) = self.lengths();
            self.write_head(field, value, time);
        } else {
            *self = Field::with_time(self.field(), self.value(), time);
        }
    }

    /// Changes the value; in place when the size class stays the same. The time stays.
    pub(crate) fn set_value(&mut self, value: &[u8]) {
        let (head, field, old) = self.lengths();
        let same_class = class_size(head + field + old) == class_size(head + field + value.len());
        let time = self.time();
        if Self::head(field, value.len(), time.is_some()) != head || !same_class {
            *self = Field::with_time(self.field(), value, time);
            return;
        }
        self.write_head(field, value.len(), time);
        // SAFETY: the new value ends within the same size class, so within the allocation.
        unsafe {
            let at = self.0.as_ptr().add(head + field);
            ptr::copy_nonoverlapping(value.as_ptr(), at, value.len());
        }
    }

    /// Bytes requested from the allocator.
    pub(crate) fn mem_usage(&self) -> usize {
        let (head, field, value) = self.lengths();
        class_size(head + field + value)
    }
}

impl Clone for Field {
    fn clone(&self) -> Field {
        Field::with_time(self.field(), self.value(), self.time())
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        let (head, field, value) = self.lengths();
        // SAFETY: allocated with this layout (invariant), not used afterwards.
        unsafe { dealloc(self.0.as_ptr(), layout(head + field + value)) };
    }
}

impl TableEntry for Field {
    const IN_PARTS: bool = true;

    fn twin(&self) -> Option<Field> {
        Some(self.clone())
    }

    fn copied_bytes(&self) -> usize {
        self.mem_usage()
    }

    #[inline]
    fn key(&self) -> &[u8] {
        self.field()
    }

    #[inline]
    fn address(&self) -> *const u8 {
        self.0.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_text() {
        for len in [0, 1, 6, 7, 8, 254, 255, 256, 5000] {
            let text = vec![b'm'; len];
            assert_eq!(SetMember::new(&text).text(), text);
            let mut scored = ScoredMember::new(&text, -1.5);
            assert_eq!((scored.text(), scored.score()), (&text[..], -1.5));
            scored.set_score(7.0);
            assert_eq!((scored.text(), scored.score()), (&text[..], 7.0));
            // SAFETY: `scored` lives.
            assert_eq!(unsafe { scored.as_ref().text() }, text);
        }
        assert_eq!(SetMember::new(b"1234567").mem_usage(), 8);
        assert_eq!(ScoredMember::new(b"1234567", 0.0).mem_usage(), 16);
    }

    #[test]
    fn fields_keep_both_texts_through_changes() {
        for field_len in [0, 1, 10, 255, 256, 3000] {
            let name = vec![b'f'; field_len];
            let mut field = Field::new(&name, b"first");
            for len in [5, 0, 6, 255, 256, 70000, 254, 255, 3] {
                let value = vec![len as u8; len];
                field.set_value(&value);
                assert_eq!(field.field(), name);
                assert_eq!(field.value(), value);
            }
        }
        assert_eq!(Field::new(b"0123456789", b"0123456789").mem_usage(), 24);
    }

    #[test]
    fn a_time_comes_goes_and_outlives_changes_of_the_value() {
        for field_len in [0, 1, 10, 255, 256, 3000] {
            let name = vec![b'f'; field_len];
            let mut field = Field::new(&name, b"first");
            assert_eq!(field.time(), None);
            for (len, time) in [(5, 7), (0, -1), (6, i64::MAX), (300, 1), (3, i64::MIN), (255, 0)] {
                let value = vec![len as u8; len];
                field.set_value(&value);
                field.set_time(Some(time));
                assert_eq!((field.field(), field.value()), (&name[..], &value[..]));
                assert_eq!((field.time(), field.clone().time()), (Some(time), Some(time)));
                field.set_value(b"other");
                assert_eq!((field.value(), field.time()), (&b"other"[..], Some(time)));
                field.set_time(None);
                assert_eq!((field.value(), field.time()), (&b"other"[..], None));
                assert_eq!(field.mem_usage(), Field::new(&name, b"other").mem_usage());
            }
        }
        assert_eq!(Field::with_time(b"0123456789", b"01", Some(1)).mem_usage(), 24);
    }
}
