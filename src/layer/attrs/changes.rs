//! Carrying out a batch: the store first, then the sidecar, in one write.

use std::sync::atomic::Ordering;
use std::time::SystemTime;

use super::Attrs;
use super::draft::Draft;
use super::keys::{INTENT, record_key};
use super::plan::{Plan, Step};
use super::record::{Name, Record};
use super::renaming::{Intent, move_itself};
use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::store::api::Change;
use crate::store::attributes::Setting;

/// The key of a file that is changed by itself, and not moved.
fn file_changed<'k>(change: &Change<'k>) -> Option<&'k Key> {
    match change {
        Change::Put { key, .. } | Change::Delete { key, .. } | Change::Make { key, .. } => Some(key),
        Change::Set { key, directory: false, .. } => Some(key),
        _ => None,
    }
}

/// Whether the caller asked for something that the sidecar alone keeps, and is told where that fails.
fn is_asked(change: &Change<'_>) -> bool {
    match change {
        Change::Make { .. } | Change::Branch { .. } => true,
        Change::Set { attributes, .. } => {
            let Setting { mtime: _, ctime: _, atime: _, ref mode, uid, gid, ino, ref xattrs } = **attributes;
            mode.is_some() || uid.is_some() || gid.is_some() || ino.is_some() || !xattrs.is_empty()
        }
        _ => false,
    }
}

impl Attrs {
    /// [`crate::store::api::Store::apply`].
    pub(super) fn carry_out(&self, changes: &[Change<'_>]) -> Result<()> {
        if !self.caps.write {
            return Err(Error::new(ErrorKind::ReadOnly, "this store is mounted read-only"));
        }
        let renames = changes.iter().any(|change| matches!(change, Change::Rename { .. }));
        let structures = changes.iter().any(|change| {
            matches!(change, Change::Branch { .. } | Change::RemoveBranch { .. } | Change::Make { .. })
        });
        let (_alone, _together) = match renames {
            true => (Some(self.order.write()), None),
            false => (None, Some(self.order.read())),
        };
        let _unseen = (renames && !self.is_bare()).then(|| self.moving.write());
        let _structure = structures.then(|| self.structure.lock());
        let _held = self.changing.hold(changes.iter().filter_map(file_changed));
        // Before the store is changed: what others change from here on makes doubtful what is recorded.
        let epoch = self.epoch().unwrap_or_default();
        if renames && self.unfinished.swap(false, Ordering::AcqRel) {
            self.finish_intent().inspect_err(|_| self.unfinished.store(true, Ordering::Release))?;
        }
        let mut plan = Plan::of(self, changes)?;
        let kept = |step: &Step<'_>| matches!(step, Step::Set { .. } | Step::Name { .. });
        let asked = changes.iter().any(is_asked);
        if plan.steps.iter().any(kept)
            && let Err(error) = self.make_sidecar()
        {
            if asked {
                return Err(error);
            }
            self.warn_once(&error);
        }
        let mut intent = plan.intent().filter(|_| !self.is_bare());
        let written = intent.as_ref().map_or(Ok(false), |intent| self.intend(intent))?;
        if !plan.store.is_empty()
            && let Err(error) = self.store.apply(&mut plan.store)
        {
            match error.kind() {
                // Nobody knows whether it has happened: what the store has tells, later.
                ErrorKind::TimedOut | ErrorKind::Uncertain | ErrorKind::Io => {
                    self.unfinished.store(written, Ordering::Release)
                }
                _ if written => self.give_up(),
                _ => {}
            }
            return Err(error);
        }
        if self.is_bare() || plan.steps.is_empty() {
            return Ok(());
        }
        let recorded = self.record(&plan.steps, intent.as_mut(), written, epoch);
        if let Err(error) = recorded {
            // What is recorded may be of other bytes now.
            self.trust.distrust();
            self.unfinished.store(renames, Ordering::Release);
            if asked {
                return Err(error.context("the attributes could not be kept"));
            }
            self.warn_once(&error);
        }
        Ok(())
    }

    /// Writes what follows from changes that the store has carried out.
    fn record(
        &self,
        steps: &[Step<'_>],
        intent: Option<&mut Intent>,
        written: bool,
        epoch: u64,
    ) -> Result<()> {
        let _alone = self.edits.lock();
        let numbers = |step: &Step<'_>| matches!(step, Step::Set { setting, .. } if setting.ino.is_some());
        if steps.iter().any(numbers) {
            self.note_numbers()?;
        }
        let mut edits = Vec::new();
        if let Some(intent) = intent {
            edits = self.move_below(intent)?;
            // A tree's may have been written on the way.
            if written || intent.moves.iter().any(|moving| moving.tree) {
                edits.push((INTENT.to_vec(), None));
            }
        }
        let (mut draft, now) = (Draft::new(&self.sidecar), env::now());
        for step in steps {
            take_step(&mut draft, step, epoch, now)?;
        }
        edits.extend(draft.into_edits());
        self.sidecar.write(&edits)
    }
}

/// What one step means for what is kept.
fn take_step(draft: &mut Draft<'_>, step: &Step<'_>, epoch: u64, now: SystemTime) -> Result<()> {
    match step {
        Step::Put { key, fingerprint, fresh } => {
            let kept = if *fresh { None } else { draft.record(key, false)? };
            let mut record = kept.unwrap_or_default();
            record.attributes.mtime = Some(now);
            record.attributes.ctime = Some(now);
            record.fingerprint = Some(*fingerprint);
            record.epoch = epoch;
            draft.set_record(key, false, &record);
            Ok(())
        }
        Step::Made { .. } => Ok(()),
        Step::Delete { key } => draft.remove(record_key(key, false)),
        Step::Name { key, name } => draft.set_name(key, name),
        Step::Unname { key } => draft.remove_name(key),
        Step::Remove { key } => {
            draft.remove_name(key)?;
            draft.remove(record_key(key, true))
        }
        Step::Set { key, directory, special, setting, value } => {
            if *special && let Some(Name::Special { target, mut record }) = draft.name(key)? {
                setting.apply(&mut record.attributes);
                setting.apply_xattrs(&mut record.xattrs);
                return draft.set_name(key, &Name::Special { target, record });
            }
            let mut record = draft.record(key, *directory)?.unwrap_or_default();
            if *directory {
                if record.epoch != epoch {
                    record.drop_times();
                }
                record.epoch = epoch;
            } else if let Some(value) = value {
                if record.fingerprint != Some(*value) {
                    record.drop_times();
                }
                record.fingerprint = Some(*value);
                record.epoch = epoch;
            } else if setting.ctime.is_some() {
                // Of no bytes in particular: it holds as long as nobody else changes anything.
                if record.epoch != epoch {
                    record.drop_times();
                }
                record.epoch = epoch;
            }
            set(draft, key, *directory, record, setting)
        }
        Step::Move(moving) => move_itself(draft, moving),
    }
}

fn set(
    draft: &mut Draft<'_>,
    key: &Key,
    directory: bool,
    mut record: Record,
    setting: &Setting,
) -> Result<()> {
    setting.apply(&mut record.attributes);
    setting.apply_xattrs(&mut record.xattrs);
    if record.is_empty() {
        return draft.remove(record_key(key, directory));
    }
    draft.set_record(key, directory, &record);
    Ok(())
}
