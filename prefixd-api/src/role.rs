//! Roles. One table in the daemon maps every route to what it needs.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a principal may do. An operator includes viewer and detector, an admin includes all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reports events, nothing else.
    Detector,
    /// Reads everything but secrets.
    Viewer,
    /// Changes what is announced.
    Operator,
    /// Changes the safelist, configuration and access.
    Admin,
}

impl Role {
    /// Whether a principal of this role may use a route that needs `needed`.
    #[must_use]
    pub fn includes(self, needed: Self) -> bool {
        match self {
            Self::Detector => needed == Self::Detector,
            Self::Viewer => needed == Self::Viewer,
            Self::Operator => needed != Self::Admin,
            Self::Admin => true,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detector => "detector",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Role::{Admin, Detector, Operator, Viewer};

    #[test]
    fn a_detector_only_reports() {
        assert!(Detector.includes(Detector) && !Detector.includes(Viewer) && !Viewer.includes(Detector));
        assert!(Operator.includes(Detector) && Operator.includes(Viewer) && !Operator.includes(Admin));
        assert!(
            [Detector, Viewer, Operator, Admin]
                .into_iter()
                .all(|needed| Admin.includes(needed))
        );
    }
}
