//! Renames: `RENAME` by the server, whole directories in one transaction. What is replaced gives its time to live to what
//! comes in its place, where that has none (an editor that saves by a rename).

use redis::{Cmd, Value as Reply, cmd};

use super::change::fitting;
use super::crossing;
use super::field;
use super::known::of;
use super::link::Lost;
use super::place::Place;
use super::server::At;
use super::session::Session;
use super::shared::{Shared, exists, missing, number, shown};
use super::ttl::expire;
use super::types::Type;
use crate::error::{Error, ErrorKind, Result};
use crate::key::{Key, Segment, Word};
use crate::store::flat::Keys;

/// Keys of one transaction at most.
const TOGETHER: usize = 100_000;

/// Renames a file, or a whole directory.
///
/// # Errors
/// See [`crate::store::api::Change::Rename`]; `CrossDevice` between files of different types.
pub(super) fn rename(shared: &Shared, from: &Key, to: &Key, tree: bool, replace: bool) -> Result<()> {
    if to == from || (tree && to.starts_with(from)) {
        return Err(Error::new(ErrorKind::Invalid, format!("{from:?} cannot be renamed to {to:?}")));
    }
    match (fitting(shared, from)?, fitting(shared, to)?) {
        (Place::Plain(old), Place::Plain(new)) => {
            let mut moves = vec![(old.clone(), new.clone())];
            if tree && let Some(target) = shared.separator.below(to) {
                check_target(shared, &Keys::Inside(target), replace)?;
            }
            if tree && let (Some(old), Some(new)) = (shared.separator.below(from), shared.separator.below(to))
            {
                let below = Keys::Prefix(old.clone());
                let below = shared.starting_with(&below)?;
                moves.extend(below.into_iter().map(|(key, _)| {
                    let renamed = [&*new, &key[old.len()..]].concat();
                    (key.into_vec(), renamed)
                }));
            }
            move_keys(shared, moves, replace, |kind| !kind.has_word())
        }
        (Place::Collection(old, kind), Place::Collection(new, other))
        | (Place::Whole(old, kind), Place::Whole(new, other))
            if kind == other =>
        {
            move_keys(shared, vec![(old, new)], replace, |found| found == kind)
        }
        (Place::Element(old, kind, part), Place::Element(new, other, target))
            if (&old, kind) == (&new, other) =>
        {
            let named = part.word == Word::None && target.word == Word::None;
            if !named || !matches!(kind, Type::Hash | Type::Set | Type::Zset) {
                return Err(Error::new(ErrorKind::NotPermitted, "the parts of this type cannot be renamed"));
            }
            move_part(shared, &old, kind, part.bytes, target.bytes, replace)
        }
        _ => Err(Error::new(ErrorKind::CrossDevice, "files of different types: copied, and removed")),
    }
}

/// Refuses a directory that has something in it.
fn check_target(shared: &Shared, inside: &Keys, replace: bool) -> Result<()> {
    let there = shared.starting_with(inside)?;
    if !replace && !there.is_empty() {
        return Err(exists(inside.bytes()));
    }
    for (key, _) in &there {
        // A marker with a value is a file.
        let is_marker = **key == *inside.bytes() && shared.known(key)?.is_none_or(|known| known.size == 0);
        if !is_marker {
            let sentence = format!("there are keys below {}", shown(inside.bytes()));
            return Err(Error::new(ErrorKind::NotEmpty, sentence));
        }
    }
    Ok(())
}

