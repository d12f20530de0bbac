//! One bucket with its chain of children: the part of the table that works on raw memory.

use super::*;
use crate::table::prefetch;

/// Bytes of a whole bucket: one cache line.
pub(super) const BUCKET: usize = 64;
/// Bytes of half a bucket, the first form of a child.
const HALF: usize = 32;
/// Slots of a whole bucket. The last one holds the child's address when the bucket is chained.
const SLOTS: usize = 7;
/// Slots of half a bucket; it never has a child.
const HALF_SLOTS: usize = 3;

const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
/// The high bits of the seven tag bytes.
const TAG_HIGHS: u64 = 0x8080_8080_8080_8000;
const ONES: u64 = 0x0101_0101_0101_0100;
/// Byte 0 of the first word: 1 when chained.
const CHAINED: u64 = 1;

/// Sets the high bit of every tag byte of `word` that is zero, exactly.
#[inline]
fn zero_tags(word: u64) -> u64 {
    // Adding 0x7f to the low seven bits carries into the high bit unless they are all zero; it
    // never carries into the next byte.
    !(((word & LOW_BITS) + LOW_BITS) | word | LOW_BITS) & TAG_HIGHS
}

/// Slot number of the lowest mark of a set of marked tags.
#[inline]
pub(super) fn lowest(marks: u64) -> usize {
    marks.trailing_zeros() as usize / 8 - 1
}

/// Whether two keys are equal. Most keys have 8 to 16 bytes, which two words cover, overlapping;
/// a call of `memcmp` would cost more than the whole rest of a lookup.
#[inline]
fn same_key(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.first_chunk::<8>(), b.first_chunk::<8>(), a.last_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(a_first), Some(b_first), Some(a_last), Some(b_last)) if a.len() <= 16 => {
            u64::from_ne_bytes(*a_first) == u64::from_ne_bytes(*b_first)
                && u64::from_ne_bytes(*a_last) == u64::from_ne_bytes(*b_last)
        }
        _ => a == b,
    }
}

fn tag_bits(tag: u8, slot: usize) -> u64 {
    u64::from(tag) << (8 * (slot + 1))
}

fn tag_at(meta: u64, slot: usize) -> u8 {
    (meta >> (8 * (slot + 1))) as u8
}

/// A whole or half bucket: a word of tags, then slots.
///
/// A piece is a plain pointer; whoever calls its unsafe methods vouches that it belongs to a live
/// chain, that nobody else writes the chain meanwhile, and, for writing methods, that nobody
/// else reads it. A slot holds an entry exactly when its tag is not 0.
pub(super) struct Piece<E> {
    words: *mut u64,
    half: bool,
    entries: PhantomData<E>,
}

impl<E> Clone for Piece<E> {
    fn clone(&self) -> Piece<E> {
        *self
    }
}

impl<E> Copy for Piece<E> {}

impl<E> Piece<E> {
    fn layout(half: bool) -> Layout {
        // jemalloc places these sizes on multiples of themselves anyway; asking for it would only take
        // the slow way through an allocator.
        Layout::from_size_align(if half { HALF } else { BUCKET }, 8).expect("a small block")
    }

    /// Makes the memory of a whole bucket an empty bucket.
    ///
    /// # Safety
    /// `words` must point to [`BUCKET`] writable bytes, aligned to 8.
    pub(super) unsafe fn init_bucket(words: *mut u64) {
        // SAFETY: by the caller.
        unsafe { *words = 0 };
    }

    /// A new, empty child.
    fn allocate(half: bool, child_bytes: &mut usize) -> Piece<E> {
        let layout = Self::layout(half);
        // SAFETY: the layout is not empty.
        let words = unsafe { alloc(layout) }.cast::<u64>();
        if words.is_null() {
            handle_alloc_error(layout);
        }
        *child_bytes += layout.size();
        // SAFETY: freshly allocated and big enough.
        unsafe { *words = 0 };
        Piece { words, half, entries: PhantomData }
    }

