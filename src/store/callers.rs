//! Who may call, kept in memory: every request is checked against its user and its node, and both change seldom.
//!
//! The writer forgets everything after a commit that changed a user or removed a node, before it replies: whoever
//! reads after that reply reads anew.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use super::Error;
use super::access::UserAccess;
use crate::domain::ids::{NodeId, UserId};

/// Entries of each kind; more of them are read from the database every time.
const ENTRIES_MAX: usize = 10_000;

/// What is known of callers.
#[derive(Debug, Default)]
pub(super) struct Callers {
    users: Known<UserId, UserAccess>,
    nodes: Known<NodeId, UserId>,
}

impl Callers {
    /// Gives what a user's tokens are checked against, from memory or by reading it.
    pub(super) fn user(
        &self,
        user: UserId,
        read: impl FnOnce() -> Result<Option<UserAccess>, Error>,
    ) -> Result<Option<UserAccess>, Error> {
        self.users.get(user, read)
    }

    /// Gives who made a node, from memory or by reading it.
    pub(super) fn node_creator(
        &self,
        node: NodeId,
        read: impl FnOnce() -> Result<Option<UserId>, Error>,
    ) -> Result<Option<UserId>, Error> {
        self.nodes.get(node, read)
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        self.users.forget();
        self.nodes.forget();
    }
}

#[derive(Debug)]
struct Known<K, V>(RwLock<Entries<K, V>>);

#[derive(Debug)]
struct Entries<K, V> {
    /// How often everything was forgotten. What was read under another count may be what was there before.
    forgotten: u64,
    values: HashMap<K, V>,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(RwLock::new(Entries { forgotten: 0, values: HashMap::new() }))
    }
}

impl<K: Copy + Eq + Hash, V: Copy> Known<K, V> {
    fn get(&self, key: K, read: impl FnOnce() -> Result<Option<V>, Error>) -> Result<Option<V>, Error> {
        let forgotten = {
            let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = entries.values.get(&key) {
                return Ok(Some(*value));
            }
            entries.forgotten
        };
        // What is not there is not kept: it may be made at any time.
        let Some(value) = read()? else { return Ok(None) };
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if entries.forgotten == forgotten && entries.values.len() < ENTRIES_MAX {
            entries.values.insert(key, value);
        }
        Ok(Some(value))
    }

    fn forget(&self) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.forgotten = entries.forgotten.wrapping_add(1);
        entries.values.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(7);
    const OLD: UserId = UserId(1);
    const NEW: UserId = UserId(2);

    #[test]
    fn reads_once_until_it_forgets() {
        let callers = Callers::default();
        assert_eq!(callers.node_creator(NODE, || Ok(None)).unwrap(), None);
        assert_eq!(callers.node_creator(NODE, || Ok(Some(OLD))).unwrap(), Some(OLD));
        assert_eq!(callers.node_creator(NODE, || Ok(Some(NEW))).unwrap(), Some(OLD));
        callers.forget();
        assert_eq!(callers.node_creator(NODE, || Ok(Some(NEW))).unwrap(), Some(NEW));
        assert!(matches!(callers.node_creator(NodeId(8), || Err(Error::Busy)), Err(Error::Busy)));
    }

    #[test]
    fn keeps_nothing_that_was_read_before_it_forgot() {
        let callers = Callers::default();
        let read = || {
            // A commit comes between the read and the note of it.
            callers.forget();
            Ok(Some(OLD))
        };
        assert_eq!(callers.node_creator(NODE, read).unwrap(), Some(OLD));
        assert_eq!(callers.node_creator(NODE, || Ok(Some(NEW))).unwrap(), Some(NEW));
    }
}
