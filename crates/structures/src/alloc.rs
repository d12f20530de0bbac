//! The way to an allocator that serves steps of 8 bytes.
//!
//! With a quantum of 8 an entry of 56 bytes takes 56, not 64. The allocator then aligns a request
//! without an alignment of its own to 8 only, while its Rust binding believes in the platform's 16.
//! So every request aligned to 16 is rounded up to a multiple of 16 here: all classes of that form
//! begin at multiples of 16, since regions of one class stand side by side from the start of a page.

use std::alloc::{GlobalAlloc, Layout};

/// Hands requests on to `A`, an allocator whose size classes step by 8 bytes.
pub struct SmallSteps<A>(pub A);

/// What is asked for in place of `layout`.
#[inline]
fn stepped(layout: Layout) -> Layout {
    if layout.align() <= 8 { layout } else { layout.pad_to_align() }
}

// SAFETY: every request goes to `A`, which is an allocator, with a layout that depends on the
// caller's layout alone (so that allocation and release agree), has its alignment and at least its
// size.
unsafe impl<A: GlobalAlloc> GlobalAlloc for SmallSteps<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise (a size above 0) holds for the rounded size too.
        unsafe { self.0.alloc(stepped(layout)) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        unsafe { self.0.alloc_zeroed(stepped(layout)) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` was allocated by `A` with this very layout, see `stepped`.
        unsafe { self.0.dealloc(block, stepped(layout)) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let size = if layout.align() <= 8 { size } else { size.next_multiple_of(layout.align()) };
        // SAFETY: as in `dealloc`; the caller promises that `size` rounded up to the alignment
        // does not overflow, and the new block's layout is what `stepped` gives for it.
        unsafe { self.0.realloc(block, stepped(layout), size) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::alloc::System;

    #[test]
    fn blocks_aligned_to_sixteen_are_asked_for_in_multiples_of_it() {
        for (size, align, wanted) in [(52, 16, 64), (56, 8, 56), (64, 16, 64), (100, 64, 128)] {
            let layout = Layout::from_size_align(size, align).unwrap();
            assert_eq!(stepped(layout), Layout::from_size_align(wanted, align).unwrap());
        }
    }

    #[test]
    fn a_block_keeps_its_bytes_when_it_grows() {
        let allocator = SmallSteps(System);
        for align in [1, 8, 16, 64] {
            let layout = Layout::from_size_align(52, align).unwrap();
            // SAFETY: the sizes are not 0, and each block is released with its own layout.
            unsafe {
                let block = allocator.alloc_zeroed(layout);
                block.write(7);
                let grown = allocator.realloc(block, layout, 1000);
                assert_eq!((grown.read(), grown.addr() % align), (7, 0));
                allocator.dealloc(grown, Layout::from_size_align(1000, align).unwrap());
            }
        }
    }
}
