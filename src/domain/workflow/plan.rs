//! Of what children a meta-job will be, worked out once, when it is made: after that no template is looked at, so that
//! templates which are imported again or deleted change nothing under a running workflow.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::domain::fields::Problems;
use crate::domain::template::{FromOutput, Lookup, Meta, Template, find, interface};
use crate::domain::types::Type;
use crate::domain::values::for_child;

/// The children of a meta-job, and what they give each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// The children, in the order of the template.
    pub children: Vec<Planned>,
    /// Which child's output is which child's input.
    pub edges: Vec<Edge>,
}

/// A child that will be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Its name.
    pub name: String,
    /// Name of its template.
    pub template: String,
    /// Version of its template; `None` for the highest that was active when the whole was made.
    pub version: Option<i64>,
    /// Its inputs but for those that siblings feed, `{name: {value, type}}`.
    pub inputs: Map<String, Value>,
    /// Its parameters but for those that its template's defaults are for.
    pub parameters: Map<String, Value>,
}

/// An output of one child that is an input of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// The child whose output it is.
    pub from_node: String,
    /// Which of its outputs.
    pub from_output: FromOutput,
    /// Whether the template of that child declares the output.
    pub is_declared: bool,
    /// The child whose input it is.
    pub to_node: String,
    /// Which of its inputs.
    pub to_input: String,
    /// The types that the input takes.
    pub wanted: Vec<Type>,
}

/// Plans a meta-job with these values, which have been checked. `lookup` finds the templates of its children.
///
/// # Errors
/// By node, when the template of a child is missing, or the children nest too deeply or are too many.
pub fn plan(
    template: &Template,
    inputs: &Map<String, Value>,
    parameters: &Map<String, Value>,
    lookup: &mut Lookup<'_>,
) -> Result<Plan, Problems> {
    let Some(meta) = template.meta() else { return Ok(Plan::default()) };
    let whole = interface(template, lookup)?;
    let children = meta.nodes.iter().map(|(name, node)| {
        let (inputs, parameters) = for_child(&whole, name, node, inputs, parameters);
        Planned { name: name.clone(), template: node.name.clone(), version: node.version, inputs, parameters }
    });
    let children = children.collect();
    let edges = meta.dependencies.iter().map(|edge| {
        let output = format!("{}:{}", edge.from_node, edge.from_output.name());
        Ok(Edge {
            from_node: edge.from_node.clone(),
            from_output: edge.from_output.clone(),
            is_declared: find(&whole.outputs, &output).is_some(),
            to_node: edge.to_node.clone(),
            to_input: edge.to_input.clone(),
            wanted: wanted(meta, &edge.to_node, &edge.to_input, lookup)?,
        })
    });
    Ok(Plan { children, edges: edges.collect::<Result<_, Problems>>()? })
}

/// Gives the types that an input of a child takes. An input that is not there in a later version of the child's
/// template takes what comes.
fn wanted(meta: &Meta, node: &str, input: &str, lookup: &mut Lookup<'_>) -> Result<Vec<Type>, Problems> {
    let template = find(&meta.nodes, node).and_then(|node| lookup(&node.name, node.version));
    let Some(template) = template else { return Ok(Vec::new()) };
    let own = interface(&template, lookup)?;
    Ok(find(&own.inputs, input).map(|input| input.types.clone()).unwrap_or_default())
}
