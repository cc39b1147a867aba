//! Lists longer than one page.

use crate::failure::Failure;
use crate::session::Session;
use clap::Args;
use prefixd_api::client::{Error, Page};
use prefixd_api::show::{count, parse_moment};
use prefixd_api::time::Timestamp;

/// Most items the daemon gives at once.
const MAX_PAGE: usize = 1000;

/// Which part of a list.
#[derive(Args, Debug)]
pub(crate) struct PageArgs {
    #[command(flatten)]
    size: PageSize,
    /// Not before: 1h, 13:40, yesterday or 2026-11-20T22:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

/// How much of a list.
#[derive(Args, Debug)]
pub(crate) struct PageSize {
    /// Most items
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..), value_name = "N", conflicts_with = "all")]
    limit: u32,
    /// All items, however many
    #[arg(long)]
    all: bool,
    /// Go on after an earlier list: its next_cursor
    #[arg(long, value_name = "CURSOR", hide_short_help = true)]
    cursor: Option<String>,
}

/// As much of a list as was asked for.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    pub(crate) items: Vec<T>,
    /// Where the rest begins.
    pub(crate) next_cursor: Option<String>,
}

impl<T> Pages<T> {
    /// A list that has no pages.
    pub(crate) fn whole(items: Vec<T>) -> Self {
        Self {
            items,
            next_cursor: None,
        }
    }
}

impl PageArgs {
    /// Fetches pages until there are enough, and says when there are more.
    pub(crate) async fn collect<T, F>(
        &self,
        session: &Session,
        fetch: impl Fn(Page) -> F,
    ) -> Result<Pages<T>, Failure>
    where
        F: Future<Output = Result<Pages<T>, Error>>,
    {
        let start = self.moment(session, self.since.as_deref())?;
        let end = self.moment(session, self.until.as_deref())?;
        let fetch = |limit, cursor| {
            fetch(Page {
                limit,
                cursor,
                start,
                end,
            })
        };
        self.size.collect(session, fetch).await
    }

    fn moment(&self, session: &Session, text: Option<&str>) -> Result<Option<Timestamp>, Failure> {
        let view = session.out.view();
        text.map(|text| parse_moment(text, view.now, view.zone))
            .transpose()
            .map_err(|error| Failure::Input(error.to_string()))
    }
}

impl PageSize {
    /// Fetches pages until there are enough, and says when there are more.
    pub(crate) async fn collect<T, F>(
        &self,
        session: &Session,
        fetch: impl Fn(Option<u16>, Option<String>) -> F,
    ) -> Result<Pages<T>, Failure>
    where
        F: Future<Output = Result<Pages<T>, Error>>,
    {
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut pages = Pages {
            items: Vec::new(),
            next_cursor: self.cursor.clone(),
        };
        loop {
            let wanted = if self.all {
                MAX_PAGE
            } else {
                most - pages.items.len()
            };
            let limit = u16::try_from(wanted.clamp(1, MAX_PAGE)).ok();
            let cursor = pages.next_cursor.take();
            let page = fetch(limit, cursor).await?;
            pages.items.extend(page.items);
            pages.next_cursor = page.next_cursor;
            let enough = !self.all && pages.items.len() >= most;
            if enough || pages.next_cursor.is_none() {
                break;
            }
        }
        if pages.next_cursor.is_some() {
            session.note(&format!(
                "the first {} are shown, there are more: --limit N or --all",
                count(pages.items.len() as u64)
            ));
        }
        Ok(pages)
    }
}
