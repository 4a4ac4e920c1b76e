//! Conditions as people write them, `progress_amount >= 0.5`, made into the filter language (contract §9).

use serde_json::{Value, json};

use crate::domain::time::Timestamp;

/// The signs, the longer ones before those that they begin with.
const SIGNS: [&str; 7] = ["!=", "!~", "<=", ">=", "=", "~", "<"];
const MORE: &str = ">";

/// Reads `FIELD SIGN VALUE`, `FIELD is null` or `FIELD is not null`.
///
/// # Errors
/// A sentence that says what a condition looks like.
pub(super) fn parse(text: &str, now: Timestamp) -> Result<Value, String> {
    let text = text.trim();
    if let Some(field) = strip_words(text, &["is", "not", "null"]) {
        return Ok(json!({"type": "isnull", "field": field, "invert": true}));
    }
    if let Some(field) = strip_words(text, &["is", "null"]) {
        return Ok(json!({"type": "isnull", "field": field}));
    }
    let bad = || {
        format!(
            "{text:?} is no condition: write FIELD SIGN VALUE, with one of = != < <= > >= and ~ !~ (contains), or \
             FIELD is null, or FIELD is not null"
        )
    };
    let field_end = text.find(|c: char| "!=<>~".contains(c) || c.is_whitespace()).ok_or_else(bad)?;
    let (field, rest) = text.split_at(field_end);
    let rest = rest.trim_start();
    let sign = SIGNS.iter().chain([&MORE]).find(|sign| rest.starts_with(**sign)).ok_or_else(bad)?;
    let value = rest[sign.len()..].trim();
    if field.is_empty() || value.is_empty() {
        return Err(bad());
    }
    let is_label = field.starts_with("labels.");
    Ok(match *sign {
        "=" | "!=" => {
            let value = if is_label { Value::from(unquoted(value)) } else { literal(value, now) };
            with_invert(json!({"type": "exact", "field": field, "value": value}), *sign == "!=")
        }
        "~" | "!~" => {
            let part = unquoted(value);
            let test = json!({"type": "contains", "field": field, "sub_string": part, "case_insensitive": true});
            with_invert(test, *sign == "!~")
        }
        sign => json!({"type": "compare", "field": field, "operator": sign, "value": literal(value, now)}),
    })
}

fn with_invert(mut test: Value, invert: bool) -> Value {
    if invert {
        test["invert"] = true.into();
    }
    test
}

/// Takes words off the end, whatever the spaces between them; `None` unless a single word is left.
fn strip_words<'a>(text: &'a str, words: &[&str]) -> Option<&'a str> {
    let mut rest = text;
    for word in words.iter().rev() {
        let (before, last) = rest.rsplit_once(char::is_whitespace)?;
        if !last.eq_ignore_ascii_case(word) {
            return None;
        }
        rest = before.trim_end();
    }
    (!rest.is_empty() && !rest.contains(char::is_whitespace)).then_some(rest)
}

/// Takes quotes off.
fn unquoted(value: &str) -> &str {
    let between = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    between('"').or_else(|| between('\'')).unwrap_or(value)
}

/// Reads a value: a number, a truth value, a time such as `2h ago`, or else a text. What stands in quotes is a text.
fn literal(value: &str, now: Timestamp) -> Value {
    if unquoted(value).len() != value.len() {
        return unquoted(value).into();
    }
    if let Some(seconds) = value.strip_suffix("ago").and_then(|span| seconds(span.trim())) {
        return now.plus_seconds(-seconds).to_string().into();
    }
    let read = serde_json::from_str(value).ok().filter(|read: &Value| read.is_number() || read.is_boolean());
    // `.5` is no JSON, and a number all the same; words that stand for numbers are words.
    let number = || value.parse::<f64>().ok().filter(|_| !value.contains(char::is_alphabetic)).map(Value::from);
    read.or_else(number).unwrap_or_else(|| value.into())
}

/// Reads a length of time: a number and `s`, `m`, `h` or `d`.
fn seconds(span: &str) -> Option<i64> {
    let unit = span.chars().last()?;
    let number: i64 = span[..span.len() - unit.len_utf8()].trim().parse().ok().filter(|number| *number >= 0)?;
    number.checked_mul(match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_become_tests() {
        let now = Timestamp::parse("2026-01-02T03:00:00Z").unwrap();
        for (text, test) in [
            ("phase = errored", json!({"type": "exact", "field": "phase", "value": "errored"})),
            ("attempt!=1", json!({"type": "exact", "field": "attempt", "value": 1, "invert": true})),
            ("hold=true", json!({"type": "exact", "field": "hold", "value": true})),
            ("description = '5'", json!({"type": "exact", "field": "description", "value": "5"})),
            ("labels.plate = 7", json!({"type": "exact", "field": "labels.plate", "value": "7"})),
            (
                "description ~ \"a = b\"",
                json!({"type": "contains", "field": "description", "sub_string": "a = b", "case_insensitive": true}),
            ),
            (
                "progress_amount>=.5",
                json!({"type": "compare", "field": "progress_amount", "operator": ">=", "value": 0.5}),
            ),
            (
                "creation_time > 2h ago",
                json!({"type": "compare", "field": "creation_time", "operator": ">",
                       "value": "2026-01-02T01:00:00.000000Z"}),
            ),
            ("node is  null", json!({"type": "isnull", "field": "node"})),
            ("node IS NOT NULL", json!({"type": "isnull", "field": "node", "invert": true})),
        ] {
            assert_eq!(parse(text, now), Ok(test), "{text}");
        }
        for bad in ["", "phase", "= 3", "phase =", "phase errored", "a b is null", "phase ? 3"] {
            assert!(parse(bad, now).unwrap_err().contains("is null"), "{bad:?}");
        }
    }
}
