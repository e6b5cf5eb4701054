//! What a change does to the text: the least that makes it so.

use std::ops::Range;

use super::layout::{indentation, indented, line_end};
use super::{Json, Part, scan, text};
use crate::error::{Error, ErrorKind, Result};
use crate::store::document::tree::{Document, Edit, New, Node, Splice, Type, index_of};

fn invalid(sentence: String) -> Error {
    Error::new(ErrorKind::Invalid, sentence)
}

/// The token of a scalar.
///
/// # Errors
/// `Invalid` where this is no such scalar.
pub(super) fn token(kind: Type, said: &[u8]) -> Result<Vec<u8>> {
    let fits = match kind {
        Type::String => {
            let said = str::from_utf8(said).map_err(|error| {
                invalid(format!("a string is UTF-8: byte {} is not", error.valid_up_to() + 1))
            })?;
            return Ok(text::encode(said));
        }
        Type::Number => scan::number(said, 0).is_ok_and(|end| end == said.len()),
        Type::Boolean => matches!(said, b"true" | b"false"),
        Type::Null => said == b"null",
        Type::Object | Type::Array | Type::DateTime => false,
    };
    if fits {
        return Ok(said.to_vec());
    }
    let shown = String::from_utf8_lossy(&said[..said.len().min(60)]).into_owned();
    Err(invalid(format!("line 1, column 1: {shown:?} is no {} of JSON", kind.name())))
}

impl Json {
    /// The way to a part: what it lies in, and itself, where it is there.
    fn way(&self, path: &[&[u8]]) -> Result<(Node, Option<Part>)> {
        let Some((last, above)) = path.split_last() else {
            return Err(Error::new(ErrorKind::NotPermitted, "the whole document is its file"));
        };
        let mut node = self.root();
        for name in above {
            let part = self.find(&node, name).ok_or(ErrorKind::NotFound)?;
            node = part.node;
        }
        if !node.kind.has_parts() {
            return Err(ErrorKind::NotDirectory.into());
        }
        let part = self.find(&node, last);
        Ok((node, part))
    }

    /// See [`crate::store::document::tree::Document::plan`].
    pub(super) fn plan_edit(&self, edit: &Edit<'_>) -> Result<Option<Splice>> {
        match edit {
            Edit::Set(path, new) => {
                let (parent, part) = self.way(path)?;
                match part {
                    Some(part) => self.replace(&part.node, new),
                    None => self.append(&parent, path.last().copied().unwrap_or_default(), new).map(Some),
                }
            }
            Edit::Remove(path) => {
                let (parent, part) = self.way(path)?;
                part.map(|part| self.remove(&parent, &part)).transpose()
            }
            Edit::Rename(path, name) => {
                let (parent, part) = self.way(path)?;
                let part = part.ok_or(ErrorKind::NotFound)?;
                if parent.kind != Type::Object {
                    return Err(not_the_end());
                }
                Ok(Some(Splice { range: part.name, text: token(Type::String, name)? }))
            }
        }
    }

    fn new_value(&self, new: &New<'_>, base: &[u8]) -> Result<Vec<u8>> {
        match new {
            New::Scalar(kind, said) => token(*kind, said),
            New::Empty(Type::Array) => Ok(b"[]".to_vec()),
            New::Empty(_) => Ok(b"{}".to_vec()),
            New::Source(source) => {
                let span = value_of(source)?;
                Ok(indented(&source[span], base))
            }
        }
    }

    fn replace(&self, node: &Node, new: &New<'_>) -> Result<Option<Splice>> {
        let old = &self.text[node.span.clone()];
        if let New::Scalar(kind, said) = new
            && *kind == node.kind
            && *kind == Type::String
            && text::decode(old).is_some_and(|there| *there == **said)
        {
            return Ok(None);
        }
        let text = self.new_value(new, indentation(&self.text, node.span.start))?;
        Ok((text != old).then(|| Splice { range: node.span.clone(), text }))
    }

