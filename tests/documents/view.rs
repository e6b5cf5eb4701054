//! JSON that is a value of another store, as directories (`--view json`).

use std::fs;

use crate::LIMIT;
use crate::harness::{Kind, Mount, put, refused, watched};

#[test]
fn a_value_of_any_store_is_a_directory_of_its_parts() {
    watched(LIMIT, |place| {
        fs::create_dir(place.at("folder")).unwrap();
        for source in ["lmdb:store", "folder:folder"] {
            let mut plain = Mount::of(place, Kind::Document, source.into(), "data", &[]);
            fs::create_dir(plain.at("users")).unwrap();
            let ada = br#"{"name": "Ada", "born": 1815, "tags": ["a", null], "of": {"x": {}}}"#;
            put(plain.at("users/ada"), ada).unwrap();
            put(plain.at("users/note"), b"{ no JSON").unwrap();
            put(plain.at("users/text"), b"plain").unwrap();
            put(plain.at("list"), b"[1, [2]]").unwrap();
            plain.unmount();
            let mut view = Mount::of(place, Kind::Document, source.into(), "data", &["--view", "json"]);
            assert_eq!(
                view.bash("find . -type f | sort | xargs tail -n +1"),
                "==> ./list/0 <==\n1\n==> ./list/1%array/0 <==\n2\n==> ./users/ada/born <==\n1815\n==> ./users/ada/name <==\nAda\n\
                 ==> ./users/ada/tags%array/0 <==\na\n==> ./users/ada/tags%array/1 <==\nnull\n==> ./users/note <==\n{ no JSON\n\
                 ==> ./users/text <==\nplain"
            );
            assert_eq!(
                view.bash("ls users/ada users/ada/of"),
                "users/ada:\nborn\nname\nof\ntags%array\n\nusers/ada/of:\nx\n"
            );
            assert_eq!(fs::read(view.at("users/ada%json")).unwrap(), ada);
            assert_eq!(view.bash("cat 'users/ada/of%json'"), "{\"x\": {}}\n");
            let kind = xattr::get(view.at("users/ada/born"), "user.kvfs.type").unwrap();
            assert_eq!(kind.as_deref(), Some(&b"number"[..]));
            refused(libc::EROFS, "a part of a view", fs::write(view.at("users/ada/name"), b"x"));
            refused(libc::EROFS, "a new value", fs::write(view.at("new"), b"x"));
            assert!(!view.at("users/ada/none").exists() && !view.at("users/none/x").exists());
            view.unmount();
        }
    });
}
