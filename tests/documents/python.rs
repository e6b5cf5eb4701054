//! Python's `json` beside a mount: what it wrote is read as it meant it, and what was written through the mount it reads.

use crate::with_document;

/// Writes a tree of files as Python sees it, and compares it with what `json` says.
const COMPARE: &str = r#"
import json, os, sys

def unescape(name):
    if name == '%empty': return ''
    return name.replace('%2F', '/').replace('%00', '\0')

def kind(path):
    return os.getxattr(path, 'user.kvfs.type').decode()

def read(path):
    what = kind(path)
    if what in ('object', 'array'):
        parts = {}
        for name in os.listdir(path):
            bare = unescape(name.removesuffix('%array').removesuffix('%json'))
            parts[bare] = read(os.path.join(path, name))
        return [parts[str(n)] for n in range(len(parts))] if what == 'array' else parts
    text = open(path, 'rb').read().decode()
    if path.endswith('%json'): return json.loads(text)
    return text if what == 'string' else json.loads(text)

def tree(folder):
    return {unescape(n.removesuffix('%array')): read(os.path.join(folder, n)) for n in os.listdir(folder)}
"#;

#[test]
fn what_python_wrote_is_read_as_it_meant_it() {
    with_document("{}", |mount, path| {
        let script = format!(
            "{COMPARE}
import random
random.seed(7)
TEXTS = ['', 'x', 'line\\nline', 'tab\\t', 'é€😀', '\"\\\\/', ' ', 'true', '5', 'null', '\\x00\\x1f', 'a' * 1000]
def value(depth):
    if depth and random.random() < 0.5:
        if random.random() < 0.5: return [value(depth - 1) for _ in range(random.randrange(5))]
        return {{name(): value(depth - 1) for _ in range(random.randrange(80))}}
    return random.choice([None, True, False, 0, -1, 1.5, 1e300, 10**30, *TEXTS])
def name():
    return random.choice(['', 'a/b', 'é', 'x y', '.hidden', 'a\\x00b', 'k%d' % random.randrange(10**6), 'UPPER'])
for dump in ({{}}, {{'indent': 2}}, {{'indent': '\\t', 'ensure_ascii': False}}, {{'separators': (',', ':')}}):
    document = {{name(): value(4) for _ in range(20)}}
    with open('{path}.new', 'w') as file: json.dump(document, file, **dump)
    os.rename('{path}.new', '{path}')
    os.stat('.')
    import time
    time.sleep(1.2)
    assert tree('.') == document, (tree('.'), document)
",
            path = path.display()
        );
        let file = mount.place.at("compare.py");
        std::fs::write(&file, script).unwrap();
        mount.bash(&format!("python3 {}", file.display()));
    });
}

#[test]
fn what_is_written_through_the_mount_python_reads() {
    with_document("{}", |mount, path| {
        let script = format!(
            "{COMPARE}
TEXTS = ['plain', 'line\\nline\\n', 'é€😀', '\"\\\\/', '\\x01\\x1f\\x7f', '007', '+1', 'True', ' 5', 'NaN']
for number, text in enumerate(TEXTS):
    with open('t%d' % number, 'wb') as file: file.write(text.encode())
for number, text in enumerate(['0', '-1.5e-7', '1E400', 'true', 'false', 'null', '12345678901234567890123']):
    with open('n%d' % number, 'w') as file: file.write(text)
os.mkdir('list%array')
for number in range(100):
    with open('list%%array/%d' % number, 'w') as file: file.write(str(number))
document = json.load(open('{path}'), parse_float=str, parse_int=str)
assert [document['t%d' % n] for n in range(len(TEXTS))] == TEXTS, document
assert [document['n%d' % n] for n in range(7)] == ['0', '-1.5e-7', '1E400', True, False, None, '12345678901234567890123']
assert document['list'] == [str(n) for n in range(100)]
",
            path = path.display()
        );
        let file = mount.place.at("write.py");
        std::fs::write(&file, script).unwrap();
        mount.bash(&format!("python3 {}", file.display()));
    });
}
