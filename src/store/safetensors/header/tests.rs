use proptest::prelude::*;

use super::*;

fn refusal(json: &str, data: u64) -> String {
    Header::parse(json.as_bytes(), data).unwrap_err().to_string()
}

/// What the crate says of the same file.
fn crate_accepts(json: &[u8], data: u64) -> bool {
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json);
    file.resize(file.len() + data as usize, 0);
    ::safetensors::SafeTensors::deserialize(&file).is_ok()
}

#[test]
fn a_header_is_read_in_the_order_of_the_bytes() {
    let json = r#"{"b":{"dtype":"U8","shape":[3],"data_offsets":[8,11]},"__metadata__":{"z":"1","a":"2"},
        "a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},"none":{"dtype":"I64","shape":[0],"data_offsets":[8,8]}}   "#;
    let header = Header::parse(json.as_bytes(), 11).unwrap();
    let names: Vec<&str> = header.tensors.iter().map(|tensor| &*tensor.name).collect();
    assert_eq!(names, ["a", "none", "b"]);
    assert_eq!(header.metadata.unwrap(), [("z".into(), "1".into()), ("a".into(), "2".into())]);
    assert!(crate_accepts(json.as_bytes(), 11));
}

#[test]
fn what_a_header_must_not_be_is_told_in_a_sentence() {
    let one = |shape: &str, offsets: &str| {
        format!(r#"{{"a":{{"dtype":"U8","shape":{shape},"data_offsets":{offsets}}}}}"#)
    };
    for (json, data, told) in [
        (one("[2]", "[0,3]"), 3, "has 3 bytes"),
        (one("[2]", "[0,2]"), 3, "belongs to none"),
        (one("[2]", "[1,3]"), 3, "the bytes from 0 on belong to none"),
        (one("[4]", "[0,4]"), 3, "ends at byte 4 of 3"),
        (one("[2]", "[2,0]"), 3, "before it begins"),
        (one("[18446744073709551615,2]", "[0,3]"), 3, "no number of bytes"),
        (one("[-1]", "[0,1]"), 1, "\"a\": "),
        (one(&format!("[{}1]", "1,".repeat(64)), "[0,1]"), 1, "more than 64 dimensions"),
        (r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#.into(), 1, "twice"),
        (r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#.into(), 3, "inside the one before it"),
        (r#"{"a":{"dtype":"X8","shape":[1],"data_offsets":[0,1]}}"#.into(), 1, "X8"),
        (r#"{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}"#.into(), 1, "no number of bytes"),
        (r#"{"__metadata__":{"k":1}}"#.into(), 0, "string"),
        (r#"{"__metadata__":{"k":"1","k":"2"}}"#.into(), 0, "twice"),
        ("[]".into(), 0, "object of tensors"),
        ("{} {}".into(), 0, "trailing"),
        (format!(r#"{{"__metadata__":{}"#, "[".repeat(100_000)), 0, "header"),
        (format!(r#"{{"a":{{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":{}"#, "[".repeat(100_000)), 0, "EOF"),
    ] {
        let refusal = refusal(&json, data);
        assert!(refusal.contains(told), "{json:.80}: {refusal:.200}");
    }
}

fn any_header() -> impl Strategy<Value = String> {
    let dtype = prop::sample::select(vec!["U8", "F4", "BF16", "F32", "C64", "BOOL", "Q3"]);
    let number = prop_oneof![0..9_u64, Just(u64::MAX), Just(1 << 62)];
    let shape = prop::collection::vec(number.clone(), 0..3);
    let name = prop::sample::select(vec!["a", "b", "c/d", "__metadata__", ""]);
    let tensor = (name, dtype, shape, number.clone(), number).prop_map(|(name, dtype, shape, begin, end)| {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
    });
    prop::collection::vec(tensor, 0..4).prop_map(|tensors| format!("{{{}}}", tensors.join(",")))
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(json in prop::collection::vec(any::<u8>(), 0..200), data in 0..20_u64) {
        if Header::parse(&json, data).is_ok() {
            prop_assert!(crate_accepts(&json, data));
        }
    }

    #[test]
    fn what_is_read_the_crate_reads_too(json in any_header(), data in 0..20_u64) {
        let read = Header::parse(json.as_bytes(), data);
        if read.is_ok() {
            prop_assert!(crate_accepts(json.as_bytes(), data), "{json}");
        } else if crate_accepts(json.as_bytes(), data) {
            prop_assert!(read.unwrap_err().to_string().contains("twice"), "{json}");
        }
    }
}

#[test]
fn a_header_is_text_also_where_nobody_looks() {
    let json = b"{\"__metadata__\":null,\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"more\":\"\xff\"}}";
    assert!(Header::parse(json, 1).unwrap_err().to_string().contains("no text"));
    assert!(!crate_accepts(json, 1));
}
