use std::time::{Duration, UNIX_EPOCH};

use proptest::prelude::*;

use super::*;

const STYLES: [Style; 4] = [Style::S3fs, Style::Rclone, Style::Gcs, Style::Azure];
const LIMIT: usize = 2048;

fn headers(words: &[(&str, &str)]) -> Headers {
    let metadata = words.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Headers { metadata, ..Headers::default() }
}

fn attributes(style: Style, words: &[(&str, &str)]) -> Attributes {
    read(style, &headers(words)).attributes
}

fn written(style: Style, setting: &Setting, holder: Holder) -> Headers {
    let mut headers = Headers::default();
    write(style, &mut headers, setting, holder, LIMIT).unwrap();
    headers
}

const REGULAR: Holder = Holder::File(FileType::Regular);

fn moment(seconds: i64, nanoseconds: u64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = if seconds < 0 { UNIX_EPOCH - whole } else { UNIX_EPOCH + whole };
    second + Duration::from_nanos(nanoseconds)
}

/// What s3fs 1.90 and rclone 1.60 wrote.
#[test]
fn the_words_of_others_are_read() {
    let s3fs = [("mode", "33188"), ("uid", "1000"), ("gid", "100"), ("mtime", "1700000000.000000012")];
    let read_back = attributes(Style::S3fs, &s3fs);
    assert_eq!((read_back.mode, read_back.uid, read_back.gid), (Some(0o644), Some(1000), Some(100)));
    assert_eq!(read_back.mtime, Some(moment(1_700_000_000, 12)));
    let rclone = [("mode", "100640"), ("mtime", "1700000000.5"), ("atime", "2023-11-14T23:13:20.25+01:00")];
    let read_back = attributes(Style::S3fs, &rclone);
    assert_eq!((read_back.mode, read_back.mtime), (Some(0o640), Some(moment(1_700_000_000, 500_000_000))));
    assert_eq!(read_back.atime, Some(moment(1_700_000_000, 250_000_000)));
    let google = [
        ("goog-reserved-file-mtime", "1700000000"),
        ("goog-reserved-posix-mode", "750"),
        ("goog-reserved-posix-uid", "7"),
        ("goog-reserved-posix-gid", "8"),
        ("gcsfuse_mtime", "2023-11-14T22:13:20.000000007Z"),
        ("mtime", "2023-11-14T22:13:19Z"),
    ];
    let read_back = attributes(Style::Gcs, &google);
    assert_eq!((read_back.mode, read_back.uid, read_back.gid), (Some(0o750), Some(7), Some(8)));
    assert_eq!(read_back.mtime, Some(moment(1_700_000_000, 7)), "the latest of them");
    let azure = headers(&[("hdi_isfolder", "True")]);
    assert!(read(Style::Azure, &azure).is_directory);
    assert_eq!(attributes(Style::Azure, &[("is_symlink", "true")]).file_type, FileType::Symlink);
}

#[test]
fn a_mode_is_decimal_where_its_type_is_valid_then_and_else_octal() {
    let of = |text: &str| {
        let kept = read(Style::S3fs, &headers(&[("mode", text)]));
        let attributes = kept.attributes;
        (kept.is_directory, attributes.file_type, attributes.mode)
    };
    let file = |file_type, mode| (false, file_type, Some(mode));
    assert_eq!(of("33261"), file(FileType::Regular, 0o755));
    assert_eq!(of("41471"), file(FileType::Symlink, 0o777));
    assert_eq!(of("4516"), file(FileType::Fifo, 0o644));
    assert_eq!(of("49645"), file(FileType::Socket, 0o755));
    assert_eq!(of("16877"), (true, FileType::Regular, Some(0o755)));
    assert_eq!(of("104755"), file(FileType::Regular, 0o4755));
    assert_eq!(of("120777"), file(FileType::Symlink, 0o777));
    assert_eq!(of("10600"), file(FileType::Fifo, 0o600));
    for (text, mode) in [("40755", 0o755), ("41777", 0o1777), ("42755", 0o2755), ("47777", 0o7777)] {
        assert_eq!(of(text), (true, FileType::Regular, Some(mode)), "{text}");
    }
    assert_eq!(of("644"), file(FileType::Regular, 0o644));
    for nonsense in ["", "x", "-1", "99999999999", "0x1ff"] {
        assert_eq!(of(nonsense), (false, FileType::Regular, None), "{nonsense}");
    }
}

