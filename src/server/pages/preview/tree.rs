//! JSON as a tree that can be opened and closed.

use serde_json::Value;

use crate::server::pages::show::cut;

/// Values that are shown.
const NODES_MAX: usize = 2_000;
/// Levels that are open from the start.
const OPEN_DEPTH: usize = 2;
/// Members beyond which a level is closed from the start.
const OPEN_MEMBERS_MAX: usize = 50;
/// Characters of a text that are shown.
const CHARS_MAX: usize = 500;

/// A step through the tree, as the template writes it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An object or array begins.
    Open {
        key: String,
        /// What it is, and how much of it.
        summary: String,
        is_open: bool,
    },
    /// A value.
    Leaf {
        key: String,
        value: String,
        /// The class that says of what kind it is.
        kind: &'static str,
    },
    /// An object or array ends.
    Close,
}

/// A tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) steps: Vec<Step>,
    pub(super) is_cut: bool,
}

/// Reads JSON; `None` when it is none.
pub(super) fn of(text: &[u8]) -> Option<Tree> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let value: Value = serde_json::from_slice(text).ok()?;
    let mut tree = Tree { steps: Vec::new(), is_cut: false };
    tree.walk("", &value, 0);
    Some(tree)
}

impl Tree {
    /// Writes a value down. Its depth is limited by the parser.
    fn walk(&mut self, key: &str, value: &Value, depth: usize) {
        if self.steps.len() >= NODES_MAX {
            self.is_cut = true;
            return;
        }
        let key = cut(key, CHARS_MAX);
        match value {
            Value::Object(members) => {
                self.open(key, format!("{{{}}}", members.len()), depth, members.len());
                for (name, member) in members {
                    self.walk(name, member, depth + 1);
                }
                self.steps.push(Step::Close);
            }
            Value::Array(items) => {
                self.open(key, format!("[{}]", items.len()), depth, items.len());
                for (place, item) in items.iter().enumerate() {
                    self.walk(&place.to_string(), item, depth + 1);
                }
                self.steps.push(Step::Close);
            }
            Value::String(text) => self.leaf(key, format!("\"{}\"", cut(text, CHARS_MAX)), "text"),
            Value::Number(number) => self.leaf(key, number.to_string(), "number"),
            Value::Bool(_) | Value::Null => self.leaf(key, value.to_string(), "word"),
        }
    }

    fn open(&mut self, key: String, summary: String, depth: usize, members: usize) {
        let is_open = depth < OPEN_DEPTH && members <= OPEN_MEMBERS_MAX;
        self.steps.push(Step::Open { key, summary, is_open });
    }

    fn leaf(&mut self, key: String, value: String, kind: &'static str) {
        self.steps.push(Step::Leaf { key, value, kind });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_that_begins_ends() {
        for text in [r#"{"a": [1, {"b": null}], "c": "x"}"#.to_owned(), format!("[{}1]", "[1],".repeat(5_000))] {
            let tree = of(text.as_bytes()).unwrap();
            let opened = tree.steps.iter().filter(|step| matches!(step, Step::Open { .. })).count();
            let closed = tree.steps.iter().filter(|step| **step == Step::Close).count();
            assert_eq!(opened, closed);
            assert_eq!(tree.is_cut, text.len() > 100);
        }
        assert!(of(b"{").is_none());
        assert!(of("[".repeat(10_000).as_bytes()).is_none());
    }
}
