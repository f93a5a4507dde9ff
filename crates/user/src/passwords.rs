use std::sync::Arc;

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use pangaea_kernel::{Problem, ProblemKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::vault::random;

/// OWASP's minimum for Argon2id.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Each takes its memory and a core for tens of milliseconds, so two at once leave room for everything else.
const HASHES_AT_ONCE: usize = 2;
const WAITING_MAX: usize = 16;

/// Hashes passwords, off the async threads and a few at a time.
pub(crate) struct Passwords {
    /// Those being hashed and those that wait.
    admitted: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

/// Held until the work is done, even when the client has gone: else hashes would pile up behind it.
struct Slot {
    _admitted: OwnedSemaphorePermit,
    _running: OwnedSemaphorePermit,
}

// === impl Passwords ===

impl Passwords {
    pub(crate) fn new() -> Self {
        Self {
            admitted: Arc::new(Semaphore::new(HASHES_AT_ONCE + WAITING_MAX)),
            running: Arc::new(Semaphore::new(HASHES_AT_ONCE)),
        }
    }

    /// The hash in PHC form, with a salt of its own.
    ///
    /// # Errors
    /// 429 when too many are waiting.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Problem> {
        let salt = random::<16>()?;
        let hashed =
            self.run(move || Some(hasher()?.hash_password_with_salt(password.as_bytes(), &salt).ok()?.to_string()));
        hashed.await?.ok_or_else(broken)
    }

    /// Whether `password` has this hash. Without a hash it takes as long and is never right, so that nobody learns from the
    /// time whether an account exists.
    ///
    /// # Errors
    /// 429 when too many are waiting.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, Problem> {
        const NOBODYS_SALT: &[u8; 16] = b"nobody's account";
        let verified = self.run(move || match hash {
            Some(hash) => Some(hasher()?.verify_password(password.as_bytes(), hash.as_str()).is_ok()),
            None => hasher()?.hash_password_with_salt(password.as_bytes(), NOBODYS_SALT).ok().map(|_| false),
        });
        verified.await?.ok_or_else(broken)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let slot = self.slot().await?;
        let task = tokio::task::spawn_blocking(move || {
            let _slot = slot;
            work()
        });
        task.await.map_err(|_| broken())
    }

    async fn slot(&self) -> Result<Slot, Problem> {
        let busy = || {
            Problem::new(ProblemKind::TooManyRequests, "too many passwords are being checked; try again")
                .with_retry_after(1)
        };
        let admitted = self.admitted.clone().try_acquire_owned().map_err(|_| busy())?;
        let running = self.running.clone().acquire_owned().await.map_err(|_| busy())?;
        Ok(Slot { _admitted: admitted, _running: running })
    }
}

fn hasher() -> Option<Argon2<'static>> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).ok()?;
    Some(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn broken() -> Problem {
    tracing::error!("a password could not be hashed");
    Problem::new(ProblemKind::Internal, "the failure has been logged")
}

#[cfg(test)]
mod tests {
    use super::Passwords;
    use futures_util::future::join_all;

    #[tokio::test]
    async fn a_hash_fits_its_password_only() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("correct house".into(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn more_than_can_wait_are_sent_away() {
        let passwords = Passwords::new();
        let all = join_all((0..40).map(|_| passwords.verify("correct horse".into(), None))).await;
        let refused: Vec<_> = all.iter().filter_map(|one| one.as_ref().err()).collect();
        assert_eq!(all.len() - refused.len(), 18, "two at work and sixteen waiting");
        assert!(refused.iter().all(|problem| problem.status == 429 && problem.retry_after == Some(1)));
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap(), "places are given back");
    }
}
