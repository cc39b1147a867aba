//! Panic, hold and resume: what people stop.

use crate::failure::{Failure, code_of};
use crate::mitigations::explain;
use crate::session::Session;
use clap::Args;
use prefixd_api::client::MitigationQuery;
use prefixd_api::control::{Control, ControlRequest, ControlScope, ControlState, Stop, Stopped};
use prefixd_api::mitigation::MitigationStatus;
use prefixd_api::show::count;

/// What the daemon answers when nothing is committed.
const STORE_AWAY: &str = "store.unavailable";

/// What it is about; the whole POP without any of these.
#[derive(Args, Debug)]
struct ScopeArgs {
    /// Only what is made for this customer
    #[arg(long, value_name = "ID", conflicts_with = "neighbor")]
    customer: Option<String>,
    /// Only what this neighbour is told
    #[arg(long, value_name = "NAME")]
    neighbor: Option<String>,
}

impl ScopeArgs {
    fn scope(self) -> ControlScope {
        match (self.customer, self.neighbor) {
            (Some(id), _) => ControlScope::Customer(id),
            (None, Some(name)) => ControlScope::Neighbor(name),
            (None, None) => ControlScope::Pop,
        }
    }
}

/// Withdraw everything now, and announce nothing until resume
#[derive(Args, Debug)]
#[command(after_help = "\
Every rule of the POP leaves the routers at once, also while the database is away; the
mitigations end. With --customer only those of that customer. With --neighbor that neighbour
loses its rules, and the mitigations go on at the others. Nothing comes back by resume alone:
what is still attacked begins anew with the next report.

Examples:
  prefixdctl panic --reason \"rules break the core\" --yes
  prefixdctl panic --customer acme --reason INC-4711")]
pub(crate) struct PanicArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Announce nothing new until resume; what is announced ends on time
#[derive(Args, Debug)]
#[command(after_help = "\
Leases go on and rules end; new mitigations, later steps and wider rules are refused. With
--neighbor that neighbour keeps what it has and is told nothing new.

Examples:
  prefixdctl hold --reason \"maintenance of edge1 and edge2\"
  prefixdctl hold --neighbor edge1 --reason CHG-12")]
pub(crate) struct HoldArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only while what is stopped has this revision (0: nothing is), as `control -o json` shows it
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
}

/// End a panic or a hold
#[derive(Args, Debug)]
#[command(after_help = "\
Each panic and hold is ended apart: without --customer or --neighbor that of the POP alone.
`prefixdctl control` shows them all.

Examples:
  prefixdctl resume --reason \"the core is fine again\"
  prefixdctl resume --customer acme --reason INC-4711")]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    /// Why, for the journal
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Only while what is stopped has this revision (0: nothing is), as `control -o json` shows it
    #[arg(long, value_name = "N")]
    if_revision: Option<u64>,
}

/// Show what holds announcing back: panic, hold and the breaker
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl control
  prefixdctl control -o json")]
pub(crate) struct ControlArgs {}

impl ControlArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        session.no_rows("the control state")?;
        let control = session.client.control().await?.value;
        session.out.sheet(&control, |_| text(&control))
    }
}

impl PanicArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        set(session, self.scope, ControlState::Panic, self.reason, None).await
    }
}

impl HoldArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        set(
            session,
            self.scope,
            ControlState::Hold,
            self.reason,
            self.if_revision,
        )
        .await
    }
}

impl ResumeArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        set(
            session,
            self.scope,
            ControlState::Running,
            self.reason,
            self.if_revision,
        )
        .await
    }
}

