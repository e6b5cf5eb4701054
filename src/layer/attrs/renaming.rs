//! Renames: what is kept moves with the values. The store moves them in a transaction of its own, so an *intent* is
//! written down before, by which a later mount finishes what a dead daemon has begun.
//!
//! What is kept of the renamed thing itself is written last, in one transaction with the end of the intent; what is
//! kept below it moves before that, in batches, each with how far the intent has come.

use serde::{Deserialize, Serialize};

use super::Attrs;
use super::draft::Draft;
use super::keys::{INTENT, all_below, key_of, path_of, record_key};
use super::plan::moved;
use super::record::{Name, Record};
use super::sidecar::Edited;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::Stat;

/// Edits in one transaction.
pub(super) const BATCH: usize = if cfg!(test) { 64 } else { 4096 };
/// Values that are looked at to tell whether a rename has happened.
const EVIDENCE_MAX: usize = 64;

/// One rename.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Moving {
    pub from: Key,
    pub to: Key,
    /// Whether all below moves too.
    pub tree: bool,
    /// Whether a value moves; and not only what is below, or what exists in the sidecar alone.
    pub value: bool,
}

/// Renames that the store is about to do, or that the sidecar is carrying out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    #[serde(with = "moves_as_paths")]
    pub moves: Vec<Moving>,
    /// Whether the store moves something, and tells by that whether it has happened.
    pub stored: bool,
    /// Which of them is under way below.
    at: usize,
    /// Whether what was below its new place is gone.
    cleared: bool,
}

mod moves_as_paths {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::{Moving, key_of, path_of};

    type Row = (Vec<u8>, Vec<u8>, bool, bool);

    pub fn serialize<S: Serializer>(moves: &[Moving], serializer: S) -> Result<S::Ok, S::Error> {
        let row = |m: &Moving| -> Row { (path_of(&m.from), path_of(&m.to), m.tree, m.value) };
        moves.iter().map(row).collect::<Vec<_>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Moving>, D::Error> {
        let rows = Vec::<Row>::deserialize(deserializer)?;
        let moving = |(from, to, tree, value): Row| {
            Some(Moving { from: key_of(&from)?, to: key_of(&to)?, tree, value })
        };
        rows.into_iter().map(moving).collect::<Option<_>>().ok_or_else(|| D::Error::custom("a path"))
    }
}

impl Intent {
    /// To carry out `moves`.
    pub fn of(moves: Vec<Moving>, stored: bool) -> Intent {
        Intent { moves, stored, at: 0, cleared: false }
    }

    fn edit(&self) -> Result<Edited> {
        let bytes = serde_json::to_vec(self).map_err(|e| Error::new(ErrorKind::Io, e.to_string()))?;
        Ok((INTENT.to_vec(), Some(bytes)))
    }
}

impl Attrs {
    /// Writes down what the store is about to do, if anything is kept of what moves or of what is in its place.
    ///
    /// # Errors
    /// The sidecar's.
    pub(super) fn intend(&self, intent: &Intent) -> Result<bool> {
        if !intent.stored || !self.keeps_any(intent)? {
            return Ok(false);
        }
        self.sidecar.write(&[intent.edit()?])?;
        Ok(true)
    }

