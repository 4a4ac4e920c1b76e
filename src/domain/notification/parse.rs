//! Reading what create-job, or the server's settings, ask of notifications (contract §10).

use std::collections::BTreeMap;

use serde_json::Value;

use super::text::check;
use super::{Actions, Entry, Means, Override, Requested};
use crate::domain::fields::{Fields, Problems, array, boolean, object, text};

/// Notifications that one transition may have.
const ENTRIES_MAX: usize = 32;
/// Characters of a subject.
const SUBJECT_CHARS_MAX: usize = 1_000;
/// Characters of a message or a body.
const TEXT_CHARS_MAX: usize = 100_000;
/// Addresses in one of `to`, `cc` and `bcc`.
const ADDRESSES_MAX: usize = 100;
/// Characters of an address; SMTP allows no more.
const ADDRESS_CHARS_MAX: usize = 254;

/// Reads what create-job asks of notifications, for the job and for its children. `children` names the children that
/// may be spoken of; it is `None` for a workable template, which has none.
///
/// # Errors
/// By field: `notification_override.…` and `child_notification_overrides.NAME.…`.
pub fn parse_requested(
    notification_override: Option<&Value>,
    child_overrides: Option<&Value>,
    children: Option<&[String]>,
) -> Result<Requested, Problems> {
    let mut problems = Problems::default();
    let mut requested = Requested::default();
    match notification_override.map(parse_override) {
        None => {}
        Some(Ok(own)) => requested.own = Some(own),
        Some(Err(inner)) => add_within(&mut problems, "notification_override", inner),
    }
    match child_overrides.map(|value| parse_children(value, children)) {
        None => {}
        Some(Ok(asked)) => requested.children = asked,
        Some(Err(inner)) => add_within(&mut problems, "child_notification_overrides", inner),
    }
    problems.into_result(requested)
}

/// Reads the overrides for the children of a meta-job, by child.
fn parse_children(value: &Value, children: Option<&[String]>) -> Result<BTreeMap<String, Override>, Problems> {
    let given = object(value).map_err(|sentence| Problems::one("", sentence))?;
    let mut problems = Problems::default();
    let mut asked = BTreeMap::new();
    for (name, value) in given {
        match children {
            None => {
                let sentence = format!("There is no child {name:?}: the template is workable, so its jobs have none.");
                problems.add("", sentence);
            }
            Some(children) if !children.contains(name) => {
                problems.add(name, format!("The template has no child {name:?}."));
            }
            Some(_) => match parse_override(value) {
                Ok(own) => drop(asked.insert(name.clone(), own)),
                Err(inner) => add_within(&mut problems, name, inner),
            },
        }
    }
    problems.into_result(asked)
}

/// Reads an override, `{actions, keep_default?}`.
///
/// # Errors
/// By field, such as `actions.on_start[0].message`; a value that is no object has its problem under the empty name.
pub fn parse_override(value: &Value) -> Result<Override, Problems> {
    let mut fields = Fields::new(object(value).map_err(|sentence| Problems::one("", sentence))?);
    let mut inner = Problems::default();
    let actions = fields.required("actions", |value| {
        Ok(parse_actions(value).unwrap_or_else(|found| {
            add_within(&mut inner, "actions", found);
            Actions::default()
        }))
    });
    let keep_default = fields.optional("keep_default", boolean).unwrap_or_default();
    fields.problems_here(inner);
    fields.finish()?;
    Ok(Override { actions: actions.unwrap_or_default(), keep_default })
}

/// Reads notifications by transition, `{on_start: [..], ..}`: the `actions` of an override, or the server's defaults.
///
/// # Errors
/// By field, such as `on_start[0].message`; a value that is no object has its problem under the empty name.
pub fn parse_actions(value: &Value) -> Result<Actions, Problems> {
    let mut fields = Fields::new(object(value).map_err(|sentence| Problems::one("", sentence))?);
    let mut inner = Problems::default();
    let mut actions = Actions::default();
    for (name, transition) in Actions::LISTS {
        let Some(given) = fields.optional(name, array) else { continue };
        if given.len() > ENTRIES_MAX {
            fields.problem(name, format!("Must have at most {ENTRIES_MAX} entries."));
            continue;
        }
        for (index, value) in given.iter().enumerate() {
            match (parse_entry(value), actions.list_mut(transition)) {
                (Ok(entry), Some(list)) => list.push(entry),
                (Ok(_), None) => {}
                (Err(found), _) => add_within(&mut inner, &format!("{name}[{index}]"), found),
            }
        }
    }
    fields.problems_here(inner);
    fields.finish()?;
    Ok(actions)
}

