//! Texts with placeholders: `{pk}` and its like stand for a message's fields, `{{` and `}}` for braces.

use super::Message;

/// Bytes of a text once its placeholders are filled: a few of them can stand for a megabyte each.
const FILLED_BYTES_MAX: usize = 256 << 10;

/// A placeholder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Pk,
    Description,
    Transition,
    Progress,
    Cancelled,
    Node,
    Error,
    TransitionData,
}

impl Field {
    const ALL: [(&'static str, Self); 8] = [
        ("pk", Self::Pk),
        ("description", Self::Description),
        ("transition", Self::Transition),
        ("progress", Self::Progress),
        ("cancelled", Self::Cancelled),
        ("node", Self::Node),
        ("error", Self::Error),
        ("transition_data", Self::TransitionData),
    ];
}

/// A part of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Plain(&'a str),
    Field(Field),
}

/// Cuts the first piece off a text that is not empty; gives it with what is left.
fn first_piece(text: &str) -> Result<(Piece<'_>, &str), String> {
    for brace in ["{", "}"] {
        if let Some(rest) = text.strip_prefix(brace).and_then(|rest| rest.strip_prefix(brace)) {
            return Ok((Piece::Plain(brace), rest));
        }
    }
    if text.starts_with('}') {
        return Err("There is a } that closes nothing; a brace as such is written }}.".to_owned());
    }
    if let Some(rest) = text.strip_prefix('{') {
        let Some((name, rest)) = rest.split_once('}') else {
            return Err("There is a { without its }; a brace as such is written {{.".to_owned());
        };
        return match Field::ALL.into_iter().find(|(known, _)| *known == name) {
            Some((_, field)) => Ok((Piece::Field(field), rest)),
            None => {
                let known: Vec<&str> = Field::ALL.into_iter().map(|(known, _)| known).collect();
                Err(format!("There is no field {{{name}}}; those there are: {}.", known.join(", ")))
            }
        };
    }
    let (plain, rest) = text.split_at(text.find(['{', '}']).unwrap_or(text.len()));
    Ok((Piece::Plain(plain), rest))
}

/// Says what is wrong with a text's placeholders, if anything is.
pub(super) fn check(mut text: &str) -> Result<(), String> {
    while !text.is_empty() {
        (_, text) = first_piece(text)?;
    }
    Ok(())
}

/// Fills a text's placeholders with a message's fields. Each is replaced once, so braces in a field's value stay as
/// they are; a field that the message has not, such as the node of a free job, becomes nothing. From a mistake on,
/// which no text that has been parsed has, the text stays as it is. What is over 256 KiB is cut off, and says so.
pub fn render(text: &str, message: &Message) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut left = text;
    while !left.is_empty() && filled.len() <= FILLED_BYTES_MAX {
        match first_piece(left) {
            Ok((Piece::Plain(plain), rest)) => {
                filled.push_str(plain);
                left = rest;
            }
            Ok((Piece::Field(field), rest)) => {
                push(&mut filled, field, message);
                left = rest;
            }
            Err(_) => {
                filled.push_str(left);
                break;
            }
        }
    }
    if filled.len() > FILLED_BYTES_MAX {
        let end = (0..=FILLED_BYTES_MAX).rev().find(|end| filled.is_char_boundary(*end));
        filled.truncate(end.unwrap_or_default());
        filled.push_str("… (cut)");
    }
    filled
}

/// Writes a field's value.
fn push(out: &mut String, field: Field, message: &Message) {
    match field {
        Field::Pk => out.push_str(&message.pk.to_string()),
        Field::Description => out.push_str(&message.description),
        Field::Transition => out.push_str(message.transition.as_str()),
        Field::Progress => out.push_str(&message.progress.to_string()),
        Field::Cancelled => out.push_str(if message.cancelled { "true" } else { "false" }),
        Field::Node => out.extend(message.node.map(|node| node.to_string())),
        Field::Error => out.push_str(message.error.as_deref().unwrap_or_default()),
        Field::TransitionData => out.push_str(message.transition_data.get()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::domain::ids::{JobId, NodeId};
    use crate::domain::lifecycle::Transition;

    fn message() -> Message {
        Message {
            transition: Transition::Acquire,
            description: "scan {pk} of Müller".to_owned(),
            pk: JobId(7),
            progress: 0.0,
            cancelled: false,
            node: Some(NodeId(3)),
            error: None,
            transition_data: RawValue::from_string(r#"{"epoch":3}"#.to_owned()).unwrap(),
        }
    }

    #[test]
    fn every_field_is_filled_in_once() {
        let text = "{pk} {description} {transition} {progress} {cancelled} {node} {error} {transition_data}";
        assert_eq!(render(text, &message()), r#"7 scan {pk} of Müller acquire 0 false 3  {"epoch":3}"#);
        let late = Message { progress: 0.25, cancelled: true, node: None, error: Some("boom".to_owned()), ..message() };
        assert_eq!(render("{progress}{cancelled}{node}{error}", &late), "0.25trueboom");
    }

    #[test]
    fn doubled_braces_are_braces() {
        assert_eq!(render("{{pk}} = {{{pk}}} ü", &message()), "{pk} = {7} ü");
    }

    #[test]
    fn bad_texts_are_told_and_left_as_they_are() {
        for (text, says) in [
            ("{nope}", "{nope}"),
            ("{pk.__class__}", "{pk.__class__}"),
            ("{pk!r}", "{pk!r}"),
            ("{ pk }", "{ pk }"),
            ("{}", "{}"),
            ("{PK}", "{PK}"),
            ("open {pk", "without its }"),
            ("{", "without its }"),
            ("}", "closes nothing"),
            ("{{}", "closes nothing"),
            ("{a{pk}", "{a{pk}"),
        ] {
            let sentence = check(text).unwrap_err();
            assert!(sentence.contains(says), "{text}: {sentence}");
        }
        for text in ["", "plain", "{pk}", "{{}}", "{{{{{transition}", "€{node}€"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        assert_eq!(render("{pk} {nope} {pk}", &message()), "7 {nope} {pk}");
    }

    #[test]
    fn a_few_placeholders_can_not_fill_the_memory() {
        let long = Message { description: "ü".repeat(500_000), ..message() };
        let filled = render(&"{description}".repeat(10_000), &long);
        assert!(filled.len() < FILLED_BYTES_MAX + 20 && filled.ends_with("ü… (cut)"), "{} bytes", filled.len());
    }

    #[test]
    fn what_a_message_has_not_is_left_out_of_its_json() {
        let json = serde_json::to_string(&Message { node: None, ..message() }).unwrap();
        let expected = concat!(
            r#"{"transition":"acquire","description":"scan {pk} of Müller","pk":7,"progress":0.0,"cancelled":false,"#,
            r#""transition_data":{"epoch":3}}"#
        );
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_str::<Message>(&json).unwrap().node, None);
    }
}
