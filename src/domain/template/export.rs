//! Writes templates as documents (contract §7).

use serde_json::{Map, Value, json};

use super::{Meta, Specific, Template, Workable, earlier};

/// Writes a document that imports back to an equal template. One that came in the earlier dialect goes out in it.
pub fn export(template: &Template) -> Value {
    let mut document = Map::new();
    document.insert("name".to_owned(), json!(template.name));
    if let Some(version) = template.version {
        document.insert("version".to_owned(), json!(version));
    }
    document.insert("description".to_owned(), json!(template.description));
    document.insert("scope".to_owned(), json!(template.scope));
    document.insert("domain".to_owned(), json!(template.domain));
    document.insert("licence".to_owned(), json!(template.licence));
    let specific = match &template.specific {
        Specific::Workable(workable) => workable_json(workable),
        Specific::Meta(meta) => meta_json(meta),
    };
    document.insert("specific".to_owned(), specific);
    Value::Object(document)
}

fn workable_json(workable: &Workable) -> Value {
    let Workable { type_, executor_class, required_packages, parameters, inputs, outputs, body, framework } = workable;
    let mut document = Map::new();
    document.insert("job_type".to_owned(), json!(type_));
    document.insert("executor_class".to_owned(), json!(executor_class));
    document.insert("required_packages".to_owned(), json!(required_packages));
    let listed = framework.as_ref().and_then(|_| earlier::parameters_json(parameters));
    document.insert("parameters".to_owned(), listed.unwrap_or_else(|| workable.parameters_json()));
    let is_earlier = framework.is_some();
    if let Some(framework) = framework {
        document.insert("framework".to_owned(), json!(framework));
    }
    if is_earlier || !body.is_empty() {
        document.insert("body".to_owned(), json!(body));
    }
    if is_earlier || !inputs.is_empty() {
        let entries = inputs.iter().map(
            |(name, input)| json!({"name": name, "types": input.types, "options": input.options, "help": input.help}),
        );
        document.insert("inputs".to_owned(), entries.collect());
    }
    if !outputs.is_empty() {
        let entries =
            outputs.iter().map(|(name, output)| json!({"name": name, "type": output.type_, "help": output.help}));
        document.insert("outputs".to_owned(), entries.collect());
    }
    Value::Object(document)
}

fn meta_json(meta: &Meta) -> Value {
    json!({"nodes": meta.nodes_json(), "dependencies": meta.dependencies_json()})
}
