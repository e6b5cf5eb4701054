//! File names and segments (§1.2 to §1.8): over all bytes by chance, over the nasty ones without exception.

#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use kvfs::key::{Key, Segment, Word};
use kvfs::name::{self, Joined, MORE, NAME_MAX, PIECE_MAX, Role, WORDS};
use proptest::prelude::*;

/// What encoding turns on, and a few bytes that it leaves alone.
const SYMBOLS: &[&[u8]] =
    &[b"a", b"%", b"/", b".", b"\0", b"~", b"\xFF", b"\n", b"2", b"5", b"25", b"2F", b"00", b"2E", b"2f"];

fn words() -> impl Iterator<Item = Word> {
    let types =
        WORDS.iter().filter_map(|(_, role)| if let Role::Type(word) = role { Some(*word) } else { None });
    types.chain([Word::None])
}

/// What holds for every name that a segment has.
fn check_segment(segment: Segment<'_>) -> Vec<u8> {
    let encoded = name::encode(segment);
    assert!(!encoded.is_empty() && *encoded != *b"." && *encoded != *b"..", "{segment:?}");
    assert!(!encoded.iter().any(|byte| matches!(byte, 0 | b'/')), "{segment:?}");
    let (bytes, word) = name::decode(&encoded).unwrap_or_else(|| panic!("{segment:?} is not read back"));
    assert_eq!(Segment { bytes: &bytes, word }, segment, "by {}", encoded.escape_ascii());
    encoded.into_owned()
}

/// What holds for every byte string, as a segment and as a name.
fn check(bytes: &[u8], seen: &mut HashSet<Vec<u8>>) {
    // All words behave alike: on long strings one of each sort is enough.
    let long = bytes.len() > 8;
    for word in words().filter(|word| !long || matches!(word, Word::None | Word::HashJson)) {
        let segment = Segment { bytes, word };
        assert!(seen.insert(check_segment(segment)), "{segment:?} shares its name with another segment");
    }
    if let Some((decoded, word)) = name::decode(bytes) {
        let again = name::encode(Segment { bytes: &decoded, word });
        assert_eq!(again.escape_ascii().to_string(), bytes.escape_ascii().to_string());
    }
}

/// Calls `each` with every string of up to `longest` symbols, once.
fn strings(symbols: &[Vec<u8>], longest: usize, each: &mut dyn FnMut(&[u8])) {
    let mut done = HashSet::new();
    let mut row = vec![Vec::new()];
    for length in 0..=longest {
        for string in &row {
            if done.insert(string.clone()) {
                each(string);
            }
        }
        if length < longest {
            row = row.iter().flat_map(|s| symbols.iter().map(move |t| [&s[..], t].concat())).collect();
        }
    }
}

#[test]
fn promise_1_2_every_string_of_up_to_three_symbols_and_words_is_read_back_and_alone() {
    let with_sign = WORDS.iter().map(|(word, _)| [b"%", *word].concat());
    let bare = WORDS.iter().map(|(word, _)| word.to_vec());
    let symbols: Vec<_> = SYMBOLS.iter().map(|s| s.to_vec()).chain(with_sign).chain(bare).collect();
    let mut seen = HashSet::new();
    strings(&symbols, 3, &mut |string| check(string, &mut seen));
}

#[test]
fn promise_1_2_every_string_of_up_to_five_of_the_nastiest_symbols_is_read_back_and_alone() {
    let symbols: Vec<_> = [&b"%"[..], b"25", b"2F", b"00", b"2E", b"hash", b"\0"].map(<[u8]>::to_vec).into();
    let mut seen = HashSet::new();
    strings(&symbols, 5, &mut |string| check(string, &mut seen));
}

#[test]
fn words_that_stand_alone_are_names_by_themselves() {
    for (word, role) in WORDS {
        let name = [b"%", *word].concat();
        match role {
            Role::Alone(alone) => assert_eq!(check_segment(Segment { bytes: b"", word: *alone }), name),
            Role::Type(word) => {
                assert_eq!(name::decode(&name), None, "a type without a segment");
                assert_eq!(check_segment(Segment { bytes: b"", word: *word }), [b"%empty", &*name].concat());
            }
            Role::Spelling if *word == b"empty" => {
                assert_eq!(name::decode(&name), Some((b""[..].into(), Word::None)));
            }
            Role::Spelling => assert_eq!(name::decode(&name), None),
        }
        if !matches!(role, Role::Type(_)) {
            assert_eq!(name::decode(&[b"a", &*name].concat()), None);
        }
    }
}

