//! The loop around the state: what happens goes in, what is to be done comes out.

use crate::app::{App, Settings};
use crate::cli::{Options, ThemeChoice};
use crate::contact::STALE_AFTER;
use crate::daemon;
use crate::event::{Answer, Effect, Event, Now};
use crate::glyphs::Glyphs;
use crate::terminal::{self, Painter};
use crate::theme::{Depth, Theme};
use crate::view;
use anyhow::{Context, bail};
use crossterm::event::{Event as TerminalEvent, EventStream};
use futures_util::StreamExt;
use prefixd_api::client::{self, Client, Endpoint, Feed, FeedItem, FeedOptions, read_token};
use prefixd_api::show::Zone;
use prefixd_api::time::Timestamp;
use ratatui::layout::Rect;
use std::io::{self, IsTerminal, Stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};

/// The daemon's socket, where it is by default.
const SOCKET: &str = "/run/prefixd/prefixd.sock";
/// Where the daemon is when there is no socket.
const FALLBACK: &str = "http://127.0.0.1:8080";
/// What comes from the daemon is drawn at most this often; keys are drawn at once.
const FRAME_EVERY: Duration = Duration::from_millis(100);

/// The feed is asked for a sign of life this often.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Runs the console until the person leaves or the terminal goes away.
///
/// # Errors
/// When it cannot start (no terminal, a bad address or token file), or the terminal fails.
pub async fn run(options: Options) -> anyhow::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        bail!("the console needs a terminal; for scripts there is prefixdctl");
    }
    if env("TERM").is_some_and(|term| term == "dumb") {
        bail!("this terminal (TERM=dumb) cannot show a full screen; use prefixdctl");
    }
    let client = connect(&options)?;
    let settings = settings(&options, &client);
    // The theme decides about colour; the library must not rewrite what is sent.
    crossterm::style::force_color_output(true);
    terminal::leave_on_panic();
    let mut console = Console::new(client, settings)?;
    console.painter.enter(console.app.settings.mouse)?;
    let result = console.run().await;
    terminal::leave()?;
    result
}

fn connect(options: &Options) -> anyhow::Result<Client> {
    let api = match &options.api {
        Some(api) => api.as_str(),
        None if Path::new(SOCKET).exists() => "unix:/run/prefixd/prefixd.sock",
        None => FALLBACK,
    };
    let endpoint: Endpoint = api.parse()?;
    if endpoint.is_clear_text() && !options.insecure {
        bail!("{endpoint} would carry tokens in clear text over the network: use https, or say --insecure");
    }
    let mut client = client::Options::new(endpoint);
    client.user_agent = concat!("prefixd-tui/", env!("CARGO_PKG_VERSION"));
    // The console asks again by itself and shows that it does.
    client.retries = 0;
    client.token = options.token_file.as_deref().map(read_token).transpose()?;
    Ok(Client::new(client)?)
}

fn settings(options: &Options, client: &Client) -> Settings {
    let depth = match env("COLORTERM") {
        Some(value) if value.contains("truecolor") || value.contains("24bit") => Depth::True,
        _ => Depth::Sixteen,
    };
    let theme = match options.theme {
        ThemeChoice::Mono => Theme::Mono,
        _ if env("NO_COLOR").is_some_and(|value| !value.is_empty()) => Theme::Mono,
        ThemeChoice::Dark => Theme::Dark(depth),
        ThemeChoice::Light => Theme::Light(depth),
        ThemeChoice::Auto if background_is_light(env("COLORFGBG").as_deref()) => Theme::Light(depth),
        ThemeChoice::Auto => Theme::Dark(depth),
    };
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| env(name).filter(|value| !value.is_empty()));
    let utf8 = locale.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    });
    let simple = env("TERM").is_some_and(|term| term == "linux" || term.starts_with("vt1"));
    Settings {
        theme,
        glyphs: if options.ascii || simple || !utf8 {
            Glyphs::Ascii
        } else {
            Glyphs::Unicode
        },
        readonly: options.readonly,
        api: client.options().endpoint.to_string(),
        mouse: !options.no_mouse,
        absolute_times: false,
        zone: Zone::Utc,
    }
}

/// `COLORFGBG` ends with the number of the background: 7 and 9 to 15 are light.
fn background_is_light(colours: Option<&str>) -> bool {
    let background = colours.and_then(|colours| colours.rsplit(';').next()?.parse::<u8>().ok());
    matches!(background, Some(7 | 9..=15))
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

struct Console {
    app: App,
    painter: Painter<Stdout>,
    client: Client,
    feed: Option<Feed>,
    /// Position in the journal up to which the feed was seen.
    seen: Option<u64>,
    answers: JoinSet<Answer>,
    slots: Arc<Semaphore>,
    started: Instant,
}

/// What ends the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    No,
    Yes,
}