async fn set(
    session: &Session,
    scope: ScopeArgs,
    state: ControlState,
    reason: String,
    if_revision: Option<u64>,
) -> Result<(), Failure> {
    session.may_change()?;
    if reason.trim().is_empty() {
        return Err(Failure::Input(
            "the reason is empty: say why, for the journal".to_owned(),
        ));
    }
    let scope = scope.scope();
    if session.will_ask() {
        ask(session, &scope, state).await?;
    }
    let request = ControlRequest {
        scope,
        state,
        reason,
        expected_revision: if_revision,
    };
    match session.client.set_control(&request).await {
        Ok(control) => session.out.sheet(&control, |_| text(&control)),
        Err(error) if state == ControlState::Panic && code_of(&error) == STORE_AWAY => {
            // In force or not, the daemon knows.
            let control = session.client.control().await?.value;
            let in_force = control
                .stopped
                .iter()
                .any(|stopped| stopped.scope == request.scope && stopped.state == Stop::Panic);
            if !in_force {
                return Err(explain(error));
            }
            session.out.sheet(&control, |_| text(&control))?;
            Err(Failure::Unrecorded)
        }
        Err(error) => Err(explain(error)),
    }
}

async fn ask(session: &Session, scope: &ControlScope, state: ControlState) -> Result<(), Failure> {
    match state {
        ControlState::Running => session.confirm(&format!("Let announcing go on for {}?", named(scope)), 1),
        ControlState::Hold => session.confirm(&format!("Announce nothing new for {}?", named(scope)), 1),
        ControlState::Panic => {
            let customer = match scope {
                ControlScope::Customer(id) => Some(id.clone()),
                ControlScope::Pop | ControlScope::Neighbor(_) => None,
            };
            let query = MitigationQuery {
                status: vec![MitigationStatus::Active, MitigationStatus::Escalated],
                customer_id: customer,
                page: prefixd_api::client::Page {
                    limit: Some(1000),
                    ..Default::default()
                },
                ..MitigationQuery::default()
            };
            let list = session.client.mitigations(&query).await?.value;
            let more = if list.next_cursor.is_some() {
                "more than "
            } else {
                ""
            };
            let what = match scope {
                ControlScope::Neighbor(_) => "Take the rules of",
                ControlScope::Pop | ControlScope::Customer(_) => "END",
            };
            let from = match scope {
                ControlScope::Neighbor(name) => format!(" from neighbour {name}"),
                _ => format!(" of {}", named(scope)),
            };
            session.confirm(
                &format!(
                    "{what} {more}{} mitigations{from}, and announce nothing until resume?",
                    count(list.count as u64)
                ),
                list.count,
            )
        }
    }
}

fn named(scope: &ControlScope) -> String {
    match scope {
        ControlScope::Pop => "this POP".to_owned(),
        ControlScope::Customer(id) => format!("customer {id}"),
        ControlScope::Neighbor(name) => format!("neighbour {name}"),
    }
}

/// Everything that holds announcing back.
fn text(control: &Control) -> String {
    let mut text: String = control.stopped.iter().map(line).collect();
    if let Some(tripped) = &control.breaker {
        text.push_str(&format!(
            "The breaker is tripped since {}: nothing new is announced until `prefixdctl breaker reset`.\n",
            tripped.tripped_at
        ));
    }
    for held in &control.may_hold {
        text.push_str(&format!(
            "{} MAY HOLD what it was told until {}: its session is down and it agreed to graceful restart. docs/break-glass.md \
             takes rules off by hand.\n",
            held.neighbor, held.until
        ));
    }
    if text.is_empty() {
        text.push_str("running: nothing is stopped\n");
    }
    text
}

fn line(stopped: &Stopped) -> String {
    let how = match stopped.state {
        Stop::Hold => "HOLD: nothing new is announced",
        Stop::Panic => "PANIC: nothing is announced",
    };
    let recorded = if stopped.recorded {
        ""
    } else {
        "\n  NOT RECORDED YET: the database takes no changes. It follows by itself; a start of prefixd before that does not \
         know it."
    };
    format!(
        "{}: {how} since {} by {}: {}{recorded}\n",
        named(&stopped.scope),
        stopped.set_at,
        stopped.set_by,
        stopped.reason
    )
}
