//! Against a naive model, and Redis's rules for trimming and counting.

use super::*;
use stdx::Prng;

type Model = BTreeMap<StreamId, Vec<Vec<u8>>>;

fn text(prng: &mut Prng) -> Vec<u8> {
    match prng.below(4) {
        0 => prng.below(300).to_string().into_bytes(),
        1 => format!("v{}", prng.below(5)).into_bytes(),
        2 => vec![b'x'; prng.below(80) as usize],
        _ => (prng.next_u64() as i64).to_string().into_bytes(),
    }
}

fn pairs(prng: &mut Prng) -> Vec<Vec<u8>> {
    let fields = prng.between(1, 4) as usize;
    (0..fields)
        .flat_map(|n| {
            let name = if prng.chance(85) { format!("f{n}").into_bytes() } else { text(prng) };
            [name, text(prng)]
        })
        .collect()
}

fn flat(entry: &StreamEntry<'_>) -> Vec<Vec<u8>> {
    assert_eq!(entry.len(), entry.iter().count());
    entry.iter().flat_map(|(f, v)| [f.to_vec(), v.to_vec()]).collect()
}

fn again(stream: &Stream) -> Stream {
    let mut again = Stream::new();
    for (key, pack) in stream.nodes() {
        let pack = Listpack::from_bytes(pack.as_bytes().to_vec()).unwrap();
        again.push_node(key, pack).unwrap();
    }
    again.set_meta(stream.meta()).unwrap();
    again
}

#[track_caller]
fn check(stream: &Stream, model: &Model) {
    assert_eq!(stream.len(), model.len() as u64);
    let all: Vec<_> = stream.iter().map(|entry| (entry.id, flat(&entry))).collect();
    assert!(all.iter().cloned().eq(model.clone()));
    let rev = stream.range(StreamId::ZERO, StreamId::MAX, true).map(|entry| entry.id);
    assert!(rev.eq(model.keys().rev().copied()));
    let first = model.keys().next().copied().unwrap_or(StreamId::ZERO);
    assert_eq!(stream.meta().first_id, first);
    assert_eq!(stream.last_entry_id(), model.keys().next_back().copied());
    assert!(stream.0.nodes.values().all(|node| node.alive() > 0));
    let twin = again(stream);
    assert_eq!(twin.meta(), stream.meta());
    assert!(twin.iter().map(|entry| (entry.id, flat(&entry))).eq(all));
}

fn next_id(prng: &mut Prng, last: StreamId) -> StreamId {
    match prng.below(3) {
        0 => last.next().unwrap(),
        1 => StreamId::new(last.ms, last.seq + prng.between(1, 1000)),
        _ => StreamId::new(last.ms + prng.between(1, 100_000), prng.below(3) * (u64::MAX >> 20)),
    }
}

fn some_id(prng: &mut Prng, model: &Model) -> StreamId {
    match model.keys().nth(prng.below(model.len().max(1) as u64) as usize) {
        Some(id) if prng.chance(80) => *id,
        Some(id) => StreamId::new(id.ms + prng.below(2), prng.below(9)),
        None => StreamId::new(1, 1),
    }
}

