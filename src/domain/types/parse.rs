//! Reads type strings: first the form, then what the names mean.

use std::fmt;

use super::{Kind, Type, is_subtype, write_applied, write_text};

/// Greatest depth of arguments within arguments.
const DEPTH_MAX: usize = 32;

/// Why a type string does not parse, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The string, as it was given.
    pub text: String,
    /// The place, in characters from 0.
    pub place: usize,
    /// What is wrong there, as a clause.
    pub reason: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A long text is cut in the sentence; the place still tells where to look.
        let shown: String = self.text.chars().take(200).collect();
        write!(f, "The type \"{shown}\" does not parse at character {}: {}.", self.place.saturating_add(1), self.reason)
    }
}

impl std::error::Error for ParseError {}

/// The form of a type string, before its names are looked up; contracts are written in it as well.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    /// What stands there.
    pub term: Term,
    /// Where it begins, in characters from 0.
    place: usize,
}

/// What can stand in a type string.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    /// A name with its arguments; none when it stands bare.
    Applied(String, Vec<Expression>),
    /// A text, whole number, decimal number or truth value.
    Constant(Type),
}

impl Expression {
    /// Reads the form of a string.
    ///
    /// # Errors
    /// When the string is not one expression, or nests too deeply.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut reader = Reader { chars: text.chars().collect(), at: 0 };
        let read = reader.expression(0).and_then(|expression| {
            reader.skip_spaces();
            if reader.at == reader.chars.len() { Ok(expression) } else { Err(reader.wrong("the end was expected")) }
        });
        read.map_err(|(place, reason)| ParseError { text: text.to_owned(), place, reason })
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.term {
            Term::Applied(name, arguments) => write_applied(f, name, arguments),
            Term::Constant(Type::Text(text)) => write_text(f, text),
            Term::Constant(constant) => constant.fmt(f),
        }
    }
}

/// Reads a type string.
///
/// # Errors
/// When the form is wrong, a name is unknown, or arguments are of the wrong number or outside their bounds.
pub fn parse(text: &str) -> Result<Type, ParseError> {
    let expression = Expression::parse(text)?;
    resolve(&expression).map_err(|(place, reason)| ParseError { text: text.to_owned(), place, reason })
}

/// Reads an argument of an expression as a type within a bound; `text` is the whole string, for the error.
///
/// # Errors
/// When it is no type, or not a subtype of the bound.
pub fn type_argument(expression: &Expression, bound: Kind, text: &str) -> Result<Type, ParseError> {
    bounded(expression, bound).map_err(|(place, reason)| ParseError { text: text.to_owned(), place, reason })
}

/// A place and a reason.
type Wrong = (usize, String);

/// Looks up the names of an expression.
fn resolve(expression: &Expression) -> Result<Type, Wrong> {
    let (name, arguments) = match &expression.term {
        Term::Constant(constant) => return Ok(constant.clone()),
        Term::Applied(name, arguments) => (name, arguments),
    };
    let Some(kind) = Kind::named(name) else {
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err((expression.place, format!("there is no type {name}")));
        }
        let arguments = arguments.iter().map(resolve).collect::<Result<_, _>>()?;
        return Ok(Type::Opaque(name.clone(), arguments));
    };
    let parameters = kind.row().parameters;
    if !arguments.is_empty() && !(kind.arguments_min()..=parameters.len()).contains(&arguments.len()) {
        let wanted = match parameters.len() {
            0 => "no arguments".to_owned(),
            1 => "1 argument".to_owned(),
            count if kind.arguments_min() < count => format!("{} or {count} arguments", kind.arguments_min()),
            count => format!("{count} arguments"),
        };
        return Err((expression.place, format!("{name} takes {wanted}, not {}", arguments.len())));
    }
    let arguments = arguments.iter().zip(parameters).map(|(argument, bound)| bounded(argument, *bound));
    Ok(Type::Known(kind, arguments.collect::<Result<_, _>>()?))
}

