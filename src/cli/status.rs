//! `kvfs status`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;

use clap::Args;
use serde::Serialize;

use super::{Failure, Outcome, ask, output};
use crate::control;
use crate::error::{Error, ErrorKind, Result};
use crate::mount::Status as Live;
use crate::mount_point::{Health, health};
use crate::mount_table::{self, MountEntry};
use crate::spool::{Kept, Spool};

/// As many daemons are asked at the same time.
const AT_ONCE: usize = 64;

/// Show what is mounted, and how it is
///
/// Every mount of kvfs, with its source, its daemon, its log, what its store tells, and requests by operation;
/// and how many values are kept for `kvfs recover`. It answers within a second, also when a daemon hangs.
#[derive(Debug, Args)]
pub struct Status {
    /// Only this mount (the mount point, or anything in it); exit code 1 unless it answers
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One mount.
#[derive(Debug, Serialize)]
struct Found {
    #[serde(with = "crate::config::text::path")]
    mount_point: PathBuf,
    source: String,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Live>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    /// Its daemon answers.
    Live,
    /// Its daemon is there and does not answer in time.
    Silent,
    /// Its daemon is gone.
    Dead,
    /// It has no control socket here: another user's, or one with another runtime folder.
    Foreign,
}

impl Status {
    pub fn run(self) -> Outcome {
        let mut mounts: Vec<MountEntry> =
            mount_table::read()?.into_iter().filter(MountEntry::is_kvfs).collect();
        if let Some(folder) = &self.folder {
            mounts = vec![ask::mount_around(&mount_table::absolute(folder)?)?];
        } else {
            // A socket without a mount: its daemon died, or begins or ends at this moment.
            control::sockets().iter().for_each(|socket| control::tidy(socket));
        }
        let found = look(&mounts);
        let kept = if self.folder.is_none() { Spool::of_user().list()? } else { Vec::new() };
        let text = if self.json { json(&found, &kept)? } else { text(&found, &kept) };
        output::print(text)?;
        let answers = found.iter().all(|mount| mount.state == State::Live);
        if self.folder.is_some() && !answers { Err(Failure::Code(1)) } else { Ok(()) }
    }
}

/// Asks every mount's daemon, many at the same time: each may take its deadline.
fn look(mounts: &[MountEntry]) -> Vec<Found> {
    let mut found = Vec::with_capacity(mounts.len());
    for some in mounts.chunks(AT_ONCE) {
        thread::scope(|scope| {
            let asked: Vec<_> = some.iter().map(|entry| scope.spawn(|| look_at(entry))).collect();
            found.extend(asked.into_iter().filter_map(|asked| asked.join().ok()));
        });
    }
    found
}

fn look_at(entry: &MountEntry) -> Found {
    let socket = control::socket(&entry.mount_point);
    let (state, live) = match ask::status(&socket) {
        Ok(live) => (State::Live, Some(live)),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let dead = health(&entry.mount_point, ask::STATUS_TIMEOUT) == Health::Dead;
            (if dead { State::Dead } else { State::Foreign }, None)
        }
        Err(_) => (State::Silent, None),
    };
    Found { mount_point: entry.mount_point.clone(), source: entry.source.clone(), state, live }
}

fn json(found: &[Found], kept: &[Kept]) -> Result<String> {
    #[derive(Serialize)]
    struct Everything<'a> {
        mounts: &'a [Found],
        kept: Vec<BTreeMap<&'static str, String>>,
    }
    let kept = kept.iter().map(|kept| {
        BTreeMap::from([
            ("id", kept.id.clone()),
            ("store", kept.store.clone()),
            ("reason", kept.reason.clone()),
            ("size", kept.size.to_string()),
        ])
    });
    serde_json::to_string_pretty(&Everything { mounts: found, kept: kept.collect() })
        .map_err(|e| Error::new(ErrorKind::Io, e.to_string()))
}

fn text(found: &[Found], kept: &[Kept]) -> String {
    let mut blocks: Vec<String> = found.iter().map(block).collect();
    if found.is_empty() {
        blocks.push("nothing is mounted".to_owned());
    }
    if !kept.is_empty() {
        let bytes = output::size(kept.iter().map(|kept| kept.size).sum());
        let values = if kept.len() == 1 { "1 value".to_owned() } else { format!("{} values", kept.len()) };
        blocks.push(format!("kept, since it could not be put: {values} ({bytes}); see kvfs recover list"));
    }
    blocks.join("\n\n")
}

fn block(found: &Found) -> String {
    let place = found.mount_point.display();
    let head = format!("{place}  {}", found.source);
    let Some(live) = &found.live else {
        let what = match found.state {
            State::Dead => {
                format!("its daemon died: kvfs unmount {place} cleans up, and so does mounting again")
            }
            State::Foreign => "another user's, or mounted with another KVFS_RUNTIME_DIR".to_owned(),
            State::Live | State::Silent => "its daemon does not answer".to_owned(),
        };
        return format!("{head}\n  {what}");
    };
    let access = if live.read_only { "read-only" } else { "read and write" };
    let mut rows = vec![
        ("access".to_owned(), access.to_owned()),
        ("commit".to_owned(), live.commit.clone()),
        ("since".to_owned(), live.since.clone()),
        ("daemon".to_owned(), format!("process {}", live.process)),
    ];
    let log = live.log.as_ref().map_or("standard error".to_owned(), |log| log.display().to_string());
    rows.push(("log".to_owned(), log));
    rows.extend(live.facts.iter().map(|fact| (fact.name.clone(), fact.value.clone())));
    if let Some(report) = live.report.as_object() {
        rows.extend(report.iter().map(|(name, value)| (name.replace('_', " "), words(value))));
    }
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, value)| vec![format!("  {name}"), value]).collect();
    format!("{head}\n{}", output::columns(&rows))
}

/// A value of a report in words; counters that are zero are left out of lists.
fn words(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(counters) => {
            let counted = counters.iter().filter(|(_, value)| value.as_u64() != Some(0));
            let counted: Vec<String> =
                counted.map(|(name, value)| format!("{} {}", name.replace('_', " "), words(value))).collect();
            if counted.is_empty() { "none".to_owned() } else { counted.join(", ") }
        }
        serde_json::Value::Array(values) if values.is_empty() => "none".to_owned(),
        serde_json::Value::Array(values) => values.iter().map(words).collect::<Vec<_>>().join(", "),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
