//! The log against a plain vector of bytes, with random operations.

use replication::{AppendRecord, Chunk, Cursor, Log, Part};
use stdx::Prng;

use crate::harness::{command, id};

struct Model {
    log: Log,
    bytes: Vec<u8>,
    selected: Option<u32>,
    backlog: u64,
    /// What was gone when the backlog's size changed stays gone.
    floor: u64,
    readers: Vec<(Cursor, usize)>,
}

impl Model {
    fn new(prng: &mut Prng) -> Model {
        let backlog = prng.between(1, 300_000);
        let log = Log::new(id('a'), backlog);
        log.create_backlog(id('b'));
        Model { log, bytes: Vec::new(), selected: None, backlog, floor: 0, readers: Vec::new() }
    }

    fn append(&mut self, prng: &mut Prng) {
        let mut parts = Vec::new();
        for _ in 0..prng.between(1, 3) {
            let len = match prng.below(20) {
                0 => prng.between(20_000, 200_000),
                1..5 => prng.between(1000, 9000),
                _ => prng.below(100),
            };
            let value = char::from(b'a' + prng.below(26) as u8).to_string().repeat(len as usize);
            let db = prng.below(3) as u32;
            parts.push((prng.chance(90).then_some(db), command(&["SET", "k", &value])));
        }
        let multi = parts.len() > 1;
        for (index, (db, bytes)) in parts.iter().enumerate() {
            if let Some(db) = *db
                && self.selected != Some(db)
            {
                self.bytes.extend(command(&["SELECT", &db.to_string()]));
                self.selected = Some(db);
            }
            if multi && index == 0 {
                self.bytes.extend(command(&["MULTI"]));
            }
            self.bytes.extend_from_slice(bytes);
        }
        if multi {
            self.bytes.extend(command(&["EXEC"]));
        }
        let parts: Vec<Part<'_>> =
            parts.iter().map(|(db, b)| Part { db: *db, ..Part::new(0, b, 1) }).collect();
        let end = self.log.append(&AppendRecord::new(&parts));
        assert_eq!(end.stream_offset(), self.bytes.len() as u64);
    }

    fn read(&mut self, prng: &mut Prng) {
        if self.readers.is_empty() {
            return;
        }
        let index = prng.below(self.readers.len() as u64) as usize;
        let (cursor, at) = &mut self.readers[index];
        let mut chunks: Vec<Chunk> = Vec::new();
        let max = prng.between(1, 100_000) as usize;
        let got = self.log.read(cursor, max, &mut chunks).unwrap();
        assert!(got <= max);
        assert_eq!(got == 0, *at == self.bytes.len(), "zero means caught up");
        let mut to = *at;
        for chunk in &chunks {
            assert_eq!(chunk.offset(), to as u64);
            assert_eq!(chunk[..], self.bytes[to..to + chunk.len()]);
            to += chunk.len();
        }
        assert_eq!(to - *at, got);
        // A socket takes what it likes.
        let taken = prng.below(got as u64 + 1) as usize;
        cursor.advance(taken);
        *at += taken;
    }

    fn check(&self) {
        let stats = self.log.stats();
        let end = self.bytes.len() as u64;
        assert_eq!(stats.offset, end);
        let start = stats.first_byte_offset - 1;
        assert_eq!(stats.histlen, end - start);
        let backlog = self.backlog.max(16 * 1024);
        let needed = self.readers.iter().map(|(_, at)| *at as u64).min().unwrap_or(end);
        let keep_from = end.saturating_sub(backlog).max(self.floor).min(needed);
        assert!(start <= keep_from, "the backlog and every reader's bytes are kept");
        for (cursor, at) in &self.readers {
            assert_eq!(cursor.position(), Some(*at as u64));
        }
        // Requests are granted exactly within the tail.
        assert!(self.log.try_partial(id('b').as_bytes(), start as i64 + 1).is_ok());
        assert!(self.log.try_partial(id('b').as_bytes(), start as i64).is_err());
    }
}

#[test]
fn the_log_equals_a_vector() {
    for seed in 0..60 {
        let mut prng = Prng::new(seed);
        let mut model = Model::new(&mut prng);
        for _ in 0..300 {
            match prng.below(100) {
                0..55 => model.append(&mut prng),
                55..85 => model.read(&mut prng),
                85..90 => {
                    let stats = model.log.stats();
                    let at = stats.first_byte_offset - 1 + prng.below(stats.histlen + 1);
                    let cursor = model.log.cursor_at(at).unwrap();
                    model.readers.push((cursor, at as usize));
                }
                90..93 if !model.readers.is_empty() => {
                    let index = prng.below(model.readers.len() as u64) as usize;
                    model.readers.swap_remove(index);
                }
                93..95 => {
                    model.floor = model.log.stats().first_byte_offset - 1;
                    model.backlog = prng.between(1, 300_000);
                    model.log.set_backlog_size(model.backlog);
                }
                95..97 => {
                    model.log.mark_snapshot(true);
                    model.selected = None;
                }
                97 => {
                    model.bytes.extend_from_slice(b"*1\r\n$4\r\nping\r\n");
                    model.log.append_ping();
                }
                98 => model.log.trim(),
                _ => {}
            }
            model.check();
        }
        // With all readers gone and a small backlog, the memory is small, too.
        model.readers.clear();
        model.log.set_backlog_size(1);
        let stats = model.log.stats();
        let largest = 3 * 200_100;
        assert!(stats.histlen <= 16 * 1024 + largest, "seed {seed}: {stats:?}");
    }
}
