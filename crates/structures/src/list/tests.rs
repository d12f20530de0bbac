//! Against a naive model under many limits, and the conversion rules.

use super::*;
use std::collections::VecDeque;
use stdx::Prng;

fn text(prng: &mut Prng) -> Vec<u8> {
    match prng.below(5) {
        0 => prng.below(5).to_string().into_bytes(),
        1 => format!("e{}", prng.below(5)).into_bytes(),
        2 => vec![b'x'; prng.below(40) as usize],
        3 => vec![b'y'; prng.below(300) as usize],
        _ => (prng.next_u64() as i64).to_string().into_bytes(),
    }
}

fn check(list: &List, model: &VecDeque<Vec<u8>>) {
    assert_eq!(list.len(), model.len());
    assert_eq!(list.is_empty(), model.is_empty());
    assert!(list.iter().map(Elem::to_vec).eq(model.iter().cloned()));
    assert!(list.iter().rev().map(Elem::to_vec).eq(model.iter().rev().cloned()));
    // The codecs' view, and back.
    let mut again = List::new();
    let mut count = 0;
    for node in list.nodes() {
        count += 1;
        let node = match node {
            ListNode::Plain(text) => ListNodeOwned::Plain(text.to_vec()),
            ListNode::Packed(bytes) => {
                ListNodeOwned::Packed(Listpack::from_bytes(bytes.to_vec()).unwrap())
            }
        };
        again.push_node(node, &Limits::default());
    }
    assert!(again.iter().map(Elem::to_vec).eq(model.iter().cloned()));
    if list.encoding() == "listpack" {
        assert!(count <= 1);
    }
    if let Repr::Quick(quick) = &list.0 {
        assert!(quick.nodes.iter().all(|node| node.len() > 0));
        assert_eq!(quick.nodes.iter().map(Node::len).sum::<usize>(), quick.len);
    }
}

/// LREM on the model.
fn remove(model: &mut VecDeque<Vec<u8>>, count: i64, text: &[u8]) -> usize {
    let most = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let mut removed = 0;
    let mut i = if count < 0 { model.len() } else { 0 };
    while removed < most {
        if count < 0 {
            if i == 0 {
                break;
            }
            i -= 1;
        }
        match model.get(i) {
            Some(own) if own == text => {
                model.remove(i);
                removed += 1;
            }
            Some(_) if count >= 0 => i += 1,
            Some(_) => {}
            None => break,
        }
    }
    removed
}

fn step(list: &mut List, model: &mut VecDeque<Vec<u8>>, prng: &mut Prng, limits: &Limits) {
    let text = text(prng);
    let len = model.len();
    let index = prng.below(len as u64 * 2 + 3) as i64 - len as i64 - 1;
    let position = if index < 0 { index + len as i64 } else { index };
    let position = usize::try_from(position).ok().filter(|&position| position < len);
    let shrink = if len > 400 { 6 } else { 0 };
    match prng.below(14 + shrink) {
        0..=2 => {
            list.push_front(&text, limits);
            model.push_front(text);
        }
        3..=5 => {
            list.push_back(&text, limits);
            model.push_back(text);
        }
        6 => assert_eq!(list.pop_front(), model.pop_front()),
        7 => assert_eq!(list.pop_back(), model.pop_back()),
        8 => {
            assert_eq!(list.set(index, &text, limits), position.is_some());
            if let Some(position) = position {
                model[position] = text;
            }
        }
        9 | 10 => {
            let before = prng.chance(50);
            let pivot = position.map_or_else(|| b"none".to_vec(), |p| model[p].clone());
            let at = model.iter().position(|own| *own == pivot);
            assert_eq!(list.insert(&pivot, before, &text, limits), at.is_some());
            if let Some(at) = at {
                model.insert(at + usize::from(!before), text);
            }
        }
        11 => {
            let count = prng.below(7) as i64 - 3;
            let wanted = position.map_or(text, |p| model[p].clone());
            assert_eq!(list.remove(count, &wanted), remove(model, count, &wanted));
        }
        12 => {
            assert_eq!(list.get(index).map(Elem::to_vec), position.map(|p| model[p].clone()));
            let (start, n) = (prng.below(len as u64 + 2) as usize, prng.below(50) as usize);
            let expected = model.iter().skip(start).take(n).cloned();
            assert!(list.range(start, n).map(Elem::to_vec).eq(expected));
            let expected = model.iter().rev().skip(start).take(n).cloned();
            assert!(list.range_rev(start, n).map(Elem::to_vec).eq(expected));
        }
        13 if prng.chance(90) => {}
        13 => {
            let (start, n) = (prng.below(len as u64 + 2) as usize, prng.below(300) as usize);
            list.trim(start, n);
            *model = model.iter().skip(start).take(n).cloned().collect();
        }
        _ => {
            let (start, n) = (prng.below(len as u64 + 2) as usize, prng.below(60) as usize);
            let end = (start + n).min(len);
            assert_eq!(list.delete_range(start, n), end.saturating_sub(start));
            if start < end {
                model.drain(start..end);
            }
        }
    }
}

