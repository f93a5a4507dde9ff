//! The keys that access tokens are signed with: made at the edge, published before their first use, overlapping.

use std::sync::Arc;

use pangaea_contracts::Timestamp;
use pangaea_contracts::user::PublishKey;
use pangaea_journal::SecretRow;
use pangaea_kernel::auth::{SigningKey, TokenKey, base64url, from_base64url};
use pangaea_kernel::http::{Edge, Intent};
use pangaea_kernel::{Problem, ProblemKind};
use ring::signature::Ed25519KeyPair;
use tokio::sync::Mutex;

use crate::store;
use crate::vault::{Vault, secure_random};

const DAY_MS: i64 = 24 * 3_600_000;
const LIFE_MS: i64 = 90 * DAY_MS;
/// So long before the newest key ends, the next one is published.
const RENEW_BEFORE_MS: i64 = 7 * DAY_MS;
/// As long as verifiers may keep the key set (its `max-age`), so that they know a key before they meet it.
pub(crate) const FIRST_USE_AFTER_MS: i64 = 300_000;
/// How long the keys are not read again.
const KEPT_FOR_MS: i64 = 60_000;

/// The signing keys as last read, kept so that a sign-in costs no reads.
#[derive(Default)]
pub(crate) struct KeyRing(Mutex<Option<Kept>>);

struct Kept {
    read_at: Timestamp,
    keys: Vec<Usable>,
}

#[derive(Clone)]
struct Usable {
    published: TokenKey,
    pair: Arc<SigningKey>,
}

/// What is in the database of the keys that are still good.
struct Found {
    /// The newest first.
    usable: Vec<Usable>,
    /// Those whose private part is there, but sealed under another key.
    unreadable: usize,
}

// === impl KeyRing ===

impl KeyRing {
    /// The key to sign with now. It looks at most once a minute whether the next one has to be published.
    ///
    /// # Errors
    /// 503 when there is no key that this process can use.
    pub(crate) async fn signing_key(&self, edge: &Edge, vault: &Vault) -> Result<Arc<SigningKey>, Problem> {
        let now = edge.clock().now();
        let mut kept = self.0.lock().await;
        let fresh = kept.as_ref().is_some_and(|kept| (0..KEPT_FOR_MS).contains(&now.millis_since(kept.read_at)));
        if !fresh {
            *kept = Some(Kept { read_at: now, keys: renewed(edge, vault, now).await? });
        }
        let keys = kept.as_ref().map(|kept| kept.keys.as_slice()).unwrap_or_default();
        if let Some(chosen) = choose(keys, now) {
            return Ok(chosen.pair.clone());
        }
        *kept = None;
        Err(Problem::new(ProblemKind::Unavailable, "access tokens cannot be signed at the moment").with_retry_after(5))
    }
}

/// The keys that can be used, after the next one has been published if it was due.
async fn renewed(edge: &Edge, vault: &Vault, now: Timestamp) -> Result<Vec<Usable>, Problem> {
    let found = find(edge, vault, now).await?;
    if found.usable.is_empty() && found.unreadable > 0 {
        tracing::error!("no signing key can be unsealed: the sealing key is not the one that this store was made with");
        // Without `Retry-After`: nothing gets better by itself.
        return Err(Problem::new(
            ProblemKind::Unavailable,
            "access tokens cannot be signed: no signing key can be unsealed",
        ));
    }
    let lasts = found.usable.iter().any(|key| key.published.not_after.millis_since(now) > RENEW_BEFORE_MS);
    if lasts {
        return Ok(found.usable);
    }
    match publish(edge, vault, now).await {
        Ok(()) => Ok(find(edge, vault, now).await?.usable),
        Err(problem) if !found.usable.is_empty() => {
            tracing::warn!(%problem, "the next signing key could not be published; the present one goes on");
            Ok(found.usable)
        }
        Err(problem) => Err(problem),
    }
}

async fn find(edge: &Edge, vault: &Vault, now: Timestamp) -> Result<Found, Problem> {
    let published = store::token_keys(edge.database(), now).await?;
    let (mut usable, mut unreadable) = (Vec::new(), 0);
    for key in published {
        let name = secret_name(&key.key_id);
        let Some(sealed) = edge.database().secret(&name, now).await? else { continue };
        let opened = vault.secrets().open(&name, &sealed).ok();
        match opened.and_then(|pkcs8| SigningKey::from_pkcs8(&pkcs8).ok()).filter(|pair| pair.key_id == key.key_id) {
            Some(pair) => usable.push(Usable { published: key, pair: Arc::new(pair) }),
            None => unreadable += 1,
        }
    }
    Ok(Found { usable, unreadable })
}

