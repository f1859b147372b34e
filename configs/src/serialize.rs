//! Typed settings to tree, through their `Serialize`: defaults and resolved configurations are printed and compared
//! without writing any of them a second time.

use serde::ser::{self, Serialize};

use crate::node::{Entry, Map, Node, Value};
use crate::scalar::Scalar;

/// The tree of a typed value, without places. A value that YAML text cannot hold (a path that is not UTF-8) becomes
/// the reason in brackets.
pub(crate) fn to_node<T: Serialize + ?Sized>(value: &T) -> Node {
    value.serialize(ToNode).unwrap_or_else(|error| Node::scalar(Scalar::quoted(format!("({error})")), None))
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unsupported(String);

impl ser::Error for Unsupported {
    fn custom<T: std::fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

struct ToNode;

fn plain(text: impl ToString) -> Result<Node, Unsupported> {
    Ok(Node::scalar(Scalar::plain(text.to_string()), None))
}

macro_rules! plain_words {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(self, value: $type) -> Result<Node, Unsupported> { plain(value) })*
    };
}

impl ser::Serializer for ToNode {
    type Ok = Node;
    type Error = Unsupported;
    type SerializeSeq = ListBuilder;
    type SerializeTuple = ListBuilder;
    type SerializeTupleStruct = ListBuilder;
    type SerializeTupleVariant = ser::Impossible<Node, Unsupported>;
    type SerializeMap = MapBuilder;
    type SerializeStruct = MapBuilder;
    type SerializeStructVariant = ser::Impossible<Node, Unsupported>;

    plain_words!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64);

    fn serialize_f32(self, value: f32) -> Result<Node, Unsupported> {
        self.serialize_f64(f64::from(value))
    }

    fn serialize_f64(self, value: f64) -> Result<Node, Unsupported> {
        Ok(Node::scalar(Scalar::float(value), None))
    }

    fn serialize_char(self, value: char) -> Result<Node, Unsupported> {
        Ok(Node::scalar(Scalar::quoted(value), None))
    }

    fn serialize_str(self, value: &str) -> Result<Node, Unsupported> {
        Ok(Node::scalar(Scalar::quoted(value), None))
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<Node, Unsupported> {
        Err(Unsupported("bytes are not a setting".into()))
    }

    fn serialize_none(self) -> Result<Node, Unsupported> {
        Ok(Node::null())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Node, Unsupported> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<Node, Unsupported> {
        Ok(Node::null())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<Node, Unsupported> {
        Ok(Node::null())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
    ) -> Result<Node, Unsupported> {
        self.serialize_str(name)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<Node, Unsupported> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Result<Node, Unsupported> {
        let mut map = MapBuilder::default();
        map.add(name, value);
        Ok(Node::map(map.map, None))
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<ListBuilder, Unsupported> {
        Ok(ListBuilder::default())
    }

    fn serialize_tuple(self, _: usize) -> Result<ListBuilder, Unsupported> {
        Ok(ListBuilder::default())
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<ListBuilder, Unsupported> {
        Ok(ListBuilder::default())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Unsupported> {
        Err(Unsupported("tuple variants are not a setting".into()))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<MapBuilder, Unsupported> {
        Ok(MapBuilder::default())
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<MapBuilder, Unsupported> {
        Ok(MapBuilder::default())
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Unsupported> {
        Err(Unsupported("struct variants are not a setting".into()))
    }
}

#[derive(Default)]
struct ListBuilder {
    items: Vec<Node>,
}

macro_rules! list_parts {
    ($($part:ident: $method:ident),*) => {
        $(impl ser::$part for ListBuilder {
            type Ok = Node;
            type Error = Unsupported;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
                self.items.push(to_node(value));
                Ok(())
            }

            fn end(self) -> Result<Node, Unsupported> {
                Ok(Node { value: Value::List(self.items), place: None })
            }
        })*
    };
}

list_parts!(SerializeSeq: serialize_element, SerializeTuple: serialize_element, SerializeTupleStruct: serialize_field);

#[derive(Default)]
struct MapBuilder {
    map: Map,
    key: Option<String>,
}

impl MapBuilder {
    fn add<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) {
        self.map.entries.push(Entry { key: key.into(), key_place: None, node: to_node(value) });
    }
}

impl ser::SerializeStruct for MapBuilder {
    type Ok = Node;
    type Error = Unsupported;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), Unsupported> {
        self.add(key, value);
        Ok(())
    }

    fn end(self) -> Result<Node, Unsupported> {
        Ok(Node::map(self.map, None))
    }
}

impl ser::SerializeMap for MapBuilder {
    type Ok = Node;
    type Error = Unsupported;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Unsupported> {
        let key = key.serialize(ToNode)?;
        let text = key.as_scalar().map(|scalar| scalar.text.clone());
        self.key = Some(text.ok_or_else(|| Unsupported("a key must be a word".into()))?);
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Unsupported> {
        let key = self.key.take().unwrap_or_default();
        self.add(&key, value);
        Ok(())
    }

    fn end(self) -> Result<Node, Unsupported> {
        Ok(Node::map(self.map, None))
    }
}
