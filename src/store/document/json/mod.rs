//! JSON, with the comments and trailing commas that editors' own files have: the text stays as it is but for what is changed.
//!
//! | file | holds |
//! |---|---|
//! | `scan` | tokens |
//! | `text` | what strings say |
//! | `index` | where the parts are |
//! | `layout` | line ends and indentation |
//! | `edit` | what a change does to the text |

mod edit;
mod index;
mod layout;
mod scan;
#[cfg(test)]
mod tests;
mod text;

use std::ops::Range;

use super::tree::{Document, Each, Edit, Node, Progress, Splice, Type, index_of, wrong_at};
use crate::error::{Error, Result};
use index::Index;
use scan::Wrong;

/// What some editors write before the text.
const BOM: &[u8] = b"\xEF\xBB\xBF";

/// A text of JSON.
pub(super) struct Json {
    text: Vec<u8>,
    index: Index,
}

/// A part, with its name's token; of an element, that is empty.
struct Part {
    name: Range<usize>,
    node: Node,
    /// Where the next part begins, or the end of all.
    next: usize,
}

impl Json {
    /// Reads a text.
    ///
    /// # Errors
    /// `Invalid`, with line and column.
    pub fn read(text: Vec<u8>) -> Result<Json> {
        let index = index_of_text(&text)?;
        Ok(Json { text, index })
    }

    /// The value that begins at `at`.
    fn node(&self, at: usize) -> Node {
        let kind = match self.text.get(at) {
            Some(b'{') => Type::Object,
            Some(b'[') => Type::Array,
            Some(b'"') => Type::String,
            Some(b't' | b'f') => Type::Boolean,
            Some(b'n') => Type::Null,
            _ => Type::Number,
        };
        Node { kind, span: at..self.index.end_of(&self.text, at) }
    }

    fn blank(&self, at: usize) -> usize {
        scan::blank(&self.text, at).unwrap_or(self.text.len())
    }

    /// The part that begins at `at` in what is open there; `None` at its end.
    fn part(&self, of: &Node, at: usize) -> Option<Part> {
        if matches!(self.text.get(at), None | Some(b'}' | b']')) {
            return None;
        }
        let name = match of.kind {
            Type::Object => at..scan::string(&self.text, at).ok()?,
            _ => at..at,
        };
        let begin = if of.kind == Type::Object { index::colon(&self.text, name.end).ok()? } else { at };
        let node = self.node(begin);
        let end = self.blank(node.span.end);
        let next = if self.text.get(end) == Some(&b',') { self.blank(end + 1) } else { end };
        Some(Part { name, node, next })
    }

    /// The first part, and each that follows.
    fn parts<'j>(&'j self, of: &'j Node) -> impl Iterator<Item = Part> + 'j {
        self.parts_from(of, self.blank(of.span.start + 1))
    }

    fn parts_from<'j>(&'j self, of: &'j Node, at: usize) -> impl Iterator<Item = Part> + 'j {
        let mut at = at;
        std::iter::from_fn(move || {
            let part = self.part(of, at)?;
            at = part.next;
            Some(part)
        })
    }

    fn name_of(&self, part: &Part) -> Option<std::borrow::Cow<'_, [u8]>> {
        text::decode(&self.text[part.name.clone()])
    }

    /// The part of this name, of an object, or of this index, of an array.
    fn find(&self, of: &Node, name: &[u8]) -> Option<Part> {
        let begin = of.span.start;
        match of.kind {
            Type::Object => match self.index.find_name(&self.text, begin, name) {
                Some(at) => self.part(of, at?),
                None => {
                    self.parts(of).filter(|part| self.name_of(part).is_some_and(|own| *own == *name)).last()
                }
            },
            Type::Array => {
                let index = index_of(name)?;
                match self.index.near(begin, index) {
                    Some((before, at)) => self.parts_from(of, at).nth(usize::try_from(index - before).ok()?),
                    None if self.index.count(begin).is_some() => None,
                    None => self.parts(of).nth(usize::try_from(index).ok()?),
                }
            }
            _ => None,
        }
    }

    /// The last part.
    fn last(&self, of: &Node) -> Option<Part> {
        match (of.kind, self.index.count(of.span.start)) {
            (Type::Array, Some(count)) => self.find(of, (count - 1).to_string().as_bytes()),
            _ => self.parts(of).last(),
        }
    }
}

