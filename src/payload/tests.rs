use super::*;

#[test]
fn a_large_payload_spills_and_reads_back_with_its_holes() {
    let mut payload = Payload::new();
    payload.write(5, b"abc").unwrap();
    payload.write(3 << 20, b"end").unwrap();
    assert!(payload.as_slice().is_none());
    let mut head = [9; 8];
    assert_eq!(payload.read(0, &mut head).unwrap(), 8);
    assert_eq!(&head, b"\0\0\0\0\0abc");
    let mut tail = [9; 8];
    assert_eq!(payload.read((3 << 20) - 1, &mut tail).unwrap(), 4);
    assert_eq!(&tail[..4], b"\0end");
    payload.resize(6).unwrap();
    assert_eq!(payload.len(), 6);
}

/// The bytes 0, 1, 2, ... of a version in some store, with a count of those that were read.
struct Counting(u64, std::sync::atomic::AtomicU64);

impl Value for Counting {
    fn len(&self) -> u64 {
        self.0
    }

    fn read(&self, offset: u64, size: u64, sink: &mut dyn FnMut(&[u8])) -> Result<()> {
        let bytes: Vec<u8> = (offset..self.0.min(offset + size)).map(|byte| byte as u8).collect();
        self.1.fetch_add(bytes.len() as u64, std::sync::atomic::Ordering::Relaxed);
        sink(&bytes);
        Ok(())
    }

    fn version(&self) -> Result<crate::store::api::Version> {
        Ok(crate::store::api::Version::of_content(b"counting"))
    }
}

#[test]
fn a_beginning_is_read_where_it_changes_and_nowhere_else() {
    let value = Arc::new(Counting(3000, 0.into()));
    let read = || value.1.load(std::sync::atomic::Ordering::Relaxed);
    let shown = |payload: &Payload| {
        let mut bytes = vec![0; payload.len() as usize];
        assert_eq!(payload.read(0, &mut bytes).unwrap(), bytes.len());
        bytes
    };
    let mut expected: Vec<u8> = (0..3000u64).map(|byte| byte as u8).collect();
    let mut payload = Payload::beginning_with(value.clone(), u64::MAX).unwrap();
    payload.write(3000, b"end").unwrap();
    expected.extend_from_slice(b"end");
    assert_eq!((payload.len(), payload.beginning().unwrap().1, read()), (3003, 3000, 0));
    assert_eq!(shown(&payload), expected);
    assert_eq!(read(), 3000);
    assert_eq!((payload.next_data(7).unwrap(), payload.next_hole(7).unwrap()), (Some(7), 3003));
    // What lies behind the place is brought here, what lies before it is not.
    payload.write(2500, b"middle").unwrap();
    expected[2500..2506].copy_from_slice(b"middle");
    assert_eq!((payload.beginning().unwrap().1, read()), (2500, 3500));
    assert_eq!(shown(&payload), expected);
    payload.resize(1000).unwrap();
    payload.resize(1200).unwrap();
    expected.truncate(1000);
    expected.resize(1200, 0);
    assert_eq!(payload.beginning().unwrap().1, 1000);
    assert_eq!(shown(&payload), expected);
    assert_eq!(shown(&payload.brought_down().unwrap()), expected);
    assert_eq!(payload.beginning().unwrap().1, 1000);
    let here = Payload::beginning_with(value.clone(), 1200).unwrap().without_beginning().unwrap();
    assert_eq!((here.len(), shown(&here)), (1200, vec![0; 1200]));
    payload.zero(0, 10).unwrap();
    expected[..10].fill(0);
    assert!(payload.beginning().is_none());
    assert_eq!(shown(&payload), expected);
}

#[test]
fn a_punched_range_reads_as_zeros_and_in_a_file_is_a_hole() {
    let mut small = Payload::of(&[7; 10]).unwrap();
    small.zero(8, u64::MAX).unwrap();
    small.zero(2, 3).unwrap();
    small.zero(10, 1).unwrap();
    assert_eq!(small.as_slice().unwrap(), [7, 7, 0, 0, 0, 7, 7, 7, 0, 0]);
    assert_eq!((small.next_data(3).unwrap(), small.next_hole(3).unwrap()), (Some(3), 10));

    let mut large = Payload::of(&vec![7; 4 << 20]).unwrap();
    large.zero(1 << 20, 2 << 20).unwrap();
    assert_eq!(large.len(), 4 << 20);
    assert_eq!(large.next_hole(0).unwrap(), 1 << 20);
    assert_eq!(large.next_data(1 << 20).unwrap(), Some(3 << 20));
    assert_eq!(large.next_hole(3 << 20).unwrap(), 4 << 20);
    large.zero(3 << 20, 1 << 20).unwrap();
    assert_eq!(large.next_data(1 << 20).unwrap(), None);
    let mut around = [9; 2];
    large.read((1 << 20) - 1, &mut around).unwrap();
    assert_eq!(around, [7, 0]);
}

#[test]
fn a_hundred_gigabytes_of_nothing_take_no_room() {
    use std::os::unix::fs::MetadataExt;
    let mut payload = Payload::new();
    payload.resize(100 << 30).unwrap();
    let Bytes::File(file, _) = &payload.bytes else { panic!("in memory") };
    assert_eq!(file.metadata().unwrap().blocks(), 0);
    assert_eq!(payload.next_data(5).unwrap(), None);
}

#[test]
fn zeros_are_written_where_no_hole_can_be_punched() {
    let file = Folders::get().unlinked_file().unwrap();
    file.write_all_at(&vec![7; 3 << 20], 0).unwrap();
    write_zeros(&file, 5, (2 << 20) + 5).unwrap();
    let mut all = vec![0; 3 << 20];
    file.read_exact_at(&mut all, 0).unwrap();
    let zeros = 5..(2 << 20) + 5;
    assert!(all.iter().enumerate().all(|(at, byte)| (*byte == 0) == zeros.contains(&at)));
}

#[test]
fn bytes_in_memory_have_a_permit_and_those_in_a_file_need_none() {
    let permitted = |payload: &Payload| payload.permit.as_ref().map_or(0, Permit::bytes);
    let mut payload = Payload::of(&[7; 5000]).unwrap();
    assert!(permitted(&payload) >= 5000);
    payload.resize(100).unwrap();
    assert_eq!(permitted(&payload), 1024);
    payload.resize(1 << 20).unwrap();
    assert_eq!(permitted(&payload), 1 << 20);
    payload.write(1 << 20, b"x").unwrap();
    assert_eq!((permitted(&payload), payload.as_slice()), (0, None));
}

#[test]
fn what_was_cut_reads_as_zeros() {
    let mut payload = Payload::of(b"12345").unwrap();
    payload.resize(2).unwrap();
    payload.resize(4).unwrap();
    let mut all = Vec::new();
    payload
        .pieces(&mut |piece| {
            all.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    assert_eq!(all, b"12\0\0");
}
