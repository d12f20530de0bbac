//! The memory of a table's buckets: segments that are never moved, and the hint for prefetching.

use super::bucket::BUCKET;
use super::*;

/// Segments per doubling of the table, as a power of two.
const PARTS_LOG2: u32 = 2;
const PARTS: usize = 1 << PARTS_LOG2;
/// Biggest segment, as a power of two of buckets: 4 MiB. Bigger ones would make the allocator give
/// memory back at once when they are freed, which takes milliseconds.
const SHIFT_MAX: u32 = 16;
/// Segments that a hint knows: enough for a table of 70 M keys.
const HINTED: usize = 256;

/// Segment of bucket `index`. With `j = index + PARTS`, a segment holds the `j` that agree in their
/// highest bit and the two bits below it: sizes 1, 1, 1, 1, 2, 2, 2, 2, 4, ... buckets, until the
/// biggest size is reached.
#[inline]
fn segment_of(index: usize) -> usize {
    let j = index + PARTS;
    let shift = (j.ilog2() - PARTS_LOG2).min(SHIFT_MAX);
    // Below the biggest size `j >> shift` is PARTS plus the part's number.
    (shift as usize) * PARTS + (j >> shift) - PARTS
}

/// First bucket of a segment and their number.
fn segment_span(segment: usize) -> (usize, usize) {
    let shift = (segment / PARTS).min(SHIFT_MAX as usize);
    let first = ((segment - shift * PARTS + PARTS) << shift) - PARTS;
    (first, 1 << shift)
}

fn segment_layout(segment: usize) -> Layout {
    let (_, buckets) = segment_span(segment);
    Layout::from_size_align(buckets * BUCKET, BUCKET).expect("a segment is below isize::MAX")
}

/// The segments of one table.
///
/// Invariant: `bases[s]` is the allocation of segment `s`, moved back by the address of its first
/// bucket, so that adding any of its buckets' index times [`BUCKET`] gives that bucket.
pub(super) struct Segments {
    bases: Vec<*mut u8>,
    hint: Option<Arc<PrefetchHint>>,
}

impl Segments {
    pub(super) fn new() -> Segments {
        Segments { bases: Vec::new(), hint: None }
    }

    /// Address of bucket `index`, whose segment must exist for the result to be used.
    #[inline]
    pub(super) fn address(&self, index: usize) -> *mut u64 {
        let segment = segment_of(index);
        debug_assert!(segment < self.bases.len());
        // SAFETY: the table only asks for buckets below its count, or for the one that it just
        // called `cover` for, whose segments exist.
        let base = unsafe { *self.bases.get_unchecked(segment) };
        base.wrapping_add(index * BUCKET).cast()
    }

    /// Makes sure that the segment of bucket `index` exists; all before it do.
    pub(super) fn cover(&mut self, index: usize) {
        let segment = segment_of(index);
        if segment < self.bases.len() {
            return;
        }
        assert!(segment == self.bases.len(), "a table grows bucket by bucket");
        let layout = segment_layout(segment);
        // SAFETY: a segment has at least one bucket, so the layout is not empty.
        let memory = unsafe { alloc(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        let (first, _) = segment_span(segment);
        self.bases.push(memory.wrapping_sub(first * BUCKET));
        if let Some(slot) = self.hint.as_ref().and_then(|hint| hint.bases.get(segment)) {
            slot.store(self.bases[segment], Ordering::Relaxed);
        }
    }

    /// Frees segments that a table of `buckets` buckets does not need; one is kept in reserve, as
    /// long as it is not far away, so that a table at the border does not allocate again and again.
    pub(super) fn trim(&mut self, buckets: usize) {
        while let Some(&base) = self.bases.last() {
            let segment = self.bases.len() - 1;
            let (first, size) = segment_span(segment);
            if first < buckets || (buckets > 0 && first - buckets < size / 2) {
                break;
            }
            self.bases.pop();
            // SAFETY: undoes the shift of `cover`, so this is the segment's allocation; the table
            // has no bucket in it any more.
            unsafe {
                dealloc(base.wrapping_add(first * BUCKET), segment_layout(segment));
            }
        }
        if buckets == 0 {
            self.bases = Vec::new();
        }
    }

    /// Tells the hint the table's present size.
    #[inline]
    pub(super) fn publish(&self, buckets: usize, mask: u64) {
        if let Some(hint) = &self.hint {
            debug_assert!(buckets == 0 || mask >= buckets as u64 - 1);
            hint.buckets.store(buckets as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn hint(&mut self, buckets: usize, mask: u64) -> Arc<PrefetchHint> {
        if let Some(hint) = &self.hint {
            return hint.clone();
        }
        let hint = Arc::new(PrefetchHint::new());
        for (slot, base) in hint.bases.iter().zip(&self.bases) {
            slot.store(*base, Ordering::Relaxed);
        }
        self.hint = Some(hint.clone());
        self.publish(buckets, mask);
        hint
    }

    /// Takes over the hint of a table that is being replaced by this, empty one.
    pub(super) fn adopt_hint(&mut self, old: &mut Segments) {
        self.hint = old.hint.take();
        self.publish(0, 0);
    }

    /// Bytes of the directory.
    pub(super) fn mem_usage(&self) -> usize {
        self.bases.capacity() * size_of::<*mut u8>()
    }

    /// Bytes of all segments.
    pub(super) fn allocated(&self) -> usize {
        (0..self.bases.len()).map(|segment| segment_layout(segment).size()).sum()
    }
}

impl Drop for Segments {
    fn drop(&mut self) {
        self.trim(0);
    }
}

/// What a thread needs to start loading a table's bucket line before it holds the table's lock.
///
/// Shared and kept up to date by the table. Whatever it reads may be out of date; a prefetch of a
/// wrong or freed address does no harm. The far end of a table of more than 70 M keys is not
/// known to its hint.
pub struct PrefetchHint {
    bases: [AtomicPtr<u8>; HINTED],
    buckets: AtomicU64,
}

impl PrefetchHint {
    fn new() -> PrefetchHint {
        PrefetchHint {
            bases: [const { AtomicPtr::new(ptr::null_mut()) }; HINTED],
            buckets: AtomicU64::new(0),
        }
    }

    /// Starts loading the bucket line of `hash`. Computes an address; dereferences nothing.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        let buckets = self.buckets.load(Ordering::Relaxed) as usize;
        if buckets == 0 {
            return;
        }
        let mask = if buckets == 1 { 0 } else { u64::MAX >> (buckets as u64 - 1).leading_zeros() };
        let index = bucket_index(hash, buckets, mask);
        if let Some(base) = self.bases.get(segment_of(index)) {
            prefetch(base.load(Ordering::Relaxed).wrapping_add(index * BUCKET));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_cover_all_buckets_in_order() {
        let mut next = 0;
        for segment in 0..2 * HINTED {
            let (first, size) = segment_span(segment);
            assert_eq!(first, next);
            assert_eq!(segment_of(first), segment);
            assert_eq!(segment_of(first + size - 1), segment);
            next += size;
        }
        assert!(segment_of(70_000_000 / GROW_AT) < HINTED);
        assert_eq!(segment_layout(HINTED).size(), 4 << 20);
    }
}