#[test]
fn like_an_ordered_map() {
    for seed in 0..12 {
        let mut prng = Prng::new(seed);
        let limits = Limits {
            stream_node_max_bytes: [4096, 200, 0][seed as usize % 3],
            stream_node_max_entries: [100, 7, 0, 1][seed as usize % 4],
            ..Limits::default()
        };
        let (mut stream, mut model) = (Stream::new(), Model::new());
        let mut added = 0;
        for step in 0..1500 {
            match prng.below(100) {
                0..=69 => {
                    let id = next_id(&mut prng, stream.last_id());
                    let pairs = pairs(&mut prng);
                    let parts: Vec<&[u8]> = pairs.iter().map(|part| &**part).collect();
                    stream.append(id, &parts, &limits);
                    model.insert(id, pairs);
                    added += 1;
                }
                70..=89 => {
                    let id = some_id(&mut prng, &model);
                    assert_eq!(stream.delete(id), model.remove(&id).is_some());
                }
                90..=94 => {
                    let (a, b) = (some_id(&mut prng, &model), some_id(&mut prng, &model));
                    let (a, b) = (a.min(b), a.max(b));
                    let ids = |rev| stream.range(a, b, rev).map(|e| e.id).collect::<Vec<_>>();
                    let wanted: Vec<_> = model.range(a..=b).map(|(id, _)| *id).collect();
                    assert_eq!(ids(false), wanted);
                    assert!(ids(true).into_iter().rev().eq(wanted));
                    assert_eq!(
                        stream.range(b, a, false).count(),
                        usize::from(a == b && model.contains_key(&a))
                    );
                    let id = some_id(&mut prng, &model);
                    assert_eq!(stream.get(id).map(|e| flat(&e)), model.get(&id).cloned());
                }
                95 | 96 => {
                    let max = prng.below(model.len() as u64 + 2);
                    let gone = stream.trim(TrimTo::MaxLen(max), false, 0);
                    assert_eq!(gone, (model.len() as u64).saturating_sub(max));
                    (0..gone).for_each(|_| drop(model.pop_first()));
                }
                97 => {
                    let min = some_id(&mut prng, &model);
                    let gone = stream.trim(TrimTo::MinId(min), false, 0);
                    let kept = model.split_off(&min);
                    assert_eq!(gone, model.len() as u64);
                    model = kept;
                }
                _ => {
                    let (max, limit) = (prng.below(model.len() as u64 + 2), prng.below(60));
                    let gone = stream.trim(TrimTo::MaxLen(max), true, limit);
                    assert!(limit == 0 || gone <= limit);
                    (0..gone).for_each(|_| drop(model.pop_first()));
                    assert!(gone == 0 || model.len() as u64 >= max);
                }
            }
            if step % 50 == 0 {
                check(&stream, &model);
            }
        }
        check(&stream, &model);
        assert_eq!(stream.meta().entries_added, added);
        let copy = stream.clone();
        assert_eq!(copy.meta(), stream.meta());
        assert!(stream.mem_usage() > 0);
    }
}

#[test]
fn nodes_are_byte_for_byte_those_of_redis() {
    let mut stream = Stream::new();
    let limits = Limits::default();
    stream.append(StreamId::new(5, 1), &[b"a", b"1", b"b", b"x"], &limits);
    stream.append(StreamId::new(5, 2), &[b"a", b"2", b"b", b"y"], &limits);
    stream.append(StreamId::new(7, 0), &[b"c", b"3"], &limits);
    assert!(stream.delete(StreamId::new(5, 2)));
    let (key, pack) = stream.nodes().next().unwrap();
    assert_eq!(key, StreamId::new(5, 1));
    let elements: Vec<Vec<u8>> = pack.iter().map(|elem| elem.to_vec()).collect();
    let wanted = "2 1 2 a b 0 2 0 0 1 x 5 3 0 1 2 y 5 0 2 -1 1 c 3 6";
    assert_eq!(String::from_utf8(elements.join(&b' ')).unwrap(), wanted);
}

#[test]
fn damaged_nodes_are_refused() {
    let mut stream = Stream::new();
    let limits = Limits::default();
    for n in 1..6 {
        stream.append(StreamId::new(n, n), &[b"a", b"1", b"b", b"x"], &limits);
        stream.append(StreamId::new(n, n + 1), &[b"other", b"1"], &limits);
    }
    stream.delete(StreamId::new(2, 2));
    let (key, pack) = stream.nodes().next().unwrap();
    let mut prng = Prng::new(7);
    let (mut taken, mut refused) = (0, 0);
    for at in 6..pack.byte_len() {
        for _ in 0..40 {
            let mut bytes = pack.as_bytes().to_vec();
            bytes[at] = prng.below(256) as u8;
            let Ok(pack) = Listpack::from_bytes(bytes) else { continue };
            let mut other = Stream::new();
            if other.push_node(key, pack).is_err() {
                refused += 1;
                continue;
            }
            taken += 1;
            // What is taken can be walked, cut and deleted from.
            let meta = StreamMeta { len: other.len(), last_id: StreamId::MAX, ..stream.meta() };
            other.set_meta(meta).unwrap();
            let ids: Vec<_> = other.iter().map(|entry| (entry.id, flat(&entry)).0).collect();
            assert_eq!(other.range(StreamId::ZERO, StreamId::MAX, true).count(), ids.len());
            let half = ids.len() as u64 / 2;
            assert_eq!(other.trim(TrimTo::MaxLen(half), false, 0), ids.len() as u64 - half);
            for id in ids {
                other.delete(id);
            }
            assert!(other.is_empty());
        }
    }
    assert!(taken > 100 && refused > 100, "{taken} {refused}");
}

