//! Another writer beside every operation of the mount (§4.6, §6.2): whatever both do at the same time, the server has what
//! one after the other makes of it, in one of the two orders; what the mount refuses did nothing; and the mount shows what
//! the server has.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use redis::{Commands, Connection};

use crate::harness::{LIMIT, Mount, PATIENCE, close, put, until, watched};
use crate::server::Database;

/// What collections always have, so that their directories stay.
const ANCHOR: &str = "anchor";

/// All that is in the database.
#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    strings: BTreeMap<String, Vec<u8>>,
    hash: BTreeMap<String, Vec<u8>>,
    set: BTreeSet<String>,
    scores: BTreeMap<String, i64>,
    list: Vec<Vec<u8>>,
}

/// What either of them does.
#[derive(Clone, Debug)]
enum Deed {
    Write(&'static str, Vec<u8>),
    Append(&'static str, Vec<u8>),
    Patch(&'static str, u8, Vec<u8>),
    Remove(&'static str),
    Rename(&'static str, &'static str),
    Field(&'static str, Vec<u8>),
    NoField(&'static str),
    Member(&'static str),
    NoMember(&'static str),
    Score(&'static str, i64),
    NoScore(&'static str),
    Push(Vec<u8>),
    Pop,
}

fn deed() -> impl Strategy<Value = Deed> {
    let name = || prop::sample::select(vec!["a", "b"]);
    let bytes = || prop::collection::vec(any::<u8>(), 1..6);
    prop_oneof![
        3 => (name(), bytes()).prop_map(|(name, bytes)| Deed::Write(name, bytes)),
        3 => (name(), bytes()).prop_map(|(name, bytes)| Deed::Append(name, bytes)),
        2 => (name(), 0u8..8, bytes()).prop_map(|(name, at, bytes)| Deed::Patch(name, at, bytes)),
        2 => name().prop_map(Deed::Remove),
        2 => prop::sample::select(vec![("a", "b"), ("b", "a")]).prop_map(|(from, to)| Deed::Rename(from, to)),
        2 => (name(), bytes()).prop_map(|(name, bytes)| Deed::Field(name, bytes)),
        1 => name().prop_map(Deed::NoField),
        1 => name().prop_map(Deed::Member),
        1 => name().prop_map(Deed::NoMember),
        2 => (name(), -3i64..1000).prop_map(|(name, score)| Deed::Score(name, score)),
        1 => name().prop_map(Deed::NoScore),
        2 => bytes().prop_map(Deed::Push),
        1 => Just(Deed::Pop),
    ]
}

impl State {
    /// Carries it out; false where there is nothing to do it to.
    fn carry_out(&mut self, deed: &Deed) -> bool {
        match deed {
            Deed::Write(name, bytes) => drop(self.strings.insert((*name).into(), bytes.clone())),
            Deed::Append(name, bytes) => self.strings.entry((*name).into()).or_default().extend(bytes),
            Deed::Patch(name, at, bytes) => {
                let (there, at) = (self.strings.entry((*name).into()).or_default(), usize::from(*at));
                there.resize(there.len().max(at + bytes.len()), 0);
                there[at..at + bytes.len()].copy_from_slice(bytes);
            }
            Deed::Remove(name) => return self.strings.remove(*name).is_some(),
            Deed::Rename(from, to) => match self.strings.remove(*from) {
                Some(bytes) => drop(self.strings.insert((*to).into(), bytes)),
                None => return false,
            },
            Deed::Field(name, bytes) => drop(self.hash.insert((*name).into(), bytes.clone())),
            Deed::NoField(name) => return self.hash.remove(*name).is_some(),
            Deed::Member(name) => drop(self.set.insert((*name).into())),
            Deed::NoMember(name) => return self.set.remove(*name),
            Deed::Score(name, score) => drop(self.scores.insert((*name).into(), *score)),
            Deed::NoScore(name) => return self.scores.remove(*name).is_some(),
            Deed::Push(bytes) => self.list.push(bytes.clone()),
            Deed::Pop if self.list.len() > 1 => drop(self.list.pop()),
            Deed::Pop => return false,
        }
        true
    }

    fn after(&self, deeds: &[&Deed]) -> State {
        let mut state = self.clone();
        for deed in deeds {
            state.carry_out(deed);
        }
        state
    }

    /// As the server has it.
    fn of_server(server: &mut Connection) -> State {
        let mut state = State::default();
        for name in ["a", "b"] {
            let value: Option<Vec<u8>> = server.get(name).unwrap();
            state.strings.extend(value.map(|value| (name.into(), value)));
        }
        state.hash = server.hgetall("h").unwrap();
        state.set = server.smembers("s").unwrap();
        let scores: Vec<(String, f64)> = server.zrange_withscores("z", 0, -1).unwrap();
        state.scores = scores.into_iter().map(|(name, score)| (name, score as i64)).collect();
        state.list = server.lrange("l", 0, -1).unwrap();
        state
    }

    /// As the mount shows it.
    fn of_mount(mount: &Mount) -> io::Result<State> {
        let of_folder = |folder: &str| -> io::Result<BTreeMap<String, Vec<u8>>> {
            let mut files = BTreeMap::new();
            for entry in fs::read_dir(mount.at(folder))? {
                let entry = entry?;
                files.insert(entry.file_name().into_string().unwrap(), fs::read(entry.path())?);
            }
            Ok(files)
        };
        let mut state = State { hash: of_folder("h%hash")?, ..State::default() };
        for name in ["a", "b"] {
            match fs::read(mount.at(name)) {
                Ok(bytes) => drop(state.strings.insert(name.into(), bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        state.set = of_folder("s%set")?.into_keys().collect();
        let number = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().parse().unwrap();
        state.scores = of_folder("z%zset")?.into_iter().map(|(name, score)| (name, number(score))).collect();
        let mut elements: Vec<(usize, Vec<u8>)> = of_folder("l%list")?
            .into_iter()
            .map(|(index, element)| (index.parse().unwrap(), element))
            .collect();
        elements.sort();
        state.list = elements.into_iter().map(|(_, element)| element).collect();
        Ok(state)
    }
}

/// Does it with files; `last`: the index of the last element of the list.
fn by_files(mount: &Mount, deed: &Deed, last: usize) -> io::Result<()> {
    let open = |name: &str, append: bool| {
        OpenOptions::new().append(append).write(true).create(true).truncate(false).open(mount.at(name))
    };
    match deed {
        Deed::Write(name, bytes) => put(mount.at(name), bytes),
        Deed::Append(name, bytes) => {
            let mut file = open(name, true)?;
            let written = file.write_all(bytes);
            close(file).and(written)
        }
        Deed::Patch(name, at, bytes) => {
            let file = open(name, false)?;
            let written = file.write_all_at(bytes, (*at).into());
            close(file).and(written)
        }
        Deed::Remove(name) => fs::remove_file(mount.at(name)),
        Deed::Rename(from, to) => fs::rename(mount.at(from), mount.at(to)),
        Deed::Field(name, bytes) => put(mount.at(format!("h%hash/{name}")), bytes),
        Deed::NoField(name) => fs::remove_file(mount.at(format!("h%hash/{name}"))),
        Deed::Member(name) => close(File::create(mount.at(format!("s%set/{name}")))?),
        Deed::NoMember(name) => fs::remove_file(mount.at(format!("s%set/{name}"))),
        Deed::Score(name, score) => put(mount.at(format!("z%zset/{name}")), score.to_string().as_bytes()),
        Deed::NoScore(name) => fs::remove_file(mount.at(format!("z%zset/{name}"))),
        Deed::Push(bytes) => put(mount.at("l%list/%push"), bytes),
        Deed::Pop => fs::remove_file(mount.at(format!("l%list/{last}"))),
    }
}

/// Does it with commands.
fn by_commands(server: &mut Connection, deed: &Deed) {
    let done: redis::RedisResult<redis::Value> = match deed {
        Deed::Write(name, bytes) => server.set(name, bytes),
        Deed::Append(name, bytes) => server.append(name, bytes),
        Deed::Patch(name, at, bytes) => server.setrange(name, (*at).into(), bytes),
        Deed::Remove(name) => server.del(name),
        // That there is nothing to rename is an error.
        Deed::Rename(from, to) => Ok(server.rename(from, to).unwrap_or(redis::Value::Nil)),
        Deed::Field(name, bytes) => server.hset("h", name, bytes),
        Deed::NoField(name) => server.hdel("h", name),
        Deed::Member(name) => server.sadd("s", name),
        Deed::NoMember(name) => server.srem("s", name),
        Deed::Score(name, score) => server.zadd("z", name, score),
        Deed::NoScore(name) => server.zrem("z", name),
        Deed::Push(bytes) => server.rpush("l", bytes),
        Deed::Pop => {
            let pop = "if redis.call('LLEN', 'l') > 1 then redis.call('RPOP', 'l') end";
            redis::cmd("EVAL").arg(pop).arg(0).query(server)
        }
    };
    done.unwrap();
}

/// What there is where the file was not there yet, or not any more, when it was opened: then it is a new one, and all of it
/// is put (§4.6: the last close wins).
fn of_new_file(before: &State, ours: &Deed, theirs: &Deed) -> Vec<State> {
    let (name, whole) = match ours {
        Deed::Append(name, bytes) => (*name, bytes.clone()),
        Deed::Patch(name, at, bytes) => (*name, [vec![0; (*at).into()], bytes.clone()].concat()),
        _ => return Vec::new(),
    };
    let theirs_takes_it = matches!(theirs, Deed::Remove(gone) | Deed::Rename(gone, _) if *gone == name);
    if before.strings.contains_key(name) && !theirs_takes_it {
        return Vec::new();
    }
    vec![before.after(&[theirs, &Deed::Write(name, whole)])]
}

/// Both at the same time, one pair after the other; true where the mount refused something, whose bytes it keeps then.
fn race(mount: &Mount, server: &mut Connection, pairs: &[(Deed, Deed, u16)]) -> Result<bool, TestCaseError> {
    for (ours, theirs, wait) in pairs {
        let before = State::of_server(server);
        let (both, last) = (Barrier::new(2), before.list.len() - 1);
        if last == 0 && matches!(ours, Deed::Pop) {
            continue;
        }
        let outcome = thread::scope(|scope| {
            let our = scope.spawn(|| {
                both.wait();
                by_files(mount, ours, last)
            });
            both.wait();
            thread::park_timeout(Duration::from_micros((*wait).into()));
            by_commands(server, theirs);
            our.join().unwrap()
        });
        let after = State::of_server(server);
        let first = before.after(&[ours, theirs]);
        let second = before.after(&[theirs, ours]);
        match outcome {
            Ok(()) => prop_assert!(
                after == first || after == second || of_new_file(&before, ours, theirs).contains(&after),
                "{ours:?} beside {theirs:?} made {after:?} of {before:?}"
            ),
            Err(error) => {
                prop_assert_eq!(&after, &before.after(&[theirs]), "{:?} was refused: {}", ours, error);
                return Ok(true);
            }
        }
        until(PATIENCE, "the mount shows what there is", || {
            (State::of_mount(mount).ok()? == after).then_some(())
        });
    }
    Ok(false)
}

#[test]
fn promise_4_6_whatever_others_do_meanwhile_one_order_of_both_explains_it() {
    watched(LIMIT * 2, |place| {
        let pair = (deed(), deed(), 0u16..900);
        let mut runner = TestRunner::new(Config { cases: 40, max_shrink_iters: 0, ..Config::default() });
        let counted = std::cell::Cell::new((0, 0));
        let outcome = runner.run(&prop::collection::vec(pair, 12), |pairs| {
            let database = Database::new();
            let client = redis::Client::open(database.source()).unwrap();
            let mut server = client.get_connection().unwrap();
            let () = server.hset("h", ANCHOR, "x").unwrap();
            let () = server.sadd("s", ANCHOR).unwrap();
            let () = server.zadd("z", ANCHOR, 0).unwrap();
            let () = server.rpush("l", ANCHOR).unwrap();
            let mut mount = database.mount(place, &[]);
            let refused = race(&mount, &mut server, &pairs);
            let (cases, refusals) = counted.get();
            counted.set((cases + 1, refusals + usize::from(matches!(refused, Ok(true)))));
            // What was refused would be waited for.
            mount.kill();
            mount.mounted().inspect(|mounted| mounted.detach());
            refused.map(drop)
        });
        outcome.unwrap_or_else(|error| panic!("{error}"));
        let (cases, refusals) = counted.get();
        assert!(refusals < cases, "{refusals} of {cases} ended by a refusal");
    });
}
