//! From the connection to the agreement on what follows: PING, AUTH, REPLCONF, PSYNC.
//!
//! PING goes first and alone. After its answer AUTH and all REPLCONFs go out together and their
//! answers are read in order; then PSYNC. Answers are lines; a peer that sends a longer one than
//! [`LINE_MAX`] is no Redis.
//!
//! Source: redis 7.0 `replication.c:syncWithMaster`, `slaveTryPartialResynchronization`.

use std::collections::VecDeque;

use stdx::{MonoMs, ViewAddrs, parse_u64};

use super::transfer::Transfer;
use super::{How, LinkId, RETRY_MS, ReplicaLink, ReplicaOutput, State};
use crate::event::printable;
use crate::replid::ReplId;

/// Longest answer line.
const LINE_MAX: usize = 16 * 1024;

/// What a node says to `PSYNC … FAILOVER` that is a master.
const PROMOTED_ALREADY: &[u8] = b"-ERR PSYNC FAILOVER can't be sent to a master";

/// An answer that is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Ping,
    Auth,
    ListeningPort,
    IpAddress,
    Capa,
    Views,
    EmptyMaster,
    Psync,
}

#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) last_io: MonoMs,
    line: Vec<u8>,
    expected: VecDeque<Expected>,
}

/// What stands behind the OK.
fn views_of_master(line: &[u8]) -> ViewAddrs {
    let text = line.strip_prefix(b"+OK ").unwrap_or_default();
    ViewAddrs::parse(&String::from_utf8_lossy(text))
}

impl ReplicaLink {
    pub(super) fn become_handshake(&mut self, now: MonoMs) {
        assert!(matches!(self.state, State::Connecting { .. }), "one handshake per connection");
        let expected = VecDeque::from([Expected::Ping]);
        self.state = State::Handshake(Handshake { last_io: now, line: Vec::new(), expected });
        self.send_command(&[b"PING"]);
    }

    fn send_command(&mut self, args: &[&[u8]]) {
        let mut bytes = Vec::new();
        resp::encode_command(&mut bytes, args);
        self.send(bytes);
    }

    /// Takes bytes up to the end of a line; returns the rest.
    pub(super) fn handshake_bytes(&mut self, now: MonoMs, mut bytes: Vec<u8>) -> Vec<u8> {
        let State::Handshake(handshake) = &mut self.state else {
            unreachable!("called in this state only")
        };
        handshake.last_io = now;
        let Some(end) = bytes.iter().position(|&b| b == b'\n') else {
            handshake.line.extend_from_slice(&bytes);
            if handshake.line.len() > LINE_MAX {
                self.warning("Unexpected endless reply from master during SYNC handshake");
                self.handshake_failed(now);
            }
            return Vec::new();
        };
        let rest = bytes.split_off(end + 1);
        let mut line = std::mem::take(&mut handshake.line);
        line.extend_from_slice(&bytes[..end]);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.handshake_line(now, &line);
        rest
    }

    fn handshake_line(&mut self, now: MonoMs, line: &[u8]) {
        let State::Handshake(handshake) = &mut self.state else { return };
        let Some(&expected) = handshake.expected.front() else {
            unreachable!("a handshake always waits for something")
        };
        if expected == Expected::Psync && line.is_empty() {
            return; // The master lives and is busy.
        }
        handshake.expected.pop_front();
        let is_error = line.first() == Some(&b'-');
        let shown = printable(line);
        match expected {
            Expected::Ping => return self.ping_answered(now, line, &shown),
            Expected::Psync => return self.psync_answered(now, line, &shown),
            Expected::Auth if is_error => {
                self.warning(format!("Unable to AUTH to MASTER: {shown}"));
                return self.handshake_failed(now);
            }
            Expected::ListeningPort if is_error => self.notice(format!(
                "(Non critical) Master does not understand REPLCONF listening-port: {shown}"
            )),
            Expected::IpAddress if is_error => self.notice(format!(
                "(Non critical) Master does not understand REPLCONF ip-address: {shown}"
            )),
            Expected::Capa if is_error => self.notice(format!(
                "(Non critical) Master does not understand REPLCONF capa: {shown}"
            )),
            // A master of another kind answers an error, which does no harm.
            Expected::Views => self.master_views = views_of_master(line),
            _ => {}
        }
        if matches!(&self.state, State::Handshake(h) if h.expected.is_empty()) {
            self.send_psync();
        }
    }

