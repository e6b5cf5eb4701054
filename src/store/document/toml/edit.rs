//! What a change does to the text: a scalar and a name where they stand, all else by the library.

use serde_json::Value as Json;
use toml_edit::{
    Array, ArrayOfTables, Document as Parsed, DocumentMut, InlineTable, Item, Table, TableLike, Value,
};

use super::{Toml, values_of};
use crate::error::{Error, ErrorKind, Result};
use crate::store::document::tree::{Document, Edit, New, Node, Splice, Type, index_of, wrong_at};

fn invalid(sentence: String) -> Error {
    Error::new(ErrorKind::Invalid, sentence)
}

fn not_permitted(sentence: &'static str) -> Error {
    Error::new(ErrorKind::NotPermitted, sentence)
}

/// A scalar of this type and text.
///
/// # Errors
/// `Invalid` where TOML has no such one.
pub(super) fn scalar(kind: Type, said: &[u8]) -> Result<Value> {
    let text = str::from_utf8(said)
        .map_err(|error| invalid(format!("a text is UTF-8: byte {} is not", error.valid_up_to() + 1)))?;
    let parsed = || {
        text.parse::<Value>()
            .ok()
            .filter(|value| value.decor().prefix().is_none_or(|p| p.as_str() == Some("")))
    };
    let value = match kind {
        Type::String => Some(Value::from(text)),
        Type::Number => parsed().filter(|value| value.is_integer() || value.is_float()),
        Type::Boolean => parsed().filter(Value::is_bool),
        Type::DateTime => parsed().filter(Value::is_datetime),
        Type::Null | Type::Object | Type::Array => None,
    };
    value.filter(|_| kind == Type::String || text.trim() == text).ok_or_else(|| {
        let shown: String = text.chars().take(60).collect();
        invalid(format!("line 1, column 1: {shown:?} is no {} of TOML", kind.name()))
    })
}

/// What a value of JSON is in TOML.
fn of_json(json: &Json) -> Result<Value> {
    Ok(match json {
        Json::Null => return Err(invalid("TOML has no null".to_owned())),
        Json::Bool(value) => Value::from(*value),
        Json::Number(number) => scalar(Type::Number, number.to_string().as_bytes())?,
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(parts) => {
            let mut array = Array::new();
            for part in parts {
                array.push(of_json(part)?);
            }
            Value::Array(array)
        }
        Json::Object(parts) => {
            let mut table = InlineTable::new();
            for (name, part) in parts {
                table.insert(name, of_json(part)?);
            }
            Value::InlineTable(table)
        }
    })
}

/// What a value is to be. Tables of their own stand in tables of their own.
fn item(new: &New<'_>, in_line: bool) -> Result<Item> {
    let table = |value: Value| match value {
        Value::InlineTable(table) if !in_line => Item::Table(table.into_table()),
        other => Item::Value(other),
    };
    match new {
        New::Scalar(kind, said) => scalar(*kind, said).map(Item::Value),
        New::Empty(Type::Array) => Ok(Item::Value(Value::Array(Array::new()))),
        New::Empty(_) => Ok(table(Value::InlineTable(InlineTable::new()))),
        New::Source(text) => {
            let json: Json = serde_json::from_slice(text).map_err(|error| {
                let lines = text.split_inclusive(|byte| *byte == b'\n');
                let before: usize = lines.take(error.line().saturating_sub(1)).map(<[u8]>::len).sum();
                wrong_at(text, before + error.column().saturating_sub(1), "no JSON")
            })?;
            of_json(&json).map(table)
        }
    }
}

