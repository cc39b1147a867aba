//! What happens in a story: few victims, sources, ports and names, so that things meet.

use super::setup::{CONFIGURATIONS, SOURCES};
use proptest::prelude::*;

/// Two of ACME, two of Beta, one of nobody.
pub(super) const VICTIMS: [[u8; 4]; 5] = [
    [203, 0, 113, 10],
    [203, 0, 113, 11],
    [203, 0, 113, 200],
    [203, 0, 113, 201],
    [198, 51, 100, 7],
];
/// None follows another, so that each is a term of its own.
pub(super) const PORTS: [u16; 4] = [53, 1900, 27015, 40000];
/// How sure a detector may say that it is.
pub(super) const SURE: [u32; 3] = [30, 70, 100];
/// What people protect: one victim, and all of Beta.
pub(super) const PREFIXES: [&str; 2] = ["203.0.113.10/32", "203.0.113.128/25"];
/// A police rate of an operator is stricter than the playbook's, or milder.
pub(super) const RATES: [u64; 3] = [0, 2_000_000, 8_000_000];

/// The kind of attack, in the order of the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Vector {
    Manual,
    Ntp,
    Udp,
}

impl Vector {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp_flood",
            Self::Ntp => "ntp_amplification",
            Self::Manual => "manual",
        }
    }

    pub(super) fn named(name: &str) -> Self {
        let all = [Self::Manual, Self::Ntp, Self::Udp];
        all.into_iter().find(|vector| vector.name() == name).unwrap()
    }
}

/// A victim by its place, and what it suffers from.
pub(super) type Scope = (usize, Vector);

/// A detector's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Report {
    pub(super) source: usize,
    pub(super) victim: usize,
    pub(super) ntp: bool,
    /// The attack's name at its source.
    pub(super) name: Option<u8>,
    pub(super) unban: bool,
    pub(super) port: usize,
    /// Whether it says how sure it is.
    pub(super) sure: Option<usize>,
    /// How many seconds ago it was seen.
    pub(super) age: Option<i64>,
}

impl Report {
    pub(super) const fn scope(&self) -> Scope {
        (self.victim, if self.ntp { Vector::Ntp } else { Vector::Udp })
    }
}

/// Whose bans are stored and not acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Scope(Scope),
    Prefix(usize),
    Source(usize),
}

/// Which are withdrawn at once.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which {
    /// All of a customer, of whom the caller may have counted one too many.
    Customer { acme: bool, miscounted: bool },
    /// What is live in these scopes, by its names.
    Named([Scope; 2]),
}

/// What comes after a withdrawal, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct After {
    /// So long no ban of the scope is acted on.
    pub(super) suppress: i64,
    /// Unless it is confirmed within so long, it is undone.
    pub(super) confirm: Option<i64>,
}

/// What is ordered of the neighbour.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Disable,
    Enable,
    Resend,
}

/// A request, and the key under which it is carried out once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) ask: Ask,
    pub(super) key: Option<u8>,
}

impl From<Ask> for Asked {
    fn from(ask: Ask) -> Self {
        Self { ask, key: None }
    }
}

/// What is asked of the daemon.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    Report(Report),
    /// An earlier report of that name and time, word for word.
    Again {
        report: Report,
        seen_at: i64,
    },
    Create {
        scope: Scope,
        port: usize,
        rate: usize,
        ttl: i64,
        /// What is live there, or waits.
        replace: bool,
    },
    Extend {
        scope: Scope,
        ttl: i64,
    },
    /// Another port, rate and action; the lease stays.
    Adjust {
        scope: Scope,
        port: usize,
        rate: usize,
    },
    Withdraw {
        scope: Scope,
        after: After,
    },
    WithdrawMany {
        which: Which,
        after: After,
    },
    /// One of the withdrawals that wait stands.
    Confirm(usize),
    Suppress {
        target: Target,
        time: i64,
    },
    /// One of those that there were, over or not.
    Unsuppress(usize),
    Order(Order),
    /// Of what ended last in the scope.
    Undo(Scope),
    /// What is live there, or else ended last.
    Acknowledge(Scope),
    Protect {
        prefix: usize,
        time: Option<i64>,
    },
    Unprotect(usize),
    Pause {
        source: usize,
        withdraw: bool,
    },
    Resume(usize),
    /// Panic overtakes what waits.
    Say {
        whole_pop: bool,
        word: Word,
    },
}

