//! Says whether JSON values fit types (contract §7).

use serde_json::Value;

use super::{Kind, Type, is_subtype, parse};
use crate::domain::fields::kind_of;

/// Answers whether the things that values refer to exist.
pub trait Rows {
    /// Says whether there is a row with this key of the type, whose arguments narrow it. `Domain`'s argument is the
    /// domain's description. Asked for kept types only ([`Kind::is_kept`]), and not for job outputs.
    fn exists(&self, pk: i64, of: &Type) -> bool;

    /// Says whether there is a row with this name of the type, as `exists` does.
    fn named(&self, name: &str, of: &Type) -> bool;

    /// Gives the type string of an active job output, if there is such an output.
    fn output_type(&self, pk: i64) -> Option<String>;

    /// Says whether the bytes with this SHA-256 (64 lower-case hex digits) are there.
    fn blob(&self, sha256_hex: &str) -> bool;
}

/// Says whether a value fits a type, and whether what it refers to exists.
///
/// # Errors
/// A sentence for people, when it does not.
pub fn fits(value: &Value, wanted: &Type, rows: &dyn Rows) -> Result<(), String> {
    fit(value, wanted, Some(rows))
}

/// Says whether a value has the shape of a type, whatever it refers to: for defaults, which may be older or newer than
/// the rows that they name.
///
/// # Errors
/// A sentence for people, when it has not.
pub fn fits_shape(value: &Value, wanted: &Type) -> Result<(), String> {
    fit(value, wanted, None)
}

/// Gives the hex digits of a blob's value, `sha256:HEX` (contract §11).
pub fn blob_digest(value: &Value) -> Option<&str> {
    let hex = value.as_str()?.strip_prefix("sha256:")?;
    (hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))).then_some(hex)
}

/// Says `Ok` if the condition holds, else that something else was wanted.
fn must(holds: bool, value: &Value, wanted: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("Must be {wanted}, not {}.", shown(value))) }
}

/// Shows a value within a sentence: short ones as they are, others by their kind.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Array(_) | Value::Object(_) => return kind_of(value).to_owned(),
        Value::String(text) if text.len() > 60 => return kind_of(value).to_owned(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    };
    format!("{text} ({})", kind_of(value)).replace("null (null)", "null")
}

/// Gives a key: a whole number from 1.
fn key(value: &Value) -> Option<i64> {
    value.as_i64().filter(|pk| *pk >= 1)
}

fn fit(value: &Value, wanted: &Type, rows: Option<&dyn Rows>) -> Result<(), String> {
    match wanted {
        Type::Known(kind, _) => fit_known(value, *kind, wanted, rows),
        // What an opaque name stands for is known to its workers alone.
        Type::Opaque(..) => Ok(()),
        Type::Text(text) => must(value.as_str() == Some(text), value, &wanted.to_string()),
        Type::Int(number) => must(value.as_i64() == Some(*number), value, &number.to_string()),
        Type::Float(number) => must(value.as_f64() == Some(*number), value, &wanted.to_string()),
        Type::Bool(truth) => must(value.as_bool() == Some(*truth), value, &truth.to_string()),
    }
}

fn fit_known(value: &Value, kind: Kind, wanted: &Type, rows: Option<&dyn Rows>) -> Result<(), String> {
    match kind {
        Kind::UfdlType | Kind::UfdlJsonType | Kind::Json => Ok(()),
        Kind::FiniteJsonType => must(
            value.is_null() || value.is_string() || value.is_object() || key(value).is_some(),
            value,
            "null, a text, a key or an object",
        ),
        Kind::ServerResidentType => must(value.is_object() || key(value).is_some(), value, "an object or a key"),
        Kind::NamedServerType | Kind::Dataset | Kind::PretrainedModel => must(value.is_object(), value, "an object"),
        Kind::ValueType => {
            must(value.is_string() || value.is_number() || value.is_boolean(), value, "a text, number, true or false")
        }
        Kind::Str => must(value.is_string(), value, "a text"),
        Kind::Int => must(value.is_i64() || value.is_u64(), value, "a whole number"),
        Kind::Float => must(value.is_number(), value, "a number"),
        Kind::Bool => must(value.is_boolean(), value, "true or false"),
        Kind::Nothing => must(value.is_null(), value, "null"),
        Kind::Array => fit_array(value, wanted, rows),
        Kind::Map => {
            let Value::Object(members) = value else { return must(false, value, "an object") };
            let of = wanted.argument(0);
            members.iter().try_for_each(|(name, member)| {
                fit(member, &of, rows).map_err(|why| format!("The member {name:?} does not fit: {why}"))
            })
        }
        Kind::Hardware | Kind::CudaVersion | Kind::Domain | Kind::DockerImage | Kind::Framework => {
            must(value.is_object(), value, "an object")?;
            match (value.get("pk"), rows) {
                (Some(pk), Some(_)) => fit_key(pk, wanted, rows),
                _ => Ok(()),
            }
        }
        Kind::JobOutput => fit_output(value, &wanted.argument(0), rows),
        Kind::Pk => fit_key(value, &wanted.argument(0), rows),
        Kind::Name => fit_name(value, &wanted.argument(0), rows),
        Kind::Blob => {
            let Some(hex) = blob_digest(value) else {
                return Err("Must be the text sha256: and 64 lower-case hex digits.".to_owned());
            };
            match rows {
                Some(rows) if !rows.blob(hex) => Err(format!("There are no bytes with the digest {hex} here.")),
                _ => Ok(()),
            }
        }
        Kind::Model | Kind::Compressed => Err(format!("A value of type {wanted} can't be written as JSON.")),
    }
}

