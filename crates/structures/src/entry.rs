//! One key of the keyspace with everything that belongs to it, in one allocation behind one
//! pointer.
//!
//! ```text
//! head   8 bytes: 24 bits access field, 8 bits key length | 16 bits value length | 16 bits flags
//! stamp  8 bytes, only if set
//! long   8 bytes, only if the key has 255 bytes or more: the key's length
//! slot   0, 8 or 16 bytes: an integer, a pointer to a long string, or a collection's handle
//! key    its bytes
//! value  a short string's bytes
//! ```
//!
//! A key of 16 bytes with a string of 32 takes 56 bytes: no padding, no second allocation, and
//! one cache line answers a GET. The allocation always has a whole size class, whose index stands
//! in the flags, so a value that changes within its class (or to the next smaller one) is
//! overwritten in place.
//!
//! Strings: a canonical integer is kept as such in the slot; key and value of up to
//! [`EMBED_MAX`] bytes together are embedded; up to [`RAW_MAX`] the string is an allocation of its
//! own; beyond that it is paged.

use crate::elem::int_text;
use crate::size::{CLASSES, class_index, class_size};
use crate::table::TableEntry;
use crate::thin::ThinStr;
use crate::value::{StrRef, Value, ValueRef};
use crate::{Hash, List, PagedStr, Set, Stream, Zset};
use smallvec::SmallVec;
use std::alloc::dealloc;
use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use stdx::I64_MAX_LEN;

mod layout;
mod parts;
mod strings;

use layout::*;

/// A key with its value, an optional time stamp, an access field and two marks.
///
/// Methods for one type (`append_str`, ...) expect an entry of that type: the caller has checked it,
/// and they assert it.
///
/// Invariant: the pointer is an allocation laid out as the head says (see the file's head), of the
/// size that [`Entry::allocated`] tells, aligned to 8; the slot holds a live value of the kind.
pub struct Entry(NonNull<Head>);

// SAFETY: the entry owns all that it points to, and those types are Send.
unsafe impl Send for Entry {}
// SAFETY: there is no interior mutability; what a shared entry gives out is Sync.
unsafe impl Sync for Entry {}

const fn assert_send_sync<T: Send + Sync>() {}
const _: () = {
    assert_send_sync::<List>();
    assert_send_sync::<Set>();
    assert_send_sync::<Hash>();
    assert_send_sync::<Zset>();
    assert_send_sync::<Stream>();
    assert_send_sync::<PagedStr>();
    assert_send_sync::<ThinStr>();
};

/// Creation and the whole value.
impl Entry {
    /// A key with this value. A string that is a canonical integer is kept as one.
    pub fn new(key: &[u8], value: Value, stamp: Option<i64>) -> Entry {
        match value {
            Value::Str(text) => Entry::new_str(key, &text, stamp),
            Value::List(list) => Entry::build(key, Content::List(*list), stamp),
            Value::Set(set) => Entry::build(key, Content::Set(*set), stamp),
            Value::Hash(hash) => Entry::build(key, Content::Hash(*hash), stamp),
            Value::Zset(zset) => Entry::build(key, Content::Zset(*zset), stamp),
            Value::Stream(stream) => Entry::build(key, Content::Stream(stream), stamp),
        }
    }

    /// A key with this string: one allocation and one copy unless the string is long.
    pub fn new_str(key: &[u8], text: &[u8], stamp: Option<i64>) -> Entry {
        let shape = Shape {
            kind: Kind::Embedded,
            stamped: stamp.is_some(),
            key_len: key.len(),
            value_len: 0,
        };
        Entry::build(key, string_content(text, shape), stamp)
    }

