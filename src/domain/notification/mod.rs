//! Who is told of a job's transitions, and how: what create-job may ask for, and what comes of it (contract §10).
//!
//! An [`Override`] is what was asked for one job; [`Requested`] is what was asked for a job and, if it is a meta-job,
//! for its children. Both are stored as the JSON in which they were given. A [`Message`] is what a transition says;
//! its fields fill the placeholders of a text ([`render`]), and its JSON is what watchers get.

mod parse;
mod text;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use parse::{parse_actions, parse_override, parse_requested};
pub use text::render;

use super::ids::{JobId, NodeId};
use super::lifecycle::Transition;

/// What a transition says: to watchers as JSON, to people through the placeholders of a text.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Message {
    /// What happened.
    pub transition: Transition,
    /// What the job's creator wrote about it.
    pub description: String,
    /// The job.
    pub pk: JobId,
    /// How far the job has come, from 0 to 1.
    pub progress: f64,
    /// Whether the job is cancelled.
    pub cancelled: bool,
    /// The node that holds the job, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<NodeId>,
    /// Why the job failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What the caller sent along, a JSON object as text.
    pub transition_data: Box<RawValue>,
}

/// A way to tell people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Means {
    /// A line in the server's log.
    Print {
        /// The line, with placeholders.
        message: String,
    },
    /// An e-mail.
    Email {
        /// Its subject, with placeholders.
        subject: String,
        /// Its text, with placeholders.
        body: String,
        /// To whom; the job's creator when left out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Vec<String>>,
        /// Who gets a copy.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cc: Vec<String>,
        /// Who gets a copy that the others do not see.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        bcc: Vec<String>,
    },
    /// The message to whoever watches the job. Written `{}`, so this variant has to stand last.
    Websocket {},
}

/// One notification of a transition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// How it is told.
    #[serde(flatten)]
    pub means: Means,
    /// Whether it is left out for a job that has a parent, because the parent's notifications tell already.
    #[serde(default = "suppressed_by_default", skip_serializing_if = "is_true")]
    pub suppress_for_parent: bool,
}

fn suppressed_by_default() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field over by reference")]
fn is_true(value: &bool) -> bool {
    *value
}

/// The notifications of a job, by transition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Actions {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_acquire: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_release: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_start: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_progress: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_finish: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_error: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_reset: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_abort: Vec<Entry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    on_cancel: Vec<Entry>,
}

impl Actions {
    /// The names of the lists, with the transition that each is for.
    pub const LISTS: [(&'static str, Transition); 9] = [
        ("on_acquire", Transition::Acquire),
        ("on_release", Transition::Release),
        ("on_start", Transition::Start),
        ("on_progress", Transition::Progress),
        ("on_finish", Transition::Finish),
        ("on_error", Transition::Error),
        ("on_reset", Transition::Reset),
        ("on_abort", Transition::Abort),
        ("on_cancel", Transition::Cancel),
    ];

    /// Gives what the server does for jobs that ask for nothing, unless its settings say otherwise: it tells whoever
    /// watches, of every transition, and writes and mails nothing.
    pub fn websocket_for_all() -> Self {
        let mut actions = Self::default();
        for (_, transition) in Self::LISTS {
            if let Some(list) = actions.list_mut(transition) {
                list.push(Entry { means: Means::Websocket {}, suppress_for_parent: false });
            }
        }
        actions
    }

    /// Gives the notifications of a transition; there are none for the making of a job.
    pub fn list(&self, transition: Transition) -> &[Entry] {
        match transition {
            Transition::Create => &[],
            Transition::Acquire => &self.on_acquire,
            Transition::Release => &self.on_release,
            Transition::Start => &self.on_start,
            Transition::Progress => &self.on_progress,
            Transition::Finish => &self.on_finish,
            Transition::Error => &self.on_error,
            Transition::Reset => &self.on_reset,
            Transition::Abort => &self.on_abort,
            Transition::Cancel => &self.on_cancel,
        }
    }

    fn list_mut(&mut self, transition: Transition) -> Option<&mut Vec<Entry>> {
        Some(match transition {
            Transition::Create => return None,
            Transition::Acquire => &mut self.on_acquire,
            Transition::Release => &mut self.on_release,
            Transition::Start => &mut self.on_start,
            Transition::Progress => &mut self.on_progress,
            Transition::Finish => &mut self.on_finish,
            Transition::Error => &mut self.on_error,
            Transition::Reset => &mut self.on_reset,
            Transition::Abort => &mut self.on_abort,
            Transition::Cancel => &mut self.on_cancel,
        })
    }

    /// Gives what is to be told of a transition. For a job with a parent, the entries that are suppressed then are
    /// left out.
    pub fn due(&self, transition: Transition, has_parent: bool) -> impl Iterator<Item = &Means> {
        let kept = move |entry: &&Entry| !(has_parent && entry.suppress_for_parent);
        self.list(transition).iter().filter(kept).map(|entry| &entry.means)
    }

    /// Gives every notification there is, of all transitions.
    pub fn all(&self) -> impl Iterator<Item = &Entry> {
        Self::LISTS.into_iter().flat_map(|(_, transition)| self.list(transition))
    }

    /// Says whether a watcher is told of anything; jobs where none is are closed to anonymous watchers.
    pub fn has_websocket(&self) -> bool {
        self.all().any(|entry| entry.means == Means::Websocket {})
    }
}

/// What was asked for one job.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The notifications.
    pub actions: Actions,
    /// Whether they come on top of the server's defaults, instead of replacing them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keep_default: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands the field over by reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// What was asked for a job and for its children. `{}` when nothing was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// For the job itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<Override>,
    /// For the children of a meta-job: by a child's name, or by the path `child:grandchild` where workflows nest.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<String, Override>,
}

