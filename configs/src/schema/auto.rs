//! A setting that may be left to the program.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// `auto`, or a value. What `auto` became is resolved once per run and written to its `config.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auto<T> {
    /// The program chooses and says why.
    #[default]
    Auto,
    /// The user chose.
    Value(T),
}

impl<T: Copy> Auto<T> {
    /// The user's value, if there is one.
    pub fn value(&self) -> Option<T> {
        match self {
            Auto::Auto => None,
            Auto::Value(v) => Some(*v),
        }
    }
}

impl<T> Auto<T> {
    /// As [`Self::value`], of what is not copied.
    pub fn chosen(&self) -> Option<&T> {
        match self {
            Auto::Auto => None,
            Auto::Value(v) => Some(v),
        }
    }
}

impl<T: Serialize> Serialize for Auto<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Auto::Auto => serializer.serialize_str("auto"),
            Auto::Value(v) => v.serialize(serializer),
        }
    }
}

impl<'de, T: AutoValue> Deserialize<'de> for Auto<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AutoVisitor(std::marker::PhantomData))
    }
}

/// Types that may stand where `auto` may stand.
pub trait AutoValue: Sized {
    /// What the type is called in a message, such as "a positive integer".
    const EXPECTED: &'static str;
    /// All words, `auto` among them, where only some are allowed.
    const CHOICES: &'static [&'static str] = &[];
    /// From a word other than `auto`.
    fn from_word(_: &str) -> Option<Self> {
        None
    }
    /// From a YAML integer.
    fn from_u64(_: u64) -> Option<Self> {
        None
    }
    /// From a YAML boolean.
    fn from_bool(_: bool) -> Option<Self> {
        None
    }
    /// From a YAML number with a fraction.
    fn from_f64(_: f64) -> Option<Self> {
        None
    }
}

impl AutoValue for usize {
    const EXPECTED: &'static str = "`auto` or a positive integer";
    fn from_u64(v: u64) -> Option<Self> {
        usize::try_from(v).ok().filter(|&v| v > 0)
    }
}

impl AutoValue for u64 {
    const EXPECTED: &'static str = "`auto` or a positive integer";
    fn from_u64(v: u64) -> Option<Self> {
        Some(v).filter(|&v| v > 0)
    }
}

impl AutoValue for f64 {
    const EXPECTED: &'static str = "`auto` or a number of at least 0";
    fn from_u64(v: u64) -> Option<Self> {
        Some(v as f64)
    }
    fn from_f64(v: f64) -> Option<Self> {
        Some(v).filter(|v| v.is_finite() && *v >= 0.0)
    }
}

impl AutoValue for bool {
    const EXPECTED: &'static str = "`auto`, `true` or `false`";
    fn from_bool(v: bool) -> Option<Self> {
        Some(v)
    }
}

impl AutoValue for String {
    const EXPECTED: &'static str = "`auto` or a name";
    fn from_word(word: &str) -> Option<Self> {
        Some(word.to_owned())
    }
}

struct AutoVisitor<T>(std::marker::PhantomData<T>);

impl<T: AutoValue> serde::de::Visitor<'_> for AutoVisitor<T> {
    type Value = Auto<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Self::Value, E> {
        match T::from_word(v) {
            _ if v == "auto" => Ok(Auto::Auto),
            Some(value) => Ok(Auto::Value(value)),
            None if !T::CHOICES.is_empty() => Err(E::unknown_variant(v, T::CHOICES)),
            None => Err(E::invalid_value(serde::de::Unexpected::Str(v), &self)),
        }
    }

    fn visit_bool<E: serde::de::Error>(self, v: bool) -> Result<Self::Value, E> {
        T::from_bool(v).map(Auto::Value).ok_or_else(|| E::invalid_type(serde::de::Unexpected::Bool(v), &self))
    }

    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Self::Value, E> {
        T::from_u64(v)
            .map(Auto::Value)
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Unsigned(v), &self))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Self::Value, E> {
        T::from_f64(v)
            .map(Auto::Value)
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Float(v), &self))
    }

    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Self::Value, E> {
        u64::try_from(v)
            .ok()
            .and_then(T::from_u64)
            .map(Auto::Value)
            .ok_or_else(|| E::invalid_value(serde::de::Unexpected::Signed(v), &self))
    }
}
