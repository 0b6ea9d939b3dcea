//! Reads structs from JSON objects alone. serde's derive also takes a list, and gives its elements to the fields in order. A
//! Kubernetes API server refuses such a list, and stores nothing of it. So it must not be read here as something else.
//!
//! A struct has `#[serde(remote = "Self", expecting = "an object")]` beside its derive, and is named in [`from_objects!`].

use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;

/// A deserializer that takes a struct from an object alone.
pub(crate) struct ObjectOnly<D>(pub(crate) D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for ObjectOnly<D> {
    type Error = D::Error;

    // Only `deserialize_struct` is called.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Implements `Deserialize` for structs that are read from objects alone.
macro_rules! from_objects {
    ($($name:ty),+ $(,)?) => {
        $(impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
                // The function that `remote = "Self"` makes.
                <$name>::deserialize($crate::base::object_only::ObjectOnly(json))
            }
        })+
    };
}
pub(crate) use from_objects;

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(remote = "Self", expecting = "an object")]
    struct Outer {
        inner: Option<Inner>,
        list: Option<Vec<Inner>>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(remote = "Self", expecting = "an object")]
    struct Inner {
        name: Option<String>,
    }

    from_objects!(Outer, Inner);

    #[test]
    fn a_list_is_no_object() {
        let read = |text: &str| serde_json::from_str::<Outer>(text).map_err(|error| error.to_string());
        let inner = || Inner { name: Some("n".to_owned()) };
        let both = Outer { inner: Some(inner()), list: Some(vec![inner()]) };
        assert_eq!(read(r#"{"inner":{"name":"n"},"x":[1],"list":[{"name":"n"}]}"#), Ok(both));
        for list in
            [r#"[null,null]"#, r#"{"inner":["n"]}"#, r#"{"inner":[]}"#, r#"{"list":[["n"]]}"#, r#"{"list":[[]]}"#]
        {
            let error = read(list).unwrap_err();
            assert!(error.starts_with("invalid type: sequence, expected an object"), "{list}: {error}");
        }
        assert!(read(r#"{"inner":{"name":"n","name":"m"}}"#).unwrap_err().contains("duplicate field"));
    }
}