    /// Frees a child that holds nothing any more.
    unsafe fn free(self, child_bytes: &mut usize) {
        let layout = Self::layout(self.half);
        *child_bytes -= layout.size();
        // SAFETY: children come from `allocate` with this layout; the caller is done with it.
        unsafe { dealloc(self.words.cast(), layout) };
    }

    #[inline]
    unsafe fn meta(self) -> u64 {
        // SAFETY: the piece is live (see the type).
        unsafe { *self.words }
    }

    unsafe fn set_meta(self, meta: u64) {
        // SAFETY: the piece is live and ours to write.
        unsafe { *self.words = meta };
    }

    /// Address of a slot.
    #[inline]
    pub(super) unsafe fn slot(self, slot: usize) -> *mut E {
        // SAFETY: the caller's slot number is below the piece's slots, so within its memory.
        unsafe { self.words.add(1 + slot).cast() }
    }

    /// Marks of the slots that hold entries.
    #[inline]
    pub(super) unsafe fn used(self) -> u64 {
        // SAFETY: the piece is live.
        let meta = unsafe { self.meta() };
        TAG_HIGHS & !zero_tags(meta)
    }

    /// Marks of the slots that are free to take an entry.
    unsafe fn free_slots(self) -> u64 {
        // SAFETY: the piece is live.
        let meta = unsafe { self.meta() };
        let mut free = zero_tags(meta);
        if self.half {
            free &= (1 << (8 * (HALF_SLOTS + 1))) - 1;
        } else if meta & CHAINED != 0 {
            free &= (1 << (8 * SLOTS)) - 1;
        }
        free
    }

    /// The child, if the piece is chained.
    #[inline]
    pub(super) unsafe fn child(self) -> Option<Piece<E>> {
        // SAFETY: a chained piece is a whole bucket whose last slot holds the child's address, with
        // the lowest bit set for half a bucket.
        unsafe {
            if self.meta() & CHAINED == 0 {
                return None;
            }
            let marked: *mut u64 = *self.words.add(SLOTS).cast();
            let half = marked.addr() & 1 != 0;
            let words = marked.map_addr(|address| address & !1);
            Some(Piece { words, half, entries: PhantomData })
        }
    }

    /// Makes `child` the piece's child. The last slot must be free or hold a child already.
    unsafe fn set_child(self, child: Option<Piece<E>>) {
        // SAFETY: the piece is a live whole bucket of ours; its last slot holds no entry.
        unsafe {
            match child {
                Some(child) => {
                    let marked = child.words.map_addr(|address| address | usize::from(child.half));
                    *self.words.add(SLOTS).cast() = marked;
                    self.set_meta(self.meta() | CHAINED);
                }
                None => self.set_meta(self.meta() & !CHAINED),
            }
        }
    }

    /// Writes an entry to a free slot.
    unsafe fn put(self, slot: usize, tag: u8, entry: E) -> *mut E {
        // SAFETY: the slot is free, so nothing is overwritten without being dropped.
        unsafe {
            debug_assert!(tag != 0 && tag_at(self.meta(), slot) == 0);
            let place = self.slot(slot);
            place.write(entry);
            self.set_meta(self.meta() | tag_bits(tag, slot));
            place
        }
    }

    /// Moves the entry out of a slot, which is free afterwards.
    unsafe fn pull(self, slot: usize) -> (u8, E) {
        // SAFETY: the slot holds an entry; its tag is cleared, so it is moved out once.
        unsafe {
            let meta = self.meta();
            let tag = tag_at(meta, slot);
            debug_assert!(tag != 0);
            self.set_meta(meta & !tag_bits(0xff, slot));
            (tag, self.slot(slot).read())
        }
    }
}

/// A bucket of the table with all its children.
pub(super) struct Chain<E> {
    first: Piece<E>,
}

impl<E> Clone for Chain<E> {
    fn clone(&self) -> Chain<E> {
        *self
    }
}

