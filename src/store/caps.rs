//! What a store can do: what layers and the Vfs ask instead of which store it is.

/// What a store can do, constant for its life.
#[derive(Clone, Debug)]
pub struct Caps {
    /// The kind, as on the command line.
    pub kind: &'static str,
    /// Whether it can be written; otherwise every change is `ReadOnly`.
    pub write: bool,
    /// Whether it never changes, by anyone: a snapshot. The kernel may keep everything.
    pub immutable: bool,
    /// Whether listings come in the order of the raw bytes.
    pub ordered: bool,
    /// What the last segments of keys end in that may be there without being listed, as the empty segment may; nothing
    /// where no others are.
    pub unlisted: &'static str,
    /// Extended attributes of the store's own (§5.7) that can be set of values, with or without `attributes`.
    pub settable: &'static [&'static str],
    /// Whether values with parts are directories (§7), which have such attributes, too.
    pub collections: bool,
    /// Whether directories can be made ([`Change::Branch`](super::api::Change::Branch)).
    pub branches: bool,
    /// Whether attributes are kept: [`Change::Set`](super::api::Change::Set) and [`Change::Make`](super::api::Change::Make) (§5.2).
    pub attributes: bool,
    /// Whether it is a tree of directories, as a file system is: a key is a file or a directory and never both, a
    /// directory stays when its last name goes, and each has a mode, an owner and times of its own. Three renames of one
    /// [`Store::apply`](super::api::Store::apply) that exchange two keys by way of one that nobody uses are carried out at once.
    pub folders: bool,
    /// Whether [`Store::watch`](super::api::Store::watch) works.
    pub watch: bool,
    /// Whether [`Store::snapshot`](super::api::Store::snapshot) works.
    pub snapshot: bool,
    /// Whether [`Store::past`](super::api::Store::past) works, where its owner keeps old versions; then [`Store::snapshot`](super::api::Store::snapshot) does, too.
    pub past: bool,
    /// How much of an [`Store::apply`](super::api::Store::apply) is one transaction.
    pub atomic: Atomic,
    /// What it can rename by itself.
    pub rename: Rename,
    /// How long an answer takes; decides how many threads serve the mount.
    pub pace: Pace,
    /// The longest value, in bytes.
    pub value_max: u64,
    /// The longest key, in bytes of the store's own form.
    pub key_max: u32,
}

/// How much of an `apply` is one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomic {
    /// Each change alone.
    Key,
    /// All changes of one call together.
    Batch,
}

/// What a store can rename by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rename {
    /// A whole tree, at once.
    Tree,
    /// One value, at once.
    Leaf,
    /// Values and whole trees, by copies on the server and deletes: others see both for a while, and an interrupted one
    /// leaves the source.
    Copy,
    /// Nothing: `EXDEV`.
    No,
}

/// How long an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// Microseconds.
    Memory,
    /// Microseconds to milliseconds.
    Disk,
    /// Milliseconds, and sometimes never.
    Network,
}
