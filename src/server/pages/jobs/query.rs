//! The filter box: a short way to write what the list language says (contract §9). `phase:errored -template:peak node:2`
//! becomes a list request, which the store checks and runs like one of the API's.

use serde_json::{Value, json};

use crate::domain::ids::UserId;
use crate::domain::lifecycle::Phase;
use crate::domain::time::Timestamp;

/// The terms, with what they mean, as the page shows them.
pub(super) const TERMS: &[(&str, &str)] = &[
    ("peak 7", "both words, in the description or the name of the template; a number is also a job's key"),
    ("phase:started", "created, started, finished, errored or cancelled; several with commas"),
    ("is:waiting", "waiting, held, hold, child, top, workflow, deleted"),
    ("template:peak", "the template's name holds this; version:2 for its version"),
    ("node:3  node:10.0.0", "the key of the node, or a part of its address"),
    ("by:ada  by:me", "who made it"),
    ("label.batch:7", "a label; label.batch:* for any value"),
    ("error:lamp", "why it failed; output:table for the name of an output"),
    ("age:<2h", "made less than two hours ago: s, min, h, d"),
    ("created:>2026-01-31", "also started: and ended:, UTC, with <, >, <=, >="),
    ("priority:>=5", "also attempt:, progress:, parent: and pk:"),
    ("sort:-priority", "pk, created, started, ended, priority, progress, phase, template, node; - turns it round"),
];

/// What was asked for.
#[derive(Debug)]
pub(in crate::server::pages) struct Asked {
    /// The body of a list request.
    pub(super) spec: Value,
}

/// A word of the box: `-KEY:VALUE`, of which key and sign may be missing.
#[derive(Debug, PartialEq)]
struct Term {
    is_negated: bool,
    key: Option<String>,
    value: String,
    /// Whether any of the value stood in quotes, so that its commas are text.
    is_quoted: bool,
}

/// Reads the text of the box.
///
/// # Errors
/// A sentence that names the term that can't be read, and says what could stand there.
pub(super) fn read(text: &str, now: Timestamp, me: UserId) -> Result<Asked, String> {
    let (mut expressions, mut order_by, mut wants_deleted) = (Vec::new(), Vec::new(), false);
    for term in terms(text)? {
        let key = term.key.as_deref();
        if key == Some("sort") {
            order_by.push(order(&term.value)?);
            continue;
        }
        wants_deleted |= key == Some("is") && term.value == "deleted" && !term.is_negated;
        let expression = match key {
            None => anywhere(&term.value),
            Some(key) => any_of(values(&term), |value| test(key, value, now, me))?,
        };
        expressions.push(if term.is_negated { not(expression) } else { expression });
    }
    if order_by.is_empty() {
        order_by.push(json!({"field": "pk", "ascending": false}));
    }
    let mut spec = json!({"expressions": expressions, "order_by": order_by});
    if wants_deleted && let Some(spec) = spec.as_object_mut() {
        spec.insert("include_inactive".to_owned(), true.into());
    }
    Ok(Asked { spec })
}

/// Cuts the text into terms at white space outside of quotes.
fn terms(text: &str) -> Result<Vec<Term>, String> {
    let mut terms = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        if chars.peek().is_none() {
            return Ok(terms);
        }
        let is_negated = chars.next_if_eq(&'-').is_some();
        let mut term = Term { is_negated, key: None, value: String::new(), is_quoted: false };
        while let Some(c) = chars.next_if(|c| !c.is_whitespace()) {
            match c {
                '"' => {
                    term.is_quoted = true;
                    loop {
                        match chars.next() {
                            Some('"') => break,
                            Some(c) => term.value.push(c),
                            None => return Err("A quote is opened and not closed.".to_owned()),
                        }
                    }
                }
                ':' if term.key.is_none() && !term.is_quoted && !term.value.is_empty() => {
                    term.key = Some(std::mem::take(&mut term.value));
                }
                c => term.value.push(c),
            }
        }
        if term.value.is_empty() && !term.is_quoted {
            return Err(match term.key {
                Some(key) => format!("`{key}:` wants a value behind it."),
                None => "A `-` wants a term behind it.".to_owned(),
            });
        }
        terms.push(term);
    }
}

/// Gives the values of a term: those between commas, unless it is quoted.
fn values(term: &Term) -> Vec<&str> {
    if term.is_quoted {
        return vec![&term.value];
    }
    term.value.split(',').filter(|value| !value.is_empty()).collect()
}

fn any_of(values: Vec<&str>, test: impl Fn(&str) -> Result<Value, String>) -> Result<Value, String> {
    let mut tests = values.into_iter().map(test).collect::<Result<Vec<_>, _>>()?;
    match tests.len() {
        0 => Err("A term wants a value behind its `:`.".to_owned()),
        1 => Ok(tests.remove(0)),
        _ => Ok(json!({"type": "or", "sub_expressions": tests})),
    }
}

fn not(expression: Value) -> Value {
    json!({"type": "and", "sub_expressions": [expression], "invert": true})
}

fn all(expressions: &[Value]) -> Value {
    json!({"type": "and", "sub_expressions": expressions})
}

