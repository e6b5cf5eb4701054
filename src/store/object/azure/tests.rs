use std::collections::BTreeMap;

use http::Method;

use super::*;
use crate::store::object::tests::{self as suite, Server, wait};

static AZURITE: Server = Server::new("azurite");
/// Microsoft's published development key.
const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";
const ACCOUNT: &str = "devstoreaccount1";

/// A container, not made yet.
fn unmade() -> Option<Azure> {
    let address = suite::address(Some(ACCOUNT), format!("{}/{ACCOUNT}", AZURITE.url()?));
    let connection = BTreeMap::from([("AccountKey".to_owned(), KEY.to_owned())]);
    let settings = settings::Settings::with(&address, connection, None).unwrap();
    Some(Azure { session: Session::with(&address, settings).unwrap(), abilities: abilities() })
}

fn container() -> Option<Azure> {
    let azure = unmade()?;
    let request = azure.session.request("CreateContainer", Method::PUT, "").unwrap();
    let request = request.query("restype", "container");
    wait(async { azure.session.send(request).await.map(drop).map_err(Error::from) }).unwrap();
    Some(azure)
}

macro_rules! suite {
    ($($test:ident),* $(,)?) => { $(
        #[test]
        fn $test() {
            if let Some(azure) = container() {
                suite::$test(&azure);
            }
        }
    )* };
}

suite! {
    keys_stay_as_they_are,
    pages_cover_everything_once,
    conditions_are_checked,
    ranges_are_cut,
    copies_carry_their_headers,
    parts_become_an_object,
}

#[test]
fn a_container_that_is_not_there_is_told() {
    if let Some(azure) = unmade() {
        suite::a_bucket_that_is_not_there_is_told(&azure, ACCOUNT);
    }
}