fn fit_array(value: &Value, wanted: &Type, rows: Option<&dyn Rows>) -> Result<(), String> {
    let Value::Array(elements) = value else { return must(false, value, "an array") };
    if let Type::Int(length) = wanted.argument(1)
        && i64::try_from(elements.len()) != Ok(length)
    {
        return Err(format!("Must have {length} elements, not {}.", elements.len()));
    }
    let of = wanted.argument(0);
    elements.iter().enumerate().try_for_each(|(index, element)| {
        fit(element, &of, rows).map_err(|why| format!("The element at {index} does not fit: {why}"))
    })
}

/// Fits the key of a row of type `of`.
fn fit_key(value: &Value, of: &Type, rows: Option<&dyn Rows>) -> Result<(), String> {
    let Some(pk) = key(value) else { return must(false, value, "a key, which is a whole number from 1") };
    match (of.kind(), rows) {
        (Some(Kind::JobOutput), _) => fit_output(value, &of.argument(0), rows),
        (Some(kind), Some(rows)) if kind.is_kept() && !rows.exists(pk, of) => {
            Err(format!("There is no {of} with key {pk}."))
        }
        _ => Ok(()),
    }
}

/// Fits the name of a row of type `of`.
fn fit_name(value: &Value, of: &Type, rows: Option<&dyn Rows>) -> Result<(), String> {
    let Some(name) = value.as_str().filter(|name| !name.is_empty()) else { return must(false, value, "a name") };
    match (of.kind(), rows) {
        (Some(kind), Some(rows)) if kind.is_kept() && !rows.named(name, of) => {
            Err(format!("There is no {of} named {name:?}."))
        }
        _ => Ok(()),
    }
}

/// Fits the key of a job output whose bytes are of type `of`.
fn fit_output(value: &Value, of: &Type, rows: Option<&dyn Rows>) -> Result<(), String> {
    let Some(pk) = key(value) else { return must(false, value, "the key of a job output") };
    let Some(rows) = rows else { return Ok(()) };
    let own = rows.output_type(pk).ok_or_else(|| format!("There is no job output with key {pk}."))?;
    // The uploader names the type freely; what is no type string is compared as text.
    let is_of = match parse(&own) {
        Ok(own) => is_subtype(&own, of),
        Err(_) => of.kind() == Some(Kind::UfdlType) || own.trim() == of.to_string(),
    };
    if is_of { Ok(()) } else { Err(format!("The job output {pk} is of type {own:?}, not {of}.")) }
}

/// Reads a bare text as a value of a type: texts and names as they are, all else as JSON. `None` when it is not one.
/// The value still has to be fitted.
pub fn parse_text(text: &str, wanted: &Type) -> Option<Value> {
    let as_is = || Some(Value::from(text));
    match wanted {
        Type::Opaque(..) => as_is(),
        Type::Text(constant) if constant == text => as_is(),
        Type::Known(Kind::Str | Kind::Name | Kind::Blob, _) => as_is(),
        Type::Known(Kind::ValueType, _) => {
            let read = serde_json::from_str(text).ok().filter(|value: &Value| value.is_number() || value.is_boolean());
            read.or_else(as_is)
        }
        Type::Known(..) | Type::Text(_) | Type::Int(_) | Type::Float(_) | Type::Bool(_) => {
            serde_json::from_str(text).ok()
        }
    }
}

