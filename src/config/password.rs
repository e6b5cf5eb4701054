//! A password that somebody typed: it is in the memory of whoever needs it, and shown nowhere (§8.7).

use std::fmt;
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

/// A password. It goes to a daemon by its standard input, and to the store's driver.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

static TYPED: OnceLock<Password> = OnceLock::new();

impl Password {
    /// What was typed in this process, or told to it by the one where it was.
    pub fn typed() -> Option<&'static Password> {
        TYPED.get()
    }

    /// What somebody typed.
    pub fn new(text: String) -> Password {
        Password(text)
    }

    /// Has the stores of this process log in with it. The first one counts.
    pub fn remember(self) {
        // Nobody is asked twice.
        let _ = TYPED.set(self);
    }

    /// The password itself, for the server.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promise_8_7_a_password_is_not_shown() {
        let password = Password::new("secret".to_owned());
        assert!(!format!("{password:?}").contains("secret"));
        let told = serde_json::to_string(&password).unwrap();
        assert_eq!(serde_json::from_str::<Password>(&told).unwrap(), password);
    }
}