impl Ask {
    pub(super) const fn under(self, key: u8) -> Asked {
        Asked {
            ask: self,
            key: Some(key),
        }
    }

    pub(super) const fn is_panic(&self) -> bool {
        matches!(
            self,
            Self::Say {
                word: Word::Panic,
                ..
            }
        )
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Running,
    Hold,
    Panic,
}

/// When a process is killed that was just asked something.
#[derive(Clone, Copy, Debug)]
pub(super) enum Killed {
    /// It has decided, and the store knows nothing.
    Undurable,
    /// The store has it, and nobody was told.
    Untold,
}

#[derive(Clone, Debug)]
pub(super) enum Step {
    Ask(Asked),
    /// A report that has a name and a time, sent again; counted from the newest.
    Repeat(usize),
    /// The last request under this key, word for word.
    Retry(u8),
    /// A request under a key that comes twice at once.
    Twice(Ask, u8),
    /// All of them in one batch.
    Together(Vec<Asked>),
    /// Seconds pass, and every deadline among them is met.
    Wait(i64),
    /// The machine stands still for so long.
    Stall(i64),
    /// Up to the next deadline, or a microsecond before it.
    Deadline {
        just_before: bool,
    },
    /// One of the configurations comes into force, if whoever says so knows what rules go by it.
    Reload {
        configuration: usize,
        counted: Counted,
    },
    /// The process is killed, and another starts after some seconds, perhaps with other files.
    Crash {
        asked: Option<(Asked, Killed)>,
        down: i64,
        files: Option<Files>,
    },
}

/// What a reload says of those that lose their rules because something is dry-run by it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Counted {
    Nothing,
    Rightly,
    OneTooMany,
}

/// What is on disk when a process starts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files {
    pub(super) configuration: usize,
    /// The mode, which only a start changes.
    pub(super) is_dry_run: bool,
}

/// What a story is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// Everything that can happen.
    Anything,
    /// Few victims that are attacked for long: steps are taken and given up, and words are awaited.
    Sieges,
}

pub(super) fn steps(kind: Kind) -> BoxedStrategy<Vec<Step>> {
    match kind {
        Kind::Anything => prop::collection::vec(step(), 1..60).boxed(),
        Kind::Sieges => {
            let siege = prop::collection::vec(step_of_siege(), 10..80);
            (reload(), siege)
                .prop_map(|(reload, siege)| [vec![reload], siege].concat())
                .boxed()
        }
    }
}

fn step_of_siege() -> BoxedStrategy<Step> {
    let report = || report_of_siege().prop_map(|report| Ask::Report(report).into());
    let asked = prop_oneof![24 => report(), 6 => request_of_siege().prop_map(Asked::from)].boxed();
    let killed = prop_oneof![Just(Killed::Undurable), Just(Killed::Untold)];
    let down = prop_oneof![2 => Just(0i64), 1 => 1i64..60];
    prop_oneof![
        20 => asked.clone().prop_map(Step::Ask),
        2 => prop::collection::vec(report(), 2..5).prop_map(Step::Together),
        16 => (1i64..25).prop_map(Step::Wait),
        1 => (1i64..120).prop_map(Step::Stall),
        6 => any::<bool>().prop_map(|just_before| Step::Deadline { just_before }),
        1 => reload(),
        2 => (prop::option::of((asked, killed)), down, files())
            .prop_map(|(asked, down, files)| Step::Crash { asked, down, files }),
    ]
    .boxed()
}

fn scope_of_siege() -> impl Strategy<Value = Scope> {
    (
        0usize..2,
        prop_oneof![2 => Just(Vector::Udp), 1 => Just(Vector::Ntp)],
    )
}

