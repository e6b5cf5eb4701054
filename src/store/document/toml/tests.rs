//! What one change leaves of a text.

use super::Toml;
use crate::error::{ErrorKind, Result};
use crate::store::document::tree::{Document, Edit, New, Node, Type};

const PROJECT: &str = r#"# the project
[project]
name = "demo"   # its name
version = "1.0.0"
requires-python = ">=3.9"
dependencies = [
    "numpy>=1.24",  # arrays
    "requests",
]
made = 1979-05-27T07:32:00Z
mask = 0xFF

[tool.ruff]
line-length = 100
[tool.ruff.lint]
select = ["E", "F"]

[[tool.uv.index]]
url = "https://a.example"

[[tool.uv.index]]
url = "https://b.example"
"#;

fn find(toml: &Toml, path: &[&[u8]]) -> Option<Node> {
    path.iter().try_fold(toml.root(), |node, name| toml.child(&node, name))
}

fn edited(edit: Edit<'_>) -> Result<String> {
    let mut toml = Toml::read(PROJECT.as_bytes().to_vec())?;
    if let Some(splice) = toml.plan(&edit)? {
        let back = toml.splice(splice)?;
        let after = String::from_utf8(toml.text().to_vec()).unwrap();
        toml.splice(back)?;
        assert_eq!(toml.text(), PROJECT.as_bytes());
        return Ok(after);
    }
    Ok(PROJECT.to_owned())
}

#[test]
fn a_change_is_a_difference_of_its_lines() {
    let text = |kind, said: &'static str| New::Scalar(kind, said.as_bytes());
    for (path, new, from, to) in [
        (
            &[&b"project"[..], b"version"][..],
            text(Type::String, "1.0.1"),
            "version = \"1.0.0\"",
            "version = \"1.0.1\"",
        ),
        (
            &[b"tool", b"ruff", b"line-length"],
            text(Type::Number, "120"),
            "line-length = 100",
            "line-length = 120",
        ),
        (
            &[b"project", b"dependencies", b"1"],
            text(Type::String, "httpx"),
            "    \"requests\",",
            "    \"httpx\",",
        ),
        (
            &[b"project", b"dependencies", b"2"],
            text(Type::String, "x"),
            "\"requests\",\n",
            "\"requests\",\n    \"x\",\n",
        ),
        (
            &[b"tool", b"uv", b"index", b"1", b"url"],
            text(Type::String, "c"),
            "\"https://b.example\"",
            "\"c\"",
        ),
        (
            &[b"tool", b"ruff", b"fix"],
            text(Type::Boolean, "true"),
            "line-length = 100\n",
            "line-length = 100\nfix = true\n",
        ),
        (&[b"project", b"made"], text(Type::DateTime, "1980-01-01"), "1979-05-27T07:32:00Z", "1980-01-01"),
    ] {
        assert_eq!(edited(Edit::Set(path, new)).unwrap(), PROJECT.replacen(from, to, 1), "{path:?}");
    }
    assert_eq!(
        edited(Edit::Remove(&[b"project", b"requires-python"])).unwrap(),
        PROJECT.replacen("requires-python = \">=3.9\"\n", "", 1)
    );
    assert_eq!(
        edited(Edit::Rename(&[b"project", b"version"], b"a version")).unwrap(),
        PROJECT.replacen("version =", "\"a version\" =", 1)
    );
    assert_eq!(edited(Edit::Rename(&[b"tool"], b"x")).unwrap_err().kind(), ErrorKind::CrossDevice);
}

#[test]
fn values_are_what_they_say() {
    let toml = Toml::read(PROJECT.as_bytes().to_vec()).unwrap();
    let scalar = |path: &[&[u8]]| {
        let node = find(&toml, path).unwrap();
        (node.kind, String::from_utf8(toml.scalar(&node).unwrap()).unwrap())
    };
    assert_eq!(scalar(&[b"project", b"name"]), (Type::String, "demo".into()));
    assert_eq!(scalar(&[b"project", b"mask"]), (Type::Number, "0xFF".into()));
    assert_eq!(scalar(&[b"project", b"made"]), (Type::DateTime, "1979-05-27T07:32:00Z".into()));
    let index = find(&toml, &[b"tool", b"uv", b"index"]).unwrap();
    assert_eq!((index.kind, toml.count(&index)), (Type::Array, 2));
    assert!(!toml.can_move(&find(&toml, &[b"project"]).unwrap()));
    assert!(toml.can_move(&index));
    for (kind, wrong) in [
        (Type::Null, "null"),
        (Type::Number, "5 "),
        (Type::Number, "5\n"),
        (Type::Number, "x"),
        (Type::Boolean, "True"),
    ] {
        assert!(!toml.fits(kind, wrong.as_bytes()), "{wrong:?}");
    }
}

#[test]
fn what_is_no_toml_is_refused_with_its_place() {
    let Err(error) = Toml::read(b"a = 1\nb = \n".to_vec()) else { panic!("it is read") };
    assert!(error.to_string().contains("line 2"), "{error}");
    Toml::read(b"a = \"\xff\"".to_vec()).err().unwrap();
    Toml::read(format!("a = {}", "[".repeat(100_000)).into_bytes()).err().unwrap();
}