impl<E> Copy for Chain<E> {}

impl<E: TableEntry> Chain<E> {
    /// The chain that starts with the bucket at `words`.
    ///
    /// # Safety
    /// `words` must be an initialised bucket of a table, and the table must outlive the chain's
    /// use. All methods ask their caller to hold the table's borrow that their doing needs:
    /// shared for reading, exclusive for the others.
    #[inline]
    pub(super) unsafe fn new(words: *mut u64) -> Chain<E> {
        Chain { first: Piece { words, half: false, entries: PhantomData } }
    }

    /// The chain's bucket in the table's row.
    pub(super) fn first(self) -> Piece<E> {
        self.first
    }

    /// Looks for a key.
    #[inline]
    pub(super) unsafe fn find(self, tag: u8, key: &[u8]) -> Option<(Piece<E>, usize)> {
        let mut piece = self.first;
        // SAFETY: all pieces are live; a slot with a non-zero tag holds an entry.
        unsafe {
            loop {
                let mut marks = zero_tags(piece.meta() ^ (ONES * u64::from(tag)));
                while marks != 0 {
                    let slot = lowest(marks);
                    if same_key((*piece.slot(slot)).key(), key) {
                        return Some((piece, slot));
                    }
                    marks &= marks - 1;
                }
                piece = piece.child()?;
            }
        }
    }

    /// Prefetches the first entry whose tag matches.
    #[inline]
    pub(super) unsafe fn prefetch_match(self, tag: u8) {
        let mut piece = self.first;
        // SAFETY: as in `find`.
        unsafe {
            loop {
                let marks = zero_tags(piece.meta() ^ (ONES * u64::from(tag)));
                if marks != 0 {
                    let address = (*piece.slot(lowest(marks))).address();
                    prefetch(address);
                    // A short value often ends in the second line.
                    return prefetch(address.wrapping_add(BUCKET));
                }
                match piece.child() {
                    Some(child) => piece = child,
                    None => return,
                }
            }
        }
    }

    /// Adds an entry.
    pub(super) unsafe fn push(self, tag: u8, entry: E, child_bytes: &mut usize) -> *mut E {
        // SAFETY: all pieces are live and ours; children are made and freed with their links.
        unsafe {
            let mut parent: Option<Piece<E>> = None;
            let mut piece = self.first;
            loop {
                let free = piece.free_slots();
                if free != 0 {
                    return piece.put(lowest(free), tag, entry);
                }
                match piece.child() {
                    Some(child) => {
                        parent = Some(piece);
                        piece = child;
                    }
                    None => break,
                }
            }
            let wider = match parent {
                // Half a bucket that is full becomes a whole one.
                Some(parent) if piece.half => {
                    let whole = Piece::allocate(false, child_bytes);
                    for slot in 0..HALF_SLOTS {
                        let (tag, entry) = piece.pull(slot);
                        whole.put(slot, tag, entry);
                    }
                    parent.set_child(Some(whole));
                    piece.free(child_bytes);
                    whole
                }
                // A whole bucket that is full gives its last slot to the link.
                _ => {
                    let half = Piece::allocate(true, child_bytes);
                    let (tag, entry) = piece.pull(SLOTS - 1);
                    half.put(0, tag, entry);
                    piece.set_child(Some(half));
                    half
                }
            };
            wider.put(lowest(wider.free_slots()), tag, entry)
        }
    }

    /// Moves the entry out of a slot and fills the hole from the chain's end, so that children
    /// don't outlive their need.
    pub(super) unsafe fn take(self, piece: Piece<E>, slot: usize, child_bytes: &mut usize) -> E {
        // SAFETY: all pieces are live and ours; the slot holds an entry.
        unsafe {
            let (_, entry) = piece.pull(slot);
            let mut parent = None;
            let mut last = self.first;
            while let Some(child) = last.child() {
                parent = Some(last);
                last = child;
            }
            if last.words != piece.words {
                let (tag, moved) = last.pull(lowest(last.used()));
                piece.put(slot, tag, moved);
            }
            if let Some(parent) = parent
                && last.used() == 0
            {
                parent.set_child(None);
                last.free(child_bytes);
            }
            entry
        }
    }

