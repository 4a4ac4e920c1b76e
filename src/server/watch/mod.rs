//! Watching jobs as they change, by WebSocket and by server-sent events (contract §10).
//!
//! The event log is the source; the [`Hub`] reads each new event once and hands it to whoever watches its job. That no
//! event is lost or doubled between the log and the hub rests on the order of a watcher's first steps (`follower.rs`):
//!
//! 1. it subscribes: from now on the hub puts every event that it reads into the watcher's queue;
//! 2. it reads the log (or the present state) up to some place `S`;
//! 3. it takes events from its queue and passes over those at or before `S`.
//!
//! An event behind `S` was committed after step 2, so after step 1, so the hub, which reads the log in order and has not
//! yet come to it, finds the watcher there. An event at or before `S` was told in step 2, and is passed over in step 3.
//! Places grow in the order of the commits, since one thread writes.
//!
//! A queue holds 256 events or 4 MiB. When it is full, the hub gives it up: what it holds is still an unbroken run, and
//! its end says that the rest stands in the log. A watcher whose client takes nothing at that time is dropped, with
//! 1013 on a socket. One whose client reads was only overtaken by the hub; it takes the three steps again, from where it
//! is. So nobody who reads loses anything, nobody who does not read costs more than a queue, and the hub waits for
//! nobody.

mod follower;
pub(super) mod hub;
pub(super) mod sse;
pub(super) mod upgrade;
pub(super) mod websocket;

pub(super) use hub::{Given, Hub, Subscription, Told};
