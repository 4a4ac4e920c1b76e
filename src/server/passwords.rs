//! Passwords: Argon2id with the library's parameters, off the threads that answer requests (contract §2, §4).

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::rand_core::OsRng;
use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::ApiError;

/// Hashes at a time: each takes 19 MiB and a core.
const AT_A_TIME_MAX: usize = 2;
/// Hashes that run or wait; one more is told that the server is overloaded.
const QUEUE_MAX: usize = 256;

/// The hash of no password: its last part is no output of Argon2 for any text that anyone knows, and a match would not
/// count. Verifying against it costs what a real one costs, so that unknown names can't be told by the time.
const NOBODYS_HASH: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5bm9ib2Q$bm9ib2R5IGhhcyB0aGlzIHBhc3N3b3JkLCBub2JvZHk";

/// Makes and checks hashes.
pub(crate) struct Passwords {
    running: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Passwords {
    /// Makes one; costs nothing.
    pub(crate) fn new() -> Self {
        Self { running: Arc::new(Semaphore::new(AT_A_TIME_MAX)), queue: Arc::new(Semaphore::new(QUEUE_MAX)) }
    }

    /// Hashes a password into a PHC string.
    ///
    /// # Errors
    /// 503 when too many hashes wait already.
    pub(crate) async fn hash(&self, password: String) -> Result<String, ApiError> {
        self.run(move || {
            let salt = SaltString::generate(&mut OsRng);
            Argon2::default().hash_password(password.as_bytes(), &salt).map(|hash| hash.to_string())
        })
        .await?
        .map_err(ApiError::internal)
    }

    /// Says whether a hash is that of a password. Without a hash it says no, in the time that it takes to say so with one.
    ///
    /// # Errors
    /// 503 when too many hashes wait already.
    pub(crate) async fn verify(&self, password: String, hash: Option<String>) -> Result<bool, ApiError> {
        self.run(move || {
            let is_known = hash.is_some();
            let hash = hash.as_deref().unwrap_or(NOBODYS_HASH);
            let hash = PasswordHash::new(hash)?;
            let matches = match Argon2::default().verify_password(password.as_bytes(), &hash) {
                Ok(()) => true,
                Err(argon2::password_hash::Error::Password) => false,
                Err(error) => return Err(error),
            };
            Ok(matches && is_known)
        })
        .await?
        .map_err(ApiError::internal)
    }

    /// Runs work where it may take its time, in its turn. The permits go with the work: a caller that hangs up does not
    /// make room for one more.
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, ApiError> {
        let overloaded = |_| ApiError::unavailable("Too many logins at once; try again.");
        let queued: OwnedSemaphorePermit = self.queue.clone().try_acquire_owned().map_err(overloaded)?;
        let running = self.running.clone().acquire_owned().await.map_err(ApiError::internal)?;
        let task = tokio::task::spawn_blocking(move || {
            let result = work();
            drop((running, queued));
            result
        });
        task.await.map_err(ApiError::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_matches_its_own_hash_only() {
        let passwords = Passwords::new();
        let hash = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(passwords.verify("correct horse".to_owned(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("correct horsf".to_owned(), Some(hash.clone())).await.unwrap());
        let again = passwords.hash("correct horse".to_owned()).await.unwrap();
        assert_ne!(hash, again, "the salt must differ");
    }

    #[tokio::test]
    async fn nobody_matches_nothing_at_the_cost_of_a_real_hash() {
        let passwords = Passwords::new();
        assert!(!passwords.verify("anything".to_owned(), None).await.unwrap());
        let made = passwords.hash("anything".to_owned()).await.unwrap();
        let (made, nobodys) = (PasswordHash::new(&made).unwrap(), PasswordHash::new(NOBODYS_HASH).unwrap());
        assert_eq!((made.algorithm, made.version, &made.params), (nobodys.algorithm, nobodys.version, &nobodys.params));
        let length = |hash: &PasswordHash<'_>| hash.hash.map(|output| output.len());
        assert_eq!(length(&made), length(&nobodys));
    }
}
