//! Says which types are part of which (contract §7).

use super::{Kind, Type};

/// Says whether every value of `narrow` is one of `wide`: its name is that of `wide` or derives from it, and each
/// argument is a subtype of that of `wide`. Opaque names are equal or unrelated.
pub fn is_subtype(narrow: &Type, wide: &Type) -> bool {
    let Type::Known(wide_kind, _) = wide else { return narrow == wide };
    match narrow {
        Type::Known(kind, _) => {
            kind.derives_from(*wide_kind)
                && (kind != wide_kind
                    || (0..kind.row().parameters.len())
                        .all(|position| is_subtype(&narrow.argument(position), &wide.argument(position))))
        }
        Type::Opaque(..) => *wide_kind == Kind::UfdlType,
        Type::Text(_) => Kind::Str.derives_from(*wide_kind),
        Type::Int(_) => Kind::Int.derives_from(*wide_kind),
        Type::Float(_) => Kind::Float.derives_from(*wide_kind),
        Type::Bool(_) => Kind::Bool.derives_from(*wide_kind),
    }
}

/// Says whether an input or parameter of type `wanted` takes a value of type `given`: when it is a subtype, and when a
/// job output is given where an earlier document says `job_output<NAME>` with the output's type, or `joboutput`.
pub fn takes(wanted: &Type, given: &Type) -> bool {
    if is_subtype(given, wanted) {
        return true;
    }
    let (Type::Opaque(name, of), Some(Kind::JobOutput)) = (wanted, given.kind()) else { return false };
    matches!(name.as_str(), "job_output" | "joboutput") && of.first().is_none_or(|of| *of == given.argument(0))
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::{KNOWN, parse};
    use super::*;

    /// The project's own table of types, cases and bad strings.
    fn table() -> Value {
        serde_json::from_str(include_str!("../../../tests/data/types.json")).unwrap()
    }

    #[test]
    fn every_case_of_the_table_holds() {
        let table = table();
        let cases = table["cases"].as_array().unwrap();
        assert!(cases.len() >= 90);
        for case in cases {
            let [narrow, wide] = [0, 1].map(|i| parse(case[i].as_str().unwrap()).unwrap());
            assert_eq!(Value::from(is_subtype(&narrow, &wide)), case[2], "{narrow} <: {wide}");
            let [narrow, wide] = [narrow.as_job_output(), wide.as_job_output()];
            assert_eq!(Value::from(takes(&wide, &narrow)), case[2], "{narrow} <: {wide}");
        }
    }

    #[test]
    fn every_bad_string_is_refused() {
        let table = table();
        let bad = table["bad"].as_array().unwrap();
        assert!(bad.len() >= 30);
        for text in bad {
            let text = text.as_str().unwrap();
            assert!(parse(text).is_err(), "{text:?} parses");
        }
    }

    #[test]
    fn the_known_types_are_those_of_the_table() {
        let table = table();
        let rows = table["types"].as_object().unwrap();
        assert_eq!(rows.len(), KNOWN.len());
        for known in &KNOWN {
            let row = &rows[known.name];
            assert_eq!(row["base"].as_str(), known.base.map(|base| base.row().name), "{}", known.name);
            assert_eq!((row["pkg"].as_str(), row["cls"].as_str()), (Some(known.pkg), Some(known.cls)));
            let bounds = row["parameters"].as_array().unwrap();
            assert_eq!(bounds.len(), known.parameters.len(), "{}", known.name);
            for (bound, kind) in bounds.iter().zip(known.parameters) {
                let (said, ours) = (parse(bound.as_str().unwrap()).unwrap(), Type::bare(*kind));
                assert!(is_subtype(&said, &ours) && is_subtype(&ours, &said), "{}: {bound}", known.name);
            }
        }
    }

    #[test]
    fn opaque_names_are_equal_or_unrelated() {
        let [pk, other, model] = ["pk<docker_image>", "pk<dataset>", "model"].map(|text| parse(text).unwrap());
        assert!(is_subtype(&pk, &pk) && !is_subtype(&pk, &other) && !is_subtype(&pk, &model));
        assert!(is_subtype(&pk, &Type::bare(Kind::UfdlType)) && !is_subtype(&pk, &Type::bare(Kind::UfdlJsonType)));
    }

    #[test]
    fn an_output_goes_into_an_input_of_an_earlier_document() {
        let given = parse("JobOutput<tficmodeltflite>").unwrap();
        for (wanted, taken) in [
            ("job_output<tficmodeltflite>", true),
            ("joboutput", true),
            ("job_output<other>", false),
            ("dataset", false),
        ] {
            assert_eq!(takes(&parse(wanted).unwrap(), &given), taken, "{wanted}");
        }
        assert!(!takes(&parse("joboutput").unwrap(), &parse("int").unwrap()));
    }
}
