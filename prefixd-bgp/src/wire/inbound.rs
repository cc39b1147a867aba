//! Counting what a neighbour announces to us, without interpreting it.
//!
//! We are no customer of anybody's routes: an UPDATE is walked for its NLRI fields, each NLRI is remembered by a hash,
//! and a neighbour that announces more than a bound is told to stop (RFC 4486 section 4, Maximum Number of Prefixes).
//! Bytes that make no sense are skipped, never an error.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

const MP_REACH: u8 = 14;
const MP_UNREACH: u8 = 15;
const FLAG_EXTENDED_LENGTH: u8 = 0x10;
const SAFI_FLOWSPEC: u8 = 133;

/// The routes a neighbour has announced in this session; at most one more than the bound is remembered.
#[derive(Debug, Default)]
pub(crate) struct InboundRoutes {
    seen: HashSet<u64>,
}

impl InboundRoutes {
    /// Takes one UPDATE body into account.
    pub(crate) fn update(&mut self, body: &[u8], bound: usize) {
        let mut walk = Walk(body);
        let withdrawn = walk.field_u16();
        let attributes = walk.field_u16();
        self.withdraw(&[], prefixes(withdrawn));
        let mut walk_attributes = Walk(attributes);
        while let Some((kind, value)) = walk_attributes.attribute() {
            match kind {
                MP_REACH => {
                    let mut walk = Walk(value);
                    let family = walk.take(3);
                    let _next_hop = walk.field_u8();
                    let _reserved = walk.take(1);
                    self.announce(family, nlri(family, walk.0), bound);
                }
                MP_UNREACH => {
                    let mut walk = Walk(value);
                    let family = walk.take(3);
                    self.withdraw(family, nlri(family, walk.0));
                }
                _ => {}
            }
        }
        self.announce(&[], prefixes(walk.0), bound);
    }

    /// How many different routes are announced and not withdrawn.
    pub(crate) fn len(&self) -> usize {
        self.seen.len()
    }

    fn announce<'a>(&mut self, family: &[u8], nlri: impl Iterator<Item = &'a [u8]>, bound: usize) {
        for one in nlri {
            if self.seen.len() <= bound {
                self.seen.insert(digest(family, one));
            }
        }
    }

    fn withdraw<'a>(&mut self, family: &[u8], nlri: impl Iterator<Item = &'a [u8]>) {
        for one in nlri {
            self.seen.remove(&digest(family, one));
        }
    }
}

fn digest(family: &[u8], nlri: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (family, nlri).hash(&mut hasher);
    hasher.finish()
}

/// FlowSpec carries a length in bytes, prefixes a length in bits.
fn nlri<'a>(family: &[u8], bytes: &'a [u8]) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
    if family.get(2) == Some(&SAFI_FLOWSPEC) {
        let mut walk = Walk(bytes);
        Box::new(std::iter::from_fn(move || walk.flowspec()))
    } else {
        Box::new(prefixes(bytes))
    }
}

fn prefixes(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut walk = Walk(bytes);
    std::iter::from_fn(move || walk.prefix())
}

/// Takes fields off the front; what is missing reads as empty.
struct Walk<'a>(&'a [u8]);

impl<'a> Walk<'a> {
    fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (head, tail) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = tail;
        head
    }

    fn u8(&mut self) -> Option<usize> {
        self.take(1).first().map(|byte| usize::from(*byte))
    }

    fn u16(&mut self) -> Option<usize> {
        Some(self.u8()? << 8 | self.u8()?)
    }

    fn field_u8(&mut self) -> &'a [u8] {
        let length = self.u8().unwrap_or(0);
        self.take(length)
    }

    fn field_u16(&mut self) -> &'a [u8] {
        let length = self.u16().unwrap_or(0);
        self.take(length)
    }

    fn attribute(&mut self) -> Option<(u8, &'a [u8])> {
        let [flags, kind] = *self.take(2) else { return None };
        let value = if flags & FLAG_EXTENDED_LENGTH != 0 {
            self.field_u16()
        } else {
            self.field_u8()
        };
        Some((kind, value))
    }

    fn prefix(&mut self) -> Option<&'a [u8]> {
        let all = self.0;
        let bits = self.u8()?;
        let value = self.take(bits.div_ceil(8));
        all.get(..=value.len())
    }

    fn flowspec(&mut self) -> Option<&'a [u8]> {
        let first = self.u8()?;
        let length = if first < 0xF0 {
            first
        } else {
            (first & 0x0F) << 8 | self.u8()?
        };
        Some(self.take(length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flowspec::Family;
    use crate::wire::end_of_rib;

    /// An UPDATE body with one MP attribute.
    fn body(kind: u8, value: &[u8]) -> Vec<u8> {
        let mut attribute = vec![0x80, kind, u8::try_from(value.len()).unwrap()];
        attribute.extend_from_slice(value);
        let mut body = vec![0, 0, 0, u8::try_from(attribute.len()).unwrap()];
        body.extend(attribute);
        body
    }

    #[test]
    fn counts_flowspec_once_and_forgets_withdrawn() {
        let mut routes = InboundRoutes::default();
        let reach = body(MP_REACH, &[0, 1, 133, 0, 0, 3, 1, 8, 10, 3, 1, 8, 11]);
        routes.update(&reach, 10);
        routes.update(&reach, 10);
        assert_eq!(routes.len(), 2);
        routes.update(&body(MP_UNREACH, &[0, 1, 133, 3, 1, 8, 10]), 10);
        assert_eq!(routes.len(), 1);
    }

    #[test]
    fn counts_plain_prefixes_and_not_end_of_rib() {
        let mut routes = InboundRoutes::default();
        routes.update(&[0, 0, 0, 0, 24, 192, 0, 2, 8, 10], 10);
        assert_eq!(routes.len(), 2);
        routes.update(&end_of_rib(Family::Ipv4)[19..], 10);
        routes.update(&[0, 0, 0, 0], 10);
        assert_eq!(routes.len(), 2);
        routes.update(&[0, 4, 24, 192, 0, 2, 0, 0], 10);
        assert_eq!(routes.len(), 1);
    }

    #[test]
    fn remembers_at_most_one_more_than_the_bound() {
        let mut routes = InboundRoutes::default();
        for i in 0..=255 {
            routes.update(&[0, 0, 0, 0, 8, i], 5);
        }
        assert_eq!(routes.len(), 6);
    }

    proptest::proptest! {
        #[test]
        fn takes_any_bytes(body in proptest::collection::vec(proptest::num::u8::ANY, 0..512)) {
            let mut routes = InboundRoutes::default();
            routes.update(&body, 10);
            proptest::prop_assert!(routes.len() <= 11);
        }
    }
}
