//! The description of this interface in OpenAPI 3.1, made from the table of routes and the wire types, so that it can't
//! fall behind them: paths, methods, parameters, who may call and what can go wrong come from the row; what is special
//! about an action stands in `operations.rs`.

mod operations;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};
use warp::http::Method;

use super::routes::{ROUTES, Route, Target, Token, Who};
use crate::wire;
use operations::{Answer, Body, Operation};

/// The description, made once.
pub(crate) static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// Where schemas go, and how they are referred to.
struct Schemas(SchemaGenerator);

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        Self(settings.into_generator())
    }

    /// Refers to the schema of a wire type.
    fn of<T: JsonSchema>(&mut self) -> Value {
        self.0.subschema_for::<T>().to_value()
    }
}

fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for route in ROUTES.iter() {
        // OpenAPI has no second operation for the same method of a path; the first one's description tells of it.
        if route.upgrades || route.methods.is_empty() || route.is_page() {
            continue;
        }
        let item = paths.entry(route.path.to_string()).or_insert_with(|| json!({}));
        for method in route.methods {
            let operation = operation(&mut schemas, route, method);
            if let Some(item) = item.as_object_mut() {
                item.insert(method.as_str().to_ascii_lowercase(), operation);
            }
        }
    }
    let error = schemas.of::<wire::ErrorBody>();
    let mut definitions = schemas.0.take_definitions(true);
    definitions.insert("FilterExpression".to_owned(), operations::filter_expression());
    definitions.insert("ListSpec".to_owned(), operations::list_spec());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "labrun",
            "summary": "A job server that ships beside a lab instrument.",
            "description": "The UFDL jobs API, with what it lacks. Every path works with and without a slash at its end.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "responses": {"Error": {
                "description": "What was wrong, once for people and once for programs.",
                "headers": {
                    "X-Request-Id": header("By which the server's log knows the request."),
                    "Retry-After": header("With 429 and 503, after how many seconds to try again."),
                },
                "content": {"application/json": {"schema": error}},
            }},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer",
                    "description": "An access token from `auth.obtain`, or an API token."},
                "accessToken": {"type": "apiKey", "in": "query", "name": "access_token",
                    "description": "The same, for browsers that can send no header."},
            },
        },
    })
}

/// Describes one method of a route.
fn operation(schemas: &mut Schemas, route: &Route, method: &Method) -> Value {
    let Operation { summary, body, answers, queries, headers, answer_headers, errors } =
        operations::of(schemas, route, method);
    let (resource, _) = route.name.split_once('.').unwrap_or((&route.name, ""));
    // An id has to be unique: the first method has the row's name, others add theirs.
    let id = match route.methods.first() {
        Some(first) if first == method => route.name.to_string(),
        _ => format!("{}.{}", route.name, method.as_str().to_ascii_lowercase()),
    };
    let mut described = json!({
        "operationId": id,
        "tags": [resource],
        "summary": summary,
        "description": format!("May be called by: {}.", who(route.who)),
        "parameters": parameters(route, queries, headers),
        "responses": responses(route, &body, answers, answer_headers, errors),
        "security": security(route),
    });
    let content = match body {
        Body::None => None,
        Body::Json { schema, required } => Some((json!({"application/json": {"schema": schema}}), required)),
        Body::JsonOrForm(schema) => Some((
            json!({"application/json": {"schema": schema}, "application/x-www-form-urlencoded": {"schema": schema}}),
            true,
        )),
        Body::Bytes => Some((json!({"application/octet-stream": {}}), false)),
        Body::Piece => Some((json!({"application/offset+octet-stream": {}}), false)),
    };
    if let (Some((content, required)), Some(described)) = (content, described.as_object_mut()) {
        described.insert("requestBody".to_owned(), json!({"required": required, "content": content}));
    }
    described
}

/// Describes a header of an answer.
fn header(description: &str) -> Value {
    json!({"description": description, "schema": {"type": "string"}})
}

/// Says who may call, for people.
fn who(who: Who) -> &'static str {
    match who {
        Who::Anyone => "anyone",
        Who::User => "any user",
        Who::Staff => "staff",
        Who::StaffOrLoopback => "staff, and programs on the server's own machine",
        Who::Oneself => "the user whose it is",
        Who::StaffOrOneself => "staff and the user itself",
        Who::StaffOrItself => "staff and the node itself",
        Who::Node => "nodes",
        Who::NodeForWorkable => "nodes, when the job is not a meta-job",
        Who::Holder => "the node that holds the job",
        Who::HolderOrWorker => "the node that holds the job, or whose current job it is",
        Who::StaffOrHolder => "staff and the node that holds the job",
        Who::StaffOrCreator => "staff and the user who made the job",
    }
}

