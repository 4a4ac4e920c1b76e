//! What is special about each action: its summary, what it takes and what it answers. Errors that follow from a row's
//! columns are added by the caller.

use serde_json::{Value, json};
use warp::http::Method;

use super::Schemas;
use crate::server::routes::{Route, Target};
use crate::wire;
use crate::wire::job::Attempt;

/// What an action takes.
pub(super) enum Body {
    None,
    Json {
        schema: Value,
        required: bool,
    },
    JsonOrForm(Value),
    Bytes,
    /// A piece of a resumable upload.
    Piece,
}

/// What an action answers when it succeeds.
pub(super) enum Answer {
    Empty,
    Json(Value),
    /// Bytes of a media type.
    Bytes(&'static str),
}

/// Headers of lists.
const PAGE_HEADERS: &[(&str, &str)] = &[
    ("X-Next-Cursor", "With a `limit`, where the next page begins, if there is one: its `after`."),
    ("X-Total-Count", "With `count`, how many rows pass on all pages together."),
];
/// Headers of jobs that are handed out.
const LEASE_HEADERS: &[(&str, &str)] =
    &[("X-Lease-Expires", "With a lease, when the job is lost unless there is a sign of life before.")];
/// Headers of bytes.
const BYTES_HEADERS: &[(&str, &str)] = &[
    ("ETag", "The SHA-256 of all the bytes."),
    ("Content-Digest", "The same as RFC 9530 has it, when these are all of them."),
    ("Repr-Digest", "The same, also with a part."),
    ("Content-Range", "Which bytes these are, with a part."),
];

/// One action.
pub(super) struct Operation {
    pub(super) summary: String,
    pub(super) body: Body,
    pub(super) answers: Vec<(u16, Answer)>,
    pub(super) queries: Vec<Value>,
    pub(super) headers: Vec<Value>,
    /// Headers of a success, with what they tell.
    pub(super) answer_headers: &'static [(&'static str, &'static str)],
    /// Statuses beyond those that follow from the row.
    pub(super) errors: &'static [u16],
}

fn wanted(schema: Value) -> Body {
    Body::Json { schema, required: true }
}

fn optional(schema: Value) -> Body {
    Body::Json { schema, required: false }
}

fn query(name: &str, schema: &Value, description: &str) -> Value {
    json!({"name": name, "in": "query", "required": false, "schema": schema, "description": description})
}

fn header(name: &str, description: &str) -> Value {
    json!({"name": name, "in": "header", "required": false, "schema": {"type": "string"}, "description": description})
}

/// Describes a row's action.
pub(super) fn of(schemas: &mut Schemas, route: &Route, method: &Method) -> Operation {
    let (resource, action) = route.name.split_once('.').unwrap_or((&route.name, ""));
    let mut operation = Operation {
        summary: format!("{resource}: {}", action.replace('_', " ")),
        body: Body::None,
        answers: Vec::new(),
        queries: Vec::new(),
        headers: Vec::new(),
        answer_headers: if action == "list" { PAGE_HEADERS } else { &[] },
        errors: &[],
    };
    let made = match (resource, route.target) {
        ("jobs", _) | ("events", _) => job_action(schemas, action, &mut operation),
        ("uploads", _) | ("blobs", Target::None) if matches!(resource, "uploads") || action == "upload" => {
            upload_action(schemas, action, &mut operation)
        }
        ("job-outputs" | "blobs", _) => bytes_action(schemas, resource, action, &mut operation),
        ("job-templates" | "users" | "nodes", _) => row_action(schemas, resource, action, &mut operation),
        (_, Target::Row(catalogue)) => {
            let row = catalogue.row_schema();
            operation.body = match action {
                "list" => optional(reference("ListSpec")),
                "create" | "update" => wanted(catalogue.body_schema(true)),
                "partial_update" => optional(catalogue.body_schema(false)),
                _ => Body::None,
            };
            usual_answer(action, row)
        }
        _ => server_action(schemas, &route.name, &mut operation),
    };
    operation.answers.extend(made);
    if matches!(operation.body, Body::None) && !route.only_reads() && *method == Method::POST {
        // Verbs pass over a body that comes with POST.
        operation.body = optional(json!({"type": "object"}));
    }
    operation
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

/// The answers that the actions of every kind of row share.
fn usual_answer(action: &str, row: Value) -> Vec<(u16, Answer)> {
    vec![match action {
        "list" => (200, Answer::Json(json!({"type": "array", "items": row}))),
        "create" => (201, Answer::Json(row)),
        "destroy" | "deactivate" => (204, Answer::Empty),
        _ => (200, Answer::Json(row)),
    }]
}

fn server_action(schemas: &mut Schemas, name: &str, operation: &mut Operation) -> Vec<(u16, Answer)> {
    let text = json!({"type": "string"});
    let number = json!({"type": "integer", "format": "int64"});
    let answer = match name {
        "auth.obtain" => {
            operation.body = Body::JsonOrForm(schemas.of::<wire::auth::Credentials>());
            operation.errors = &[401, 429];
            schemas.of::<wire::auth::Tokens>()
        }
        "auth.refresh" => {
            operation.body = wanted(schemas.of::<wire::auth::Refresh>());
            operation.errors = &[401];
            schemas.of::<wire::auth::Access>()
        }
        "auth.verify" => {
            operation.body = wanted(schemas.of::<wire::auth::Verify>());
            operation.errors = &[401];
            json!({"type": "object"})
        }
        "auth.whoami" => schemas.of::<wire::User>(),
        "tokens.create" => {
            operation.body = wanted(schemas.of::<wire::token::NewApiToken>());
            return vec![(201, Answer::Json(schemas.of::<wire::token::MadeApiToken>()))];
        }
        "tokens.list" => {
            operation.queries = vec![query("user", &text, "Key of the user whose they are, or `all`; for staff.")];
            json!({"type": "array", "items": schemas.of::<wire::token::ApiToken>()})
        }
        "tokens.revoke" => schemas.of::<wire::token::ApiToken>(),
        "audit" => {
            operation.queries = vec![
                query("user", &number, "Only entries of this user."),
                query("action", &text, "Only entries of this action, by the name of its route."),
                query("after", &number, "Only entries behind this key."),
                query("limit", &json!({"type": "integer", "minimum": 1, "maximum": 1000}), "How many at most."),
            ];
            json!({"type": "array", "items": schemas.of::<wire::audit::AuditEntry>()})
        }
        "metrics" => return vec![(200, Answer::Bytes("text/plain"))],
        "hardware.by_compute_capability" | "healthz" | "readyz" | "openapi" => json!({"type": "object"}),
        _ => json!({}),
    };
    vec![(200, Answer::Json(answer))]
}

fn row_action(schemas: &mut Schemas, resource: &str, action: &str, operation: &mut Operation) -> Vec<(u16, Answer)> {
    let (row, body) = match resource {
        "users" => (schemas.of::<wire::User>(), schemas.of::<wire::user::NewUser>()),
        "nodes" => (schemas.of::<wire::Node>(), schemas.of::<wire::node::NewNode>()),
        _ => (schemas.of::<wire::Template>(), json!({"type": "object"})),
    };
    operation.body = match action {
        "list" => optional(reference("ListSpec")),
        "import" => wanted(template_document()),
        "create_job" => wanted(new_job(schemas)),
        "create" => wanted(body),
        "update" | "partial_update" => optional(json!({"type": "object", "description": "Fields of the row."})),
        _ => Body::None,
    };
    let answer = match (resource, action) {
        ("job-templates", "create_job") => {
            operation.headers = vec![header("Idempotency-Key", "The same key and body give the same job, for 24 h.")];
            operation.errors = &[409];
            schemas.of::<wire::Job>()
        }
        ("job-templates", "matching" | "all_parameters" | "types" | "outputs" | "export") => json!({}),
        ("users", "retrieve") => json!({"anyOf": [row, {"type": "array", "items": row}]}),
        _ => return usual_answer(action, row),
    };
    vec![(200, Answer::Json(answer))]
}

fn bytes_action(schemas: &mut Schemas, resource: &str, action: &str, operation: &mut Operation) -> Vec<(u16, Answer)> {
    let row = if resource == "blobs" { schemas.of::<wire::blob::Blob>() } else { schemas.of::<wire::Output>() };
    match action {
        "put" => {
            operation.body = Body::Bytes;
            vec![(200, Answer::Json(row.clone())), (201, Answer::Json(row))]
        }
        "get" | "download" => {
            operation.headers = vec![
                header("Range", "Which bytes."),
                header("If-None-Match", "The ETag of what is known already."),
                header("If-Match", "The ETag that the bytes must have."),
                header("If-Range", "The ETag under which the range holds."),
            ];
            operation.errors = &[404, 412, 413, 415, 416];
            operation.answer_headers = BYTES_HEADERS;
            if action == "download" {
                let filetype = json!({"type": "object", "properties": {"filetype": {"type": "string"}}});
                operation.body = optional(filetype);
            }
            bytes_answers()
        }
        "list" => {
            operation.body = optional(reference("ListSpec"));
            usual_answer(action, row)
        }
        _ => usual_answer(action, row),
    }
}

/// Uploads in pieces, as tus 1.0.0 has them.
fn upload_action(schemas: &mut Schemas, action: &str, operation: &mut Operation) -> Vec<(u16, Answer)> {
    let upload = schemas.of::<wire::Upload>();
    let version = || header("Tus-Resumable", "The version of tus that is spoken, 1.0.0.");
    let checksum = || header("Upload-Checksum", "`sha1` or `sha256`, and what the piece hashes to in Base64.");
    match action {
        "upload" => {
            operation.summary = "blobs: begin a resumable upload (tus 1.0.0)".to_owned();
            operation.body = Body::Piece;
            operation.headers = begin_headers();
            operation.errors = &[412, 415, 429, 460];
            vec![(201, Answer::Json(upload))]
        }
        "append" | "override" => {
            operation.body = Body::Piece;
            operation.headers = vec![version(), header("Upload-Offset", "How many bytes are there."), checksum()];
            if action == "override" {
                let meant = header("X-HTTP-Method-Override", "What is meant, PATCH or DELETE.");
                operation.headers.push(meant);
            }
            operation.errors = &[409, 410, 412, 415, 423, 460];
            vec![(204, Answer::Empty)]
        }
        "terminate" => {
            (operation.headers, operation.errors) = (vec![version()], &[410, 412, 423]);
            vec![(204, Answer::Empty)]
        }
        "discover" => vec![(204, Answer::Empty)],
        "list" => vec![(200, Answer::Json(json!({"type": "array", "items": upload})))],
        _ => {
            operation.errors = &[410];
            vec![(200, Answer::Json(upload))]
        }
    }
}

/// What a resumable upload begins with.
fn begin_headers() -> Vec<Value> {
    vec![
        header("Tus-Resumable", "The version of tus that is spoken, 1.0.0: with it, the upload comes in pieces."),
        header("Upload-Length", "How many bytes there will be."),
        header("Upload-Metadata", "Names with values in Base64; `sha256` is that of all the bytes, in hex."),
        header("Upload-Checksum", "`sha1` or `sha256`, and what the bytes in this call hash to in Base64."),
    ]
}

fn bytes_answers() -> Vec<(u16, Answer)> {
    vec![
        (200, Answer::Bytes("application/octet-stream")),
        (206, Answer::Bytes("application/octet-stream")),
        (304, Answer::Empty),
    ]
}

fn job_action(schemas: &mut Schemas, action: &str, operation: &mut Operation) -> Vec<(u16, Answer)> {
    let job = schemas.of::<wire::Job>();
    let output = schemas.of::<wire::Output>();
    let text = json!({"type": "string"});
    let number = json!({"type": "integer", "minimum": 0});
    let attempt = || header("Attempt", "The attempt that the call is about; 409 when there is a later one.");
    let lease = json!({"type": "number", "minimum": 1, "maximum": 86_400});
    let answer = match action {
        "list" => {
            operation.body = optional(reference("ListSpec"));
            json!({"type": "array", "items": job})
        }
        "claim" => {
            operation.body = optional(json!({"type": "object", "properties": {
                "filter": {"type": "object", "additionalProperties": false, "properties": {
                    "expressions": {"type": "array", "maxItems": 200, "items": reference("FilterExpression")},
                }},
                "lease": lease,
                "wait": {"type": "number", "minimum": 0, "maximum": 60},
            }}));
            operation.answer_headers = LEASE_HEADERS;
            return vec![(200, Answer::Json(job)), (204, Answer::Empty)];
        }
        "update" | "partial_update" => {
            operation.body = optional(json!({"type": "object", "properties": {"description": {"type": "string"}}}));
            job
        }
        "acquire" => {
            operation.queries =
                vec![query("lease", &lease, "Seconds after which the job is lost without a sign of life.")];
            (operation.headers, operation.errors) = (vec![attempt()], &[409]);
            operation.answer_headers = LEASE_HEADERS;
            job
        }
        "start" | "progress" | "reset" | "release" | "abort" | "cancel" => {
            (operation.headers, operation.errors) = (vec![attempt()], &[409, 413, 415]);
            job
        }
        "finish" => {
            (operation.headers, operation.errors) = (vec![attempt()], &[409]);
            operation.body = optional(schemas.of::<wire::job::Finish>());
            job
        }
        "add_output" => {
            operation.body = Body::Bytes;
            operation.queries = vec![query("blob", &text, "Attaches bytes that are here already, as `sha256:HEX`.")];
            operation.headers = vec![
                attempt(),
                header("Content-Digest", "What the bytes must hash to, as RFC 9530 has it."),
                header("X-Content-SHA256", "The same, in hex."),
            ];
            operation.headers.extend(begin_headers());
            operation.errors = &[409, 412, 415, 429, 460];
            let begun = schemas.of::<wire::Upload>();
            return vec![(200, Answer::Json(output)), (201, Answer::Json(begun))];
        }
        "get_output" => {
            operation.headers =
                vec![header("Range", "Which bytes."), header("If-None-Match", "The ETag that is known.")];
            operation.errors = &[412, 416];
            operation.answer_headers = BYTES_HEADERS;
            return bytes_answers();
        }
        "get_output_info" | "delete_output" => output,
        "attempts" => json!({"type": "array", "items": schemas.of::<Attempt>()}),
        "append_log" => {
            (operation.body, operation.headers, operation.errors) = (Body::Bytes, vec![attempt()], &[409]);
            json!({})
        }
        "read_log" => {
            operation.queries = vec![
                query("after", &number, "Bytes to pass over."),
                query("follow", &json!({"type": "boolean"}), "Whether to wait for more."),
                query("attempt", &number, "Which attempt's."),
            ];
            return vec![(200, Answer::Bytes("text/plain"))];
        }
        "manifest" => return vec![(200, Answer::Bytes("text/plain"))],
        "archive" => {
            operation.queries = vec![query("format", &json!({"enum": ["zip", "tar"]}), "Of which kind.")];
            return vec![(200, Answer::Bytes("application/*"))];
        }
        "events" | "" => {
            operation.headers = vec![header("Last-Event-ID", "The last event that is known.")];
            operation.queries = vec![query("after", &number, "The same.")];
            if action.is_empty() {
                operation.queries.push(query("filter", &text, "A list spec, as JSON."));
            }
            return vec![(200, Answer::Bytes("text/event-stream"))];
        }
        "destroy" => return vec![(204, Answer::Empty)],
        "retrieve" => {
            operation.summary = "jobs: retrieve, or with an upgrade to WebSocket: watch".to_owned();
            return vec![(101, Answer::Empty), (200, Answer::Json(job))];
        }
        _ => job,
    };
    vec![(200, Answer::Json(answer))]
}

/// A job on its way in, with what the wire type leaves out.
fn new_job(schemas: &mut Schemas) -> Value {
    json!({"allOf": [schemas.of::<wire::job::NewJob>(), {"type": "object", "properties": {
        "notification_override": {"type": "object"},
        "child_notification_overrides": {"type": "object"},
    }}]})
}

/// A template on its way in, in today's form; the earlier one is taken as well.
fn template_document() -> Value {
    json!({
        "type": "object",
        "required": ["name", "description", "scope", "licence", "specific"],
        "properties": {
            "name": {"type": "string"}, "version": {"type": "integer"}, "description": {"type": "string"},
            "scope": {"type": "string"}, "domain": {"type": ["string", "null"]}, "licence": {"type": "string"},
            "specific": {"type": "object"},
        },
    })
}

/// What to list, and how.
pub(super) fn list_spec() -> Value {
    json!({
        "type": "object", "additionalProperties": false,
        "properties": {
            "expressions": {"type": "array", "maxItems": 200, "items": reference("FilterExpression")},
            "order_by": {"type": "array", "items": {
                "type": "object", "required": ["field"], "additionalProperties": false,
                "properties": {"field": {"type": "string"}, "ascending": {"type": "boolean"},
                    "nulls_first": {"type": "boolean"}},
            }},
            "include_inactive": {"type": "boolean"},
            "limit": {"type": "integer", "minimum": 1, "maximum": 10_000},
            "after": {"type": "string", "description": "The `X-Next-Cursor` of the page before."},
            "count": {"type": "boolean", "description": "Whether `X-Total-Count` is wanted."},
        },
    })
}

/// A test that rows must pass.
pub(super) fn filter_expression() -> Value {
    let test = |kinds: &[&str], fields: Value, required: &[&str]| {
        let mut properties = json!({"type": {"enum": kinds}, "invert": {"type": "boolean"}});
        if let (Some(all), Value::Object(fields)) = (properties.as_object_mut(), fields) {
            all.extend(fields);
        }
        let required: Vec<&&str> = ["type"].iter().chain(required).collect();
        json!({"type": "object", "properties": properties, "required": required, "additionalProperties": false})
    };
    let (text, flag) = (json!({"type": "string"}), json!({"type": "boolean"}));
    json!({"oneOf": [
        test(&["and", "or"], json!({"sub_expressions": {"type": "array", "items": reference("FilterExpression")}}),
            &["sub_expressions"]),
        test(&["exact"], json!({"field": text, "value": {}, "case_insensitive": flag}), &["field", "value"]),
        test(&["contains"], json!({"field": text, "sub_string": text, "case_insensitive": flag}),
            &["field", "sub_string"]),
        test(&["isnull", "is_null"], json!({"field": text}), &["field"]),
        test(&["compare"], json!({"field": text, "operator": {"enum": ["<", ">", "<=", ">="]}, "value": {}}),
            &["field", "operator", "value"]),
    ]})
}
