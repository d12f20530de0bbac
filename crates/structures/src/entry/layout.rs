//! How an entry's bytes are laid out, and how its parts are written; see `entry.rs` for the picture.

use crate::size::{class_index, class_size};
use crate::thin::ThinStr;
use crate::{Hash, List, PagedStr, Set, Stream, Zset};
use std::alloc::{Layout, alloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use stdx::{I64_MAX_LEN, parse_i64};

/// Most bytes of an entry with its key and embedded string.
pub(super) const EMBED_MAX: usize = 1024;
/// Longest string in one piece; longer ones are paged.
pub(super) const RAW_MAX: usize = 1 << 20;
/// Longest string that Redis calls `embstr`.
/// Source: redis `object.c:OBJ_ENCODING_EMBSTR_SIZE_LIMIT`.
pub(super) const EMBSTR_MAX: usize = 44;
/// Key length byte that means "see the long word".
pub(super) const LONG_KEY: usize = 255;

/// The first 8 bytes of an entry.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Head {
    /// Key length (or [`LONG_KEY`]) in the low byte, the access field above it.
    pub(super) access_key: u32,
    /// Length of an embedded string.
    pub(super) value_len: u16,
    /// Size class index (0..5), kind (5..9), then the flags below.
    pub(super) flags: u16,
}

pub(super) const HEAD: usize = size_of::<Head>();
pub(super) const CLASS_BITS: u16 = 0x1f;
pub(super) const KIND_SHIFT: u16 = 5;
pub(super) const KIND_BITS: u16 = 0xf << KIND_SHIFT;
/// There is a stamp.
pub(super) const STAMP: u16 = 1 << 9;
pub(super) const MARK: u16 = 1 << 10;
pub(super) const INDEXED: u16 = 1 << 11;
/// The string was changed in place (APPEND, SETRANGE, SETBIT): no `int` or `embstr` any more.
pub(super) const GROWN: u16 = 1 << 12;

/// What the entry holds, and so what its slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
pub(super) enum Kind {
    /// A string behind the key; no slot.
    Embedded,
    /// An `i64`.
    Int,
    /// A [`ThinStr`].
    Raw,
    /// A `Box<PagedStr>`.
    Paged,
    /// A [`List`].
    List,
    /// A [`Set`].
    Set,
    /// A [`Hash`].
    Hash,
    /// A [`Zset`].
    Zset,
    /// A [`Stream`].
    Stream,
}

/// Kinds by their numbers, filled up to what the four bits can say.
pub(super) const KINDS: [Kind; 16] = [
    Kind::Embedded,
    Kind::Int,
    Kind::Raw,
    Kind::Paged,
    Kind::List,
    Kind::Set,
    Kind::Hash,
    Kind::Zset,
    Kind::Stream,
    Kind::Embedded,
    Kind::Embedded,
    Kind::Embedded,
    Kind::Embedded,
    Kind::Embedded,
    Kind::Embedded,
    Kind::Embedded,
];

impl Kind {
    /// Bytes of the slot.
    #[inline]
    pub(super) const fn slot(self) -> usize {
        match self {
            Kind::Embedded => 0,
            Kind::Int | Kind::Raw | Kind::Paged | Kind::Stream => 8,
            Kind::List | Kind::Set | Kind::Hash | Kind::Zset => COLLECTION,
        }
    }
}

/// The flag [`STAMP`] divided by this is the stamp's size.
pub(super) const STAMP_TO_BYTES: usize = STAMP as usize / 8;

/// Bytes of the slot for these flags, told without a branch: what a lookup needs to find the key.
#[inline]
pub(super) fn slot_of(flags: u16) -> usize {
    // Two bits for each of the 16 numbers that a kind can have, in words of 8 bytes.
    const SLOTS: u32 = {
        let (mut packed, mut i) = (0, 0);
        while i < KINDS.len() {
            packed |= (KINDS[i].slot() as u32 / 8) << (2 * i);
            i += 1;
        }
        packed
    };
    let kind = u32::from((flags & KIND_BITS) >> KIND_SHIFT);
    ((SLOTS >> (2 * kind)) as usize & 3) * 8
}

/// Bytes of a collection's handle.
pub(super) const COLLECTION: usize = 16;
const _: () = {
    assert!(size_of::<List>() == COLLECTION && align_of::<List>() == 8);
    assert!(size_of::<Set>() == COLLECTION && align_of::<Set>() == 8);
    assert!(size_of::<Hash>() == COLLECTION && align_of::<Hash>() == 8);
    assert!(size_of::<Zset>() == COLLECTION && align_of::<Zset>() == 8);
    assert!(size_of::<ThinStr>() == 8 && size_of::<Box<PagedStr>>() == 8);
    assert!(size_of::<Stream>() == 8 && align_of::<Stream>() == 8);
    assert!(HEAD == 8);
};

/// Where the parts of an entry lie.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) stamped: bool,
    pub(super) key_len: usize,
    pub(super) value_len: usize,
}

impl Shape {
    pub(super) fn long_key(self) -> bool {
        self.key_len >= LONG_KEY
    }

    pub(super) fn slot_at(self) -> usize {
        HEAD + if self.stamped { 8 } else { 0 } + if self.long_key() { 8 } else { 0 }
    }

    pub(super) fn key_at(self) -> usize {
        // With a long key the slot always has its full size, so that the size of the whole follows
        // from key and stamp alone.
        self.slot_at() + if self.long_key() { COLLECTION } else { self.kind.slot() }
    }

