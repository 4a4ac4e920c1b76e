//! Which jobs this worker takes, and how it gets them.
//!
//! A worker takes jobs of templates that it can run, and no other: of its two executor classes, with the programs that
//! the template requires. The filter of the claim says so, so that no job is taken in vain; taking one and giving it
//! back would use up an attempt.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::command::{Style, required_programs};
use super::process::is_program;
use crate::client::{Client, ClientError};
use crate::domain::ids::TemplateId;
use crate::wire::Job;
use crate::wire::list::{ListSpec, exact, is_null};
use crate::wire::template::{Kind, Template, Workable};

/// How long a claim waits at the server, in seconds. After it, templates that are new are looked at.
const WAIT_S: f64 = 5.0;
/// The pause between two lists, at a server that does not know claims.
const POLL: Duration = Duration::from_secs(2);
/// How many free jobs are looked at in one list.
const LOOKED_AT: u32 = 20;
/// Most `required_packages` that a filter names; it may hold 200 expressions (contract §9).
const REQUIREMENTS_MAX: usize = 100;

/// How jobs are taken.
#[derive(Debug)]
pub(crate) struct Claims {
    /// What the operator asks for, as expressions of a filter.
    filter: Vec<Value>,
    lease_s: f64,
    once: bool,
    has_no_claim: AtomicBool,
    /// Whether a template can be run, by key: templates never change.
    runnable: Mutex<HashMap<TemplateId, bool>>,
}

impl Claims {
    pub(crate) fn new(filter: Vec<Value>, lease_s: f64, once: bool) -> Self {
        Self { filter, lease_s, once, has_no_claim: AtomicBool::new(false), runnable: Mutex::default() }
    }

    /// Waits for a job and takes it for the client's node. `None` when none came for a while; at once, when the worker
    /// is to end with the free jobs.
    pub(crate) async fn next(&self, client: &Client) -> Result<Option<Job>, ClientError> {
        if !self.has_no_claim.load(Ordering::Relaxed) {
            let mut expressions = self.filter.clone();
            expressions.extend(runnable_expressions(&self.met(client).await?));
            let wait_s = if self.once { 0.0 } else { WAIT_S };
            match client.claim(&json!({"expressions": expressions}), wait_s, self.lease_s).await {
                // To a server that does not know claims, this was a job with the key "claim".
                Err(error) if matches!(error.status(), Some(404 | 405)) => {
                    tracing::info!("the server does not know claims: its jobs are listed and acquired");
                    self.has_no_claim.store(true, Ordering::Relaxed);
                }
                other => return other,
            }
        }
        let found = self.list_and_acquire(client).await?;
        if found.is_none() && !self.once {
            tokio::time::sleep(POLL).await;
        }
        Ok(found)
    }

    /// Lists the `required_packages` that this machine meets.
    async fn met(&self, client: &Client) -> Result<Vec<String>, ClientError> {
        let mut required = exact("required_packages", "");
        required["invert"] = json!(true);
        let spec = ListSpec {
            include_inactive: true,
            ..ListSpec::default().with(of_our_classes("executor_class")).with(required)
        };
        let mut met: Vec<_> = client
            .templates(&spec)
            .await?
            .into_iter()
            .filter_map(|template| match template.kind {
                Kind::Workable(workable) if can_run(&workable).is_ok() => Some(workable.required_packages),
                Kind::Workable(_) | Kind::Meta(_) => None,
            })
            .collect();
        met.sort();
        met.dedup();
        if met.len() > REQUIREMENTS_MAX {
            tracing::warn!(
                "only the first {REQUIREMENTS_MAX} of {} different required_packages are looked for",
                met.len()
            );
            met.truncate(REQUIREMENTS_MAX);
        }
        Ok(met)
    }

