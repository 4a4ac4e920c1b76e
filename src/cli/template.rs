//! `labrun template`: job templates and their documents.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::connect::Connection;
use super::exit::{self, Exit, Failure};
use super::job::which::TemplateName;
use super::screen::table::{Column, Table};
use super::screen::text::{age, moment, plain, plain_lines};
use super::screen::{Look, Screen};
use crate::client::{Client, ClientError};
use crate::domain::ids::TemplateId;
use crate::domain::template as document;
use crate::domain::time::{Clock, SystemClock};
use crate::wire::Template as Row;
use crate::wire::list::{ListSpec, exact};
use crate::wire::template::{Kind, Meta, Workable};

/// List, show, import and export job templates.
#[derive(Debug, Args)]
#[command(after_help = exit::help("labrun template import *.json --unless-there"))]
pub(super) struct Template {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List templates, by name and version
    List {
        /// Only those whose name holds this
        name: Option<String>,
        /// Deleted ones too
        #[arg(long)]
        deleted: bool,
    },
    /// Show a template: what it takes, what it makes
    Show {
        /// Name (the newest version), NAME@VERSION or key
        template: String,
    },
    /// Import template documents. One of a name and version that are there takes the place of that template. For staff
    Import {
        /// Files of JSON; `-` is stdin
        #[arg(required = true)]
        file: Vec<PathBuf>,
        /// Pass over documents that the server has in equal form
        #[arg(long)]
        unless_there: bool,
    },
    /// Print the document that imports as a template. For staff
    Export {
        /// Name (the newest version), NAME@VERSION or key
        template: String,
        /// Write it to a file, which must not be there yet
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Delete templates; their jobs stay. They can be restored unless --hard is said. For staff
    Delete {
        /// Name (the newest version), NAME@VERSION or key
        #[arg(required = true)]
        template: Vec<String>,
        /// For good; only possible when it has no jobs
        #[arg(long)]
        hard: bool,
    },
    /// Restore deleted templates. For staff
    Restore {
        /// Keys, as `labrun template list --deleted` shows them
        #[arg(required = true, value_parser = super::key)]
        pk: Vec<i64>,
    },
}

impl Template {
    pub(super) async fn run(self) -> anyhow::Result<Exit> {
        let (screen, client) = (self.look.screen(), self.connection.client().await?);
        match self.action {
            Action::List { name, deleted } => list(&client, screen, name, deleted).await?,
            Action::Show { template } => show(&client, screen, &template).await?,
            Action::Import { file, unless_there } => {
                let mut imported = Vec::new();
                for file in file {
                    let (template, is_new) = match unless_there {
                        true => import_unless_there(&file, &client).await?,
                        false => (client.import_template(&read(&file)?).await?, true),
                    };
                    let replaced = if is_new { replaced_by(&template, &client).await } else { None };
                    if !screen.wants_json() {
                        screen.line(&import_sentence(&template, is_new, replaced))?;
                    }
                    let mut shown = serde_json::to_value(template)?;
                    shown["replaced"] = replaced.map(|replaced| replaced.0).into();
                    imported.push(shown);
                }
                if screen.wants_json() {
                    screen.json(&Value::Array(imported))?;
                }
            }
            Action::Export { template, output } => export(&client, screen, &template, output.as_deref()).await?,
            Action::Delete { template, hard } => {
                for named in template {
                    let pk = find(&named, &client, hard).await?.pk;
                    client
                        .json("DELETE", &format!("/v1/job-templates/{pk}{}", if hard { "/hard" } else { "" }), None)
                        .await?;
                    say(screen, &client, pk.0, if hard { None } else { Some("deleted") }).await?;
                }
            }
            Action::Restore { pk } => {
                for pk in pk {
                    client.json("POST", &format!("/v1/job-templates/{pk}/reinstate"), None).await?;
                    say(screen, &client, pk, Some("restored")).await?;
                }
            }
        }
        Ok(Exit::Done)
    }
}

/// Says what became of a template; without a word it is gone for good.
async fn say(screen: Screen, client: &Client, pk: i64, what: Option<&str>) -> anyhow::Result<()> {
    match (screen.wants_json(), what) {
        (true, Some(_)) => screen.json(&client.json("GET", &format!("/v1/job-templates/{pk}"), None).await?)?,
        (true, None) => screen.json(&json!({"pk": pk}))?,
        (false, what) => screen.line(&format!("template {pk} {}", what.unwrap_or("deleted for good")))?,
    }
    Ok(())
}

/// Finds a template by what it is called on the command line.
pub(super) async fn find(named: &str, client: &Client, deleted_too: bool) -> anyhow::Result<Row> {
    let name = TemplateName::from(named);
    if let TemplateName::Pk(pk) = name {
        return client.template(TemplateId(pk)).await.with_context(|| format!("template {pk}"));
    }
    let mut spec = name.tests("").into_iter().fold(ListSpec::default(), ListSpec::with);
    spec.include_inactive = deleted_too;
    let newest = client.templates(&spec.order_by("version", false).limit(1)).await?.into_iter().next();
    newest.ok_or_else(|| TemplateName::not_found(named))
}

const COLUMNS: &[Column] = &[
    Column::number("PK"),
    Column::text("NAME").down_to(10),
    Column::number("VERSION"),
    Column::text("KIND").rank(1),
    Column::text("TAKES").down_to(12).rank(2),
    Column::number("AGE").rank(3),
    Column::text("DESCRIPTION").down_to(12).rank(4),
];

async fn list(client: &Client, screen: Screen, name: Option<String>, deleted: bool) -> anyhow::Result<()> {
    let holds =
        name.map(|name| json!({"type": "contains", "field": "name", "sub_string": name, "case_insensitive": true}));
    let order = json!([{"field": "name"}, {"field": "version"}]);
    let spec = json!({
        "expressions": holds.into_iter().collect::<Vec<_>>(), "order_by": order, "include_inactive": deleted,
    });
    let rows = client.json("POST", "/v1/job-templates/list", Some(&spec)).await?;
    if screen.wants_json() {
        return Ok(screen.json(&rows)?);
    }
    let (mut table, now) = (Table::new(COLUMNS), SystemClock.now());
    for template in serde_json::from_value::<Vec<Row>>(rows)? {
        let (kind, takes) = match &template.kind {
            Kind::Workable(workable) => {
                ("job", workable.inputs.keys().map(|name| plain(name)).collect::<Vec<_>>().join(", "))
            }
            Kind::Meta(meta) => ("workflow", format!("{} children", meta.nodes.len())),
        };
        let deleted = if template.deletion_time.is_some() { ", deleted" } else { "" };
        table.row([
            template.pk.into(),
            plain(&template.name).into(),
            template.version.into(),
            format!("{kind}{deleted}").into(),
            takes.into(),
            age(template.creation_time, now).into(),
            plain(&template.description).into(),
        ]);
    }
    Ok(screen.table(&table, "templates")?)
}

async fn show(client: &Client, screen: Screen, named: &str) -> anyhow::Result<()> {
    let template = find(named, client, true).await?;
    if screen.wants_json() {
        return Ok(screen.json(&client.json("GET", &format!("/v1/job-templates/{}", template.pk), None).await?)?);
    }
    let now = SystemClock.now();
    let mut pairs = vec![
        ("template", format!("{}@{} (key {})", plain(&template.name), template.version, template.pk)),
        ("description", plain_lines(&template.description)),
        ("scope", plain(&template.scope)),
        ("domain", plain(template.domain.as_deref().unwrap_or_default())),
        ("imported", moment(Some(template.creation_time), now)),
        ("deleted", moment(template.deletion_time, now)),
    ];
    match &template.kind {
        Kind::Workable(workable) => {
            pairs.extend([
                ("contract", plain(&workable.contract)),
                ("executor", plain(&workable.executor_class)),
                ("packages", plain_lines(&workable.required_packages)),
                ("body", plain_lines(&workable.body)),
            ]);
            screen.pairs(&pairs)?;
            show_workable(screen, workable)
        }
        Kind::Meta(meta) => {
            screen.pairs(&pairs)?;
            show_meta(screen, meta)
        }
    }
}

fn show_workable(screen: Screen, workable: &Workable) -> anyhow::Result<()> {
    let columns =
        |title| [Column::text(title), Column::text("TYPES").down_to(12), Column::text("HELP").down_to(16).rank(1)];
    let mut inputs = Table::new(&columns("INPUT"));
    for (name, input) in &workable.inputs {
        inputs.row([plain(name).into(), plain(&input.types.join(", ")).into(), plain(&input.help).into()]);
    }
    let [name, types, help] = columns("PARAMETER");
    let mut parameters = Table::new(&[name, types, Column::text("DEFAULT").down_to(8), help]);
    for (name, parameter) in &workable.parameters {
        let default = match (&parameter.default, parameter.is_const) {
            (Some(default), Some(true)) => format!("{default} (fixed)"),
            (Some(default), _) => default.to_string(),
            (None, _) => "needed".to_owned(),
        };
        let types = plain(&parameter.types.join(", "));
        parameters.row([plain(name).into(), types.into(), plain(&default).into(), plain(&parameter.help).into()]);
    }
    let mut outputs = Table::new(&columns("OUTPUT"));
    for (name, output) in &workable.outputs {
        outputs.row([plain(name).into(), plain(&output.type_name).into(), plain(&output.help).into()]);
    }
    for table in [inputs, parameters, outputs].iter().filter(|table| !table.is_empty()) {
        screen.line("")?;
        screen.table(table, "")?;
    }
    Ok(())
}

fn show_meta(screen: Screen, meta: &Meta) -> anyhow::Result<()> {
    let columns = [Column::text("CHILD"), Column::text("TEMPLATE").down_to(10), Column::text("WAITS FOR").down_to(12)];
    let mut children = Table::new(&columns);
    for (name, child) in &meta.nodes {
        let waits = meta.dependencies.iter().filter(|dependency| dependency.to_node == *name);
        let waits: Vec<String> = waits.map(|dependency| plain(&dependency.from_node)).collect();
        let version = child.version.map_or(String::new(), |version| format!("@{version}"));
        children.row([plain(name).into(), format!("{}{version}", plain(&child.name)).into(), waits.join(", ").into()]);
    }
    screen.line("")?;
    Ok(screen.table(&children, "children")?)
}

async fn export(client: &Client, screen: Screen, named: &str, output: Option<&Path>) -> anyhow::Result<()> {
    let template = find(named, client, true).await?;
    let text = serde_json::to_string_pretty(&client.export_template(template.pk).await?)?;
    match output {
        None => Ok(screen.line(&text)?),
        Some(file) => {
            let made = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
            let written =
                made.and_then(|mut made| std::io::Write::write_all(&mut made, format!("{text}\n").as_bytes()));
            written.with_context(|| format!("{} can't be written", file.display()))
        }
    }
}

/// Reads a document.
fn read(file: &Path) -> anyhow::Result<Value> {
    let text =
        if file == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
    let text = text.with_context(|| format!("the template document {} can't be read", file.display()))?;
    serde_json::from_str(&text)
        .map_err(|error| Failure::usage(format!("the template document {} is no JSON: {error}", file.display())))
}

/// Imports a document unless the server has an equal one, which it gives then. Says whether it was imported.
pub(super) async fn import_unless_there(file: &Path, client: &Client) -> anyhow::Result<(Row, bool)> {
    let given = read(file)?;
    // What can't be read here may still be good for a newer server: it says what is wrong.
    let parsed = given.as_object().and_then(|object| document::import(object).ok());
    if let Some(parsed) = parsed
        && let Some(template) = there(&parsed, client).await?
    {
        return Ok((template, false));
    }
    let template = client.import_template(&given).await;
    let needs_staff = |error: &ClientError| error.status() == Some(403);
    let template = template.map_err(|error| match needs_staff(&error) {
        true => Failure::refused(format!(
            "only staff import templates, or compare {} with one that is there; name one in its place, of those that \
             `labrun template list` shows",
            file.display()
        )),
        false => error.into(),
    })?;
    Ok((template, true))
}

/// Gives the template that an import replaced. The answer to the import does not say so, but the one was deleted in the
/// same transaction as the other was made, and therefore at the same time.
pub(super) async fn replaced_by(new: &Row, client: &Client) -> Option<TemplateId> {
    let mut spec = ListSpec::default().with(exact("name", new.name.as_str())).with(exact("version", new.version));
    spec.include_inactive = true;
    // The import went well. That this can't be told is no reason to say that it failed.
    let namesakes = client.templates(&spec).await.unwrap_or_default();
    let replaced = namesakes.iter().find(|other| other.deletion_time == Some(new.creation_time) && other.pk != new.pk);
    replaced.map(|replaced| replaced.pk)
}

/// Says what came of a document.
pub(super) fn import_sentence(template: &Row, is_new: bool, replaced: Option<TemplateId>) -> String {
    let what = if is_new { "imported as" } else { "is there already as" };
    let about = format!("template {} {what} {}@{}", template.pk, plain(&template.name), template.version);
    match replaced {
        Some(replaced) => format!("{about}; it replaces template {replaced}"),
        None => about,
    }
}

/// Gives the template on the server that equals a document: the one of its version, or the newest when it names none.
async fn there(parsed: &document::Template, client: &Client) -> anyhow::Result<Option<Row>> {
    let mut spec = ListSpec::default().with(exact("name", parsed.name.as_str()));
    if let Some(version) = parsed.version {
        spec = spec.with(exact("version", version));
    }
    let newest = client.templates(&spec.order_by("version", false).limit(1)).await?.into_iter().next();
    let Some(template) = newest else { return Ok(None) };
    let exported = match client.export_template(template.pk).await {
        Ok(exported) => exported,
        // Only staff see documents. Others are told that it can't be imported, unless the server has it.
        Err(error) if error.status() == Some(403) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let exported: Map<String, Value> = exported.as_object().cloned().unwrap_or_default();
    let own = document::import(&exported).ok();
    let is_equal = own.is_some_and(|own| document::Template { version: parsed.version, ..own } == *parsed);
    Ok(is_equal.then_some(template))
}
