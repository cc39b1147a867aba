//! What the story asks, as the engine is asked, and what it says.

use super::super::{Bench, Told, report};
use super::memory::nth_of;
use super::reference::{At, Reference};
use super::setup::SOURCES;
use super::story::{
    Ask, Asked, Order, PORTS, PREFIXES, RATES, Report, SURE, Scope, Target, VICTIMS, Which, Word,
};
use super::world::World;
use crate::engine::{Keyed, Reply, Request, SubmitError, Told as ToldKeyed};
use crate::policy::{
    self, About, AdjustCommand, AnnotateCommand, Annotation, Command, ConfirmCommand, CreateCommand,
    EventCommand, ExtendCommand, FreshIds, Outcome, PauseSource, PeerCommand, ResumeSource, SafelistAdd,
    SetControl, SuppressCommand, SuppressWide, UndoCommand, UnsuppressCommand, WithdrawCommand, WithdrawMany,
};
use crate::store::{Claim, ClaimName, KeptAnswer, Recalled};
use prefixd_api::control::ControlState;
use prefixd_api::event::{Event, EventAction, EventRequest};
use prefixd_api::ids::MitigationId;
use prefixd_api::mitigation::{self, Mitigation, MitigationRequest};
use prefixd_api::operation::{AdjustRequest, LiveFilter};
use prefixd_api::peer::PeerOrder;
use prefixd_api::rate::BitsPerSecond;
use prefixd_api::rule::{ActionType, MatchRequest};
use prefixd_api::time::Timestamp;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Who asked, and waits.
pub(super) enum Waits {
    Plain(Told),
    Keyed(oneshot::Receiver<Result<ToldKeyed, SubmitError>>),
}

impl Waits {
    /// Puts a command into the queue.
    pub(super) fn of(bench: &mut Bench, asked: &Asked, command: Command) -> Self {
        let Some(key) = asked.key else {
            return Self::Plain(match &command {
                Command::Control(set) if set.is_panic() => bench.urgently(command),
                _ => bench.ask(command),
            });
        };
        let mut words = DefaultHasher::new();
        format!("{:?}", asked.ask).hash(&mut words);
        let mut request = [0; 32];
        request[..8].copy_from_slice(&words.finish().to_le_bytes());
        let name = ClaimName {
            principal: "token:noc".into(),
            key: key.to_string().into(),
        };
        let keyed = Box::new(Keyed {
            claim: Claim { name, request },
            answer: Arc::new(|_, outcome| Some(KeptAnswer::new(200, in_a_word(outcome)))),
        });
        let (to, told) = oneshot::channel();
        bench.engine.waiting.push_back(Request::Command {
            command,
            reply: Reply::Keyed { to, keyed },
        });
        Self::Keyed(told)
    }

    /// What was answered, in a word.
    pub(super) fn heard(&mut self) -> Result<String, oneshot::error::TryRecvError> {
        let (outcome, again) = match self {
            Self::Plain(told) => match told.try_recv()? {
                Ok(answer) => (answer.outcome, answer.replay),
                Err(error) => return Ok(error.to_string()),
            },
            Self::Keyed(told) => match told.try_recv()? {
                Ok(ToldKeyed::Decided { answer, .. }) => (answer.outcome, false),
                Ok(ToldKeyed::Recalled(Recalled::Same(kept))) => {
                    return Ok(format!("{} again", kept.body.as_deref().unwrap_or_default()));
                }
                Ok(ToldKeyed::Recalled(Recalled::Other)) => return Ok("the key of another".to_owned()),
                Err(error) => return Ok(error.to_string()),
            },
        };
        let word = in_a_word(&outcome);
        Ok(if again { format!("{word} again") } else { word })
    }
}

