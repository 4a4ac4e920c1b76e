//! What may happen to a workable job: the phases, the actions, and the one function that decides (contract §5).
//!
//! ```text
//!            acquire/release             reset (holder), abort (staff)
//!               ┌──────┐        ┌──────────────────────────────┐
//!               ▼      │        ▼                              │
//!   create ─► created ─┴─► created ───start──► started ─error─► errored ◄─┐ acquire/release
//!              free         held                 │  ▲            │    └───┘
//!                │            │           finish │  └ progress   │
//!                └──cancel────┴──cancel──┐       ▼               │
//!                                        ▼    finished           │
//!                                    cancelled ◄──cancel─────────┘   (also from started)
//! ```
//!
//! Meta-jobs do not come here: what they do follows from their children.

use serde::{Deserialize, Serialize};

use super::ids::NodeId;
use super::time::Timestamp;

/// The reason that a cancelled job's `error_reason` gives.
pub const CANCELLED_REASON: &str = "Cancelled";

/// The phase of a job, as the wire and the database name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Not begun; free or held.
    Created,
    /// A node works on it.
    Started,
    /// Its run failed; it can be reset, aborted or taken over.
    Errored,
    /// Done.
    Finished,
    /// Called off by staff.
    Cancelled,
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 5] = [Self::Created, Self::Started, Self::Errored, Self::Finished, Self::Cancelled];

    /// Gives the phase's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Errored => "errored",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads a phase's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == name)
    }

    /// Says whether nothing can happen to the job any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Finished | Self::Cancelled)
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Where a workable job stands, with all that belongs to that standing and nothing that does not.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Not begun.
    Created {
        /// The node that acquired it, if any.
        holder: Option<NodeId>,
    },
    /// Running.
    Started {
        /// The node that holds it and works on it.
        holder: NodeId,
        /// When it was started.
        since: Timestamp,
        /// How far it has come, from 0 to 1.
        progress: f64,
    },
    /// Failed.
    Errored {
        /// The node that still holds it, if any.
        holder: Option<NodeId>,
        /// When it was started.
        since: Timestamp,
        /// How far it had come.
        progress: f64,
        /// When it failed.
        ended: Timestamp,
        /// What the worker said.
        reason: String,
    },
    /// Done; its progress is 1.
    Finished {
        /// The node that did it, unless that was destroyed since.
        holder: Option<NodeId>,
        /// When it was started.
        since: Timestamp,
        /// When it was done.
        ended: Timestamp,
    },
    /// Called off.
    Cancelled {
        /// The node that held it then, for the record.
        holder: Option<NodeId>,
        /// When it had been started, if it had.
        since: Option<Timestamp>,
        /// How far it had come.
        progress: f64,
        /// When it was called off.
        ended: Timestamp,
    },
}

impl State {
    /// Gives the phase.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Created { .. } => Phase::Created,
            Self::Started { .. } => Phase::Started,
            Self::Errored { .. } => Phase::Errored,
            Self::Finished { .. } => Phase::Finished,
            Self::Cancelled { .. } => Phase::Cancelled,
        }
    }

    /// Gives the node that holds the job, or held it at the end.
    pub fn holder(&self) -> Option<NodeId> {
        match self {
            Self::Started { holder, .. } => Some(*holder),
            Self::Created { holder }
            | Self::Errored { holder, .. }
            | Self::Finished { holder, .. }
            | Self::Cancelled { holder, .. } => *holder,
        }
    }

    /// Gives how far the job has come, from 0 to 1.
    pub fn progress(&self) -> f64 {
        match self {
            Self::Created { .. } => 0.0,
            Self::Started { progress, .. } | Self::Errored { progress, .. } | Self::Cancelled { progress, .. } => {
                *progress
            }
            Self::Finished { .. } => 1.0,
        }
    }

    /// Gives when the job was started, if it was.
    pub fn start_time(&self) -> Option<Timestamp> {
        match self {
            Self::Created { .. } => None,
            Self::Started { since, .. } | Self::Errored { since, .. } | Self::Finished { since, .. } => Some(*since),
            Self::Cancelled { since, .. } => *since,
        }
    }

    /// Gives when the job ended, if it has.
    pub fn end_time(&self) -> Option<Timestamp> {
        match self {
            Self::Created { .. } | Self::Started { .. } => None,
            Self::Errored { ended, .. } | Self::Finished { ended, .. } | Self::Cancelled { ended, .. } => Some(*ended),
        }
    }

    /// Gives why the job failed, if it did or was called off.
    pub fn error_reason(&self) -> Option<&str> {
        match self {
            Self::Created { .. } | Self::Started { .. } | Self::Finished { .. } => None,
            Self::Errored { reason, .. } => Some(reason),
            Self::Cancelled { .. } => Some(CANCELLED_REASON),
        }
    }
}

