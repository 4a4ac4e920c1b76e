//! What a list request asks for, checked and typed.

use crate::domain::time::Timestamp;

/// A whole list request (contract §9). The default asks for every active row, by `pk`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spec {
    /// Tests that a row must all pass.
    pub expressions: Vec<Expression>,
    /// The order; `pk` always breaks ties.
    pub order_by: Vec<OrderBy>,
    /// Whether soft-deleted rows and deactivated users come along.
    pub include_inactive: bool,
    /// The most rows to give; all of them if `None`.
    pub limit: Option<u32>,
    /// The cursor of the row after which to go on.
    pub after: Option<String>,
    /// Whether the number of rows that pass, whatever the limit, is wanted too.
    pub count: bool,
}

/// One test of a row. With `invert` it passes exactly the rows that it would not pass without.
#[derive(Debug, Clone, PartialEq)]
pub enum Expression {
    /// Passes when all of its parts do.
    And {
        /// The parts, at least one.
        of: Vec<Expression>,
        /// Whether to take the complement.
        invert: bool,
    },
    /// Passes when any of its parts does.
    Or {
        /// The parts, at least one.
        of: Vec<Expression>,
        /// Whether to take the complement.
        invert: bool,
    },
    /// Passes when the field has this value.
    Exact {
        /// Path of the field.
        field: String,
        /// The value looked for.
        value: Literal,
        /// Whether texts are compared by their folded case; without effect on other kinds.
        case_insensitive: bool,
        /// Whether to take the complement.
        invert: bool,
    },
    /// Passes when the field's text holds this one.
    Contains {
        /// Path of the field.
        field: String,
        /// The text looked for, taken literally.
        sub_string: String,
        /// Whether the texts are compared by their folded case.
        case_insensitive: bool,
        /// Whether to take the complement.
        invert: bool,
    },
    /// Passes when the field has no value.
    IsNull {
        /// Path of the field.
        field: String,
        /// Whether to take the complement.
        invert: bool,
    },
    /// Passes when the field's value stands in this relation to the given one; a null stands in none.
    Compare {
        /// Path of the field.
        field: String,
        /// The relation.
        operator: Operator,
        /// The right-hand side.
        value: Literal,
        /// Whether to take the complement.
        invert: bool,
    },
}

/// A value to test against, of a kind that its field can be tested against.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// A whole number.
    Int(i64),
    /// A number with a fraction, or too large for an `i64`; never NaN.
    Float(f64),
    /// A text.
    Text(String),
    /// True or false.
    Bool(bool),
    /// A point in time.
    Time(Timestamp),
}

/// A relation of size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<`
    Less,
    /// `>`
    Greater,
    /// `<=`
    LessOrEqual,
    /// `>=`
    GreaterOrEqual,
}

impl Operator {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Less, Self::Greater, Self::LessOrEqual, Self::GreaterOrEqual];

    /// Gives the operator's sign, the same in requests and in SQL.
    pub fn sign(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::Greater => ">",
            Self::LessOrEqual => "<=",
            Self::GreaterOrEqual => ">=",
        }
    }
}

/// One field to order by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderBy {
    /// Path of the field.
    pub field: String,
    /// Whether small values come first.
    pub ascending: bool,
    /// Where nulls go; they count as smallest if `None`.
    pub nulls_first: Option<bool>,
}

/// One field that decides the order, with nothing left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortKey<'a> {
    /// Path of the field.
    pub field: &'a str,
    /// Whether small values come first.
    pub ascending: bool,
    /// Whether nulls come before all values.
    pub nulls_first: bool,
}

/// Gives the fields that decide the order; the last one is always `pk`.
///
/// Fields behind `pk`, and later mentions of a field, can decide nothing and are left out.
pub fn sort_keys(order_by: &[OrderBy]) -> Vec<SortKey<'_>> {
    let mut keys: Vec<SortKey<'_>> = Vec::with_capacity(order_by.len() + 1);
    for OrderBy { field, ascending, nulls_first } in order_by {
        if keys.iter().any(|key| key.field == field) {
            continue;
        }
        keys.push(SortKey { field, ascending: *ascending, nulls_first: nulls_first.unwrap_or(*ascending) });
        if field == "pk" {
            return keys;
        }
    }
    keys.push(SortKey { field: "pk", ascending: true, nulls_first: true });
    keys
}
