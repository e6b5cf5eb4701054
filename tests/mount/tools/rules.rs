//! Who may do what, and what each change does to owners, modes and times: hundreds of questions to a mount, answered as
//! ext4 answers them.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::{Kind, LIMIT, Mount, finish, needs_kvfs, needs_root, watched};

/// How the questions begin that a mount answers otherwise, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("6767 after write by another", GROUP_IN_FUSE),
    ("6767 after append by another", GROUP_IN_FUSE),
    ("6767 after open with O_TRUNC by another", GROUP_IN_FUSE),
    ("6767 after truncate by another", GROUP_IN_FUSE),
    ("6777 after chown to (-1, -1) by root", NOTHING_TO_SET),
    ("times moved by chown of nothing", NOTHING_TO_SET),
];

/// Where the group may not execute, ext4 asks whether the writer is one of it; a FUSE server is not told the groups.
const GROUP_IN_FUSE: &str = "the protocol keeps the set-group-id bit where the group may not execute";
const NOTHING_TO_SET: &str = "the kernel tells a FUSE server of no change where nothing is set";

fn answers_as_the_machine_does(kind: Kind) {
    watched(LIMIT, move |place| {
        needs_root("being several users");
        needs_kvfs();
        // Ordinary users pass through here.
        for folder in [place.folder().to_owned(), place.at("outside")] {
            fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
        }
        let mount = Mount::new(place, kind, &["--allow-other"]);
        let answers = |folder: &Path| {
            fs::create_dir(folder).unwrap();
            let mut command = place.command("python3");
            command.args(["-c", include_str!("rules.py")]).arg(folder);
            finish(&mut command).ok("rules.py")
        };
        compare(&answers(&mount.at("rules")), &answers(&place.at("outside/rules")));
    });
}

fn compare(ours: &str, theirs: &str) {
    assert_eq!(ours.lines().count(), theirs.lines().count(), "{ours}\n{theirs}");
    assert!(theirs.lines().count() > 700, "{theirs}");
    let mut wrong = Vec::new();
    let mut met = BTreeSet::new();
    for (our, their) in ours.lines().zip(theirs.lines()).filter(|(our, their)| our != their) {
        match DIFFERENCES.iter().find(|(question, _)| their.starts_with(question)) {
            Some((question, _)) => {
                met.insert(question);
            }
            None => wrong.push(format!("{our}\n    expected {their}")),
        }
    }
    let unmet = DIFFERENCES.iter().filter(|(question, _)| !met.contains(question));
    wrong.extend(unmet.map(|(question, why)| format!("{question}: no difference, though: {why}")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rules_on_memory() {
    answers_as_the_machine_does(Kind::Memory);
}

#[test]
fn rules_on_lmdb() {
    answers_as_the_machine_does(Kind::Apart);
}