fn security(route: &Route) -> Value {
    match (route.who, route.token) {
        (Who::Anyone, _) => json!([]),
        (Who::StaffOrLoopback, _) => json!([{}, {"bearer": []}]),
        // Pages are not described; a cookie opens nothing else.
        (_, Token::Header | Token::Cookie) => json!([{"bearer": []}]),
        (_, Token::HeaderOrQuery) => json!([{"bearer": []}, {"accessToken": []}]),
    }
}

/// Names the parameters of a path, in order.
fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn parameters(route: &Route, queries: Vec<Value>, headers: Vec<Value>) -> Vec<Value> {
    let mut all = Vec::new();
    for name in path_parameters(&route.path) {
        let schema = match (name, route.target) {
            ("pk", _) => json!({"type": "integer", "format": "int64"}),
            ("progress" | "compute", _) => json!({"type": "string", "examples": ["0.5"]}),
            ("sha256", _) => json!({"type": "string", "pattern": "^[0-9a-f]{64}$"}),
            ("name", _) => json!({"type": "string", "minLength": 1, "maxLength": 200}),
            ("type", _) => json!({"type": "string", "minLength": 1, "maxLength": 500}),
            ("key", Target::User) => json!({"type": "string", "minLength": 1, "description": "A key, or a name."}),
            _ => json!({"type": "string", "minLength": 1}),
        };
        all.push(json!({"name": name, "in": "path", "required": true, "schema": schema}));
    }
    all.extend(queries);
    all.extend(headers);
    all.push(json!({
        "name": "Node-Id", "in": "header", "required": false, "schema": {"type": "integer", "format": "int64"},
        "description": "The node that the call is made for. Needed where nodes alone may call, unless the token is for one.",
    }));
    all
}

fn responses(
    route: &Route,
    body: &Body,
    answers: Vec<(u16, Answer)>,
    answer_headers: &[(&str, &str)],
    errors: &[u16],
) -> Value {
    let told = |(name, description): &(&str, &str)| ((*name).to_owned(), header(description));
    let told: Map<String, Value> = answer_headers.iter().map(told).collect();
    let mut responses = Map::new();
    for (status, answer) in answers {
        let mut described = match answer {
            Answer::Empty => json!({"description": "Done."}),
            Answer::Json(schema) => json!({
                "description": "Done.", "content": {"application/json": {"schema": schema}}
            }),
            Answer::Bytes(media) => json!({"description": "Bytes.", "content": {media: {}}}),
        };
        if !told.is_empty() {
            described["headers"] = told.clone().into();
        }
        responses.insert(status.to_string(), described);
    }
    // Of every route: a bad Node-Id, a method in a form that is not known, too much at once.
    let mut codes: BTreeSet<u16> = BTreeSet::from([400, 503]);
    if route.who != Who::Anyone {
        codes.extend([401, 403]);
    }
    if route.path.contains('{') {
        codes.insert(404);
    }
    if matches!(route.target, Target::User) && route.path.contains("{key}") && !route.only_reads() {
        // Of a user's name, which is good for reading alone.
        codes.insert(405);
    }
    match body {
        Body::None => {}
        Body::Json { .. } | Body::JsonOrForm(_) => codes.extend([413, 415]),
        Body::Bytes | Body::Piece => codes.extend([413, 507]),
    }
    if !route.only_reads() && route.who != Who::Anyone {
        // Not in this state; and no room for the row.
        codes.extend([406, 507]);
    }
    codes.extend(errors);
    for code in codes {
        responses.entry(code.to_string()).or_insert_with(|| json!({"$ref": "#/components/responses/Error"}));
    }
    Value::Object(responses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_and_method_is_described_once() {
        let mut ids = BTreeSet::new();
        for route in ROUTES.iter().filter(|route| !route.upgrades && !route.is_page()) {
            for method in route.methods {
                let operation = &DOCUMENT["paths"][route.path.as_ref()][method.as_str().to_ascii_lowercase()];
                let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{} is missing", route.name));
                assert!(ids.insert(id.to_owned()), "{id} is there twice");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.keys().any(|status| status.starts_with('2')), "{id} never succeeds");
            }
        }
        assert!(ids.contains("jobs.retrieve") && ids.contains("jobs.acquire.post"));
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value) {
            match value {
                Value::Object(object) => {
                    if let Some(target) = object.get("$ref").and_then(Value::as_str) {
                        let pointer = target.strip_prefix('#').unwrap();
                        assert!(DOCUMENT.pointer(pointer).is_some(), "{target} is not there");
                    }
                    object.values().for_each(walk);
                }
                Value::Array(array) => array.iter().for_each(walk),
                _ => {}
            }
        }
        walk(&DOCUMENT);
    }
}
