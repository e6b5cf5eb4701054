//! Inodes that the kernel knows: one table, one lock, never held across a call of a store.
//!
//! A node knows its parent and its name, not its key: the key is found by walking up, so that renaming a
//! directory touches one node, however many lie below.

// Hashing a name or a number is a good part of a lookup. This hash is fast, and seeded anew in each process, since names
// are chosen by others.
use foldhash::{HashMap, HashMapExt};
use std::sync::{Arc, Weak};
use std::time::SystemTime;

use twox_hash::XxHash3_64;

use super::buffer::Buffer;
use super::overlay::Attributes;
use crate::key::{Key, Segment, Word};
use crate::store::api::Value;

/// An inode number.
pub type Ino = u64;

/// The inode number of a mount's root.
pub const ROOT: Ino = 1;

/// What a node's name adds to the key of the directory above.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The name itself is the segment.
    Plain,
    /// The name spells this segment.
    Coded(Box<[u8]>, Word),
    /// Nothing: `%value` is the value of the directory's own key (§1.7).
    Value,
    /// Nothing yet: a `%more` directory, with the encoded name as far as it is known (§1.8).
    More(Box<[u8]>),
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A file: a value, or one to be.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its target lives in the mount.
    Symlink(Box<[u8]>),
}

/// One inode.
pub struct Node {
    /// The directory it hangs in; the root is its own parent.
    pub parent: Ino,
    /// Its name there.
    pub name: Box<[u8]>,
    /// What the name adds to the key.
    pub step: Step,
    /// What it is.
    pub what: What,
    /// False once it was unlinked: open handles go on, nothing reaches the store.
    pub linked: bool,
    /// What was set on it, once it was unlinked: what the overlay has under its key is another file's.
    pub attributes: Option<Box<Attributes>>,
    /// How often the kernel was told of it and has not forgotten it.
    pub lookups: u64,
    /// Open handles, files and directories.
    pub opens: u32,
    /// Open handles that write past the kernel's pages: while there are any, all others read past them too.
    pub past_pages: u32,
    /// How many nodes have this one for their parent: those below, and those that lost their names and are in use.
    hanging: u32,
    /// Nodes that hang here, by name.
    pub children: HashMap<Box<[u8]>, Ino>,
    /// The bytes being written, while there are any.
    pub buffer: Option<Arc<Buffer>>,
    /// How often it was put: whoever removes it looks whether that came between.
    pub puts: u64,
    /// The size that the kernel was told last, in bytes.
    pub told: u64,
    /// Which version the kernel's pages of this file are from, by its time of change.
    pub pages: Option<SystemTime>,
    /// The version that open handles read, while there are any.
    pub reading: Option<Weak<dyn Value>>,
}

impl Node {
    fn new(parent: Ino, name: &[u8], step: Step, what: What) -> Node {
        Node {
            parent,
            name: name.into(),
            step,
            what,
            linked: true,
            attributes: None,
            lookups: 0,
            opens: 0,
            past_pages: 0,
            hanging: 0,
            children: HashMap::new(),
            buffer: None,
            puts: 0,
            told: 0,
            pages: None,
            reading: None,
        }
    }

    fn is_unused(&self) -> bool {
        self.lookups == 0 && self.opens == 0 && self.hanging == 0 && self.buffer.is_none()
    }
}

/// Where a node stands: all that the operations need of it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The key: of the value, of the directory, or, in a `%more` directory, of the directory above all of them.
    pub key: Key,
    /// What it is.
    pub what: What,
    /// In a `%more` directory: the encoded name as far as it is known.
    pub more: Option<Box<[u8]>>,
    /// Whether it still has a name.
    pub linked: bool,
    /// Whether it is the `%value` of a directory.
    pub is_value: bool,
}

/// All nodes.
pub struct Table {
    nodes: HashMap<Ino, Node>,
    /// Whether a node may have another number than its key gives it: after the first rename, or the first clash.
    pub renumbered: bool,
}

