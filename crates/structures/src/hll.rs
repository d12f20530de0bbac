//! HyperLogLogs: the bytes of a string value that estimates how many different elements it has seen.
//!
//! The representation is Redis's, byte for byte, since clients read and copy such values as strings:
//! a header of 16 bytes (magic `HYLL`, encoding, three unused bytes, the cached estimate), then the
//! 16384 registers of 6 bits, either packed one after the other (dense) or as runs (sparse):
//!
//! | opcode | bytes | meaning |
//! |---|---|---|
//! | ZERO | `00xxxxxx` | 1 to 64 registers are 0 |
//! | XZERO | `01xxxxxx yyyyyyyy` | 1 to 16384 registers are 0 |
//! | VAL | `1vvvvvxx` | 1 to 4 registers are `vvvvv` + 1 |
//!
//! Bytes may come from any client (SET, SETRANGE): nothing here relies on their making sense.
//! Source: redis 7.0 `hyperloglog.c` (representation); Ertl, arXiv:1702.01284 (estimate).

use smallvec::SmallVec;

/// Registers of a HyperLogLog.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Length of the dense representation, header included.
pub const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;

const INDEX_BITS: u32 = 14;
/// Bits of a hash that make the value of a register.
const VALUE_BITS: u32 = 64 - INDEX_BITS;
const HEADER: usize = 16;
const MAGIC: &[u8] = b"HYLL";
const ENCODING_AT: usize = 4;
const CARD_AT: usize = 8;
/// The byte whose highest bit says that the cached estimate is out of date.
const STALE_AT: usize = 15;
const STALE: u8 = 0x80;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const ZERO_MAX: usize = 64;
const VAL_MAX: u8 = 32;
const VAL_LEN_MAX: usize = 4;
/// After a change so many opcodes are looked at for neighbours to join.
const JOIN_SPAN: usize = 5;

/// The runs of a sparse representation do not make up 16384 registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidHll;

/// How the registers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HllEncoding {
    /// 6 bits each, one after the other.
    Dense,
    /// As runs.
    Sparse,
}

/// One opcode of the sparse representation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Run {
    /// So many registers are 0, in the short form.
    Zero(usize),
    /// So many registers are 0, in the long form.
    XZero(usize),
    /// Registers of this value, and how many.
    Val(u8, usize),
}

impl Run {
    /// Number of registers.
    pub fn count(self) -> usize {
        match self {
            Run::Zero(len) | Run::XZero(len) | Run::Val(_, len) => len,
        }
    }

    /// The run at byte `at`, which must lie inside, and its length in bytes. A long form that is cut
    /// off reads as if a zero byte followed.
    fn at(hll: &[u8], at: usize) -> (Run, usize) {
        let byte = hll[at];
        if byte & 0x80 != 0 {
            (Run::Val((byte >> 2 & 0x1f) + 1, usize::from(byte & 3) + 1), 1)
        } else if byte & 0x40 != 0 {
            let low = hll.get(at + 1).copied().unwrap_or(0);
            let len = (usize::from(byte & 0x3f) << 8 | usize::from(low)) + 1;
            (Run::XZero(len), 2.min(hll.len() - at))
        } else {
            (Run::Zero(usize::from(byte & 0x3f) + 1), 1)
        }
    }
}

/// Bytes of at most five new opcodes.
type Opcodes = SmallVec<[u8; 8]>;

fn push_zeros(out: &mut Opcodes, len: usize) {
    if len > ZERO_MAX {
        let len = len - 1;
        out.extend([0x40 | (len >> 8) as u8, len as u8]);
    } else if len > 0 {
        out.push((len - 1) as u8);
    }
}

fn push_val(out: &mut Opcodes, value: u8, len: usize) {
    if len > 0 {
        out.push(val_opcode(value, len));
    }
}

fn val_opcode(value: u8, len: usize) -> u8 {
    0x80 | (value - 1) << 2 | (len - 1) as u8
}

