//! Type strings: what inputs, outputs and parameters of jobs are said to be (contract §7).
//!
//! ```
//! use labrun::domain::types::{Type, is_subtype};
//! let narrow: Type = "Array< int,3 >".parse().unwrap();
//! let wide: Type = "Array<ValueType>".parse().unwrap();
//! assert!(is_subtype(&narrow, &wide) && !is_subtype(&wide, &narrow));
//! assert_eq!(narrow.to_string(), "Array<int, 3>");
//! ```

mod fit;
mod known;
mod parse;
mod schema;
mod subtype;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use fit::{Rows, blob_digest, fits, fits_shape, parse_text, read_text};
pub use known::{KNOWN, Kind, Known};
pub use parse::{Expression, ParseError, Term, parse, type_argument};
pub use schema::json_schema;
pub use subtype::{is_subtype, takes};

/// A type. Made by [`parse`], which has checked names, number and bounds of arguments.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// A known type with the arguments that were given.
    Known(Kind, Vec<Type>),
    /// A name of an earlier document, such as `pk<docker_image>`, with the arguments that were given.
    Opaque(String, Vec<Type>),
    /// A text constant, the type of that text alone.
    Text(String),
    /// A whole-number constant.
    Int(i64),
    /// A decimal constant; always finite.
    Float(f64),
    /// A truth-value constant.
    Bool(bool),
}

impl Type {
    /// Gives a known type with its arguments left out, that is: its widest form.
    pub const fn bare(kind: Kind) -> Self {
        Self::Known(kind, Vec::new())
    }

    /// Gives the kind of a known type.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Known(kind, _) => Some(*kind),
            Self::Opaque(..) | Self::Text(_) | Self::Int(_) | Self::Float(_) | Self::Bool(_) => None,
        }
    }

    /// Gives an argument of a known type, or the widest that stands for it when it was left out.
    /// A position that the type does not have gives the root type.
    pub fn argument(&self, position: usize) -> Type {
        let Self::Known(kind, arguments) = self else { return Self::bare(Kind::UfdlType) };
        match arguments.get(position) {
            Some(argument) => argument.clone(),
            None => Self::bare(kind.row().parameters.get(position).copied().unwrap_or(Kind::UfdlType)),
        }
    }

    /// Gives the type that an output of type `self` has when it is passed on as an input.
    pub fn as_job_output(&self) -> Type {
        Self::Known(Kind::JobOutput, vec![self.clone()])
    }
}

impl FromStr for Type {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        parse(text)
    }
}

/// Writes types into a sentence.
pub fn joined(types: &[Type]) -> String {
    types.iter().map(Type::to_string).collect::<Vec<_>>().join(", ")
}

/// Writes a text constant; a quote or backslash in it gets a backslash before it.
fn write_text(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    write!(f, "'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Writes `Name<Arg, Arg>`.
fn write_applied<T: fmt::Display>(f: &mut fmt::Formatter<'_>, name: &str, arguments: &[T]) -> fmt::Result {
    f.write_str(name)?;
    for (index, argument) in arguments.iter().enumerate() {
        f.write_str(if index == 0 { "<" } else { ", " })?;
        argument.fmt(f)?;
    }
    if arguments.is_empty() { Ok(()) } else { f.write_str(">") }
}

impl fmt::Display for Type {
    /// Writes the canonical form, `Name<Arg, Arg>`; arguments that were left out stay left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(kind, arguments) => write_applied(f, kind.row().name, arguments),
            Self::Opaque(name, arguments) => write_applied(f, name, arguments),
            Self::Text(text) => write_text(f, text),
            Self::Int(number) => number.fmt(f),
            Self::Float(number) => write!(f, "{number:?}"),
            Self::Bool(truth) => truth.fmt(f),
        }
    }
}

impl Serialize for Type {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Type {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
