//! TOML, whose comments and layout `toml_edit` keeps: what is read is a table of all values, a scalar is changed where it
//! stands, and what comes or goes is changed in the library's own tree.

mod edit;
#[cfg(test)]
mod tests;

use std::ops::{ControlFlow, Range};

use serde_json::{Map, Value as Json};
use toml_edit::{Document as Parsed, Item, Key, TableLike, Value};

use super::tree::{Document, Each, Edit, Node, Progress, Splice, Type, index_of, wrong_at};
use crate::error::Result;

/// A text of TOML.
pub(super) struct Toml {
    text: Vec<u8>,
    /// All values; the first one is the whole.
    values: Vec<Entry>,
}

/// A value.
struct Entry {
    kind: Type,
    name: String,
    /// Where its name stands, where that is one place.
    named: Option<Range<usize>>,
    /// Where a scalar stands.
    span: Range<usize>,
    /// Of a string, what it says, else its text.
    said: String,
    /// Of an array in their order, else in that of their names.
    parts: Vec<usize>,
}

impl Toml {
    /// Reads a text.
    ///
    /// # Errors
    /// `Invalid`, with line and column.
    pub fn read(text: Vec<u8>) -> Result<Toml> {
        let values = values_of(&text)?;
        Ok(Toml { text, values })
    }

    fn entry(&self, node: &Node) -> &Entry {
        &self.values[node.span.start]
    }

    fn node(&self, number: usize) -> Node {
        Node { kind: self.values[number].kind, span: number..number }
    }

    fn json(&self, number: usize) -> Json {
        let entry = &self.values[number];
        match entry.kind {
            Type::Object => {
                let mut parts = entry.parts.clone();
                parts.sort_unstable();
                let named = parts.iter().map(|part| (self.values[*part].name.clone(), self.json(*part)));
                Json::Object(named.collect::<Map<_, _>>())
            }
            Type::Array => entry.parts.iter().map(|part| self.json(*part)).collect(),
            Type::Number | Type::Boolean => {
                serde_json::from_str(&entry.said).unwrap_or_else(|_| Json::String(entry.said.clone()))
            }
            _ => Json::String(entry.said.clone()),
        }
    }
}

/// All values of a text.
fn values_of(text: &[u8]) -> Result<Vec<Entry>> {
    let said = str::from_utf8(text).map_err(|error| wrong_at(text, error.valid_up_to(), "no UTF-8"))?;
    let parsed = Parsed::parse(said).map_err(|error| {
        let at = error.span().map_or(text.len(), |span| span.start);
        wrong_at(text, at, error.message().lines().next().unwrap_or("no TOML"))
    })?;
    let mut reading = Reading { text: said, values: Vec::new() };
    reading.table(String::new(), None, parsed.as_table());
    Ok(reading.values)
}

/// A text while it is read. The library bounds the depth.
struct Reading<'t> {
    text: &'t str,
    values: Vec<Entry>,
}

