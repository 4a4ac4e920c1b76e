//! `labrun job submit`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::inputs::{self, Given};
use super::watch::watch;
use crate::cli::exit::{Exit, Failure};
use crate::cli::screen::Screen;
use crate::cli::screen::text::plain;
use crate::cli::template;
use crate::client::Client;
use crate::wire::Template;
use crate::wire::job::NewJob;

/// Make a job from a template.
///
/// The template is named by its name (the newest version), NAME@VERSION or key, or is the path of a template document,
/// which is imported if the server does not have it yet; that takes staff.
///
/// An input is NAME=TEXT, NAME=@FILE (the file's bytes go to the server, unless it has them), NAME=job:PK/OUTPUT
/// (another job's output), or NAME:=JSON. Inputs of a meta-job's children are CHILD:NAME.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    labrun job submit peaks --input chromatogram=@run7.csv --param window_points=21 --watch\n  \
    labrun job submit examples/data/peaks.json --input chromatogram=@examples/data/chromatogram.csv\n  \
    labrun job submit fit@3 --input peaks=job:12/peaks --label plate=7 --priority 5")]
pub(super) struct Submit {
    /// Name, NAME@VERSION or key of the template, or the path of a template document
    template: String,

    /// Value of an input
    #[arg(long, short, value_name = "NAME=VALUE")]
    input: Vec<Given>,

    /// Value of a parameter
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = pair)]
    param: Vec<(String, String)>,

    /// What people should read about the job
    #[arg(long, short, value_name = "TEXT")]
    description: Option<String>,

    /// Marks the job, for lists
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,

    /// Who goes first: jobs with a higher number [default: 0]
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    priority: Option<i64>,

    /// How often it is tried when it errors [default: 1]
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(1..))]
    max_attempts: Option<i64>,

    /// Seconds before it is tried again, doubled each time
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    retry_delay: Option<f64>,

    /// Seconds that a run may take
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true, value_parser = seconds)]
    timeout: Option<f64>,

    /// Keep it from all nodes until `labrun job unhold`
    #[arg(long)]
    hold: bool,

    /// The same key and job give the same job, however often they are sent
    #[arg(long, value_name = "TEXT")]
    idempotency_key: Option<String>,

    /// Watch it to its end, and end as `labrun job watch` does
    #[arg(long, short)]
    watch: bool,
}

/// Reads a span of time. What is too long for the server it says itself.
fn seconds(text: &str) -> Result<f64, &'static str> {
    let is_span = |seconds: &f64| seconds.is_finite() && *seconds >= 0.0;
    text.parse().ok().filter(is_span).ok_or("write a number of seconds, such as 60 or 0.5")
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or("write NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Makes a map of pairs; a name that comes twice is a mistake.
fn map(pairs: Vec<(String, String)>, of: &str) -> anyhow::Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for (name, value) in pairs {
        if map.insert(name.clone(), value).is_some() {
            return Err(Failure::usage(format!("the {of} {} is given twice", plain(&name))));
        }
    }
    Ok(map)
}

impl Submit {
    pub(super) async fn run(self, client: &Client, screen: Screen) -> anyhow::Result<Exit> {
        let parameters = map(self.param, "parameter")?;
        let labels = map(self.label, "label")?;
        let template = resolve(&self.template, client, screen).await?;
        let interface = inputs::interface(&template, client).await?;
        let with_type = |(name, text): (String, String)| {
            let value = interface.parameter(&name, text);
            (name, value)
        };
        let job = NewJob {
            input_values: inputs::values(&self.input, &template, &interface, client).await?,
            parameter_values: parameters.into_iter().map(with_type).collect(),
            description: self.description,
            priority: self.priority,
            max_attempts: self.max_attempts,
            retry_delay: self.retry_delay,
            timeout: self.timeout,
            hold: self.hold,
            labels,
        };
        let made = match &self.idempotency_key {
            Some(key) => client.create_job_once(template.pk, &job, key).await?,
            None => client.create_job(template.pk, &job).await?,
        };
        if !screen.wants_json() {
            let made_of = format!("{}@{}", plain(&made.template.name), made.template.version);
            screen.line(&format!("job {} made from {made_of}", made.pk))?;
        }
        if self.watch {
            return watch(&[made.pk], Duration::from_secs(300), client, screen).await;
        }
        if screen.wants_json() {
            screen.json(&serde_json::to_value(&made)?)?;
        } else {
            screen.note(&format!("`labrun job watch {}` shows how it gets on", made.pk));
        }
        Ok(Exit::Done)
    }
}

/// Finds the template that was named, or imports the document that was.
async fn resolve(named: &str, client: &Client, screen: Screen) -> anyhow::Result<Template> {
    let looks_like_a_path = named.contains('/') || named.ends_with(".json");
    if looks_like_a_path || (Path::new(named).is_file() && named.parse::<i64>().is_err()) {
        let (template, is_new) = template::import_unless_there(Path::new(named), client).await?;
        if is_new && !screen.wants_json() {
            let replaced = template::replaced_by(&template, client).await;
            screen.line(&template::import_sentence(&template, is_new, replaced))?;
        }
        return Ok(template);
    }
    template::find(named, client, false).await
}
