//! Requests as bytes: what a client sends, what goes on the replication stream and into the AOF.

/// Appends one command in the multibulk form.
pub fn encode_command<T: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[T]) {
    push_array_len(out, args.len());
    for arg in args {
        push_bulk(out, arg.as_ref());
    }
}

/// Appends `*<len>\r\n`.
#[inline]
pub fn push_array_len(out: &mut Vec<u8>, len: usize) {
    push_head(out, b'*', len);
}

/// Appends `$<len>\r\n<bytes>\r\n`.
#[inline]
pub fn push_bulk(out: &mut Vec<u8>, bytes: &[u8]) {
    push_head(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

#[inline]
pub(crate) fn push_head(out: &mut Vec<u8>, mark: u8, n: usize) {
    if n < 10 {
        // Nearly every length on a hot path has one digit.
        return out.extend_from_slice(&[mark, b'0' + n as u8, b'\r', b'\n']);
    }
    out.push(mark);
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
    out.extend_from_slice(b"\r\n");
}
