//! Answers that are lost after the server has done what it was asked (§8.1): nothing is done twice, and what was done is not
//! called a failure where that can be known.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Kind, LIMIT, Mount, close, noise, put, watched};
use crate::server::Database;

/// The server has answered when it says nothing for so long.
const QUIET: Duration = Duration::from_millis(200);

/// The command whose answer is lost, once; nothing where it was.
static LOST: std::sync::Mutex<Option<&'static [u8]>> = std::sync::Mutex::new(None);

fn has(bytes: &[u8], word: &[u8]) -> bool {
    bytes.windows(word.len()).any(|window| window == word)
}

/// Passes on what two say to each other, until the answer that is to be lost.
fn pass_on(client: &TcpStream, server: &TcpStream) {
    let losing = AtomicBool::new(false);
    let losing = &losing;
    thread::scope(|scope| {
        scope.spawn(move || {
            let (mut from, mut to, mut bytes) = (client, server, vec![0; 1 << 16]);
            while let Ok(count @ 1..) = from.read(&mut bytes) {
                let mut lost = LOST.lock().unwrap();
                if lost.is_some_and(|word| has(&bytes[..count], word)) {
                    *lost = None;
                    losing.store(true, Ordering::Release);
                }
                drop(lost);
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            let _ = server.shutdown(Shutdown::Both);
        });
        let (mut from, mut to, mut bytes) = (server, client, vec![0; 1 << 16]);
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if losing.load(Ordering::Acquire) {
                let _ = server.set_read_timeout(Some(QUIET));
                while let Ok(1..) = from.read(&mut bytes) {}
                break;
            }
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = server.shutdown(Shutdown::Both);
        let _ = client.shutdown(Shutdown::Both);
    });
}

/// A way to the server that loses an answer; its port.
fn way(to: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || {
                if let Ok(server) = TcpStream::connect(("127.0.0.1", to)) {
                    pass_on(&client, &server);
                }
            });
        }
    });
    port
}

#[test]
fn promise_8_1_what_was_done_before_the_answer_was_lost_is_not_done_again() {
    watched(LIMIT, |place| {
        let database = Database::new();
        let source = database.source_by(way(database.port()));
        let mut mount = Mount::of(place, Kind::Server, source.into(), "data", &[]);
        let losing = |word: &'static [u8], what: &dyn Fn() -> std::io::Result<()>| {
            *LOST.lock().unwrap() = Some(word);
            let outcome = what();
            assert!(LOST.lock().unwrap().is_none(), "{} was not sent", word.escape_ascii());
            outcome
        };
        let calls = |name: &str| {
            let stats = database.cli(&["INFO", "commandstats"]);
            let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{name}:calls=")));
            line.map_or(0, |line| line.split(',').next().unwrap().parse::<u32>().unwrap())
        };
        let long = noise(8, 3 << 20);
        put(mount.at("long"), &long).unwrap();
        let before = calls("copy");
        losing(b"COPY", &|| fs::copy(mount.at("long"), mount.at("copy")).map(drop)).unwrap();
        assert_eq!(calls("copy"), before + 1);
        assert_eq!(fs::read(mount.at("copy")).unwrap(), long);
        losing(b"RENAME", &|| fs::rename(mount.at("copy"), mount.at("moved"))).unwrap();
        assert_eq!(database.cli(&["EXISTS", "copy", "moved"]), "1");
        losing(b"SETRANGE", &|| {
            let mut file = OpenOptions::new().append(true).open(mount.at("moved"))?;
            file.write_all(b"more")?;
            close(file)
        })
        .unwrap();
        assert_eq!(database.cli(&["STRLEN", "moved"]), (long.len() + 4).to_string());
        losing(b"HSET", &|| {
            fs::create_dir(mount.at("h%hash"))?;
            put(mount.at("h%hash/f"), b"v")
        })
        .unwrap();
        // What others push cannot be told from what was pushed here: whether it was done is not known, and it is not repeated.
        fs::create_dir(mount.at("l%list")).unwrap();
        let pushed = losing(b"RPUSH", &|| put(mount.at("l%list/%push"), b"one"));
        assert_eq!(pushed.unwrap_err().raw_os_error(), Some(libc::EIO));
        assert_eq!(database.cli(&["LRANGE", "l", "0", "-1"]), "one");
        mount.kill();
        mount.mounted().inspect(|mounted| mounted.detach());
    });
}
