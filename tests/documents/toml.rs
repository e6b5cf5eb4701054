//! TOML documents: edits by ordinary tools, read by Python's own `tomllib` and by `tomlkit`, and what `tomlkit` wrote read as
//! it meant it.

use std::fs;

use crate::LIMIT;
use crate::harness::{Kind, Mount, finish, skip, watched};

/// As Python projects have them.
const PROJECT: &str = r#"# the project
[project]
name = "demo"  # its name
version = "1.0.0"
dependencies = [
    "numpy>=1.24",  # arrays
    "requests",
]

[tool.ruff]
line-length = 100

[[tool.uv.index]]
url = "https://a.example"
"#;

fn with_project(body: fn(&mut Mount)) {
    watched(LIMIT, move |place| {
        fs::write(place.at("pyproject.toml"), PROJECT).unwrap();
        let mut source = std::ffi::OsString::from("toml:");
        source.push(place.at("pyproject.toml"));
        body(&mut Mount::of(place, Kind::Document, source, "data", &[]));
    });
}

#[test]
fn an_edit_is_a_difference_of_its_line_and_tomllib_reads_it() {
    with_project(|mount| {
        let path = mount.place.at("pyproject.toml");
        let text = || fs::read_to_string(&path).unwrap();
        mount.bash("sed -i s/1.0.0/1.0.1/ project/version");
        let mut expected = PROJECT.replacen("1.0.0", "1.0.1", 1);
        assert_eq!(text(), expected);
        mount.bash("echo 120 > tool/ruff/line-length");
        expected = expected.replacen("100", "120", 1);
        assert_eq!(text(), expected);
        mount.bash("printf httpx > project/dependencies%array/2");
        expected = expected.replacen("\"requests\",\n", "\"requests\",\n    \"httpx\",\n", 1);
        assert_eq!(text(), expected);
        mount.bash("mv project/name project/title");
        expected = expected.replacen("name =", "title =", 1);
        assert_eq!(text(), expected);
        mount.bash("rm project/dependencies%array/2 && (rm project/dependencies%array/0 2>/dev/null && exit 1; true)");
        expected = expected.replacen("    \"httpx\",\n", "", 1);
        assert_eq!(text(), expected);
        mount.bash("mkdir tool/uv/index%array/1 && printf b > tool/uv/index%array/1/url && echo true > tool/ruff/fix");
        mount.bash("(echo x > tool/ruff/line-length) 2>/dev/null; cat tool%json | python3 -c 'import json, sys; json.load(sys.stdin)'");
        let told = mount.place.bash(
            mount.place.folder(),
            "python3 -c '
import tomllib
p = tomllib.load(open(\"pyproject.toml\", \"rb\"))
print(p[\"tool\"][\"uv\"][\"index\"], p[\"tool\"][\"ruff\"], p[\"project\"])'",
        );
        assert_eq!(
            told.trim(),
            "[{'url': 'https://a.example'}, {'url': 'b'}] {'line-length': 120, 'fix': True} \
             {'title': 'demo', 'version': '1.0.1', 'dependencies': ['numpy>=1.24', 'requests']}"
        );
        assert!(text().starts_with("# the project\n[project]\ntitle = \"demo\"  # its name\n"));
        mount.bash("rm -r tool/ruff project && test \"$(ls)\" = tool");
        assert!(!text().contains("ruff"), "{}", text());
    });
}

#[test]
fn what_tomlkit_wrote_is_read_as_it_meant_it() {
    with_project(|mount| {
        let place = mount.place.clone();
        if finish(&mut place.python("import tomlkit")).code != 0 {
            skip("tomlkit is missing: run scripts/setup --tests");
        }
        let script = format!(
            "
import tomlkit, os, time
document = tomlkit.parse(open('{0}').read())
document['numbers'] = {{'i': 1, 'f': 1.5, 'yes': True, 'text': 'a\\nb', 'list': [1, 2, [3]]}}
document.add(tomlkit.comment('the end'))
open('{0}', 'w').write(tomlkit.dumps(document))
time.sleep(1.2)
os.chdir('{1}')
assert {{n: open('numbers/' + n).read() for n in ('i', 'f', 'yes', 'text')}} == {{'i': '1', 'f': '1.5', 'yes': 'true', 'text': 'a\\nb'}}
assert open('numbers/list%array/2%array/0').read() == '3'
assert os.getxattr('numbers/text', 'user.kvfs.type') == b'string'
with open('numbers/text', 'w') as file: file.write('x\\ty\"')
with open('numbers/i', 'w') as file: file.write('7')
document['numbers']['text'], document['numbers']['i'] = 'x\\ty\"', 7
again = tomlkit.parse(open('{0}').read())
assert again.unwrap() == document.unwrap(), (again, document)
assert '# the end' in open('{0}').read()
",
            place.at("pyproject.toml").display(),
            mount.point().display()
        );
        finish(&mut place.python(&script)).ok("tomlkit");
    });
}
