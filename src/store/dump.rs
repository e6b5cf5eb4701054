//! The text format of `mdb_dump` and `mdb_load`: how a map is carried to a file and back, and to LMDB and back.
//!
//! ```text
//! VERSION=3
//! format=bytevalue
//! type=btree
//! mapsize=17825792
//! HEADER=END
//!  61            the key, after one space, in hexadecimal
//!  76616c7565    its value
//! DATA=END
//! ```
//!
//! Read are `format=print` too (`mdb_dump -p`: printable bytes as they are, others as `\xx`), and one section of a
//! named database, whose keys become the map's. Refused are several sections, since one map would mix them, and
//! databases with several values a key.

use std::io::{BufRead, Write};

use crate::error::{Error, ErrorKind, Result};

/// The longest line of a header, in bytes.
const HEADER_LINE_MAX: u64 = 4096;
/// How many bytes are written as hexadecimal at a time.
const CHUNK: usize = 4096;

/// Writes `pairs`, in order, as one section. `map_size` tells `mdb_load` how much room they need, in bytes.
///
/// # Errors
/// The file's.
pub fn write<'a>(
    into: &mut dyn Write,
    map_size: u64,
    pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> std::io::Result<()> {
    write!(into, "VERSION=3\nformat=bytevalue\ntype=btree\nmapsize={map_size}\nHEADER=END\n")?;
    let mut text = [0; 2 * CHUNK];
    for (key, value) in pairs {
        for bytes in [key, value] {
            into.write_all(b" ")?;
            for chunk in bytes.chunks(CHUNK) {
                let text = &mut text[..2 * chunk.len()];
                hex::encode_to_slice(chunk, text).map_err(std::io::Error::other)?;
                into.write_all(text)?;
            }
            into.write_all(b"\n")?;
        }
    }
    into.write_all(b"DATA=END\n")
}

/// Room in an LMDB map for keys and values of these lengths: pages half full, written anew by each transaction.
pub fn map_size(lengths: impl Iterator<Item = (usize, usize)>) -> u64 {
    const PAGE: u64 = 4096;
    let each = |(key, value): (usize, usize)| {
        let (key, value) = (key as u64 + 64, value as u64 + 64);
        if value > PAGE / 4 { key + value.next_multiple_of(PAGE) } else { key + value }
    };
    (lengths.map(each).sum::<u64>() * 3 + (16 << 20)).next_multiple_of(1 << 20)
}

/// Reads a file of one section and hands out its keys and values, in its order.
///
/// # Errors
/// `Invalid` with the line where it is not such a file or ends early, `TooBig` for what is longer than the limits,
/// the reader's, and what `each` returns.
pub fn read(
    from: &mut dyn BufRead,
    limits: Limits,
    each: &mut dyn FnMut(Vec<u8>, Vec<u8>) -> Result<()>,
) -> Result<()> {
    let mut reader = Reader { from, line: 0 };
    let print = reader.header()?;
    while let Some(key) = reader.data(print, limits.key)? {
        let Some(value) = reader.data(print, limits.value)? else {
            return Err(reader.wrong("the last key has no value"));
        };
        each(key, value)?;
    }
    let mut rest = String::new();
    if reader.header_line(&mut rest)? {
        return Err(reader.wrong(
            "there is a second section, but one map holds one database: dump a single one, with mdb_dump -s NAME",
        ));
    }
    Ok(())
}

/// The longest key and value that [`read`] accepts, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Of a key.
    pub key: u64,
    /// Of a value.
    pub value: u64,
}

