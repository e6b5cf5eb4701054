//! Doors for the programs in `fuzz/`, in builds for them alone: bytes that anybody could have written, and what must hold of
//! whatever is made of them.

#![allow(clippy::expect_used, reason = "what does not hold is found by a panic")]

use super::header;
use super::incoming::{Declared, Incoming};
use super::index::Index;
use super::journal::Journal;
use crate::payload::Payload;

/// The header of a safetensors file: eight bytes of the length of the data, and the JSON.
pub fn header(bytes: &[u8]) {
    let Some((data, json)) = bytes.split_first_chunk::<8>() else { return };
    let data = u64::from_le_bytes(*data);
    let Ok(header) = header::Header::parse(json, data) else { return };
    let mut next = 0;
    for tensor in &header.tensors {
        assert_eq!(tensor.begin, next);
        assert_eq!(header::data_length(tensor.dtype, &tensor.shape), Some(tensor.end - tensor.begin));
        next = tensor.end;
        assert_eq!(super::npy::head(tensor.dtype, &tensor.shape, tensor.end - tensor.begin).len() % 64, 0);
    }
    assert_eq!(next, data);
    // The library takes what we take.
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json);
    if data < 1 << 20 {
        file.resize(file.len() + data as usize, 0);
        ::safetensors::SafeTensors::deserialize(&file).expect("the library refuses it");
    }
}

/// A file of numpy.
pub fn npy(bytes: &[u8]) {
    let Ok(body) = Payload::of(bytes) else { return };
    if let Ok(incoming) = Incoming::look(&body, None, &Declared::default()) {
        assert_eq!(header::data_length(incoming.dtype, &incoming.shape), Some(incoming.length));
        assert!(incoming.length <= bytes.len() as u64);
    }
}

/// A journal.
pub fn journal(bytes: &[u8]) {
    let path = std::env::temp_dir().join(format!("kvfs-fuzz-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a file");
    if let Ok(Some(leftover)) = Journal::read(&path) {
        assert!(leftover.unreadable <= bytes.len() as u64);
    }
}

/// The index of a sharded model.
pub fn index(bytes: &[u8]) {
    let Ok(index) = Index::parse(bytes) else { return };
    let same = index.with(index.weight_map.clone(), Some(&index.metadata()), 0).expect("it is made");
    let again = Index::parse(&same.text().expect("it is written")).expect("it is read");
    assert!(again.is(&same));
    assert_eq!(again.weight_map, index.weight_map);
}