/// Looks up the names of an argument and holds it against its bound.
fn bounded(expression: &Expression, bound: Kind) -> Result<Type, Wrong> {
    let argument = resolve(expression)?;
    if is_subtype(&argument, &Type::bare(bound)) {
        return Ok(argument);
    }
    Err((expression.place, format!("{argument} is no {}", bound.row().name)))
}

/// A place in the characters of a string.
struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_spaces(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    /// Steps over a character if it comes next, after spaces.
    fn accept(&mut self, wanted: char) -> bool {
        self.skip_spaces();
        let found = self.peek() == Some(wanted);
        if found {
            self.at += 1;
        }
        found
    }

    /// Takes characters as long as they pass.
    fn take_while(&mut self, mut passes: impl FnMut(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.peek().filter(|c| passes(*c)) {
            taken.push(c);
            self.at += 1;
        }
        taken
    }

    /// Says what is wrong at this place.
    fn wrong(&self, expected: &str) -> Wrong {
        let found = match self.peek() {
            Some(c) => format!("found {c:?}"),
            None => "found the end".to_owned(),
        };
        (self.at, format!("{expected}, {found}"))
    }

    fn expression(&mut self, depth: usize) -> Result<Expression, Wrong> {
        self.skip_spaces();
        let place = self.at;
        if depth > DEPTH_MAX {
            return Err((place, format!("more than {DEPTH_MAX} levels of arguments")));
        }
        let term = match self.peek() {
            Some('\'') => Term::Constant(self.text()?),
            Some('@') => {
                self.at += 1;
                let word = self.word();
                let truth = truth(&word).ok_or((place, "after @ comes true or false".to_owned()))?;
                Term::Constant(truth)
            }
            Some(c) if c == '-' || c.is_ascii_digit() => Term::Constant(self.number()?),
            Some(c) if c == '_' || c.is_ascii_alphabetic() => {
                let name = self.word();
                match truth(&name) {
                    Some(truth) => Term::Constant(truth),
                    None => Term::Applied(name, self.arguments(depth)?),
                }
            }
            _ => return Err(self.wrong("a type was expected")),
        };
        Ok(Expression { term, place })
    }

    /// Reads `<Arg, …>`, or nothing.
    fn arguments(&mut self, depth: usize) -> Result<Vec<Expression>, Wrong> {
        let mut arguments = Vec::new();
        if !self.accept('<') {
            return Ok(arguments);
        }
        loop {
            arguments.push(self.expression(depth + 1)?);
            if self.accept('>') {
                return Ok(arguments);
            }
            if !self.accept(',') {
                return Err(self.wrong("a comma or > was expected"));
            }
        }
    }

    fn word(&mut self) -> String {
        self.take_while(|c| c == '_' || c.is_ascii_alphanumeric())
    }

    /// Reads a text in single quotes. A backslash makes a quote or another backslash part of the text.
    fn text(&mut self) -> Result<Type, Wrong> {
        let begin = self.at;
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek() {
            self.at += 1;
            match c {
                '\'' => return Ok(Type::Text(text)),
                '\\' => match self.peek().filter(|next| matches!(next, '\'' | '\\')) {
                    Some(next) => {
                        text.push(next);
                        self.at += 1;
                    }
                    None => text.push(c),
                },
                _ => text.push(c),
            }
        }
        Err((begin, "the text that begins here does not end".to_owned()))
    }

    /// Reads a whole or decimal number.
    fn number(&mut self) -> Result<Type, Wrong> {
        let begin = self.at;
        let mut before = ' ';
        let digits = self.take_while(|c| {
            let signed = matches!(before, ' ' | 'e' | 'E');
            before = c;
            c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E') || (signed && matches!(c, '-' | '+'))
        });
        let decimal = digits.contains(['.', 'e', 'E']);
        let ends_well = digits.ends_with(|c: char| c.is_ascii_digit());
        let number = match digits.parse::<f64>() {
            Ok(number) if ends_well && decimal && number.is_finite() => Some(Type::Float(number)),
            Ok(_) if ends_well && !decimal => digits.parse().ok().map(Type::Int),
            _ => None,
        };
        number.ok_or_else(|| (begin, format!("{digits} is no number that can be used")))
    }
}

/// Reads a truth value.
fn truth(word: &str) -> Option<Type> {
    match word {
        "true" => Some(Type::Bool(true)),
        "false" => Some(Type::Bool(false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spaces_and_forms_of_truth_do_not_matter() {
        for (given, canonical) in [
            (" Array < int > ", "Array<int>"),
            ("Array<int,3>", "Array<int, 3>"),
            ("@true", "true"),
            ("false", "false"),
            ("'red'", "'red'"),
            (r"'it\'s'", r"'it\'s'"),
            (r"'a\b'", r"'a\\b'"),
            ("-2.50", "-2.5"),
            ("1e3", "1000.0"),
            ("-7", "-7"),
            ("pk< docker_image >", "pk<docker_image>"),
            ("Framework<'tensorflow', '1.14'>", "Framework<'tensorflow', '1.14'>"),
            ("JobOutput<tficmodeltflite>", "JobOutput<tficmodeltflite>"),
        ] {
            let parsed = parse(given).unwrap();
            assert_eq!(parsed.to_string(), canonical);
            assert_eq!(parse(canonical), Ok(parsed));
        }
    }

    #[test]
    fn errors_say_the_place() {
        for (text, place) in [
            ("Array<", 6),
            ("Array<int, Nope>", 11),
            ("str int", 4),
            ("Domain<5>", 7),
            ("Domain<'x>", 7),
            ("1e400", 0),
            ("99999999999999999999", 0),
            ("1.", 0),
            ("@maybe", 0),
            ("Array<true, 1>extra", 14),
            ("dataset<Nope>", 8),
            ("Array<dataset>", 6),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.place, place, "{error}");
            assert!(error.to_string().contains(text), "{error}");
        }
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| format!("{}int{}", "Array<".repeat(depth), ">".repeat(depth));
        assert!(parse(&nested(DEPTH_MAX)).is_ok());
        assert!(parse(&nested(DEPTH_MAX + 1)).is_err());
        assert!(parse(&"Array<".repeat(100_000)).is_err());
    }

    /// Makes types that JSON values have.
    fn json_type() -> impl Strategy<Value = Type> {
        let leaf = prop_oneof![
            Just(Type::bare(Kind::Int)),
            Just(Type::bare(Kind::Nothing)),
            Just(Type::bare(Kind::Pk)),
            ".*".prop_map(Type::Text),
            any::<i64>().prop_map(Type::Int),
            any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Type::Float),
            any::<bool>().prop_map(Type::Bool),
            ".*".prop_map(|text| Type::Known(Kind::Domain, vec![Type::Text(text)])),
        ];
        leaf.prop_recursive(6, 24, 2, |inner| {
            prop_oneof![
                inner.clone().prop_map(|of| Type::Known(Kind::Array, vec![of])),
                (inner.clone(), any::<i64>()).prop_map(|(of, n)| Type::Known(Kind::Array, vec![of, Type::Int(n)])),
                inner.clone().prop_map(|of| Type::Known(Kind::Map, vec![of])),
                inner.prop_map(|of| Type::Known(Kind::JobOutput, vec![of])),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_printed_parses_back(given in json_type()) {
            prop_assert_eq!(parse(&given.to_string()).unwrap(), given.clone());
            prop_assert!(is_subtype(&given, &given));
        }

        #[test]
        fn any_text_is_read_without_harm(text in r"[A-Za-z<>,'@0-9 .\\-]{0,40}|.*") {
            if let Ok(parsed) = parse(&text) {
                prop_assert_eq!(parse(&parsed.to_string()), Ok(parsed));
            }
        }
    }
}
