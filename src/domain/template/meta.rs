//! Checks what a meta-template refers to, at import (contract §6).

use std::collections::{BTreeMap, BTreeSet};

use super::import::default_of;
use super::interface::Walk;
use super::{Dependency, Interface, Lookup, Meta, Node, Template, find};
use crate::domain::fields::Problems;
use crate::domain::types::{is_subtype, joined, takes};

/// Checks a meta-template against the templates that it names; there is nothing to check in a workable one.
///
/// # Errors
/// By field of `specific`: unknown templates, versions, nodes, inputs, outputs and parameters; an input that is fed
/// twice; an output whose type the input does not take; a cycle. Types and names of outputs are not compared where the
/// source declares no outputs at all.
pub fn check_meta(template: &Template, lookup: &mut Lookup<'_>) -> Result<(), Problems> {
    let Some(meta) = template.meta() else { return Ok(()) };
    let mut problems = Problems::default();
    let mut walk = Walk::new(Some((&template.name, template.version)), lookup);
    let mut children = BTreeMap::new();
    for (name, node) in &meta.nodes {
        match walk.child(node, 0) {
            Ok(child) => {
                check_overrides(name, node, &child, &mut problems);
                children.insert(name.as_str(), child);
            }
            Err(inner) => problems.add_all(&format!("specific.nodes.{name}"), inner),
        }
    }
    let mut fed = BTreeSet::new();
    for (index, edge) in meta.dependencies.iter().enumerate() {
        let mut inner = Problems::default();
        check_edge(edge, meta, &children, &mut inner);
        if !fed.insert((&edge.to_node, &edge.to_input)) {
            inner.add("to_input", format!("The input {:?} of {:?} is fed twice.", edge.to_input, edge.to_node));
        }
        problems.add_all(&format!("specific.dependencies.{index}"), inner);
    }
    if let Some(cycle) = cycle(&meta.dependencies) {
        problems.add("specific.dependencies", format!("These nodes wait for each other: {}.", cycle.join(", ")));
    }
    problems.into_result(())
}

/// Checks the overrides of a node against the parameters of its template.
fn check_overrides(name: &str, node: &Node, child: &Interface, problems: &mut Problems) {
    for (parameter, given) in &node.overrides {
        let field = format!("specific.nodes.{name}.parameter_default_overrides.{parameter}");
        let Some(declared) = find(&child.parameters, parameter) else {
            problems.add(field, format!("The template {:?} has no parameter {parameter:?}.", node.name));
            continue;
        };
        let const_ = given.const_.unwrap_or(false);
        if let Err((part, sentence)) = default_of(declared, &given.default, given.default_type.as_ref(), const_) {
            problems.add(format!("{field}.{part}"), sentence);
        }
    }
}

/// Checks one dependency. Nodes whose templates are missing have been named already.
fn check_edge(edge: &Dependency, meta: &Meta, children: &BTreeMap<&str, Interface>, problems: &mut Problems) {
    for (field, node) in [("from_node", &edge.from_node), ("to_node", &edge.to_node)] {
        if find(&meta.nodes, node).is_none() {
            problems.add(field, format!("There is no node {node:?}."));
        }
    }
    let input = children.get(edge.to_node.as_str()).and_then(|to| {
        let input = find(&to.inputs, &edge.to_input);
        if input.is_none() {
            problems.add("to_input", format!("The node {:?} has no input {:?}.", edge.to_node, edge.to_input));
        }
        input
    });
    let Some(from) = children.get(edge.from_node.as_str()) else { return };
    let name = edge.from_output.name();
    let Some(output) = find(&from.outputs, name) else {
        if !from.may_have_output(name) {
            problems.add("from_output", format!("The node {:?} has no output {name:?}.", edge.from_node));
        }
        return;
    };
    if let Some(said) = edge.from_output.type_()
        && !is_subtype(&output.type_, said)
    {
        problems.add("from_output", format!("The output {name:?} is of type {}, not {said}.", output.type_));
    }
    let passed = output.type_.as_job_output();
    if let Some(input) = input
        && !input.types.iter().any(|wanted| takes(wanted, &passed))
    {
        let wanted = joined(&input.types);
        problems.add("to_input", format!("The input {:?} takes {wanted}, not {passed}.", edge.to_input));
    }
}

/// Finds nodes that wait for each other, in the order in which the outputs go round.
fn cycle(edges: &[Dependency]) -> Option<Vec<&str>> {
    let mut sources: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges {
        sources.entry(&edge.from_node).or_default();
        sources.entry(&edge.to_node).or_default().insert(&edge.from_node);
    }
    // Nodes that wait for nothing are taken out, again and again. Each that is left waits for one that is left.
    loop {
        let free: Vec<&str> = sources.iter().filter(|(_, from)| from.is_empty()).map(|(node, _)| *node).collect();
        if free.is_empty() {
            break;
        }
        for node in free {
            sources.remove(node);
            sources.values_mut().for_each(|from| {
                from.remove(node);
            });
        }
    }
    let mut path = Vec::new();
    let mut at = *sources.keys().next()?;
    // The path is as long as there are nodes at most, since it ends where it comes back to itself.
    while !path.contains(&at) {
        path.push(at);
        at = sources.get(at)?.first()?;
    }
    let mut round: Vec<&str> = path.into_iter().skip_while(|node| *node != at).collect();
    round.reverse();
    Some(round)
}
