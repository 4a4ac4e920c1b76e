//! What requests are checked against, kept in memory: the user, the node, and who holds the job. Asking the database for
//! the job alone cost a GET a seventh of its time, most of it in SQLite's file locks (`benches/RESULTS.md`).
//!
//! The writer sees to it that what is kept is true, after each commit and before it replies: whoever calls after that
//! reply is checked against what was committed.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{PoisonError, RwLock};

use super::Error;
use super::access::{JobAccess, UserAccess};
use crate::domain::ids::{JobId, NodeId, UserId};

/// Entries of each kind. When there are more, it begins anew: simpler than to find out which are of no use any more.
const ENTRIES_MAX: usize = 10_000;

/// What is known of callers.
#[derive(Debug, Default)]
pub(super) struct Callers {
    users: Known<UserId, UserAccess>,
    nodes: Known<NodeId, UserId>,
    jobs: Known<JobId, JobAccess>,
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

    /// Gives what a call for a job is checked against, from memory or by reading it.
    pub(super) fn job(
        &self,
        job: JobId,
        read: impl FnOnce() -> Result<Option<JobAccess>, Error>,
    ) -> Result<Option<JobAccess>, Error> {
        self.jobs.get(job, read)
    }

    /// Takes in what a commit made of jobs: what each is now, or that it has to be read again.
    pub(super) fn note_jobs(&self, changes: &[(JobId, Option<JobAccess>)]) {
        self.jobs.note(changes);
    }

    /// Forgets everything.
    pub(super) fn forget(&self) {
        self.users.forget();
        self.nodes.forget();
        self.jobs.forget();
    }
}

#[derive(Debug)]
struct Known<K, V>(RwLock<Entries<K, V>>);

#[derive(Debug)]
struct Entries<K, V> {
    /// How often something was changed or forgotten. What was read under another count may be what was there before.
    changes: u64,
    values: HashMap<K, V>,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Self(RwLock::new(Entries { changes: 0, values: HashMap::new() }))
    }
}

impl<K: Eq + Hash, V> Entries<K, V> {
    fn keep(&mut self, key: K, value: V) {
        if self.values.len() >= ENTRIES_MAX {
            self.values.clear();
        }
        self.values.insert(key, value);
    }
}

impl<K: Copy + Eq + Hash, V: Copy> Known<K, V> {
    fn get(&self, key: K, read: impl FnOnce() -> Result<Option<V>, Error>) -> Result<Option<V>, Error> {
        let changes = {
            let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(value) = entries.values.get(&key) {
                return Ok(Some(*value));
            }
            entries.changes
        };
        // What is not there is not kept: it may be made at any time.
        let Some(value) = read()? else { return Ok(None) };
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if entries.changes == changes {
            entries.keep(key, value);
        }
        Ok(Some(value))
    }

    fn note(&self, changes: &[(K, Option<V>)]) {
        if changes.is_empty() {
            return;
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.changes = entries.changes.wrapping_add(1);
        for (key, value) in changes {
            match value {
                Some(value) => entries.keep(*key, *value),
                None => drop(entries.values.remove(key)),
            }
        }
    }

    fn forget(&self) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        entries.changes = entries.changes.wrapping_add(1);
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

    #[test]
    fn a_job_is_what_the_last_commit_made_of_it() {
        const JOB: JobId = JobId(3);
        let held_by = |node| JobAccess { holder: Some(NodeId(node)), is_meta: false, creator: OLD };
        let callers = Callers::default();
        let read = || {
            // A commit comes between the read and the note of it.
            callers.note_jobs(&[(JOB, None), (JOB, Some(held_by(2)))]);
            Ok(Some(held_by(1)))
        };
        assert_eq!(callers.job(JOB, read).unwrap(), Some(held_by(1)));
        assert_eq!(callers.job(JOB, || Err(Error::Busy)).unwrap(), Some(held_by(2)));
        callers.note_jobs(&[(JOB, None)]);
        assert_eq!(callers.job(JOB, || Ok(None)).unwrap(), None);
    }

    #[test]
    fn there_is_an_end_to_what_is_kept() {
        let callers = Callers::default();
        for node in 0..=ENTRIES_MAX as i64 {
            callers.node_creator(NodeId(node), || Ok(Some(OLD))).unwrap();
        }
        assert_eq!(callers.nodes.0.read().unwrap().values.len(), 1);
    }
}