    /// Behind the last part.
    fn append(&self, parent: &Node, name: &[u8], new: &New<'_>) -> Result<Splice> {
        if parent.kind == Type::Array && index_of(name) != Some(self.count(parent)) {
            let sentence =
                format!("an array grows at its end: the next element is {}, or %push", self.count(parent));
            return Err(invalid(sentence));
        }
        let Some(last) = self.last(parent) else { return self.first(parent, name, new) };
        let begin = if parent.kind == Type::Object { last.name.start } else { last.node.span.start };
        let end = last.node.span.end;
        let base = indentation(&self.text, begin).to_vec();
        let own_line = self.begins_line(begin);
        let colon = match parent.kind {
            Type::Object => Some(&self.text[last.name.end..last.node.span.start]),
            _ => None,
        };
        let colon = colon.map(|colon| if is_plain(colon) { colon } else { b": " });
        let separator = match own_line {
            true => [line_end(&self.text), &base[..]].concat(),
            // The first part stands right behind its bracket.
            false if self.count(parent) == 1 && colon != Some(b":") => b" ".to_vec(),
            false => self.white_before(begin).to_vec(),
        };
        let (after, trailing) = self.after_value(end);
        let mut text = if trailing { Vec::new() } else { b",".to_vec() };
        text.extend_from_slice(&self.text[end..after]);
        if !own_line && self.ends_in_line_comment(end, after) {
            text.extend_from_slice(line_end(&self.text));
        }
        text.extend_from_slice(&separator);
        if let Some(colon) = colon {
            text.extend(token(Type::String, name)?);
            text.extend_from_slice(colon);
        }
        text.extend(self.new_value(new, &base)?);
        if trailing {
            text.push(b',');
        }
        Ok(Splice { range: end..after, text })
    }

    /// The first part of what has none.
    fn first(&self, parent: &Node, name: &[u8], new: &New<'_>) -> Result<Splice> {
        let inside = parent.span.start + 1..parent.span.end - 1;
        let comments = self.text[inside.clone()].trim_ascii_end().to_vec();
        let base = indentation(&self.text, parent.span.start).to_vec();
        let unit = self.unit();
        let deeper = [&base[..], unit.unwrap_or_default()].concat();
        let mut text = comments;
        let lines = unit.is_some() || !text.is_empty();
        if lines {
            text.extend_from_slice(line_end(&self.text));
            text.extend_from_slice(&deeper);
        }
        if parent.kind == Type::Object {
            text.extend(token(Type::String, name)?);
            text.extend_from_slice(self.colon());
        }
        text.extend(self.new_value(new, &deeper)?);
        if lines {
            text.extend_from_slice(line_end(&self.text));
            text.extend_from_slice(&base);
        }
        Ok(Splice { range: inside, text })
    }

