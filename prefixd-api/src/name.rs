//! Words that thousands of things have in common.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Borrow;
use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;
use std::sync::Arc;

/// A text that many others are equal to: the name of a POP, of a customer, of a vector, or the one sentence that explains
/// every mitigation of a playbook's step. Equal ones are mostly one in memory, however they came to be: a start reads the
/// same ten names of each of a hundred thousand mitigations. One pointer, because whatever has names has many.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<Box<str>>);

const _: () = assert!(size_of::<Option<Name>>() == size_of::<usize>());

impl Name {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How many texts a thread remembers, each in the place that its hash says: the newest takes it.
const PLACES: usize = 256;
/// Longer ones are not remembered, so that what is costs 64 KiB at most.
const LONGEST: usize = 256;

/// What a thread has made of texts lately. Bounded, because names come from outside.
struct Lately {
    places: Box<[Option<Name>]>,
    hasher: RandomState,
}

thread_local! {
    static LATELY: RefCell<Lately> = RefCell::new(Lately {
        places: vec![None; PLACES].into(),
        hasher: RandomState::new(),
    });
}

impl Lately {
    fn name(&mut self, text: &str) -> Name {
        let hash = self.hasher.hash_one(text);
        let place = usize::try_from(hash % PLACES as u64).unwrap_or_default();
        match self.places.get_mut(place) {
            Some(Some(known)) if *known == *text => known.clone(),
            Some(place) => place.insert(Name::alone(text)).clone(),
            None => Name::alone(text),
        }
    }
}

impl Name {
    fn alone(text: &str) -> Self {
        Self(Arc::new(text.into()))
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        if text.len() > LONGEST {
            return Self::alone(text);
        }
        // At the end of a thread nothing is remembered any more.
        let known = LATELY.try_with(|lately| lately.borrow_mut().name(text));
        known.unwrap_or_else(|_| Self::alone(text))
    }
}

impl From<String> for Name {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Name {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl Default for Name {
    fn default() -> Self {
        "".into()
    }
}

impl Deref for Name {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        self
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        **self == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl PartialEq<String> for Name {
    fn eq(&self, other: &String) -> bool {
        **self == **other
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Name, E> {
                Ok(text.into())
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_one(one: &Name, other: &Name) -> bool {
        Arc::ptr_eq(&one.0, &other.0)
    }

    #[test]
    fn equal_texts_are_one_however_they_came() {
        let name = Name::from("udp_flood");
        let read: Name = serde_json::from_str(r#""udp_flood""#).unwrap();
        let escaped: Name = serde_json::from_str(r#""udp\u005fflood""#).unwrap();
        for other in [read, escaped, "udp_flood".to_owned().into()] {
            assert!(is_one(&name, &other));
        }
        assert_eq!(serde_json::to_string(&name).unwrap(), r#""udp_flood""#);
    }

    #[test]
    fn what_is_long_or_came_long_ago_is_equal_all_the_same() {
        let long = "a".repeat(LONGEST + 1);
        let (one, other) = (Name::from(&long), Name::from(&long));
        assert!(one == other && !is_one(&one, &other));
        let before = Name::from("before");
        for number in 0..100 * PLACES {
            let _ = Name::from(number.to_string());
        }
        let after = Name::from("before");
        assert!(before == after && !is_one(&before, &after));
    }
}
