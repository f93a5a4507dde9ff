use crate::api_error::ApiError;
use crate::books::{Books, Call, Command, Outcome};
use crate::derive;
use crate::intent::Intent;
use crate::ledger::{Answer, LedgerEntry};
use crate::rules;

/// The provider's books without HTTP, file and clock: for a caller that decides itself when a call arrives and what
/// becomes of its answer, as a simulation does. The rules are those of the served [`Simulator`](crate::Simulator).
#[derive(Debug)]
pub struct Offline {
    books: Books,
    entries: Vec<LedgerEntry>,
}

// === impl Offline ===

impl Offline {
    /// Ids and the moods of `tok_flaky` are derived from `seed`.
    pub fn new(seed: u64) -> Self {
        Self { books: Books::new(seed), entries: Vec::new() }
    }

    /// Performs a call once per key, and gives every copy of it the first answer. `None`: held, so that it is never
    /// answered and nothing is done (`tok_timeout`).
    ///
    /// # Errors
    /// When an answer cannot be written as JSON: a bug.
    pub fn call(&mut self, key: &str, command: Command, at_ms: u64) -> Result<Option<Answer>, String> {
        let fingerprint = derive::fingerprint("offline", format!("{command:?}").as_bytes());
        match self.books.perform(Call { key: key.to_owned(), fingerprint, command }, at_ms) {
            Ok(Outcome::Performed { entry, .. }) => {
                let answer = entry.answer.clone();
                self.entries.push(LedgerEntry::clone(&entry));
                Ok(Some(answer))
            }
            Ok(Outcome::Replayed(first)) => Ok(Some(first.answer.clone())),
            Ok(Outcome::Hold) => Ok(None),
            Err(error) => refusal(&error).map(Some),
        }
    }

    /// The first answer that was given to `key`. `None`: nothing was done under it.
    pub fn operation(&self, key: &str) -> Option<Answer> {
        self.books.recent().entry(key).map(|entry| entry.answer.clone())
    }

    /// How an intent stands.
    pub fn intent(&self, id: &str) -> Option<&Intent> {
        self.books.recent().intent(self.books.recent().position(id)?)
    }

    /// The ledger so far: what an auditor reads.
    pub fn entries(&self) -> &[LedgerEntry] {
        &self.entries
    }
}

fn refusal(error: &ApiError) -> Result<Answer, String> {
    let body = rules::raw(&error.body(None)).map_err(|error| error.message)?;
    Ok(Answer { status: error.status.as_u16(), body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LedgerSummary, Token};

    fn authorize(token: Token) -> Command {
        Command::Authorize { amount: 1_000, currency: "GBP".into(), token, reference: "ord_1".into() }
    }

    #[test]
    fn acts_once_per_key_and_keeps_a_ledger() {
        let mut offline = Offline::new(7);
        let first = offline.call("key-1", authorize(Token::Ok), 1).unwrap().unwrap();
        let again = offline.call("key-1", authorize(Token::Ok), 2).unwrap().unwrap();
        assert_eq!((first.status, first.body.get()), (200, again.body.get()));
        assert_eq!(offline.operation("key-1").unwrap().body.get(), first.body.get());
        assert_eq!(offline.call("key-1", authorize(Token::Declined), 3).unwrap().unwrap().status, 422);
        assert!(offline.call("key-2", authorize(Token::Timeout), 4).unwrap().is_none());
        assert_eq!(offline.entries().len(), 1);
        let intent = offline.entries()[0].intent.clone();
        let capture = || Command::Capture { intent: intent.clone(), amount: None };
        assert_eq!(offline.call("key-3", capture(), 5).unwrap().unwrap().status, 200);
        assert_eq!(offline.call("key-4", capture(), 6).unwrap().unwrap().status, 409);
        let summary = LedgerSummary::of(offline.entries());
        assert_eq!(summary.references["ord_1"].captures, 1);
        assert!(summary.orphaned_authorizations.is_empty());
    }
}
