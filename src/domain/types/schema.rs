//! JSON schemas of types, for `get-all-parameters` (contract §7).

use serde_json::{Value, json};

use super::{Kind, Type};

/// Gives the JSON schema of the values that fit a type. It says the shape only; whether rows exist it can't say.
pub fn json_schema(of: &Type) -> Value {
    match of {
        Type::Known(kind, _) => known_schema(*kind, of),
        Type::Opaque(..) => json!({}),
        Type::Text(text) => json!({"const": text}),
        Type::Int(number) => json!({"const": number}),
        Type::Float(number) => json!({"const": number}),
        Type::Bool(truth) => json!({"const": truth}),
    }
}

fn known_schema(kind: Kind, of: &Type) -> Value {
    match kind {
        Kind::UfdlType | Kind::UfdlJsonType | Kind::Json => json!({}),
        Kind::FiniteJsonType => json!({"type": ["null", "integer", "string", "object"]}),
        Kind::ServerResidentType => json!({"type": ["integer", "object"]}),
        Kind::NamedServerType
        | Kind::Hardware
        | Kind::CudaVersion
        | Kind::Domain
        | Kind::Dataset
        | Kind::DockerImage
        | Kind::PretrainedModel
        | Kind::Framework => json!({"type": "object"}),
        Kind::ValueType => json!({"type": ["string", "integer", "number", "boolean"]}),
        Kind::Str | Kind::Name => json!({"type": "string"}),
        Kind::Int | Kind::Pk | Kind::JobOutput => json!({"type": "integer"}),
        Kind::Float => json!({"type": "number"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Nothing => json!({"type": "null"}),
        Kind::Array => match of.argument(1) {
            Type::Int(length) => json!({
                "type": "array", "items": json_schema(&of.argument(0)), "minItems": length, "maxItems": length
            }),
            _ => json!({"type": "array", "items": json_schema(&of.argument(0))}),
        },
        Kind::Map => json!({"type": "object", "additionalProperties": json_schema(&of.argument(0))}),
        Kind::Blob => json!({"type": "string", "pattern": "^sha256:[0-9a-f]{64}$"}),
        // Nothing that can be written as JSON fits these.
        Kind::Model | Kind::Compressed => json!({"not": {}}),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KNOWN, parse};
    use super::*;

    #[test]
    fn schemas_say_the_shape() {
        for (text, schema) in [
            ("int", json!({"type": "integer"})),
            ("str", json!({"type": "string"})),
            ("PK<Hardware>", json!({"type": "integer"})),
            ("Name<Hardware>", json!({"type": "string"})),
            ("Array<str>", json!({"type": "array", "items": {"type": "string"}})),
            ("Array<int, 2>", json!({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2})),
            ("Map<Array>", json!({"type": "object", "additionalProperties": {"type": "array", "items": {}}})),
            ("'red'", json!({"const": "red"})),
            ("2.5", json!({"const": 2.5})),
            ("dataset", json!({})),
        ] {
            assert_eq!(json_schema(&parse(text).unwrap()), schema, "{text}");
        }
    }

    #[test]
    fn every_known_type_has_an_object_for_a_schema() {
        for known in &KNOWN {
            assert!(json_schema(&Type::bare(known.kind)).is_object(), "{}", known.name);
        }
    }
}