    /// Calls `f` on every entry.
    pub(super) unsafe fn for_each(self, mut f: impl FnMut(&E)) {
        // SAFETY: see `for_each_mut`; only shared references are handed out.
        unsafe { self.walk(|slot| f(&*slot)) };
    }

    /// Calls `f` on every entry, which it may change or replace.
    pub(super) unsafe fn for_each_mut(self, mut f: impl FnMut(&mut E)) {
        // SAFETY: every slot visited holds an entry, and is visited once.
        unsafe { self.walk(|slot| f(&mut *slot)) };
    }

    unsafe fn walk(self, mut f: impl FnMut(*mut E)) {
        let mut next = Some(self.first);
        // SAFETY: all pieces are live; marked slots hold entries.
        unsafe {
            while let Some(piece) = next {
                let mut used = piece.used();
                while used != 0 {
                    f(piece.slot(lowest(used)));
                    used &= used - 1;
                }
                next = piece.child();
            }
        }
    }

    /// Moves all entries for which `f` is true to `out`, with their tags.
    pub(super) unsafe fn extract_if(
        self,
        mut f: impl FnMut(&E) -> bool,
        out: &mut SmallVec<[(u8, E); 16]>,
        child_bytes: &mut usize,
    ) {
        let before = out.len();
        let mut next = Some(self.first);
        // SAFETY: all pieces are live and ours; marked slots hold entries. An entry leaves its slot
        // after `f` has seen it, so a panic in `f` leaves the chain whole.
        unsafe {
            while let Some(piece) = next {
                let mut used = piece.used();
                while used != 0 {
                    let slot = lowest(used);
                    used &= used - 1;
                    if f(&*piece.slot(slot)) {
                        out.push(piece.pull(slot));
                    }
                }
                next = piece.child();
            }
            if out.len() > before {
                self.compact(child_bytes);
            }
        }
    }

    /// Moves entries forward into free slots and frees children that are not needed.
    unsafe fn compact(self, child_bytes: &mut usize) {
        // SAFETY: all pieces are live and ours.
        unsafe {
            if self.first.child().is_none() {
                return;
            }
            let mut rest: SmallVec<[(u8, E); 16]> = SmallVec::new();
            let mut next = self.first.child();
            self.first.set_child(None);
            while let Some(piece) = next {
                let mut used = piece.used();
                while used != 0 {
                    rest.push(piece.pull(lowest(used)));
                    used &= used - 1;
                }
                next = piece.child();
                piece.free(child_bytes);
            }
            for (tag, entry) in rest {
                self.push(tag, entry, child_bytes);
            }
        }
    }

    /// Number of entries.
    pub(super) unsafe fn count(self) -> usize {
        let mut count = 0;
        // SAFETY: as in `walk`.
        unsafe { self.walk(|_| count += 1) };
        count
    }

    /// The entry with number `n` in the order of `for_each`; there must be that many.
    pub(super) unsafe fn nth(self, n: usize) -> *mut E {
        let (mut seen, mut found) = (0, ptr::null_mut());
        // SAFETY: as in `walk`.
        unsafe {
            self.walk(|slot| {
                if seen == n {
                    found = slot;
                }
                seen += 1;
            });
        }
        assert!(!found.is_null(), "the entry's number is below the count");
        found
    }

    /// Drops all entries and frees all children.
    pub(super) unsafe fn clear(self, child_bytes: &mut usize) {
        // SAFETY: all pieces are live and ours; an entry is moved out before it is dropped.
        unsafe {
            let mut all: SmallVec<[(u8, E); 16]> = SmallVec::new();
            self.extract_if(|_| true, &mut all, child_bytes);
            drop(all);
        }
    }
}