/// Makes and publishes the key after the newest one. Of several replicas that do so at once, one succeeds and all go on with its
/// key, because the command's id follows from the key before.
async fn publish(edge: &Edge, vault: &Vault, now: Timestamp) -> Result<(), Problem> {
    let failed = |what: &str| {
        tracing::error!(what, "a signing key could not be made");
        Problem::new(ProblemKind::Unavailable, "signing keys cannot be made at the moment").with_retry_after(5)
    };
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&secure_random()).map_err(|_| failed("random source"))?;
    let pair = SigningKey::from_pkcs8(pkcs8.as_ref()).map_err(|_| failed("key pair"))?;
    let not_after = now.plus_millis(LIFE_MS);
    let name = secret_name(&pair.key_id);
    let value = vault.secrets().seal(&name, pkcs8.as_ref())?;
    let secret = SecretRow { name, value: Some(value), expires_at: Some(not_after) };
    let command = PublishKey { key_id: pair.key_id.clone(), public_key: pair.public_key(), not_before: now, not_after };
    // Also one that has ended: after a long stop the key to publish is still another than the first.
    let newest = store::newest_token_key(edge.database()).await?;
    let after = newest.map_or_else(|| "none".to_owned(), |key| key.key_id);
    let command =
        Intent::system("/signing-keys/after", &after).command_stating(&command, "the next key", vec![secret])?;
    let answer = edge.submit(command).await?;
    if answer.is_success() { Ok(()) } else { Err(failed("command")) }
}

fn secret_name(key_id: &str) -> String {
    format!("signing_key/{key_id}")
}

/// The newest key that everybody can know by now; before there is one, the oldest. `keys` has the newest first.
fn choose(keys: &[Usable], now: Timestamp) -> Option<&Usable> {
    let good = || keys.iter().filter(|key| key.published.not_after > now);
    good().find(|key| now.millis_since(key.published.not_before) >= FIRST_USE_AFTER_MS).or_else(|| good().next_back())
}

/// A published key as a JSON Web Key (RFC 7517, RFC 8037).
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct Jwk {
    /// `OKP`
    pub(crate) kty: &'static str,
    /// `Ed25519`
    pub(crate) crv: &'static str,
    /// The public key: 32 bytes, base64url without padding.
    pub(crate) x: String,
    pub(crate) kid: String,
    /// `EdDSA`
    pub(crate) alg: &'static str,
    /// `sig`
    #[serde(rename = "use")]
    pub(crate) usage: &'static str,
}

// === impl Jwk ===

impl Jwk {
    /// `None` for what is no key, so that one bad row does not take the others with it.
    pub(crate) fn of(key: &TokenKey) -> Option<Self> {
        let bytes = from_base64url(&key.public_key).ok().filter(|bytes| bytes.len() == 32)?;
        Some(Self {
            kty: "OKP",
            crv: "Ed25519",
            x: base64url(&bytes),
            kid: key.key_id.clone(),
            alg: "EdDSA",
            usage: "sig",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(not_before: i64, not_after: i64) -> Usable {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&secure_random()).unwrap();
        let pair = SigningKey::from_pkcs8(pkcs8.as_ref()).unwrap();
        let published = TokenKey {
            key_id: pair.key_id.clone(),
            public_key: pair.public_key(),
            not_before: Timestamp::from_millis(not_before),
            not_after: Timestamp::from_millis(not_after),
        };
        Usable { published, pair: Arc::new(pair) }
    }

    fn chosen(keys: &[Usable], now: i64) -> Option<usize> {
        let chosen = choose(keys, Timestamp::from_millis(now))?;
        keys.iter().position(|key| key.published == chosen.published)
    }

    #[test]
    fn a_key_is_used_when_everybody_can_know_it() {
        let keys = [key(1_000_000, 9_000_000), key(0, 2_000_000)];
        assert_eq!(chosen(&keys, 1_000_000), Some(1), "just published: not yet");
        assert_eq!(chosen(&keys, 1_299_999), Some(1));
        assert_eq!(chosen(&keys, 1_300_000), Some(0));
        assert_eq!(chosen(&keys[1..], 0), Some(0), "the only one is used at once");
        assert_eq!(chosen(&keys[1..], 2_000_000), None, "never one that has ended");
    }
}
