//! Everything that is known of an address.

use crate::failure::Failure;
use crate::mitigations::address_or_prefix;
use crate::output::{Cell, Column, Place, Row, View, sheet_of};
use crate::page::{PageArgs, Pages};
use crate::session::Session;
use clap::Args;
use ipnet::IpNet;
use prefixd_api::history::{AddressContext, HistoryItem};
use prefixd_api::show::{absolute, both, count, short_id};
use std::cell::RefCell;

/// Everything that is known of an address: reports and mitigations, newest first
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  prefixdctl history 203.0.113.10
  prefixdctl history 203.0.113.0/24 --since 30d --all -o csv")]
pub(crate) struct HistoryArgs {
    /// Address or prefix
    #[arg(value_parser = address_or_prefix, value_name = "IP|PREFIX")]
    ip: IpNet,
    /// Of this POP; of all by default
    #[arg(long, value_name = "POP")]
    pop: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl HistoryArgs {
    pub(crate) async fn run(self, session: &Session) -> Result<(), Failure> {
        let context = RefCell::new(None);
        let pages = self
            .page
            .collect(session, async |page| {
                let history = session
                    .client
                    .history(self.ip, self.pop.as_deref(), &page)
                    .await?
                    .value;
                context.borrow_mut().get_or_insert(history.context);
                Ok(Pages {
                    items: history.items,
                    next_cursor: history.next_cursor,
                })
            })
            .await?;
        if session.out.is_for_people()
            && let Some(context) = context.into_inner()
        {
            crate::output::print(&format!("{}\n", sheet(&context, session.out.view())))?;
        }
        session.out.list(&pages)
    }
}

fn sheet(context: &AddressContext, view: View) -> String {
    let named = |id: &Option<String>, name: &Option<String>| match (id, name) {
        (Some(id), Some(name)) if id != name => format!("{id} ({name})"),
        (Some(id), _) => id.clone(),
        (None, _) => "-".to_owned(),
    };
    let safelist: Vec<_> = context
        .safelisted
        .iter()
        .map(|entry| format!("{}: {}", entry.prefix, entry.reason))
        .collect();
    let until = |what: String, until| format!("{what} until {}", both(until, view.now, view.zone));
    let narrow = context.suppressions.iter();
    let narrow = narrow.map(|one| until(one.scope.to_string(), one.expires_at));
    let wide = context.wide_suppressions.iter();
    let wide = wide.map(|one| until(one.to_string(), one.expires_at));
    let suppressed: Vec<_> = narrow.chain(wide).collect();
    let list = |texts: Vec<String>| {
        if texts.is_empty() {
            "no".to_owned()
        } else {
            texts.join("; ")
        }
    };
    sheet_of(&[
        ("Customer", named(&context.customer_id, &context.customer_name)),
        ("Service", named(&context.service_id, &context.service_name)),
        ("Live mitigations", count(context.live)),
        ("Safelisted", list(safelist)),
        ("Suppressed", list(suppressed)),
    ])
}

impl Row for HistoryItem {
    const SCHEMA: &'static str = "history";

    fn columns() -> &'static [Column<Self>] {
        &[
            Column {
                head: "AT",
                field: "at",
                place: Place::Always,
                cell: |item, view| Cell::text(absolute(item.at, view.now, view.zone)),
            },
            Column {
                head: "WHAT",
                field: "kind",
                place: Place::Always,
                cell: |item, _| Cell::text(item.kind.to_string()),
            },
            Column {
                head: "ID",
                field: "id",
                place: Place::Room(2),
                cell: |item, _| Cell::text(short_id(&item.id)),
            },
            Column {
                head: "POP",
                field: "pop",
                place: Place::Room(3),
                cell: |item, _| Cell::text(&item.pop),
            },
            Column {
                head: "VICTIM",
                field: "victim_ip",
                place: Place::Room(1),
                cell: |item, _| Cell::text(item.victim_ip.to_string()),
            },
            Column {
                head: "VECTOR",
                field: "vector",
                place: Place::Rest,
                cell: |item, _| Cell::text(&item.vector),
            },
            Column {
                head: "SUMMARY",
                field: "summary",
                place: Place::Rest,
                cell: |item, _| Cell::text(&item.summary),
            },
        ]
    }

    fn id(&self) -> String {
        self.id.clone()
    }
}
