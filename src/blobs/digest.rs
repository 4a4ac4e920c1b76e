//! The name of bytes: their SHA-256, which people can check with `sha256sum`.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};

/// Base64 as structured header fields have it: written with padding, read without as well.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A SHA-256. Shown, parsed and serialised as 64 hex digits, lower case when written.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

/// Says that a text is not a SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256")]
pub struct BadDigest;

impl Digest {
    /// Hashes bytes that are in memory.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads a `Content-Digest` field (RFC 9530), the lines of a repeated one joined by commas.
    ///
    /// Other algorithms are passed over, and `None` is given when there is no `sha-256` among them.
    /// Fails when a `sha-256` is there that can't be read (contract §8: 400).
    pub fn from_content_digest(field: &str) -> Result<Option<Self>, BadDigest> {
        let mut found = None;
        for member in field.split(',') {
            let (key, value) = member.split_once('=').unwrap_or((member, ""));
            let key = key.split(';').next().unwrap_or_default().trim();
            if key.eq_ignore_ascii_case("sha-256") {
                // In a dictionary the last member of a name counts.
                found = Some(Self::from_byte_sequence(value)?);
            }
        }
        Ok(found)
    }

    /// Reads `:BASE64:`, with or without parameters behind it.
    fn from_byte_sequence(value: &str) -> Result<Self, BadDigest> {
        let inner = value.strip_prefix(':').ok_or(BadDigest)?;
        let (base64, parameters) = inner.split_once(':').ok_or(BadDigest)?;
        let parameters = parameters.trim();
        if !parameters.is_empty() && !parameters.starts_with(';') {
            return Err(BadDigest);
        }
        let bytes = BASE64.decode(base64).map_err(|_| BadDigest)?;
        bytes.try_into().map(Self).map_err(|_| BadDigest)
    }

    /// Writes the value of a `Content-Digest` field (RFC 9530).
    pub fn content_digest(&self) -> String {
        format!("sha-256=:{}:", BASE64.encode(self.0))
    }
}

impl fmt::Display for Digest {
    /// Writes 64 hex digits in lower case.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = BadDigest;

    /// Reads 64 hex digits in either case.
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let digits = text.bytes().map(digit).collect::<Option<Vec<u8>>>().ok_or(BadDigest)?;
        let (pairs, []) = digits.as_chunks::<2>() else { return Err(BadDigest) };
        let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
        bytes.try_into().map(Self).map_err(|_| BadDigest)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    const ABC_FIELD: &str = "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:";

    #[test]
    fn hashes_as_sha256sum_does_and_reads_either_case() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.to_string(), ABC);
        assert_eq!(ABC.parse(), Ok(digest));
        assert_eq!(ABC.to_uppercase().parse(), Ok(digest));
        assert_eq!(serde_json::to_value(digest).unwrap(), ABC);
        assert_eq!(serde_json::from_value::<Digest>(ABC.into()).unwrap(), digest);
    }

    #[test]
    fn what_is_not_64_hex_digits_is_refused() {
        for text in ["", "xyz", &ABC[1..], &ABC[2..], &format!("{ABC}00"), &format!("+{}", &ABC[1..]), &"é".repeat(32)]
        {
            assert_eq!(text.parse::<Digest>(), Err(BadDigest), "{text:?}");
        }
    }

    #[test]
    fn content_digest_is_read_among_others() {
        let digest = Digest::of(b"abc");
        assert_eq!(digest.content_digest(), ABC_FIELD);
        for field in [
            ABC_FIELD.to_owned(),
            format!("sha-512=:YQ==:, {ABC_FIELD}"),
            format!("  {ABC_FIELD};a=1 ,md5=:x:"),
            format!("sha-256=:{}:, {ABC_FIELD}", BASE64.encode([0; 32])),
            ABC_FIELD.replace("=:", ":").replace("sha-256:", "sha-256=:"),
        ] {
            assert_eq!(Digest::from_content_digest(&field), Ok(Some(digest)), "{field:?}");
        }
    }

    #[test]
    fn content_digest_without_sha_256_is_none_and_an_unreadable_one_is_an_error() {
        for field in ["", "sha-512=:YQ==:", "md5=x, unixsum=30637", "garbage", "xsha-256=:YQ==:"] {
            assert_eq!(Digest::from_content_digest(field), Ok(None), "{field:?}");
        }
        let trailing = format!("{ABC_FIELD}x");
        for field in ["sha-256", "sha-256=", "sha-256=:!!!:", "sha-256=:YQ==:", "sha-256=YQ==", "sha-256=:", &trailing]
        {
            assert_eq!(Digest::from_content_digest(field), Err(BadDigest), "{field:?}");
        }
    }

    proptest! {
        #[test]
        fn every_digest_survives_both_spellings(bytes: [u8; 32], noise in ".{0,80}") {
            let digest = Digest(bytes);
            prop_assert_eq!(digest.to_string().parse(), Ok(digest));
            prop_assert_eq!(Digest::from_content_digest(&digest.content_digest()), Ok(Some(digest)));
            // Any text at all may be refused, but must not panic.
            let _ = (noise.parse::<Digest>(), Digest::from_content_digest(&noise));
        }
    }
}
