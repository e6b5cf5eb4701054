//! Names of files that programs make for a moment: backups, swap files, half-written copies (§4.7).

use std::fmt;
use std::str::FromStr;

use glob::Pattern;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// Those of vim, emacs, sed and rsync, and what many programs append to a backup.
const USUAL: &str = ".*.sw?,.*.swpx,4913,?*~,.#*,#*#,sed??????,.*.??????";

/// What stands for letters drawn at random at the end of a pattern, as mkstemp draws them. They have to look drawn: with a
/// capital or a digit among them, so that `.env.sample` and `sediments` are no scratch.
const DRAWN: &str = "??????";

/// Patterns of file names, as a shell has them, but for [`DRAWN`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ScratchNames(Vec<Pattern>);

impl ScratchNames {
    /// Those that stores of the network have where nobody names others.
    pub fn usual() -> ScratchNames {
        USUAL.parse().unwrap_or_else(|_| ScratchNames::none())
    }

    /// No name.
    pub fn none() -> ScratchNames {
        ScratchNames(Vec::new())
    }

    /// Whether no name can match.
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a file of this name is one.
    pub fn matches(&self, name: &[u8]) -> bool {
        !self.is_none() && {
            let name = String::from_utf8_lossy(name);
            self.0.iter().any(|pattern| {
                pattern.matches(&name) && (!pattern.as_str().ends_with(DRAWN) || ends_drawn(&name))
            })
        }
    }
}

fn ends_drawn(name: &str) -> bool {
    let end = name.chars().rev().take(DRAWN.len());
    end.into_iter().any(|letter| letter.is_uppercase() || letter.is_numeric())
}

impl FromStr for ScratchNames {
    type Err = Error;

    /// Reads patterns with commas between them, or `none`.
    fn from_str(text: &str) -> Result<ScratchNames, Error> {
        if text == "none" {
            return Ok(ScratchNames::none());
        }
        let read = |pattern: &str| {
            let wrong = |why: &dyn fmt::Display| {
                let sentence =
                    format!("scratch {pattern:?}: {why}; write patterns such as \"*~,.*.sw?\", or none");
                Error::new(ErrorKind::Invalid, sentence)
            };
            if pattern.is_empty() || pattern.contains('/') {
                return Err(wrong(&"not the name of a file"));
            }
            Pattern::new(pattern).map_err(|error| wrong(&error.msg))
        };
        text.split(',').map(read).collect::<Result<_, _>>().map(ScratchNames)
    }
}

impl TryFrom<String> for ScratchNames {
    type Error = Error;

    fn try_from(text: String) -> Result<ScratchNames, Error> {
        text.parse()
    }
}

impl From<ScratchNames> for String {
    fn from(names: ScratchNames) -> String {
        if names.is_none() {
            return "none".to_owned();
        }
        names.0.iter().map(Pattern::as_str).collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_names_are_those_that_programs_make_for_a_moment() {
        let usual = ScratchNames::usual();
        for name in [
            ".notes.txt.swp",
            ".x.swo",
            "4913",
            "notes~",
            ".#notes",
            "#notes#",
            "sedAbC123",
            ".notes.txt.a1B2c3",
        ] {
            assert!(usual.matches(name.as_bytes()), "{name}");
        }
        for name in [
            "notes",
            ".bashrc",
            "sed",
            "sedition",
            "sediments",
            ".env.sample",
            ".env.docker",
            "a.swp",
            "49130",
            "#notes",
            ".git",
            "",
            "~a",
            "~",
        ] {
            assert!(!usual.matches(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn patterns_are_read_and_written() {
        let read = |text: &str| text.parse::<ScratchNames>();
        assert_eq!(String::from(read("*~,.*.sw?").unwrap()), "*~,.*.sw?");
        assert!(read("none").unwrap().is_none());
        assert_eq!(String::from(ScratchNames::none()), "none");
        for wrong in ["", "a,,b", "a/b", "[", "***"] {
            assert_eq!(read(wrong).unwrap_err().kind(), ErrorKind::Invalid, "{wrong}");
        }
    }
}
