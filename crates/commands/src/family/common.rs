//! Short names for the flag combinations that most specs use, and how values are written into
//! replies.

use crate::{Flags, KeyFlags};
use resp::Reply;
use structures::{Elem, StrRef};

/// A read.
pub const READ: Flags = Flags::READONLY;
/// A read in constant or logarithmic time.
pub const READ_FAST: Flags = READ.union(Flags::FAST);
/// A write that never needs memory.
pub const WRITE: Flags = Flags::WRITE;
/// The same in constant or logarithmic time.
pub const WRITE_FAST: Flags = WRITE.union(Flags::FAST);
/// A write that may need memory.
pub const GROW: Flags = WRITE.union(Flags::DENYOOM);
/// The same in constant or logarithmic time.
pub const GROW_FAST: Flags = GROW.union(Flags::FAST);

/// Looks at facts about the value.
pub const RO: KeyFlags = KeyFlags::RO;
/// Returns or uses the value.
pub const RO_ACCESS: KeyFlags = KeyFlags::RO.union(KeyFlags::ACCESS);
/// Changes the value.
pub const RW_UPDATE: KeyFlags = KeyFlags::RW.union(KeyFlags::UPDATE);
/// Adds to the value.
pub const RW_INSERT: KeyFlags = KeyFlags::RW.union(KeyFlags::INSERT);
/// Removes from the value.
pub const RW_DELETE: KeyFlags = KeyFlags::RW.union(KeyFlags::DELETE);
/// Returns and changes the value.
pub const RW_ACCESS_UPDATE: KeyFlags = RW_UPDATE.union(KeyFlags::ACCESS);
/// Returns and removes from the value.
pub const RW_ACCESS_DELETE: KeyFlags = RW_DELETE.union(KeyFlags::ACCESS);
/// Overwrites the value.
pub const OW_UPDATE: KeyFlags = KeyFlags::OW.union(KeyFlags::UPDATE);
/// Makes the key.
pub const OW_INSERT: KeyFlags = KeyFlags::OW.union(KeyFlags::INSERT);
/// Removes the key.
pub const RM_DELETE: KeyFlags = KeyFlags::RM.union(KeyFlags::DELETE);

/// Writes an element as a bulk string.
#[inline]
pub fn bulk_elem(reply: &mut Reply, elem: Elem<'_>) {
    match elem {
        Elem::Bytes(bytes) => reply.bulk(bytes),
        Elem::Int(value) => reply.bulk_i64(value),
    }
}

/// Writes an element as a bulk string, or a null.
pub fn bulk_elem_or_null(reply: &mut Reply, elem: Option<Elem<'_>>) {
    match elem {
        Some(elem) => bulk_elem(reply, elem),
        None => reply.null(),
    }
}

/// Writes a string value as a bulk string.
#[inline]
pub fn bulk_str(reply: &mut Reply, text: StrRef<'_>) {
    match text {
        StrRef::Bytes(bytes) => reply.bulk(bytes),
        StrRef::Int(value) => reply.bulk_i64(value),
        StrRef::Paged(pages) => bulk_str_range(reply, text, 0, pages.len()),
    }
}

/// Writes the bytes `start..end` of a string value, which must lie in it, as a bulk string. A
/// string in pages is copied piece by piece into the reply, never as a whole beside it.
pub fn bulk_str_range(reply: &mut Reply, text: StrRef<'_>, start: usize, end: usize) {
    let buffer = reply.buffer_mut();
    buffer.reserve(end - start + 16);
    buffer.push(b'$');
    stdx::push_i64(buffer, (end - start) as i64);
    buffer.extend_from_slice(b"\r\n");
    text.read_range(start, end, buffer);
    buffer.extend_from_slice(b"\r\n");
}

/// Writes the reply of a command of the SCAN family: the next cursor, and `len` elements that were
/// written to `items` meanwhile.
pub fn scan_reply(reply: &mut Reply, next: u64, len: usize, items: &Reply) {
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(len);
    reply.buffer_mut().extend_from_slice(items.bytes());
}