impl Requested {
    /// Gives what was asked for a child, and for that child's own children.
    pub fn for_child(&self, name: &str) -> Self {
        let below = |path: &String| Some(path.strip_prefix(name)?.strip_prefix(':')?.to_owned());
        Self {
            own: self.children.get(name).cloned(),
            children: self.children.iter().filter_map(|(path, asked)| Some((below(path)?, asked.clone()))).collect(),
        }
    }

    /// Reads what [`Requested::to_json`] wrote.
    ///
    /// # Errors
    /// When the text is something else, which the database should not hold.
    pub fn from_json(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// Writes it as a JSON object, as jobs keep it.
    pub fn to_json(&self) -> String {
        // Only maps with keys that are no text can fail, and there are none here.
        serde_json::to_string(self).unwrap_or_else(|_| "{}".to_owned())
    }
}

/// Gives the notifications of a job: the server's defaults, what was asked instead, or both, the defaults first.
pub fn effective<'a>(defaults: &'a Actions, asked: Option<&'a Override>) -> Cow<'a, Actions> {
    match asked {
        None => Cow::Borrowed(defaults),
        Some(Override { actions, keep_default: false }) => Cow::Borrowed(actions),
        Some(Override { actions, keep_default: true }) => {
            let mut both = defaults.clone();
            for (_, transition) in Actions::LISTS {
                if let Some(list) = both.list_mut(transition) {
                    list.extend_from_slice(actions.list(transition));
                }
            }
            Cow::Owned(both)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn printing(message: &str) -> Entry {
        Entry { means: Means::Print { message: message.to_owned() }, suppress_for_parent: true }
    }

    #[test]
    fn an_override_replaces_the_defaults_or_comes_after_them() {
        let defaults = Actions { on_start: vec![printing("default")], ..Actions::default() };
        let actions = Actions { on_start: vec![printing("own")], ..Actions::default() };
        let starts = |asked: Option<&Override>| -> Vec<Means> {
            effective(&defaults, asked).due(Transition::Start, false).cloned().collect()
        };
        let (default, own) = (printing("default").means, printing("own").means);
        assert_eq!(starts(None), std::slice::from_ref(&default));
        let replacing = Override { actions: actions.clone(), keep_default: false };
        assert_eq!(starts(Some(&replacing)), std::slice::from_ref(&own));
        let adding = Override { actions, keep_default: true };
        assert_eq!(starts(Some(&adding)), [default, own]);
        assert_eq!(starts(Some(&Override::default())), []);
    }

    #[test]
    fn a_child_job_leaves_out_what_its_parent_tells() {
        let loud = Entry { suppress_for_parent: false, ..printing("loud") };
        let actions = Actions { on_error: vec![printing("quiet"), loud.clone()], ..Actions::default() };
        assert_eq!(actions.due(Transition::Error, false).count(), 2);
        assert_eq!(actions.due(Transition::Error, true).collect::<Vec<_>>(), [&loud.means]);
    }

    #[test]
    fn the_defaults_tell_watchers_of_every_transition_and_nobody_else() {
        let actions = Actions::websocket_for_all();
        for (_, transition) in Actions::LISTS {
            assert_eq!(actions.due(transition, true).collect::<Vec<_>>(), [&Means::Websocket {}]);
        }
        assert_eq!(actions.due(Transition::Create, false).count(), 0);
        assert!(actions.has_websocket() && !Actions::default().has_websocket());
    }

    #[test]
    fn what_was_asked_survives_the_database() {
        let asked = json!({
            "own": {"actions": {
                "on_start": [{}, {"message": "{pk}", "suppress_for_parent": false}],
                "on_finish": [{"subject": "s", "body": "b", "to": [], "cc": ["c@lab.example"], "bcc": ["b@lab.example"]},
                              {"subject": "s", "body": "b"}],
            }, "keep_default": true},
            "children": {"a": {"actions": {}}, "a:b": {"actions": {"on_reset": [{"suppress_for_parent": false}]}}},
        });
        let requested = Requested::from_json(&asked.to_string()).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&requested.to_json()).unwrap(), asked);
        assert_eq!(Requested::default().to_json(), "{}");

        let child = requested.for_child("a");
        assert_eq!(child.own, Some(Override::default()));
        assert_eq!(child.children.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(requested.for_child("b"), Requested::default());
    }
}