#[test]
fn pending_entries_belong_to_one_consumer() {
    let mut prng = Prng::new(3);
    let mut group = StreamGroup::new(StreamId::ZERO, 0);
    let mut model: BTreeMap<StreamId, String> = BTreeMap::new();
    for _ in 0..4000 {
        let (id, name) = (StreamId::new(prng.below(40), 0), format!("c{}", prng.below(6)));
        match prng.below(10) {
            0..=5 => {
                let no = group.consumer_no(name.as_bytes());
                let no = no.or_else(|| group.add_consumer(name.as_bytes(), 0)).unwrap();
                group.set_pending(id, Pending { consumer: no, delivered_at: 1, deliveries: 1 });
                model.insert(id, name);
            }
            6..=8 => assert_eq!(group.ack(id), model.remove(&id).is_some()),
            _ => {
                let had = model.values().filter(|owner| **owner == name).count();
                let removed = group.remove_consumer(name.as_bytes());
                assert!(removed.unwrap_or(0) == had);
                model.retain(|_, owner| *owner != name);
            }
        }
        let names: Vec<&[u8]> = group.consumers().map(StreamConsumer::name).collect();
        assert!(names.is_sorted());
        let all: Vec<_> = group
            .pending_range(StreamId::ZERO, StreamId::MAX)
            .map(|(id, p)| (id, String::from_utf8_lossy(group.consumer(p.consumer).name()).into()))
            .collect();
        assert!(all.into_iter().eq(model.clone()));
        for consumer in group.consumers() {
            let own = consumer.pending(StreamId::ZERO, StreamId::MAX);
            let name = String::from_utf8_lossy(consumer.name());
            assert!(own.eq(model.iter().filter(|(_, o)| **o == name).map(|(id, _)| *id)));
        }
    }
}

#[test]
fn what_was_read_is_counted_where_that_is_possible() {
    let mut stream = Stream::new();
    let limits = Limits::default();
    let id = |n| StreamId::new(n, 0);
    assert_eq!(stream.count_up_to(id(5)), Some(0));
    (1..=5).for_each(|n| stream.append(id(n), &[b"f", b"v"], &limits));
    assert_eq!(stream.count_up_to(id(5)), Some(5));
    assert_eq!(stream.count_up_to(id(1)), Some(1));
    assert_eq!(stream.count_up_to(StreamId::ZERO), Some(0));
    assert_eq!(stream.count_up_to(id(3)), None);
    let group = StreamGroup::new(id(2), 2);
    assert_eq!(stream.lag(&group), Some(3));
    stream.delete(id(4));
    assert_eq!(stream.lag(&group), None);
    stream.trim(TrimTo::MaxLen(1), false, 0);
    assert_eq!((stream.meta().first_id, stream.len()), (id(5), 1));
    assert_eq!(stream.lag(&StreamGroup::new(id(4), 4)), Some(1));
    assert_eq!(stream.count_up_to(id(6)), None);
}

#[test]
fn ids_have_an_order_and_ends() {
    assert_eq!(StreamId::new(3, u64::MAX).next(), Some(StreamId::new(4, 0)));
    assert_eq!(StreamId::new(4, 0).prev(), Some(StreamId::new(3, u64::MAX)));
    assert_eq!((StreamId::MAX.next(), StreamId::ZERO.prev()), (None, None));
    let id = StreamId::new(1, 1 << 40);
    assert_eq!(StreamId::from_be_bytes(id.to_be_bytes()), id);
    assert_eq!(StreamId::MAX.to_vec(), b"18446744073709551615-18446744073709551615");
    let mut stream = Stream::new();
    assert_eq!(stream.next_id(7), Some(StreamId::new(7, 0)));
    stream.set_last_id(StreamId::new(9, 3));
    assert_eq!(stream.next_id(7), Some(StreamId::new(9, 4)));
    stream.set_last_id(StreamId::MAX);
    assert_eq!(stream.next_id(7), None);
}
