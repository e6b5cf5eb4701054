//! What is set in the mount, and on what.

use std::time::SystemTime;

use super::super::setattr::{Set, Time};
use super::super::xattr::SetMode;
use super::*;
use crate::layer::fault::{Call, Moment};

fn mode(mode: u32) -> Set {
    Set { mode: Some(mode), ..Set::default() }
}

fn ino_of(rig: &Rig, path: &str) -> Ino {
    rig.look(path).unwrap().ino
}

#[test]
fn attributes_go_with_the_key_when_it_is_seen_to_be_gone() {
    let rig = Rig::new();
    rig.put("a", b"mine");
    let ino = ino_of(&rig, "a");
    rig.vfs.setattr(ino, mode(0o600)).unwrap();
    rig.vfs.setxattr(ino, b"user.x", b"1", SetMode::Any).unwrap();
    rig.foreign_delete("a");
    assert!(!rig.exists("a"));
    rig.foreign_put("a", b"theirs");
    let found = rig.look("a").unwrap();
    assert_eq!(found.mode, 0o644);
    assert_eq!(rig.vfs.listxattr(found.ino).unwrap(), b"");
}

#[test]
fn setting_the_attributes_of_what_is_gone_leaves_nothing_behind() {
    let rig = Rig::new();
    rig.put("a", b"mine");
    let ino = ino_of(&rig, "a");
    rig.foreign_delete("a");
    assert_eq!(refused(rig.vfs.setattr(ino, mode(0o600))), ErrorKind::NotFound);
    rig.foreign_put("a", b"theirs");
    assert_eq!(rig.look("a").unwrap().mode, 0o644);
}

#[test]
fn an_open_file_without_a_name_has_its_own_attributes() {
    let rig = Rig::new();
    rig.put("a", b"first");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    rig.vfs.setattr(ino_of(&rig, "a"), Set { mtime: Some(Time::At(time)), ..mode(0o640) }).unwrap();
    let old = rig.open("a", WRITE).unwrap();
    rig.unlink("a").unwrap();
    rig.put("a", b"second");
    let attr = rig.vfs.getattr(old.0).unwrap();
    assert_eq!((attr.mode, attr.mtime, attr.links), (0o640, time, 0));
    rig.vfs.setattr(old.0, mode(0o400)).unwrap();
    rig.vfs.setxattr(old.0, b"user.x", b"1", SetMode::Any).unwrap();
    assert_eq!(rig.vfs.getattr(old.0).unwrap().mode, 0o400);
    assert_eq!(rig.vfs.getxattr(old.0, b"user.x").unwrap(), b"1");
    let new = rig.look("a").unwrap();
    assert_eq!(new.mode, 0o644);
    assert_eq!(rig.vfs.listxattr(new.ino).unwrap(), b"");
    assert_eq!(refused(rig.vfs.getxattr(old.0, b"user.kvfs.version")), ErrorKind::NoAttribute);
}

#[test]
fn a_file_replaced_while_open_keeps_its_attributes() {
    let rig = Rig::new();
    rig.put("a", b"first");
    rig.put("b", b"second");
    rig.vfs.setattr(ino_of(&rig, "a"), mode(0o640)).unwrap();
    let before = rig.look("a").unwrap().mtime;
    let old = rig.open("a", READ).unwrap();
    rig.rename("b", "a").unwrap();
    let attr = rig.vfs.getattr(old.0).unwrap();
    assert_eq!((attr.mode, attr.mtime, attr.links), (0o640, before, 0));
    assert_eq!(rig.look("a").unwrap().mode, 0o644);
}

#[test]
fn a_new_link_is_new() {
    let rig = Rig::new();
    rig.put("a", b"mine");
    let ino = ino_of(&rig, "a");
    rig.vfs.setxattr(ino, b"user.x", b"1", SetMode::Any).unwrap();
    rig.foreign_delete("a");
    let before = crate::env::now();
    let link = rig.vfs.symlink(caller(), ROOT, b"a", b"target").unwrap();
    assert!(link.mtime >= before, "made at {:?}, shown as of {:?}", before, link.mtime);
    assert_eq!(rig.look("a").unwrap().mtime, link.mtime);
    assert_eq!(rig.vfs.listxattr(link.ino).unwrap(), b"");
}

#[test]
fn a_change_of_owner_takes_set_id_bits_away() {
    let rig = Rig::new();
    rig.put("a", b"x");
    let ino = ino_of(&rig, "a");
    rig.vfs.setattr(ino, mode(0o6755)).unwrap();
    let attr = rig.vfs.setattr(ino, Set { uid: Some(1000), ..Set::default() }).unwrap();
    assert_eq!(attr.mode, 0o755);
    // Without the right to execute, the group's bit means locks and stays.
    rig.vfs.setattr(ino, mode(0o6744)).unwrap();
    rig.vfs.write(ino, rig.open("a", WRITE).unwrap().1, 0, b"y", false, true).unwrap();
    assert_eq!(rig.vfs.getattr(ino).unwrap().mode, 0o2744);
}

#[test]
fn promise_5_5_a_set_time_holds_while_the_bytes_do() {
    let rig = Rig::new();
    rig.put("a", b"same");
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    rig.vfs.setattr(ino_of(&rig, "a"), Set { mtime: Some(Time::At(time)), ..Set::default() }).unwrap();
    rig.foreign_put("a", b"same");
    assert_eq!(rig.look("a").unwrap().mtime, time, "the same bytes put again are no change that shows");
    rig.foreign_put("a", b"else");
    assert!(rig.look("a").unwrap().mtime > time);
}

