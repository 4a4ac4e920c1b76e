//! What becomes of a meta-job: nothing is done to it, save that it is cancelled; where it stands follows from its
//! children (contract §6).
//!
//! ```text
//!               a child starts           all children have finished
//!   create ─► created ──────► started ──────────────────────────────► finished
//!                │             │   ▲
//!                │    a child  │   │ no child is
//!                │     errors  ▼   │ errored any more
//!                │            errored
//!                └──── cancel ──┴──────► cancelled   (the whole tree at once, from the top)
//! ```
//!
//! A meta-job that has started stays so, even if the child that began it is aborted. While one child is errored the
//! others may go on and finish, but no new child is made before the error is gone. A child that is finished stays so;
//! hence neither do its parent's copies of its outputs ever go away by themselves.
//!
//! [`plan()`] says, when the meta-job is made, of what children it will be; [`readiness`] says whether one of them is
//! due; [`derive()`] gives the standing.

mod feed;
mod plan;
#[cfg(test)]
mod tests;

pub use feed::{Feed, Found, Lack, Readiness, Source, readiness};
pub use plan::{Edge, Plan, Planned, plan};

use super::lifecycle::{CANCELLED_REASON, Phase, Refusal, Transition};
use super::time::Timestamp;

/// Where a meta-job stands, with all that belongs to that standing.
#[derive(Debug, Clone, PartialEq)]
pub enum MetaState {
    /// None of its children has started yet.
    Created,
    /// A child has started, and none is errored.
    Started {
        /// When the first child was started.
        since: Timestamp,
        /// The mean over all its children, from 0 to 1.
        progress: f64,
    },
    /// A child is errored, or finished without an output that a sibling needs.
    Errored {
        /// When the first child was started.
        since: Timestamp,
        /// The mean over all its children, from 0 to 1.
        progress: f64,
        /// When the trouble began.
        ended: Timestamp,
        /// Which child is errored, and why.
        reason: String,
    },
    /// All of its children have finished.
    Finished {
        /// When the first child was started.
        since: Timestamp,
        /// When the last child finished.
        ended: Timestamp,
    },
    /// Called off, with all of its children that had not finished.
    Cancelled {
        /// When the first child was started, if one was.
        since: Option<Timestamp>,
        /// How far it had come.
        progress: f64,
        /// When it was called off.
        ended: Timestamp,
    },
}

impl MetaState {
    /// Gives the phase.
    pub fn phase(&self) -> Phase {
        match self {
            Self::Created => Phase::Created,
            Self::Started { .. } => Phase::Started,
            Self::Errored { .. } => Phase::Errored,
            Self::Finished { .. } => Phase::Finished,
            Self::Cancelled { .. } => Phase::Cancelled,
        }
    }

    /// Gives how far it has come, from 0 to 1.
    pub fn progress(&self) -> f64 {
        match self {
            Self::Created => 0.0,
            Self::Started { progress, .. } | Self::Errored { progress, .. } | Self::Cancelled { progress, .. } => {
                *progress
            }
            Self::Finished { .. } => 1.0,
        }
    }

    /// Gives when the first child was started, if one was.
    pub fn start_time(&self) -> Option<Timestamp> {
        match self {
            Self::Created => None,
            Self::Started { since, .. } | Self::Errored { since, .. } | Self::Finished { since, .. } => Some(*since),
            Self::Cancelled { since, .. } => *since,
        }
    }

    /// Gives when it ended, if it has.
    pub fn end_time(&self) -> Option<Timestamp> {
        match self {
            Self::Created | Self::Started { .. } => None,
            Self::Errored { ended, .. } | Self::Finished { ended, .. } | Self::Cancelled { ended, .. } => Some(*ended),
        }
    }

    /// Gives why it is errored or cancelled, if it is.
    pub fn error_reason(&self) -> Option<&str> {
        match self {
            Self::Created | Self::Started { .. } | Self::Finished { .. } => None,
            Self::Errored { reason, .. } => Some(reason),
            Self::Cancelled { .. } => Some(CANCELLED_REASON),
        }
    }

    /// Says whether children that are due may be made: not while it is errored, nor after its end.
    pub fn makes_children(&self) -> bool {
        matches!(self, Self::Created | Self::Started { .. })
    }
}