    fn ping_answered(&mut self, now: MonoMs, line: &[u8], shown: &str) {
        // A master that wants a password first is alive, too.
        let fine: [&[u8]; 4] = [b"+", b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted"];
        if !fine.iter().any(|start| line.starts_with(start)) {
            self.warning(format!("Error reply to PING from master: '{shown}'"));
            return self.handshake_failed(now);
        }
        self.notice("Master replied to PING, replication can continue...");
        let mut expected = VecDeque::new();
        if let Some(password) = self.options.masterauth.clone() {
            let user = self.options.masteruser.clone();
            match user {
                Some(user) => self.send_command(&[b"AUTH", user.as_bytes(), &password]),
                None => self.send_command(&[b"AUTH", &password]),
            }
            expected.push_back(Expected::Auth);
        }
        let port = self.options.listening_port.to_string();
        self.send_command(&[b"REPLCONF", b"listening-port", port.as_bytes()]);
        expected.push_back(Expected::ListeningPort);
        if let Some(ip) = self.options.announce_ip.clone() {
            self.send_command(&[b"REPLCONF", b"ip-address", ip.as_bytes()]);
            expected.push_back(Expected::IpAddress);
        }
        let rdb = crate::master::RDB_CAPA.as_bytes();
        self.send_command(&[b"REPLCONF", b"capa", b"eof", b"capa", b"psync2", b"capa", rdb]);
        expected.push_back(Expected::Capa);
        self.master_views = ViewAddrs::default();
        if let Some(views) = &self.options.views {
            let text = views.to_string();
            self.send_command(&[b"REPLCONF", b"announced-views", text.as_bytes()]);
            expected.push_back(Expected::Views);
        }
        if self.empty_refused > 0 {
            // A master of our kind stops taking writes when it hears this; others answer an error,
            // which does no harm.
            let ours = self.log.offset().to_string();
            self.send_command(&[b"REPLCONF", b"empty-master", ours.as_bytes()]);
            expected.push_back(Expected::EmptyMaster);
        }
        if let State::Handshake(handshake) = &mut self.state {
            handshake.expected = expected;
        }
    }

    fn send_psync(&mut self) {
        let State::Handshake(handshake) = &mut self.state else { return };
        handshake.expected.push_back(Expected::Psync);
        let (id, argument) = if self.can_continue {
            (self.log.ids().replid.to_string(), (self.log.offset() + 1).to_string())
        } else {
            ("?".to_owned(), "-1".to_owned())
        };
        if self.can_continue {
            self.notice(format!("Trying a partial resynchronization (request {id}:{argument})."));
        } else {
            self.notice("Partial resynchronization not possible (no cached master)");
        }
        if let Some(handover) = &mut self.failover {
            handover.asked = true;
            return self.send_command(&[b"PSYNC", id.as_bytes(), argument.as_bytes(), b"FAILOVER"]);
        }
        self.send_command(&[b"PSYNC", id.as_bytes(), argument.as_bytes()]);
    }

    fn psync_answered(&mut self, now: MonoMs, line: &[u8], shown: &str) {
        if let Some(handover) = self.failover {
            if line.starts_with(b"+FULLRESYNC") || line.starts_with(b"+CONTINUE") {
                self.failover = None;
                self.outputs.push_back(ReplicaOutput::FailoverDone);
            } else if handover.second_try && line.starts_with(PROMOTED_ALREADY) {
                // The answer to the first request was lost, its effect was not.
                self.failover = None;
                self.outputs.push_back(ReplicaOutput::FailoverDone);
                return self.handshake_failed(now);
            } else {
                self.warning(format!("Unexpected reply to PSYNC from master: {shown}"));
                self.handshake_failed(now);
                return self.handover_failed("Failover target rejected psync request");
            }
        }
        if line.starts_with(b"+FULLRESYNC") {
            self.full_resync(now, line);
        } else if line.starts_with(b"+CONTINUE") {
            self.partial_resync(now, line);
        } else if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") {
            self.notice(format!(
                "Master is currently unable to PSYNC but should be in the future: {shown}"
            ));
            self.handshake_failed(now);
        } else {
            if line.starts_with(b"-ERR") {
                self.notice(format!(
                    "Master does not support PSYNC or is in error state (reply: {shown})"
                ));
            } else {
                self.warning(format!("Unexpected reply to PSYNC from master: {shown}"));
            }
            self.notice("Retrying with SYNC...");
            // Inline, for masters that are older than the other form.
            self.send(b"SYNC\r\n".to_vec());
            self.state = State::Transfer(Transfer::new(now, None, 0));
        }
    }