fn index_of_text(text: &[u8]) -> Result<Index> {
    let at = if text.starts_with(BOM) { BOM.len() } else { 0 };
    if let Err(error) = str::from_utf8(text) {
        return Err(failure(text, &Wrong { at: error.valid_up_to(), why: "no UTF-8" }));
    }
    Index::read(text, at).map_err(|wrong| failure(text, &wrong))
}

fn failure(text: &[u8], wrong: &Wrong) -> Error {
    wrong_at(text, wrong.at, wrong.why)
}

impl Document for Json {
    fn text(&self) -> &[u8] {
        &self.text
    }

    fn refusal(&self) -> Option<String> {
        let at = self.index.duplicate?;
        let twice = Wrong { at, why: "an object has this name a second time" };
        Some(format!("at {}", failure(&self.text, &twice)))
    }

    fn root(&self) -> Node {
        self.node(self.index.root.0)
    }

    fn child(&self, of: &Node, name: &[u8]) -> Option<Node> {
        self.find(of, name).map(|part| part.node)
    }

    fn count(&self, of: &Node) -> u64 {
        self.index.count(of.span.start).unwrap_or_else(|| self.parts(of).count() as u64)
    }

    fn children(&self, of: &Node, from: Progress, each: Each<'_>) {
        let mut progress = from;
        let begin = if from.given == 0 { self.blank(of.span.start + 1) } else { from.at };
        for part in self.parts_from(of, begin) {
            let index = progress.given.to_string();
            progress = Progress { given: progress.given + 1, at: part.next };
            let name = match of.kind {
                Type::Object => self.name_of(&part),
                _ => Some(index.as_bytes().into()),
            };
            // Of two that have one name the last is what the name leads to.
            let hidden = self.index.duplicate.is_some()
                && name.as_ref().is_some_and(|name| {
                    self.find(of, name).is_none_or(|found| found.node.span != part.node.span)
                });
            if !hidden && each(name.as_deref(), part.node, progress).is_break() {
                return;
            }
        }
    }

    fn scalar(&self, node: &Node) -> Option<Vec<u8>> {
        let token = &self.text[node.span.clone()];
        if node.kind == Type::String {
            text::decode(token).map(std::borrow::Cow::into_owned)
        } else {
            Some(token.to_vec())
        }
    }

    fn source(&self, node: &Node) -> Vec<u8> {
        let mut source = layout::outdented(&self.text, node.span.clone());
        source.extend_from_slice(layout::line_end(&self.text));
        source
    }

    fn fits(&self, kind: Type, text: &[u8]) -> bool {
        edit::token(kind, text).is_ok()
    }

    fn plan(&self, edit: &Edit<'_>) -> Result<Option<Splice>> {
        self.plan_edit(edit)
    }

    fn splice(&mut self, splice: Splice) -> Result<Splice> {
        let Splice { range, text } = splice;
        let begin = range.start;
        let length = text.len();
        // A little more than now, rather than twice as much.
        let more = length.saturating_sub(range.len());
        if self.text.capacity() - self.text.len() < more {
            self.text.reserve_exact(more + (64 << 10));
        }
        let old: Vec<u8> = self.text.splice(range, text).collect();
        let back = Splice { range: begin..begin + length, text: old };
        match index_of_text(&self.text) {
            Ok(index) => {
                self.index = index;
                Ok(back)
            }
            Err(error) => {
                drop(self.text.splice(back.range, back.text));
                Err(error)
            }
        }
    }
}