    pub(super) fn size(self) -> usize {
        self.key_at() + self.key_len + self.value_len
    }

    /// Whether a string of `len` bytes may be embedded with this key and stamp.
    pub(super) fn embeds(self, len: usize) -> bool {
        let shape = Shape { kind: Kind::Embedded, value_len: len, ..self };
        !self.long_key() && len <= EMBED_MAX && shape.size() <= EMBED_MAX
    }
}

/// A value on its way into an entry.
pub(super) enum Content<'a> {
    /// Embedded bytes, and whether they count as changed in place.
    Embedded(&'a [u8], bool),
    Int(i64),
    /// A string of its own, and whether it counts as changed in place.
    Raw(ThinStr, bool),
    Paged(Box<PagedStr>),
    List(List),
    Set(Set),
    Hash(Hash),
    Zset(Zset),
    Stream(Stream),
}

impl Content<'_> {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Content::Embedded(..) => Kind::Embedded,
            Content::Int(_) => Kind::Int,
            Content::Raw(..) => Kind::Raw,
            Content::Paged(_) => Kind::Paged,
            Content::List(_) => Kind::List,
            Content::Set(_) => Kind::Set,
            Content::Hash(_) => Kind::Hash,
            Content::Zset(_) => Kind::Zset,
            Content::Stream(_) => Kind::Stream,
        }
    }
}

/// The integer that a string is kept as, if its text is a canonical one.
#[inline]
pub(super) fn as_int(text: &[u8]) -> Option<i64> {
    match text.first() {
        Some(b'-' | b'0'..=b'9') if text.len() <= I64_MAX_LEN => parse_i64(text),
        _ => None,
    }
}

/// The form for a string with this key and stamp.
pub(super) fn string_content(text: &[u8], shape: Shape) -> Content<'_> {
    if let Some(value) = as_int(text) {
        Content::Int(value)
    } else if shape.embeds(text.len()) {
        Content::Embedded(text, false)
    } else if text.len() <= RAW_MAX {
        Content::Raw(ThinStr::from_slice(text), false)
    } else {
        Content::Paged(Box::new(PagedStr::from_bytes(text)))
    }
}

pub(super) fn layout(size: usize) -> Layout {
    Layout::from_size_align(size, 8).expect("an entry in memory is below isize::MAX")
}

/// An allocation of the size class for `size` bytes.
pub(super) fn allocate(size: usize) -> NonNull<Head> {
    let layout = layout(class_size(size));
    // SAFETY: a size class is at least 8 bytes, so the layout is not empty.
    let ptr = unsafe { alloc(layout) }.cast::<Head>();
    NonNull::new(ptr).unwrap_or_else(|| handle_alloc_error(layout))
}

pub(super) fn shape_for(content: &Content<'_>, key_len: usize, stamped: bool) -> Shape {
    let value_len = match content {
        Content::Embedded(text, _) => text.len(),
        _ => 0,
    };
    Shape { kind: content.kind(), stamped, key_len, value_len }
}

/// The size class bits for a new allocation of this shape; unused with a long key.
pub(super) fn class_bits(shape: Shape) -> u16 {
    if shape.long_key() { 0 } else { class_index(shape.size()) as u16 }
}

/// Writes everything but the key: head, stamp, long word, slot and embedded value.
///
/// # Safety
/// `ptr` must be an allocation of at least `shape.size()` bytes, aligned to 8, whose old slot, if
/// any, was dropped or moved out; `bits` must hold the allocation's class unless the key is long;
/// `content` must be of that shape and must not lie in the allocation.
pub(super) unsafe fn write(
    ptr: NonNull<Head>,
    shape: Shape,
    stamp: Option<i64>,
    content: Content<'_>,
    bits: u16,
    access: u32,
) {
    let base = ptr.as_ptr().cast::<u8>();
    let mut flags = bits | (shape.kind as u16) << KIND_SHIFT;
    // SAFETY: all parts lie within `shape.size()` bytes (caller); stamp, long word and slot are at
    // multiples of 8; writing overwrites nothing that needs dropping.
    unsafe {
        if let Some(stamp) = stamp {
            flags |= STAMP;
            base.add(HEAD).cast::<i64>().write(stamp);
        }
        if shape.long_key() {
            let at = shape.slot_at() - 8;
            base.add(at).cast::<u64>().write(shape.key_len as u64);
        }
        let slot = base.add(shape.slot_at());
        match content {
            Content::Embedded(text, grown) => {
                let at = base.add(shape.key_at() + shape.key_len);
                ptr::copy_nonoverlapping(text.as_ptr(), at, text.len());
                flags |= if grown { GROWN } else { 0 };
            }
            Content::Int(value) => slot.cast::<i64>().write(value),
            Content::Raw(text, grown) => {
                slot.cast::<ThinStr>().write(text);
                flags |= if grown { GROWN } else { 0 };
            }
            Content::Paged(paged) => slot.cast::<Box<PagedStr>>().write(paged),
            Content::List(list) => slot.cast::<List>().write(list),
            Content::Set(set) => slot.cast::<Set>().write(set),
            Content::Hash(hash) => slot.cast::<Hash>().write(hash),
            Content::Zset(zset) => slot.cast::<Zset>().write(zset),
            Content::Stream(stream) => slot.cast::<Stream>().write(stream),
        }
        let key_byte = shape.key_len.min(LONG_KEY) as u32;
        ptr.write(Head {
            access_key: key_byte | access << 8,
            value_len: shape.value_len as u16,
            flags,
        });
    }
}