    /// Takes the first free job by hand.
    async fn list_and_acquire(&self, client: &Client) -> Result<Option<Job>, ClientError> {
        let mut free = ListSpec::default().with(exact("phase", "created")).with(is_null("node")).limit(LOOKED_AT);
        free.expressions.extend(self.filter.iter().cloned());
        for job in client.jobs(&free).await? {
            if !self.is_runnable(client, job.template.pk).await? {
                continue;
            }
            match client.acquire_for(job.pk, self.lease_s).await {
                Ok(job) => return Ok(Some(job)),
                // Another worker was faster.
                Err(error) if matches!(error.status(), Some(403 | 404 | 406)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn is_runnable(&self, client: &Client, template: TemplateId) -> Result<bool, ClientError> {
        let known = |runnable: &HashMap<_, _>| runnable.get(&template).copied();
        if let Some(known) = known(&self.runnable.lock().unwrap_or_else(std::sync::PoisonError::into_inner)) {
            return Ok(known);
        }
        let is_runnable = match client.template(template).await {
            Ok(template) => workable(template).is_some_and(|workable| can_run(&workable).is_ok()),
            // It was deleted for good meanwhile, and its jobs with it.
            Err(error) if error.status() == Some(404) => return Ok(false),
            Err(error) => return Err(error),
        };
        self.runnable.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(template, is_runnable);
        Ok(is_runnable)
    }
}

/// Gives what a template has that makes workable jobs.
pub(crate) fn workable(template: Template) -> Option<Workable> {
    match template.kind {
        Kind::Workable(workable) => Some(workable),
        Kind::Meta(_) => None,
    }
}

/// Says how this machine would run the jobs of a template.
///
/// # Errors
/// A sentence that says why it can't.
pub(crate) fn can_run(template: &Workable) -> Result<Style, String> {
    let style = Style::of(&template.executor_class);
    let style = style
        .ok_or_else(|| format!("jobs of the executor class {:?} are for other workers", template.executor_class))?;
    match required_programs(&template.required_packages).find(|program| !is_program(program)) {
        Some(program) => {
            Err(format!("the program {program:?}, which the template requires, is not on this worker's PATH"))
        }
        None => Ok(style),
    }
}

/// Tests that a field is one of the executor classes of this worker.
fn of_our_classes(field: &str) -> Value {
    json!({"type": "or", "sub_expressions": Style::ALL.map(|style| exact(field, style.executor_class()))})
}

/// Tests that a job's template can be run here, `met` being the `required_packages` that are.
fn runnable_expressions(met: &[String]) -> [Value; 2] {
    let required: Vec<_> = std::iter::once("").chain(met.iter().map(String::as_str)).collect();
    let required: Vec<_> = required.into_iter().map(|text| exact("template.required_packages", text)).collect();
    [of_our_classes("template.executor_class"), json!({"type": "or", "sub_expressions": required})]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_templates_of_our_classes_with_programs_that_are_here_can_be_run() {
        let template = |class: &str, packages: &str| Workable {
            contract: String::new(),
            executor_class: class.to_owned(),
            required_packages: packages.to_owned(),
            parameters: BTreeMap::new(),
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            body: String::new(),
        };
        assert_eq!(can_run(&template("labrun.Command", "sh")), Ok(Style::Command));
        assert_eq!(can_run(&template("labrun.Shell", "")), Ok(Style::Shell));
        assert!(can_run(&template("lab.Assay", "")).is_err());
        assert!(
            can_run(&template("labrun.Command", "sh, no-such-program-here")).unwrap_err().contains("no-such-program")
        );
    }

    #[test]
    fn the_filter_is_one_that_the_server_reads() {
        let [class, required] = runnable_expressions(&["awk".to_owned()]);
        assert_eq!(class["sub_expressions"][1], exact("template.executor_class", "labrun.Shell"));
        assert_eq!(required["sub_expressions"][0], exact("template.required_packages", ""));
        assert_eq!(required["sub_expressions"][1]["value"], "awk");
    }
}