/// Reads one notification. What it is follows from its fields: a `message` is printed, a `subject` or a `body` or any
/// address makes an e-mail, and with none of them it goes to the watchers.
fn parse_entry(value: &Value) -> Result<Entry, Problems> {
    let object = object(value).map_err(|sentence| Problems::one("", sentence))?;
    let mut fields = Fields::new(object);
    let means = if object.contains_key("message") {
        fields.required("message", template(TEXT_CHARS_MAX)).map(|message| Means::Print { message })
    } else if ["subject", "body", "to", "cc", "bcc"].iter().any(|name| object.contains_key(*name)) {
        let subject = fields.required("subject", template(SUBJECT_CHARS_MAX));
        let body = fields.required("body", template(TEXT_CHARS_MAX));
        let to = fields.optional("to", addresses);
        let cc = fields.optional("cc", addresses).unwrap_or_default();
        let bcc = fields.optional("bcc", addresses).unwrap_or_default();
        subject.zip(body).map(|(subject, body)| Means::Email { subject, body, to, cc, bcc })
    } else {
        Some(Means::Websocket {})
    };
    let suppress_for_parent = fields.optional("suppress_for_parent", boolean).unwrap_or(true);
    fields.finish()?;
    // A field that is missing or bad has failed the line above.
    Ok(Entry { means: means.unwrap_or(Means::Websocket {}), suppress_for_parent })
}

/// Takes a text whose placeholders are known.
fn template(chars_max: usize) -> impl FnOnce(&Value) -> Result<String, String> {
    move |value| {
        let text = text(0..=chars_max)(value)?;
        check(&text)?;
        Ok(text)
    }
}

/// Takes an array of addresses. Whether they can be reached shows when something is sent; here they only have to look
/// like addresses.
fn addresses(value: &Value) -> Result<Vec<String>, String> {
    let given = array(value)?;
    if given.len() > ADDRESSES_MAX {
        return Err(format!("Must have at most {ADDRESSES_MAX} addresses."));
    }
    given.iter().map(|value| text(1..=ADDRESS_CHARS_MAX)(value).and_then(address)).collect()
}