/// A HyperLogLog that has seen nothing, sparse; its cached estimate is 0.
pub fn new_sparse() -> Vec<u8> {
    let mut hll = vec![0; HEADER];
    hll[..MAGIC.len()].copy_from_slice(MAGIC);
    hll[ENCODING_AT] = SPARSE;
    let mut all = Opcodes::new();
    push_zeros(&mut all, REGISTERS);
    hll.extend_from_slice(&all);
    hll
}

/// Whether these bytes look like a HyperLogLog, and of which encoding. The runs of a sparse one are
/// not looked at.
pub fn encoding(bytes: &[u8]) -> Option<HllEncoding> {
    if bytes.len() < HEADER || !bytes.starts_with(MAGIC) {
        return None;
    }
    match bytes[ENCODING_AT] {
        DENSE if bytes.len() == DENSE_LEN => Some(HllEncoding::Dense),
        SPARSE => Some(HllEncoding::Sparse),
        _ => None,
    }
}

/// The cached estimate, unless it is out of date.
pub fn cached(hll: &[u8]) -> Option<u64> {
    let card: [u8; 8] = hll.get(CARD_AT..HEADER)?.try_into().ok()?;
    (card[7] & STALE == 0).then(|| u64::from_le_bytes(card))
}

/// Where a cached estimate is written, and its bytes.
pub fn cache_bytes(estimate: u64) -> (usize, [u8; 8]) {
    (CARD_AT, estimate.to_le_bytes())
}

/// Marks the cached estimate as out of date.
pub fn invalidate(hll: &mut [u8]) {
    if let Some(byte) = hll.get_mut(STALE_AT) {
        *byte |= STALE;
    }
}

/// The register that an element belongs to, and the value that it gives it: one more than the number
/// of zero bits at the low end of the rest of its hash.
pub fn place_of(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, 0xadc8_3b19);
    let index = hash as usize & (REGISTERS - 1);
    let rest = hash >> INDEX_BITS | 1 << VALUE_BITS;
    (index, rest.trailing_zeros() as u8 + 1)
}

/// MurmurHash2, the 64-bit variant A, reading little-endian words on every machine.
fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let mut k = word.iter().rev().fold(0u64, |k, &byte| k << 8 | u64::from(byte));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        let k = rest.iter().rev().fold(0u64, |k, &byte| k << 8 | u64::from(byte));
        hash = (hash ^ k).wrapping_mul(M);
    }
    hash ^= hash >> R;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> R
}

// ---- the dense representation ------------------------------------------------------------------

