//! Which server has which keys: the only one all of them, the nodes of a cluster each some slots.

use std::sync::Arc;
use std::time::Instant;

use crc::{CRC_16_XMODEM, Crc};

use super::node::Node;
use crate::env;

/// What slots are counted by; its table is made once.
static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);
/// Slots of a cluster.
pub(super) const SLOTS: usize = 16384;
/// A slot that no node has.
const NOBODY: u16 = u16::MAX;

/// Which server has which keys, as of one moment.
pub(super) struct Topology {
    /// Each server once, with how many replicas follow it.
    nodes: Vec<(Arc<Node>, usize)>,
    /// Whose each slot is; empty where the first server has all keys.
    slots: Vec<u16>,
    /// When it was found out.
    pub found: Instant,
}

/// Slots from one to another, that one included, of a node with so many replicas.
pub(super) struct Range {
    pub first: usize,
    pub last: usize,
    pub node: Arc<Node>,
    pub replicas: usize,
}

impl Topology {
    /// One server with so many replicas, which has all keys.
    pub(super) fn of_one(node: Arc<Node>, replicas: usize) -> Topology {
        Topology { nodes: vec![(node, replicas)], slots: Vec::new(), found: env::instant() }
    }

    /// The nodes of a cluster.
    pub(super) fn of_cluster(ranges: &[Range]) -> Topology {
        let mut nodes: Vec<(Arc<Node>, usize)> = Vec::new();
        let mut slots = vec![NOBODY; SLOTS];
        for Range { first, last, node, replicas } in ranges {
            let index = nodes.iter().position(|(known, _)| known.number() == node.number());
            let index = index.unwrap_or_else(|| {
                nodes.push((Arc::clone(node), *replicas));
                nodes.len() - 1
            });
            if let Some(slots) = slots.get_mut(*first..=*last) {
                slots.fill(index as u16);
            }
        }
        Topology { nodes, slots, found: env::instant() }
    }

    /// All servers that have keys.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.nodes.iter().map(|(node, _)| node)
    }

    /// Whose a key is; `None` where nobody has its slot.
    pub(super) fn node_of(&self, key: &[u8]) -> Option<&Arc<Node>> {
        let index = if self.slots.is_empty() { 0 } else { self.slots[slot(key)] };
        self.nodes.get(usize::from(index)).map(|(node, _)| node)
    }

    /// The server of this number.
    pub(super) fn node(&self, number: u64) -> Option<&Arc<Node>> {
        self.nodes().find(|node| node.number() == number)
    }

    /// How many replicas follow the server of this number, as far as the others know; `None` where it is none of these.
    pub(super) fn replicas_of(&self, number: u64) -> Option<usize> {
        self.nodes.iter().find(|(node, _)| node.number() == number).map(|(_, replicas)| *replicas)
    }

    /// Whether one command, or one transaction, can have both keys.
    pub(super) fn are_together(&self, one: &[u8], other: &[u8]) -> bool {
        self.slots.is_empty() || slot(one) == slot(other)
    }

    /// Whether these are the same servers.
    pub(super) fn has_nodes_of(&self, other: &Topology) -> bool {
        let of = |topology: &Topology| {
            let mut numbers: Vec<u64> = topology.nodes().map(|node| node.number()).collect();
            numbers.sort_unstable();
            numbers
        };
        of(self) == of(other)
    }
}

/// The slot of a key: its CRC16, or that of what stands between the first braces (the cluster's specification, "hash tags").
pub(super) fn slot(key: &[u8]) -> usize {
    let tag = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&byte| byte == b'}')?;
        Some(&rest[..close]).filter(|tag| !tag.is_empty())
    });
    usize::from(CRC.checksum(tag.unwrap_or(key))) % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `CLUSTER KEYSLOT` answers.
    #[test]
    fn slots_are_those_of_the_specification() {
        for (key, expected) in [
            ("123456789", 12739),
            ("foo", 12182),
            ("{user1000}.following", slot(b"user1000")),
            ("foo{}{bar}", slot(b"foo{}{bar}")),
            ("foo{{bar}}zap", slot(b"{bar")),
            ("foo{bar}{zap}", slot(b"bar")),
            ("", 0),
        ] {
            assert_eq!(slot(key.as_bytes()), expected, "{key}");
        }
        assert_eq!(slot(b"foo{}{bar}"), usize::from(CRC.checksum(b"foo{}{bar}")) % SLOTS);
    }
}