/// What has parts, in the library's tree.
enum Parent<'d> {
    Table(&'d mut dyn TableLike, bool),
    Array(&'d mut Array),
    Tables(&'d mut ArrayOfTables),
}

impl<'d> Parent<'d> {
    fn of_value(value: &'d mut Value) -> Option<Parent<'d>> {
        match value {
            Value::Array(array) => Some(Parent::Array(array)),
            Value::InlineTable(table) => Some(Parent::Table(table, true)),
            _ => None,
        }
    }

    fn child(self, name: &str) -> Option<Parent<'d>> {
        let index = || usize::try_from(index_of(name.as_bytes())?).ok();
        match self {
            Parent::Array(array) => array.get_mut(index()?).and_then(Parent::of_value),
            Parent::Tables(tables) => tables.get_mut(index()?).map(|table| Parent::Table(table, false)),
            Parent::Table(table, _) => match table.get_mut(name)? {
                Item::Value(value) => Parent::of_value(value),
                Item::Table(table) => Some(Parent::Table(table, false)),
                Item::ArrayOfTables(tables) => Some(Parent::Tables(tables)),
                Item::None => None,
            },
        }
    }

    fn set(self, name: &str, new: &New<'_>) -> Result<()> {
        let index = index_of(name.as_bytes()).and_then(|index| usize::try_from(index).ok());
        match self {
            Parent::Table(table, in_line) => {
                table.insert(name, item(new, in_line)?);
                Ok(())
            }
            Parent::Array(array) => {
                let index = index.filter(|index| *index <= array.len());
                let index = index.ok_or_else(|| invalid("an array grows at its end".to_owned()))?;
                let value = item(new, true)?.into_value().map_err(|_| invalid("no value".to_owned()))?;
                if let Some(old) = array.get_mut(index) {
                    let decor = old.decor().clone();
                    *old = value;
                    *old.decor_mut() = decor;
                    return Ok(());
                }
                let like = index.checked_sub(1).and_then(|last| array.get(last));
                let prefix = like.and_then(|last| last.decor().prefix()).and_then(|prefix| prefix.as_str());
                // The first one stands right behind the bracket, without the blank of the others.
                let prefix = prefix.filter(|prefix| prefix.contains('\n')).map(str::to_owned);
                match prefix {
                    Some(prefix) => array.push_formatted(value.decorated(last_line(&prefix), "")),
                    None => array.push(value),
                }
                Ok(())
            }
            Parent::Tables(tables) => {
                let table = item(new, false)?.into_table();
                let table = table.map_err(|_| invalid("an array of tables has tables".to_owned()))?;
                match index {
                    Some(index) if index < tables.len() => drop(tables.replace(index, table)),
                    Some(index) if index == tables.len() => tables.push(table),
                    _ => return Err(invalid("an array grows at its end".to_owned())),
                }
                Ok(())
            }
        }
    }

    fn remove(self, name: &str) -> Result<()> {
        let end = || {
            not_permitted("only the last element of an array can be removed: the rest would take its names")
        };
        let last = |count: usize| {
            index_of(name.as_bytes()).filter(|index| index + 1 == count as u64).ok_or_else(end)
        };
        match self {
            Parent::Table(table, _) => drop(table.remove(name)),
            Parent::Array(array) => drop(array.remove(last(array.len())? as usize)),
            Parent::Tables(tables) if tables.len() == 1 => {
                let sentence = "an array of tables has one table at least: remove the array by its %json";
                return Err(not_permitted(sentence));
            }
            Parent::Tables(tables) => drop(tables.remove(last(tables.len())? as usize)),
        }
        Ok(())
    }
}

/// The line end and the indentation that a value's prefix ends in, without the comments before them.
fn last_line(prefix: &str) -> String {
    prefix.rfind('\n').map_or(String::new(), |at| prefix[at..].to_owned())
}

impl Toml {
    /// See [`crate::store::document::tree::Document::plan`].
    pub(super) fn plan_edit(&self, edit: &Edit<'_>) -> Result<Option<Splice>> {
        let (Edit::Set(path, _) | Edit::Remove(path) | Edit::Rename(path, _)) = edit;
        let names = path.iter().map(|name| str::from_utf8(name)).collect::<Result<Vec<_>, _>>();
        let names = names.map_err(|_| ErrorKind::NameEncoding)?;
        let Some((last, above)) = names.split_last() else {
            return Err(not_permitted("the whole document is its file"));
        };
        let there = path.iter().try_fold(self.root(), |node, name| self.child(&node, name));
        match edit {
            Edit::Set(_, New::Scalar(kind, said))
                if there.as_ref().is_some_and(|node| !node.kind.has_parts()) =>
            {
                let Some(node) = there else { return Ok(None) };
                self.replace(&node, *kind, said)
            }
            Edit::Set(_, new) => self.by_library(above, |parent| parent.set(last, new)),
            Edit::Remove(_) if there.is_none() => Ok(None),
            Edit::Remove(_) => self.by_library(above, |parent| parent.remove(last)),
            Edit::Rename(_, name) => {
                let node = there.ok_or(ErrorKind::NotFound)?;
                let name = str::from_utf8(name).map_err(|_| ErrorKind::NameEncoding)?;
                self.rename(&node, (above, last), name).map(Some)
            }
        }
    }

    fn replace(&self, node: &Node, kind: Type, said: &[u8]) -> Result<Option<Splice>> {
        let entry = self.entry(node);
        if kind == entry.kind && entry.said.as_bytes() == said {
            return Ok(None);
        }
        let value = scalar(kind, said)?;
        let text = value.decorated("", "").to_string().into_bytes();
        Ok(Some(Splice { range: entry.span.clone(), text }))
    }

    /// What the library makes of a change of what has these names.
    fn by_library(
        &self,
        above: &[&str],
        change: impl FnOnce(Parent<'_>) -> Result<()>,
    ) -> Result<Option<Splice>> {
        let text = str::from_utf8(&self.text).map_err(|_| ErrorKind::Invalid)?;
        let parsed = Parsed::parse(text).map_err(|_| ErrorKind::Invalid)?;
        let mut document: DocumentMut = parsed.into_mut();
        let root: &mut Table = document.as_table_mut();
        let parent = above.iter().try_fold(Parent::Table(root, false), |parent, name| parent.child(name));
        change(parent.ok_or(ErrorKind::NotFound)?)?;
        Ok(difference(&self.text, document.to_string().as_bytes()))
    }

    /// A name where it stands; one that stands in several places (`[a.b]`, `[a.c]`) cannot be changed there.
    fn rename(&self, node: &Node, (above, last): (&[&str], &str), name: &str) -> Result<Splice> {
        let elsewhere = || {
            let sentence = format!("{last:?} is written in several places of the document: copy it");
            Error::new(ErrorKind::CrossDevice, sentence)
        };
        let range = self.entry(node).named.clone().ok_or_else(elsewhere)?;
        let token = toml_edit::Key::new(name).display_repr().into_owned().into_bytes();
        let mut text = self.text.clone();
        text.splice(range.clone(), token.clone());
        let Ok(values) = values_of(&text) else { return Err(elsewhere()) };
        let new = Toml { text, values };
        let find = |document: &Toml, last: &str| {
            let names = above.iter().chain([&last]).map(|name| name.as_bytes());
            names.into_iter().try_fold(document.root(), |node, name| document.child(&node, name))
        };
        let same =
            find(&new, name).is_some_and(|found| new.json(found.span.start) == self.json(node.span.start));
        let gone = find(&new, last).is_none();
        if same && gone && new.values.len() == self.values.len() {
            return Ok(Splice { range, text: token });
        }
        Err(elsewhere())
    }
}

/// What differs between two texts, as one range.
fn difference(old: &[u8], new: &[u8]) -> Option<Splice> {
    if old == new {
        return None;
    }
    let begin = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let shorter = old.len().min(new.len()) - begin;
    let end = old.iter().rev().zip(new.iter().rev()).take(shorter).take_while(|(a, b)| a == b).count();
    Some(Splice { range: begin..old.len() - end, text: new[begin..new.len() - end].to_vec() })
}
