//! JSON schemas of the catalogues' rows, for the description of the interface.

use serde_json::{Map, Value, json};

use super::{Catalogue, Field, Kind, Shown};

impl Catalogue {
    /// Gives the schema of a row as it is shown.
    pub fn row_schema(&self) -> Value {
        let mut properties = Map::from_iter([("pk".to_owned(), json!({"type": "integer", "format": "int64"}))]);
        let mut required = vec!["pk"];
        for field in self.fields {
            properties.insert(field.name.to_owned(), field.schema(false));
            if !matches!(field.kind, Kind::Secret { .. }) {
                required.push(field.name);
            }
        }
        json!({"type": "object", "properties": properties, "required": required})
    }

    /// Gives the schema of a body that makes a row or, with `whole`, sets all of it.
    pub fn body_schema(&self, whole: bool) -> Value {
        let properties: Map<String, Value> =
            self.fields.iter().map(|field| (field.name.to_owned(), field.schema(true))).collect();
        let required: Vec<&str> =
            self.fields.iter().filter(|field| whole && field.required).map(|field| field.name).collect();
        json!({"type": "object", "properties": properties, "required": required})
    }
}

impl Field {
    /// Gives the schema of its value, as it is shown or as it is taken.
    fn schema(&self, taken: bool) -> Value {
        let mut schema = match &self.kind {
            Kind::Text { chars_min, chars_max } => {
                json!({"type": "string", "minLength": chars_min, "maxLength": chars_max})
            }
            Kind::Secret { chars_max } => json!({"type": "string", "maxLength": chars_max}),
            Kind::Number => json!({"type": "number"}),
            Kind::Flag => json!({"type": "boolean"}),
            Kind::Tasks => json!({"type": "array", "items": {"type": "string"}}),
            Kind::Reference { shown: Shown::Text { .. }, .. } if taken => {
                json!({"oneOf": [{"type": "string"}, {"type": "integer"}], "description": "Its name, or its key."})
            }
            Kind::Reference { shown: Shown::Whole { named_by: Some(column) }, .. } if taken => json!({
                "oneOf": [{"type": "object"}, {"type": "integer"}, {"type": "string"}],
                "description": format!("Its row, its key, or its {column}."),
            }),
            Kind::Reference { shown: Shown::Whole { .. }, .. } if taken => {
                json!({"oneOf": [{"type": "object"}, {"type": "integer"}], "description": "Its row, or its key."})
            }
            Kind::Reference { shown: Shown::Text { .. }, .. } => json!({"type": "string"}),
            Kind::Reference { to, shown: Shown::Whole { .. } } => to.row_schema(),
        };
        if self.nullable {
            schema = json!({"anyOf": [schema, {"type": "null"}]});
        }
        schema
    }
}