fn exact(field: &str, value: impl Into<Value>) -> Value {
    json!({"type": "exact", "field": field, "value": value.into()})
}

fn contains(field: &str, text: &str) -> Value {
    json!({"type": "contains", "field": field, "sub_string": text, "case_insensitive": true})
}

fn is_null(field: &str) -> Value {
    json!({"type": "isnull", "field": field})
}

fn has(field: &str) -> Value {
    json!({"type": "isnull", "field": field, "invert": true})
}

fn compare(field: &str, operator: &str, value: impl Into<Value>) -> Value {
    match operator {
        "" | "=" => exact(field, value),
        _ => json!({"type": "compare", "field": field, "operator": operator, "value": value.into()}),
    }
}

/// Tests whether a word stands anywhere that people would look for it.
fn anywhere(word: &str) -> Value {
    let mut places = vec![contains("description", word), contains("template.name", word)];
    if let Ok(pk) = word.strip_prefix('#').unwrap_or(word).parse::<i64>() {
        places.push(exact("pk", pk));
    }
    json!({"type": "or", "sub_expressions": places})
}

/// Makes the test of one value.
fn test(key: &str, value: &str, now: Timestamp, me: UserId) -> Result<Value, String> {
    Ok(match key {
        "phase" => match Phase::parse(value) {
            Some(phase) => exact("phase", phase.as_str()),
            None => {
                return Err(format!("There is no phase `{value}`: created, started, finished, errored, cancelled."));
            }
        },
        "is" => is(value)?,
        "template" => contains("template.name", value),
        "text" => contains("description", value),
        "error" => contains("error_reason", value),
        "output" => contains("outputs.name", value),
        "node" => match value.parse::<i64>() {
            Ok(pk) => exact("node", pk),
            Err(_) => contains("node.ip", value),
        },
        "by" if value == "me" => exact("creator", me.0),
        "by" => exact("creator.username", value),
        "version" => number("template.version", key, value)?,
        "pk" | "parent" | "priority" | "attempt" => number(key, key, value)?,
        "progress" => fraction(value)?,
        "created" => time("creation_time", value, now)?,
        "started" => time("start_time", value, now)?,
        "ended" => time("end_time", value, now)?,
        "age" => age(value, now)?,
        _ => match key.strip_prefix("label.") {
            Some(name) if value == "*" => has(&format!("labels.{name}")),
            Some(name) => exact(&format!("labels.{name}"), value),
            None => {
                let known = "phase, is, template, version, node, by, label.NAME, text, error, output, created, started, \
                     ended, age, priority, attempt, progress, parent, pk, sort";
                return Err(format!("There is no term `{key}:`. Known are {known}. Put text with a colon in quotes."));
            }
        },
    })
}

fn is(value: &str) -> Result<Value, String> {
    let created = || exact("phase", "created");
    Ok(match value {
        "waiting" => all(&[created(), is_null("node"), exact("hold", false)]),
        "held" => all(&[created(), has("node")]),
        "hold" => all(&[created(), exact("hold", true)]),
        "child" => has("parent"),
        "top" => is_null("parent"),
        "workflow" => has("template.metatemplate"),
        "deleted" => has("deletion_time"),
        _ => {
            let known = "waiting, held, hold, child, top, workflow, deleted";
            return Err(format!("There is no `is:{value}`: known are {known}."));
        }
    })
}

/// Takes the sign of a comparison off a value.
fn signed(value: &str) -> (&str, &str) {
    for sign in [">=", "<=", ">", "<", "="] {
        if let Some(rest) = value.strip_prefix(sign) {
            return (sign, rest);
        }
    }
    ("", value)
}

fn number(field: &str, key: &str, value: &str) -> Result<Value, String> {
    let (sign, digits) = signed(value);
    let number: i64 = digits.parse().map_err(|_| format!("`{key}:` wants a whole number, not `{value}`."))?;
    Ok(compare(field, sign, number))
}

/// Reads a share of 1, or one of 100 with `%`.
fn fraction(value: &str) -> Result<Value, String> {
    let (sign, text) = signed(value);
    let (text, unit) = text.strip_suffix('%').map_or((text, 1.0), |text| (text, 0.01));
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(compare("progress_amount", sign, number * unit)),
        _ => Err(format!("`progress:` wants a number such as 0.5 or 50%, not `{value}`.")),
    }
}

/// Reads a day, a point in time, or a time before now; a day without a sign is that day from its beginning to its end.
fn time(field: &str, value: &str, now: Timestamp) -> Result<Value, String> {
    const DAY_S: i64 = 24 * 60 * 60;
    let (sign, text) = signed(value);
    let bad = || format!("`{value}` is no time: 2026-01-31, 2026-01-31T12:00:00Z, or 2h for two hours ago.");
    if let Some(seconds) = seconds(text) {
        let sign = if sign.is_empty() { ">=" } else { sign };
        return Ok(compare(field, sign, now.plus_seconds(-seconds).to_string()));
    }
    if let Some(time) = Timestamp::parse(text) {
        return Ok(compare(field, sign, time.to_string()));
    }
    let day = Timestamp::parse(&format!("{text}T00:00:00Z")).ok_or_else(bad)?;
    let (from, to) = (day.to_string(), day.plus_seconds(DAY_S).to_string());
    Ok(match sign {
        "" | "=" => all(&[compare(field, ">=", from), compare(field, "<", to)]),
        // Behind a day is after its end.
        ">" => compare(field, ">=", to),
        "<=" => compare(field, "<", to),
        _ => compare(field, sign, from),
    })
}

