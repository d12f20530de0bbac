//! REPLCONF: what a peer tells about itself before it asks for data, and its acknowledgements after.
//!
//! Source: redis 7.0 `replication.c:replconfCommand`.

use resp::Args;
use stdx::{MonoMs, ViewAddrs, parse_i64};

use super::{MasterSide, RDB_CAPA, RdbFilter, State, Streaming};
use crate::event::ConnId;
use crate::master::MasterOutput;

/// Longest announced address (`NET_HOST_STR_LEN` with its closing zero).
const HOST_LEN_MAX: usize = 256;

impl MasterSide {
    pub(super) fn replconf(&mut self, now: MonoMs, id: ConnId, peer_ip: &str, args: Args<'_>) {
        if args.len().is_multiple_of(2) {
            return self.reply_error(id, b"ERR syntax error");
        }
        self.find_or_add(id, peer_ip);
        if args.len() == 3 && args.is(1, "announced-views") {
            return self.replconf_views(id, args.at(2));
        }
        for at in (1..args.len()).step_by(2) {
            let (name, value) = (args.at(at), args.at(at + 1));
            if name.eq_ignore_ascii_case(b"ack") {
                // No reply, and nothing after it counts.
                return self.replconf_ack(now, id, value, args, at);
            }
            if name.eq_ignore_ascii_case(b"getack") {
                // Meaningful on the master link only, which does not pass here; no reply.
                return;
            }
            if let Err(error) = self.replconf_option(id, name, value) {
                return self.reply_error(id, &error);
            }
        }
        self.reply_ok(id);
    }

    fn replconf_option(&mut self, id: ConnId, name: &[u8], value: &[u8]) -> Result<(), Vec<u8>> {
        let Some(conn) = self.find(id) else { return Ok(()) };
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        if is("listening-port") {
            conn.listening_port = integer(value)? as i32;
        } else if is("ip-address") {
            if value.len() >= HOST_LEN_MAX {
                return Err(format!(
                    "ERR REPLCONF ip-address provided by replica instance is too long: {} bytes",
                    value.len()
                )
                .into_bytes());
            }
            // An address that is no address would garble INFO, which Sentinels read.
            let text = std::str::from_utf8(value).ok();
            let text = text.filter(|t| t.bytes().all(|b| b.is_ascii_graphic() && b != b','));
            conn.announced_ip = text.filter(|t| !t.is_empty()).map(str::to_owned);
        } else if is("capa") {
            conn.capa_eof |= value.eq_ignore_ascii_case(b"eof");
            conn.capa_psync2 |= value.eq_ignore_ascii_case(b"psync2");
            conn.capa_rdb12 |= value.eq_ignore_ascii_case(RDB_CAPA.as_bytes());
        } else if is("rdb-only") {
            conn.rdb_only = flag(value)?;
        } else if is("rdb-filter-only") {
            conn.filter = parse_filter(value)?;
        } else if is("version") {
            // Valkey 8 tells its version; nothing depends on it: no Valkey reads RDB version 12.
        } else {
            return Err([b"ERR Unrecognized REPLCONF option: ", name].concat());
        }
        Ok(())
    }

    /// `REPLCONF announced-views text`: the further addresses of a replica of our kind, answered with
    /// our own behind the OK.
    fn replconf_views(&mut self, id: ConnId, text: &[u8]) {
        if let Some(conn) = self.find(id) {
            conn.views = ViewAddrs::parse(&String::from_utf8_lossy(text));
        }
        let line = format!("+OK {}", self.options.views);
        self.send(id, format!("{}\r\n", line.trim_end()).as_bytes());
    }

    /// `ACK offset [FACK offset]`. Anything that is no replica's ACK is ignored silently.
    fn replconf_ack(&mut self, now: MonoMs, id: ConnId, value: &[u8], args: Args<'_>, at: usize) {
        let Some(offset) = parse_offset(value) else { return };
        let fack = args.get(at + 2).filter(|name| name.eq_ignore_ascii_case(b"fack"));
        let fsynced = fack.and_then(|_| args.get(at + 3)).and_then(parse_offset);
        let Some(conn) = self.find(id).filter(|c| c.is_replica()) else { return };
        if matches!(conn.state, State::Online(Streaming::AwaitAck(_))) {
            self.start_stream(id);
        }
        self.watermarks.ack(id, now, offset, fsynced);
    }

    /// Hands the cursor over to the driver.
    pub(super) fn start_stream(&mut self, id: ConnId) {
        let Some(conn) = self.find(id) else { return };
        let State::Online(streaming) = &mut conn.state else {
            unreachable!("only an online replica is streamed to")
        };
        let Streaming::AwaitAck(cursor) = streaming else { unreachable!("a stream begins once") };
        let watch = cursor.watch();
        let before = std::mem::replace(streaming, Streaming::Live(watch));
        if let Streaming::AwaitAck(cursor) = before {
            self.outputs.push_back(MasterOutput::Stream { conn: id, cursor });
        }
    }
}

fn parse_offset(text: &[u8]) -> Option<u64> {
    parse_i64(text).and_then(|n| u64::try_from(n).ok())
}

fn integer(text: &[u8]) -> Result<i64, Vec<u8>> {
    parse_i64(text).ok_or_else(|| b"ERR value is not an integer or out of range".to_vec())
}

fn flag(text: &[u8]) -> Result<bool, Vec<u8>> {
    match integer(text)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(b"ERR value is out of range, value must between 0 and 1".to_vec()),
    }
}

/// The words name what to keep. None at all: an RDB without data and functions.
fn parse_filter(value: &[u8]) -> Result<RdbFilter, Vec<u8>> {
    let words =
        resp::split_args(value).map_err(|_| b"ERR Missing rdb-filter-only values".to_vec())?;
    let mut filter =
        RdbFilter { exclude_data: true, exclude_functions: true, no_field_times: false };
    for word in &words {
        if word.eq_ignore_ascii_case(b"functions") {
            filter.exclude_functions = false;
        } else {
            return Err([b"ERR Unsupported rdb-filter-only option: ", word.as_slice()].concat());
        }
    }
    Ok(filter)
}