impl Console {
    fn new(client: Client, settings: Settings) -> anyhow::Result<Self> {
        let (width, height) = crossterm::terminal::size().context("the terminal does not tell its size")?;
        let started = Instant::now();
        let now = Now {
            uptime: Duration::ZERO,
            wall: Timestamp::wall_clock(),
        };
        Ok(Self {
            app: App::new(settings, now, Rect::new(0, 0, width, height)),
            painter: Painter::new(io::stdout()),
            feed: Some(client.feed(feed_options(None))),
            client,
            seen: None,
            answers: JoinSet::new(),
            slots: Arc::new(Semaphore::new(daemon::AT_ONCE)),
            started,
        })
    }

    async fn run(&mut self) -> anyhow::Result<()> {
        let mut keys = EventStream::new();
        let mut ticker = tokio::time::interval(Duration::from_secs(1));
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let (mut hangup, mut terminate) = (signal(SignalKind::hangup())?, signal(SignalKind::terminate())?);
        // In raw mode Ctrl-C is a key: this one was sent by a program.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut resumed = signal(SignalKind::from_raw(nix::sys::signal::SIGCONT as i32))?;
        let effects = self.app.start();
        self.perform(effects)?;
        self.draw()?;
        let mut last_frame = Instant::now();
        let mut pending = false;
        loop {
            // Keys first, so that no flood of news delays them.
            let (event, at_once) = tokio::select! {
                biased;
                () = heard(&mut hangup) => return Ok(()),
                () = heard(&mut terminate) => return Ok(()),
                () = heard(&mut interrupt) => return Ok(()),
                () = heard(&mut resumed) => {
                    self.painter.enter(self.app.settings.mouse)?;
                    (Some(resized()?), true)
                }
                key = keys.next() => match key {
                    // The terminal is gone.
                    None | Some(Err(_)) => return Ok(()),
                    // Windows that are dragged to another size send hundreds of these.
                    Some(Ok(event @ TerminalEvent::Resize(..))) => (terminal_event(event), false),
                    Some(Ok(event)) => (terminal_event(event), true),
                },
                // The panel says at once that its key is alive.
                () = until(self.app.wakes_at().map(|at| self.started + at)) => (None, true),
                () = tokio::time::sleep_until(last_frame + FRAME_EVERY), if pending => {
                    self.draw()?;
                    (last_frame, pending) = (Instant::now(), false);
                    continue;
                }
                Some(answer) = self.answers.join_next() => (Some(Event::Answer(finished(answer)?)), false),
                item = next_item(&mut self.feed) => (Some(self.feed_event(item)?), false),
                _ = ticker.tick() => (Some(Event::Tick), false),
            };
            if let Some(event) = event
                && self.happened(event)? == Leave::Yes
            {
                return Ok(());
            }
            if at_once {
                self.draw()?;
                (last_frame, pending) = (Instant::now(), false);
            } else {
                pending = true;
            }
        }
    }

    fn now(&self) -> Now {
        Now {
            uptime: self.started.elapsed(),
            wall: Timestamp::wall_clock(),
        }
    }

    fn happened(&mut self, event: Event) -> anyhow::Result<Leave> {
        let now = self.now();
        let effects = self.app.update(event, now);
        self.perform(effects)
    }

    fn draw(&mut self) -> anyhow::Result<()> {
        if self.app.is_dumped() {
            return Ok(());
        }
        self.app.settle();
        let app = &self.app;
        self.painter.frame(app.area, |buffer| view::draw(app, buffer))?;
        let now = self.now();
        self.app.update(Event::Drawn, now);
        Ok(())
    }

    fn perform(&mut self, effects: Vec<Effect>) -> anyhow::Result<Leave> {
        for effect in effects {
            match effect {
                Effect::Request(request) => {
                    self.answers
                        .spawn(daemon::ask(self.client.clone(), Arc::clone(&self.slots), request));
                }
                Effect::Copy(text) => self.painter.copy(&text)?,
                Effect::Mouse(on) => self.painter.mouse(on)?,
                Effect::Dump => self.painter.dump()?,
                Effect::EndDump => {
                    self.painter.enter(self.app.settings.mouse)?;
                    self.happened(resized()?)?;
                }
                Effect::Repaint => self.painter.repaint(),
                Effect::Suspend => self.suspend()?,
                Effect::RetryFeed => self.retry_feed(),
                Effect::Quit => return Ok(Leave::Yes),
            }
        }
        Ok(Leave::No)
    }

