//! Calls beside reading and writing: what there is answers as on any file system, what there is not is refused so
//! that programs fall back.

use std::fs;
use std::io;

use rustix::fs::inotify;

use crate::harness::{
    Foreign, Kind, LIMIT, Mount, PATIENCE, dump, needs_kvfs, needs_root, noise, on_every_mount, plain,
    refused, same_bytes, until, watched,
};

/// Runs a Python program in the mount.
fn python(mount: &Mount, script: impl AsRef<[u8]>) -> String {
    fs::write(mount.place.at("script.py"), script).unwrap();
    mount.bash("python3 \"$PLACE/script.py\"")
}

on_every_mount! {
    /// A nameless file is refused, upon which programs make one with a name and remove it
    fn promise_4_1_nameless_files_are_refused(mount) {
        needs_kvfs();
        python(mount, "\
import errno, os, tempfile
try:
    os.open('.', os.O_TMPFILE | os.O_RDWR)
    raise SystemExit('O_TMPFILE succeeded')
except OSError as error:
    assert error.errno == errno.EOPNOTSUPP, error
with tempfile.TemporaryFile(dir='.') as file:
    file.write(b'bytes')
    file.seek(0)
    assert file.read() == b'bytes'
    assert os.listdir('.') == []
with tempfile.NamedTemporaryFile(dir='.') as file:
    file.write(b'bytes')
    file.flush()
    assert open(file.name, 'rb').read() == b'bytes'
with tempfile.SpooledTemporaryFile(max_size=10, dir='.') as file:
    file.write(b'x' * 100)
assert os.listdir('.') == []
");
    }

    /// There is nothing to control, and no terminal
    fn promise_4_1_ioctls_are_refused(mount) {
        needs_kvfs();
        python(mount, "\
import errno, fcntl, os, termios
file = os.open('f', os.O_RDWR | os.O_CREAT)
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
for request in (termios.TCGETS, FS_IOC_GETFLAGS, FS_IOC_SETFLAGS):
    try:
        fcntl.ioctl(file, request, bytes(60))
        raise SystemExit(f'{request:#x} succeeded')
    except OSError as error:
        assert error.errno == errno.ENOTTY, error
assert not os.isatty(file)
FICLONE = 0x40049409
try:
    fcntl.ioctl(file, FICLONE, file)
    raise SystemExit('FICLONE succeeded')
except OSError as error:
    assert error.errno == errno.EOPNOTSUPP, error
");
    }

    /// A file is ready at once, also where nothing is in it
    fn promise_4_1_files_are_always_ready(mount) {
        python(mount, "\
import os, select
file = os.open('f', os.O_RDWR | os.O_CREAT)
assert select.select([file], [file], [], 5) == ([file], [file], [])
poll = select.poll()
poll.register(file, select.POLLIN | select.POLLOUT | select.POLLPRI)
assert poll.poll(5000) == [(file, select.POLLIN | select.POLLOUT)]
");
        needs_kvfs();
        // Of a file on a disk epoll will hear nothing (EPERM); Linux lets FUSE files in, and they are ready there too.
        python(mount, "\
import os, select
file = os.open('f', os.O_RDWR)
epoll = select.epoll()
epoll.register(file, select.EPOLLIN | select.EPOLLOUT)
assert epoll.poll(5) == [(file, select.EPOLLIN | select.EPOLLOUT)]
");
    }

    /// Nobody knows when a key was made, so nothing is said of it
    fn promise_5_3_there_is_no_time_of_birth(mount) {
        needs_kvfs();
        fs::write(mount.at("f"), "bytes").unwrap();
        let found = rustix::fs::statx(
            rustix::fs::CWD,
            mount.at("f"),
            rustix::fs::AtFlags::empty(),
            rustix::fs::StatxFlags::ALL,
        ).unwrap();
        let said = rustix::fs::StatxFlags::from_bits_retain(found.stx_mask);
        assert!(said.contains(rustix::fs::StatxFlags::BASIC_STATS) && !said.contains(rustix::fs::StatxFlags::BTIME));
        assert_eq!((found.stx_size, found.stx_btime.tv_sec), (5, 0));
        assert_eq!(mount.bash("stat -c '%W %w' f").trim(), "0 -");
        assert!(fs::metadata(mount.at("f")).unwrap().created().is_err());
    }

    /// What is done through the mount is told by inotify
    fn promise_6_4_inotify_tells_of_what_is_done_through_the_mount(mount) {
        let told = python(mount, "\
import ctypes, os, struct
libc = ctypes.CDLL(None)
inotify = libc.inotify_init1(os.O_NONBLOCK)
assert libc.inotify_add_watch(inotify, b'.', 0xfff) > 0
with open('a', 'w') as file:
    file.write('bytes')
os.rename('a', 'b')
os.chmod('b', 0o600)
os.truncate('b', 2)
open('b').read()
os.unlink('b')
os.mkdir('d')
os.rmdir('d')
names = {0x100: 'create', 0x20: 'open', 0x2: 'modify', 0x8: 'written', 0x40: 'from', 0x80: 'to', 0x4: 'attributes',
    0x1: 'read', 0x10: 'closed', 0x200: 'delete'}
events, at = os.read(inotify, 65536), 0
while at < len(events):
    _, mask, _, length = struct.unpack_from('iIII', events, at)
    print(names[mask & 0xfff], events[at + 16:at + 16 + length].rstrip(b'\\0').decode())
    at += 16 + length
");
        let told: Vec<&str> = told.lines().collect();
        assert_eq!(told, [
            "create a", "open a", "modify a", "written a", "from a", "to b", "attributes b", "modify b", "open b",
            "read b", "closed b", "delete b", "create d", "delete d",
        ]);
    }

    /// sendfile and splice from a file, to one, and between
    fn promise_4_1_sendfile_and_splice(mount) {
        fs::write(mount.at("f"), noise(1, 300_000)).unwrap();
        python(mount, "\
import os, socket, threading
source = os.open('f', os.O_RDONLY)
whole = os.pread(source, 300_000, 0)
target = os.open('g', os.O_RDWR | os.O_CREAT)
at = 0
while at < 300_000:
    at += os.sendfile(target, source, at, 300_000 - at)
assert os.pread(target, 300_001, 0) == whole
out, into = os.pipe()
assert os.splice(source, into, 5000, offset_src=7) == 5000
assert os.splice(out, target, 5000, offset_dst=310_000) == 5000
assert os.pread(target, 6000, 310_000) == whole[7:5007]
os.write(into, b'from a pipe')
assert os.splice(out, target, 11, offset_dst=3) == 11
assert os.pread(target, 20, 0) == whole[:3] + b'from a pipe' + whole[14:20]
one, other = socket.socketpair()
received = []
thread = threading.Thread(target=lambda: received.append(other.makefile('rb').read(250_000)))
thread.start()
at = 50_000
while at < 300_000:
    at += os.sendfile(one.fileno(), source, at, 300_000 - at)
thread.join()
assert received[0] == whole[50_000:]
");
    }

    /// No alignment is asked for
    fn promise_4_1_direct_io_of_any_size(mount) {
        needs_kvfs();
        fs::write(mount.at("f"), noise(1, 10_000)).unwrap();
        python(mount, "\
import mmap, os
whole = open('f', 'rb').read()
memory = mmap.mmap(-1, 16384)
file = os.open('f', os.O_RDONLY | os.O_DIRECT)
for offset, size in ((0, 4096), (1, 7), (513, 4097), (9990, 512), (10_000, 1), (50_000, 512), (0, 16384)):
    count = os.preadv(file, [memoryview(memory)[:size]], offset)
    assert memory[:count] == whole[offset:offset + size] and count == len(whole[offset:offset + size]), (offset, size)
file = os.open('new', os.O_RDWR | os.O_CREAT | os.O_DIRECT)
expected = bytearray(8197)
memory[:] = bytes(range(256)) * 64
for offset, size in ((0, 4096), (4096, 10), (3, 5), (4101, 4096)):
    assert os.pwritev(file, [memoryview(memory)[:size]], offset) == size
    expected[offset:offset + size] = memory[:size]
os.close(file)
assert open('new', 'rb').read() == expected
");
        mount.bash("dd if=f of=g bs=3000 iflag=direct oflag=direct status=none; cmp f g");
    }

    /// Advice is taken and changes nothing
    fn promise_4_1_advice(mount) {
        fs::write(mount.at("f"), noise(1, 100_000)).unwrap();
        python(mount, "\
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
file = os.open('f', os.O_RDWR)
whole = os.read(file, 100_000)
os.pwrite(file, b'new', 5)
for advice in range(6):
    os.posix_fadvise(file, 0, 0, advice)
assert libc.readahead(file, ctypes.c_int64(0), ctypes.c_size_t(100_000)) == 0
assert libc.sync_file_range(file, ctypes.c_int64(0), ctypes.c_int64(0), 7) == 0
assert os.pread(file, 100_000, 0) == whole[:5] + b'new' + whole[8:]
");
    }

    /// A shared mapping, msync and truncation in turns
    fn promise_3_3_a_mapping_of_a_file_that_changes_its_length(mount) {
        python(mount, "\
import mmap, os, signal
file = os.open('f', os.O_RDWR | os.O_CREAT)
os.ftruncate(file, 10_000)
memory = mmap.mmap(file, 10_000)
memory[5], memory[9_999] = 1, 2
memory.flush()
assert os.pread(file, 6, 0) == bytes(5) + b'\\1' and os.pread(file, 1, 9_999) == b'\\2'
os.ftruncate(file, 5_000)
os.ftruncate(file, 10_000)
assert (memory[5], memory[9_999]) == (1, 0)
os.pwrite(file, b'written', 6_000)
assert memory[6_000:6_007] == b'written'
memory[7_000] = 3
os.ftruncate(file, 8_000)
memory[7_001] = 4
memory.flush()
os.close(file)
child = os.fork()
if child == 0:
    # Behind the page of the end there is nothing to write to.
    memory[9_000] = 1
    os._exit(0)
status = os.waitpid(child, 0)[1]
whole = open('f', 'rb').read()
assert len(whole) == 8_000 and whole[5] == 1 and whole[7_000:7_002] == b'\\3\\4' and whole[6_000:6_007] == b'written'
memory.close()
");
        fs::remove_file(mount.at("f")).unwrap();
    }
}

/// A program that runs as its owner must not be changed by others and go on doing so
#[test]
fn promise_5_2_whoever_changes_anothers_file_takes_its_set_id_bits_away() {
    watched(LIMIT, |place| {
        needs_root("another user");
        let mount = Mount::new(place, Kind::Memory, if plain() { &[] } else { &["--allow-other"] });
        python(
            &mount,
            "\
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
long = ctypes.c_int64
os.umask(0)
changes = {
    'punch': lambda file: libc.fallocate(file, 3, long(0), long(10)),
    'room': lambda file: libc.fallocate(file, 0, long(0), long(10)),
    'grow': lambda file: libc.fallocate(file, 0, long(0), long(1000)),
    'copy': lambda file: os.copy_file_range(file, file, 10, 0, 50),
    'write': lambda file: os.write(file, b'y'),
    'cut': lambda file: os.ftruncate(file, 5),
    'cut by name': lambda file: os.truncate('cut by name', 5),
    'empty': lambda file: os.close(os.open('empty', os.O_WRONLY | os.O_TRUNC)),
}
for name, change in changes.items():
    for user, mode in ((0, 0o6777), (65534, 0o777)):
        with open(name, 'wb') as file:
            file.write(b'x' * 100)
        os.chmod(name, 0o6777)
        child = os.fork()
        if child == 0:
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            file = os.open(name, os.O_RDWR)
            change(file)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, name
        assert os.stat(name).st_mode & 0o7777 == mode, (name, user, oct(os.stat(name).st_mode))
",
        );
    });
}

/// By whichever call, as soon as it returns: neither journal nor spool is needed
#[test]
fn promise_4_3_each_synchronous_write_is_in_the_store_itself() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mut mount = Mount::new(place, Kind::Apart, &[]);
        let lines = python(
            &mount,
            "\
import os
open('old', 'wb').write(b'-' * 100)
held = []
for access, how in ((os.O_WRONLY, 'w'), (os.O_RDWR, 'rw')):
    for kind, flags in (('sync', os.O_SYNC), ('dsync', os.O_DSYNC), ('append', os.O_DSYNC | os.O_APPEND)):
        for name in (f'new-{how}-{kind}', f'old-{how}-{kind}'):
            if name.startswith('old'):
                open(name, 'wb').write(b'old')
            file = os.open(name, access | flags | os.O_CREAT, 0o644)
            for piece in (b'one ', b'two'):
                os.write(file, piece)
            held.append(file)
    file = os.open(f'flag-{how}', access | os.O_CREAT, 0o644)
    os.pwritev(file, [b'one two'], 0, os.RWF_DSYNC)
    held.append(file)
    file = os.open(f'copy-{how}', access | os.O_CREAT | os.O_SYNC, 0o644)
    assert os.copy_file_range(os.open('new-w-sync', os.O_RDONLY), file, 100) == 7
    held.append(file)
    file = os.open(f'room-{how}', access | os.O_CREAT | os.O_SYNC, 0o644)
    os.posix_fallocate(file, 0, 7)
    held.append(file)
os.kill(DAEMON, 9)
print('done')
"
            .replace("DAEMON", &mount.pid().to_string()),
        );
        assert_eq!(lines.trim(), "done");
        mount.kill();
        fs::remove_dir_all(place.at("state")).unwrap();
        let keys = dump(place, &place.at("store"));
        assert_eq!(keys.len(), 1 + 2 * (6 + 3));
        for (key, value) in &keys {
            let key = String::from_utf8_lossy(key);
            let expected: &[u8] = match &*key {
                "old" => &[b'-'; 100],
                room if room.starts_with("room") => &[0; 7],
                old if old.starts_with("old") && old.ends_with("append") => b"oldone two",
                _ => b"one two",
            };
            same_bytes(&key, value, expected);
        }
        mount.mounted().unwrap().detach();
    });
}

/// Other programs' changes are seen, and not told by inotify
#[test]
fn promise_6_4_inotify_does_not_tell_of_other_programs() {
    watched(LIMIT, |place| {
        needs_kvfs();
        let mount = Mount::new(place, Kind::Apart, &[]);
        let mut foreign = Foreign::open(place, &mount.store());
        let inotify = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        let changes = inotify::WatchFlags::CREATE | inotify::WatchFlags::MODIFY;
        inotify::add_watch(&inotify, mount.point(), changes).unwrap();
        let mut room = [std::mem::MaybeUninit::uninit(); 4096];
        let mut told = inotify::Reader::new(&inotify, &mut room);
        foreign.put("theirs", "bytes");
        until(PATIENCE, "it is seen", || fs::metadata(mount.at("theirs")).ok());
        assert_eq!(told.next().map(|event| event.events()), Err(rustix::io::Errno::AGAIN));
        fs::write(mount.at("ours"), "bytes").unwrap();
        assert_eq!(told.next().unwrap().file_name(), Some(c"ours"));
    });
}

/// Reading goes on as ever, and nothing is changed
#[test]
fn promise_4_1_a_snapshot_tells_of_holes_and_copies_nothing() {
    for options in [&["--snapshot"][..], &["--read-only"][..]] {
        watched(LIMIT, move |place| {
            needs_kvfs();
            let mut mount = Mount::new(place, Kind::Apart, &[]);
            fs::write(mount.at("f"), noise(1, 5_000_000)).unwrap();
            fs::write(mount.at("g"), noise(2, 10)).unwrap();
            mount.unmount();
            let mount = Mount::new(place, Kind::Apart, options);
            python(
                &mount,
                "\
import errno, os
file = os.open('f', os.O_RDONLY)
for _ in range(2):
    assert os.lseek(file, 7, os.SEEK_DATA) == 7
    assert os.lseek(file, 7, os.SEEK_HOLE) == 5_000_000
    for whence in (os.SEEK_DATA, os.SEEK_HOLE):
        try:
            os.lseek(file, 5_000_000, whence)
            raise SystemExit('past the end')
        except OSError as error:
            assert error.errno == errno.ENXIO
",
            );
            mount.bash("cp --sparse=auto f \"$PLACE/outside/f\"; cmp f \"$PLACE/outside/f\"");
            let exchange = rustix::fs::renameat_with(
                rustix::fs::CWD,
                mount.at("f"),
                rustix::fs::CWD,
                mount.at("g"),
                rustix::fs::RenameFlags::EXCHANGE,
            );
            refused(libc::EROFS, "an exchange", exchange.map_err(io::Error::from));
        });
    }
}
