//! Ordinary tools on a document: what they change, and nothing else, is another one afterwards.

use std::fs;
use std::time::Duration;

use crate::harness::within;
use crate::{mount, with_document};

/// As npm writes them.
const PACKAGE: &str = r#"{
  "name": "@demo/app",
  "version": "1.0.0",
  "private": true,
  "scripts": {
    "build": "tsc -p . && vite build",
    "test": "vitest run --coverage"
  },
  "workspaces": [
    "packages/*",
    "tools/*"
  ],
  "engines": { "node": ">=18" },
  "dependencies": {
    "react": "^18.2.0",
    "@types/node": "20.0.0"
  },
  "timeout": 1.50e+2
}
"#;

/// The lines that differ, each with `-` or `+`.
fn difference(before: &str, after: &str) -> Vec<String> {
    let (before, after): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    let gone = before.iter().filter(|line| !after.contains(line)).map(|line| format!("-{}", line.trim()));
    let come = after.iter().filter(|line| !before.contains(line)).map(|line| format!("+{}", line.trim()));
    gone.chain(come).collect()
}

#[test]
fn promise_7_2_each_edit_is_a_difference_of_its_lines() {
    with_document(PACKAGE, |mount, path| {
        let mut before = fs::read_to_string(&path).unwrap();
        for (script, expected) in [
            ("sed -i s/1.0.0/1.0.1/ version", vec![r#"-"version": "1.0.0","#, r#"+"version": "1.0.1","#]),
            (
                "sed -i s/18.2.0/19.0.0/ dependencies/react",
                vec![r#"-"react": "^18.2.0","#, r#"+"react": "^19.0.0","#],
            ),
            ("echo 90 > timeout", vec![r#"-"timeout": 1.50e+2"#, r#"+"timeout": 90"#]),
            ("echo 8080 > port", vec![r#"-"timeout": 90"#, r#"+"timeout": 90,"#, r#"+"port": 8080"#]),
            ("rm port", vec![r#"-"timeout": 90,"#, r#"-"port": 8080"#, r#"+"timeout": 90"#]),
            (
                "mv scripts/test scripts/check",
                vec![r#"-"test": "vitest run --coverage""#, r#"+"check": "vitest run --coverage""#],
            ),
            ("echo false > private", vec![r#"-"private": true,"#, r#"+"private": false,"#]),
            (
                "printf '>=20' > engines/node",
                vec![r#"-"engines": { "node": ">=18" },"#, r#"+"engines": { "node": ">=20" },"#],
            ),
            (
                "rm 'dependencies/@types%2Fnode'",
                vec![r#"-"react": "^19.0.0","#, r#"-"@types/node": "20.0.0""#, r#"+"react": "^19.0.0""#],
            ),
            (
                "vim -es -c '%s/vite build/esbuild/' -c wq scripts/build",
                vec![r#"-"build": "tsc -p . && vite build","#, r#"+"build": "tsc -p . && esbuild\n","#],
            ),
            ("printf docs > workspaces%array/%push", vec![r#"-"tools/*""#, r#"+"tools/*","#, r#"+"docs""#]),
            (
                "rm -r workspaces%array",
                vec![r#"-"workspaces": ["#, r#"-"packages/*","#, r#"-"tools/*","#, r#"-"docs""#, r"-],"],
            ),
        ] {
            mount.bash(script);
            let after = fs::read_to_string(&path).unwrap();
            assert_eq!(difference(&before, &after), expected, "{script}");
            before = after;
        }
    });
}

#[test]
fn promise_4_1_trees_are_made_searched_copied_and_removed() {
    with_document("{}", |mount, path| {
        mount.bash(
            "
mkdir -p server/tls 'server/ports%array'
echo 80 > 'server/ports%array/0'; echo 443 > 'server/ports%array/1'
printf on > server/tls/mode; printf '' > server/tls/key
grep -qr on server && test \"$(cat 'server/ports%array/1')\" = 443
cp -r server/tls server/copy && diff -r server/tls server/copy
tar cf $OUTSIDE/all.tar . && du -s . >/dev/null
mv server/copy other && rmdir other 2>/dev/null && exit 1
rm -r other
test \"$(ls)\" = server && test \"$(find . -type f | wc -l)\" = 4
",
        );
        let expected = "{
  \"server\": {
    \"tls\": {
      \"mode\": \"on\",
      \"key\": \"\"
    },
    \"ports\": [
      80,
      443
    ]
  }
}";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    });
}

#[test]
fn promise_7_1_elements_come_and_go_at_the_end() {
    with_document(r#"{"l": [1, 2, 3]}"#, |mount, path| {
        mount.bash(
            "
rm 'l%array/0' 2>/dev/null && exit 1
(echo 9 > 'l%array/9') 2>/dev/null && exit 1
(echo 9 > 'l%array/name') 2>/dev/null && exit 1
mkdir l 2>/dev/null && exit 1
rm 'l%array/2' && echo 4 > 'l%array/0'
",
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"l": [4, 2]}"#);
    });
}

#[test]
fn promise_7_2_what_does_not_fit_is_refused_at_close_and_the_old_value_stays() {
    with_document(r#"{"port": 80}"#, |mount, path| {
        let written = mount.bash(
            "python3 -c '
import os
file = os.open(\"port\", os.O_WRONLY | os.O_TRUNC)
os.write(file, b\"eighty\")
try:
    os.close(file)
except OSError as error:
    print(error.errno)
'",
        );
        assert_eq!(written.trim(), (nix::errno::Errno::EINVAL as i32).to_string());
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"port": 80}"#);
        assert!(mount.log().contains("line 1, column 1"), "{}", mount.log());
        mount.bash("echo 81 > port");
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"port": 81}"#);
    });
}

#[test]
fn a_type_is_an_attribute_that_can_be_set() {
    with_document(r#"{"a": 5, "b": "5", "l": []}"#, |mount, path| {
        let told = mount.bash("getfattr --only-values -n user.kvfs.type a b l%array");
        assert_eq!(told, "numberstringarray");
        mount.bash("setfattr -n user.kvfs.type -v string a; setfattr -n user.kvfs.type -v number b");
        assert_eq!(fs::read_to_string(&path).unwrap(), r#"{"a": "5", "b": 5, "l": []}"#);
        mount.bash("setfattr -n user.kvfs.type -v object a 2>/dev/null && exit 1; true");
        assert_eq!(mount.bash("getfattr --only-values -n user.kvfs.key a"), "/a");
    });
}

#[test]
fn a_subtree_is_a_file_too() {
    with_document(PACKAGE, |mount, path| {
        mount.bash(
            "
python3 - <<'SCRIPT'
import json
scripts = json.load(open('scripts%json'))
scripts['lint'] = 'eslint .'
json.dump(scripts, open('scripts%json', 'w'), indent=2)
SCRIPT
test \"$(cat scripts/lint)\" = 'eslint .'
rm workspaces%json
ls | grep -q json && exit 1; true
",
        );
        // Other names of what was removed go within a second.
        let gone = || (!mount.at("workspaces%array").exists()).then_some(());
        within(Duration::from_secs(3), gone).expect("it has gone under all its names");
        let before = PACKAGE;
        let after = fs::read_to_string(&path).unwrap();
        let lint = r#"+"lint": "eslint .""#.to_owned();
        assert!(difference(before, &after).contains(&lint), "{after}");
        assert!(
            after.contains("    \"lint\": \"eslint .\"\n  },\n"),
            "it has the indentation of its place: {after}"
        );
    });
}

#[test]
fn comments_trailing_commas_and_line_ends_stay() {
    let text = "\u{feff}// settings\r\n{\r\n\t\"a\": 1, // one\r\n\t/* two */ \"b\": [1, 2,],\r\n}\r\n";
    with_document(text, |mount, path| {
        mount.bash("echo 5 > a; echo 3 > b%array/2; printf x > c");
        let expected = "\u{feff}// settings\r\n{\r\n\t\"a\": 5, // one\r\n\t/* two */ \"b\": [1, 2, 3,],\r\n\t\"c\": \"x\",\r\n}\r\n";
        assert_eq!(fs::read_to_string(path).unwrap(), expected);
    });
}

#[test]
fn with_newline_texts_end_in_a_line_end_that_is_not_theirs() {
    with_document(r#"{"name": "x"}"#, |first, path| {
        let place = &first.place;
        let mount = mount(place, "lines", &["--newline"]);
        assert_eq!(mount.bash("cat name; echo y > name; cat name"), "x\ny\n");
        assert_eq!(fs::read_to_string(path).unwrap(), r#"{"name": "y"}"#);
        place.kvfs(["mount", "--newline", "memory", "other"]).sentence("--newline elsewhere");
    });
}
