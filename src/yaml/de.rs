//! serde over the tree. Each error gets the place of the value or key that it is about.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, IntoDeserializer as _, MapAccess, SeqAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::YamlError;
use super::tree::{At, Key, Node, Value};

/// Reads a value from its tree.
pub(super) fn read<T: DeserializeOwned>(node: &Node) -> Result<T, YamlError> {
    T::deserialize(node)
}

/// Adds a place to an error that has none: the innermost place is the nearest to the problem.
fn placed(at: At) -> impl Fn(YamlError) -> YamlError {
    move |error| match error.line {
        0 => YamlError { line: at.line, column: at.column, ..error },
        _ => error,
    }
}

impl<'de> Deserializer<'de> for &'de Node {
    type Error = YamlError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        let visited = match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(truth) => visitor.visit_bool(*truth),
            Value::Number(number) => match number {
                Some(number) if number.is_u64() => visitor.visit_u64(number.as_u64().unwrap_or_default()),
                Some(number) if number.is_i64() => visitor.visit_i64(number.as_i64().unwrap_or_default()),
                Some(number) => visitor.visit_f64(number.as_f64().unwrap_or(f64::NAN)),
                None => visitor.visit_f64(f64::NAN),
            },
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries { rest: entries.iter(), value: None }),
        };
        visited.map_err(placed(self.at))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, YamlError> {
        match self.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, YamlError> {
        visitor.visit_newtype_struct(self)
    }

    /// All enums of the configuration are words.
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        match &self.value {
            Value::Text(text) => {
                let word: StrDeserializer<'_, YamlError> = text.as_str().into_deserializer();
                word.deserialize_enum(name, variants, visitor).map_err(placed(self.at))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    /// serde would read a list as the fields of a struct, in their order. No author means that.
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, YamlError> {
        match &self.value {
            Value::List(_) => Err(YamlError::at(self, "expected a mapping, found a list".to_owned())),
            _ => self.deserialize_any(visitor),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'de>(std::slice::Iter<'de, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = YamlError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, YamlError> {
        self.0.next().map(|item| seed.deserialize(item).map_err(placed(item.at))).transpose()
    }
}

struct Entries<'de> {
    rest: std::slice::Iter<'de, (Key, Node)>,
    value: Option<&'de Node>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = YamlError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, YamlError> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        let word: StrDeserializer<'_, YamlError> = key.text.as_str().into_deserializer();
        seed.deserialize(word).map(Some).map_err(placed(key.at))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, YamlError> {
        let value = self.value.take().unwrap_or(&Node::NOTHING); // serde asks for a key first
        seed.deserialize(value).map_err(placed(value.at))
    }
}