    fn build(key: &[u8], content: Content<'_>, stamp: Option<i64>) -> Entry {
        let shape = shape_for(&content, key.len(), stamp.is_some());
        let ptr = allocate(shape.size());
        // SAFETY: the new allocation holds `shape.size()` bytes, so the key fits at its place, and
        // `write` fills in the rest of that shape.
        unsafe {
            let key_to = ptr.as_ptr().cast::<u8>().add(shape.key_at());
            ptr::copy_nonoverlapping(key.as_ptr(), key_to, key.len());
            write(ptr, shape, stamp, content, class_bits(shape), 0);
        }
        Entry(ptr)
    }

    #[inline]
    fn head(&self) -> Head {
        // SAFETY: the pointer is to an initialised head (invariant).
        unsafe { *self.0.as_ptr() }
    }

    fn set_head(&mut self, change: impl FnOnce(&mut Head)) {
        // SAFETY: as in `head`; `self` is borrowed exclusively. Callers keep the head truthful.
        change(unsafe { self.0.as_mut() });
    }

    #[inline]
    fn kind(&self) -> Kind {
        KINDS[usize::from((self.head().flags & KIND_BITS) >> KIND_SHIFT) % KINDS.len()]
    }

    #[inline]
    fn shape(&self) -> Shape {
        let head = self.head();
        let kind = KINDS[usize::from((head.flags & KIND_BITS) >> KIND_SHIFT) % KINDS.len()];
        let stamped = head.flags & STAMP != 0;
        let mut key_len = (head.access_key & 0xff) as usize;
        if key_len == LONG_KEY {
            let at = HEAD + if stamped { 8 } else { 0 };
            // SAFETY: with this mark the long word stands there, aligned to 8 (invariant).
            key_len = unsafe { *self.at::<u64>(at) } as usize;
        }
        Shape { kind, stamped, key_len, value_len: usize::from(head.value_len) }
    }

    /// Address of the part at byte `at`.
    #[inline]
    fn at<T>(&self, at: usize) -> *mut T {
        self.0.as_ptr().cast::<u8>().wrapping_add(at).cast()
    }

    /// Bytes of the allocation.
    fn allocated(&self) -> usize {
        let shape = self.shape();
        if shape.long_key() {
            class_size(shape.size())
        } else {
            usize::from(CLASSES[usize::from(self.head().flags & CLASS_BITS)])
        }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let head = self.head();
        let len = (head.access_key & 0xff) as usize;
        let (at, len) = if len < LONG_KEY {
            (HEAD + usize::from(head.flags & STAMP) / STAMP_TO_BYTES + slot_of(head.flags), len)
        } else {
            let shape = self.shape();
            (shape.key_at(), shape.key_len)
        };
        // SAFETY: the key's bytes lie there and are initialised (invariant).
        unsafe { std::slice::from_raw_parts(self.at(at), len) }
    }