    fn full_resync(&mut self, now: MonoMs, line: &[u8]) {
        let mut words = line.split(|&b| b == b' ').skip(1);
        let replid = words.next().and_then(ReplId::parse);
        // Above that the offsets of the stream would leave what INFO and ACK can say.
        let offset = words.next().and_then(parse_u64).filter(|&o| o <= i64::MAX as u64 / 2);
        let (Some(replid), Some(offset)) = (replid, offset) else {
            self.warning("Master replied with wrong +FULLRESYNC syntax.");
            return self.handshake_failed(now);
        };
        self.notice(format!("Full resync from master: {replid}:{offset}"));
        self.state = State::Transfer(Transfer::new(now, Some(replid), offset));
    }

    fn partial_resync(&mut self, now: MonoMs, line: &[u8]) {
        if !self.can_continue {
            // It continues something that we never asked for.
            self.warning("Unexpected +CONTINUE from master: no history was offered");
            return self.handshake_failed(now);
        }
        self.notice("Successful partial resynchronization with master.");
        let id = line.get(b"+CONTINUE ".len()..).and_then(ReplId::parse);
        let changed = self.log.resume(id);
        if changed {
            let replid = self.log.ids().replid;
            self.warning(format!("Master replication ID changed to {replid}"));
            self.outputs.push_back(ReplicaOutput::DropReplicas);
        }
        self.notice("MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization.");
        self.become_connected(now, false);
    }

    /// The target of a FAILOVER cannot be reached. Before it was asked nothing has happened yet;
    /// afterwards it may be the master, so it is asked again for as long as patience lasts.
    pub(super) fn handover_stuck(&mut self, now: MonoMs) {
        let Some(handover) = &mut self.failover else { return };
        if handover.asked {
            handover.second_try = true;
        } else {
            self.handover_failed("Failover target can't be reached");
        }
        self.handover_stuck_late(now);
    }

    pub(super) fn handover_stuck_late(&mut self, now: MonoMs) {
        if self.failover.is_some_and(|handover| handover.until <= now) {
            self.handover_failed("Failover target did not answer in time");
        }
    }

    fn handover_failed(&mut self, why: &'static str) {
        if self.failover.take().is_some() {
            self.outputs.push_back(ReplicaOutput::FailoverFailed { why });
        }
    }

    pub(super) fn handshake_timeout(&mut self, now: MonoMs) {
        self.warning("Timeout connecting to the MASTER...");
        self.outputs.push_back(ReplicaOutput::Close { link: self.link });
        self.connect(now, How::AfterFailure);
        self.handover_stuck(now);
    }

    pub(super) fn handshake_closed(&mut self, now: MonoMs, error: &str) {
        let error = if error.is_empty() { "Connection closed by peer" } else { error };
        self.warning(format!("Failed to read response from the server: {error}"));
        self.warning("Master did not respond to command during SYNC handshake");
        self.handshake_failed(now);
        self.handover_stuck(now);
    }

    /// Gives the attempt up; the next one follows after a pause.
    pub(super) fn handshake_failed(&mut self, now: MonoMs) {
        self.outputs.push_back(ReplicaOutput::Close { link: self.link });
        self.link = LinkId(self.link.0 + 1);
        self.state = State::Connect { at: now + RETRY_MS, how: How::First };
    }

    /// The own history cannot be offered any more.
    pub(super) fn forget_history(&mut self) {
        if self.can_continue {
            self.notice("Discarding previously cached master state.");
            self.can_continue = false;
        }
    }
}
