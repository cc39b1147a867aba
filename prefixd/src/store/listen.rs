//! Daemons on one PostgreSQL tell each other that something is new. What it is, each reads from where it was: a word
//! that is lost costs time and nothing else.

use super::db::{Db, on_db};
use super::load::all_or_nothing;
use super::{Store, StoreError};
use prefixd_api::resource::SafelistEntry;
use sqlx::postgres::{PgListener, PgPoolOptions};

/// The end of a word on offers.
pub(super) const OFFERS: &str = ":offers";

/// Where daemons hear each other.
pub(super) const CHANNEL: &str = "prefixd";

/// What there may be something new of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// What another POP did.
    Journal,
    /// What another POP offers.
    Offers,
    /// Anything: words may have been lost.
    Any,
}

/// What other daemons say.
#[derive(Debug)]
pub struct Listener(PgListener);

impl Listener {
    /// Waits for the next word of another POP. Also returns when the connection was lost, because words may have been
    /// lost with it; the next call makes a new one.
    ///
    /// # Errors
    /// When there is no connection to be had.
    pub async fn heard(&mut self, own: &str) -> Result<Word, StoreError> {
        loop {
            match self.0.try_recv().await? {
                Some(word) if is_own(word.payload(), own) => {}
                Some(word) if word.payload().ends_with(OFFERS) => return Ok(Word::Offers),
                Some(_) => return Ok(Word::Journal),
                None => return Ok(Word::Any),
            }
        }
    }
}

/// `iad1:812`.
fn is_own(word: &str, own: &str) -> bool {
    word.rsplit_once(':').is_some_and(|(pop, _)| pop == own)
}

impl Store {
    /// Listens to daemons of other POPs; none on SQLite.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn listen(&self) -> Result<Option<Listener>, StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(None);
        };
        let listening = async {
            // A connection of its own, for as long as it lives.
            let pool = PgPoolOptions::new()
                .max_connections(1)
                .idle_timeout(None)
                .max_lifetime(None)
                .connect_lazy_with(server.options());
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            Ok(listener)
        };
        self.in_time(listening)
            .await
            .map(|listener| Some(Listener(listener)))
    }

    /// Says that a POP's journal goes to this number.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tell(&self, pop: &str, head: u64) -> Result<(), StoreError> {
        let Db::Postgres(server) = &self.db else {
            return Ok(());
        };
        self.in_time(async {
            let mut lease = server.lease().await?;
            sqlx::query("SELECT pg_notify($1, $2)")
                .bind(CHANNEL)
                .bind(format!("{pop}:{head}"))
                .execute(lease.connection()?)
                .await?;
            lease.give_back();
            Ok(())
        })
        .await
    }

    /// The safelist entries that were added through the API of any POP, expired ones too.
    ///
    /// # Errors
    /// When the store fails, or an entry cannot be read.
    pub async fn safelist(&self) -> Result<Vec<SafelistEntry>, StoreError> {
        let rows: Vec<(String,)> = on_db!(self, |db| {
            sqlx::query_as("SELECT body FROM safelist ORDER BY af, lo, hi")
                .fetch_all(db)
                .await?
        });
        all_or_nothing("safelist entry", rows)
    }

    /// The number of a POP's newest journal entry, as a reader sees it; 0 before the first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn journal_end(&self, pop: &str) -> Result<u64, StoreError> {
        let end: Option<i64> = on_db!(self, |db| {
            sqlx::query_scalar("SELECT MAX(seq) FROM journal WHERE pop = $1")
                .bind(pop)
                .fetch_one(db)
                .await?
        });
        Ok(end.and_then(|end| u64::try_from(end).ok()).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_pops_are_heard() {
        assert!(is_own("iad1:812", "iad1"));
        for word in ["fra1:812", "iad11:1", "iad1", ""] {
            assert!(!is_own(word, "iad1"), "{word}");
        }
    }
}