/// The value of a register of a dense HyperLogLog.
pub fn dense_get(hll: &[u8], index: usize) -> u8 {
    let (at, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let byte = |at: usize| u16::from(hll.get(at).copied().unwrap_or(0));
    ((byte(at) | byte(at + 1) << 8) >> shift) as u8 & 63
}

/// Raises a register of a dense HyperLogLog to `value`; false if it is as high already.
pub fn dense_raise(hll: &mut [u8], index: usize, value: u8) -> bool {
    if dense_get(hll, index) >= value {
        return false;
    }
    let (at, shift) = (HEADER + index * 6 / 8, index * 6 % 8);
    let (mask, bits) = (63u16 << shift, u16::from(value) << shift);
    for (at, mask, bits) in
        [(at, mask as u8, bits as u8), (at + 1, (mask >> 8) as u8, (bits >> 8) as u8)]
    {
        if mask != 0
            && let Some(byte) = hll.get_mut(at)
        {
            *byte = *byte & !mask | bits;
        }
    }
    true
}

/// The registers of a dense HyperLogLog in order: three bytes hold four of them.
fn dense_registers(hll: &[u8]) -> impl Iterator<Item = u8> {
    hll.get(HEADER..).unwrap_or_default().chunks_exact(3).flat_map(|three| {
        let bits = u32::from(three[0]) | u32::from(three[1]) << 8 | u32::from(three[2]) << 16;
        [0, 6, 12, 18].map(|shift| (bits >> shift) as u8 & 63)
    })
}

// ---- the sparse representation -----------------------------------------------------------------

/// The runs of a sparse HyperLogLog.
pub fn runs(hll: &[u8]) -> impl Iterator<Item = Run> {
    let mut at = HEADER;
    std::iter::from_fn(move || {
        let (run, size) = (at < hll.len()).then(|| Run::at(hll, at))?;
        at += size;
        Some(run)
    })
}

/// Makes a sparse HyperLogLog dense; a dense one stays. On an error nothing has changed.
pub fn make_dense(hll: &mut Vec<u8>) -> Result<(), InvalidHll> {
    if encoding(hll) == Some(HllEncoding::Dense) {
        return Ok(());
    }
    let mut dense = vec![0; DENSE_LEN];
    dense[..HEADER].copy_from_slice(hll.get(..HEADER).ok_or(InvalidHll)?);
    dense[ENCODING_AT] = DENSE;
    each_sparse_value(hll, |index, value| {
        dense_raise(&mut dense, index, value);
    })?;
    *hll = dense;
    Ok(())
}

/// Calls `f` for each register that is not 0; fails if the runs are not 16384 registers long, after
/// some calls perhaps.
fn each_sparse_value(hll: &[u8], mut f: impl FnMut(usize, u8)) -> Result<(), InvalidHll> {
    let mut index = 0;
    for run in runs(hll) {
        if index + run.count() > REGISTERS {
            return Err(InvalidHll);
        }
        if let Run::Val(value, len) = run {
            (index..index + len).for_each(|index| f(index, value));
        }
        index += run.count();
    }
    if index == REGISTERS { Ok(()) } else { Err(InvalidHll) }
}

/// Raises a register of a sparse HyperLogLog to `value`; false if it is as high already. Where the
/// value does not fit a run, or the runs would need more than `max_len` bytes in all, it becomes
/// dense.
pub fn sparse_raise(
    hll: &mut Vec<u8>,
    index: usize,
    value: u8,
    max_len: usize,
) -> Result<bool, InvalidHll> {
    if value > VAL_MAX {
        return raise_as_dense(hll, index, value);
    }
    let found = find_run(hll, index).ok_or(InvalidHll)?;
    match found.run {
        Run::Val(old, _) if old >= value => return Ok(false),
        Run::Val(_, 1) | Run::Zero(1) => hll[found.at] = val_opcode(value, 1),
        run => {
            let before = index - found.first;
            let after = run.count() - before - 1;
            let mut opcodes = Opcodes::new();
            match run {
                Run::Val(old, _) => {
                    push_val(&mut opcodes, old, before);
                    push_val(&mut opcodes, value, 1);
                    push_val(&mut opcodes, old, after);
                }
                Run::Zero(_) | Run::XZero(_) => {
                    push_zeros(&mut opcodes, before);
                    push_val(&mut opcodes, value, 1);
                    push_zeros(&mut opcodes, after);
                }
            }
            if opcodes.len() > found.size && hll.len() + opcodes.len() - found.size > max_len {
                return raise_as_dense(hll, index, value);
            }
            hll.splice(found.at..found.at + found.size, opcodes);
        }
    }
    join_neighbours(hll, found.prev.unwrap_or(HEADER));
    invalidate(hll);
    Ok(true)
}

fn raise_as_dense(hll: &mut Vec<u8>, index: usize, value: u8) -> Result<bool, InvalidHll> {
    make_dense(hll)?;
    Ok(dense_raise(hll, index, value))
}

/// The run that holds a register.
struct FoundRun {
    run: Run,
    /// Its place and length in bytes.
    at: usize,
    size: usize,
    /// Its first register.
    first: usize,
    /// Place of the run before it.
    prev: Option<usize>,
}

fn find_run(hll: &[u8], index: usize) -> Option<FoundRun> {
    let (mut at, mut first, mut prev) = (HEADER, 0, None);
    while at < hll.len() {
        let (run, size) = Run::at(hll, at);
        if index < first + run.count() {
            return Some(FoundRun { run, at, size, first, prev });
        }
        prev = Some(at);
        at += size;
        first += run.count();
    }
    None
}

/// Joins neighbouring runs of one value, from byte `at` on for a few opcodes: a change can have made
/// no others.
fn join_neighbours(hll: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOIN_SPAN {
        if at >= hll.len() {
            return;
        }
        let (run, size) = Run::at(hll, at);
        if let Run::Val(value, len) = run
            && at + 1 < hll.len()
            && let (Run::Val(next, next_len), _) = Run::at(hll, at + 1)
            && value == next
            && len + next_len <= VAL_LEN_MAX
        {
            // What was joined may be joined again with what follows it.
            hll[at + 1] = val_opcode(value, len + next_len);
            hll.remove(at);
        } else {
            at += size;
        }
    }
}

// ---- both --------------------------------------------------------------------------------------

/// Counts an element in; true if a register has changed. The cached estimate of a dense one is left
/// as it is: see [`invalidate`].
pub fn add(hll: &mut Vec<u8>, element: &[u8], max_sparse: usize) -> Result<bool, InvalidHll> {
    let (index, value) = place_of(element);
    raise(hll, index, value, max_sparse)
}

/// Raises a register, whatever the encoding.
pub fn raise(
    hll: &mut Vec<u8>,
    index: usize,
    value: u8,
    max_sparse: usize,
) -> Result<bool, InvalidHll> {
    match encoding(hll) {
        Some(HllEncoding::Dense) => Ok(dense_raise(hll, index, value)),
        Some(HllEncoding::Sparse) => sparse_raise(hll, index, value, max_sparse),
        None => Err(InvalidHll),
    }
}

/// Registers of several HyperLogLogs together: the highest value of each.
pub struct Union(Box<[u8; REGISTERS]>);

impl Default for Union {
    fn default() -> Union {
        Union::new()
    }
}

impl Union {
    /// Of none.
    pub fn new() -> Union {
        // Goes through a vector so that the registers never stand on the stack.
        let zeros = vec![0u8; REGISTERS].into_boxed_slice();
        Union(zeros.try_into().expect("the length is that of the array"))
    }

    /// Takes one more in.
    pub fn merge(&mut self, hll: &[u8]) -> Result<(), InvalidHll> {
        let own = &mut self.0;
        match encoding(hll) {
            Some(HllEncoding::Dense) => {
                for (own, other) in own.iter_mut().zip(dense_registers(hll)) {
                    *own = (*own).max(other);
                }
                Ok(())
            }
            Some(HllEncoding::Sparse) => {
                each_sparse_value(hll, |index, value| own[index] = own[index].max(value))
            }
            None => Err(InvalidHll),
        }
    }

    /// The registers.
    pub fn registers(&self) -> &[u8] {
        &self.0[..]
    }

    /// Estimate of the union.
    pub fn estimate(&self) -> u64 {
        estimate_of(&histogram(self.0.iter().copied()))
    }
}

/// Estimates how many different elements a HyperLogLog has seen.
pub fn estimate(hll: &[u8]) -> Result<u64, InvalidHll> {
    match encoding(hll) {
        Some(HllEncoding::Dense) => Ok(estimate_of(&histogram(dense_registers(hll)))),
        Some(HllEncoding::Sparse) => {
            let (mut histogram, mut total) = ([0u64; 64], 0);
            for run in runs(hll) {
                let value = if let Run::Val(value, _) = run { value } else { 0 };
                histogram[usize::from(value)] += run.count() as u64;
                total += run.count();
            }
            if total == REGISTERS { Ok(estimate_of(&histogram)) } else { Err(InvalidHll) }
        }
        None => Err(InvalidHll),
    }
}

/// How many registers have each value.
fn histogram(registers: impl Iterator<Item = u8>) -> [u64; 64] {
    let mut counts = [0; 64];
    registers.for_each(|value| counts[usize::from(value & 63)] += 1);
    counts
}

/// The improved raw estimator of Ertl's paper (its algorithm 6).
fn estimate_of(histogram: &[u64; 64]) -> u64 {
    /// 1 / (2 ln 2)
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let m = REGISTERS as f64;
    let highest = histogram[VALUE_BITS as usize + 1] as f64;
    let mut z = m * tau((m - highest) / m);
    for value in (1..=VALUE_BITS as usize).rev() {
        z = 0.5 * (z + histogram[value] as f64);
    }
    z += m * sigma(histogram[0] as f64 / m);
    (ALPHA * m * m / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests;