/// Every mode of every type, as each style writes it.
#[test]
fn what_is_written_is_read_back_in_every_style() {
    let types = [FileType::Regular, FileType::Symlink, FileType::Fifo, FileType::Socket];
    for style in STYLES {
        for mode in 0..=0o7777 {
            for holder in types.map(Holder::File).into_iter().chain([Holder::Directory]) {
                let setting = Setting { mode: Some(mode), ..Setting::default() };
                let kept = read(style, &written(style, &setting, holder));
                let link = holder == Holder::File(FileType::Symlink);
                let expected = if link { 0o777 } else { mode };
                assert_eq!(kept.attributes.mode, Some(expected), "{style:?} {holder:?} {mode:o}");
                assert_eq!(kept.is_directory, holder == Holder::Directory, "{style:?} {mode:o}");
                let file_type =
                    if let Holder::File(file_type) = holder { file_type } else { FileType::Regular };
                assert_eq!(kept.attributes.file_type, file_type, "{style:?} {mode:o}");
            }
        }
    }
}

/// §5.2
#[test]
fn promise_5_2_nanoseconds_survive_also_before_1970() {
    let moments = [(0, 0), (1_700_000_000, 123_456_789), (1, 1), (-1, 0), (-1, 999_999_999), (-100, 1)];
    for style in STYLES {
        for (seconds, nanoseconds) in moments {
            let time = Some(moment(seconds, nanoseconds));
            let setting = Setting { atime: time, mtime: time, ctime: time, ..Setting::default() };
            let kept = read(style, &written(style, &setting, REGULAR)).attributes;
            assert_eq!((kept.atime, kept.mtime, kept.ctime), (time, time, time), "{style:?} {seconds}");
        }
    }
    let setting = Setting { mtime: Some(moment(1_700_000_000, 5)), ..Setting::default() };
    let word = |style| written(style, &setting, REGULAR).metadata["mtime"].clone();
    assert_eq!(word(Style::S3fs), "1700000000.000000005");
    assert_eq!(word(Style::Rclone), "1700000000.000000005");
    assert_eq!(word(Style::Gcs), "2023-11-14T22:13:20.000000005Z");
}

/// §4.7: what others keep there stays, also where it is read in another way than it would be written.
#[test]
fn what_is_not_set_stays_as_it_is() {
    let mut found = headers(&[("mode", "100600"), ("owner", "me"), ("btime", "x"), ("gcsfuse_mtime", "?")]);
    found.content_type = Some("text/plain".to_owned());
    let before = found.clone();
    write(Style::S3fs, &mut found, &Setting::default(), REGULAR, LIMIT).unwrap();
    assert_eq!(found, before);
    let setting = Setting { mtime: Some(moment(5, 0)), ..Setting::default() };
    write(Style::Gcs, &mut found, &setting, REGULAR, LIMIT).unwrap();
    for word in ["mode", "owner", "btime"] {
        assert_eq!(found.metadata[word], before.metadata[word]);
    }
    assert_eq!(found.metadata["gcsfuse_mtime"], "1970-01-01T00:00:05.000000000Z");
    assert_eq!(found.metadata["goog-reserved-file-mtime"], "5");
}

