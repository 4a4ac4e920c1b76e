//! Soft state: when nodes were last seen and users last logged in. Kept in memory, shown at once, and written down
//! every few seconds instead of at every request (the design's decision 10).

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::domain::ids::{NodeId, UserId};
use crate::domain::time::Timestamp;
use crate::wire;

/// Keys with the newest time of each.
pub(crate) type Times<K> = Vec<(K, Timestamp)>;

/// The newest times that this process knows of.
#[derive(Debug, Default)]
pub(crate) struct SoftState {
    nodes: Mutex<Newest<NodeId>>,
    users: Mutex<Newest<UserId>>,
}

/// The newest time of each key, and which of them are not on disk yet.
#[derive(Debug)]
struct Newest<K> {
    times: HashMap<K, Timestamp>,
    dirty: HashSet<K>,
}

impl<K> Default for Newest<K> {
    fn default() -> Self {
        Self { times: HashMap::new(), dirty: HashSet::new() }
    }
}

impl<K: Copy + Eq + Hash> Newest<K> {
    /// Notes a time, unless a newer one is known.
    fn note(&mut self, key: K, time: Timestamp) {
        let newest = self.times.entry(key).or_insert(time);
        if time >= *newest {
            *newest = time;
            self.dirty.insert(key);
        }
    }

    fn take_dirty(&mut self) -> Times<K> {
        let times = &self.times;
        self.dirty.drain().filter_map(|key| Some((key, *times.get(&key)?))).collect()
    }

    /// Gives the newer of a time from the database and the one that is known here.
    fn newer(&self, key: K, stored: Option<Timestamp>) -> Option<Timestamp> {
        self.times.get(&key).copied().max(stored)
    }
}

impl SoftState {
    /// Notes that a node called.
    pub(crate) fn node_seen(&self, node: NodeId, now: Timestamp) {
        lock(&self.nodes).note(node, now);
    }

    /// Notes that a user logged in.
    pub(crate) fn user_logged_in(&self, user: UserId, now: Timestamp) {
        lock(&self.users).note(user, now);
    }

    /// Drops what is known of a node that was destroyed.
    pub(crate) fn forget_node(&self, node: NodeId) {
        let mut nodes = lock(&self.nodes);
        nodes.times.remove(&node);
        nodes.dirty.remove(&node);
    }

    /// Gives what is to be written down, and takes it for written; [`SoftState::put_back`] is for when it was not.
    pub(crate) fn take_dirty(&self) -> (Times<NodeId>, Times<UserId>) {
        (lock(&self.nodes).take_dirty(), lock(&self.users).take_dirty())
    }

    /// Takes back what could not be written down, to be tried again.
    pub(crate) fn put_back(&self, nodes: Times<NodeId>, users: Times<UserId>) {
        lock(&self.nodes).dirty.extend(nodes.into_iter().map(|(node, _)| node));
        lock(&self.users).dirty.extend(users.into_iter().map(|(user, _)| user));
    }

    /// Gives a node as read, with its newest `last_seen`.
    pub(crate) fn node(&self, node: wire::Node) -> wire::Node {
        let last_seen = lock(&self.nodes).newer(node.pk, node.last_seen);
        wire::Node { last_seen, ..node }
    }

    /// Gives a user as read, with its newest `last_login`.
    pub(crate) fn user(&self, user: wire::User) -> wire::User {
        let last_login = lock(&self.users).newer(user.pk, user.last_login);
        wire::User { last_login, ..user }
    }
}

fn lock<K>(newest: &Mutex<Newest<K>>) -> MutexGuard<'_, Newest<K>> {
    newest.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: NodeId = NodeId(7);
    const USER: UserId = UserId(3);

    fn node(last_seen: Option<i64>) -> wire::Node {
        wire::Node {
            pk: NODE,
            ip: "lab".to_owned(),
            index: 0,
            driver_version: None,
            hardware_generation: None,
            gpu_mem: None,
            cpu_mem: 1,
            last_seen: last_seen.map(Timestamp),
            current_job: None,
            creator: USER,
        }
    }

    #[test]
    fn reads_show_the_newer_time_wherever_it_is() {
        let soft = SoftState::default();
        assert_eq!(soft.node(node(None)).last_seen, None);
        assert_eq!(soft.node(node(Some(5))).last_seen, Some(Timestamp(5)));
        soft.node_seen(NODE, Timestamp(10));
        soft.node_seen(NODE, Timestamp(8));
        assert_eq!(soft.node(node(None)).last_seen, Some(Timestamp(10)));
        assert_eq!(soft.node(node(Some(5))).last_seen, Some(Timestamp(10)));
        assert_eq!(soft.node(node(Some(12))).last_seen, Some(Timestamp(12)));
    }

    #[test]
    fn what_is_taken_is_taken_once_unless_put_back() {
        let soft = SoftState::default();
        soft.node_seen(NODE, Timestamp(10));
        soft.user_logged_in(USER, Timestamp(11));
        let (nodes, users) = soft.take_dirty();
        assert_eq!((nodes.as_slice(), users.as_slice()), (&[(NODE, Timestamp(10))][..], &[(USER, Timestamp(11))][..]));
        assert_eq!(soft.take_dirty(), (vec![], vec![]));
        assert_eq!(soft.node(node(None)).last_seen, Some(Timestamp(10)), "reads need it still");

        // What came meanwhile is newer than what is put back.
        soft.node_seen(NODE, Timestamp(20));
        soft.put_back(nodes, users);
        assert_eq!(soft.take_dirty(), (vec![(NODE, Timestamp(20))], vec![(USER, Timestamp(11))]));
    }

    #[test]
    fn a_destroyed_node_is_forgotten() {
        let soft = SoftState::default();
        soft.node_seen(NODE, Timestamp(10));
        soft.forget_node(NODE);
        assert_eq!(soft.take_dirty(), (vec![], vec![]));
    }
}