struct Reader<'a> {
    from: &'a mut dyn BufRead,
    /// The line that was begun last, from 1.
    line: u64,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> Error {
        Error::new(ErrorKind::Invalid, format!("line {}: {what}", self.line))
    }

    fn io(&self, error: &std::io::Error) -> Error {
        Error::io(format_args!("line {}", self.line), error)
    }

    /// One line without its end; false at the end of the file.
    fn header_line(&mut self, line: &mut String) -> Result<bool> {
        self.line += 1;
        line.clear();
        let mut bytes = Vec::new();
        let mut limited = std::io::Read::take(&mut *self.from, HEADER_LINE_MAX);
        let read = limited.read_until(b'\n', &mut bytes).map_err(|e| self.io(&e))?;
        if read as u64 == HEADER_LINE_MAX {
            return Err(self.wrong("this is not a file of mdb_dump: its header has a line too long"));
        }
        line.push_str(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
        Ok(read > 0)
    }

    /// Reads up to `HEADER=END`; answers whether the format is `print`.
    fn header(&mut self) -> Result<bool> {
        let mut print = None;
        let mut line = String::new();
        loop {
            if !self.header_line(&mut line)? {
                return Err(self.wrong("the file ends in its header"));
            }
            match line.split_once('=') {
                Some(("VERSION", "1" | "2" | "3")) => {}
                Some(("VERSION", version)) => {
                    return Err(
                        self.wrong(&format!("version {version} of the format is not known, only 1 to 3"))
                    );
                }
                _ if self.line == 1 => return Err(self.wrong("this is not a file of mdb_dump")),
                Some(("format", "print")) => print = Some(true),
                Some(("format", "bytevalue")) => print = Some(false),
                Some(("type", "btree" | "hash")) => {}
                Some(("format" | "type", _)) => return Err(self.wrong(&format!("{line} is not known"))),
                Some(("dupsort" | "duplicates", "1")) => {
                    return Err(self.wrong("this database has several values a key, which a map cannot hold"));
                }
                Some(("HEADER", "END")) => break,
                Some(_) => {}
                None => return Err(self.wrong("a line of the header is not NAME=VALUE")),
            }
        }
        print.ok_or_else(|| self.wrong("the header names no format"))
    }

    /// The next key or value; `None` at `DATA=END`.
    fn data(&mut self, print: bool, limit: u64) -> Result<Option<Vec<u8>>> {
        let first = self.from.fill_buf().map_err(|e| Error::io("reading", &e))?.first().copied();
        if first == Some(b'D') {
            let mut line = String::new();
            self.header_line(&mut line)?;
            return if line == "DATA=END" { Ok(None) } else { Err(self.wrong("a line without its space")) };
        }
        self.line += 1;
        match first {
            Some(b' ') => self.from.consume(1),
            Some(_) => return Err(self.wrong("a line without its space")),
            None => return Err(self.wrong("the file ends early: DATA=END is missing")),
        }
        let mut decoder = Decoder { print, state: State::Plain, bytes: Vec::new() };
        loop {
            let chunk = self.from.fill_buf().map_err(|e| Error::io("reading", &e))?;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            let text = &chunk[..end.unwrap_or(chunk.len())];
            let used = text.len() + usize::from(end.is_some());
            let decoded = text.iter().try_for_each(|&byte| decoder.take(byte));
            self.from.consume(used);
            decoded.map_err(|what| self.wrong(what))?;
            if decoder.bytes.len() as u64 > limit {
                let sentence = format!("line {}: longer than {limit} bytes", self.line);
                return Err(Error::new(ErrorKind::TooBig, sentence));
            }
            if end.is_some() {
                return decoder.finish().map(Some).map_err(|what| self.wrong(what));
            }
            if used == 0 {
                return Err(self.wrong("the file ends early, within a line"));
            }
        }
    }
}

/// Takes the text of one line, in any pieces.
struct Decoder {
    print: bool,
    state: State,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy)]
enum State {
    Plain,
    Backslash,
    /// Half of a byte was met.
    Half(u8),
}

const ODD_DIGITS: &str = "an odd number of hexadecimal digits";
const BAD_DIGIT: &str = "a character that is no hexadecimal digit";
const OLD_PRINT: &str = "a backslash that is no escape: mdb_dump -p of some LMDB releases does not escape backslashes, \
                         so its files cannot be read back; dump without -p";

