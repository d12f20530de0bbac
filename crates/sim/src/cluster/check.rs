//! What must never happen in a cluster, looked for in every message that leaves a node.

use std::collections::BTreeMap;

use cluster::bus::{Body, Message};
use cluster::{NodeId, SlotSet};

/// Everything that was told so far.
#[derive(Default)]
pub struct Checker {
    /// Who has claimed which slots under a config epoch.
    claims: BTreeMap<u64, BTreeMap<NodeId, SlotSet>>,
    /// What a node last claimed, so that it is compared only when it changes.
    last: BTreeMap<NodeId, (u64, SlotSet)>,
    /// Voter and epoch to the candidate.
    votes: BTreeMap<(NodeId, u64), NodeId>,
    /// The current epoch that a node has told in its present life.
    told: BTreeMap<NodeId, u64>,
    /// Epochs that had a winner.
    pub winners: u64,
    /// Broken rules, in words.
    pub violations: Vec<String>,
}

impl Checker {
    pub fn violation(&mut self, at_us: u64, text: String) {
        self.violations.push(format!("at {}.{:03} ms: {text}", at_us / 1000, at_us % 1000));
    }

    /// A node starts: what it had only heard of, it may have forgotten; its promises not.
    pub fn started(&mut self, id: NodeId) {
        self.told.remove(&id);
    }

    /// A message has left a node; `to` is the node at the other end.
    pub fn sent(&mut self, at_us: u64, message: &Message, to: NodeId) {
        let header = &message.header;
        let told = self.told.entry(header.sender).or_default();
        // A vote carries the epoch that it is for.
        if header.current_epoch < *told && message.body != Body::AuthAck {
            let text =
                format!("{} told epoch {told} and now {}", header.sender, header.current_epoch);
            self.violation(at_us, text);
        } else if header.current_epoch > *told {
            *told = header.current_epoch;
        }
        if message.body == Body::AuthAck {
            let key = (header.sender, header.current_epoch);
            if let Some(other) = self.votes.insert(key, to)
                && other != to
            {
                self.violation(
                    at_us,
                    format!(
                        "{} voted twice in epoch {}: for {other} and {to}",
                        header.sender, header.current_epoch
                    ),
                );
            }
        }
        if header.master.is_none() {
            self.claimed(at_us, header.sender, header.config_epoch, &header.slots);
        }
    }

    fn claimed(&mut self, at_us: u64, who: NodeId, epoch: u64, slots: &SlotSet) {
        if let Some((last_epoch, last_slots)) = self.last.get(&who) {
            let last_epoch = *last_epoch;
            if last_epoch == epoch && last_slots == slots {
                return;
            }
            if epoch < last_epoch {
                let text = format!("config epoch of {who} fell from {last_epoch} to {epoch}");
                self.violation(at_us, text);
            }
            if epoch > last_epoch && !slots.is_empty() {
                self.winners += 1;
            }
        }
        self.last.insert(who, (epoch, slots.clone()));
        if slots.is_empty() {
            return;
        }
        let claims = self.claims.entry(epoch).or_default();
        let both = claims.iter().find_map(|(other, theirs)| {
            let slot = theirs.iter().find(|slot| *other != who && slots.contains(*slot))?;
            Some((*other, slot))
        });
        let mine = claims.entry(who).or_default();
        slots.iter().for_each(|slot| mine.insert(slot));
        if let Some((other, slot)) = both {
            let text =
                format!("slot {slot} has two owners in config epoch {epoch}: {other} and {who}");
            self.violation(at_us, text);
        }
    }
}
