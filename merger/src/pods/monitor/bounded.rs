//! Lists and maps of which only so much is made into values, however long they are.
//!
//! An object of 1.5 MB may have half a million of the shortest endpoints, each of them hundreds of bytes
//! as a value.

use std::{collections::BTreeMap, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// The first elements of a list; null is an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listed<T, const N: usize> {
    /// At most `N`.
    pub(super) kept: Vec<T>,
    /// How many more there were.
    pub(super) left_out: usize,
}

/// The first entries of a map; null is an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entries<T, const N: usize> {
    /// At most `N`.
    pub(super) kept: BTreeMap<String, T>,
    /// How many more there were.
    pub(super) left_out: usize,
}

// === impl Listed ===

impl<T, const N: usize> Default for Listed<T, N> {
    fn default() -> Self {
        Self { kept: Vec::new(), left_out: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Listed<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for List<T, N> {
            type Value = Listed<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Listed::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut listed = Listed::default();
                while listed.kept.len() < N {
                    let Some(element) = list.next_element()? else { return Ok(listed) };
                    listed.kept.push(element);
                }
                while list.next_element::<IgnoredAny>()?.is_some() {
                    listed.left_out += 1;
                }
                Ok(listed)
            }
        }

        deserializer.deserialize_any(List(PhantomData))
    }
}

// === impl Entries ===

impl<T, const N: usize> Default for Entries<T, N> {
    fn default() -> Self {
        Self { kept: BTreeMap::new(), left_out: 0 }
    }
}

impl<'de, T: Deserialize<'de>, const N: usize> Deserialize<'de> for Entries<T, N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Map<T, const N: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const N: usize> Visitor<'de> for Map<T, N> {
            type Value = Entries<T, N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Entries::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Entries::default();
                while entries.kept.len() < N {
                    let Some((name, value)) = map.next_entry()? else { return Ok(entries) };
                    entries.kept.insert(name, value);
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
                    entries.left_out += 1;
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_any(Map(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_much_of_a_list_or_a_map_is_kept_and_the_rest_is_counted() {
        let list = |text| {
            let Listed::<u8, 2> { kept, left_out } = serde_json::from_str(text).unwrap();
            (kept, left_out)
        };
        assert_eq!(list("null"), (vec![], 0));
        assert_eq!(list("[1,2]"), (vec![1, 2], 0));
        // What is not kept may be anything.
        assert_eq!(list(r#"[1,2,{"a":[]},null]"#), (vec![1, 2], 2));
        assert!(serde_json::from_str::<Listed<u8, 2>>(r#"["a"]"#).is_err());
        assert!(serde_json::from_str::<Listed<u8, 2>>("{}").is_err());
        let map = |text| {
            let Entries::<u8, 1> { kept, left_out } = serde_json::from_str(text).unwrap();
            (kept.into_iter().collect::<Vec<_>>(), left_out)
        };
        assert_eq!(map("null"), (vec![], 0));
        assert_eq!(map(r#"{"a":1,"b":"c"}"#), (vec![("a".to_owned(), 1)], 1));
    }
}
