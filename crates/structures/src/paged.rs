//! Long strings, in pages of 64 KiB.
//!
//! Appending to, or writing into, a string of any length costs what is written, never a copy of
//! the whole; and a snapshot can copy such a value out page by page. A page that holds only zeros
//! and was never written takes no memory.

/// Bytes per page.
pub const PAGE_SIZE: usize = 64 * 1024;

type Page = Box<[u8; PAGE_SIZE]>;

/// A byte string in pages.
///
/// Invariants: there are `len / PAGE_SIZE`, rounded up, pages; what a page holds beyond the
/// string's end is zero; `None` stands for a page of zeros.
#[derive(Clone, Default)]
pub struct PagedStr {
    pages: Vec<Option<Page>>,
    len: usize,
}

/// What an absent page reads as.
static ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

fn zero_page() -> Page {
    // Goes through a vector so that the page never stands on the stack.
    vec![0u8; PAGE_SIZE].into_boxed_slice().try_into().expect("the length is that of a page")
}

impl PagedStr {
    /// An empty string.
    pub fn new() -> PagedStr {
        PagedStr::default()
    }

    /// A copy of `bytes`.
    pub fn from_bytes(bytes: &[u8]) -> PagedStr {
        let mut new = PagedStr::new();
        new.append(bytes);
        new
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the string is empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends `bytes`.
    pub fn append(&mut self, bytes: &[u8]) {
        self.write_at(self.len, bytes);
    }

    /// Makes the string at least `len` bytes long, with zeros.
    pub fn grow_to(&mut self, len: usize) {
        if len > self.len {
            self.pages.resize_with(len.div_ceil(PAGE_SIZE), || None);
            self.len = len;
        }
    }

    /// Cuts the string to `len` bytes; a longer `len` changes nothing.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.pages.truncate(len.div_ceil(PAGE_SIZE));
        let inside = len % PAGE_SIZE;
        if inside > 0
            && let Some(Some(page)) = self.pages.last_mut()
        {
            page[inside..].fill(0);
        }
        self.len = len;
    }

    /// Writes `bytes` at `offset`; a gap before it, or beyond the end, becomes zeros.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.grow_to(offset + bytes.len());
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let inside = at % PAGE_SIZE;
            let (piece, after) = rest.split_at(rest.len().min(PAGE_SIZE - inside));
            let page = self.pages[at / PAGE_SIZE].get_or_insert_with(zero_page);
            page[inside..inside + piece.len()].copy_from_slice(piece);
            at += piece.len();
            rest = after;
        }
    }

    /// Calls `f` on the bytes `start..end` (cut to the string), piece by piece in order.
    pub fn read(&self, start: usize, end: usize, f: &mut dyn FnMut(&[u8])) {
        let end = end.min(self.len);
        let mut at = start;
        while at < end {
            let inside = at % PAGE_SIZE;
            let n = (end - at).min(PAGE_SIZE - inside);
            let page = self.pages[at / PAGE_SIZE].as_deref().unwrap_or(&ZEROS);
            f(&page[inside..inside + n]);
            at += n;
        }
    }

    /// The byte at `offset`; `None` beyond the end.
    pub fn byte_at(&self, offset: usize) -> Option<u8> {
        if offset >= self.len {
            return None;
        }
        Some(self.pages[offset / PAGE_SIZE].as_deref().map_or(0, |page| page[offset % PAGE_SIZE]))
    }

    /// The whole string in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len);
        self.read(0, self.len, &mut |piece| out.extend_from_slice(piece));
        out
    }

    /// The string's pages, the last one cut to the end.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        self.pages.iter().enumerate().map(|(i, page)| {
            let page: &[u8; PAGE_SIZE] = page.as_deref().unwrap_or(&ZEROS);
            &page[..(self.len - i * PAGE_SIZE).min(PAGE_SIZE)]
        })
    }

    /// Bytes requested from the allocator.
    pub fn mem_usage(&self) -> usize {
        let held = self.pages.iter().flatten().count();
        size_of::<PagedStr>() + self.pages.capacity() * size_of::<Option<Page>>() + held * PAGE_SIZE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::Prng;

    #[test]
    fn behaves_as_a_vector() {
        let mut prng = Prng::new(1);
        let (mut paged, mut model) = (PagedStr::new(), Vec::new());
        for round in 0..10_000 {
            let n = prng.below(200) as usize;
            let piece: Vec<u8> = (0..n).map(|_| prng.next_u64() as u8).collect();
            match prng.below(10) {
                0..=4 => {
                    paged.append(&piece);
                    model.extend_from_slice(&piece);
                }
                5..=7 => {
                    let at = prng.below(model.len() as u64 + 100) as usize;
                    paged.write_at(at, &piece);
                    if !piece.is_empty() {
                        model.resize(model.len().max(at + n), 0);
                        model[at..at + n].copy_from_slice(&piece);
                    }
                }
                8 if prng.chance(50) => {
                    let len = model.len() - prng.below(model.len().min(500) as u64 + 1) as usize;
                    paged.truncate(len);
                    model.truncate(len);
                }
                _ => {
                    let start = prng.below(model.len() as u64 + 10) as usize;
                    let end = start + prng.below(3 * PAGE_SIZE as u64) as usize;
                    let mut got = Vec::new();
                    paged.read(start, end, &mut |piece| got.extend_from_slice(piece));
                    let start = start.min(model.len());
                    assert_eq!(got, model[start..end.min(model.len())]);
                    assert_eq!(paged.byte_at(start), model.get(start).copied());
                }
            }
            assert_eq!(paged.len(), model.len());
            if round % 500 == 0 {
                assert_eq!(paged.to_vec(), model);
                assert_eq!(paged.pieces().map(<[u8]>::len).sum::<usize>(), model.len());
            }
        }
        assert!(model.len() > 3 * PAGE_SIZE);
    }

    #[test]
    fn unwritten_pages_take_no_memory() {
        let mut paged = PagedStr::new();
        paged.write_at(100 * PAGE_SIZE, b"x");
        assert!(paged.mem_usage() < 2 * PAGE_SIZE);
        assert_eq!(paged.byte_at(5), Some(0));
        assert_eq!(paged.len(), 100 * PAGE_SIZE + 1);
    }
}
