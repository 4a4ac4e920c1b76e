//! Contract §5 once more, as plainly as it can be told: what a job and its nodes are, and what each call makes of them.

use serde_json::{Value, json};

/// Nodes of a history; the last belongs to another user.
pub(crate) const NODES: usize = 3;

/// The keys on the server of what a history plays with.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nodes: Vec<i64>,
    pub(crate) jobs: Vec<i64>,
}

/// One call.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) verb: Verb,
    pub(crate) caller: Caller,
    /// The job, in order of creation.
    pub(crate) job: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verb {
    /// One of those that the job's phase allows, as the model resolves it.
    Onward {
        choice: u8,
    },
    Create,
    Acquire,
    Release,
    Start,
    Progress {
        quarters: u8,
    },
    Finish {
        fails: bool,
    },
    Reset,
    Abort,
    Cancel,
    SoftDelete,
    Reinstate,
    HardDelete,
    AddOutput {
        name: usize,
        content: usize,
    },
    DeleteOutput {
        name: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Caller {
    /// Staff for staff's verbs, the job's holder for a node's, else the first node.
    Fitting,
    /// An ordinary user for no node.
    User,
    /// The owner of a node, for it.
    Node(usize),
    Staff,
    StaffFor(usize),
    /// A user for somebody else's node.
    Thief,
}

impl Caller {
    fn node(self) -> Option<usize> {
        match self {
            Self::Node(node) | Self::StaffFor(node) => Some(node),
            Self::Fitting | Self::User | Self::Staff | Self::Thief => None,
        }
    }

    fn is_staff(self) -> bool {
        matches!(self, Self::Staff | Self::StaffFor(_))
    }
}

impl Verb {
    /// A short name.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Onward { .. } => "onward",
            Self::Create => "create",
            Self::Acquire => "acquire",
            Self::Release => "release",
            Self::Start => "start",
            Self::Progress { .. } => "progress",
            Self::Finish { .. } => "finish",
            Self::Reset => "reset",
            Self::Abort => "abort",
            Self::Cancel => "cancel",
            Self::SoftDelete => "delete",
            Self::Reinstate => "reinstate",
            Self::HardDelete => "hard",
            Self::AddOutput { .. } => "output",
            Self::DeleteOutput { .. } => "no output",
        }
    }

    /// The method, the path behind the job's, and a JSON body.
    pub(crate) fn request(&self, names: &[&str]) -> (&'static str, String, Option<Value>) {
        let tail = |text: &str| text.to_owned();
        match self {
            Self::Onward { .. } => unreachable!("the model has named a verb"),
            Self::Create => ("POST", tail(""), None),
            Self::Acquire => ("GET", tail("/acquire"), None),
            Self::Release => ("DELETE", tail("/release"), None),
            Self::Start => ("POST", tail("/start"), None),
            Self::Progress { quarters } => ("POST", format!("/progress/{}", f64::from(*quarters) / 4.0), None),
            Self::Finish { fails: false } => ("POST", tail("/finish"), Some(json!({"success": true}))),
            Self::Finish { fails: true } => ("POST", tail("/finish"), Some(json!({"error": "it broke"}))),
            Self::Reset => ("DELETE", tail("/reset"), None),
            Self::Abort => ("DELETE", tail("/abort"), None),
            Self::Cancel => ("DELETE", tail("/cancel"), None),
            Self::SoftDelete => ("DELETE", tail(""), None),
            Self::Reinstate => ("DELETE", tail("/reinstate"), None),
            Self::HardDelete => ("DELETE", tail("/hard"), None),
            Self::AddOutput { name, .. } => ("POST", format!("/outputs/{}/t", names[*name]), None),
            Self::DeleteOutput { name } => ("DELETE", format!("/outputs/{}/t", names[*name]), None),
        }
    }

    fn is_staffs(&self) -> bool {
        match self {
            Self::Abort | Self::Cancel | Self::SoftDelete | Self::Reinstate | Self::HardDelete => true,
            Self::DeleteOutput { .. } => true,
            Self::Onward { .. } | Self::Create | Self::Acquire | Self::Release | Self::Start => false,
            Self::Progress { .. } | Self::Finish { .. } | Self::Reset | Self::AddOutput { .. } => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Phase {
    Created,
    Started,
    Errored,
    Finished,
    Cancelled,
}

impl Phase {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::Errored => "errored",
            Self::Finished => "finished",
            Self::Cancelled => "cancelled",
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Job {
    pub(crate) phase: Phase,
    pub(crate) holder: Option<usize>,
    pub(crate) progress: f64,
    pub(crate) deleted: bool,
    /// Live outputs in order: name and content.
    pub(crate) outputs: Vec<(usize, usize)>,
}

/// All that the contract knows of these jobs and nodes.
#[derive(Debug)]
pub(crate) struct Model {
    /// `None` once it is hard-deleted.
    pub(crate) jobs: Vec<Option<Job>>,
    /// What each node works on.
    pub(crate) current: [Option<usize>; NODES],
}

impl Default for Model {
    fn default() -> Self {
        Self { jobs: Vec::new(), current: [None; NODES] }
    }
}

impl Model {
    /// Says what the call is and who makes it.
    pub(crate) fn resolve(&self, step: &Step) -> (Verb, Caller) {
        let job = self.jobs.get(step.job).and_then(Option::as_ref);
        let verb = match step.verb {
            Verb::Onward { choice } => job.map_or(Verb::Create, |job| onward(job, choice)),
            ref verb => verb.clone(),
        };
        if step.caller != Caller::Fitting {
            return (verb, step.caller);
        }
        if verb.is_staffs() {
            return (verb, Caller::Staff);
        }
        // A free job goes to a node that is free, too.
        let free = self.current.iter().position(Option::is_none);
        let holder = job.and_then(|job| job.holder).or(free);
        (verb, Caller::Node(holder.unwrap_or(0)))
    }

    /// Does a step and gives the status that it is answered with.
    pub(crate) fn take(&mut self, step: &Step, caller: Caller) -> u16 {
        if step.verb == Verb::Create {
            let fresh = Job { phase: Phase::Created, holder: None, progress: 0.0, deleted: false, outputs: Vec::new() };
            self.jobs.push(Some(fresh));
            return 200;
        }
        let Some(job) = self.jobs[step.job].clone() else { return 404 };
        let mut after = job;
        match self.judge(step, caller, &mut after) {
            Ok(status) => {
                if let Some(slot) = self.jobs[step.job].as_mut() {
                    *slot = after;
                }
                self.check();
                status
            }
            Err(status) => status,
        }
    }

    /// The table. `Err` leaves the job as it was.
    fn judge(&mut self, step: &Step, caller: Caller, job: &mut Job) -> Result<u16, u16> {
        let node = caller.node();
        let holds = node.is_some() && job.holder == node;
        let works = node.is_some_and(|node| self.current[node] == Some(step.job));
        let permitted = caller != Caller::Thief
            && match &step.verb {
                Verb::Onward { .. } | Verb::Create => true,
                Verb::Acquire => node.is_some(),
                Verb::Start | Verb::Progress { .. } | Verb::Reset => holds,
                Verb::Release | Verb::Finish { .. } => holds || works,
                Verb::AddOutput { .. } => holds || caller.is_staff(),
                Verb::Abort | Verb::Cancel | Verb::SoftDelete | Verb::Reinstate => caller.is_staff(),
                Verb::HardDelete | Verb::DeleteOutput { .. } => caller.is_staff(),
            };
        if !permitted {
            return Err(403);
        }
        if let Some(status) = self.staffs_rows(step, job)? {
            return Ok(status);
        }
        let is_finish = matches!(step.verb, Verb::Finish { .. });
        if is_finish && works && (job.deleted || !holds) {
            self.current[node.ok_or(403_u16)?] = None;
            return Ok(200);
        }
        if job.deleted {
            return Err(406);
        }
        self.lifecycle(step, node, works, holds, job)
    }

    /// Deleting, in all its forms: `Some` when the verb is one of them.
    fn staffs_rows(&mut self, step: &Step, job: &mut Job) -> Result<Option<u16>, u16> {
        match step.verb {
            Verb::SoftDelete => {
                job.deleted = true;
                Ok(Some(204))
            }
            Verb::Reinstate => {
                job.deleted = false;
                Ok(Some(200))
            }
            Verb::HardDelete => {
                self.jobs[step.job] = None;
                for current in &mut self.current {
                    if *current == Some(step.job) {
                        *current = None;
                    }
                }
                Ok(Some(200))
            }
            Verb::DeleteOutput { name } => {
                let there = job.outputs.iter().position(|(its, _)| *its == name).ok_or(404_u16)?;
                job.outputs.remove(there);
                Ok(Some(200))
            }
            _ => Ok(None),
        }
    }

    /// The table of contract §5, row by row.
    fn lifecycle(
        &mut self,
        step: &Step,
        node: Option<usize>,
        works: bool,
        holds: bool,
        job: &mut Job,
    ) -> Result<u16, u16> {
        use Phase::{Cancelled, Created, Errored, Finished, Started};
        match (&step.verb, job.phase) {
            (Verb::Acquire, Created | Started | Errored) if job.holder == node => {}
            (Verb::Acquire, Created | Errored) if job.holder.is_none() => job.holder = node,
            (Verb::Release, Created | Errored) if holds => job.holder = None,
            (Verb::Start, Created) => {
                let node = node.ok_or(403_u16)?;
                if self.current[node].is_some() {
                    return Err(406);
                }
                self.current[node] = Some(step.job);
                (job.phase, job.progress) = (Started, 0.0);
            }
            (Verb::Progress { quarters }, Started) => job.progress = f64::from(*quarters) / 4.0,
            (Verb::Finish { fails }, Started) => {
                self.current[node.ok_or(403_u16)?] = None;
                job.phase = if *fails { Errored } else { Finished };
                if !fails {
                    job.progress = 1.0;
                }
            }
            (Verb::Finish { .. }, Cancelled) => {
                if works {
                    self.current[node.ok_or(403_u16)?] = None;
                }
            }
            (Verb::Reset, Errored) => {
                (job.phase, job.progress) = (Created, 0.0);
                job.outputs.clear();
            }
            (Verb::Abort, Created | Started | Errored) => {
                (job.phase, job.progress, job.holder) = (Created, 0.0, None);
                job.outputs.clear();
            }
            (Verb::Cancel, Created | Started | Errored) => job.phase = Cancelled,
            (Verb::Cancel, Finished | Cancelled) => {}
            (Verb::AddOutput { name, content }, Started) => return add(job, *name, *content),
            (Verb::AddOutput { name, content }, Cancelled) if works => return add(job, *name, *content),
            _ => return Err(406),
        }
        Ok(200)
    }

    /// What must hold whatever happens.
    fn check(&self) {
        for (index, job) in self.jobs.iter().enumerate() {
            let Some(job) = job else { continue };
            if job.phase == Phase::Started {
                let workers = self.current.iter().filter(|current| **current == Some(index)).count();
                assert!(workers >= 1 && job.holder.is_some(), "a job runs and nobody works on it: {self:?}");
                let holder = job.holder.expect("just seen");
                assert_eq!(self.current[holder], Some(index), "a job runs and its holder works on another: {self:?}");
            }
        }
    }
}

/// Adds an output, again, or not.
fn add(job: &mut Job, name: usize, content: usize) -> Result<u16, u16> {
    match job.outputs.iter().find(|(its, _)| *its == name) {
        Some((_, there)) if *there == content => Ok(200),
        Some(_) => Err(400),
        None => {
            job.outputs.push((name, content));
            Ok(200)
        }
    }
}

/// Picks a verb that makes sense for a job.
fn onward(job: &Job, choice: u8) -> Verb {
    let pick = |verbs: &[Verb]| verbs[usize::from(choice) % verbs.len()].clone();
    if job.deleted {
        return pick(&[Verb::Reinstate, Verb::Finish { fails: false }]);
    }
    let content = usize::from(choice / 16 % 2);
    match (job.phase, job.holder) {
        (Phase::Created, None) => Verb::Acquire,
        (Phase::Created, Some(_)) => pick(&[Verb::Start, Verb::Start, Verb::Start, Verb::Release]),
        (Phase::Started, _) => pick(&[
            Verb::Progress { quarters: choice % 5 },
            Verb::AddOutput { name: 0, content },
            Verb::AddOutput { name: 0, content },
            Verb::AddOutput { name: 0, content: 1 - content },
            Verb::AddOutput { name: 1, content },
            Verb::Finish { fails: true },
            Verb::Finish { fails: true },
            Verb::Finish { fails: false },
            Verb::Abort,
            Verb::Cancel,
        ]),
        (Phase::Errored, None) => Verb::Acquire,
        (Phase::Errored, Some(_)) => pick(&[Verb::Reset, Verb::Reset, Verb::Release, Verb::Abort, Verb::Cancel]),
        (Phase::Finished | Phase::Cancelled, _) => {
            let add = Verb::AddOutput { name: 1, content };
            pick(&[Verb::Finish { fails: false }, add, Verb::HardDelete, Verb::Abort, Verb::Acquire])
        }
    }
}
