//! Sorting a part: the algorithm of Redis's `pqsort`, whose order of equal elements clients see.
//!
//! It is the quicksort of Bentley and McIlroy ("Engineering a Sort Function", 1993), which leaves
//! out partitions that can't hold any of the wanted positions. Not stable; but given the same
//! elements in the same order it makes the same swaps as a real server, so that elements that
//! compare as equal come out in the same places.

use std::cmp::Ordering;

/// Below this an insertion sort is used.
const SMALL: usize = 7;
/// Above this the pivot is chosen of nine elements instead of three.
const BIG: usize = 40;

/// Puts the elements at positions `first..=last` where a full sort would put elements equal to them;
/// the rest is in no order. `compare` must be a total order.
pub fn sort_part<T>(
    items: &mut [T],
    first: usize,
    last: usize,
    compare: &dyn Fn(&T, &T) -> Ordering,
) {
    // Partitions still to be sorted. A stack of our own: its depth depends on the client's data.
    let mut left = vec![(0, items.len())];
    while let Some((start, len)) = left.pop() {
        let part = &mut items[start..start + len];
        if len < SMALL {
            insertion_sort(part, compare);
            continue;
        }
        let (below, above) = partition(part, compare);
        let above_start = start + len - above;
        for (start, len) in [(above_start, above), (start, below)] {
            let wanted = start <= last && first < start + len;
            if len > 1 && wanted {
                left.push((start, len));
            }
        }
    }
}

fn insertion_sort<T>(items: &mut [T], compare: &dyn Fn(&T, &T) -> Ordering) {
    for end in 1..items.len() {
        let mut at = end;
        while at > 0 && compare(&items[at - 1], &items[at]) == Ordering::Greater {
            items.swap(at - 1, at);
            at -= 1;
        }
    }
}

fn median<T>(items: &[T], [a, b, c]: [usize; 3], compare: &dyn Fn(&T, &T) -> Ordering) -> usize {
    let less = |x: usize, y: usize| compare(&items[x], &items[y]) == Ordering::Less;
    if less(a, b) {
        if less(b, c) {
            b
        } else if less(a, c) {
            c
        } else {
            a
        }
    } else if compare(&items[b], &items[c]) == Ordering::Greater {
        b
    } else if less(a, c) {
        a
    } else {
        c
    }
}

fn pivot<T>(items: &[T], compare: &dyn Fn(&T, &T) -> Ordering) -> usize {
    let len = items.len();
    let (mut low, mut middle, mut high) = (0, len / 2, len - 1);
    if len == SMALL {
        return middle;
    }
    if len > BIG {
        let step = len / 8;
        low = median(items, [low, low + step, low + 2 * step], compare);
        middle = median(items, [middle - step, middle, middle + step], compare);
        high = median(items, [high - 2 * step, high - step, high], compare);
    }
    median(items, [low, middle, high], compare)
}

/// Puts elements below the pivot to the start and those above it to the end; returns how many there
/// are of each.
fn partition<T>(items: &mut [T], compare: &dyn Fn(&T, &T) -> Ordering) -> (usize, usize) {
    let len = items.len();
    let chosen = pivot(items, compare);
    items.swap(0, chosen);
    // Elements equal to the pivot are gathered at both ends: before `equal_low`, behind `equal_high`.
    let (mut equal_low, mut low) = (1, 1);
    // One beyond the element looked at, so that they never fall below zero.
    let (mut high, mut equal_high) = (len, len);
    loop {
        while low < high {
            match compare(&items[low], &items[0]) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    items.swap(equal_low, low);
                    equal_low += 1;
                }
                Ordering::Less => {}
            }
            low += 1;
        }
        while low < high {
            match compare(&items[high - 1], &items[0]) {
                Ordering::Less => break,
                Ordering::Equal => {
                    items.swap(high - 1, equal_high - 1);
                    equal_high -= 1;
                }
                Ordering::Greater => {}
            }
            high -= 1;
        }
        if low >= high {
            break;
        }
        items.swap(low, high - 1);
        low += 1;
        high -= 1;
    }
    let (below, above) = (low - equal_low, equal_high - high);
    let moved = equal_low.min(below);
    swap_runs(items, 0, low - moved, moved);
    let moved = above.min(len - equal_high);
    swap_runs(items, low, len - moved, moved);
    (below, above)
}

fn swap_runs<T>(items: &mut [T], a: usize, b: usize, len: usize) {
    (0..len).for_each(|at| items.swap(a + at, b + at));
}

#[cfg(test)]
mod tests {
    use super::*;
    use stdx::Prng;

    #[test]
    fn the_wanted_part_is_as_in_a_full_sort() {
        let mut prng = Prng::new(4);
        for round in 0..3000 {
            let len = prng.between(1, if round % 10 == 0 { 400 } else { 60 }) as usize;
            let values = prng.between(1, 100);
            let mut items: Vec<u64> = (0..len).map(|_| prng.below(values)).collect();
            let mut sorted = items.clone();
            sorted.sort_unstable();
            let mut ends = [prng.below(len as u64) as usize, prng.below(len as u64) as usize];
            ends.sort_unstable();
            sort_part(&mut items, ends[0], ends[1], &|a, b| a.cmp(b));
            assert_eq!(items[ends[0]..=ends[1]], sorted[ends[0]..=ends[1]]);
            items.sort_unstable();
            assert_eq!(items, sorted);
        }
    }
}
