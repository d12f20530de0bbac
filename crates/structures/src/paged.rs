//! Long strings, in pages of 64 KiB.
//!
//! Appending to, or writing into, a string of any length costs what is written, never a copy of
//! the whole. A page that holds only zeros and was never written takes no memory.
//!
//! Copies share their pages, which stand in groups of 64: a copy of 512 MB is 128 pointers, and
//! whoever writes into a shared string copies one group and one page. So a snapshot takes such a value
//! at once, and the work that it charges to writers does not depend on its length. Rejected: copying
//! out the pages that change, as the tables do; it has to know how far the snapshot is.

use std::sync::Arc;

/// Bytes per page.
pub const PAGE_SIZE: usize = 64 * 1024;
/// Pages in a group.
const GROUP: usize = 64;

type Page = Arc<[u8; PAGE_SIZE]>;

/// Pages that follow each other; absent ones are zeros.
#[derive(Clone)]
struct Group([Option<Page>; GROUP]);

/// A byte string in pages. A copy is cheap: it shares the pages.
///
/// Invariants: there are as many groups as pages for `len` bytes need, rounded up; what lies beyond
/// the string's end is zero; `None` stands for zeros.
#[derive(Clone, Default)]
pub struct PagedStr {
    groups: Vec<Option<Arc<Group>>>,
    len: usize,
}

/// What an absent page reads as.
static ZEROS: [u8; PAGE_SIZE] = [0; PAGE_SIZE];

/// A page with a copy of `bytes`. Goes through a vector, so that the page never stands on the stack.
fn page_of(bytes: &[u8; PAGE_SIZE]) -> Page {
    let page: Arc<[u8]> = Arc::from(bytes.as_slice());
    page.try_into().expect("the length is that of a page")
}

/// The page, to be changed; a shared one is copied.
fn unshared(page: &mut Option<Page>) -> &mut [u8; PAGE_SIZE] {
    let alone = page.as_mut().is_some_and(|page| Arc::get_mut(page).is_some());
    if !alone {
        *page = Some(page_of(page.as_deref().unwrap_or(&ZEROS)));
    }
    page.as_mut().and_then(Arc::get_mut).expect("nobody else has the page")
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

    fn groups_for(len: usize) -> usize {
        len.div_ceil(PAGE_SIZE * GROUP)
    }

    /// What page `n` reads as.
    fn page(&self, n: usize) -> &[u8; PAGE_SIZE] {
        let group = self.groups[n / GROUP].as_ref();
        group.and_then(|group| group.0[n % GROUP].as_deref()).unwrap_or(&ZEROS)
    }

    /// The group of page `n`, to be changed; a shared one is copied.
    fn group_mut(&mut self, n: usize) -> &mut Group {
        let group = &mut self.groups[n / GROUP];
        let group = group.get_or_insert_with(|| Arc::new(Group([const { None }; GROUP])));
        Arc::make_mut(group)
    }

    /// Makes the string at least `len` bytes long, with zeros.
    pub fn grow_to(&mut self, len: usize) {
        if len > self.len {
            self.groups.resize(PagedStr::groups_for(len), None);
            self.len = len;
        }
    }

    /// Cuts the string to `len` bytes; a longer `len` changes nothing.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        self.groups.truncate(PagedStr::groups_for(len));
        self.len = len;
        let pages = len.div_ceil(PAGE_SIZE);
        if !pages.is_multiple_of(GROUP) && self.groups.last().is_some_and(Option::is_some) {
            self.group_mut(pages).0[pages % GROUP..].fill(None);
        }
        let inside = len % PAGE_SIZE;
        if inside > 0 && self.groups[(pages - 1) / GROUP].is_some() {
            let page = &mut self.group_mut(pages - 1).0[(pages - 1) % GROUP];
            if page.is_some() {
                unshared(page)[inside..].fill(0);
            }
        }
    }

    /// Writes `bytes` at `offset`; a gap before it, or beyond the end, becomes zeros.
    pub fn write_at(&mut self, offset: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.grow_to(offset + bytes.len());
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (n, inside) = (at / PAGE_SIZE, at % PAGE_SIZE);
            let (piece, after) = rest.split_at(rest.len().min(PAGE_SIZE - inside));
            let page = unshared(&mut self.group_mut(n).0[n % GROUP]);
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
            f(&self.page(at / PAGE_SIZE)[inside..inside + n]);
            at += n;
        }
    }

    /// The byte at `offset`; `None` beyond the end.
    pub fn byte_at(&self, offset: usize) -> Option<u8> {
        (offset < self.len).then(|| self.page(offset / PAGE_SIZE)[offset % PAGE_SIZE])
    }

    /// The whole string in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.len);
        self.read(0, self.len, &mut |piece| out.extend_from_slice(piece));
        out
    }

    /// The string's pages, the last one cut to the end.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len.div_ceil(PAGE_SIZE))
            .map(|n| &self.page(n)[..(self.len - n * PAGE_SIZE).min(PAGE_SIZE)])
    }

    /// Bytes requested from the allocator; shared pages count in full.
    pub fn mem_usage(&self) -> usize {
        let groups = self.groups.iter().flatten();
        let held: usize = groups
            .map(|group| size_of::<Group>() + group.0.iter().flatten().count() * PAGE_SIZE)
            .sum();
        size_of::<PagedStr>() + self.groups.capacity() * size_of::<usize>() + held
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
    fn copies_do_not_see_each_others_changes() {
        let mut prng = Prng::new(5);
        let mut paged = PagedStr::new();
        let mut model = Vec::new();
        let mut copies: Vec<(PagedStr, Vec<u8>)> = Vec::new();
        for round in 0..200 {
            let at = prng.below(70 * PAGE_SIZE as u64) as usize;
            let piece = vec![round as u8 + 1; prng.below(2000) as usize];
            match prng.below(8) {
                0 => {
                    paged.truncate(at);
                    model.truncate(at);
                }
                1 => copies.push((paged.clone(), model.clone())),
                2 if !copies.is_empty() => {
                    let (copy, expected) =
                        copies.swap_remove(prng.below(copies.len() as u64) as usize);
                    assert!(copy.to_vec() == expected);
                }
                3 => {
                    paged.grow_to(at);
                    model.resize(model.len().max(at), 0);
                }
                _ if !piece.is_empty() => {
                    paged.write_at(at, &piece);
                    model.resize(model.len().max(at + piece.len()), 0);
                    model[at..at + piece.len()].copy_from_slice(&piece);
                }
                _ => {}
            }
        }
        assert!(paged.to_vec() == model);
        assert!(copies.iter().all(|(copy, expected)| copy.to_vec() == *expected));
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