    /// Gives the terminal back and stops. When nobody may stop us, or after `fg`, the screen is taken again.
    fn suspend(&mut self) -> anyhow::Result<()> {
        terminal::leave()?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(0), nix::sys::signal::SIGTSTP)?;
        self.painter.enter(self.app.settings.mouse)?;
        self.happened(resized()?)?;
        Ok(())
    }

    /// A new subscription from where the last one was. That one may wait, have given up, or believe in a
    /// connection that is dead.
    fn retry_feed(&mut self) {
        self.feed = Some(self.client.feed(feed_options(self.seen)));
    }

    fn feed_event(&mut self, item: Option<FeedItem>) -> anyhow::Result<Event> {
        Ok(match item {
            Some(FeedItem::Connected {
                head,
                server_time,
                pop,
                mode,
                role,
                ..
            }) => {
                let resumed = self.seen.is_some();
                self.seen.get_or_insert(head);
                Event::FeedUp {
                    resumed,
                    server_time,
                    pop,
                    mode,
                    role,
                }
            }
            Some(FeedItem::Alive) => Event::FeedAlive,
            Some(FeedItem::Resync { head, .. }) => {
                self.seen = Some(head);
                Event::FeedResync
            }
            Some(FeedItem::Message(message)) => {
                self.seen = message.seq.max(self.seen);
                Event::Feed(message)
            }
            Some(FeedItem::Lost { why, .. }) => Event::FeedLost(why.to_string()),
            Some(FeedItem::Refused(why)) => {
                self.feed = None;
                Event::FeedLost(why.to_string())
            }
            // It ends after a refusal alone. One that panicked has given the terminal back already: going on
            // would draw over the report, and show what is no longer followed.
            None => bail!("the feed was given up"),
        })
    }
}

fn feed_options(since: Option<u64>) -> FeedOptions {
    FeedOptions {
        since,
        heartbeat: Some(HEARTBEAT),
        silence: STALE_AFTER,
        ..FeedOptions::default()
    }
}

/// The answer of a request. A request that panicked has given the terminal back already: going on would draw
/// over the report, and wait for its answer for ever.
fn finished(answer: Result<Answer, JoinError>) -> anyhow::Result<Answer> {
    answer.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => anyhow::Error::new(error).context("a request was given up"),
    })
}

/// The size of the terminal: it may have changed while we were stopped, and nobody tells a stopped program.
fn resized() -> anyhow::Result<Event> {
    let (width, height) = crossterm::terminal::size().context("the terminal does not tell its size")?;
    Ok(Event::Resize { width, height })
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

async fn heard(signal: &mut Signal) {
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// The next item; never, while there is no feed.
async fn next_item(feed: &mut Option<Feed>) -> Option<FeedItem> {
    match feed {
        Some(feed) => feed.next().await,
        None => std::future::pending().await,
    }
}

fn terminal_event(event: TerminalEvent) -> Option<Event> {
    match event {
        TerminalEvent::Key(key) => Some(Event::Key(key)),
        TerminalEvent::Paste(text) => Some(Event::Paste(text)),
        TerminalEvent::Mouse(mouse) => Some(Event::Mouse(mouse)),
        TerminalEvent::Resize(width, height) => Some(Event::Resize { width, height }),
        TerminalEvent::FocusGained | TerminalEvent::FocusLost => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn a_token_does_not_cross_the_network_in_clear_text() {
        let options = |arguments: &[&str]| Options::try_parse_from(arguments).unwrap();
        let refused = connect(&options(&["prefixd-tui", "--api", "http://192.0.2.1:8080"]));
        let words = refused.unwrap_err().to_string();
        assert!(
            words.contains("clear text") && words.contains("--insecure"),
            "{words}"
        );
        for arguments in [
            &["prefixd-tui", "--api", "http://192.0.2.1:8080", "--insecure"][..],
            &["prefixd-tui", "--api", "http://127.0.0.1:8080"],
            &["prefixd-tui", "--api", "https://prefixd.example.net"],
        ] {
            assert!(connect(&options(arguments)).is_ok(), "{arguments:?}");
        }
    }

    #[test]
    fn the_terminals_word_about_its_background_is_taken() {
        for (colours, light) in [
            (None, false),
            (Some("15;0"), false),
            (Some("0;15"), true),
            (Some("0;default;7"), true),
            (Some("x"), false),
        ] {
            assert_eq!(background_is_light(colours), light, "{colours:?}");
        }
    }
}
