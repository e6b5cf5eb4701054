//! What not all servers can do, asked when they are mounted by questions that change nothing, so that nobody tries what is
//! refused, and the status says what is missing.

use redis::{Cmd, RedisError, cmd};

use super::link::Reply;
use super::server::{At, Server};
use crate::error::Result;

/// What the server can do.
#[derive(Clone, Debug, Default)]
pub(super) struct Abilities {
    /// Whether the fields of a hash have times to live of their own.
    pub field_ttls: bool,
    /// Whether it has JSON documents.
    pub json: bool,
    /// What it cannot do, in words.
    lacks: Vec<&'static str>,
}

/// What is asked, and what is missing where the server does not know the command.
const QUESTIONS: [(&[&str], &str); 5] = [
    (&["HPTTL", "kvfs", "FIELDS", "1", "kvfs"], "times to live of hash fields (Redis 7.4, Valkey 9)"),
    (&["JSON.GET", "kvfs"], "JSON documents (the modules RedisJSON and valkey-json)"),
    (&["WAITAOF", "0", "0", "0"], "fsync that waits for its disk (Redis 7.2)"),
    (&["CLIENT", "NO-TOUCH", "ON"], "looking that does not count as use (Redis 7.2)"),
    (&["CLIENT", "TRACKING", "ON", "OPTIN"], "telling of changes"),
];

impl Abilities {
    /// Asks the server.
    ///
    /// # Errors
    /// The network's.
    pub(super) fn ask(server: &Server) -> Result<Abilities> {
        let commands = QUESTIONS.map(|(words, _)| command(words));
        let replies = server.ask(At::Any, |session| session.ask_each(&commands))?;
        let has: Vec<bool> = replies.iter().map(is_known).collect();
        let lacking = QUESTIONS.iter().zip(&has).filter(|(_, has)| !**has);
        let lacks = lacking.map(|((_, what), _)| *what).collect();
        let has = |number: usize| has.get(number).copied().unwrap_or(false);
        Ok(Abilities { field_ttls: has(0), json: has(1), lacks })
    }

    /// What the status says.
    pub(super) fn shown(&self) -> Option<String> {
        (!self.lacks.is_empty()).then(|| self.lacks.join(", "))
    }
}

fn command(words: &[&str]) -> Cmd {
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command
}

/// Whether the server has the command, for this user. Where it only refuses the key, by its rights or its slot, it has.
fn is_known(reply: &Reply) -> bool {
    let unknown = |error: &RedisError| {
        let said = error.to_string().to_ascii_lowercase();
        said.contains("unknown") || (error.code() == Some("NOPERM") && said.contains("command"))
    };
    !reply.as_ref().is_err_and(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &str) -> Reply {
        redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).and_then(|reply| match reply {
            redis::Value::ServerError(refusal) => Err(refusal.into()),
            other => Ok(other),
        })
    }

    #[test]
    fn a_refused_key_is_no_missing_command() {
        for missing in [
            "ERR unknown command 'HPTTL', with args beginning with: 'kvfs'",
            "ERR unknown subcommand 'NO-TOUCH'. Try CLIENT HELP.",
            "ERR Unknown subcommand or wrong number of arguments for 'NO-TOUCH'. Try CLIENT HELP",
            "NOPERM User ann has no permissions to run the 'hpttl' command",
        ] {
            assert!(!is_known(&refusal(missing)), "{missing}");
        }
        for there in [
            "MOVED 1234 127.0.0.1:7000",
            "NOPERM No permissions to access a key",
            "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local.",
        ] {
            assert!(is_known(&refusal(there)), "{there}");
        }
    }
}