/// What a node works on, as seen from one job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Nothing.
    Nothing,
    /// This job: it is the node's `current_job`, even if the job was aborted away since.
    ThisJob,
    /// Some other job.
    AnotherJob,
}

/// The node on whose behalf a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// The node.
    pub node: NodeId,
    /// What it works on.
    pub work: Work,
}

/// What a caller asks to be done to a job.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Takes the job for a node.
    Acquire(Actor),
    /// Gives it back.
    Release(Actor),
    /// Begins work on it.
    Start(Actor),
    /// Says how far it has come, from 0 to 1.
    Progress(Actor, f64),
    /// Ends it: well, or with an error's text.
    Finish(Actor, Option<String>),
    /// Makes an errored job ready for another run by its holder.
    Reset(Actor),
    /// Takes it away from whoever holds it (staff).
    Abort,
    /// Calls it off (staff).
    Cancel,
    /// Adds an output: for a node, or for staff.
    AddOutput {
        /// The node, if the call is made for one.
        actor: Option<Actor>,
        /// Whether the caller is staff.
        staff: bool,
    },
}

/// What an event in the log says happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Transition {
    /// The job was made.
    Create,
    /// A node took it.
    Acquire,
    /// Its node gave it back.
    Release,
    /// Work began.
    Start,
    /// Work went on.
    Progress,
    /// Work ended well.
    Finish,
    /// Work failed.
    Error,
    /// The holder made it ready for another run.
    Reset,
    /// Staff took it away from its holder.
    Abort,
    /// Staff called it off.
    Cancel,
}

impl Transition {
    /// Every transition.
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Acquire,
        Self::Release,
        Self::Start,
        Self::Progress,
        Self::Finish,
        Self::Error,
        Self::Reset,
        Self::Abort,
        Self::Cancel,
    ];

    /// Gives the name that the wire and the event log use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::Start => "start",
            Self::Progress => "progress",
            Self::Finish => "finish",
            Self::Error => "error",
            Self::Reset => "reset",
            Self::Abort => "abort",
            Self::Cancel => "cancel",
        }
    }

    /// Reads a transition's name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transition| transition.as_str() == name)
    }
}

/// What becomes of the acting node's `current_job`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeChange {
    /// It stays.
    Keep,
    /// It becomes this job.
    Works,
    /// It is cleared.
    Freed,
}

/// A step that the rules allow.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Where the job stands after it.
    pub next: State,
    /// What the event log says of it.
    pub transition: Transition,
    /// Whether the job's outputs are removed.
    pub removes_outputs: bool,
    /// What becomes of the acting node's `current_job`.
    pub node: NodeChange,
}

/// What comes of an allowed action.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The job changes.
    Change(Change),
    /// Nothing changes, and that is well: the answer is still 200.
    Unchanged,
    /// The node's `current_job` is cleared and nothing else.
    NodeFreed,
}

/// Why an action is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The caller's node does not hold the job (403).
    NotHolder,
    /// The job is soft-deleted (406).
    Deleted,
    /// Another node holds the job (406).
    HeldByAnother(NodeId),
    /// The node already works on a job (406).
    NodeBusy,
    /// The phase does not allow the action (406).
    Phase(Phase),
    /// The job is a meta-job, which only its children move (403).
    MetaJob,
    /// The job is a child of a meta-job, which is cancelled from the top alone (406).
    Child,
}