impl World {
    /// As the API would make it, and the names of what may begin.
    pub(super) async fn command(&mut self, ask: &Ask, now: At) -> Option<(Vec<FreshIds>, Command)> {
        let ids = FreshIds::new();
        let mut names = vec![ids];
        let (actor, reason) = ("token:noc".to_owned(), "a story".to_owned());
        let live = |reference: &Reference, scope: &Scope| {
            reference
                .live
                .get(scope)
                .map_or_else(MitigationId::new, |live| live.id)
        };
        let seconds = |seconds: &i64| Duration::from_secs(seconds.unsigned_abs());
        let command = match ask {
            Ask::Report(said) => event(ids, said, said.age.map(|age| now - age * super::SECOND)),
            Ask::Again { report, seen_at } => event(ids, report, Some(*seen_at)),
            Ask::Create {
                scope,
                port,
                rate,
                ttl,
                replace,
            } => {
                let rate = RATES[*rate];
                Command::Create(Box::new(CreateCommand {
                    ids,
                    victim: address(scope.0).to_string().parse().unwrap(),
                    request: MitigationRequest {
                        victim_ip: address(scope.0).to_string(),
                        vector: Some(scope.1.name().to_owned()),
                        action: Some(if rate == 0 {
                            ActionType::Discard
                        } else {
                            ActionType::Police
                        }),
                        rate_bps: (rate > 0).then_some(BitsPerSecond(rate)),
                        ttl_seconds: u32::try_from(*ttl).ok(),
                        dst_ports: [PORTS[*port]].into_iter().collect(),
                        protocol: Some(17),
                        replace: *replace,
                        reason,
                        ..MitigationRequest::default()
                    },
                    actor,
                }))
            }
            Ask::Extend { scope, ttl } => Command::Extend(ExtendCommand {
                mitigation: live(&self.reference, scope),
                ttl: seconds(ttl),
                reason,
                expected_revision: None,
                actor,
            }),
            Ask::Adjust { scope, port, rate } => {
                let rate = RATES[*rate];
                let matches = MatchRequest {
                    protocols: [17].into(),
                    dst_ports: [PORTS[*port]].into_iter().collect(),
                    ..MatchRequest::default()
                };
                Command::Adjust(Box::new(AdjustCommand {
                    mitigation: live(&self.reference, scope),
                    request: AdjustRequest {
                        action: Some(if rate == 0 {
                            ActionType::Discard
                        } else {
                            ActionType::Police
                        }),
                        rate_bps: (rate > 0).then_some(BitsPerSecond(rate)),
                        matches: Some(Box::new(matches)),
                        reason,
                        ..AdjustRequest::default()
                    },
                    actor,
                }))
            }
            Ask::Withdraw { scope, after } => Command::Withdraw(WithdrawCommand {
                ids,
                mitigation: live(&self.reference, scope),
                reason,
                suppress: Some(seconds(&after.suppress)),
                confirm_within: after.confirm.as_ref().map(seconds),
                expected_revision: None,
                actor,
            }),
            Ask::WithdrawMany { which, after } => {
                let meant = self.reference.meant(*which);
                names.resize_with(meant.len().max(1), FreshIds::new);
                Command::WithdrawMany(WithdrawMany {
                    which: match which {
                        Which::Named(_) => {
                            let named = meant.iter().map(|scope| live(&self.reference, scope));
                            policy::Which::Named(named.collect())
                        }
                        Which::Customer { acme, miscounted } => {
                            let filter = LiveFilter {
                                customer_id: Some(if *acme { "acme" } else { "beta" }.to_owned()),
                                ..LiveFilter::default()
                            };
                            let count = meant.len() + usize::from(*miscounted);
                            policy::Which::Like(Box::new(filter), count as u64)
                        }
                    },
                    revisions: BTreeMap::new(),
                    ids: names.clone(),
                    reason,
                    suppress: Some(seconds(&after.suppress)),
                    confirm_within: after.confirm.as_ref().map(seconds),
                    actor,
                })
            }
            Ask::Confirm(nth) => {
                let waits = nth_of(&self.reference.unconfirmed, *nth);
                Command::Confirm(ConfirmCommand {
                    mitigation: waits.map_or_else(MitigationId::new, |(_, waits)| waits.ended.id),
                    expected_revision: None,
                    reason,
                    actor,
                })
            }
            Ask::Suppress {
                target: Target::Scope(scope),
                time,
            } => Command::Suppress(SuppressCommand {
                id: ids.suppression,
                scope: mitigation::Scope {
                    victim: address(scope.0).to_string().parse().unwrap(),
                    vector: scope.1.name().into(),
                },
                time: seconds(time),
                reason,
                actor,
            }),
            Ask::Suppress { target, time } => {
                let (prefix, source) = match target {
                    Target::Prefix(prefix) => (Some(PREFIXES[*prefix].parse().unwrap()), None),
                    Target::Source(source) => (None, Some(SOURCES[*source].name.to_owned())),
                    Target::Scope(_) => unreachable!(),
                };
                Command::SuppressWide(SuppressWide {
                    id: ids.suppression,
                    prefix,
                    vector: None,
                    source,
                    time: seconds(time),
                    reason,
                    actor,
                })
            }
            Ask::Unsuppress(nth) => {
                let known = nth_of(&self.reference.suppressions, *nth).map(|(_, known)| known);
                Command::Unsuppress(UnsuppressCommand {
                    id: known.map_or(ids.suppression, |known| known.id),
                    actor,
                })
            }
            Ask::Order(order) => Command::Peer(PeerCommand {
                neighbor: "edge".to_owned(),
                order: match order {
                    Order::Disable => PeerOrder::Disable,
                    Order::Enable => PeerOrder::Enable,
                    Order::Resend => PeerOrder::Resend,
                },
                nlri: None,
                family: None,
                reason,
                actor,
            }),
            Ask::Undo(scope) => Command::Undo(UndoCommand {
                ids,
                ended: self.ended(*scope).await?,
                reason,
                expected_revision: None,
                actor,
            }),
            Ask::Acknowledge(scope) => {
                let (mitigation, ended) = match self.reference.live.get(scope) {
                    Some(live) => (live.id, None),
                    None => {
                        let ended = self.ended(*scope).await?;
                        (ended.mitigation_id, Some(ended))
                    }
                };
                Command::Annotate(AnnotateCommand {
                    about: vec![About { mitigation, ended }],
                    like: None,
                    what: Annotation::Acknowledge(true),
                    revisions: BTreeMap::new(),
                    actor,
                })
            }
            Ask::Protect { prefix, time } => Command::SafelistAdd(SafelistAdd {
                prefix: PREFIXES[*prefix].parse().unwrap(),
                reason,
                expires_at: time.map(|time| Timestamp::from_micros(now + time * super::SECOND)),
                expect_count: None,
                actor,
            }),
            Ask::Unprotect(prefix) => Command::SafelistRemove {
                prefix: PREFIXES[*prefix].parse().unwrap(),
                actor,
            },
            Ask::Pause { source, withdraw } => Command::PauseSource(PauseSource {
                source: SOURCES[*source].name.into(),
                withdraw: *withdraw,
                expect_count: None,
                reason,
                actor,
            }),
            Ask::Resume(source) => Command::ResumeSource(ResumeSource {
                source: SOURCES[*source].name.into(),
                reason,
                actor,
            }),
            Ask::Say { whole_pop, word } => Command::Control(SetControl {
                scope: if *whole_pop { "pop" } else { "customer:acme" }.parse().unwrap(),
                state: match word {
                    Word::Running => ControlState::Running,
                    Word::Hold => ControlState::Hold,
                    Word::Panic => ControlState::Panic,
                },
                actor,
                reason,
                expected_revision: None,
                said: 0,
                in_force_since: None,
            }),
        };
        Some((names, command))
    }

