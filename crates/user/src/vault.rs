//! What is random, sealed or hashed under a key. All of it happens at the edge; handlers see the results as opaque text.

use pangaea_contracts::{Timestamp, UserId};
use pangaea_kernel::auth::{base64url, from_base64url};
use pangaea_kernel::{Problem, ProblemKind};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hmac;
use ring::rand::SecureRandom;

use crate::domain::Email;

/// Seals with a key: AES-256-GCM. What is sealed under one name does not open under another.
#[derive(Clone)]
pub(crate) struct Seal([u8; 32]);

/// The keys that are derived from the configured sealing key, one per purpose.
pub(crate) struct Vault {
    secrets: Seal,
    emails: hmac::Key,
    statements: hmac::Key,
}

/// What was sealed cannot be opened: it is damaged, or was sealed under another key or name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CannotOpen;

// === impl Vault ===

impl Vault {
    pub(crate) fn new(sealing_key: &[u8; 32]) -> Self {
        Self {
            secrets: Seal(derive(sealing_key, b"pangaea user: secrets")),
            emails: hmac::Key::new(hmac::HMAC_SHA256, &derive(sealing_key, b"pangaea user: e-mail addresses")),
            statements: hmac::Key::new(hmac::HMAC_SHA256, &derive(sealing_key, b"pangaea user: fingerprints")),
        }
    }

    /// Seals what stands among the secrets under its name.
    pub(crate) fn secrets(&self) -> &Seal {
        &self.secrets
    }

    /// Equal addresses have equal hashes; without the key none can be guessed and tried.
    pub(crate) fn email_hash(&self, email: &Email) -> String {
        base64url(hmac::sign(&self.emails, email.folded().as_bytes()).as_ref())
    }

    /// What a client said, for the fingerprint of a command: keyed, because it may hold a password.
    pub(crate) fn statement(&self, parts: &[&str]) -> String {
        let mut context = hmac::Context::with_key(&self.statements);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        base64url(context.sign().as_ref())
    }

    /// A new key for one account's personal data, and the sealed form in which it is kept.
    pub(crate) fn new_user_key(&self, user_id: &UserId) -> Result<(Seal, String), Problem> {
        let bytes = random::<32>()?;
        let sealed = self.secrets.seal(&user_key_name(user_id), &bytes)?;
        Ok((Seal(bytes), sealed))
    }

    pub(crate) fn open_user_key(&self, user_id: &UserId, sealed: &str) -> Result<Seal, CannotOpen> {
        let bytes = self.secrets.open(&user_key_name(user_id), sealed)?;
        bytes.try_into().map(Seal).map_err(|_| CannotOpen)
    }
}

fn derive(key: &[u8; 32], purpose: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), purpose);
    let mut bytes = [0; 32];
    bytes.copy_from_slice(tag.as_ref());
    bytes
}

/// The secret that holds the key of an account's personal data. Without it that data is unreadable everywhere.
pub(crate) fn user_key_name(user_id: &UserId) -> String {
    format!("user_key/{user_id}")
}

// === impl Seal ===

impl Seal {
    /// base64url of nonce, ciphertext and tag.
    pub(crate) fn seal(&self, name: &str, plain: &[u8]) -> Result<String, Problem> {
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = plain.to_vec();
        let key = self.key().map_err(|CannotOpen| random_failed())?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name.as_bytes()), &mut sealed)
            .map_err(|_| random_failed())?;
        Ok(base64url(&[&nonce[..], &sealed].concat()))
    }

    pub(crate) fn open(&self, name: &str, sealed: &str) -> Result<Vec<u8>, CannotOpen> {
        let bytes = from_base64url(sealed).map_err(|_| CannotOpen)?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE_LEN).ok_or(CannotOpen)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CannotOpen)?;
        let mut sealed = sealed.to_vec();
        let plain =
            self.key()?.open_in_place(nonce, Aad::from(name.as_bytes()), &mut sealed).map_err(|_| CannotOpen)?;
        Ok(plain.to_vec())
    }

    fn key(&self) -> Result<LessSafeKey, CannotOpen> {
        UnboundKey::new(&AES_256_GCM, &self.0).map(LessSafeKey::new).map_err(|_| CannotOpen)
    }
}

/// # Errors
/// When the system's random source fails: nothing secret can be made then.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Problem> {
    let mut bytes = [0; N];
    secure_random().fill(&mut bytes).map_err(|_| random_failed())?;
    Ok(bytes)
}

#[expect(clippy::disallowed_methods, reason = "keys, tokens and ids are made at the edge")]
pub(crate) fn secure_random() -> ring::rand::SystemRandom {
    ring::rand::SystemRandom::new()
}

fn random_failed() -> Problem {
    tracing::error!("the system's random source or cipher failed");
    Problem::new(ProblemKind::Unavailable, "secrets cannot be made at the moment").with_retry_after(5)
}

/// A new id that sorts by time: milliseconds in ten digits of base 32, then 80 random bits.
pub(crate) fn new_id<I: std::str::FromStr>(prefix: &str, now: Timestamp) -> Result<I, Problem> {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let millis = now.as_millis().max(0) as u64;
    let time = (0..10).rev().map(|digit| ((millis >> (digit * 5)) & 31) as usize);
    let random = random::<16>()?;
    let random = random.iter().map(|byte| usize::from(byte & 31));
    let text: String = time.chain(random).map(|digit| char::from(ALPHABET[digit])).collect();
    format!("{prefix}{text}").parse().map_err(|_| Problem::new(ProblemKind::Internal, "an id could not be made"))
}

#[cfg(test)]
mod tests {
    use super::{CannotOpen, Vault, new_id};
    use crate::domain::Email;
    use pangaea_contracts::{Timestamp, UserId};

    #[test]
    fn opens_only_under_the_same_key_and_name() {
        let vault = Vault::new(&[1; 32]);
        let sealed = vault.secrets().seal("a", b"text").unwrap();
        assert!(!sealed.contains("text"));
        assert_eq!(vault.secrets().open("a", &sealed).unwrap(), b"text");
        assert_eq!(vault.secrets().open("b", &sealed), Err(CannotOpen));
        assert_eq!(Vault::new(&[2; 32]).secrets().open("a", &sealed), Err(CannotOpen));
        assert_eq!(vault.secrets().open("a", "AA"), Err(CannotOpen));
        assert_ne!(sealed, vault.secrets().seal("a", b"text").unwrap(), "a nonce is never used twice");
    }

    #[test]
    fn addresses_that_differ_in_case_have_one_hash_under_one_key() {
        let hash = |key: u8, text: &str| Vault::new(&[key; 32]).email_hash(&Email::parse(text).unwrap());
        assert_eq!(hash(1, "Ann@Example.org"), hash(1, "ann@example.ORG"));
        assert_ne!(hash(1, "ann@example.org"), hash(2, "ann@example.org"));
    }

    #[test]
    fn ids_sort_by_time() {
        let id = |millis| new_id::<UserId>(UserId::PREFIX, Timestamp::from_millis(millis)).unwrap();
        assert!(id(1_700_000_000_000) < id(1_700_000_000_001));
        assert_ne!(id(5), id(5));
    }
}
