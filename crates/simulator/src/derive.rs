//! Everything that looks random is derived here from the seed and the caller's key, so that a run can be repeated.

use std::fmt::Write;

use ring::digest::{Context, SHA256};

/// Of bytes that come one after the other.
#[derive(Clone)]
pub(crate) struct Digest(Context);

/// Hashes `parts` with their lengths, so that `["ab", "c"]` and `["a", "bc"]` differ.
pub(crate) fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    Digest(context).value()
}

/// `prefix` followed by 24 hexadecimal digits of the digest of `seed`, `purpose` and `key`.
pub(crate) fn id(prefix: &str, seed: u64, purpose: &str, key: &str) -> String {
    let hash = digest(&[&seed.to_be_bytes(), purpose.as_bytes(), key.as_bytes()]);
    let mut out = String::with_capacity(prefix.len() + 24);
    out.push_str(prefix);
    push_hex(&mut out, &hash[..12]);
    out
}

/// 32 hexadecimal digits that stand for the content of a request.
pub(crate) fn fingerprint(path: &str, body: &[u8]) -> String {
    let mut out = String::with_capacity(32);
    push_hex(&mut out, &digest(&[path.as_bytes(), body])[..16]);
    out
}

/// True for about one in `one_in` pairs of key and attempt.
pub(crate) fn chance(seed: u64, key: &str, attempt: u32, one_in: u64) -> bool {
    let hash = digest(&[&seed.to_be_bytes(), b"chance", key.as_bytes(), &attempt.to_be_bytes()]);
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    u64::from_be_bytes(first).is_multiple_of(one_in)
}

// === impl Digest ===

impl Digest {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Of what was added so far.
    pub(crate) fn value(&self) -> [u8; 32] {
        let mut out = [0; 32];
        out.copy_from_slice(self.0.clone().finish().as_ref());
        out
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digest").finish_non_exhaustive()
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(out, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
    }

    #[test]
    fn chance_is_near_its_rate_and_repeats() {
        let hits = (0..3_000).filter(|n| chance(7, &format!("key-{n}"), 1, 3)).count();
        assert!((850..1_150).contains(&hits), "one in three of 3000 was {hits}");
        let again = (0..3_000).filter(|n| chance(7, &format!("key-{n}"), 1, 3)).count();
        assert_eq!(hits, again);
        let other_seed =
            (0..64).filter(|n| chance(7, &format!("key-{n}"), 1, 3) != chance(8, &format!("key-{n}"), 1, 3));
        assert!(other_seed.count() > 0, "the seed must matter");
    }
}