impl Default for Table {
    fn default() -> Table {
        Table::new()
    }
}

impl Table {
    /// A table that holds the root.
    pub fn new() -> Table {
        let mut root = Node::new(ROOT, b"", Step::Plain, What::Directory);
        root.lookups = 1;
        Table { nodes: std::iter::once((ROOT, root)).collect(), renumbered: false }
    }

    /// How many inodes the kernel knows.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Never: the root is always there.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node of this number.
    pub fn get(&self, ino: Ino) -> Option<&Node> {
        self.nodes.get(&ino)
    }

    /// The node of this number, to be changed.
    pub fn get_mut(&mut self, ino: Ino) -> Option<&mut Node> {
        self.nodes.get_mut(&ino)
    }

    /// Every node.
    pub fn iter(&self) -> impl Iterator<Item = (Ino, &Node)> {
        self.nodes.iter().map(|(&ino, node)| (ino, node))
    }

    /// The number of the node of this name in this directory, if the kernel may know it.
    pub fn child(&self, parent: Ino, name: &[u8]) -> Option<Ino> {
        self.nodes.get(&parent)?.children.get(name).copied()
    }

    /// Where this node stands.
    pub fn place(&self, ino: Ino) -> Option<Place> {
        let node = self.nodes.get(&ino)?;
        let more = match &node.step {
            Step::More(prefix) => Some(prefix.clone()),
            _ => None,
        };
        Some(Place {
            key: self.key(ino)?,
            what: node.what.clone(),
            more,
            linked: node.linked,
            is_value: node.step == Step::Value,
        })
    }

    /// The key of this node.
    pub fn key(&self, ino: Ino) -> Option<Key> {
        let mut path: smallvec::SmallVec<[&Node; 16]> = smallvec::SmallVec::new();
        let mut at = ino;
        while at != ROOT {
            let node = self.nodes.get(&at)?;
            path.push(node);
            at = node.parent;
        }
        let mut key = Key::root();
        for node in path.iter().rev() {
            match &node.step {
                Step::Plain => key.push(Segment::plain(&node.name)),
                Step::Coded(bytes, word) => key.push(Segment { bytes, word: *word }),
                Step::Value | Step::More(_) => {}
            }
        }
        Some(key)
    }

    /// The node for this name, made if it is new; one more lookup is counted. A name that changed what it is (a
    /// file that another program made a directory) gets a node of its own.
    pub fn remember(&mut self, parent: Ino, name: &[u8], step: Step, what: What, hash: u64) -> Ino {
        if let Some(ino) = self.child(parent, name) {
            if let Some(node) = self.nodes.get_mut(&ino)
                && std::mem::discriminant(&node.what) == std::mem::discriminant(&what)
            {
                node.lookups += 1;
                node.what = what;
                return ino;
            }
            self.unlink(ino);
        }
        let ino = self.free_number(hash);
        self.renumbered |= ino != hash;
        let mut node = Node::new(parent, name, step, what);
        node.lookups = 1;
        if let Some(directory) = self.nodes.get_mut(&parent) {
            directory.children.insert(name.into(), ino);
            directory.hanging += 1;
        }
        self.nodes.insert(ino, node);
        ino
    }

    /// The number for this hash (§5.6): the hash itself, or the next that no live inode has.
    fn free_number(&self, hash: u64) -> Ino {
        let mut ino = hash.max(ROOT + 1);
        while self.nodes.contains_key(&ino) {
            ino = ino.wrapping_add(1).max(ROOT + 1);
        }
        ino
    }