/// Decides what an action does to a job that stands in `state`. 403 comes before 406, and 406 changes nothing
/// (contract §5).
pub fn step(state: &State, deleted: bool, action: Action, now: Timestamp) -> Result<Outcome, Refusal> {
    if let Some(freed) = standing_to_act(state, &action)? {
        return Ok(freed);
    }
    if deleted {
        return match action {
            // A worker must never be stuck with a job that was deleted under it.
            Action::Finish(Actor { work: Work::ThisJob, .. }, _) => Ok(Outcome::NodeFreed),
            _ => Err(Refusal::Deleted),
        };
    }
    use Action as A;
    use State as S;
    let to = |next, transition| Ok(change(next, transition, false, NodeChange::Keep));
    let emptied = |holder, transition| Ok(change(S::Created { holder }, transition, true, NodeChange::Keep));
    match (state.clone(), action) {
        (S::Created { holder: None }, A::Acquire(by)) => to(S::Created { holder: Some(by.node) }, Transition::Acquire),
        (S::Errored { holder: None, since, progress, ended, reason }, A::Acquire(by)) => {
            to(S::Errored { holder: Some(by.node), since, progress, ended, reason }, Transition::Acquire)
        }
        (S::Created { .. } | S::Started { .. } | S::Errored { .. }, A::Acquire(by)) => match state.holder() {
            Some(holder) if holder != by.node => Err(Refusal::HeldByAnother(holder)),
            _ => Ok(Outcome::Unchanged),
        },

        (S::Created { .. }, A::Release(_)) => to(S::Created { holder: None }, Transition::Release),
        (S::Errored { since, progress, ended, reason, .. }, A::Release(_)) => {
            to(S::Errored { holder: None, since, progress, ended, reason }, Transition::Release)
        }

        (S::Created { .. }, A::Start(by)) if by.work == Work::Nothing => {
            let next = S::Started { holder: by.node, since: now, progress: 0.0 };
            Ok(change(next, Transition::Start, false, NodeChange::Works))
        }
        (S::Created { .. }, A::Start(_)) => Err(Refusal::NodeBusy),

        (S::Started { holder, since, .. }, A::Progress(_, progress)) => {
            to(S::Started { holder, since, progress }, Transition::Progress)
        }
        (S::Started { holder, since, .. }, A::Finish(_, None)) => {
            let next = S::Finished { holder: Some(holder), since, ended: now };
            Ok(change(next, Transition::Finish, false, NodeChange::Freed))
        }
        (S::Started { holder, since, progress }, A::Finish(_, Some(reason))) => {
            let next = S::Errored { holder: Some(holder), since, progress, ended: now, reason };
            Ok(change(next, Transition::Error, false, NodeChange::Freed))
        }
        (S::Cancelled { .. }, A::Finish(Actor { work: Work::ThisJob, .. }, _)) => Ok(Outcome::NodeFreed),
        (S::Cancelled { .. }, A::Finish(..)) => Ok(Outcome::Unchanged),

        (S::Errored { holder, .. }, A::Reset(_)) => emptied(holder, Transition::Reset),

        (S::Created { holder: None }, A::Abort) => Ok(Outcome::Unchanged),
        (S::Created { .. } | S::Started { .. } | S::Errored { .. }, A::Abort) => emptied(None, Transition::Abort),

        (S::Created { .. } | S::Started { .. } | S::Errored { .. }, A::Cancel) => {
            let (holder, since, progress) = (state.holder(), state.start_time(), state.progress());
            to(S::Cancelled { holder, since, progress, ended: now }, Transition::Cancel)
        }
        (S::Finished { .. } | S::Cancelled { .. }, A::Cancel) => Ok(Outcome::Unchanged),

        (S::Started { .. }, A::AddOutput { .. }) => Ok(Outcome::Unchanged),
        // A cancelled run's log is not lost: the node that still works on it may add to it.
        (S::Cancelled { .. }, A::AddOutput { actor: Some(Actor { work: Work::ThisJob, .. }), .. }) => {
            Ok(Outcome::Unchanged)
        }

        (
            S::Created { .. } | S::Started { .. } | S::Errored { .. } | S::Finished { .. } | S::Cancelled { .. },
            A::Acquire(_)
            | A::Release(_)
            | A::Start(_)
            | A::Progress(..)
            | A::Finish(..)
            | A::Reset(_)
            | A::Abort
            | A::AddOutput { .. },
        ) => Err(Refusal::Phase(state.phase())),
    }
}

/// Decides the 403s that hang on the job: `O`, `O or W`, `S or O` of contract §3. `Some` is the answer of a worker
/// whose job was taken away: its `finish` clears its `current_job` and does nothing else.
fn standing_to_act(state: &State, action: &Action) -> Result<Option<Outcome>, Refusal> {
    let holds = |by: &Actor| state.holder() == Some(by.node);
    match action {
        Action::Acquire(_) | Action::Abort | Action::Cancel => Ok(None),
        Action::Start(by) | Action::Progress(by, _) | Action::Reset(by) if holds(by) => Ok(None),
        Action::Release(by) | Action::Finish(by, _) if holds(by) => Ok(None),
        Action::Finish(by, _) if by.work == Work::ThisJob => Ok(Some(Outcome::NodeFreed)),
        Action::Release(by) if by.work == Work::ThisJob => Err(Refusal::Phase(state.phase())),
        Action::AddOutput { staff: true, .. } => Ok(None),
        Action::AddOutput { actor: Some(by), .. } if holds(by) => Ok(None),
        Action::Start(_)
        | Action::Progress(..)
        | Action::Reset(_)
        | Action::Release(_)
        | Action::Finish(..)
        | Action::AddOutput { .. } => Err(Refusal::NotHolder),
    }
}

/// Puts a change together.
fn change(next: State, transition: Transition, removes_outputs: bool, node: NodeChange) -> Outcome {
    Outcome::Change(Change { next, transition, removes_outputs, node })
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
