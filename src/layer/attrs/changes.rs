//! Carrying out a batch: the store first, then the sidecar, in one write.

use std::time::SystemTime;

use super::Attrs;
use super::draft::Draft;
use super::plan::{Plan, Step};
use super::record::{Name, Record};
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
        let mut plan = Plan::of(self, changes)?;
        let kept = |step: &Step<'_>| matches!(step, Step::Set { .. } | Step::Name { .. });
        if plan.steps.iter().any(kept) {
            self.make_sidecar()?;
        }
        if !plan.store.is_empty() {
            self.store.apply(&mut plan.store)?;
        }
        if self.is_bare() || plan.steps.is_empty() {
            return Ok(());
        }
        let recorded = self.record(&plan.steps, epoch, env::now());
        if let Err(error) = recorded {
            // What is recorded may be of other bytes now.
            self.trust.distrust();
            if changes.iter().any(is_asked) {
                return Err(error.context("the attributes could not be kept"));
            }
            self.warn_once(&error);
        }
        Ok(())
    }

    /// Writes what follows from changes that the store has carried out.
    fn record(&self, steps: &[Step<'_>], epoch: u64, now: SystemTime) -> Result<()> {
        let _alone = self.edits.lock();
        let numbers = |step: &Step<'_>| matches!(step, Step::Set { setting, .. } if setting.ino.is_some());
        if steps.iter().any(numbers) {
            self.note_numbers()?;
        }
        let mut draft = Draft::new(&self.sidecar);
        for step in steps {
            take_step(&mut draft, step, epoch, now)?;
        }
        self.sidecar.write(&draft.into_edits())
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
        Step::Delete { key } => draft.remove(super::sidecar::record_key(key, false)),
        Step::Name { key, name } => draft.set_name(key, name),
        Step::Unname { key } => draft.remove_name(key),
        Step::Remove { key } => {
            draft.remove_name(key)?;
            draft.remove(super::sidecar::record_key(key, true))
        }
        Step::Set { key, directory, setting, value } => {
            let special = if *directory { None } else { draft.name(key)? };
            if let Some(Name::Special { target, mut record }) = special {
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
            }
            set(draft, key, *directory, record, setting)
        }
        Step::Move { .. } => Ok(()),
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
        return draft.remove(super::sidecar::record_key(key, directory));
    }
    draft.set_record(key, directory, &record);
    Ok(())
}