    /// Takes back `count` lookups.
    pub fn forget(&mut self, ino: Ino, count: u64) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.lookups = node.lookups.saturating_sub(count);
            self.collect(ino);
        }
    }

    /// Drops this node, and those above it, that nobody uses.
    pub fn collect(&mut self, ino: Ino) {
        let mut at = ino;
        while at != ROOT && self.nodes.get(&at).is_some_and(Node::is_unused) {
            let Some(node) = self.nodes.remove(&at) else { return };
            if let Some(parent) = self.nodes.get_mut(&node.parent) {
                parent.hanging = parent.hanging.saturating_sub(1);
                if parent.children.get(&node.name) == Some(&at) {
                    parent.children.remove(&node.name);
                }
            }
            at = node.parent;
        }
    }

    /// Takes this node's name for another node; what is written to it still belongs to its key.
    pub fn detach(&mut self, ino: Ino) {
        self.take_name(ino);
        self.collect(ino);
    }

    /// Takes this node's name away.
    pub fn unlink(&mut self, ino: Ino) {
        self.unlink_with(ino, None);
    }

    /// Takes this node's name away, and gives it what was set on the file of that name.
    pub fn unlink_with(&mut self, ino: Ino, attributes: Option<Box<Attributes>>) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.linked = false;
            node.attributes = attributes;
        }
        self.take_name(ino);
        self.collect(ino);
    }

    fn take_name(&mut self, ino: Ino) {
        let Some(node) = self.nodes.get(&ino) else { return };
        let (parent, name) = (node.parent, node.name.clone());
        if let Some(directory) = self.nodes.get_mut(&parent)
            && directory.children.get(&name) == Some(&ino)
        {
            directory.children.remove(&name);
        }
    }

    /// Hangs this node under another name; whoever had that name was unlinked before.
    pub fn rename(&mut self, ino: Ino, parent: Ino, name: &[u8], step: Step) {
        self.renumbered = true;
        let Some(node) = self.nodes.get_mut(&ino) else { return };
        let old_parent = std::mem::replace(&mut node.parent, parent);
        let old_name = std::mem::replace(&mut node.name, name.into());
        node.step = step;
        if let Some(directory) = self.nodes.get_mut(&old_parent) {
            directory.children.remove(&old_name);
            directory.hanging = directory.hanging.saturating_sub(1);
        }
        if let Some(directory) = self.nodes.get_mut(&parent) {
            directory.children.insert(name.into(), ino);
            directory.hanging += 1;
        }
        self.collect(old_parent);
    }

    /// Exchanges the names of two nodes, neither of which hangs below the other.
    pub fn exchange(&mut self, one: Ino, other: Ino) {
        self.renumbered = true;
        let stands = |node: &Node| (node.parent, node.name.clone(), node.step.clone());
        let (Some(own), Some(others)) =
            (self.nodes.get(&one).map(stands), self.nodes.get(&other).map(stands))
        else {
            return;
        };
        // In each directory as many hang as before.
        for (ino, (parent, name, step)) in [(one, others), (other, own)] {
            if let Some(directory) = self.nodes.get_mut(&parent) {
                directory.children.insert(name.clone(), ino);
            }
            if let Some(node) = self.nodes.get_mut(&ino) {
                (node.parent, node.name, node.step) = (parent, name, step);
            }
        }
    }

    /// Whether `ino` is `ancestor` or hangs below it.
    pub fn is_below(&self, ino: Ino, ancestor: Ino) -> bool {
        let mut at = ino;
        while at != ROOT && at != ancestor {
            match self.nodes.get(&at) {
                Some(node) => at = node.parent,
                None => return false,
            }
        }
        at == ancestor
    }
}

/// The hash that an inode number starts from: of the segments, one after the other, so that a listing hashes its
/// directory once (§5.6).
pub mod number {
    use super::{Key, Segment, XxHash3_64};

    /// The hash of a directory's key, to which its children add.
    pub fn of_key(key: &Key) -> u64 {
        key.segments().fold(0, below)
    }

    /// The hash of a segment below a directory.
    pub fn below(directory: u64, segment: Segment<'_>) -> u64 {
        XxHash3_64::oneshot_with_seed(directory ^ ((segment.word as u64) << 56), segment.bytes)
    }