proptest! {
    #[test]
    fn promise_1_2_any_bytes_are_read_back(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        check(&bytes, &mut HashSet::new());
    }

    #[test]
    fn promise_1_2_any_nasty_bytes_are_read_back(
        symbols in prop::collection::vec(prop::sample::select(SYMBOLS), 0..12),
    ) {
        check(&symbols.concat(), &mut HashSet::new());
    }

    #[test]
    fn promise_1_2_different_segments_have_different_names(
        one in prop::collection::vec(prop::sample::select(SYMBOLS), 0..6),
        two in prop::collection::vec(prop::sample::select(SYMBOLS), 0..6),
    ) {
        let (one, two) = (one.concat(), two.concat());
        let names = [&one, &two].map(|bytes| name::encode(Segment::plain(bytes)).into_owned());
        prop_assert_eq!(one == two, names[0] == names[1]);
    }

    #[test]
    fn promise_1_3_what_the_kernel_carries_is_its_own_name(
        bytes in prop::collection::vec(any::<u8>().prop_filter("special", |b| !b"%/\0".contains(b)), 1..255),
    ) {
        prop_assume!(bytes != b"." && bytes != b"..");
        prop_assert_eq!(&*name::encode(Segment::plain(&bytes)), &*bytes);
    }

    #[test]
    fn promise_1_8_pieces_fit_and_join_to_the_name(
        symbols in prop::collection::vec(prop::sample::select(SYMBOLS), 0..1200),
    ) {
        check_pieces(&symbols.concat());
    }

    #[test]
    fn promise_1_10_keys_and_paths_translate_both_ways(
        segments in prop::collection::vec(prop::collection::vec(prop::sample::select(SYMBOLS), 0..400), 0..4),
    ) {
        let segments: Vec<_> = segments.iter().map(|segment| segment.concat()).collect();
        let key = Key::of(segments.iter().map(|segment| &segment[..]));
        prop_assert_eq!(name::key(&name::path(&key)), Some(key));
    }
}

fn check_pieces(bytes: &[u8]) {
    let encoded = name::encode(Segment::plain(bytes));
    let pieces: Vec<_> = name::pieces(&encoded).collect();
    let mut before = Vec::new();
    for (index, piece) in pieces.iter().enumerate() {
        assert!(piece.len() <= NAME_MAX && **piece != *b"." && **piece != *b"..");
        assert_eq!(name::shown(&encoded, &before).as_deref(), Some(&**piece));
        match name::join(&before, piece).unwrap() {
            Joined::Part(part) => {
                assert!(index + 1 < pieces.len() && part.len() - before.len() <= PIECE_MAX);
                before = part;
            }
            Joined::Whole(whole) => {
                assert_eq!(index + 1, pieces.len());
                assert_eq!(whole, &*encoded);
            }
        }
    }
    assert_eq!(pieces.len() > 1, encoded.len() > NAME_MAX);
}

#[test]
fn promise_1_8_the_cut_spares_characters_and_escapes() {
    let mut umlauts = vec![b'x'];
    umlauts.extend("ü".repeat(200).bytes());
    let first = name::pieces(&umlauts).next().unwrap().into_owned();
    assert!(std::str::from_utf8(&first).is_ok() && first.len() == 239 + MORE.len());

    let slash = [&b"x".repeat(239)[..], b"/", &b"y".repeat(100)].concat();
    let encoded = name::encode(Segment::plain(&slash));
    assert_eq!(name::pieces(&encoded).next().unwrap().len(), 239 + MORE.len());

    for bytes in
        [b"%25".repeat(200), b"%2500".repeat(100), [b"%", &b"25".repeat(400)[..]].concat(), vec![0x80; 700]]
    {
        check_pieces(&bytes);
    }
}

#[test]
fn promise_1_8_a_short_rest_or_a_wrong_cut_is_no_name() {
    assert_eq!(name::join(&[b'x'; 240], b"short"), None);
    assert_eq!(name::join(&[b'x'; 100], &[b'y'; 200]), None);
    assert_eq!(name::join(b"", &[b'x'; 256]), None);
    assert_eq!(name::join(b"", MORE), None);
    assert_eq!(name::join(b"", &[&[b'x'; 241][..], MORE].concat()), None);
    assert_eq!(name::shown(&[b'x'; 300], &[b'x'; 239]), None);
    assert_eq!(name::shown(&[b'x'; 200], &[b'x'; 240]), None);
    assert_eq!(name::key(&[&[b'x'; 240][..], MORE].concat()), None, "a directory of the rest has no key");
}

#[test]
fn a_path_that_ends_in_value_is_the_key_of_its_directory() {
    let key = Key::of([&b"a"[..], b"b"]);
    assert_eq!(name::key(b"a/b/%value"), Some(key.clone()));
    assert_eq!(name::key(b"//a//b/"), Some(key));
    assert_eq!(name::key(b"%value"), None);
    assert_eq!(name::key(b"a/%value/b"), None);
}