    fn remove(&self, parent: &Node, part: &Part) -> Result<Splice> {
        let end = part.node.span.end;
        let last = self.part(parent, part.next).is_none();
        if parent.kind == Type::Array && !last {
            return Err(not_the_end());
        }
        let begin = if parent.kind == Type::Object { part.name.start } else { part.node.span.start };
        let (after, trailing) = self.after_value(end);
        if !last {
            // With the comment on its line, and up to whatever comes next.
            let blanks = self.text[after..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            return Ok(Splice { range: begin..after + blanks, text: Vec::new() });
        }
        let before =
            self.parts(parent).take_while(|other| other.node.span.start < part.node.span.start).last();
        let Some(before) = before else {
            // The only one: what is left are comments.
            let inside = parent.span.start + 1..parent.span.end - 1;
            let kept = [&self.text[inside.start..begin], &self.text[after..inside.end]];
            let blank = kept.iter().all(|kept| is_plain(kept));
            let text = if blank { Vec::new() } else { [kept[0].trim_ascii_end(), kept[1]].concat() };
            return Ok(Splice { range: inside, text });
        };
        let from = before.node.span.end;
        let comma = self.blank(from);
        let kept = self.text[comma + 1..begin].trim_ascii_end();
        // Its trailing comma becomes that of the one before.
        let mut text = self.text[from..comma].to_vec();
        if trailing {
            text.push(b',');
        }
        text.extend_from_slice(kept);
        let next = self.text.get(after).copied().unwrap_or(b'\n');
        if self.ends_in_line_comment(from, comma + 1 + kept.len()) && !matches!(next, b'\n' | b'\r') {
            text.extend_from_slice(line_end(&self.text));
        }
        Ok(Splice { range: from..after, text })
    }

    /// The end of what belongs to a value on its line: its comma, and the comments there; and whether it has a comma.
    fn after_value(&self, end: usize) -> (usize, bool) {
        let comma = self.blank(end);
        let has_comma = self.text.get(comma) == Some(&b',');
        let mut after = if has_comma { comma + 1 } else { end };
        loop {
            let blanks = self.text[after..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            let begin = after + blanks;
            match self
                .text
                .get(begin)
                .and_then(|byte| (*byte == b'/').then(|| scan::comment(&self.text, begin)))
            {
                Some(Ok(end)) => after = end,
                _ => return (after, has_comma),
            }
        }
    }

    fn ends_in_line_comment(&self, from: usize, to: usize) -> bool {
        let line =
            self.text[from..to].iter().rposition(|byte| *byte == b'\n').map_or(from, |at| from + at + 1);
        let mut at = line;
        while at < to {
            match self.text[at] {
                b'/' if self.text.get(at + 1) == Some(&b'/') => return true,
                b'/' => at = scan::comment(&self.text, at).unwrap_or(to),
                _ => at += 1,
            }
        }
        false
    }

    /// The white space right before `at`.
    fn white_before(&self, at: usize) -> &[u8] {
        let length = self.text[..at].iter().rev().take_while(|byte| byte.is_ascii_whitespace()).count();
        &self.text[at - length..at]
    }

    /// Whether nothing but comments stands before `at` on its line.
    fn begins_line(&self, at: usize) -> bool {
        let line = self.text[..at].iter().rposition(|byte| *byte == b'\n');
        line.is_some_and(|line| scan::blank(&self.text[..at], line) == Ok(at))
    }

    /// What each level of a text with lines is indented by.
    fn unit(&self) -> Option<&[u8]> {
        let root = self.root();
        let Some(first) = self.parts(&root).next() else { return Some(b"  ") };
        let begin = if root.kind == Type::Object { first.name.start } else { first.node.span.start };
        self.begins_line(begin).then(|| indentation(&self.text, begin))
    }

    /// What stands between a name and its value.
    fn colon(&self) -> &[u8] {
        let root = self.root();
        let first = self.parts(&root).next().filter(|_| root.kind == Type::Object);
        let colon = first.map(|first| &self.text[first.name.end..first.node.span.start]);
        colon.filter(|colon| is_plain(colon)).unwrap_or(b": ")
    }
}

/// Whether there are no comments in what stands between tokens.
fn is_plain(between: &[u8]) -> bool {
    !between.contains(&b'/')
}

fn not_the_end() -> Error {
    let sentence = "only the last element of an array can be removed: the rest would take its names";
    Error::new(ErrorKind::NotPermitted, sentence)
}

/// Where the value is in a text that has nothing else but white space and comments.
fn value_of(source: &[u8]) -> Result<Range<usize>> {
    let fail = |wrong: &scan::Wrong| super::failure(source, wrong);
    if let Err(error) = str::from_utf8(source) {
        return Err(fail(&scan::Wrong { at: error.valid_up_to(), why: "no UTF-8" }));
    }
    let begin = if source.starts_with(super::BOM) { super::BOM.len() } else { 0 };
    let at = scan::blank(source, begin).map_err(|wrong| fail(&wrong))?;
    if matches!(source.get(at), Some(b'{' | b'[')) {
        let index = super::Index::read(source, begin).map_err(|wrong| fail(&wrong))?;
        return Ok(index.root.0..index.root.1);
    }
    let end = scan::scalar(source, at).map_err(|wrong| fail(&wrong))?;
    match scan::blank(source, end) {
        Ok(after) if after == source.len() => Ok(at..end),
        Ok(after) => Err(fail(&scan::Wrong { at: after, why: "nothing is expected behind the end" })),
        Err(wrong) => Err(fail(&wrong)),
    }
}