fn address(text: String) -> Result<String, String> {
    let parts = text.rsplit_once('@').filter(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if parts.is_none() || text.contains(|c: char| c.is_control() || c.is_whitespace() || "<>,;\"\\".contains(c)) {
        return Err(format!("{text:?} is not an e-mail address."));
    }
    Ok(text)
}

/// Adds the problems found inside a field; those under the empty name are the field's own.
fn add_within(problems: &mut Problems, name: &str, inner: Problems) {
    for (field, sentences) in inner.into_fields() {
        let field = if field.is_empty() { name.to_owned() } else { format!("{name}.{field}") };
        sentences.into_iter().for_each(|sentence| problems.add(field.as_str(), sentence));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::lifecycle::Transition;

    fn names(result: Result<impl std::fmt::Debug, Problems>) -> Vec<String> {
        result.unwrap_err().names().map(str::to_owned).collect()
    }

    #[test]
    fn the_kinds_are_told_apart_by_their_fields() {
        let email =
            json!({"subject": "s {pk}", "body": "b", "to": ["a@lab.example"], "cc": [], "bcc": ["c@lab.example"]});
        let asked = json!({"actions": {"on_start": [{}, {"message": "x"}, email, {"suppress_for_parent": false}]}});
        let parsed = parse_override(&asked).unwrap();
        assert!(!parsed.keep_default);
        let expected = [
            Means::Websocket {},
            Means::Print { message: "x".to_owned() },
            Means::Email {
                subject: "s {pk}".to_owned(),
                body: "b".to_owned(),
                to: Some(vec!["a@lab.example".to_owned()]),
                cc: vec![],
                bcc: vec!["c@lab.example".to_owned()],
            },
            Means::Websocket {},
        ];
        assert_eq!(parsed.actions.due(Transition::Start, false).cloned().collect::<Vec<_>>(), expected);
        let suppressed: Vec<bool> = parsed.actions.all().map(|entry| entry.suppress_for_parent).collect();
        assert_eq!(suppressed, [true, true, true, false]);
        assert!(parse_override(&json!({"actions": {}, "keep_default": true})).unwrap().keep_default);
    }

    #[test]
    fn every_transition_has_its_list() {
        for (name, transition) in Actions::LISTS {
            let parsed = parse_actions(&json!({ name: [{"message": "x"}] })).unwrap();
            assert_eq!((parsed.list(transition).len(), parsed.all().count()), (1, 1), "{name}");
        }
    }

    #[test]
    fn every_mistake_is_named_by_its_place() {
        for (given, expected) in [
            (json!(5), ""),
            (json!({}), "actions"),
            (json!({"actions": []}), "actions"),
            (json!({"actions": {}, "keep_default": "yes"}), "keep_default"),
            (json!({"actions": {}, "colour": 1}), "colour"),
            (json!({"actions": {"on_boil": []}}), "actions.on_boil"),
            (json!({"actions": {"on_create": []}}), "actions.on_create"),
            (json!({"actions": {"on_start": {}}}), "actions.on_start"),
            (json!({"actions": {"on_start": vec![json!({}); 33]}}), "actions.on_start"),
            (json!({"actions": {"on_start": [{}, "x"]}}), "actions.on_start[1]"),
            (json!({"actions": {"on_start": [{"message": 5}]}}), "actions.on_start[0].message"),
            (json!({"actions": {"on_start": [{"message": "{nope}"}]}}), "actions.on_start[0].message"),
            (json!({"actions": {"on_start": [{"message": "x", "colour": 1}]}}), "actions.on_start[0].colour"),
            (json!({"actions": {"on_start": [{"message": "x", "subject": "y"}]}}), "actions.on_start[0].subject"),
            (json!({"actions": {"on_finish": [{"subject": "s"}]}}), "actions.on_finish[0].body"),
            (json!({"actions": {"on_finish": [{"subject": "{x}", "body": ""}]}}), "actions.on_finish[0].subject"),
            (json!({"actions": {"on_start": [{"suppress_for_parent": 1}]}}), "actions.on_start[0].suppress_for_parent"),
        ] {
            assert_eq!(names(parse_override(&given)), [expected], "{given}");
        }
    }

    #[test]
    fn addresses_are_arrays_of_what_looks_like_one() {
        let mail = |to: Value| parse_actions(&json!({"on_error": [{"subject": "s", "body": "b", "to": to}]}));
        assert!(mail(json!(["a@b", "first.last+tag@lab.example", "ü@lab.example"])).is_ok());
        let many = json!(vec!["a@b"; 101]);
        for bad in
            [json!("a@b"), json!([5]), json!(["a"]), json!(["@b"]), json!(["a@"]), json!(["a@b\r\nBcc: c@d"]), many]
        {
            assert_eq!(names(mail(bad.clone())), ["on_error[0].to"], "{bad}");
        }
    }

    #[test]
    fn children_are_named_when_there_are_none_of_that_name() {
        let good = json!({"actions": {"on_start": [{"message": "child {pk} runs"}]}});
        let children = ["a".to_owned(), "a:b".to_owned()];
        let ask = |given: Value| parse_requested(None, Some(&given), Some(&children));
        let requested = ask(json!({"a": good, "a:b": {"actions": {}}})).unwrap();
        assert_eq!(requested.children.keys().collect::<Vec<_>>(), ["a", "a:b"]);
        assert_eq!(names(ask(json!({"nobody": good}))), ["child_notification_overrides.nobody"]);
        let bad = json!({"a": {"actions": {"on_start": [{"message": 5}]}}});
        assert_eq!(names(ask(bad)), ["child_notification_overrides.a.actions.on_start[0].message"]);
        assert_eq!(names(ask(json!([]))), ["child_notification_overrides"]);
    }

    #[test]
    fn jobs_of_a_workable_template_have_no_children() {
        let children = json!({"a": {"actions": {}}});
        let own = json!({"actions": []});
        let both = ["child_notification_overrides", "notification_override.actions"];
        assert_eq!(names(parse_requested(Some(&own), Some(&children), None)), both);
        assert_eq!(parse_requested(None, Some(&json!({})), None), Ok(Requested::default()));
        assert_eq!(parse_requested(None, None, None), Ok(Requested::default()));
    }
}
