//! Against a vector.

use super::*;
use stdx::Prng;

/// Counts, firsts and depth of the whole tree; returns its height.
fn check_node(node: &Node<u32>, is_root: bool) -> usize {
    match node {
        Node::Leaf(leaf) => {
            assert!(leaf.len > 0 && leaf.len <= LEAF);
            0
        }
        Node::Inner(inner) => {
            assert!(inner.children.len() <= FAN && inner.children.len() > usize::from(is_root));
            assert_eq!(inner.children.len(), inner.counts.len());
            assert_eq!(inner.children.len(), inner.scores.len());
            assert_eq!(inner.children.len(), inner.items.len());
            assert!(!inner.scores.spilled() && !inner.children.spilled());
            let mut heights = Vec::new();
            for (i, child) in inner.children.iter().enumerate() {
                assert_eq!(inner.counts[i], child.count());
                assert_eq!((inner.scores[i], inner.items[i]), child.first());
                heights.push(check_node(child, false));
            }
            assert!(heights.windows(2).all(|pair| pair[0] == pair[1]));
            heights[0] + 1
        }
    }
}

fn check(tree: &Tree<u32>, model: &[(f64, u32)]) {
    assert_eq!(tree.len(), model.len());
    if let Some(root) = &tree.root {
        check_node(root, true);
    }
    assert!(tree.range(0, usize::MAX).eq(model.iter().copied()));
    assert!(tree.range(0, usize::MAX).rev().eq(model.iter().rev().copied()));
}

#[test]
fn behaves_as_a_vector() {
    let mut prng = Prng::new(17);
    let (mut tree, mut model) = (Tree::new(), Vec::new());
    for step in 0..60_000u32 {
        let grow = (step / 10_000) % 2 == 0;
        let len = model.len() as u64;
        if len == 0 || prng.chance(if grow { 85 } else { 20 }) {
            // Random places, appending and prepending in turns.
            let rank = match (step / 1_000) % 3 {
                0 => len as usize,
                1 => 0,
                _ => prng.below(len + 1) as usize,
            };
            tree.insert_at(rank, f64::from(step), step);
            model.insert(rank, (f64::from(step), step));
        } else {
            let rank = match (step / 700) % 3 {
                0 => len as usize - 1,
                1 => 0,
                _ => prng.below(len) as usize,
            };
            if prng.chance(20) {
                tree.set_score_at(rank, -1.0);
                model[rank].0 = -1.0;
            } else {
                assert_eq!(tree.remove_at(rank), model.remove(rank));
            }
        }
        if step % 499 == 0 {
            check(&tree, &model);
        }
    }
    check(&tree, &model);
    while !model.is_empty() {
        let rank = prng.below(model.len() as u64) as usize;
        assert_eq!(tree.remove_at(rank), model.remove(rank));
    }
    assert!(tree.root.is_none());
}

#[test]
fn ranges_meet_in_the_middle_and_searches_find_their_place() {
    let mut prng = Prng::new(2);
    let mut tree = Tree::new();
    let n = 10_000u32;
    for i in 0..n {
        tree.insert_at(tree.len(), f64::from(i / 3), i);
    }
    for _ in 0..2_000 {
        let at = prng.below(u64::from(n) + 10) as u32;
        assert_eq!(tree.count_while(|_, item| item < at), at.min(n) as usize);
        let score = f64::from(at / 3);
        let below = (0..n).filter(|i| f64::from(i / 3) < score).count();
        assert_eq!(tree.count_while(|s, _| s < score), below);
        let (start, len) = (prng.below(u64::from(n)) as usize, prng.below(300) as usize);
        let expected: Vec<u32> = (start as u32..(start + len).min(n as usize) as u32).collect();
        let mut iter = tree.range(start, len);
        let (mut front, mut back) = (Vec::new(), Vec::new());
        while iter.size_hint().0 > 0 {
            if prng.chance(50) {
                front.extend(iter.next().map(|(_, item)| item));
            } else {
                back.extend(iter.next_back().map(|(_, item)| item));
            }
        }
        assert!(iter.next().is_none() && iter.next_back().is_none());
        back.reverse();
        front.extend(back);
        assert_eq!(front, expected);
    }
}

#[test]
fn leaves_are_well_filled() {
    let mut prng = Prng::new(6);
    for (order, most) in [(0, 17.5), (1, 17.5), (2, 21.0)] {
        let mut tree = Tree::new();
        let n = 100_000;
        for i in 0..n {
            let rank = match order {
                0 => i,
                1 => 0,
                _ => prng.below(i as u64 + 1) as usize,
            };
            tree.insert_at(rank, 0.0, 0u64);
        }
        let per_pair = tree.mem_usage() as f64 / n as f64;
        assert!(per_pair < most, "order {order}: {per_pair}");
    }
    assert!(size_of::<Leaf<u64>>() <= 1024);
}