    /// The value.
    #[inline]
    pub fn value(&self) -> ValueRef<'_> {
        let shape = self.shape();
        let slot = shape.slot_at();
        // SAFETY: the slot holds a live value of the kind, aligned to 8; an embedded string lies
        // right behind the key (invariant). Everything is borrowed with `self`.
        unsafe {
            match shape.kind {
                Kind::Embedded => {
                    let at = self.at(shape.key_at() + shape.key_len);
                    ValueRef::Str(StrRef::Bytes(std::slice::from_raw_parts(at, shape.value_len)))
                }
                Kind::Int => ValueRef::Str(StrRef::Int(*self.at::<i64>(slot))),
                Kind::Raw => ValueRef::Str(StrRef::Bytes((*self.at::<ThinStr>(slot)).bytes())),
                Kind::Paged => ValueRef::Str(StrRef::Paged(&*self.at::<Box<PagedStr>>(slot))),
                Kind::List => ValueRef::List(&*self.at(slot)),
                Kind::Set => ValueRef::Set(&*self.at(slot)),
                Kind::Hash => ValueRef::Hash(&*self.at(slot)),
                Kind::Zset => ValueRef::Zset(&*self.at(slot)),
                Kind::Stream => ValueRef::Stream(&*self.at(slot)),
            }
        }
    }

    /// Drops what the slot holds. The entry must get a new content right afterwards, or be freed.
    unsafe fn drop_slot(&mut self) {
        let slot = self.shape().slot_at();
        // SAFETY: the slot holds a live value of the kind; the caller sees to it that nobody uses
        // it again.
        unsafe {
            match self.kind() {
                Kind::Embedded | Kind::Int => {}
                Kind::Raw => ptr::drop_in_place(self.at::<ThinStr>(slot)),
                Kind::Paged => ptr::drop_in_place(self.at::<Box<PagedStr>>(slot)),
                Kind::List => ptr::drop_in_place(self.at::<List>(slot)),
                Kind::Set => ptr::drop_in_place(self.at::<Set>(slot)),
                Kind::Hash => ptr::drop_in_place(self.at::<Hash>(slot)),
                Kind::Zset => ptr::drop_in_place(self.at::<Zset>(slot)),
                Kind::Stream => ptr::drop_in_place(self.at::<Stream>(slot)),
            }
        }
    }

    /// Moves the content out of the slot; an embedded string is copied to `buffer`. The entry must
    /// get a new content right afterwards, or be freed.
    unsafe fn take_content<'b>(&mut self, buffer: &'b mut SmallVec<[u8; 128]>) -> Content<'b> {
        let slot = self.shape().slot_at();
        let grown = self.head().flags & GROWN != 0;
        // SAFETY: as in `drop_slot`; the value is moved out once.
        unsafe {
            match self.kind() {
                Kind::Embedded => {
                    if let ValueRef::Str(StrRef::Bytes(bytes)) = self.value() {
                        buffer.extend_from_slice(bytes);
                    }
                    Content::Embedded(buffer, grown)
                }
                Kind::Int => Content::Int(*self.at::<i64>(slot)),
                Kind::Raw => Content::Raw(ptr::read(self.at(slot)), grown),
                Kind::Paged => Content::Paged(ptr::read(self.at(slot))),
                Kind::List => Content::List(ptr::read(self.at(slot))),
                Kind::Set => Content::Set(ptr::read(self.at(slot))),
                Kind::Hash => Content::Hash(ptr::read(self.at(slot))),
                Kind::Zset => Content::Zset(ptr::read(self.at(slot))),
                Kind::Stream => Content::Stream(ptr::read(self.at(slot))),
            }
        }
    }

    /// Gives the entry a new content and stamp, in place where the allocation allows it. What the
    /// slot held must have been dropped or moved out. `content` must not borrow from the entry.
    unsafe fn put(&mut self, content: Content<'_>, stamp: Option<i64>) {
        let old = self.shape();
        let new = shape_for(&content, old.key_len, stamp.is_some());
        let head = self.head();
        let in_place = if old.long_key() {
            class_size(old.size()) == class_size(new.size())
        } else {
            let (has, needs) = (usize::from(head.flags & CLASS_BITS), class_index(new.size()));
            needs <= has && has - needs <= 1
        };
        let marks = head.flags & (MARK | INDEXED);
        let access = head.access_key >> 8;
        // SAFETY: the old key lies where the old shape says. In place, the allocation holds
        // `new.size()` bytes (its class is checked above), the key is moved (with overlap) before
        // anything is written over it, and the content lies outside. Otherwise the new allocation
        // has that size, and the old one is freed with the layout that it was made with.
        unsafe {
            let key_from = self.at::<u8>(old.key_at());
            if in_place {
                ptr::copy(key_from, self.at::<u8>(new.key_at()), old.key_len);
                let class = head.flags & CLASS_BITS;
                write(self.0, new, stamp, content, class | marks, access);
            } else {
                let (size, old_ptr) = (self.allocated(), self.0);
                let ptr = allocate(new.size());
                let key_to = ptr.as_ptr().cast::<u8>().add(new.key_at());
                ptr::copy_nonoverlapping(key_from, key_to, old.key_len);
                write(ptr, new, stamp, content, class_bits(new) | marks, access);
                self.0 = ptr;
                dealloc(old_ptr.as_ptr().cast(), layout(size));
            }
        }
    }

    /// Drops the content and puts another one in its place.
    fn replace(&mut self, content: Content<'_>, stamp: Option<i64>) {
        // SAFETY: the slot is dropped and refilled; callers pass content from elsewhere, as `self`
        // is borrowed exclusively.
        unsafe {
            self.drop_slot();
            self.put(content, stamp);
        }
    }

    /// Takes the value out and frees the entry.
    pub fn take_value(self) -> Value {
        if let ValueRef::Str(text) = self.value() {
            return Value::Str(text.to_vec());
        }
        let mut this = ManuallyDrop::new(self);
        let mut buffer = SmallVec::new();
        // SAFETY: the content is moved out, then the allocation freed with its layout; `this` is
        // not dropped.
        unsafe {
            let content = this.take_content(&mut buffer);
            dealloc(this.0.as_ptr().cast(), layout(this.allocated()));
            match content {
                Content::List(list) => Value::List(Box::new(list)),
                Content::Set(set) => Value::Set(Box::new(set)),
                Content::Hash(hash) => Value::Hash(Box::new(hash)),
                Content::Zset(zset) => Value::Zset(Box::new(zset)),
                Content::Stream(stream) => Value::Stream(stream),
                _ => unreachable!("strings were handled above"),
            }
        }
    }

    /// Replaces the value, of whatever type; `keep_stamp` keeps the stamp, else it is removed.
    pub fn replace_value(&mut self, value: Value, keep_stamp: bool) {
        let stamp = if keep_stamp { self.stamp() } else { None };
        match value {
            Value::Str(text) => self.replace_str(&text, keep_stamp),
            Value::List(list) => self.replace(Content::List(*list), stamp),
            Value::Set(set) => self.replace(Content::Set(*set), stamp),
            Value::Hash(hash) => self.replace(Content::Hash(*hash), stamp),
            Value::Zset(zset) => self.replace(Content::Zset(*zset), stamp),
            Value::Stream(stream) => self.replace(Content::Stream(stream), stamp),
        }
    }

    /// The same value, stamp, access field and marks under another key.
    pub fn rename(self, key: &[u8]) -> Entry {
        let stamp = self.stamp();
        let (access, marked, indexed) = (self.access(), self.mark(), self.indexed());
        let mut this = ManuallyDrop::new(self);
        let mut buffer = SmallVec::new();
        // SAFETY: the content is moved to the new entry, then the old allocation is freed with its
        // layout; `this` is not dropped.
        let mut renamed = unsafe {
            let size = this.allocated();
            let content = this.take_content(&mut buffer);
            dealloc(this.0.as_ptr().cast(), layout(size));
            match content {
                // The border between embedded and not depends on the key.
                Content::Embedded(text, grown) => {
                    let shape = Shape {
                        kind: Kind::Embedded,
                        stamped: stamp.is_some(),
                        key_len: key.len(),
                        value_len: 0,
                    };
                    let content = if shape.embeds(text.len()) {
                        Content::Embedded(text, grown)
                    } else {
                        Content::Raw(ThinStr::from_slice(text), grown)
                    };
                    Entry::build(key, content, stamp)
                }
                content => Entry::build(key, content, stamp),
            }
        };
        renamed.set_access(access);
        renamed.set_mark(marked);
        renamed.set_indexed(indexed);
        renamed
    }
}

