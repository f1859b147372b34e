//! A setting that is one value, or several that are tried beside each other.

use std::marker::PhantomData;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, IntoDeserializer, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One value, written as such, or a list of them. Checks of the settings refuse an empty list.
#[derive(Debug, Clone, PartialEq)]
pub struct Several<T>(Vec<T>);

/// Types of which there may be several.
pub trait SeveralValue: Sized {
    /// What is wanted, in a message.
    const EXPECTED: &'static str;
    /// From a whole number.
    fn from_u64(value: u64) -> Option<Self>;
    /// From a number.
    fn from_f64(value: f64) -> Option<Self>;
}

impl SeveralValue for usize {
    const EXPECTED: &'static str = "a whole number of at least 0, or a list of them";

    fn from_u64(value: u64) -> Option<Self> {
        usize::try_from(value).ok()
    }

    fn from_f64(value: f64) -> Option<Self> {
        // Whole numbers below 2^53 are exact.
        (value.fract() == 0.0 && (0.0..9e15).contains(&value)).then_some(value as usize)
    }
}

impl SeveralValue for f64 {
    const EXPECTED: &'static str = "a number, or a list of them";

    fn from_u64(value: u64) -> Option<Self> {
        Some(value as f64)
    }

    fn from_f64(value: f64) -> Option<Self> {
        Some(value)
    }
}

impl<T> Several<T> {
    /// All of them, in their order.
    pub fn values(&self) -> &[T] {
        &self.0
    }

    /// Whether there is more than one.
    pub fn is_list(&self) -> bool {
        self.0.len() > 1
    }
}

impl<T> From<T> for Several<T> {
    fn from(value: T) -> Self {
        Self(vec![value])
    }
}

impl<T> From<Vec<T>> for Several<T> {
    fn from(values: Vec<T>) -> Self {
        Self(values)
    }
}

impl<T: Serialize> Serialize for Several<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            list => list.serialize(serializer),
        }
    }
}

impl<'de, T: SeveralValue + Deserialize<'de>> Deserialize<'de> for Several<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SeveralVisitor(PhantomData))
    }
}

struct SeveralVisitor<T>(PhantomData<T>);

impl<'de, T: SeveralValue + Deserialize<'de>> Visitor<'de> for SeveralVisitor<T> {
    type Value = Several<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        T::from_u64(value)
            .map(Several::from)
            .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        T::from_f64(value).map(Several::from).ok_or_else(|| E::invalid_value(Unexpected::Float(value), &self))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        Ok(Several(values))
    }
}

/// A word, a list of them, or `null` for none.
pub(super) fn word_or_list<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(WordsVisitor(PhantomData))
}

struct WordsVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for WordsVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a word, or a list of them")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Vec::new())
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Self::Value, E> {
        T::deserialize(word.into_deserializer()).map(|one| vec![one])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        Vec::deserialize(SeqAccessDeserializer::new(list))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: SeveralValue + for<'de> Deserialize<'de>>(json: &str) -> Result<Vec<T>, String> {
        serde_json::from_str::<Several<T>>(json).map(|several| several.0).map_err(|error| error.to_string())
    }

    #[test]
    fn one_and_several_are_read_and_one_is_written_as_before() {
        assert_eq!(read::<usize>("20"), Ok(vec![20]));
        assert_eq!(read::<usize>("[20, 200]"), Ok(vec![20, 200]));
        assert_eq!(read::<usize>("1e2"), Ok(vec![100]));
        assert_eq!(read::<f64>("[1, 0.5]"), Ok(vec![1.0, 0.5]));
        assert_eq!(read::<f64>("[]"), Ok(vec![]));
        for wrong in ["-1", "1.5", "\"ten\"", "true"] {
            assert!(read::<usize>(wrong).unwrap_err().contains("whole number"), "{wrong}");
        }
        let written = |several: Several<usize>| serde_json::to_string(&several).unwrap();
        assert_eq!(written(20.into()), "20");
        assert_eq!(written(vec![20, 200].into()), "[20,200]");
    }
}
