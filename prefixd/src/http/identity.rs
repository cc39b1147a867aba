//! Who a request comes from. Never from its body.

use prefixd_api::config::settings::{AuthMode, BearerToken, Http, Socket};
use prefixd_api::role::Role;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// How long group memberships of a user are remembered.
const MEMBERSHIP: Duration = Duration::from_secs(10);
/// Users whose memberships are remembered at most; with more the oldest are asked again.
const MAX_USERS: usize = 1024;

/// The other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Remote {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over the Unix socket: the kernel names the user.
    Unix {
        /// User id.
        uid: u32,
        /// Primary group id.
        gid: u32,
    },
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix { uid, .. } => write!(f, "uid {uid}"),
        }
    }
}

/// Who a request comes from, authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principal {
    /// As the journal names it: `token:NAME`, `uid:1000(anna)`, `anonymous`.
    pub(super) actor: String,
    /// What it may do.
    pub(super) role: Role,
}

/// Why there is no principal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// No credentials.
    Missing,
    /// Credentials that are not valid.
    Wrong,
    /// A browser was led here from elsewhere.
    ForeignHost,
}

/// How principals are known.
#[derive(Debug)]
pub struct Access {
    mode: AuthMode,
    tokens: Tokens,
    groups: Groups,
}

impl Access {
    /// As configured.
    #[must_use]
    pub fn new(http: &Http) -> Self {
        Self {
            mode: http.auth.mode,
            tokens: Tokens::new(&http.auth.bearer_tokens),
            groups: Groups::new(http.socket.as_ref()),
        }
    }

    /// The configured mode.
    #[must_use]
    pub fn mode(&self) -> AuthMode {
        self.mode
    }

    /// Who this is. `authorization` and `host` are the headers of those names.
    pub(super) async fn identify(
        &self,
        remote: Remote,
        authorization: Option<&str>,
        host: Option<&str>,
    ) -> Result<Principal, Stranger> {
        match (remote, self.mode) {
            (Remote::Unix { uid, gid }, _) => self.groups.principal(uid, gid).await.ok_or(Stranger::Wrong),
            (Remote::Tcp(_), AuthMode::None) => {
                // Without credentials a page in a browser on this machine could speak for it: DNS rebinding.
                if host.is_some_and(is_loopback_host) {
                    Ok(Principal {
                        actor: "anonymous".to_owned(),
                        role: Role::Admin,
                    })
                } else {
                    Err(Stranger::ForeignHost)
                }
            }
            (Remote::Tcp(_), AuthMode::Bearer) => {
                let token = authorization.ok_or(Stranger::Missing)?;
                let (scheme, token) = token.split_once(' ').ok_or(Stranger::Wrong)?;
                if !scheme.eq_ignore_ascii_case("bearer") {
                    return Err(Stranger::Wrong);
                }
                self.tokens.principal(token.trim()).ok_or(Stranger::Wrong)
            }
        }
    }
}