/// Stamp, access field, marks and names.
impl Entry {
    /// The time stamp (the key's expiry, for the keyspace; opaque here).
    #[inline]
    pub fn stamp(&self) -> Option<i64> {
        if self.head().flags & STAMP == 0 {
            return None;
        }
        // SAFETY: with this flag the stamp stands behind the head (invariant).
        Some(unsafe { *self.at::<i64>(HEAD) })
    }

    /// Sets or removes the stamp. May reallocate when one comes or goes.
    pub fn set_stamp(&mut self, stamp: Option<i64>) {
        let had = self.head().flags & STAMP != 0;
        match stamp {
            None if !had => {}
            Some(new) if had => {
                // SAFETY: with the flag set the stamp stands behind the head (invariant).
                unsafe { *self.at::<i64>(HEAD) = new };
            }
            _ => {
                let mut buffer = SmallVec::new();
                // SAFETY: the content is moved out and put back at once; an embedded string lies in
                // `buffer` meanwhile.
                unsafe {
                    let content = self.take_content(&mut buffer);
                    let content = match content {
                        // With a stamp the entry may be 8 bytes too big to embed its string.
                        Content::Embedded(text, grown)
                            if !Shape { stamped: stamp.is_some(), ..self.shape() }
                                .embeds(text.len()) =>
                        {
                            Content::Raw(ThinStr::from_slice(text), grown)
                        }
                        content => content,
                    };
                    self.put(content, stamp);
                }
            }
        }
    }

