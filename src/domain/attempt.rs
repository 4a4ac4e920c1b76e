//! What happens to a job by itself, as time goes by: leases that run out, runs that take too long, retries
//! (contract §11). Pure, as `lifecycle.rs` is; the store finds what is due and carries it out.

use super::lifecycle::{Change, NodeChange, State, Transition};
use super::time::Timestamp;

/// The reason that a job gives which lost its lease with no attempt left.
pub const LEASE_REASON: &str = "The lease ran out, and no attempt is left";

/// The most seconds that a retry waits, however often its delay was doubled.
pub const RETRY_DELAY_MAX_S: f64 = 7.0 * 86_400.0;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The node gave the job back.
    Released,
    /// The job was done.
    Finished,
    /// The run failed.
    Errored,
    /// Staff took the job away.
    Aborted,
    /// Staff called the job off.
    Cancelled,
    /// The node gave no sign of life for too long.
    LeaseExpired,
    /// The run took too long.
    TimedOut,
}

impl Ending {
    /// Gives the outcome's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Released => "released",
            Self::Finished => "finished",
            Self::Errored => "errored",
            Self::Aborted => "aborted",
            Self::Cancelled => "cancelled",
            Self::LeaseExpired => "lease_expired",
            Self::TimedOut => "timed_out",
        }
    }

    /// Gives how a transition that somebody made ends the attempt, if it does.
    pub fn by(transition: Transition) -> Option<Self> {
        match transition {
            Transition::Release => Some(Self::Released),
            Transition::Finish => Some(Self::Finished),
            Transition::Error => Some(Self::Errored),
            Transition::Abort => Some(Self::Aborted),
            Transition::Cancel => Some(Self::Cancelled),
            Transition::Create | Transition::Acquire | Transition::Start | Transition::Progress | Transition::Reset => {
                None
            }
        }
    }
}

/// How often a job may be tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attempts {
    /// The number of the present attempt.
    pub number: i64,
    /// How many there may be.
    pub max: i64,
    /// Seconds before the first retry.
    pub retry_delay_s: f64,
}

impl Attempts {
    /// Says when an errored job is tried again by itself; `None` when no attempt is left.
    pub fn retry_at(&self, now: Timestamp) -> Option<Timestamp> {
        if self.number >= self.max {
            return None;
        }
        let doublings = i32::try_from(self.number.saturating_sub(1)).unwrap_or(i32::MAX).min(64);
        let delay_s = (self.retry_delay_s * 2_f64.powi(doublings)).min(RETRY_DELAY_MAX_S);
        Some(plus(now, delay_s))
    }
}

/// Gives the time `seconds` later, to the microsecond.
pub fn plus(time: Timestamp, seconds: f64) -> Timestamp {
    // A float beyond the range ends up at the range's end.
    #[expect(clippy::cast_possible_truncation, reason = "`as` stops at the ends of the range")]
    let micros = (seconds * 1e6).round() as i64;
    Timestamp(time.0.saturating_add(micros))
}

/// Says until when a sign of life renews a lease. A job whose run has failed is kept for as long again as it has been
/// errored, if that is longer: its holder may have gone on to other jobs long ago and give signs of life for those, and a
/// lease that nobody waits for must not be written anew for ever, once for each job that ever failed.
pub fn renewed_until(sign: Timestamp, lease_s: f64, errored_since: Option<Timestamp>) -> Timestamp {
    let errored_us = errored_since.map_or(0, |since| sign.0.saturating_sub(since.0));
    plus(sign, lease_s).max(Timestamp(sign.0.saturating_add(errored_us)))
}

/// Takes a job away from a holder whose lease ran out. A job that retries were asked for, and that has used up its
/// attempts, is errored; one that is errored already stays so, as if its holder had released it (contract §5): what is
/// to become of it was decided when it erred. Any other is free again. `None` when nobody holds the job.
pub fn expire(state: &State, attempts: &Attempts, now: Timestamp) -> Option<Change> {
    match state {
        State::Created { holder: Some(_) } => Some(freed(Transition::Abort)),
        State::Started { since, progress, .. } if attempts.max > 1 && attempts.number >= attempts.max => {
            // Without a holder, so that the worker's late `finish` does no more than clear its current job.
            let next = State::Errored {
                holder: None,
                since: *since,
                progress: *progress,
                ended: now,
                reason: LEASE_REASON.to_owned(),
            };
            Some(Change { next, transition: Transition::Error, removes_outputs: false, node: NodeChange::Keep })
        }
        State::Started { .. } => Some(freed(Transition::Abort)),
        State::Errored { holder: Some(_), since, progress, ended, reason } => {
            let (since, progress, ended, reason) = (*since, *progress, *ended, reason.clone());
            let next = State::Errored { holder: None, since, progress, ended, reason };
            Some(Change { next, transition: Transition::Release, removes_outputs: false, node: NodeChange::Keep })
        }
        State::Created { holder: None }
        | State::Errored { holder: None, .. }
        | State::Finished { .. }
        | State::Cancelled { .. } => None,
    }
}

