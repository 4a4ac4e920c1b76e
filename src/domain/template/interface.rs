//! What a template asks of its jobs and gives in return, for both kinds (contract §6, §7).

use std::collections::BTreeSet;

use super::import::default_of;
use super::{Input, Meta, Named, Node, Output, Parameter, Specific, Template, find};
use crate::domain::fields::Problems;

/// Finds an active template by name and version; without a version, the highest.
pub type Lookup<'a> = dyn FnMut(&str, Option<i64>) -> Option<Template> + 'a;

/// Greatest depth of meta-templates within meta-templates.
const DEPTH_MAX: usize = 16;
/// Most jobs below one meta-job, at all depths together.
const JOBS_MAX: usize = 1_000;

/// What a template asks for and gives. Those of a meta-template's children are named `child:NAME`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interface {
    /// The inputs that a job has to be given. Those that a sibling feeds are not among them.
    pub inputs: Named<Input>,
    /// The outputs that are declared.
    pub outputs: Named<Output>,
    /// The parameters, with the defaults that hold.
    pub parameters: Named<Parameter>,
    /// Beginnings of names of outputs that may come undeclared: those of templates that declare none at all.
    undeclared: Vec<String>,
}

impl Interface {
    /// Says whether an output that is not declared may come all the same.
    pub(super) fn may_have_output(&self, name: &str) -> bool {
        self.undeclared.iter().any(|beginning| name.starts_with(beginning.as_str()))
    }
}

/// Gives the interface of a template. `lookup` is asked for a meta-template's children only.
///
/// # Errors
/// By node, when the template of a child is missing, or the children nest too deeply or are too many.
pub fn interface(template: &Template, lookup: &mut Lookup<'_>) -> Result<Interface, Problems> {
    Walk::new(None, lookup).interface(template, 0)
}

/// A walk down a hierarchy of templates.
pub(super) struct Walk<'a, 'f> {
    /// Name and version of the template that is being imported; it must not turn up below itself.
    root: Option<(&'a str, Option<i64>)>,
    lookup: &'a mut Lookup<'f>,
    jobs_left: usize,
}

impl<'a, 'f> Walk<'a, 'f> {
    pub(super) fn new(root: Option<(&'a str, Option<i64>)>, lookup: &'a mut Lookup<'f>) -> Self {
        Self { root, lookup, jobs_left: JOBS_MAX }
    }

    fn interface(&mut self, template: &Template, depth: usize) -> Result<Interface, Problems> {
        match &template.specific {
            Specific::Workable(workable) => {
                let (inputs, outputs) = (workable.all_inputs(), workable.all_outputs());
                let undeclared = if outputs.is_empty() { vec![String::new()] } else { Vec::new() };
                Ok(Interface { inputs, outputs, parameters: workable.parameters.clone(), undeclared })
            }
            Specific::Meta(meta) => {
                let mut problems = Problems::default();
                let mut children = Vec::new();
                for (name, node) in &meta.nodes {
                    match self.child(node, depth) {
                        Ok(child) => children.push((name.as_str(), node, child)),
                        Err(inner) => problems.add_all(&format!("nodes.{name}"), inner),
                    }
                }
                problems.into_result(()).map(|()| assembled(meta, children))
            }
        }
    }

    /// Gives the interface of a child's template.
    pub(super) fn child(&mut self, node: &Node, depth: usize) -> Result<Interface, Problems> {
        if depth >= DEPTH_MAX {
            return Err(Problems::one("name", format!("Workflows nest at most {DEPTH_MAX} deep.")));
        }
        let Some(left) = self.jobs_left.checked_sub(1) else {
            return Err(Problems::one(
                "name",
                format!("A workflow has at most {JOBS_MAX} jobs, at all depths together."),
            ));
        };
        self.jobs_left = left;
        if self.root.is_some_and(|(name, own)| name == node.name && (node.version.is_none() || node.version == own)) {
            return Err(Problems::one("name", format!("The workflow {:?} holds itself.", node.name)));
        }
        match (self.lookup)(&node.name, node.version) {
            Some(template) => self.interface(&template, depth + 1),
            None => Err(self.missing(node)),
        }
    }

    /// Says whether it is the name or the version that is unknown.
    fn missing(&mut self, node: &Node) -> Problems {
        match node.version {
            Some(version) if (self.lookup)(&node.name, None).is_some() => {
                Problems::one("version", format!("There is no version {version} of the template {:?}.", node.name))
            }
            _ => Problems::one("name", format!("There is no template {:?}.", node.name)),
        }
    }
}

/// Makes the interface of a meta-template of those of its children.
fn assembled(meta: &Meta, children: Vec<(&str, &Node, Interface)>) -> Interface {
    let fed: BTreeSet<_> =
        meta.dependencies.iter().map(|edge| (edge.to_node.as_str(), edge.to_input.as_str())).collect();
    let mut whole = Interface::default();
    for (child, node, own) in children {
        let full = |name: &str| format!("{child}:{name}");
        let open = own.inputs.into_iter().filter(|(name, _)| !fed.contains(&(child, name.as_str())));
        whole.inputs.extend(open.map(|(name, input)| (full(&name), input)));
        whole.outputs.extend(own.outputs.into_iter().map(|(name, output)| (full(&name), output)));
        whole.undeclared.extend(own.undeclared.iter().map(|beginning| full(beginning)));
        for (name, mut parameter) in own.parameters {
            if let Some(given) = find(&node.overrides, &name) {
                let const_ = given.const_.unwrap_or(false);
                // An override that does not fit a later version of the child's template changes nothing.
                if let Ok(default) = default_of(&parameter, &given.default, given.default_type.as_ref(), const_) {
                    parameter.default = Some(default);
                }
            }
            whole.parameters.push((full(&name), parameter));
        }
    }
    whole
}