    /// The 24-bit access field, for LRU or LFU.
    #[inline]
    pub fn access(&self) -> u32 {
        self.head().access_key >> 8
    }

    /// Sets the access field; only its low 24 bits are kept.
    #[inline]
    pub fn set_access(&mut self, access: u32) {
        self.set_head(|head| head.access_key = (head.access_key & 0xff) | access << 8);
    }

    fn set_flag(&mut self, flag: u16, on: bool) {
        self.set_head(|head| head.flags = if on { head.flags | flag } else { head.flags & !flag });
    }

    /// A mark for the snapshot: already handed over.
    pub fn mark(&self) -> bool {
        self.head().flags & MARK != 0
    }

    /// Sets the snapshot's mark.
    pub fn set_mark(&mut self, on: bool) {
        self.set_flag(MARK, on);
    }

    /// A mark for the expiry index: the key is in it.
    pub fn indexed(&self) -> bool {
        self.head().flags & INDEXED != 0
    }

    /// Sets the expiry index's mark.
    pub fn set_indexed(&mut self, on: bool) {
        self.set_flag(INDEXED, on);
    }

    /// True if the value is a string, in whatever form.
    #[inline]
    pub fn is_str(&self) -> bool {
        self.kind() <= Kind::Paged
    }

    /// The type's name, as the TYPE command gives it.
    pub fn type_name(&self) -> &'static str {
        self.value().type_name()
    }

    /// The encoding's name, as OBJECT ENCODING gives it.
    pub fn encoding_name(&self) -> &'static str {
        match self.value() {
            ValueRef::Str(_) => self.str_encoding(),
            ValueRef::List(list) => list.encoding(),
            ValueRef::Set(set) => set.encoding(),
            ValueRef::Hash(hash) => hash.encoding(),
            ValueRef::Zset(zset) => zset.encoding(),
            ValueRef::Stream(_) => "stream",
        }
    }

    /// The encoding's name of a string: `int`; `embstr` for up to 44 bytes that were never changed
    /// in place; `raw`.
    pub fn str_encoding(&self) -> &'static str {
        let head = self.head();
        match self.value() {
            ValueRef::Str(StrRef::Int(_)) => "int",
            ValueRef::Str(StrRef::Bytes(bytes))
                if head.flags & GROWN == 0 && bytes.len() <= EMBSTR_MAX =>
            {
                "embstr"
            }
            _ => "raw",
        }
    }

    /// Bytes requested from the allocator for the key and everything that it holds.
    pub fn mem_usage(&self) -> usize {
        let slot = self.shape().slot_at();
        let held = match self.value() {
            // SAFETY: an entry of this kind holds a `ThinStr` in its slot (invariant).
            ValueRef::Str(StrRef::Bytes(_)) if self.kind() == Kind::Raw => unsafe {
                (*self.at::<ThinStr>(slot)).mem_usage()
            },
            ValueRef::Str(StrRef::Paged(paged)) => paged.mem_usage(),
            ValueRef::Str(_) => 0,
            ValueRef::List(list) => list.mem_usage(),
            ValueRef::Set(set) => set.mem_usage(),
            ValueRef::Hash(hash) => hash.mem_usage(),
            ValueRef::Zset(zset) => zset.mem_usage(),
            ValueRef::Stream(stream) => stream.mem_usage(),
        };
        self.allocated() + held
    }
}

