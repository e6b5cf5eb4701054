//! Inodes that the kernel knows: one table, one lock, never held across a call of a store.
//!
//! A node knows its parent and its name, not its key: the key is found by walking up, so that renaming a
//! directory touches one node, however many lie below.

// Hashing a name or a number is a good part of a lookup. This hash is fast, and seeded anew in each process, since names
// are chosen by others.
use foldhash::{HashMap, HashMapExt};
use std::sync::{Arc, Weak};

use super::buffer::Buffer;
use super::pages::Pages;
use crate::key::{Key, Segment, Word};
use crate::store::api::{Stat, Value};
use crate::store::attributes::{Attributes, FileType, Xattrs};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A file: a value, or one to be.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its target is its value.
    Symlink,
    /// A named pipe: the kernel needs no more than its name.
    Fifo,
    /// The name of a socket, likewise.
    Socket,
}

impl What {
    /// What the store has.
    pub fn of(stat: &Stat) -> What {
        if stat.kind.is_directory() { What::Directory } else { What::of_type(stat.file.file_type) }
    }

    /// A file of this type.
    pub fn of_type(file_type: FileType) -> What {
        match file_type {
            FileType::Regular => What::File,
            FileType::Symlink => What::Symlink,
            FileType::Fifo => What::Fifo,
            FileType::Socket => What::Socket,
        }
    }
}

/// The attributes of a file that lost its name: those under its key are another file's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nameless {
    /// All but the extended ones.
    pub attributes: Attributes,
    /// The extended ones.
    pub xattrs: Xattrs,
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
    /// Its attributes, once it was unlinked.
    pub nameless: Option<Box<Nameless>>,
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
    /// Which version the kernel's pages of this file are from.
    pub pages: Option<Pages>,
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
            nameless: None,
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
    /// Nodes that lost their names to other programs' changes, by the directory that they hang in.
    detached: HashMap<Ino, Vec<Ino>>,
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
        let nodes = std::iter::once((ROOT, root)).collect();
        Table { nodes, detached: HashMap::new(), renumbered: false }
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

    /// The names in this directory that the kernel may know, with their nodes, as [`Table::child`] finds them.
    pub fn children(&self, parent: Ino) -> Vec<(Ino, Vec<u8>, Option<Ino>)> {
        let children = self.nodes.get(&parent).map(|node| &node.children);
        children.into_iter().flatten().map(|(name, ino)| (parent, name.to_vec(), Some(*ino))).collect()
    }

    /// The nodes whose bytes belong to the key of this name, in the order of their numbers: the one that has the name,
    /// and those that lost it to another program's change.
    pub fn of_name(&self, parent: Ino, name: &[u8]) -> smallvec::SmallVec<[Ino; 2]> {
        let detached = self.detached.get(&parent).into_iter().flatten().copied();
        let detached = detached.filter(|ino| self.get(*ino).is_some_and(|node| *node.name == *name));
        let mut nodes: smallvec::SmallVec<_> = self.child(parent, name).into_iter().chain(detached).collect();
        nodes.sort_unstable();
        nodes
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
            what: node.what,
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
                && node.what == what
            {
                node.lookups += 1;
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
            self.not_detached(node.parent, at);
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
        if let Some(parent) = self.take_name(ino) {
            self.detached.entry(parent).or_default().push(ino);
        }
        self.collect(ino);
    }

    fn not_detached(&mut self, parent: Ino, ino: Ino) {
        if let Some(detached) = self.detached.get_mut(&parent) {
            detached.retain(|other| *other != ino);
            if detached.is_empty() {
                self.detached.remove(&parent);
            }
        }
    }

    /// Takes this node's name away.
    pub fn unlink(&mut self, ino: Ino) {
        self.unlink_with(ino, None);
    }

    /// Takes this node's name away, and gives it the attributes that the file of that name had.
    pub fn unlink_with(&mut self, ino: Ino, nameless: Option<Box<Nameless>>) {
        if let Some(node) = self.nodes.get_mut(&ino) {
            node.linked = false;
            node.nameless = nameless;
            let parent = node.parent;
            self.not_detached(parent, ino);
        }
        self.take_name(ino);
        self.collect(ino);
    }

    /// Answers the directory in which this node had its name, where it had one.
    fn take_name(&mut self, ino: Ino) -> Option<Ino> {
        let node = self.nodes.get(&ino)?;
        let (parent, name) = (node.parent, node.name.clone());
        let directory = self.nodes.get_mut(&parent)?;
        if directory.children.get(&name) != Some(&ino) {
            return None;
        }
        directory.children.remove(&name);
        Some(parent)
    }

    /// Hangs the nodes of a name under another one; whoever had that was unlinked before.
    pub fn rename(&mut self, old: (Ino, &[u8]), new: (Ino, &[u8]), step: &Step) {
        let named = self.child(old.0, old.1);
        for ino in self.of_name(old.0, old.1) {
            self.renumbered = true;
            if let Some(node) = self.nodes.get_mut(&ino) {
                (node.parent, node.name, node.step) = (new.0, new.1.into(), step.clone());
            }
            if let Some(directory) = self.nodes.get_mut(&old.0) {
                directory.hanging = directory.hanging.saturating_sub(1);
            }
            if let Some(directory) = self.nodes.get_mut(&new.0) {
                directory.hanging += 1;
            }
            if named != Some(ino) {
                self.not_detached(old.0, ino);
                self.detached.entry(new.0).or_default().push(ino);
            }
        }
        if let Some(directory) = self.nodes.get_mut(&old.0) {
            directory.children.remove(old.1);
        }
        if let (Some(ino), Some(directory)) = (named, self.nodes.get_mut(&new.0)) {
            directory.children.insert(new.1.into(), ino);
        }
        self.collect(old.0);
    }

    /// Exchanges the nodes of two names, with what each name adds to a key; neither hangs below the other.
    pub fn exchange(&mut self, one: ((Ino, &[u8]), &Step), other: ((Ino, &[u8]), &Step)) {
        /// On the way: no file name has a NUL.
        const WAY: &[u8] = b"\0";
        let ((one, step), (other, other_step)) = (one, other);
        self.rename(one, (other.0, WAY), other_step);
        self.rename(other, one, step);
        self.rename((other.0, WAY), other, other_step);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_renamed_directory_takes_its_children_along() {
        let mut table = Table::new();
        let a = table.remember(ROOT, b"a", Step::Plain, What::Directory, 10);
        let b = table.remember(a, b"b", Step::Plain, What::File, 11);
        let c = table.remember(ROOT, b"c", Step::Plain, What::Directory, 12);
        table.rename((ROOT, b"a"), (c, b"d"), &Step::Plain);
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
        let (in_a, in_root) = ((a, &b"b"[..]), (ROOT, &b"c"[..]));
        table.exchange((in_a, &Step::Plain), (in_root, &Step::Plain));
        assert_eq!(table.key(b), Some(Key::of([b"c" as &[u8]])));
        assert_eq!(table.key(d), Some(Key::of([b"a" as &[u8], b"b", b"d"])));
        table.exchange((in_root, &Step::Plain), (in_a, &Step::Plain));
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
