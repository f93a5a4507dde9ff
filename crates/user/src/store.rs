//! All SQL of this module.

use std::collections::BTreeSet;

use pangaea_contracts::{Role, SessionId, Timestamp, UserId};
use pangaea_journal::{Database, JournalError, Json, Migration, Row, Statement, record};
use pangaea_kernel::auth::TokenKey;

pub(crate) const MIGRATIONS: &[Migration] =
    &[Migration { name: "user/0001", sql: include_str!("../migrations/0001_user.sql") }];

/// Breaches that are listed one by one, per kind.
const BREACHES_MAX: usize = 100;

record! {
    /// An account. What is personal is opaque here.
    pub struct Account in "account" {
        key { user_id: UserId }
        email_hash: String,
        email_sealed: String,
        profile_sealed: String,
        roles: Json<Vec<Role>>,
        /// The entity tag: grows by one with every change of profile or roles.
        version: i64,
        /// Sessions of an earlier epoch are signed out.
        session_epoch: i64,
        registered_at: Timestamp,
    }
}

record! {
    /// Makes an e-mail address unique without keeping it.
    pub struct EmailOwner in "email_owner" {
        key { email_hash: String }
        user_id: UserId,
    }
}

record! {
    /// A sign-in, and the family of refresh tokens that grows from it.
    pub struct Session in "session" {
        key { session_id: SessionId }
        user_id: UserId,
        epoch: i64,
        /// Of the newest refresh token.
        generation: i64,
        opened_at: Timestamp,
        /// When the newest generation began.
        rotated_at: Timestamp,
        expires_at: Timestamp,
        closed_at: Option<Timestamp>,
    }
}

/// An account as an edge reads it, with the sealed key of its personal data, if that is still there.
pub(crate) struct AccountRead {
    pub(crate) account: Account,
    pub(crate) user_key: Option<String>,
}

const ACCOUNT_SELECT: &str = "SELECT a.user_id, a.email_hash, a.email_sealed, a.profile_sealed, a.roles, a.version, \
    a.session_epoch, a.registered_at, s.value FROM account a LEFT JOIN secret s ON s.name = 'user_key/' || a.user_id";

pub(crate) async fn account(database: &Database, user_id: &str) -> Result<Option<AccountRead>, JournalError> {
    let select = Statement::new(format!("{ACCOUNT_SELECT} WHERE a.user_id = ?")).bind(user_id);
    database.fetch(select).await?.first().map(account_of).transpose()
}

pub(crate) async fn owner_of_email(database: &Database, email_hash: &str) -> Result<Option<UserId>, JournalError> {
    let select = Statement::new("SELECT user_id FROM email_owner WHERE email_hash = ?").bind(email_hash);
    database.fetch(select).await?.first().map(|row| row.get(0)).transpose()
}

/// In the order of their ids, which is that of registration; one more than `limit`, to know whether there is a next page.
pub(crate) async fn accounts_after(
    database: &Database,
    after: &str,
    limit: u32,
) -> Result<Vec<AccountRead>, JournalError> {
    let sql = format!("{ACCOUNT_SELECT} WHERE a.user_id > ? ORDER BY a.user_id LIMIT {}", limit + 1);
    database.fetch(Statement::new(sql).bind(after)).await?.iter().map(account_of).collect()
}

fn account_of(row: &Row) -> Result<AccountRead, JournalError> {
    let account = Account {
        user_id: row.get(0)?,
        email_hash: row.get(1)?,
        email_sealed: row.get(2)?,
        profile_sealed: row.get(3)?,
        roles: row.get(4)?,
        version: row.get(5)?,
        session_epoch: row.get(6)?,
        registered_at: row.get(7)?,
    };
    Ok(AccountRead { account, user_key: row.get(8)? })
}

const KEY_SELECT: &str = "SELECT key_id, public_key, not_before, not_after FROM token_key";

/// The published keys that are still good at `now`, the newest first.
pub(crate) async fn token_keys(database: &Database, now: Timestamp) -> Result<Vec<TokenKey>, JournalError> {
    const KEYS_MAX: u32 = 64;
    let sql = format!("{KEY_SELECT} WHERE not_after > ? ORDER BY not_before DESC, key_id LIMIT {KEYS_MAX}");
    database.fetch(Statement::new(sql).bind(now)).await?.iter().map(token_key_of).collect()
}

/// The key that was published last, whether it is still good or not.
pub(crate) async fn newest_token_key(database: &Database) -> Result<Option<TokenKey>, JournalError> {
    let select = Statement::new(format!("{KEY_SELECT} ORDER BY not_before DESC, key_id LIMIT 1"));
    database.fetch(select).await?.first().map(token_key_of).transpose()
}

fn token_key_of(row: &Row) -> Result<TokenKey, JournalError> {
    Ok(TokenKey { key_id: row.get(0)?, public_key: row.get(1)?, not_before: row.get(2)?, not_after: row.get(3)? })
}

/// Breaches of what always holds between accounts, sessions and secrets; empty when all is well.
///
/// # Errors
/// When the database cannot be read.
pub async fn verify(database: &Database) -> Result<Vec<String>, JournalError> {
    let checks = [
        (
            "session without its account",
            "SELECT s.session_id FROM session s LEFT JOIN account a ON a.user_id = s.user_id WHERE a.user_id IS NULL",
        ),
        (
            "session of a later epoch than its account's",
            "SELECT s.session_id FROM session s JOIN account a ON a.user_id = s.user_id WHERE s.epoch > a.session_epoch",
        ),
        (
            "account without a password",
            "SELECT a.user_id FROM account a LEFT JOIN secret s ON s.name = 'password/' || a.user_id WHERE s.name IS NULL",
        ),
        (
            "account without the key of its personal data",
            "SELECT a.user_id FROM account a LEFT JOIN secret s ON s.name = 'user_key/' || a.user_id WHERE s.name IS NULL",
        ),
        (
            "account whose e-mail is not its own",
            "SELECT a.user_id FROM account a LEFT JOIN email_owner e ON e.email_hash = a.email_hash AND e.user_id = a.user_id \
             WHERE e.user_id IS NULL",
        ),
        (
            "e-mail of no account",
            "SELECT e.user_id FROM email_owner e LEFT JOIN account a ON a.user_id = e.user_id WHERE a.user_id IS NULL",
        ),
    ];
    let mut breaches = BTreeSet::new();
    for (what, sql) in checks {
        for row in database.fetch(Statement::new(format!("{sql} LIMIT {BREACHES_MAX}"))).await? {
            breaches.insert(format!("{what}: {}", row.get::<String>(0)?));
        }
    }
    Ok(breaches.into_iter().collect())
}
