use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::Mutex;

use anyhow::{Result, anyhow};
use pangaea_testkit::{Answer, Api};
use serde_json::{Value, json};

use crate::Shop;

/// In the store's folder.
pub(crate) const FILE: &str = "replies.jsonl";

/// What clients were answered, as they write it down for the auditor.
pub struct Replies(Mutex<File>);

// === impl Replies ===

impl Replies {
    /// # Errors
    /// When the file cannot be made.
    pub fn of(shop: &Shop) -> Result<Self> {
        let file = shop.store.folder().path().join(FILE);
        Ok(Self(Mutex::new(OpenOptions::new().create(true).append(true).open(file)?)))
    }

    /// POSTs under this key as an account, or as nobody, and writes the answer down.
    ///
    /// # Errors
    /// When there is no answer, or it cannot be written.
    pub async fn post(&self, api: &Api, principal: &str, path: &str, key: &str, body: Value) -> Result<Answer> {
        let answer = api.post(path, body).key(key).send().await?;
        let line = json!({
            "principal": principal,
            "method": "POST",
            "path": path,
            "key": key,
            "status": answer.status,
            "body": answer.body,
        });
        let mut file = self.0.lock().map_err(|_| anyhow!("another client has failed"))?;
        writeln!(file, "{line}")?;
        Ok(answer)
    }
}