/// Reads how old a job may be, or must be.
fn age(value: &str, now: Timestamp) -> Result<Value, String> {
    let (sign, text) = signed(value);
    let seconds = seconds(text).ok_or_else(|| format!("`age:` wants a span such as <2h or >3d, not `{value}`."))?;
    let turned = match sign {
        ">" | ">=" => "<",
        _ => ">",
    };
    Ok(compare("creation_time", turned, now.plus_seconds(-seconds).to_string()))
}

/// Reads a span such as `90s`, `15min`, `2h` or `3d`, in seconds.
fn seconds(text: &str) -> Option<i64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(unit_at);
    let unit_s = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    digits.parse::<i64>().ok()?.checked_mul(unit_s)
}

fn order(value: &str) -> Result<Value, String> {
    let (is_descending, name) = value.strip_prefix('-').map_or((false, value), |name| (true, name));
    let field = match name {
        "pk" | "priority" | "phase" => name,
        "created" => "creation_time",
        "started" => "start_time",
        "ended" => "end_time",
        "progress" => "progress_amount",
        "template" => "template.name",
        "node" => "node",
        _ => {
            let known = "pk, created, started, ended, priority, progress, phase, template, node";
            return Err(format!("Jobs can't be sorted by `{name}`: known are {known}."));
        }
    };
    Ok(json!({"field": field, "ascending": !is_descending}))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::jobs::listing;

    const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

    fn spec(text: &str) -> Value {
        read(text, NOW, UserId(7)).unwrap_or_else(|problem| panic!("{text}: {problem}")).spec
    }

    #[test]
    fn terms_become_the_list_language() {
        let newest_first = json!([{"field": "pk", "ascending": false}]);
        assert_eq!(spec(""), json!({"expressions": [], "order_by": newest_first}));
        let read = spec("phase:started,errored -template:\"a, b\" by:me label.k:v sort:-priority");
        let phases = [exact("phase", "started"), exact("phase", "errored")];
        let expected = json!({
            "expressions": [
                {"type": "or", "sub_expressions": phases},
                not(contains("template.name", "a, b")),
                exact("creator", 7),
                exact("labels.k", "v"),
            ],
            "order_by": [{"field": "priority", "ascending": false}],
        });
        assert_eq!(read, expected);
        assert_eq!(spec("is:deleted")["include_inactive"], json!(true));
        assert_eq!(spec("-is:deleted")["include_inactive"], Value::Null);
        let day = spec("created:2026-01-31")["expressions"][0].clone();
        assert_eq!(day["sub_expressions"][1]["value"], json!("2026-02-01T00:00:00.000000Z"));
        let age = spec("age:<2h")["expressions"][0].clone();
        assert_eq!(age, compare("creation_time", ">", NOW.plus_seconds(-7_200).to_string()));
    }

    #[test]
    fn every_term_of_the_help_is_taken_by_the_store() {
        for (terms, _) in TERMS {
            listing().parse(&spec(terms)).unwrap_or_else(|problems| panic!("{terms}: {}", problems.sentence()));
        }
        for kind in ["waiting", "held", "hold", "child", "top", "workflow", "deleted"] {
            listing().parse(&spec(&format!("is:{kind} -is:{kind}"))).unwrap();
        }
        for key in ["pk", "created", "started", "ended", "priority", "progress", "phase", "template", "node"] {
            listing().parse(&spec(&format!("sort:{key} sort:-{key}"))).unwrap();
        }
    }

    #[test]
    fn what_can_not_be_read_is_named() {
        for (text, word) in [
            ("phase:broken", "`broken`"),
            ("colour:red", "`colour:`"),
            ("is:blue", "`is:blue`"),
            ("priority:high", "`high`"),
            ("progress:nan", "`nan`"),
            ("created:yesterday", "`yesterday`"),
            ("age:old", "`old`"),
            ("sort:colour", "`colour`"),
            ("template:", "`template:`"),
            ("\"open", "quote"),
            ("-", "`-`"),
            ("phase:,", "value"),
        ] {
            let problem = read(text, NOW, UserId(1)).unwrap_err();
            assert!(problem.contains(word), "{text}: {problem}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_filter_or_a_sentence(text in "\\PC{0,60}", key in "(phase|is|age|created|label.x|node|sort|progress)") {
            for text in [text.clone(), format!("{key}:{text}"), format!("-{key}:<{text}")] {
                if let Ok(asked) = read(&text, NOW, UserId(1)) {
                    // What the box takes, the list language takes, or names what is wrong.
                    drop(listing().parse(&asked.spec));
                }
            }
        }
    }
}