    fn keeps_any(&self, intent: &Intent) -> Result<bool> {
        for moving in &intent.moves {
            for key in [&moving.from, &moving.to] {
                let record = self.sidecar.get(&record_key(key, false))?.is_some();
                if record || self.sidecar.get(&record_key(key, true))?.is_some() || self.name(key)?.is_some()
                {
                    return Ok(true);
                }
                let below = if moving.tree { &all_below(key)[..] } else { &[] };
                for prefix in below {
                    if !self.sidecar.keys(prefix, None, 1)?.is_empty() {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// The store did not do it.
    pub(super) fn give_up(&self) {
        if let Err(error) = self.sidecar.write(&[(INTENT.to_vec(), None)]) {
            // The next mount finds that it has not happened.
            tracing::debug!("an intent stays: {error}");
        }
    }

    /// Moves all that is kept below what moves. What is left to write of it, less than a batch, is answered.
    ///
    /// # Errors
    /// The sidecar's; the intent is there then, with how far it has come.
    pub(super) fn move_below(&self, intent: &mut Intent) -> Result<Vec<Edited>> {
        let mut batch: Vec<Edited> = Vec::new();
        while let Some(moving) = intent.moves.get(intent.at).cloned() {
            if moving.tree {
                let (from, to) = (all_below(&moving.from), all_below(&moving.to));
                if !intent.cleared {
                    for prefix in &to {
                        self.each_below(prefix, None, intent, &mut batch)?;
                    }
                    intent.cleared = true;
                }
                for (from, to) in from.iter().zip(&to) {
                    self.each_below(from, Some(to), intent, &mut batch)?;
                }
            }
            intent.at += 1;
            intent.cleared = false;
            if intent.at < intent.moves.len() && !batch.is_empty() {
                batch.push(intent.edit()?);
                self.sidecar.write(&std::mem::take(&mut batch))?;
            }
        }
        Ok(batch)
    }

    /// Moves everything that starts with `prefix` to another one, or removes it; batches are written as they fill.
    fn each_below(
        &self,
        prefix: &[u8],
        to: Option<&[u8]>,
        intent: &Intent,
        batch: &mut Vec<Edited>,
    ) -> Result<()> {
        let mut last: Option<Vec<u8>> = None;
        loop {
            let wholes = self.sidecar.keys(prefix, last.as_deref(), BATCH)?;
            if wholes.is_empty() {
                return Ok(());
            }
            for whole in wholes {
                if let Some(to) = to {
                    batch.push(([to, &whole[prefix.len()..]].concat(), self.sidecar.get(&whole)?));
                }
                batch.push((whole.clone(), None));
                if batch.len() >= BATCH {
                    batch.push(intent.edit()?);
                    self.sidecar.write(&std::mem::take(batch))?;
                }
                last = Some(whole);
            }
        }
    }

    /// Finishes what was intended and not carried out, if the store has done its part.
    ///
    /// # Errors
    /// As for reading; the sidecar's.
    pub(super) fn finish_intent(&self) -> Result<()> {
        let Some(bytes) = self.sidecar.get(INTENT)?.filter(|_| self.caps.write) else { return Ok(()) };
        let mut edits = Vec::new();
        match serde_json::from_slice::<Intent>(&bytes) {
            Ok(mut intent) if !intent.stored || self.has_happened(&intent)? => {
                edits = self.move_below(&mut intent)?;
                let mut draft = Draft::new(&self.sidecar);
                intent.moves.iter().try_for_each(|moving| move_itself(&mut draft, moving))?;
                edits.extend(draft.into_edits());
            }
            Ok(_) => {}
            Err(_) => self.sidecar.warn_of_unreadable(INTENT),
        }
        edits.push((INTENT.to_vec(), None));
        self.sidecar.write(&edits)
    }

    /// Whether the store has done what was intended.
    fn has_happened(&self, intent: &Intent) -> Result<bool> {
        if let [moving] = intent.moves.as_slice() {
            let there = |stat: Option<Stat>| match moving.tree {
                true => stat.is_some(),
                false => stat.is_some_and(|stat| stat.kind.has_value()),
            };
            return Ok(!there(self.store.stat(&moving.from)?) && there(self.store.stat(&moving.to)?));
        }
        // Where two things change places, both are there before and after: their values tell.
        for (index, moving) in intent.moves.iter().enumerate() {
            if intent.moves[..index].iter().any(|earlier| earlier.to == moving.from) {
                continue;
            }
            let mut end = moving.to.clone();
            for later in intent.moves[index + 1..].iter().filter(|later| later.to != moving.to) {
                if end.starts_with(&later.from) {
                    end = moved(&end, &later.from, &later.to);
                }
            }
            if let Some(happened) = self.evidence(&moving.from, &end)? {
                return Ok(happened);
            }
        }
        Ok(false)
    }

    /// Whether values that were at `from` are at `to`; `None` where nothing tells.
    fn evidence(&self, from: &Key, to: &Key) -> Result<Option<bool>> {
        let mut wholes = vec![record_key(from, false)];
        wholes.extend(
            self.sidecar.keys(&all_below(from)[0], None, EVIDENCE_MAX)?.into_iter().take(EVIDENCE_MAX),
        );
        for whole in wholes {
            let record = self.sidecar.get(&whole)?.and_then(|bytes| Record::decode_attributes(&bytes));
            let Some(fingerprint) = record.and_then(|record| record.fingerprint) else { continue };
            let Some(old) = key_of(&whole[1..]) else { continue };
            let is_at =
                |key: &Key| self.store.open(key)?.map_or(Ok(false), |value| fingerprint.is_of(&*value));
            match (is_at(&old)?, is_at(&moved(&old, from, to))?) {
                (false, true) => return Ok(Some(true)),
                (true, false) => return Ok(Some(false)),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// Moves what is kept of the renamed thing itself. What was in its place goes.
///
/// # Errors
/// As for reading.
pub(super) fn move_itself(draft: &mut Draft<'_>, moving: &Moving) -> Result<()> {
    let Moving { from, to, tree, value } = moving;
    let special = |name: &Option<Name>| matches!(name, Some(Name::Special { .. }));
    let (name, target) = (draft.name(from)?, draft.name(to)?);
    if *value {
        draft.rename(record_key(from, false), record_key(to, false))?;
    }
    if *tree {
        draft.rename(record_key(from, true), record_key(to, true))?;
    }
    if *tree || special(&target) {
        draft.remove_name(to)?;
    }
    if *tree || special(&name) {
        draft.remove_name(from)?;
        // A value that moves has the place of what was no file of bytes.
        if let Some(name) = name
            && !(*value && matches!(name, Name::Special { .. }))
        {
            draft.set_name(to, &name)?;
        }
    }
    Ok(())
}