#[test]
fn extended_attributes_are_kept_as_s3fs_keeps_them() {
    let text = "%7B%22user.a%22%3A%22AP8%3D%22%2C%22user.b%22%3A%22%22%7D";
    let mut found = headers(&[("xattr", text)]);
    let name = |name: &str| Box::<[u8]>::from(name.as_bytes());
    let expected = Xattrs::from([(name("user.a"), Box::from([0, 0xFF])), (name("user.b"), name(""))]);
    assert_eq!(read(Style::S3fs, &found).xattrs, expected);
    let xattrs = BTreeMap::from([(name("user.a"), None), (name("user.b"), None)]);
    write(Style::S3fs, &mut found, &Setting { xattrs, ..Setting::default() }, REGULAR, LIMIT).unwrap();
    assert_eq!(found, Headers::default(), "the word goes with the last of them");
}

#[test]
fn the_content_type_is_a_header_and_no_metadata() {
    let setting = |value: Option<&[u8]>| Setting {
        xattrs: BTreeMap::from([(CONTENT_TYPE.as_bytes().into(), value.map(Box::from))]),
        ..Setting::default()
    };
    let mut found = written(Style::S3fs, &setting(Some(b"text/html")), REGULAR);
    assert_eq!((found.content_type.as_deref(), found.metadata.len()), (Some("text/html"), 0));
    let wrong = write(Style::S3fs, &mut found, &setting(Some(b"a\r\nb: c")), REGULAR, LIMIT);
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::Invalid);
    write(Style::S3fs, &mut found, &setting(None), REGULAR, LIMIT).unwrap();
    assert_eq!(found.content_type, None);
    assert_eq!(content_type("a/b.JSON"), Some("application/json"));
    assert_eq!(content_type("a.txt/b"), None);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_changed() {
    let name: Box<[u8]> = Box::from(&b"user.big"[..]);
    let xattrs = BTreeMap::from([(name, Some(vec![7; 2000].into()))]);
    let setting = Setting { mode: Some(0o600), xattrs, ..Setting::default() };
    let mut found = headers(&[("mode", "33188")]);
    let before = found.clone();
    let refused = write(Style::S3fs, &mut found, &setting, REGULAR, LIMIT).unwrap_err();
    assert_eq!((refused.kind(), found), (ErrorKind::NoSpace, before));
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "-?[0-9]{0,25}\\.?[0-9]{0,25}",
        "[0-9]{1,5}-[0-9]{1,2}-[0-9]{1,2}T[0-9:.]{0,20}(Z|[+-][0-9:]{0,5})",
        "%7B(%22|%3A|[a-zA-Z0-9=+/]){0,20}%7D",
    ]
}

proptest! {
    #[test]
    fn whatever_is_in_the_headers_is_read_and_written_over(
        names in prop::collection::vec(prop::sample::select(&[
            "mode", "uid", "gid", "mtime", "atime", "ctime", "xattr", "gcsfuse_mtime", "goog-reserved-file-mtime",
            "goog-reserved-posix-mode", "goog-reserved-posix-uid", "hdi_isfolder", "is_symlink",
        ][..]), 0..8),
        values in prop::collection::vec(words(), 8),
        style in prop::sample::select(&STYLES[..]),
        mode in 0u32..0o10000,
        seconds in -10_000_000_000i64..10_000_000_000,
        nanoseconds in 0u64..1_000_000_000,
    ) {
        let pairs: Vec<_> = names.iter().copied().zip(values.iter().map(String::as_str)).collect();
        let mut found = headers(&pairs);
        read(style, &found);
        let mtime = Some(moment(seconds, nanoseconds));
        let setting = Setting { mode: Some(mode), uid: Some(mode), mtime, ..Setting::default() };
        write(style, &mut found, &setting, REGULAR, usize::MAX).unwrap();
        found.metadata.retain(|name, _| style == Style::Gcs || !name.starts_with("goog-reserved-file"));
        let kept = read(style, &found).attributes;
        prop_assert_eq!((kept.uid, kept.mtime), (Some(mode), mtime));
        if !read(style, &found).is_directory {
            prop_assert_eq!(kept.mode, Some(mode));
        }
    }
}
