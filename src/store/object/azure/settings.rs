//! Which account, where it is served, and its keys, as the `az` command has them: the address first, then the environment.

use std::collections::BTreeMap;

use reqsign::azure::{DefaultCredentialProvider, StaticCredentialProvider};

use crate::env;
use crate::error::{Error, ErrorKind, Result};
use crate::store::object::address::Address;
use crate::store::object::endpoint::Endpoint;

/// Where a container is served.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) account: String,
    pub(super) endpoint: Endpoint,
    /// The pairs of `AZURE_STORAGE_CONNECTION_STRING`, where that is for this account.
    connection: BTreeMap<String, String>,
}

impl Settings {
    pub(super) fn new(address: &Address) -> Result<Settings> {
        let connection =
            env::variable("AZURE_STORAGE_CONNECTION_STRING").map(|text| pairs(&text)).unwrap_or_default();
        Settings::with(address, connection, account_of_environment())
    }

    pub(super) fn with(
        address: &Address,
        connection: BTreeMap<String, String>,
        usual: Option<String>,
    ) -> Result<Settings> {
        let connected = connection.get("AccountName").cloned();
        let account = address.account.clone().or_else(|| connected.clone()).or(usual).ok_or_else(|| {
            let sentence =
                "which storage account? Write az://account/container, or set AZURE_STORAGE_ACCOUNT";
            Error::new(ErrorKind::Invalid, sentence)
        })?;
        if !account.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') || account.is_empty() {
            let sentence = format!("{account:?} is not the name of a storage account");
            return Err(Error::new(ErrorKind::Invalid, sentence));
        }
        let connection =
            if connected.is_none_or(|own| own == account) { connection } else { BTreeMap::new() };
        let named = address.endpoint.clone().or_else(|| connection.get("BlobEndpoint").cloned());
        let suffix = connection.get("EndpointSuffix").map_or("core.windows.net", String::as_str);
        let named = named.unwrap_or_else(|| format!("https://{account}.blob.{suffix}"));
        Ok(Settings { endpoint: Endpoint::parse(&named)?, account, connection })
    }

    /// The chain of credentials: those of the environment for this account, then Azure's own.
    pub(super) fn credentials(&self) -> DefaultCredentialProvider {
        let chain = DefaultCredentialProvider::new();
        let of_this_account = account_of_environment().is_none_or(|account| account == self.account);
        let variable =
            |names: &[&str]| names.iter().filter(|_| of_this_account).find_map(|name| env::variable(name));
        let key = self.connection.get("AccountKey").cloned();
        let keys = ["AZURE_STORAGE_KEY", "AZURE_STORAGE_ACCOUNT_KEY", "AZBLOB_ACCOUNT_KEY"];
        if let Some(key) = key.or_else(|| variable(&keys)) {
            return chain.push_front(StaticCredentialProvider::new_shared_key(&self.account, &key));
        }
        let token = self.connection.get("SharedAccessSignature").cloned();
        if let Some(token) = token.or_else(|| variable(&["AZURE_STORAGE_SAS_TOKEN"])) {
            let token = token.trim_start_matches('?');
            return chain.push_front(StaticCredentialProvider::new_sas_token(token));
        }
        chain
    }
}

fn account_of_environment() -> Option<String> {
    ["AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_NAME", "AZBLOB_ACCOUNT_NAME"]
        .iter()
        .find_map(|name| env::variable(name))
}

/// The pairs of `Name=value;Name=value`; a value may have `=` in it.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    text.split(';').filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(account: Option<&str>, endpoint: Option<&str>) -> Address {
        Address {
            bucket: "c".to_owned(),
            account: account.map(str::to_owned),
            endpoint: endpoint.map(str::to_owned),
            region: None,
            profile: None,
            path_style: None,
            anonymous: false,
            timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn the_account_and_its_endpoint_are_found() {
        let connection =
            pairs("DefaultEndpointsProtocol=https;AccountName=own;AccountKey=k==;EndpointSuffix=example.org");
        let found = |address, connection: &BTreeMap<_, _>, usual: Option<&str>| {
            Settings::with(&address, connection.clone(), usual.map(str::to_owned)).map(|settings| {
                (settings.account.clone(), settings.endpoint.origin.clone(), settings.connection.len())
            })
        };
        let own = found(address(None, None), &connection, Some("usual")).unwrap();
        assert_eq!(own, ("own".into(), "https://own.blob.example.org".into(), 4));
        let other = found(address(Some("other"), None), &connection, None).unwrap();
        assert_eq!(other, ("other".into(), "https://other.blob.core.windows.net".into(), 0));
        let named = found(address(None, Some("http://127.0.0.1:1/own")), &connection, None).unwrap();
        assert_eq!(named.1, "http://127.0.0.1:1");
        assert!(found(address(None, None), &BTreeMap::new(), None).is_err());
        assert!(found(address(Some("a.evil.example/"), None), &BTreeMap::new(), None).is_err());
    }
}