    /// The number of a file with this hash.
    pub fn of_file(hash: u64) -> u64 {
        spread(hash)
    }

    /// The number of a directory with this hash.
    pub fn of_directory(hash: u64) -> u64 {
        spread(hash ^ 0x6469_7265_6374_6f72)
    }

    /// The number of a `%more` directory below one with this hash.
    pub fn of_more(hash: u64, prefix: &[u8]) -> u64 {
        spread(XxHash3_64::oneshot_with_seed(hash ^ 0x006d_6f72_652f_6d6f, prefix))
    }

    /// Inode numbers stay positive as signed numbers, which some tools store them in.
    fn spread(hash: u64) -> u64 {
        (hash >> 1).max(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_directory_takes_its_children_along() {
        let mut table = Table::new();
        let a = table.remember(ROOT, b"a", Step::Plain, What::Directory, 10);
        let b = table.remember(a, b"b", Step::Plain, What::File, 11);
        let c = table.remember(ROOT, b"c", Step::Plain, What::Directory, 12);
        table.rename(a, c, b"d", Step::Plain);
        assert_eq!(table.key(b), Some(Key::of([b"c" as &[u8], b"d", b"b"])));
        assert_eq!(table.child(ROOT, b"a"), None);
        assert!(table.is_below(b, c));
    }

    #[test]
    fn two_exchanged_nodes_have_each_others_names() {
        let mut table = Table::new();
        let a = table.remember(ROOT, b"a", Step::Plain, What::Directory, 10);
        let b = table.remember(a, b"b", Step::Plain, What::File, 11);
        let c = table.remember(ROOT, b"c", Step::Plain, What::Directory, 12);
        let d = table.remember(c, b"d", Step::Plain, What::File, 13);
        table.exchange(b, c);
        assert_eq!(table.key(b), Some(Key::of([b"c" as &[u8]])));
        assert_eq!(table.key(d), Some(Key::of([b"a" as &[u8], b"b", b"d"])));
        table.exchange(c, b);
        for (ino, key) in [(b, [b"a" as &[u8], b"b"]), (d, [b"c", b"d"])] {
            assert_eq!(table.key(ino), Some(Key::of(key)));
        }
        for ino in [d, c, b, a] {
            table.forget(ino, 1);
        }
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_forgotten_parent_stays_while_a_child_needs_it() {
        let mut table = Table::new();
        let a = table.remember(ROOT, b"a", Step::Plain, What::Directory, 10);
        let b = table.remember(a, b"b", Step::Plain, What::File, 11);
        table.forget(a, 1);
        assert_eq!(table.key(b), Some(Key::of([b"a" as &[u8], b"b"])));
        table.forget(b, 1);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn a_directory_stays_while_a_file_that_lost_its_name_there_is_open() {
        let mut table = Table::new();
        let a = table.remember(ROOT, b"a", Step::Plain, What::Directory, 10);
        for lose in [Table::unlink, Table::detach] {
            let b = table.remember(a, b"b", Step::Plain, What::File, 11);
            table.get_mut(b).unwrap().opens = 1;
            lose(&mut table, b);
            table.forget(b, 1);
            table.forget(a, 1);
            assert_eq!(table.key(b), Some(Key::of([b"a" as &[u8], b"b"])));
            table.get_mut(b).unwrap().opens = 0;
            table.get_mut(a).unwrap().lookups = 1;
            table.collect(b);
        }
        table.forget(a, 1);
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn promise_5_6_a_clash_with_a_live_inode_probes_on() {
        let mut table = Table::new();
        let a = table.remember(ROOT, b"a", Step::Plain, What::File, 10);
        let b = table.remember(ROOT, b"b", Step::Plain, What::File, 10);
        assert_eq!((a, b), (10, 11));
    }
}
