//! The allocator's size classes, so that requests name the size that they get anyway.
//!
//! jemalloc (with a quantum of 8 bytes) serves 8, 16, ... 64 and from there four classes per
//! doubling: 80, 96, 112, 128, 160, ... A buffer that always asks for a whole class needs no
//! capacity field (its class follows from its length) and grows within the class for nothing.
//! Other allocators lose nothing by it.

/// The smallest size class that holds `n` bytes.
#[inline]
pub const fn class_size(n: usize) -> usize {
    if n <= 64 {
        return if n == 0 { 8 } else { (n + 7) & !7 };
    }
    let group = usize::BITS - 1 - (n - 1).leading_zeros();
    let step = 1usize << (group - 2);
    (n + step - 1) & !(step - 1)
}

/// Number of classes that have an index: 8 to 2048 bytes.
pub(crate) const CLASS_COUNT: usize = 28;

/// Sizes of the indexed classes.
pub(crate) const CLASSES: [u16; CLASS_COUNT] = {
    let mut sizes = [0u16; CLASS_COUNT];
    let (mut i, mut n) = (0, 1);
    while i < CLASS_COUNT {
        sizes[i] = class_size(n) as u16;
        n = sizes[i] as usize + 1;
        i += 1;
    }
    sizes
};

/// Index of the smallest class that holds `n` bytes, `n` at most 2048.
#[inline]
pub(crate) const fn class_index(n: usize) -> usize {
    if n <= 64 {
        return if n == 0 { 0 } else { (n - 1) / 8 };
    }
    let group = (usize::BITS - 1 - (n - 1).leading_zeros()) as usize;
    8 + (group - 6) * 4 + ((n - 1 - (1 << group)) >> (group - 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_jemalloc() {
        let known =
            [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448];
        assert_eq!(&CLASSES[..known.len()], &known);
        assert_eq!(CLASSES[CLASS_COUNT - 1], 2048);
        assert_eq!(class_size(8193), 10240);
        for n in 0..=2048 {
            assert_eq!(usize::from(CLASSES[class_index(n)]), class_size(n), "{n}");
            assert!(class_size(n) >= n);
        }
    }
}