fn is_loopback_host(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// Static tokens, kept as hashes: comparing takes the same time for every token, right or wrong.
#[derive(Debug)]
pub struct Tokens(Vec<([u8; 32], Principal)>);

impl Tokens {
    /// These tokens.
    #[must_use]
    pub fn new(tokens: &[BearerToken]) -> Self {
        let principal = |token: &BearerToken| Principal {
            actor: format!("token:{}", token.name),
            role: token.role,
        };
        Self(
            tokens
                .iter()
                .map(|token| (Sha256::digest(token.secret.expose()).into(), principal(token)))
                .collect(),
        )
    }

    fn principal(&self, token: &str) -> Option<Principal> {
        let digest: [u8; 32] = Sha256::digest(token).into();
        let mut found = None;
        for (known, principal) in &self.0 {
            if bool::from(known.ct_eq(&digest)) {
                found = Some(principal.clone());
            }
        }
        found
    }
}

/// Roles by membership in groups of the system.
#[derive(Debug)]
struct Groups {
    by_role: Vec<(Role, String)>,
    users: Arc<Mutex<HashMap<u32, Remembered>>>,
}

/// Who a user is, and when that was looked up.
type Remembered = (Instant, Option<Principal>);

impl Groups {
    fn new(socket: Option<&Socket>) -> Self {
        let groups = socket.map(|socket| {
            [
                (Role::Admin, &socket.admin_group),
                (Role::Operator, &socket.operator_group),
                (Role::Viewer, &socket.viewer_group),
            ]
        });
        let named = groups
            .into_iter()
            .flatten()
            .filter_map(|(role, group)| Some((role, group.clone()?)));
        Self {
            by_role: named.collect(),
            users: Arc::default(),
        }
    }

    /// The highest role that a user's groups give; root is an admin.
    async fn principal(&self, uid: u32, gid: u32) -> Option<Principal> {
        let known = {
            let users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
            users
                .get(&uid)
                .filter(|(at, _)| at.elapsed() < MEMBERSHIP)
                .map(|(_, principal)| principal.clone())
        };
        if let Some(principal) = known {
            return principal;
        }
        let by_role = self.by_role.clone();
        // Looking a user up may ask a directory over the network: not on an async worker.
        let looked_up = tokio::task::spawn_blocking(move || look_up(uid, gid, &by_role)).await;
        let principal = looked_up.unwrap_or_default();
        let mut users = self.users.lock().unwrap_or_else(PoisonError::into_inner);
        if users.len() >= MAX_USERS {
            users.retain(|_, (at, _)| at.elapsed() < MEMBERSHIP);
        }
        if users.len() < MAX_USERS {
            users.insert(uid, (Instant::now(), principal.clone()));
        }
        principal
    }
}

fn look_up(uid: u32, gid: u32, by_role: &[(Role, String)]) -> Option<Principal> {
    use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = user.as_ref().map_or("?", |user| user.name.as_str());
    let actor = format!("uid:{uid}({name})");
    if uid == 0 {
        return Some(Principal {
            actor,
            role: Role::Admin,
        });
    }
    let mut groups = vec![Gid::from_raw(gid)];
    if let Some(user) = &user
        && let Ok(name) = std::ffi::CString::new(user.name.as_str())
    {
        groups.extend(getgrouplist(&name, user.gid).unwrap_or_default());
    }
    by_role.iter().find_map(|(role, name)| {
        let group = Group::from_name(name).ok().flatten()?;
        groups.contains(&group.gid).then(|| Principal {
            actor: actor.clone(),
            role: *role,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_credentials_only_this_machine_may_ask() {
        let access = Access::new(&Http::default());
        let from = Remote::Tcp(([127, 0, 0, 1], 5).into());
        for host in ["127.0.0.1:8080", "localhost", "[::1]:8080", "LOCALHOST:1"] {
            assert!(access.identify(from, None, Some(host)).await.is_ok(), "{host}");
        }
        for host in [
            Some("evil.example"),
            Some("127.0.0.1.evil.example:8080"),
            Some("192.0.2.1"),
            None,
        ] {
            assert_eq!(
                access.identify(from, None, host).await,
                Err(Stranger::ForeignHost),
                "{host:?}"
            );
        }
    }

    #[tokio::test]
    async fn root_at_the_socket_is_an_admin_and_strangers_are_nobody() {
        let access = Access::new(&Http::default());
        let root = access
            .identify(Remote::Unix { uid: 0, gid: 0 }, None, None)
            .await
            .unwrap();
        assert_eq!(
            root,
            Principal {
                actor: "uid:0(root)".into(),
                role: Role::Admin
            }
        );
        let nobody = access
            .identify(
                Remote::Unix {
                    uid: 4_000_000,
                    gid: 4_000_000,
                },
                None,
                None,
            )
            .await;
        assert_eq!(nobody, Err(Stranger::Wrong));
    }

    /// Who a user of the group `daemon` is, where these groups are configured.
    async fn member_of_daemon(socket: Socket) -> Result<Principal, Stranger> {
        let access = Access::new(&Http {
            socket: Some(socket),
            ..Http::default()
        });
        let gid = nix::unistd::Group::from_name("daemon")
            .unwrap()
            .unwrap()
            .gid
            .as_raw();
        let from = Remote::Unix { uid: 4_000_001, gid };
        access.identify(from, None, None).await
    }

    #[tokio::test]
    async fn a_group_gives_its_role_and_of_several_the_highest_counts() {
        let groups = |viewer: &str, operator: &str, admin: &str| {
            let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
            Socket {
                viewer_group: named(viewer),
                operator_group: named(operator),
                admin_group: named(admin),
                ..Socket::default()
            }
        };
        for (socket, role) in [
            (groups("daemon", "", ""), Some(Role::Viewer)),
            (groups("", "daemon", ""), Some(Role::Operator)),
            (groups("", "", "daemon"), Some(Role::Admin)),
            (groups("daemon", "bin", ""), Some(Role::Viewer)),
            (groups("daemon", "daemon", ""), Some(Role::Operator)),
            (groups("daemon", "daemon", "daemon"), Some(Role::Admin)),
            (groups("bin", "bin", "bin"), None),
            (groups("no-such-group", "", ""), None),
        ] {
            let told = format!("{socket:?}");
            let member = member_of_daemon(socket).await;
            assert_eq!(member.ok().map(|member| member.role), role, "{told}");
        }
    }

    /// Debian's package of FRR makes a user whose second group is `frrvty`.
    #[tokio::test]
    async fn a_second_group_counts_as_the_first_does() {
        if !lab::routers::Kind::Frr.available().unwrap() {
            return;
        }
        let user = nix::unistd::User::from_name("frr").unwrap().unwrap();
        let access = Access::new(&Http {
            socket: Some(Socket {
                viewer_group: Some("frrvty".into()),
                operator_group: None,
                admin_group: None,
                ..Socket::default()
            }),
            ..Http::default()
        });
        let from = Remote::Unix {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        };
        let member = access.identify(from, None, None).await.unwrap();
        assert_eq!(member.role, Role::Viewer);
        assert!(member.actor.ends_with("(frr)"), "{}", member.actor);
    }
}
