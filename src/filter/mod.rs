//! The language of lists (contract §9): which rows, in which order, and from where on. Pure.
//!
//! A request's JSON goes through [`parse`], which checks all of it against the fields of the listed resource, and
//! comes out as a [`Spec`]. How a spec becomes SQL is the store's affair; which fields there are is told through
//! [`Schema`].

mod ast;
mod cursor;
mod parse;
mod print;

pub use ast::{Expression, Literal, Operator, OrderBy, SortKey, Spec, sort_keys};
pub(crate) use cursor::TEXT_CHARS_MAX;
pub use cursor::{Cursor, Key};
pub use parse::{DEPTH_MAX, EXPRESSIONS_MAX, LIMIT_MAX, ORDER_BY_MAX, parse};
pub use print::to_json;

/// What a field holds, and so what it can be tested against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number. Any JSON number can be compared with it.
    Int,
    /// A number.
    Float,
    /// A text; ordered by code points.
    Text,
    /// True or false.
    Bool,
    /// A point in time; RFC 3339 with any offset in the request.
    Time,
    /// An object or array, which can only be tested with `isnull`.
    Json,
}

/// What the parser needs to know of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldInfo {
    /// What the field holds.
    pub kind: Kind,
    /// Whether it can be null, for itself or because a reference on the way to it can.
    pub nullable: bool,
    /// Whether a row has any number of it, as with `outputs.name`.
    pub to_many: bool,
}

/// The fields of a resource, by path.
pub trait Schema {
    /// Gives the resource's name as in its URLs; a cursor is good for one resource only.
    fn name(&self) -> &str;

    /// Finds the field at the end of a path, such as `["template", "name"]`.
    fn field(&self, path: &[&str]) -> Option<FieldInfo>;
}

/// Folds the case of a text by Unicode's default case folding, for tests that ignore case.
pub fn fold(text: &str) -> String {
    caseless::default_case_fold_str(text)
}

#[cfg(test)]
mod tests {
    use super::fold;

    #[test]
    fn folding_is_more_than_lower_case() {
        for (text, same) in [("STRASSE", "Straße"), ("ΣΊΣΥΦΟΣ", "σίσυφος"), ("üNÏCODE", "Ünïcode"), ("ﬁ", "FI")]
        {
            assert_eq!(fold(text), fold(same));
        }
        assert_ne!(fold("a"), fold("á"));
    }
}