/// Ends a run that took too long; its node is free for another. `None` when the job does not run.
pub fn time_out(state: &State, timeout_s: f64, now: Timestamp) -> Option<Change> {
    let State::Started { holder, since, progress } = state else { return None };
    let reason = format!("Timed out after {timeout_s} s");
    let next = State::Errored { holder: Some(*holder), since: *since, progress: *progress, ended: now, reason };
    Some(Change { next, transition: Transition::Error, removes_outputs: false, node: NodeChange::Freed })
}

/// Makes an errored job ready for another attempt by whoever comes first. `None` when it is not errored.
pub fn retry(state: &State) -> Option<Change> {
    matches!(state, State::Errored { .. }).then(|| freed(Transition::Reset))
}

fn freed(transition: Transition) -> Change {
    Change { next: State::Created { holder: None }, transition, removes_outputs: true, node: NodeChange::Keep }
}

#[cfg(test)]
mod tests {
    use super::super::ids::NodeId;
    use super::*;

    const NOW: Timestamp = Timestamp(0);
    const STARTED: State = State::Started { holder: NodeId(1), since: NOW, progress: 0.5 };

    fn attempts(number: i64, max: i64) -> Attempts {
        Attempts { number, max, retry_delay_s: 1.5 }
    }

    #[test]
    fn retries_wait_twice_as_long_each_time_while_attempts_are_left() {
        let at = |number| attempts(number, 4).retry_at(NOW).map(|time| time.0);
        assert_eq!([at(1), at(2), at(3), at(4)], [Some(1_500_000), Some(3_000_000), Some(6_000_000), None]);
        let far = Attempts { number: 1_000, max: i64::MAX, retry_delay_s: 1.0 };
        assert_eq!(far.retry_at(NOW), Some(plus(NOW, RETRY_DELAY_MAX_S)));
    }

    #[test]
    fn a_lease_that_runs_out_frees_the_job_unless_its_retries_are_used_up() {
        let freed_by =
            |state: &State, number, max| expire(state, &attempts(number, max), NOW).map(|change| change.next);
        let free = Some(State::Created { holder: None });
        assert_eq!(freed_by(&State::Created { holder: Some(NodeId(1)) }, 9, 3), free);
        assert_eq!(freed_by(&STARTED, 1, 1), free);
        assert_eq!(freed_by(&STARTED, 2, 3), free);
        assert!(matches!(freed_by(&STARTED, 3, 3), Some(State::Errored { holder: None, .. })));
        assert_eq!(freed_by(&State::Created { holder: None }, 1, 1), None);
        let finished = State::Finished { holder: Some(NodeId(1)), since: NOW, ended: NOW };
        assert_eq!((freed_by(&finished, 1, 1), time_out(&finished, 1.0, NOW), retry(&finished)), (None, None, None));
    }

    #[test]
    fn an_errored_job_whose_lease_runs_out_is_free_and_still_errored() {
        let errored = |holder| State::Errored {
            holder,
            since: NOW,
            progress: 0.5,
            ended: Timestamp(5),
            reason: "boom".to_owned(),
        };
        let change = expire(&errored(Some(NodeId(1))), &attempts(3, 3), NOW).unwrap();
        assert_eq!((change.next, change.transition), (errored(None), Transition::Release));
        assert!(!change.removes_outputs);
        assert_eq!(expire(&errored(None), &attempts(3, 3), NOW), None);
    }

    #[test]
    fn a_lease_is_renewed_by_its_length_and_by_more_when_the_job_has_been_errored_for_longer() {
        let until =
            |sign, errored_since: Option<i64>| renewed_until(Timestamp(sign), 10.0, errored_since.map(Timestamp)).0;
        assert_eq!(until(5_000_000, None), 15_000_000);
        assert_eq!(until(5_000_000, Some(1_000_000)), 15_000_000);
        assert_eq!(until(25_000_000, Some(1_000_000)), 49_000_000);
        // The sign may have come before the error.
        assert_eq!(until(5_000_000, Some(6_000_000)), 15_000_000);
        assert_eq!(until(i64::MAX, Some(i64::MIN)), i64::MAX);
    }

    #[test]
    fn a_run_that_takes_too_long_is_errored_and_its_node_free() {
        let change = time_out(&STARTED, 2.5, NOW).unwrap();
        assert_eq!(change.next.error_reason(), Some("Timed out after 2.5 s"));
        assert_eq!((change.transition, change.node), (Transition::Error, NodeChange::Freed));
        assert_eq!(retry(&change.next).unwrap().next, State::Created { holder: None });
    }
}
