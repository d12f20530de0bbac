//! A byte vector behind one pointer: length and capacity stand before the bytes.
//!
//! For string values that are too big to stand inside their key's entry. `Vec<u8>` in a box would
//! cost one more allocation and 8 bytes more.

use crate::size::class_size;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::ptr::{self, NonNull};

#[repr(C)]
struct Head {
    len: usize,
    /// Bytes that fit behind the head.
    capacity: usize,
}

const HEAD: usize = size_of::<Head>();

/// Owned bytes with room to grow.
///
/// Invariant: points to a [`Head`] with `capacity` bytes behind it, allocated as
/// `layout(capacity)`, the first `len` of them initialised, `len <= capacity`.
pub(crate) struct ThinStr(NonNull<Head>);

// SAFETY: plain bytes owned by this handle alone, without interior mutability.
unsafe impl Send for ThinStr {}
// SAFETY: as above; a shared handle gives read access only.
unsafe impl Sync for ThinStr {}

fn layout(capacity: usize) -> Layout {
    Layout::from_size_align(HEAD + capacity, 8).expect("a string in memory is below isize::MAX")
}

/// The capacity that comes with the size class for `n` bytes.
fn round(n: usize) -> usize {
    class_size(HEAD + n) - HEAD
}

impl ThinStr {
    /// A string with room for at least `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> ThinStr {
        let capacity = round(capacity);
        let layout = layout(capacity);
        // SAFETY: the layout holds at least the head, so it is not empty.
        let ptr = unsafe { alloc(layout) }.cast::<Head>();
        let Some(ptr) = NonNull::new(ptr) else { handle_alloc_error(layout) };
        // SAFETY: the allocation is big enough and aligned for a head.
        unsafe { ptr.write(Head { len: 0, capacity }) };
        ThinStr(ptr)
    }

    /// A copy of `bytes` with no room beyond the size class.
    pub(crate) fn from_slice(bytes: &[u8]) -> ThinStr {
        let mut new = ThinStr::with_capacity(bytes.len());
        new.extend(bytes);
        new
    }

    fn head(&self) -> &Head {
        // SAFETY: points to an initialised head (invariant).
        unsafe { self.0.as_ref() }
    }

    fn data(&self) -> *mut u8 {
        // SAFETY: the bytes start right behind the head, within the allocation.
        unsafe { self.0.as_ptr().cast::<u8>().add(HEAD) }
    }

    /// Number of bytes.
    pub(crate) fn len(&self) -> usize {
        self.head().len
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len` bytes are initialised (invariant).
        unsafe { std::slice::from_raw_parts(self.data(), self.len()) }
    }

    /// The bytes, writable.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `self` is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data(), self.len()) }
    }

    /// Makes room for `capacity` bytes in all.
    pub(crate) fn reserve(&mut self, capacity: usize) {
        let old = self.head().capacity;
        if capacity <= old {
            return;
        }
        let capacity = round(capacity);
        let layout_new = layout(capacity);
        // SAFETY: allocated with `layout(old)` (invariant); the new size is not zero.
        let ptr = unsafe { realloc(self.0.as_ptr().cast(), layout(old), layout_new.size()) };
        self.0 = NonNull::new(ptr.cast()).unwrap_or_else(|| handle_alloc_error(layout_new));
        // SAFETY: the head was moved along and is ours.
        unsafe { self.0.as_mut() }.capacity = capacity;
    }

    /// Makes room for `len` bytes and, if that takes an allocation, for as many again, up to `most`.
    pub(crate) fn make_room(&mut self, len: usize, most: usize) {
        if len > self.head().capacity {
            self.reserve((2 * len).min(most).max(len));
        }
    }

    /// Appends `bytes`.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let len = self.len();
        self.reserve(len + bytes.len());
        // SAFETY: `len + bytes.len()` bytes fit (reserved); `bytes` is borrowed from elsewhere, as
        // `self` is borrowed exclusively.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.data().add(len), bytes.len());
            self.0.as_mut().len = len + bytes.len();
        }
    }

    /// Makes the string at least `len` bytes long, with zeros.
    pub(crate) fn grow_to(&mut self, len: usize) {
        let old = self.len();
        if len <= old {
            return;
        }
        self.reserve(len);
        // SAFETY: `len` bytes fit (reserved); those behind the old length are overwritten by zeros
        // before they count as initialised.
        unsafe {
            ptr::write_bytes(self.data().add(old), 0, len - old);
            self.0.as_mut().len = len;
        }
    }

    /// Replaces the content if it fits without wasting more than half; false if not.
    pub(crate) fn replace(&mut self, bytes: &[u8]) -> bool {
        let capacity = self.head().capacity;
        if bytes.len() > capacity || bytes.len() < capacity / 2 {
            return false;
        }
        // SAFETY: `bytes` fits, and is borrowed from elsewhere (`self` is borrowed exclusively).
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.data(), bytes.len());
            self.0.as_mut().len = bytes.len();
        }
        true
    }

    /// Bytes requested from the allocator.
    pub(crate) fn mem_usage(&self) -> usize {
        HEAD + self.head().capacity
    }
}

impl Drop for ThinStr {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout (invariant), not used afterwards.
        unsafe { dealloc(self.0.as_ptr().cast(), layout(self.head().capacity)) };
    }
}

#[cfg(test)]
mod tests {
    use super::ThinStr;

    #[test]
    fn grows_and_keeps_its_bytes() {
        let mut text = ThinStr::from_slice(b"abc");
        let mut model = b"abc".to_vec();
        for i in 0..300usize {
            let piece = vec![i as u8; i % 7];
            text.extend(&piece);
            model.extend_from_slice(&piece);
            if i % 50 == 0 {
                model.resize(model.len() + 3, 0);
                text.grow_to(model.len());
            }
            assert_eq!(text.bytes(), model);
        }
        text.bytes_mut()[0] = b'z';
        assert_eq!(text.bytes()[0], b'z');
        assert!(!text.replace(b"x"));
        let same = vec![7; text.len()];
        assert!(text.replace(&same));
        assert_eq!(text.bytes(), same);
    }
}