/// Collections.
impl Entry {
    /// The list, to be changed; `None` if the value is of another type.
    pub fn list_mut(&mut self) -> Option<&mut List> {
        // SAFETY: an entry of this kind holds a `List` in its slot (invariant).
        (self.kind() == Kind::List).then(|| unsafe { &mut *self.at(self.shape().slot_at()) })
    }

    /// The set, to be changed; `None` if the value is of another type.
    pub fn set_mut(&mut self) -> Option<&mut Set> {
        // SAFETY: an entry of this kind holds a `Set` in its slot (invariant).
        (self.kind() == Kind::Set).then(|| unsafe { &mut *self.at(self.shape().slot_at()) })
    }

    /// The hash, to be changed; `None` if the value is of another type.
    pub fn hash_mut(&mut self) -> Option<&mut Hash> {
        // SAFETY: an entry of this kind holds a `Hash` in its slot (invariant).
        (self.kind() == Kind::Hash).then(|| unsafe { &mut *self.at(self.shape().slot_at()) })
    }

    /// The sorted set, to be changed; `None` if the value is of another type.
    pub fn zset_mut(&mut self) -> Option<&mut Zset> {
        // SAFETY: an entry of this kind holds a `Zset` in its slot (invariant).
        (self.kind() == Kind::Zset).then(|| unsafe { &mut *self.at(self.shape().slot_at()) })
    }

    /// The stream, to be changed; `None` if the value is of another type.
    pub fn stream_mut(&mut self) -> Option<&mut Stream> {
        // SAFETY: an entry of this kind holds a `Stream` in its slot (invariant).
        (self.kind() == Kind::Stream).then(|| unsafe { &mut *self.at(self.shape().slot_at()) })
    }
}

impl Clone for Entry {
    /// A deep copy, with stamp, access field and marks, and in the same encoding.
    fn clone(&self) -> Entry {
        let grown = self.head().flags & GROWN != 0;
        let content = match self.value() {
            ValueRef::Str(StrRef::Int(value)) => Content::Int(value),
            ValueRef::Str(StrRef::Bytes(bytes)) if self.kind() == Kind::Embedded => {
                Content::Embedded(bytes, grown)
            }
            ValueRef::Str(StrRef::Bytes(bytes)) => Content::Raw(ThinStr::from_slice(bytes), grown),
            ValueRef::Str(StrRef::Paged(paged)) => Content::Paged(Box::new(paged.clone())),
            ValueRef::List(list) => Content::List(list.clone()),
            ValueRef::Set(set) => Content::Set(set.clone()),
            ValueRef::Hash(hash) => Content::Hash(hash.clone()),
            ValueRef::Zset(zset) => Content::Zset(zset.clone()),
            ValueRef::Stream(stream) => Content::Stream(stream.clone()),
        };
        let mut copy = Entry::build(self.key(), content, self.stamp());
        copy.set_access(self.access());
        copy.set_mark(self.mark());
        copy.set_indexed(self.indexed());
        copy
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let size = self.allocated();
        // SAFETY: the content is dropped, then the allocation freed with its layout; nothing uses
        // either afterwards.
        unsafe {
            self.drop_slot();
            dealloc(self.0.as_ptr().cast(), layout(size));
        }
    }
}

impl TableEntry for Entry {
    #[inline]
    fn key(&self) -> &[u8] {
        Entry::key(self)
    }

    #[inline]
    fn address(&self) -> *const u8 {
        self.0.as_ptr().cast_const().cast()
    }
}

#[cfg(test)]
mod tests;
