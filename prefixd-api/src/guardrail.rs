//! Guardrails: checks no rule can pass by.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! guardrails {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A guardrail, by its stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Guardrail {
            $($(#[$doc])* $variant,)*
        }

        impl Guardrail {
            /// All of them, for metrics and documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as answers, metrics and end reasons carry it: `guardrail.safelist`.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => concat!("guardrail.", $name),)* }
            }

            /// The guardrail with this code.
            #[must_use]
            pub fn from_code(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|guardrail| guardrail.code() == code)
            }
        }
    };
}

guardrails! {
    /// The destination overlaps an entry of the safelist, configured, added or implicit.
    Safelist = "safelist",
    /// The destination is not inside one customer's prefix.
    Ownership = "ownership",
    /// The destination prefix is shorter than allowed.
    PrefixLength = "prefix_length",
    /// More ports than a rule may hold, or ports where they cannot match.
    Ports = "ports",
    /// A packet length beyond what the network carries.
    PacketLength = "packet_length",
    /// A TTL outside the configured bounds.
    Ttl = "ttl",
    /// The scope was filtered for as long as it may be.
    Lifetime = "lifetime",
    /// The customer has as many active mitigations as it may have.
    QuotaCustomer = "quota_customer",
    /// The POP has as many active mitigations as it may have.
    QuotaPop = "quota_pop",
    /// All POPs together have as many active mitigations as they may have.
    QuotaGlobal = "quota_global",
    /// More new mitigations in the last minute than allowed.
    RateOfChange = "rate_of_change",
    /// The breaker is tripped: sessions were lost right after something was announced.
    Breaker = "breaker",
    /// It would catch packets of a flow that no rule may catch.
    ProtectedFlow = "protected_flow",
    /// A person stopped announcing: hold or panic.
    Panic = "panic",
    /// The source may not ask for this action.
    SourceAction = "source_action",
    /// A combination that would finish the attack, or that cannot match.
    Impossible = "impossible",
}

impl fmt::Display for Guardrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Guardrail {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Guardrail {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let code = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::from_code(&code)
            .ok_or_else(|| serde::de::Error::custom(format_args!("unknown guardrail {code:?}")))
    }
}
