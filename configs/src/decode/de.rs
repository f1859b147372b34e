//! Tree to types, through their `Deserialize`. The wanted type decides how a word is read: `010` is a name where
//! text is wanted, `1e5` a whole number where one is wanted, `on` is `true` where a boolean is wanted.

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, IntoDeserializer, Unexpected, Visitor};

use crate::node::{Node, Value};
use crate::scalar::{Scalar, Word, yaml_1_1_bool};

/// Why a value cannot be read as its type.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub(crate) enum Mismatch {
    /// Something else is wanted, in serde's words.
    #[error("must be {0}")]
    Wanted(String),
    /// One of these words is wanted.
    #[error("must be one of {0:?}")]
    Choice(&'static [&'static str]),
    /// A key that an entry of a list does not have.
    #[error("has no key {0}")]
    Key(String, &'static [&'static str]),
    /// In the type's own words.
    #[error("{0}")]
    Other(String),
}

impl de::Error for Mismatch {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Mismatch::Other(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Mismatch::Wanted(wanted.to_string())
    }

    fn invalid_value(_: Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Mismatch::Wanted(wanted.to_string())
    }

    fn invalid_length(_: usize, wanted: &dyn de::Expected) -> Self {
        Mismatch::Wanted(wanted.to_string())
    }

    fn unknown_variant(_: &str, choices: &'static [&'static str]) -> Self {
        Mismatch::Choice(choices)
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Mismatch::Key(key.to_owned(), known)
    }
}

/// Reads a tree as a type.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(pub &'a Node);

impl<'de> IntoDeserializer<'de, Mismatch> for Reader<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Reader<'de> {
    fn scalar(self) -> Option<&'de Scalar> {
        self.0.as_scalar()
    }

    /// A number written as `1e5` or `128.0` is whole too.
    fn whole(self) -> Option<i128> {
        match self.scalar()?.word() {
            Word::Integer(value) => Some(value),
            // Whole floats below 2^53 are exact.
            Word::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(value as i128),
            _ => None,
        }
    }

    fn visit_whole<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.whole() {
            Some(value) => visit_integer(value, visitor),
            None => self.deserialize_any(visitor),
        }
    }

    fn visit_text<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self.0.as_text() {
            Some(text) => visitor.visit_borrowed_str(text),
            None => self.deserialize_any(visitor),
        }
    }
}

fn visit_integer<'de, V: Visitor<'de>>(value: i128, visitor: V) -> Result<V::Value, Mismatch> {
    if let Ok(value) = u64::try_from(value) {
        visitor.visit_u64(value)
    } else if let Ok(value) = i64::try_from(value) {
        visitor.visit_i64(value)
    } else {
        Err(Mismatch::Other("is out of range".into()))
    }
}

macro_rules! forward {
    ($to:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> { self.$to(visitor) })*
    };
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Mismatch;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match &self.0.value {
            Value::List(items) => visitor.visit_seq(SeqDeserializer::new(items.iter().map(Reader))),
            Value::Map(map) => {
                let entries = map.entries.iter().map(|entry| (entry.key.as_str(), Reader(&entry.node)));
                visitor.visit_map(MapDeserializer::new(entries))
            }
            Value::Scalar(scalar) => match scalar.word() {
                Word::Null => visitor.visit_unit(),
                Word::Bool(value) => visitor.visit_bool(value),
                Word::Integer(value) => visit_integer(value, visitor),
                Word::Float(value) => visitor.visit_f64(value),
                Word::Text(text) => visitor.visit_borrowed_str(text),
            },
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        let word = self.scalar().filter(|scalar| !scalar.quoted).and_then(|s| yaml_1_1_bool(&s.text));
        match word {
            Some(value) => visitor.visit_bool(value),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.0.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        match self.0.as_text() {
            Some(text) => visitor.visit_enum(StrDeserializer::new(text)),
            None => Err(Mismatch::Choice(variants)),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Mismatch> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        // serde would also take a list of values in the order of the fields.
        match &self.0.value {
            Value::List(_) => Err(Mismatch::Wanted("a map".into())),
            _ => self.deserialize_any(visitor),
        }
    }

    forward!(visit_whole: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128);
    forward!(visit_text: deserialize_char deserialize_str deserialize_string deserialize_identifier);
    forward!(deserialize_any: deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_seq deserialize_map deserialize_ignored_any);
}
