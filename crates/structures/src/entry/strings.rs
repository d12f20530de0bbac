//! Strings in an entry: replaced, changed in place, grown from one form to the next.

use super::*;

/// A string's bytes, to be changed in place.
enum StrMut<'a> {
    Bytes(&'a mut [u8]),
    Paged(&'a mut PagedStr),
}

/// Strings.
impl Entry {
    /// Replaces the value by a string; `keep_stamp` keeps the stamp, else it is removed. A string
    /// that fits the allocation's size class is copied in place.
    pub fn replace_str(&mut self, text: &[u8], keep_stamp: bool) {
        let head = self.head();
        let in_shape = keep_stamp || head.flags & STAMP == 0;
        if self.kind() == Kind::Embedded && in_shape && as_int(text).is_none() {
            let shape = self.shape();
            let at = shape.key_at() + shape.key_len;
            let class = usize::from(head.flags & CLASS_BITS);
            let room = usize::from(CLASSES[class]).min(EMBED_MAX);
            let least = if class < 2 { 0 } else { usize::from(CLASSES[class - 2]) };
            if at + text.len() <= room && at + text.len() > least {
                // SAFETY: the text ends within the allocation (its class is `room` at least), and
                // lies elsewhere, as `self` is borrowed exclusively.
                unsafe { ptr::copy_nonoverlapping(text.as_ptr(), self.at(at), text.len()) };
                self.set_head(|head| {
                    head.value_len = text.len() as u16;
                    head.flags &= !GROWN;
                });
                return;
            }
        }
        self.replace_str_slowly(text, if keep_stamp { self.stamp() } else { None });
    }

    fn replace_str_slowly(&mut self, text: &[u8], stamp: Option<i64>) {
        let shape = Shape { stamped: stamp.is_some(), ..self.shape() };
        let long = !shape.embeds(text.len()) && as_int(text).is_none();
        if self.kind() == Kind::Raw && long && stamp.is_some() == self.stamp().is_some() {
            // SAFETY: an entry of this kind holds a `ThinStr` in its slot (invariant).
            let own = unsafe { &mut *self.at::<ThinStr>(self.shape().slot_at()) };
            if own.replace(text) {
                self.set_flag(GROWN, false);
                return self.set_stamp(stamp);
            }
        }
        self.replace(string_content(text, shape), stamp);
    }

    /// Replaces the value by an integer, as a string; keeps the stamp.
    pub fn set_int(&mut self, value: i64) {
        if self.kind() == Kind::Int {
            // SAFETY: an entry of this kind holds an `i64` in its slot (invariant).
            unsafe { *self.at::<i64>(self.shape().slot_at()) = value };
        } else {
            self.replace(Content::Int(value), self.stamp());
        }
    }

    /// Replaces the value by a string that is kept as text even where it is an integer; keeps the
    /// stamp.
    pub fn set_text(&mut self, text: &[u8]) {
        let content = if self.shape().embeds(text.len()) {
            Content::Embedded(text, false)
        } else if text.len() <= RAW_MAX {
            Content::Raw(ThinStr::from_slice(text), false)
        } else {
            Content::Paged(Box::new(PagedStr::from_bytes(text)))
        };
        self.replace(content, self.stamp());
    }

    /// A copy of this string under another key: same stamp, same encoding.
    pub fn str_twin(&self, key: &[u8]) -> Entry {
        let grown = self.head().flags & GROWN != 0;
        let embeds = |len: usize| Shape { key_len: key.len(), ..self.shape() }.embeds(len);
        let content = match self.value() {
            ValueRef::Str(StrRef::Int(value)) => Content::Int(value),
            ValueRef::Str(StrRef::Bytes(bytes)) if embeds(bytes.len()) => {
                Content::Embedded(bytes, grown)
            }
            ValueRef::Str(StrRef::Bytes(bytes)) => Content::Raw(ThinStr::from_slice(bytes), grown),
            ValueRef::Str(StrRef::Paged(paged)) => Content::Paged(Box::new(paged.clone())),
            _ => unreachable!("the caller has checked that this is a string"),
        };
        Entry::build(key, content, self.stamp())
    }

    /// Length of the string.
    pub fn str_len(&self) -> usize {
        match self.value() {
            ValueRef::Str(text) => text.len(),
            _ => unreachable!("the caller has checked that this is a string"),
        }
    }

    /// Appends to the string and returns its new length.
    pub fn append_str(&mut self, bytes: &[u8]) -> usize {
        let old = self.str_len();
        match self.widen(old + bytes.len(), true) {
            StrMut::Bytes(own) => own[old..].copy_from_slice(bytes),
            StrMut::Paged(paged) => paged.write_at(old, bytes),
        }
        old + bytes.len()
    }

    /// Writes into the string at `offset`, which may lie beyond its end: the gap becomes zeros.
    /// Returns the length afterwards. Writing nothing changes nothing.
    pub fn write_str_at(&mut self, offset: usize, bytes: &[u8]) -> usize {
        let old = self.str_len();
        if bytes.is_empty() {
            return old;
        }
        let end = offset + bytes.len();
        match self.widen(old.max(end), false) {
            StrMut::Bytes(own) => own[offset..end].copy_from_slice(bytes),
            StrMut::Paged(paged) => paged.write_at(offset, bytes),
        }
        old.max(end)
    }

    /// Makes the string at least `len` bytes long, with zeros, for changes in place; returns its
    /// length.
    pub fn grow_str(&mut self, len: usize) -> usize {
        let len = len.max(self.str_len());
        self.widen(len, false);
        len
    }

    /// Runs `f` on the string's bytes, to be changed in place. A string in pages is copied for it;
    /// prefer [`Entry::write_str_at`] for small changes.
    pub fn make_bytes_mut<R>(&mut self, f: impl FnOnce(&mut [u8]) -> R) -> R {
        match self.widen(self.str_len(), false) {
            StrMut::Bytes(own) => f(own),
            StrMut::Paged(paged) => {
                let mut copy = paged.to_vec();
                let result = f(&mut copy);
                paged.write_at(0, &copy);
                result
            }
        }
    }

    /// Makes the string `len` bytes long (not less than it is) in a form that can be changed in
    /// place, new bytes zero; `more` leaves room for further growth.
    fn widen(&mut self, len: usize, more: bool) -> StrMut<'_> {
        let stamp = self.stamp();
        let shape = self.shape();
        match self.kind() {
            Kind::Embedded | Kind::Int => {
                let embeds = shape.embeds(len);
                let at = shape.key_at() + shape.key_len;
                let class = usize::from(CLASSES[usize::from(self.head().flags & CLASS_BITS)]);
                if self.kind() == Kind::Embedded && embeds && at + len <= class {
                    let old = shape.value_len;
                    // SAFETY: the new bytes lie within the allocation, behind the string.
                    unsafe { ptr::write_bytes(self.at::<u8>(at + old), 0, len - old) };
                    self.set_head(|head| head.value_len = len as u16);
                } else {
                    self.rebuild_wide(len, more, embeds, stamp);
                }
            }
            Kind::Raw => {
                // SAFETY: an entry of this kind holds a `ThinStr` in its slot (invariant).
                let own = unsafe { &mut *self.at::<ThinStr>(shape.slot_at()) };
                if len > RAW_MAX {
                    let mut paged = Box::new(PagedStr::from_bytes(own.bytes()));
                    paged.grow_to(len);
                    self.replace(Content::Paged(paged), stamp);
                } else if len > own.len() {
                    if more {
                        own.make_room(len, RAW_MAX);
                    }
                    own.grow_to(len);
                }
            }
            Kind::Paged => {
                // SAFETY: an entry of this kind holds a `Box<PagedStr>` in its slot (invariant).
                unsafe { &mut *self.at::<Box<PagedStr>>(shape.slot_at()) }.grow_to(len);
            }
            _ => unreachable!("the caller has checked that this is a string"),
        }
        self.set_flag(GROWN, true);
        let shape = self.shape();
        // SAFETY: as in `value`, borrowed exclusively.
        unsafe {
            match shape.kind {
                Kind::Embedded => {
                    let at = self.at(shape.key_at() + shape.key_len);
                    StrMut::Bytes(std::slice::from_raw_parts_mut(at, shape.value_len))
                }
                Kind::Raw => StrMut::Bytes((*self.at::<ThinStr>(shape.slot_at())).bytes_mut()),
                Kind::Paged => StrMut::Paged(&mut *self.at::<Box<PagedStr>>(shape.slot_at())),
                _ => unreachable!("a wide string has one of these forms"),
            }
        }
    }

    /// Gives a string that was embedded or an integer a new form of `len` bytes.
    fn rebuild_wide(&mut self, len: usize, more: bool, embeds: bool, stamp: Option<i64>) {
        let mut text: SmallVec<[u8; 128]> = SmallVec::new();
        match self.value() {
            ValueRef::Str(StrRef::Int(value)) => {
                text.extend_from_slice(int_text(value, &mut [0; I64_MAX_LEN]));
            }
            ValueRef::Str(StrRef::Bytes(bytes)) => text.extend_from_slice(bytes),
            _ => unreachable!("the caller has checked the kind"),
        }
        let content = if embeds {
            text.resize(len, 0);
            Content::Embedded(&text, true)
        } else if len > RAW_MAX {
            let mut paged = Box::new(PagedStr::from_bytes(&text));
            paged.grow_to(len);
            Content::Paged(paged)
        } else {
            let mut own = ThinStr::with_capacity(if more { (2 * len).min(RAW_MAX) } else { len });
            own.extend(&text);
            own.grow_to(len);
            Content::Raw(own, true)
        };
        self.replace(content, stamp);
    }
}
