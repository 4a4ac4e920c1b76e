//! Where a page of a list ended, as an opaque text (contract §9).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::ast::{OrderBy, sort_keys};

/// Counts changes of the cursor's form; a cursor of another version is refused.
const VERSION: u64 = 1;

/// How many characters of a text a cursor holds, so that it fits in a header.
pub(crate) const TEXT_CHARS_MAX: usize = 500;

/// The place of one row in an order: its sort keys, and the `pk` that breaks ties.
///
/// It holds the values themselves, so that the walk goes on from the same place when the row changes or goes. Of a text
/// that is too long for that it holds the beginning, and the row is asked for the rest.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    /// The row's sort keys in order, without the `pk`.
    pub keys: Vec<Key>,
    /// The row's `pk`.
    pub pk: i64,
}

/// The value of one sort key, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub enum Key {
    /// No value.
    Null,
    /// A whole number, a time or a truth value.
    Int(i64),
    /// A number.
    Real(f64),
    /// A text.
    Text(String),
    /// The first characters of a text that has more than a cursor holds, as many as it does hold.
    Cut(String),
}

impl Cursor {
    /// Writes the cursor for a list of `resource` in this order.
    pub fn encode(&self, resource: &str, order_by: &[OrderBy]) -> String {
        let keys: Vec<Value> = self.keys.iter().map(Key::to_json).collect();
        let object = json!({"v": VERSION, "o": fingerprint(resource, order_by), "k": keys, "p": self.pk});
        URL_SAFE_NO_PAD.encode(object.to_string())
    }

    /// Reads a cursor; `None` when it is garbage, or of another resource or order.
    pub fn decode(text: &str, resource: &str, order_by: &[OrderBy]) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let object: Value = serde_json::from_slice(&bytes).ok()?;
        if object.get("v")?.as_u64()? != VERSION || object.get("o")?.as_str()? != fingerprint(resource, order_by) {
            return None;
        }
        let keys = object.get("k")?.as_array()?.iter().map(Key::from_json).collect::<Option<Vec<Key>>>()?;
        let pk = object.get("p")?.as_i64()?;
        (keys.len() + 1 == sort_keys(order_by).len()).then_some(Self { keys, pk })
    }
}

impl Key {
    /// Writes numbers as text, and reals by their bits, so that every value comes back exactly.
    fn to_json(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Int(number) => json!(format!("i{number}")),
            Self::Real(number) => json!(format!("r{:016x}", number.to_bits())),
            Self::Text(text) => match text.char_indices().nth(TEXT_CHARS_MAX) {
                Some((end, _)) => json!(format!("c{}", &text[..end])),
                None => json!(format!("t{text}")),
            },
            Self::Cut(text) => json!(format!("c{text}")),
        }
    }

    fn from_json(value: &Value) -> Option<Self> {
        if value.is_null() {
            return Some(Self::Null);
        }
        let text = value.as_str()?;
        if let Some(text) = text.strip_prefix('t') {
            return Some(Self::Text(text.to_owned()));
        }
        if let Some(text) = text.strip_prefix('c') {
            return Some(Self::Cut(text.to_owned()));
        }
        if let Some(digits) = text.strip_prefix('i') {
            return digits.parse().ok().map(Self::Int);
        }
        let number = f64::from_bits(u64::from_str_radix(text.strip_prefix('r')?, 16).ok()?);
        (!number.is_nan()).then_some(Self::Real(number))
    }
}

/// Stands for a resource and an order: two that sort differently have different fingerprints.
fn fingerprint(resource: &str, order_by: &[OrderBy]) -> String {
    let mut hash = Sha256::new();
    hash.update(resource);
    for key in sort_keys(order_by) {
        hash.update(format!("\n{} {} {}", key.ascending, key.nulls_first, key.field));
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn by(field: &str, ascending: bool, nulls_first: Option<bool>) -> OrderBy {
        OrderBy { field: field.to_owned(), ascending, nulls_first }
    }

    proptest! {
        #[test]
        fn values_come_back_exactly(
            int in any::<i64>(), real in any::<f64>().prop_filter("no NaN", |x| !x.is_nan()), text in any::<String>(), pk in any::<i64>(),
        ) {
            let order = ["a", "b", "c", "d"].map(|field| by(field, true, None));
            let cursor = Cursor { keys: vec![Key::Int(int), Key::Real(real), Key::Text(text), Key::Null], pk };
            let encoded = cursor.encode("jobs", &order);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
            prop_assert_eq!(Cursor::decode(&encoded, "jobs", &order), Some(cursor));
        }

        #[test]
        fn garbage_is_no_cursor(text in "\\PC{0,40}") {
            prop_assert_eq!(Cursor::decode(&text, "jobs", &[]), None);
        }
    }

    #[test]
    fn only_the_beginning_of_a_long_text_travels() {
        let order = [by("a", true, None)];
        let there_and_back = |text: &str| {
            let cursor = Cursor { keys: vec![Key::Text(text.to_owned())], pk: 1 };
            Cursor::decode(&cursor.encode("jobs", &order), "jobs", &order).unwrap().keys.remove(0)
        };
        let full = "ä".repeat(TEXT_CHARS_MAX);
        assert_eq!(there_and_back(&full), Key::Text(full.clone()));
        assert_eq!(there_and_back(&format!("{full}b")), Key::Cut(full));
    }

    #[test]
    fn a_cursor_is_good_for_its_resource_and_order_only() {
        let order = [by("start_time", true, None)];
        let cursor = Cursor { keys: vec![Key::Int(5)], pk: 7 };
        let text = cursor.encode("jobs", &order);
        assert_eq!(
            Cursor::decode(&text, "jobs", &[by("start_time", true, Some(true))]),
            Some(cursor),
            "the same order"
        );
        assert_eq!(Cursor::decode(&text, "nodes", &order), None);
        assert_eq!(Cursor::decode(&text, "jobs", &[]), None);
        assert_eq!(Cursor::decode(&text, "jobs", &[by("end_time", true, None)]), None);
        assert_eq!(Cursor::decode(&text, "jobs", &[by("start_time", false, None)]), None);
        assert_eq!(Cursor::decode(&text, "jobs", &[by("start_time", true, Some(false))]), None);
    }

    #[test]
    fn forged_keys_are_refused() {
        let forge = |keys: Value| {
            let object = json!({"v": VERSION, "o": fingerprint("jobs", &[by("x", true, None)]), "k": keys, "p": 1});
            Cursor::decode(&URL_SAFE_NO_PAD.encode(object.to_string()), "jobs", &[by("x", true, None)])
        };
        assert!(forge(json!(["i5"])).is_some());
        let bad = [
            json!([]),
            json!([null, null]),
            json!([5]),
            json!(["x"]),
            json!([""]),
            json!(["i"]),
            json!(["rfff8000000000000"]),
        ];
        for keys in bad {
            assert_eq!(forge(keys.clone()), None, "{keys}");
        }
    }
}