impl Decoder {
    fn take(&mut self, byte: u8) -> Result<(), &'static str> {
        let digit = char::from(byte).to_digit(16).map(|digit| digit as u8);
        self.state = match (self.state, digit) {
            (State::Plain, _) if self.print && byte == b'\\' => State::Backslash,
            (State::Plain, _) if self.print => {
                self.bytes.push(byte);
                State::Plain
            }
            (State::Backslash, _) if byte == b'\\' => {
                self.bytes.push(byte);
                State::Plain
            }
            (State::Plain | State::Backslash, Some(digit)) => State::Half(digit),
            (State::Half(high), Some(low)) => {
                let byte = high << 4 | low;
                // Whoever escapes, escapes no printable byte but the backslash.
                if self.print && byte != b'\\' && (b' '..=b'~').contains(&byte) {
                    return Err(OLD_PRINT);
                }
                self.bytes.push(byte);
                State::Plain
            }
            (_, None) => return Err(if self.print { OLD_PRINT } else { BAD_DIGIT }),
        };
        Ok(())
    }

    fn finish(self) -> Result<Vec<u8>, &'static str> {
        match self.state {
            State::Plain => Ok(self.bytes),
            _ if self.print => Err(OLD_PRINT),
            _ => Err(ODD_DIGITS),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::process::Command;

    use super::*;

    type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

    const LIMITS: Limits = Limits { key: 1000, value: 100_000 };

    fn parse(text: &[u8]) -> Result<Pairs> {
        let mut pairs = Pairs::new();
        // A small buffer, so that lines come in pieces.
        read(&mut BufReader::with_capacity(7, text), LIMITS, &mut |key, value| {
            pairs.push((key, value));
            Ok(())
        })?;
        Ok(pairs)
    }

    fn render(pairs: &Pairs) -> Vec<u8> {
        let mut text = Vec::new();
        let size = map_size(pairs.iter().map(|(key, value)| (key.len(), value.len())));
        write(&mut text, size, pairs.iter().map(|(key, value)| (&**key, &**value))).unwrap();
        text
    }

    fn nasty() -> Pairs {
        let mut pairs: Pairs = (0..=255u8).map(|byte| (vec![byte], vec![byte; byte as usize * 40])).collect();
        pairs.push((b"\xFF/long".to_vec(), vec![b'\\'; 20_000]));
        pairs
    }

    #[test]
    fn what_is_written_is_read_back() {
        for pairs in [Pairs::new(), vec![(Vec::new(), Vec::new())], nasty()] {
            assert_eq!(parse(&render(&pairs)).unwrap(), pairs);
        }
    }

    #[test]
    fn the_printable_format_is_read() {
        let text = b"VERSION=3\nformat=print\ntype=btree\nHEADER=END\n a b\\00\n \\\\x\\5c\\ff\nDATA=END\n";
        assert_eq!(parse(text).unwrap(), [(b"a b\0".to_vec(), b"\\x\\\xFF".to_vec())]);
    }

    #[test]
    fn the_section_of_a_named_database_is_read_and_two_are_refused() {
        let section =
            "VERSION=3\nformat=bytevalue\ndatabase=one\ntype=btree\nHEADER=END\n 61\n 62\nDATA=END\n";
        assert_eq!(parse(section.as_bytes()).unwrap(), [(b"a".to_vec(), b"b".to_vec())]);
        let error = parse(section.repeat(2).as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 9: there is a second section"), "{error}");
    }

    #[test]
    fn what_is_no_such_file_or_cut_short_is_refused_with_its_line() {
        let header = "VERSION=3\nformat=bytevalue\nHEADER=END\n";
        for (text, line) in [
            ("", 1),
            ("SQLite format 3\0", 1),
            ("VERSION=4\n", 1),
            ("VERSION=3\nformat=bytevalue\n", 3),
            ("VERSION=3\nformat=bytevalue\ndupsort=1\nHEADER=END\nDATA=END\n", 3),
            ("VERSION=3\nHEADER=END\nDATA=END\n", 2),
            (&format!("{header} 61\n 62\n"), 6),
            (&format!("{header} 61\n 62"), 5),
            (&format!("{header} 61\nDATA=END\n"), 5),
            (&format!("{header} 6\n 62\nDATA=END\n"), 4),
            (&format!("{header} 61\n 6g\nDATA=END\n"), 5),
            (&format!("{header}61\n 62\nDATA=END\n"), 4),
            (&format!("{header} {}\n 62\nDATA=END\n", "61".repeat(1001)), 4),
            ("VERSION=3\nformat=print\nHEADER=END\n a\n C:\\dir\nDATA=END\n", 5),
            ("VERSION=3\nformat=print\nHEADER=END\n a\n \\41\nDATA=END\n", 5),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.to_string().starts_with(&format!("line {line}: ")), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_tools_of_lmdb_load_and_dump_the_same_keys() {
        if Command::new("mdb_load").arg("-V").output().is_err() {
            return eprintln!("skipped: mdb_load is not installed (lmdb-utils)");
        }
        let folder = tempfile::tempdir().unwrap();
        let (file, environment) = (folder.path().join("dump"), folder.path().join("environment"));
        std::fs::create_dir(&environment).unwrap();
        let mut pairs = nasty();
        pairs.extend((0..4000).map(|n| (format!("\u{100000}{n:05}").into_bytes(), vec![b'x'; n % 3000])));
        pairs.sort();
        std::fs::write(&file, render(&pairs)).unwrap();
        let loaded = Command::new("mdb_load").arg("-f").arg(&file).arg(&environment).output().unwrap();
        assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        let dumped = Command::new("mdb_dump").arg(&environment).output().unwrap();
        assert!(parse(&dumped.stdout).unwrap() == pairs);
    }
}
