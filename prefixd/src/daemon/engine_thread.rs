//! The engine on a thread of its own. It decides for milliseconds on end, in which no answer and no session is to wait
//! for a thread of the runtime; and it frees what it allocates where it did, which costs less.

use crate::engine::EngineError;
use std::any::Any;
use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use tokio::runtime;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

/// How long an engine that is given up may take to notice.
const NOTICE: Duration = Duration::from_secs(1);

/// An engine that runs. Dropping it gives it up.
#[derive(Debug)]
pub(super) struct EngineThread {
    ended: oneshot::Receiver<Ended>,
    given_up: DropGuard,
}

/// How it ended. `None`: it was given up.
type Ended = Result<Option<Result<(), EngineError>>, Panicked>;

#[derive(Debug, thiserror::Error)]
#[error("the engine panicked: {0}")]
struct Panicked(Cow<'static, str>);

impl Panicked {
    fn with(payload: &(dyn Any + Send)) -> Self {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Self(text.map_or("nothing was said".into(), |text| text.to_owned().into()))
    }
}

impl EngineThread {
    /// Starts it. Its time and what it waits for are the runtime's.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub(super) fn start(
        engine: impl Future<Output = Result<(), EngineError>> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (runtime, given_up) = (runtime::Handle::current(), CancellationToken::new());
        let (done, ended) = oneshot::channel();
        let is_given_up = given_up.clone();
        std::thread::Builder::new()
            .name("prefixd-engine".to_owned())
            .spawn(move || {
                let running = is_given_up.run_until_cancelled(engine);
                let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(running)));
                // Nobody may be waiting any more.
                let _ = done.send(ended.map_err(|payload| Panicked::with(&*payload)));
            })?;
        Ok(Self {
            ended,
            given_up: given_up.drop_guard(),
        })
    }

    /// Waits for its end. That is told once.
    ///
    /// # Errors
    /// Its own, or that it panicked.
    pub(super) async fn ended(&mut self) -> anyhow::Result<()> {
        if self.ended.is_terminated() {
            return Ok(());
        }
        let ended = (&mut self.ended)
            .await
            .unwrap_or(Err(Panicked("its thread is gone".into())))?;
        Ok(ended.transpose().map(Option::unwrap_or_default)?)
    }

    /// Ends it where it is, unless it has ended: it must not outlive the runtime.
    pub(super) async fn give_up(self) {
        let Self { ended, given_up } = self;
        drop(given_up);
        if !ended.is_terminated() && tokio::time::timeout(NOTICE, ended).await.is_err() {
            warn!("the engine was still deciding when it was given up");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_of_the_engine_is_told_once() {
        let error = || EngineError::Overtaken("the fence is 2".to_owned());
        let mut engine = EngineThread::start(async move { Err(error()) }).unwrap();
        assert_eq!(engine.ended().await.unwrap_err().to_string(), error().to_string());
        engine.ended().await.unwrap();
        engine.give_up().await;
    }

    #[tokio::test]
    async fn a_panic_of_the_engine_is_an_error() {
        let mut engine = EngineThread::start(async { panic!("a defect") }).unwrap();
        assert_eq!(
            engine.ended().await.unwrap_err().to_string(),
            "the engine panicked: a defect"
        );
    }

    #[tokio::test]
    async fn an_engine_that_waits_for_ever_can_be_given_up() {
        let (held, released) = oneshot::channel::<()>();
        let engine = EngineThread::start(async move {
            let _held = held;
            std::future::pending().await
        });
        engine.unwrap().give_up().await;
        // What it held is let go with it.
        released.await.unwrap_err();
    }
}
