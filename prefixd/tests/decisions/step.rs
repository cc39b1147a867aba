//! What happens in a step, as the tables write it.

use crate::expect::Expect;
use crate::seconds;
use crate::world::World;
use ipnet::IpNet;
use prefixd::policy::{
    About, AdjustCommand, AnnotateCommand, Annotation, Command, ConfirmCommand, CreateCommand, EventCommand,
    ExtendCommand, FreshIds, PauseSource, ResetBreaker, ResumeSource, SafelistAdd, SetControl,
    SuppressCommand, SuppressWide, Trip, UndoCommand, UnsuppressCommand, Which, WithdrawCommand,
    WithdrawMany,
};
use prefixd_api::control::{ControlScope, ControlState};
use prefixd_api::event::{Event, EventAction, EventRequest, pop_of_source};
use prefixd_api::ids::{MitigationId, SuppressionId};
use prefixd_api::mitigation::{MitigationRequest, Scope};
use prefixd_api::operation::{AdjustRequest, LiveFilter, Revisions};
use prefixd_api::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Who says what people say.
const ACTOR: &str = "anna";
/// Why.
const REASON: &str = "false alarm";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    #[serde(default)]
    pub(crate) at: f64,
    /// Whether a neighbour is established from now on, and rules reach it at once.
    pub(crate) established: Option<bool>,
    /// How far neighbours are from now on with what is over many: `blocked`, `coming` or `told`.
    pub(crate) reach: Option<String>,
    /// Of a source `pop:NAME` it is what that POP offers.
    ban: Option<EventRequest>,
    unban: Option<EventRequest>,
    /// How long before the step the source saw it.
    age: Option<f64>,
    create: Option<MitigationRequest>,
    withdraw: Option<Withdraw>,
    withdraw_many: Option<Many>,
    confirm: Option<Named>,
    undo: Option<Named>,
    extend: Option<Extend>,
    adjust: Option<Adjust>,
    acknowledge: Option<Many>,
    claim: Option<Hand>,
    release: Option<Hand>,
    note: Option<Note>,
    protect: Option<Protect>,
    unprotect: Option<IpNet>,
    suppress: Option<Suppress>,
    /// Ends the suppression of a scope, or the one of a prefix or a source that names it.
    unsuppress: Option<String>,
    pause: Option<Pause>,
    resume: Option<String>,
    control: Option<Control>,
    trip: Option<Tripped>,
    reset_breaker: Option<bool>,
    /// Changes the configuration and judges everything live again.
    pub(crate) reload: Option<Value>,
    /// The same before anything was judged.
    pub(crate) reload_unjudged: Option<Value>,
    pub(crate) repeat: Option<u32>,
    #[serde(default)]
    pub(crate) expect: Expect,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    scope: String,
    revision: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Withdraw {
    scope: String,
    suppress: Option<u64>,
    confirm_within: Option<u64>,
    revision: Option<u64>,
}

/// Several mitigations: these scopes, or what is like the filter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Many {
    #[serde(default)]
    scopes: Vec<String>,
    filter: Option<LiveFilter>,
    expect_count: Option<u64>,
    suppress: Option<u64>,
    confirm_within: Option<u64>,
    /// False takes an acknowledgement back.
    acknowledged: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Extend {
    scope: String,
    ttl: u64,
    revision: Option<u64>,
}