fn report_of_siege() -> impl Strategy<Value = Report> {
    (report(), scope_of_siege(), prop::bool::weighted(0.18), 0usize..2).prop_map(
        |(report, (victim, vector), unban, port)| Report {
            victim,
            ntp: vector == Vector::Ntp,
            unban,
            port,
            age: None,
            ..report
        },
    )
}

/// What is in the way of a step, or takes its place.
fn request_of_siege() -> BoxedStrategy<Ask> {
    let word = prop_oneof![2 => Just(Word::Running), 1 => Just(Word::Hold)];
    let order = prop::sample::select(vec![Order::Disable, Order::Enable, Order::Resend]);
    let within = prop::option::of(1i64..40);
    prop_oneof![
        6 => word.prop_map(|word| Ask::Say { whole_pop: true, word }),
        3 => order.prop_map(Ask::Order),
        3 => (scope_of_siege(), 20i64..150).prop_map(|(scope, ttl)| Ask::Extend { scope, ttl }),
        2 => (scope_of_siege(), within).prop_map(|(scope, confirm)| Ask::Withdraw {
            scope,
            after: After { suppress: 0, confirm },
        }),
        2 => scope_of_siege().prop_map(Ask::Undo),
        2 => scope_of_siege().prop_map(Ask::Acknowledge),
        1 => (scope_of_siege(), 0..PORTS.len(), 0..RATES.len(), 10i64..60)
            .prop_map(|(scope, port, rate, ttl)| Ask::Create { scope, port, rate, ttl, replace: true }),
        1 => (0..SOURCES.len(), any::<bool>()).prop_map(|(source, withdraw)| Ask::Pause { source, withdraw }),
        2 => (0..SOURCES.len()).prop_map(Ask::Resume),
    ]
    .boxed()
}

/// Two, so that they are often used again.
const KEYS: u8 = 2;

fn step() -> impl Strategy<Value = Step> {
    let killed = prop_oneof![Just(Killed::Undurable), Just(Killed::Untold)];
    let down = prop_oneof![Just(0i64), 1i64..90];
    prop_oneof![
        24 => asked().prop_map(Step::Ask),
        2 => (0usize..8).prop_map(Step::Repeat),
        2 => (0..KEYS).prop_map(Step::Retry),
        1 => (request(), 0..KEYS).prop_map(|(ask, key)| Step::Twice(ask, key)),
        4 => prop::collection::vec(asked().prop_filter("overtakes the others", |asked| !asked.ask.is_panic()), 2..8)
            .prop_map(Step::Together),
        6 => (1i64..30).prop_map(Step::Wait),
        1 => (200i64..2000).prop_map(Step::Wait),
        1 => (1i64..300).prop_map(Step::Stall),
        5 => any::<bool>().prop_map(|just_before| Step::Deadline { just_before }),
        3 => reload(),
        3 => (prop::option::of((asked(), killed)), down, files())
            .prop_map(|(asked, down, files)| Step::Crash { asked, down, files }),
    ]
}

fn reload() -> impl Strategy<Value = Step> {
    let counted = prop_oneof![
        4 => Just(Counted::Rightly),
        1 => Just(Counted::Nothing),
        1 => Just(Counted::OneTooMany),
    ];
    (0..CONFIGURATIONS, counted).prop_map(|(configuration, counted)| Step::Reload {
        configuration,
        counted,
    })
}

/// Mostly what is in force.
fn files() -> impl Strategy<Value = Option<Files>> {
    let files = (0..CONFIGURATIONS, prop::bool::weighted(0.3));
    prop::option::weighted(
        0.3,
        files.prop_map(|(configuration, is_dry_run)| Files {
            configuration,
            is_dry_run,
        }),
    )
}

fn scope() -> impl Strategy<Value = Scope> {
    let vector = prop_oneof![3 => Just(Vector::Udp), 1 => Just(Vector::Ntp), 1 => Just(Vector::Manual)];
    (prop_oneof![1 => Just(0), 2 => 0..VICTIMS.len()], vector)
}

