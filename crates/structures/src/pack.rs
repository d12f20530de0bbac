//! A byte buffer whose own header tells its length: the storage under [`Listpack`] and [`Intset`].
//!
//! The handle is one pointer. There is no length or capacity beside the bytes: the format's header
//! gives the length, and the allocation is always the size class of that length, so a small
//! container costs its bytes and nothing more. Growing within a class does not allocate.
//!
//! [`Listpack`]: crate::Listpack
//! [`Intset`]: crate::Intset

use crate::size::class_size;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

/// A self-describing byte format.
pub(crate) trait PackFormat {
    /// Bytes at the start that [`PackFormat::total`] needs; no buffer is shorter.
    const HEAD: usize;
    /// The longest buffer whose length the header can express.
    const MAX: usize;
    /// Length of the whole buffer, told from its first `HEAD` bytes.
    fn total(head: &[u8]) -> usize;
    /// Makes the header say that the whole buffer is `total` bytes long.
    fn set_total(head: &mut [u8], total: usize);
}

/// An owned buffer of format `F`.
///
/// Invariant: `ptr` is an allocation of `class_size(len)` bytes, aligned to 8, of which the first
/// `len` are initialised, where `len = F::total(first F::HEAD bytes) >= F::HEAD`.
pub(crate) struct PackBuf<F: PackFormat> {
    ptr: NonNull<u8>,
    format: PhantomData<F>,
}

// SAFETY: the buffer is plain bytes owned by this handle alone, without interior mutability.
unsafe impl<F: PackFormat> Send for PackBuf<F> {}
// SAFETY: as above; a shared handle gives read access only.
unsafe impl<F: PackFormat> Sync for PackBuf<F> {}

fn layout(len: usize) -> Layout {
    Layout::from_size_align(class_size(len), 8).expect("a buffer in memory is below isize::MAX")
}

impl<F: PackFormat> PackBuf<F> {
    /// A copy of `bytes`, whose header must tell exactly their number.
    pub(crate) fn from_slice(bytes: &[u8]) -> PackBuf<F> {
        assert!(bytes.len() >= F::HEAD && F::total(&bytes[..F::HEAD]) == bytes.len());
        let layout = layout(bytes.len());
        // SAFETY: the layout's size is a size class, at least 8, so not zero.
        let Some(ptr) = NonNull::new(unsafe { alloc(layout) }) else { handle_alloc_error(layout) };
        // SAFETY: the new allocation holds at least `bytes.len()` bytes and overlaps nothing.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), ptr.as_ptr(), bytes.len()) };
        PackBuf { ptr, format: PhantomData }
    }

    /// Length of the whole buffer in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // SAFETY: at least `HEAD` bytes are initialised (invariant).
        F::total(unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), F::HEAD) })
    }

    /// All bytes.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the first `len()` bytes are initialised and owned by `self` (invariant).
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len()) }
    }

    /// Overwrites header bytes at `at`. The header must tell the same length afterwards.
    pub(crate) fn set_head(&mut self, at: usize, bytes: &[u8]) {
        let len = self.len();
        let end = at + bytes.len();
        assert!(end <= F::HEAD);
        let mut head = [0u8; 8];
        head[..F::HEAD].copy_from_slice(&self.bytes()[..F::HEAD]);
        head[at..end].copy_from_slice(bytes);
        assert!(F::total(&head[..F::HEAD]) == len, "a header write may not change the length");
        // SAFETY: `at + bytes.len() <= HEAD <= len` (checked above); the source is a separate slice.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), self.ptr.as_ptr().add(at), bytes.len());
        }
    }

    /// Bytes requested from the allocator.
    pub(crate) fn mem_usage(&self) -> usize {
        class_size(self.len())
    }

    /// Replaces the `remove` bytes at `at` by the concatenation of `parts`, moves the rest and
    /// updates the header's length.
    pub(crate) fn splice(&mut self, at: usize, remove: usize, parts: &[&[u8]]) {
        let old = self.len();
        assert!(at >= F::HEAD && remove <= old && at <= old - remove);
        let add: usize = parts.iter().map(|part| part.len()).sum();
        let new = old - remove + add;
        assert!(new <= F::MAX, "the format can express the new length");
        let tail = old - remove - at;
        if new > old {
            self.resize(old, new);
        }
        let base = self.ptr.as_ptr();
        // SAFETY: the allocation holds `max(old, new)` bytes now (grown above, shrunk only below).
        // Source `at + remove .. old` and target `at + add .. new` lie within; `copy` may overlap.
        unsafe { ptr::copy(base.add(at + remove), base.add(at + add), tail) };
        let mut to = at;
        for part in parts {
            // SAFETY: the parts fill `at .. at + add`, within the allocation; they are borrowed
            // from elsewhere, as `self` is borrowed exclusively.
            unsafe { ptr::copy_nonoverlapping(part.as_ptr(), base.add(to), part.len()) };
            to += part.len();
        }
        // SAFETY: `HEAD` bytes are initialised and ours.
        F::set_total(unsafe { std::slice::from_raw_parts_mut(base, F::HEAD) }, new);
        debug_assert!(self.len() == new);
        if new < old {
            self.resize(old, new);
        }
    }

    /// Reallocates from the class of `old` to that of `new` bytes, if they differ.
    fn resize(&mut self, old: usize, new: usize) {
        let (from, to) = (layout(old), layout(new));
        if from.size() == to.size() {
            return;
        }
        // SAFETY: `ptr` was allocated with `from` (invariant); the new size is a class, not zero.
        let grown = unsafe { realloc(self.ptr.as_ptr(), from, to.size()) };
        self.ptr = NonNull::new(grown).unwrap_or_else(|| handle_alloc_error(to));
    }
}

impl<F: PackFormat> Drop for PackBuf<F> {
    fn drop(&mut self) {
        // SAFETY: allocated with the layout of its length (invariant) and not used afterwards.
        unsafe { dealloc(self.ptr.as_ptr(), layout(self.len())) };
    }
}

impl<F: PackFormat> Clone for PackBuf<F> {
    fn clone(&self) -> PackBuf<F> {
        PackBuf::from_slice(self.bytes())
    }
}
