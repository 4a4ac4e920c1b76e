//! Which child is due: the one whose inputs from siblings are all there.

use serde_json::{Map, Value, json};

use super::Edge;
use crate::domain::ids::OutputId;
use crate::domain::types::{is_subtype, parse, takes};

/// A live output of a finished child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub pk: OutputId,
    /// Its name.
    pub name: String,
    /// Its type, as it was given at the upload.
    pub type_name: String,
}

/// What there is of the child that an edge comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// It is not made yet, or has not finished.
    Unfinished,
    /// It has finished, with these outputs in order of their keys.
    Finished(Vec<Found>),
}

/// An edge with what there is of its source.
#[derive(Debug, Clone)]
pub struct Feed<'a> {
    /// The edge.
    pub edge: &'a Edge,
    /// Its source.
    pub source: &'a Source,
}

/// An output that should be there and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// The child that finished without it.
    pub child: String,
    /// The output's name.
    pub output: String,
    /// The sibling that needs it.
    pub sibling: String,
}

/// Whether a child can be made.
#[derive(Debug, Clone, PartialEq)]
pub enum Readiness {
    /// It waits for a sibling.
    Waits,
    /// All its inputs are there: those that siblings feed, `{name: {value, type}}`.
    Ready(Map<String, Value>),
    /// It never can be, since a sibling finished without an output that it needs.
    Lacks(Lack),
}

/// Says whether a child can be made, from all the edges that lead to it.
pub fn readiness(feeds: &[Feed<'_>]) -> Readiness {
    let mut inputs = Map::new();
    let mut waits = false;
    for Feed { edge, source } in feeds {
        match source {
            Source::Unfinished => waits = true,
            Source::Finished(outputs) => match chosen(edge, outputs) {
                Some(output) => {
                    inputs.insert(edge.to_input.clone(), passed_on(output));
                }
                None => {
                    let (child, output) = (edge.from_node.clone(), edge.from_output.name().to_owned());
                    return Readiness::Lacks(Lack { child, output, sibling: edge.to_node.clone() });
                }
            },
        }
    }
    if waits { Readiness::Waits } else { Readiness::Ready(inputs) }
}

/// Gives the output that an edge means: of its name, of a type that the input takes, and of the type that the edge
/// says, if it says one. Where the source's template declares no such output, the name alone is enough, since no types
/// were compared at import either; one that fits is still preferred.
fn chosen<'a>(edge: &Edge, outputs: &'a [Found]) -> Option<&'a Found> {
    let said = |output: &&Found| match edge.from_output.type_() {
        None => true,
        Some(wide) => parse(&output.type_name).is_ok_and(|narrow| is_subtype(&narrow, wide)),
    };
    let fits = |output: &&Found| {
        parse(&output.type_name).is_ok_and(|given| {
            let given = given.as_job_output();
            edge.wanted.iter().any(|wanted| takes(wanted, &given))
        })
    };
    let is_compared = edge.is_declared && !edge.wanted.is_empty();
    let named = || outputs.iter().filter(|output| output.name == edge.from_output.name()).filter(said);
    named().find(fits).or_else(|| named().next().filter(|_| !is_compared))
}

/// Makes the input's value: the output's key. A type that is none is passed on as it is.
fn passed_on(output: &Found) -> Value {
    let type_name = match parse(&output.type_name) {
        Ok(of) => of.as_job_output().to_string(),
        Err(_) => format!("JobOutput<{}>", output.type_name),
    };
    json!({"value": output.pk, "type": type_name})
}