#[derive(Deserialize)]
struct Adjust {
    scope: String,
    #[serde(flatten)]
    what: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hand {
    scope: String,
    by: String,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    scope: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Protect {
    prefix: IpNet,
    expect_count: Option<u64>,
    ttl: Option<f64>,
}

/// A scope (`victim_ip` and `vector`), or a prefix, a source, with or without a vector.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Suppress {
    scope: Option<String>,
    prefix: Option<IpNet>,
    vector: Option<String>,
    source: Option<String>,
    time: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pause {
    source: String,
    #[serde(default)]
    withdraw: bool,
    expect_count: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Control {
    /// `pop`, `customer:NAME` or `neighbor:NAME`.
    scope: ControlScope,
    /// `running`, `hold` or `panic`.
    state: ControlState,
    revision: Option<u64>,
}

/// Sessions were lost after what was announced since then.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tripped {
    neighbors: Vec<String>,
    since: f64,
}

impl Step {
    /// The command, with the scope it is about where it is about one. None when nothing happens but time.
    pub(crate) fn command(&self, world: &World) -> Option<(Command, Option<Scope>)> {
        self.of_detectors(world)
            .or_else(|| self.of_one(world))
            .or_else(|| self.of_several(world).map(|command| (command, None)))
            .or_else(|| self.of_others(world).map(|command| (command, None)))
    }

    fn of_detectors(&self, world: &World) -> Option<(Command, Option<Scope>)> {
        let ban = self.ban.as_ref().map(|ban| (EventAction::Ban, ban));
        let (action, request) = ban.or(self.unban.as_ref().map(|unban| (EventAction::Unban, unban)))?;
        let mut request = EventRequest {
            action,
            ..request.clone()
        };
        // Nobody reports as a POP: its daemon hears the offer.
        let of_pop = pop_of_source(&request.source).is_some();
        let source = request.source.clone();
        if of_pop {
            "offer".clone_into(&mut request.source);
        }
        let event = Event::try_from(request).unwrap_or_else(|errors| panic!("{}: {errors:?}", world.case));
        let event = Event { source, ..event };
        let scope = Scope {
            victim: event.victim,
            vector: event.vector.as_str().into(),
        };
        let command = EventCommand {
            ids: FreshIds::new(),
            event,
            actor: "token:detector".to_owned(),
            seen_at: self.age.map(|age| seen(world.now, age)),
        };
        Some((Command::Event(Box::new(command)), Some(scope)))
    }

    /// What a person says of one mitigation.
    fn of_one(&self, world: &World) -> Option<(Command, Option<Scope>)> {
        let ids = FreshIds::new();
        let (actor, reason) = (ACTOR.to_owned(), REASON.to_owned());
        // One that nobody knows when nothing is live there.
        let named = |scope: &str| {
            let live = world.live(scope);
            (
                live.map_or(ids.mitigation, |live| live.mitigation_id),
                live.map(|live| live.scope()),
            )
        };
        if let Some(request) = &self.create {
            let victim = request.victim_ip.parse().unwrap();
            let scope = Scope {
                victim,
                vector: request.vector.as_deref().unwrap_or("manual").into(),
            };
            let command = CreateCommand {
                ids,
                victim,
                request: request.clone(),
                actor,
            };
            return Some((Command::Create(Box::new(command)), Some(scope)));
        }
        if let Some(withdraw) = &self.withdraw {
            let command = WithdrawCommand {
                ids,
                mitigation: named(&withdraw.scope).0,
                reason,
                suppress: withdraw.suppress.map(Duration::from_secs),
                confirm_within: withdraw.confirm_within.map(Duration::from_secs),
                expected_revision: withdraw.revision,
                actor,
            };
            return Some((Command::Withdraw(command), None));
        }
        if let Some(extend) = &self.extend {
            let (mitigation, scope) = named(&extend.scope);
            let command = ExtendCommand {
                mitigation,
                ttl: Duration::from_secs(extend.ttl),
                reason,
                expected_revision: extend.revision,
                actor,
            };
            return Some((Command::Extend(command), scope));
        }
        if let Some(adjust) = &self.adjust {
            let (mitigation, scope) = named(&adjust.scope);
            let mut what = adjust.what.clone();
            what["reason"] = reason.into();
            let request: AdjustRequest =
                serde_json::from_value(what).unwrap_or_else(|error| panic!("{}: {error}", world.case));
            let command = AdjustCommand {
                mitigation,
                request,
                actor,
            };
            return Some((Command::Adjust(Box::new(command)), scope));
        }
        if let Some(undo) = &self.undo {
            let command = UndoCommand {
                ids,
                ended: world.last.get(&undo.scope).map(Arc::clone).unwrap(),
                reason,
                expected_revision: undo.revision,
                actor,
            };
            return Some((Command::Undo(command), None));
        }
        let confirm = self.confirm.as_ref()?;
        let command = ConfirmCommand {
            mitigation: world.last.get(&confirm.scope).unwrap().mitigation_id,
            expected_revision: confirm.revision,
            reason,
            actor,
        };
        Some((Command::Confirm(command), None))
    }

    /// What a person says of several, or notes down.
    fn of_several(&self, world: &World) -> Option<Command> {
        let id = |scope: &String| {
            world
                .live(scope)
                .map_or_else(MitigationId::new, |live| live.mitigation_id)
        };
        let about = |scope: &String| About {
            mitigation: world
                .live(scope)
                .or_else(|| world.last.get(scope))
                .map_or_else(MitigationId::new, |known| known.mitigation_id),
            ended: world
                .last
                .get(scope)
                .filter(|_| world.live(scope).is_none())
                .cloned(),
        };
        let annotate = |about: Vec<About>, like, what, actor: &str| {
            Command::Annotate(AnnotateCommand {
                about,
                like,
                what,
                revisions: Revisions::default(),
                actor: actor.to_owned(),
            })
        };
        let like = |many: &Many| {
            let filter = Box::new(many.filter.clone()?);
            Some((filter, many.expect_count.unwrap()))
        };
        if let Some(many) = &self.withdraw_many {
            let which = match like(many) {
                Some((filter, expected)) => Which::Like(filter, expected),
                None => Which::Named(many.scopes.iter().map(id).collect()),
            };
            return Some(Command::WithdrawMany(WithdrawMany {
                which,
                revisions: Revisions::default(),
                ids: std::iter::repeat_with(FreshIds::new).take(16).collect(),
                reason: REASON.to_owned(),
                suppress: many.suppress.map(Duration::from_secs),
                confirm_within: many.confirm_within.map(Duration::from_secs),
                actor: ACTOR.to_owned(),
            }));
        }
        if let Some(many) = &self.acknowledge {
            let what = Annotation::Acknowledge(many.acknowledged.unwrap_or(true));
            let named = many.scopes.iter().map(about).collect();
            return Some(annotate(named, like(many), what, ACTOR));
        }
        if let Some(hand) = &self.claim {
            return Some(annotate(
                vec![about(&hand.scope)],
                None,
                Annotation::Claim(hand.force),
                &hand.by,
            ));
        }
        if let Some(hand) = &self.release {
            let what = Annotation::Release(hand.force);
            return Some(annotate(vec![about(&hand.scope)], None, what, &hand.by));
        }
        let note = self.note.as_ref()?;
        let what = Annotation::Note {
            text: Some(note.text.clone()),
            external_ref: None,
        };
        Some(annotate(vec![about(&note.scope)], None, what, ACTOR))
    }

    /// What is said of victims, sources and announcing as such.
    fn of_others(&self, world: &World) -> Option<Command> {
        let (actor, reason) = (ACTOR.to_owned(), REASON.to_owned());
        if let Some(protect) = &self.protect {
            return Some(Command::SafelistAdd(SafelistAdd {
                prefix: protect.prefix,
                reason: "ours".to_owned(),
                expires_at: protect.ttl.map(|ttl| world.now.saturating_add(seconds(ttl))),
                expect_count: protect.expect_count,
                actor,
            }));
        }
        if let Some(prefix) = self.unprotect {
            return Some(Command::SafelistRemove { prefix, actor });
        }
        if let Some(suppress) = &self.suppress {
            let (id, time) = (SuppressionId::new(), seconds(suppress.time));
            return Some(match &suppress.scope {
                Some(scope) => Command::Suppress(SuppressCommand {
                    id,
                    scope: scope_of(scope),
                    time,
                    reason,
                    actor,
                }),
                None => Command::SuppressWide(SuppressWide {
                    id,
                    prefix: suppress.prefix,
                    vector: suppress.vector.clone(),
                    source: suppress.source.clone(),
                    time,
                    reason,
                    actor,
                }),
            });
        }
        if let Some(what) = &self.unsuppress {
            let of_scope = world.state.suppressions.iter();
            let of_scope = of_scope.map(|(scope, one)| (scope.to_string(), one.suppression_id));
            let wide = world.state.wide_suppressions.values();
            let wide = wide.flat_map(|one| {
                let names = [one.prefix.map(|prefix| prefix.to_string()), one.source.clone()];
                names.into_iter().flatten().map(|name| (name, one.suppression_id))
            });
            let mut known = of_scope.chain(wide);
            let id = known
                .find(|(name, _)| name == what)
                .map_or_else(SuppressionId::new, |(_, id)| id);
            return Some(Command::Unsuppress(UnsuppressCommand { id, actor }));
        }
        if let Some(pause) = &self.pause {
            return Some(Command::PauseSource(PauseSource {
                source: pause.source.as_str().into(),
                withdraw: pause.withdraw,
                expect_count: pause.expect_count,
                reason,
                actor,
            }));
        }
        if let Some(source) = &self.resume {
            return Some(Command::ResumeSource(ResumeSource {
                source: source.as_str().into(),
                reason,
                actor,
            }));
        }
        if let Some(control) = &self.control {
            return Some(Command::Control(SetControl {
                scope: control.scope.clone(),
                state: control.state,
                actor,
                reason,
                expected_revision: control.revision,
                said: 0,
                in_force_since: None,
            }));
        }
        if let Some(tripped) = &self.trip {
            let since = crate::at(tripped.since);
            let announced = world.state.mitigations.values();
            let announced = announced.filter(|live| live.created_at >= since);
            return Some(Command::Trip(Trip {
                neighbors: tripped
                    .neighbors
                    .iter()
                    .map(|name| name.as_str().into())
                    .collect(),
                announced_since: since,
                mitigations: announced.map(|live| live.mitigation_id).collect(),
            }));
        }
        self.reset_breaker?;
        Some(Command::ResetBreaker(ResetBreaker { actor, reason }))
    }
}

/// A negative age is a clock that is ahead.
fn seen(now: Timestamp, age: f64) -> Timestamp {
    if age < 0.0 {
        now.saturating_add(seconds(-age))
    } else {
        now.saturating_sub(seconds(age))
    }
}

/// `203.0.113.20 udp_flood`.
fn scope_of(text: &str) -> Scope {
    let (victim, vector) = text.split_once(' ').unwrap();
    Scope {
        victim: victim.parse().unwrap(),
        vector: vector.into(),
    }
}