fn report() -> impl Strategy<Value = Report> {
    (
        0..SOURCES.len(),
        prop_oneof![4 => Just(0usize), 8 => 0..4usize, 1 => Just(4usize)],
        prop::bool::weighted(0.25),
        prop::option::of(0u8..2),
        prop::bool::weighted(0.3),
        0..PORTS.len(),
        prop::option::of(0..SURE.len()),
        prop::option::of(prop_oneof![6 => 0i64..5, 1 => 20i64..90]),
    )
        .prop_map(|(source, victim, ntp, name, unban, port, sure, age)| Report {
            source,
            victim,
            ntp,
            name,
            unban,
            port,
            sure,
            age,
        })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        2 => scope().prop_map(Target::Scope),
        2 => (0..PREFIXES.len()).prop_map(Target::Prefix),
        1 => (0..SOURCES.len()).prop_map(Target::Source),
    ]
}

fn which() -> impl Strategy<Value = Which> {
    let customer = (any::<bool>(), prop::bool::weighted(0.2));
    prop_oneof![
        customer.prop_map(|(acme, miscounted)| Which::Customer { acme, miscounted }),
        [scope(), scope()].prop_map(Which::Named),
    ]
}

fn after() -> impl Strategy<Value = After> {
    let suppress = prop_oneof![Just(0i64), 1i64..200];
    (suppress, prop::option::weighted(0.6, 1i64..60))
        .prop_map(|(suppress, confirm)| After { suppress, confirm })
}

/// On the heap, as the trees that values are made of are large.
fn asked() -> BoxedStrategy<Asked> {
    prop_oneof![
        // Reports have names of their own.
        24 => report().prop_map(|report| Ask::Report(report).into()),
        11 => stops().prop_map(Asked::from),
        22 => (request(), prop::option::weighted(0.2, 0..KEYS)).prop_map(|(ask, key)| Asked { ask, key }),
    ]
    .boxed()
}

/// What people ask about mitigations.
fn request() -> BoxedStrategy<Ask> {
    prop_oneof![
        3 => (scope(), 0..PORTS.len(), 0..RATES.len(), 2i64..200, prop::bool::weighted(0.3))
            .prop_map(|(scope, port, rate, ttl, replace)| Ask::Create { scope, port, rate, ttl, replace }),
        3 => (scope(), 2i64..200).prop_map(|(scope, ttl)| Ask::Extend { scope, ttl }),
        2 => (scope(), 0..PORTS.len(), 0..RATES.len())
            .prop_map(|(scope, port, rate)| Ask::Adjust { scope, port, rate }),
        4 => (scope(), after()).prop_map(|(scope, after)| Ask::Withdraw { scope, after }),
        3 => (which(), after()).prop_map(|(which, after)| Ask::WithdrawMany { which, after }),
        2 => any::<usize>().prop_map(Ask::Confirm),
        3 => scope().prop_map(Ask::Undo),
        3 => (target(), 1i64..200).prop_map(|(target, time)| Ask::Suppress { target, time }),
        2 => any::<usize>().prop_map(Ask::Unsuppress),
    ]
    .boxed()
}

/// What people note down, protect, and stop.
fn stops() -> BoxedStrategy<Ask> {
    let word = prop_oneof![3 => Just(Word::Running), 2 => Just(Word::Hold), 1 => Just(Word::Panic)];
    let order = prop::sample::select(vec![Order::Disable, Order::Enable, Order::Enable, Order::Resend]);
    prop_oneof![
        2 => scope().prop_map(Ask::Acknowledge),
        1 => (0..PREFIXES.len(), prop::option::of(1i64..200))
            .prop_map(|(prefix, time)| Ask::Protect { prefix, time }),
        2 => (0..PREFIXES.len()).prop_map(Ask::Unprotect),
        1 => (0..SOURCES.len(), any::<bool>())
            .prop_map(|(source, withdraw)| Ask::Pause { source, withdraw }),
        2 => (0..SOURCES.len()).prop_map(Ask::Resume),
        2 => (any::<bool>(), word).prop_map(|(whole_pop, word)| Ask::Say { whole_pop, word }),
        1 => order.prop_map(Ask::Order),
    ]
    .boxed()
}