/// How the children of a meta-job stand, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tally {
    /// All the children that there will be, those that are not made yet too.
    pub total: u32,
    /// Those that have finished.
    pub finished: u32,
    /// Those that are started, errored or finished.
    pub begun: u32,
    /// Those that are errored.
    pub errored: u32,
    /// The sum of their progress, each from 0 to 1.
    pub progress: f64,
}

impl Tally {
    /// Gives the mean of the progress over all children; those that are not made yet count as 0.
    fn mean(&self) -> f64 {
        if self.total == 0 { 0.0 } else { (self.progress / f64::from(self.total)).clamp(0.0, 1.0) }
    }
}

/// Why a meta-job can't go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// A child is errored: the one that has been for the longest.
    Failed {
        /// The child's name.
        child: String,
        /// What it says.
        reason: String,
    },
    /// A child finished without an output that a sibling needs.
    Lacks(Lack),
}

impl Trouble {
    /// Puts it into words. `errored` is how many children are errored.
    fn reason(&self, errored: u32) -> String {
        match self {
            Self::Failed { child, reason } if errored > 1 => {
                format!("{errored} children are errored, first {child:?}: {reason}")
            }
            Self::Failed { child, reason } => format!("The child {child:?} is errored: {reason}"),
            Self::Lacks(Lack { child, output, sibling }) => {
                format!("The child {child:?} finished without the output {output:?}, which {sibling:?} needs.")
            }
        }
    }
}

/// Gives where a meta-job stands after something became of a child. `before` is where it stood; what is final stays.
pub fn derive(before: &MetaState, tally: &Tally, trouble: Option<&Trouble>, now: Timestamp) -> MetaState {
    if before.phase().is_final() {
        return before.clone();
    }
    let Some(since) = before.start_time().or((tally.begun > 0).then_some(now)) else { return MetaState::Created };
    let progress = tally.mean();
    match trouble {
        Some(trouble) => {
            let ended = before.end_time().unwrap_or(now);
            MetaState::Errored { since, progress, ended, reason: trouble.reason(tally.errored) }
        }
        None if tally.total > 0 && tally.finished == tally.total => MetaState::Finished { since, ended: now },
        None => MetaState::Started { since, progress },
    }
}

/// Gives what the event log says when a meta-job comes from one standing to another; `None` when nothing changed.
pub fn transition(before: &MetaState, after: &MetaState) -> Option<Transition> {
    use MetaState as S;
    if before == after {
        return None;
    }
    Some(match (before, after) {
        (S::Errored { reason: old, .. }, S::Errored { reason: new, .. }) if old == new => Transition::Progress,
        (_, S::Errored { .. }) => Transition::Error,
        (S::Created, S::Started { .. }) => Transition::Start,
        (S::Errored { .. }, S::Started { .. }) => Transition::Reset,
        (S::Started { .. } | S::Finished { .. } | S::Cancelled { .. }, S::Started { .. }) => Transition::Progress,
        (_, S::Created) => Transition::Abort,
        (_, S::Finished { .. }) => Transition::Finish,
        (_, S::Cancelled { .. }) => Transition::Cancel,
    })
}

/// Calls a meta-job off, or some meta-job below it; `None` when it has ended already, which is well.
pub fn cancelled(state: &MetaState, now: Timestamp) -> Option<MetaState> {
    let (since, progress) = (state.start_time(), state.progress());
    (!state.phase().is_final()).then_some(MetaState::Cancelled { since, progress, ended: now })
}

/// Decides whether a job may be cancelled by itself: only the top of a hierarchy can.
///
/// # Errors
/// `Child` for a job that has a parent, `Deleted` for one that is soft-deleted.
pub fn may_cancel(has_parent: bool, deleted: bool) -> Result<(), Refusal> {
    if has_parent {
        return Err(Refusal::Child);
    }
    if deleted { Err(Refusal::Deleted) } else { Ok(()) }
}

/// Decides whether a job may be removed for good while the job above it stands in `parent`. A child of a workflow that
/// still runs would leave a hole that can never be filled; with the workflow's end, or with the whole, it may go.
pub fn may_purge(parent: Option<Phase>) -> bool {
    parent.is_none_or(Phase::is_final)
}