impl Reading<'_> {
    fn add(&mut self, kind: Type, name: String, named: Option<Range<usize>>) -> usize {
        let (said, parts) = Default::default();
        self.values.push(Entry { kind, name, named, span: 0..0, said, parts });
        self.values.len() - 1
    }

    fn table(&mut self, name: String, named: Option<Range<usize>>, table: &dyn TableLike) -> usize {
        let number = self.add(Type::Object, name, named);
        let mut parts = Vec::new();
        for (name, item) in table.iter() {
            let named = table.key(name).and_then(Key::span);
            parts.extend(self.item(name.to_owned(), named, item));
        }
        parts.sort_by(|a, b| self.values[*a].name.cmp(&self.values[*b].name));
        self.values[number].parts = parts;
        number
    }

    fn item(&mut self, name: String, named: Option<Range<usize>>, item: &Item) -> Option<usize> {
        Some(match item {
            Item::None => return None,
            Item::Value(value) => self.value(name, named, value),
            Item::Table(table) => self.table(name, named, table),
            Item::ArrayOfTables(tables) => {
                let number = self.add(Type::Array, name, named);
                let parts = tables
                    .iter()
                    .enumerate()
                    .map(|(index, table)| self.table(index.to_string(), None, table));
                let parts = parts.collect();
                self.values[number].parts = parts;
                number
            }
        })
    }

    fn value(&mut self, name: String, named: Option<Range<usize>>, value: &Value) -> usize {
        let kind = match value {
            Value::InlineTable(table) => return self.table(name, named, table),
            Value::Array(array) => {
                let number = self.add(Type::Array, name, named);
                let parts =
                    array.iter().enumerate().map(|(index, value)| self.value(index.to_string(), None, value));
                let parts = parts.collect();
                self.values[number].parts = parts;
                return number;
            }
            Value::String(_) => Type::String,
            Value::Integer(_) | Value::Float(_) => Type::Number,
            Value::Boolean(_) => Type::Boolean,
            Value::Datetime(_) => Type::DateTime,
        };
        let number = self.add(kind, name, named);
        let span = value.span().unwrap_or_default();
        let text = self.text.get(span.clone()).unwrap_or_default();
        self.values[number].said = value.as_str().unwrap_or(text).to_owned();
        self.values[number].span = span;
        number
    }
}

impl Document for Toml {
    fn text(&self) -> &[u8] {
        &self.text
    }

    fn refusal(&self) -> Option<String> {
        None
    }

    fn root(&self) -> Node {
        self.node(0)
    }

    fn child(&self, of: &Node, name: &[u8]) -> Option<Node> {
        let parts = &self.entry(of).parts;
        let found = match of.kind {
            Type::Array => usize::try_from(index_of(name)?).ok()?,
            _ => parts.binary_search_by(|part| self.values[*part].name.as_bytes().cmp(name)).ok()?,
        };
        parts.get(found).map(|part| self.node(*part))
    }

    fn count(&self, of: &Node) -> u64 {
        self.entry(of).parts.len() as u64
    }

    fn children(&self, of: &Node, from: Progress, each: Each<'_>) {
        let parts = self.entry(of).parts.iter().enumerate();
        for (index, part) in parts.skip(usize::try_from(from.given).unwrap_or(usize::MAX)) {
            let progress = Progress { given: index as u64 + 1, at: 0 };
            let name = self.values[*part].name.as_bytes();
            if let ControlFlow::Break(()) = each(Some(name), self.node(*part), progress) {
                return;
            }
        }
    }

    fn is_by_name(&self) -> bool {
        true
    }

    fn can_move(&self, node: &Node) -> bool {
        let entry = self.entry(node);
        match entry.kind {
            Type::Object | Type::Array => entry.parts.iter().all(|part| self.can_move(&self.node(*part))),
            Type::Number => serde_json::from_str::<Json>(&entry.said).is_ok(),
            Type::DateTime => false,
            _ => true,
        }
    }

    fn fits(&self, kind: Type, text: &[u8]) -> bool {
        edit::scalar(kind, text).is_ok()
    }

    fn scalar(&self, node: &Node) -> Option<Vec<u8>> {
        Some(self.entry(node).said.clone().into_bytes())
    }

    fn source(&self, node: &Node) -> Vec<u8> {
        format!("{:#}\n", self.json(node.span.start)).into_bytes()
    }

    fn plan(&self, edit: &Edit<'_>) -> Result<Option<Splice>> {
        self.plan_edit(edit)
    }

    fn splice(&mut self, splice: Splice) -> Result<Splice> {
        let Splice { range, text } = splice;
        let (begin, length) = (range.start, text.len());
        let mut new = self.text.clone();
        let old: Vec<u8> = new.splice(range, text).collect();
        self.values = values_of(&new)?;
        self.text = new;
        Ok(Splice { range: begin..begin + length, text: old })
    }
}