#[test]
fn behaves_as_a_deque() {
    let base = Limits::default();
    let cases = [
        base,
        Limits { list_max_listpack_size: -1, ..base },
        Limits { list_max_listpack_size: 3, ..base },
        Limits { list_max_listpack_size: 0, ..base },
        Limits { list_max_listpack_size: 20, quicklist_packed_threshold: 150, ..base },
        Limits { quicklist_packed_threshold: 30, ..base },
    ];
    for (i, limits) in cases.iter().enumerate() {
        let mut prng = Prng::new(100 + i as u64);
        let (mut list, mut model) = (List::new(), VecDeque::new());
        for round in 0..12_000 {
            step(&mut list, &mut model, &mut prng, limits);
            assert_eq!(list.len(), model.len());
            if round % 200 == 0 {
                check(&list, &model);
            }
        }
        check(&list, &model);
        while let Some(text) = model.pop_front() {
            assert_eq!(list.pop_front(), Some(text));
        }
        assert!(list.is_empty() && list.encoding() == "listpack" && list.pop_back().is_none());
    }
}

/// `n` elements of 10 bytes.
fn filled(n: usize, limits: &Limits) -> List {
    let mut list = List::new();
    for i in 0..n {
        list.push_back(format!("{i:09}x").as_bytes(), limits);
    }
    list
}

#[test]
fn encodings_change_where_redis_changes_them() {
    let limits = Limits::default();
    // An entry takes 12 bytes: 7 + 681 * 12 = 8179 bytes, and the next 10 bytes exceed 8192 minus
    // nothing more than the text, which is what Redis adds up before it pushes.
    assert_eq!(filled(682, &limits).encoding(), "listpack");
    assert_eq!(filled(683, &limits).encoding(), "quicklist");
    let mut list = filled(683, &limits);
    // Back only with one node left, at half the size: 340 entries take 4087 bytes, 341 take 4099.
    assert_eq!(list.nodes().count(), 2);
    for _ in 0..342 {
        list.pop_back();
        assert_eq!(list.encoding(), "quicklist");
    }
    list.pop_back();
    assert_eq!((list.encoding(), list.len()), ("listpack", 340));

    let counted = Limits { list_max_listpack_size: 4, ..limits };
    assert_eq!(filled(4, &counted).encoding(), "listpack");
    let mut list = filled(5, &counted);
    assert_eq!((list.encoding(), list.nodes().count()), ("quicklist", 2));
    list.pop_back();
    assert_eq!(list.encoding(), "quicklist");
    list.pop_back();
    list.pop_back();
    assert_eq!(list.encoding(), "listpack");

    // A command's elements are judged together.
    let mut list = List::new();
    list.reserve(700 * 10, 700, &limits);
    (0..700).for_each(|_| list.push_back_prepared(b"0123456789"));
    assert_eq!(list.encoding(), "listpack");
    list.push_back(b"x", &limits);
    assert_eq!(list.encoding(), "quicklist");
}

#[test]
fn big_elements_get_nodes_of_their_own() {
    let limits = Limits { quicklist_packed_threshold: 100, ..Limits::default() };
    let mut list = filled(1000, &limits);
    let big = vec![b'B'; 100];
    assert!(list.set(500, &big, &limits));
    assert!(list.insert(b"000000700x", true, &big, &limits));
    let plain = list.nodes().filter(|node| matches!(node, ListNode::Plain(_))).count();
    assert_eq!(plain, 2);
    assert_eq!(list.len(), 1001);
    assert!(list.get(500).unwrap().eq_bytes(&big) && list.get(700).unwrap().eq_bytes(&big));
    assert!(list.set(700, b"small", &limits));
    assert_eq!(list.remove(0, &big), 1);
    assert!(list.nodes().all(|node| matches!(node, ListNode::Packed(_))));
}

#[test]
fn loading_gives_the_encoding_that_redis_gives() {
    let limits = Limits::default();
    let pack = |n: usize| {
        let mut pack = Listpack::new();
        (0..n).for_each(|_| pack.push_back(b"0123456789a"));
        ListNodeOwned::Packed(pack)
    };
    let mut list = List::new();
    list.push_node(pack(0), &limits);
    list.push_node(pack(100), &limits);
    assert_eq!((list.encoding(), list.len()), ("listpack", 100));
    list.push_node(pack(1), &limits);
    assert_eq!((list.encoding(), list.nodes().count()), ("quicklist", 2));
    let mut list = List::new();
    list.push_node(pack(700), &limits);
    assert_eq!(list.encoding(), "quicklist");
    let mut list = List::new();
    list.push_node(ListNodeOwned::Plain(vec![b'x'; 5]), &limits);
    assert_eq!((list.encoding(), list.len()), ("quicklist", 1));
}