#[test]
fn what_is_told_of_a_new_file_or_directory_holds() {
    let rig = Rig::new();
    let (told, opened) = rig.vfs.create(caller(), ROOT, b"a", 0o644, WRITE).unwrap();
    assert_eq!(rig.vfs.getattr(told.ino).unwrap(), told);
    rig.close((told.ino, opened.handle)).unwrap();
    assert_eq!(rig.look("a").unwrap(), told, "the put at the close is no change");
    let told = rig.vfs.mkdir(caller(), ROOT, b"d", 0o755).unwrap();
    assert_eq!(rig.look("d").unwrap(), told);
}

#[test]
fn the_time_of_a_change_of_attributes_is_not_the_time_that_is_set() {
    let rig = Rig::new();
    let before = crate::env::now();
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let file = rig.create("a", WRITE).unwrap();
    rig.write(file, 0, b"x").unwrap();
    let set = Set { mtime: Some(Time::At(old)), handle: Some(file.1), ..Set::default() };
    let open = rig.vfs.setattr(file.0, set).unwrap();
    assert!(open.mtime == old && open.ctime >= before, "{open:?}");
    rig.close(file).unwrap();
    let closed = rig.look("a").unwrap();
    assert_eq!((closed.mtime, closed.ctime), (old, open.ctime));
}

#[test]
fn a_rename_is_a_change_of_what_is_renamed_and_none_of_its_content() {
    let rig = Rig::new();
    rig.put("file", b"x");
    rig.vfs.mkdir(caller(), ROOT, b"folder", 0o755).unwrap();
    rig.vfs.symlink(caller(), ROOT, b"link", b"target").unwrap();
    for name in ["file", "folder", "link"] {
        let before = rig.look(name).unwrap();
        rig.rename(name, "moved").unwrap();
        let after = rig.look("moved").unwrap();
        assert!(after.ctime > before.ctime, "{name}: {before:?}, {after:?}");
        assert_eq!(after.mtime, before.mtime, "{name}");
        rig.rename("moved", name).unwrap();
    }
}

#[test]
fn a_directory_with_the_set_group_id_bit_gives_its_group() {
    let rig = Rig::new();
    let above = rig.vfs.mkdir(caller(), ROOT, b"above", 0o755).unwrap().ino;
    rig.vfs.setattr(above, Set { gid: Some(7), ..mode(0o2775) }).unwrap();
    let member = Caller { uid: 1000, gid: 1000, pid: 1 };
    let (file, _) = rig.vfs.create(member, above, b"file", 0o640, WRITE).unwrap();
    assert_eq!((file.uid, file.gid, file.mode), (1000, 7, 0o640));
    let folder = rig.vfs.mkdir(member, above, b"folder", 0o750).unwrap();
    assert_eq!((folder.uid, folder.gid, folder.mode), (1000, 7, 0o2750));
    assert_eq!(rig.vfs.symlink(member, above, b"link", b"x").unwrap().gid, 7);
}

#[test]
fn a_mode_is_set_without_reading_the_value() {
    let rig = Rig::new();
    rig.foreign_put("a", b"theirs");
    let ino = ino_of(&rig, "a");
    rig.faulty.fail(Call::Open, 1, Moment::Before, ErrorKind::Io);
    let before = crate::env::now();
    let attr = rig.vfs.setattr(ino, mode(0o600)).unwrap();
    assert_eq!(attr.mode, 0o600);
    assert!(attr.ctime >= before && attr.mtime < before);
    rig.faulty.heal();
    rig.foreign_put("b", b"");
    assert_eq!(rig.look("a").unwrap().mode, 0o600);
}

#[test]
fn promise_5_3_without_attributes_what_holds_may_be_set_and_nothing_else() {
    let rig = Rig::keeping(false);
    rig.put("a", b"mine");
    let ino = ino_of(&rig, "a");
    rig.vfs.setattr(ino, mode(0o644)).unwrap();
    assert_eq!(refused(rig.vfs.setattr(ino, mode(0o600))), ErrorKind::NotPermitted);
    let owner = Set { uid: Some(7), ..Set::default() };
    assert_eq!(refused(rig.vfs.setattr(ino, owner)), ErrorKind::NotPermitted);
    let time = |time| Set { mtime: Some(time), ..Set::default() };
    let old = Time::At(SystemTime::UNIX_EPOCH);
    assert_eq!(refused(rig.vfs.setattr(ino, time(old))), ErrorKind::Unsupported);
    rig.vfs.setattr(ino, time(Time::Now)).unwrap();
    rig.vfs.setattr(ino, time(Time::At(rig.look("a").unwrap().mtime))).unwrap();
    assert_eq!(refused(rig.vfs.symlink(caller(), ROOT, b"link", b"a")), ErrorKind::NotPermitted);
    assert_eq!(refused(rig.vfs.setxattr(ino, b"user.x", b"1", SetMode::Any)), ErrorKind::Unsupported);
    // Also while its bytes are still to be put.
    let file = rig.create("b", WRITE).unwrap();
    assert_eq!(refused(rig.vfs.setattr(file.0, mode(0o600))), ErrorKind::NotPermitted);
    assert_eq!(refused(rig.vfs.setattr(file.0, time(old))), ErrorKind::Unsupported);
    assert_eq!(rig.vfs.getattr(file.0).unwrap().mode, 0o644);
    rig.close(file).unwrap();
    assert_eq!(rig.names(ROOT), ["a", "b"]);
}