/// Reads a bare text as a value of the first of these types that it fits.
pub fn read_text<'a>(text: &str, types: &'a [Type]) -> Option<(Value, &'a Type)> {
    types.iter().find_map(|wanted| {
        let value = parse_text(text, wanted)?;
        fits_shape(&value, wanted).is_ok().then_some((value, wanted))
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A world with hardware 1, named Turing, the outputs 7 and 8, and one blob of zeros.
    struct World;

    impl Rows for World {
        fn exists(&self, pk: i64, of: &Type) -> bool {
            pk == 1 && of.kind() == Some(Kind::Hardware)
        }
        fn named(&self, name: &str, of: &Type) -> bool {
            name == "Turing" && of.kind() == Some(Kind::Hardware)
        }
        fn output_type(&self, pk: i64) -> Option<String> {
            match pk {
                7 => Some("Array< float >".to_owned()),
                8 => Some("text/csv; any".to_owned()),
                9 => Some("tficmodeltflite".to_owned()),
                _ => None,
            }
        }
        fn blob(&self, sha256_hex: &str) -> bool {
            sha256_hex == "0".repeat(64)
        }
    }

    #[test]
    fn values_fit_or_do_not() {
        let zeros = format!("sha256:{}", "0".repeat(64));
        let ones = format!("sha256:{}", "1".repeat(64));
        for (wanted, value, expected) in [
            ("int", json!(3), true),
            ("int", json!(3.5), false),
            ("int", json!(true), false),
            ("int", json!("3"), false),
            ("int", json!(u64::MAX), true),
            ("float", json!(3), true),
            ("float", json!(2.5), true),
            ("float", json!("x"), false),
            ("bool", json!(true), true),
            ("bool", json!(1), false),
            ("str", json!(""), true),
            ("str", json!(5), false),
            ("Nothing", json!(null), true),
            ("Nothing", json!(0), false),
            ("JSON", json!({"a": [null]}), true),
            ("ValueType", json!("x"), true),
            ("ValueType", json!([1]), false),
            ("ValueType", json!(null), false),
            ("Array<int>", json!([1, 2]), true),
            ("Array<int>", json!([]), true),
            ("Array<int>", json!([1, "x"]), false),
            ("Array", json!([1, "x"]), true),
            ("Array<int, 2>", json!([1, 2]), true),
            ("Array<int, 2>", json!([1]), false),
            ("Array<int, -1>", json!([]), false),
            ("Array<Array<int>>", json!([[1], []]), true),
            ("Map<int>", json!({"a": 1}), true),
            ("Map<int>", json!({"a": "x"}), false),
            ("Map<int>", json!([1]), false),
            ("PK<Hardware>", json!(1), true),
            ("PK<Hardware>", json!(99_999), false),
            ("PK<Hardware>", json!("1"), false),
            ("Name<Hardware>", json!("Turing"), true),
            ("Name<Hardware>", json!("Nobody"), false),
            ("PK<Dataset<Domain<'X'>>>", json!(12_345), true),
            ("PK<Dataset>", json!("x"), false),
            ("PK<Dataset>", json!(0), false),
            ("PK", json!(-1), false),
            ("Name<Dataset>", json!("set v1"), true),
            ("Name<Dataset>", json!(""), false),
            ("Hardware", json!({"pk": 1}), true),
            ("Hardware", json!({"pk": 2}), false),
            ("Hardware", json!(1), false),
            ("Dataset", json!({"pk": 2}), true),
            ("JobOutput<JSON>", json!(99_999), false),
            ("JobOutput<Array<float>>", json!(7), true),
            ("JobOutput", json!(7), true),
            ("JobOutput", json!(8), true),
            ("JobOutput<JSON>", json!(7), false),
            ("JobOutput<JSON>", json!(8), false),
            ("JobOutput<tficmodeltflite>", json!(9), true),
            ("PK<JobOutput<JSON>>", json!(7), false),
            ("PK<JobOutput>", json!(7), true),
            ("JobOutput", json!("7"), false),
            ("'red'", json!("red"), true),
            ("'red'", json!("blue"), false),
            ("3", json!(3), true),
            ("3", json!(4), false),
            ("2.5", json!(2.5), true),
            ("@true", json!(true), true),
            ("@true", json!(false), false),
            ("Model", json!({}), false),
            ("Compressed<JSON, 0>", json!("x"), false),
            ("BLOB<'zip'>", json!(zeros), true),
            ("BLOB<'zip'>", json!(ones), false),
            ("BLOB", json!("sha256:xyz"), false),
            ("dataset", json!(5), true),
            ("FiniteJSONType", json!(null), true),
            ("FiniteJSONType", json!(1.5), false),
            ("ServerResidentType", json!(5), true),
            ("NamedServerType", json!(5), false),
            ("UFDLType", json!([]), true),
        ] {
            let result = fits(&value, &parse(wanted).unwrap(), &World);
            assert_eq!(result.is_ok(), expected, "{value} as {wanted}: {result:?}");
        }
    }

    #[test]
    fn the_shape_alone_does_not_ask_for_rows() {
        for (wanted, value) in
            [("PK<Hardware>", json!(99)), ("JobOutput<JSON>", json!(99)), ("Name<Hardware>", json!("N"))]
        {
            assert_eq!(fits_shape(&value, &parse(wanted).unwrap()), Ok(()));
        }
        assert_eq!(
            fits_shape(&json!(["a", 1]), &parse("Array<str>").unwrap()),
            Err("The element at 1 does not fit: Must be a text, not 1 (a number).".to_owned())
        );
    }

    #[test]
    fn bare_texts_are_read_as_their_type() {
        for (text, wanted, expected) in [
            ("50000", "int", Some(json!(50_000))),
            ("false", "bool", Some(json!(false))),
            ("-1", "float", Some(json!(-1))),
            ("8G", "str", Some(json!("8G"))),
            ("5", "str", Some(json!("5"))),
            ("[1]", "Array<int>", Some(json!([1]))),
            ("x", "int", None),
            ("", "pk<docker_image>", Some(json!(""))),
            ("red", "'red'", Some(json!("red"))),
            ("5", "ValueType", Some(json!(5))),
            ("five", "ValueType", Some(json!("five"))),
        ] {
            assert_eq!(parse_text(text, &parse(wanted).unwrap()), expected, "{text:?} as {wanted}");
        }
    }
}