/// Moves keys, the first of them only where it is there, as one transaction. `is_file`: whether what is of this type is
/// what the first pair means.
fn move_keys(
    shared: &Shared,
    mut moves: Vec<(Vec<u8>, Vec<u8>)>,
    replace: bool,
    is_file: impl Fn(Type) -> bool,
) -> Result<()> {
    if moves.len() > TOGETHER {
        let sentence = format!("more than {TOGETHER} keys are not renamed at once");
        return Err(Error::new(ErrorKind::CrossDevice, sentence));
    }
    if let Some((_, to)) = moves.iter().find(|(_, to)| to.len() > super::listing::KEY_MAX) {
        return Err(Error::new(ErrorKind::NameTooLong, format!("a key of {} bytes", to.len())));
    }
    let (old, new) = moves.remove(0);
    let topology = shared.server.topology();
    let together = |key: &[u8]| topology.are_together(&old, key);
    if !moves.iter().all(|(from, to)| together(from) && together(to))
        || (!moves.is_empty() && !together(&new))
    {
        let sentence = "the keys of the directory are in different slots of the cluster: copied, and removed";
        return Err(Error::new(ErrorKind::CrossDevice, sentence));
    }
    if !together(&new) {
        return crossing::carry(shared, &old, &new, replace, &is_file);
    }
    let marker = [&*new, shared.separator.as_bytes()].concat();
    let below = moves;
    let mut watch = cmd("WATCH");
    watch.arg(&new);
    let mut questions = vec![of("TYPE", &new), of("PTTL", &old), of("PTTL", &new)];
    for (from, to) in &below {
        watch.arg(from).arg(to);
        questions.extend([of("EXISTS", from), of("EXISTS", to)]);
    }
    questions.insert(0, watch);
    let attempt = |session: &mut Session<'_>| {
        let (from, replies) = session.look(&old, questions.iter().cloned())?;
        let mut replies = replies.skip(1).map(|reply| reply.map_err(Lost::Failed));
        let mut next = || replies.next().unwrap_or(Ok(Reply::Nil));
        let to = Type::of_reply(&next()?);
        let (old_left, new_left) = (number(&next()?).unwrap_or(-2), number(&next()?).unwrap_or(-2));
        let from = from.filter(|kind| is_file(*kind));
        let mut commands: Vec<Cmd> = Vec::with_capacity(below.len() + 2);
        if from.is_some() {
            commands.push(rename_command(&old, &new));
            if old_left < 0 && new_left > 0 {
                commands.push(expire(&new, new_left.unsigned_abs()));
            }
        }
        let mut in_the_way = false;
        for (from, to) in &below {
            let (there, taken) = (next()? == Reply::Int(1), next()? == Reply::Int(1));
            // A marker takes the place of a marker; what has expired since it was listed is not moved.
            in_the_way |= taken && !(replace && *to == marker);
            if there {
                commands.push(rename_command(from, to));
            }
        }
        let refused = if to.is_some_and(&is_file) && !replace {
            Some(exists(&new))
        } else if in_the_way {
            Some(Error::new(ErrorKind::NotEmpty, format!("there are keys below {}", shown(&new))))
        } else if commands.is_empty() {
            Some(missing(&old))
        } else if to.is_some_and(|to| !is_file(to)) && from.is_some() {
            Some(super::strings::other_type(&new))
        } else {
            None
        };
        match refused {
            Some(error) => session.settle_for(Err(error)),
            None => session.transact_all(&commands, shared.refused(&old)),
        }
    };
    // Where the old key is gone and the new one is there, it is done.
    let is_done = || {
        let (first, last) = below.last().map_or((&old, &new), |(from, to)| (from, to));
        let questions = [of("EXISTS", first), of("EXISTS", last)];
        match shared.server.ask(At::Key(&old), |session| session.ask(&questions))?.as_slice() {
            [Ok(Reply::Int(0)), Ok(Reply::Int(1))] => Ok(true),
            [Ok(Reply::Int(1)), _] => Ok(false),
            _ => Err(Error::new(
                ErrorKind::Uncertain,
                format!("{}: whether it was renamed is not known", shown(&old)),
            )),
        }
    };
    let outcome = shared.server.carry_out(&old, None, attempt, is_done);
    for (from, to) in below.iter().chain([&(old, new)]) {
        shared.doubt(from);
        shared.doubt(to);
    }
    outcome
}

fn rename_command(from: &[u8], to: &[u8]) -> Cmd {
    let mut command = of("RENAME", from);
    command.arg(to);
    command
}

/// Gives a part of a collection another name.
fn move_part(shared: &Shared, key: &[u8], kind: Type, old: &[u8], new: &[u8], replace: bool) -> Result<()> {
    let parts = super::collection::parts(kind);
    let (Some(get_old), Some(get_new)) = (parts.get(key, old), parts.get(key, new)) else {
        return Err(ErrorKind::Invalid.into());
    };
    let has_times = kind == Type::Hash && shared.abilities.field_ttls;
    let commands = |bytes: Option<Vec<u8>>, there: Option<Vec<u8>>, left: Option<Reply>| {
        let bytes = bytes.ok_or_else(|| missing(old))?;
        if there.is_some() && !replace {
            return Err(exists(new));
        }
        let mut commands = parts.put(key, Segment::plain(new), &bytes, there.is_some(), 0)?;
        if let [of_old, of_new] = field::times(left.as_ref())[..] {
            commands.extend(field::lasting(key, &[new], &[of_new.or(of_old)]));
        }
        commands.push(parts.delete(key, old, 0)?);
        Ok(commands)
    };
    let attempt = |session: &mut Session<'_>| {
        let left = has_times.then(|| field::left(key, &[old, new]));
        let (_, replies) = session.look(key, [get_old.clone(), get_new.clone()].into_iter().chain(left))?;
        let mut replies = replies.map(Result::ok);
        let mut file = || parts.file(replies.next().flatten().unwrap_or(Reply::Nil));
        let (bytes, there) = (file(), file());
        match bytes.and_then(|bytes| commands(bytes, there?, replies.next().flatten())) {
            Ok(commands) => session.transact_all(&commands, shared.refused(key)),
            Err(error) => session.settle_for(Err(error)),
        }
    };
    // Where the old name is gone and the new one is there, it is done.
    let is_done = || {
        let there = |name| super::collection::open(shared, key, kind, Segment::plain(name));
        match (there(old)?, there(new)?) {
            (None, Some(_)) => Ok(true),
            (Some(_), _) => Ok(false),
            (None, None) => Err(Error::new(
                ErrorKind::Uncertain,
                format!("{}: whether it was renamed is not known", shown(old)),
            )),
        }
    };
    let outcome = shared.server.carry_out(key, None, attempt, is_done);
    shared.doubt(key);
    outcome
}