    /// What ended last in a scope, as a request finds it in the store.
    async fn ended(&mut self, scope: Scope) -> Option<Arc<Mitigation>> {
        let id = self.reference.ended.get(&scope)?.0.id;
        let stored = self.bench().engine.parts.store.get_mitigation(id).await.unwrap();
        stored.filter(|stored| !stored.status.is_live()).map(Arc::new)
    }
}

pub(super) fn address(victim: usize) -> Ipv4Addr {
    VICTIMS[victim].into()
}

pub(super) fn victim_of(victim: IpAddr) -> usize {
    (0..VICTIMS.len())
        .find(|one| IpAddr::from(address(*one)) == victim)
        .unwrap()
}

fn event(ids: FreshIds, said: &Report, seen_at: Option<At>) -> Command {
    let seen_at = seen_at.map(Timestamp::from_micros);
    let request = EventRequest {
        source: SOURCES[said.source].name.to_owned(),
        event_id: said.name.map(|name| format!("attack{name}")),
        action: if said.unban {
            EventAction::Unban
        } else {
            EventAction::Ban
        },
        victim_ip: address(said.victim).to_string(),
        vector: said.scope().1.name().to_owned(),
        // Too little for fragments to matter.
        bps: Some(50_000_000),
        top_dst_ports: vec![PORTS[said.port]],
        confidence: said.sure.map(|sure| f64::from(SURE[sure]) / 100.0),
        timestamp: seen_at,
        ..report(0)
    };
    Command::Event(Box::new(EventCommand {
        ids,
        event: Event::try_from(request).unwrap(),
        actor: "token:detector".to_owned(),
        seen_at,
    }))
}

fn in_a_word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Event { answer: event, .. } => event.status.to_string(),
        Outcome::Created(_) => "created".to_owned(),
        Outcome::Changed(_) => "changed".to_owned(),
        Outcome::Withdrawn(_) => "withdrawn".to_owned(),
        Outcome::Many(results) => {
            let done = results.iter().filter(|(_, result)| result.is_ok());
            format!("{} of {} done", done.count(), results.len())
        }
        Outcome::Suppressed(_) => "suppressed, 0 live".to_owned(),
        Outcome::WideSuppressed { live, .. } => format!("suppressed, {live} live"),
        Outcome::Unsuppressed => "unsuppressed".to_owned(),
        Outcome::PeerOrdered => "ordered".to_owned(),
        Outcome::SafelistAdded(answer) => format!("protected, {} withdrawn", answer.withdrawn),
        Outcome::SafelistRemoved => "unprotected".to_owned(),
        Outcome::SourcePaused { withdrawn, .. } => format!("paused, {withdrawn} withdrawn"),
        Outcome::ControlChanged => "said".to_owned(),
        Outcome::Refused(problem) => problem.code.clone(),
        other => format!("{other:?}"),
    }
}
