//! Who needs which bytes at this moment: what keeps an upload and the sweep out of each other's way.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Digest;

/// The claims on digests, at most one kind for each at a time.
///
/// The lock is only ever held for a few instructions. A removal, which asks the database and unlinks a file, is a
/// claim of its own instead, so that it delays those who want the same bytes and nobody else.
#[derive(Debug, Default)]
pub(super) struct Holds {
    claims: Mutex<HashMap<Digest, Claim>>,
    removal_ended: Condvar,
}

#[derive(Debug)]
enum Claim {
    /// So many holders need the bytes to stay.
    Held(usize),
    /// One remover is finding out whether they may go, or unlinking them.
    Removing,
}

/// Keeps bytes from being swept until dropped.
#[derive(Debug)]
pub(super) struct Hold {
    holds: Arc<Holds>,
    digest: Digest,
}

/// Keeps holds on the digest waiting until dropped.
#[derive(Debug)]
pub(super) struct Removal {
    holds: Arc<Holds>,
    digest: Digest,
}

impl Holds {
    /// Takes a hold; waits out a removal of the same digest, so it must not be called on an async thread.
    pub(super) fn hold(self: &Arc<Self>, digest: Digest) -> Hold {
        let removing = |claims: &mut HashMap<Digest, Claim>| matches!(claims.get(&digest), Some(Claim::Removing));
        let claims = self.lock();
        let mut claims = self.removal_ended.wait_while(claims, removing).unwrap_or_else(PoisonError::into_inner);
        match claims.get_mut(&digest) {
            Some(Claim::Held(count)) => *count += 1,
            Some(Claim::Removing) | None => {
                claims.insert(digest, Claim::Held(1));
            }
        }
        Hold { holds: Arc::clone(self), digest }
    }

    /// Claims a digest for removal; `None` if it is held, or being removed already.
    pub(super) fn removal(self: &Arc<Self>, digest: Digest) -> Option<Removal> {
        let mut claims = self.lock();
        if claims.contains_key(&digest) {
            return None;
        }
        claims.insert(digest, Claim::Removing);
        Some(Removal { holds: Arc::clone(self), digest })
    }

    /// Locks the claims; a panic elsewhere can't leave them half changed, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Claim>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut claims = self.holds.lock();
        match claims.get_mut(&self.digest) {
            Some(Claim::Held(count)) if *count > 1 => *count -= 1,
            _ => {
                claims.remove(&self.digest);
            }
        }
    }
}

impl Drop for Removal {
    fn drop(&mut self) {
        self.holds.lock().remove(&self.digest);
        self.holds.removal_ended.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_digest_can_be_removed_when_the_last_hold_is_gone() {
        let holds = Arc::new(Holds::default());
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let first = holds.hold(one);
        let second = holds.hold(one);
        assert!(holds.removal(one).is_none());
        assert!(holds.removal(other).is_some());
        drop(first);
        assert!(holds.removal(one).is_none());
        drop(second);
        let removal = holds.removal(one);
        assert!(removal.is_some() && holds.removal(one).is_none());
        drop(removal);
        assert!(holds.lock().is_empty());
    }

    #[test]
    fn a_hold_waits_for_the_end_of_a_removal() {
        let holds = Arc::new(Holds::default());
        let digest = Digest::of(b"x");
        let removal = holds.removal(digest).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let waiter = std::thread::spawn({
            let (holds, ended) = (Arc::clone(&holds), Arc::clone(&ended));
            move || (holds.hold(digest), ended.load(Ordering::SeqCst))
        });
        std::thread::yield_now();
        ended.store(true, Ordering::SeqCst);
        drop(removal);
        let (hold, had_ended) = waiter.join().unwrap();
        assert!(had_ended, "the hold was given while the removal went on");
        assert!(holds.removal(digest).is_none());
        drop(hold);
        assert!(holds.removal(digest).is_some());
    }
}
