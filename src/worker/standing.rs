//! How a job stands, as seen by the run of it that a worker has.

use crate::domain::lifecycle::Phase;
use crate::wire::Job;

use super::spool::Run;

/// How a job stands to a run of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is given to this run, which has not started it.
    Held,
    /// It is this run that goes on.
    Running,
    /// This run ended well, and the server knows.
    Finished,
    /// This run ended with an error, and the server knows; or the server ended it, since it took too long.
    Errored(String),
    /// It was cancelled while this run had it.
    Cancelled,
    /// It is not this run's any more, for a reason.
    Lost(String),
}

impl Standing {
    /// Compares a job, as the server shows it, with a run.
    pub(crate) fn of(job: &Job, run: &Run) -> Self {
        if job.deletion_time.is_some() {
            return Self::Lost("the job was deleted".to_owned());
        }
        if job.attempt != run.attempt {
            return Self::Lost(format!("the job is at attempt {} by now", job.attempt));
        }
        let is_ours = job.node == Some(run.node);
        match job.phase {
            Phase::Cancelled if is_ours => Self::Cancelled,
            Phase::Cancelled => Self::Lost("the job was cancelled".to_owned()),
            Phase::Created if is_ours => Self::Held,
            Phase::Created => Self::Lost("the job was taken from this worker, and is free again".to_owned()),
            Phase::Started if is_ours => Self::Running,
            Phase::Finished if is_ours => Self::Finished,
            Phase::Errored => Self::Errored(job.error_reason.clone().unwrap_or_default()),
            Phase::Started | Phase::Finished => Self::Lost("another worker has the job".to_owned()),
        }
    }

    /// Says why a run must end; `None` while it may go on.
    pub(crate) fn ends_run(self) -> Option<String> {
        match self {
            Self::Running => None,
            Self::Held => Some("the job was reset".to_owned()),
            Self::Finished => Some("the job is finished already".to_owned()),
            Self::Errored(reason) => Some(format!("the server ended the job: {reason}")),
            Self::Cancelled => Some("the job was cancelled".to_owned()),
            Self::Lost(why) => Some(why),
        }
    }
}
