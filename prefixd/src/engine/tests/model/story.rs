//! What happens in a story: few victims, sources, ports and names, so that things meet.

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
/// The first is heard once an attack, the others repeat.
pub(super) const SOURCES: [&str; 3] = ["once", "fastnetmon", "netscout"];
/// What people protect: one victim, and all of Beta.
pub(super) const PREFIXES: [&str; 2] = ["203.0.113.10/32", "203.0.113.128/25"];
/// A police rate of an operator is stricter than the playbook's, or milder.
pub(super) const RATES: [u64; 3] = [0, 2_000_000, 8_000_000];

/// The kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Vector {
    Udp,
    Ntp,
    Manual,
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
        let all = [Self::Udp, Self::Ntp, Self::Manual];
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
    /// How many seconds ago it was seen.
    pub(super) age: Option<i64>,
}

impl Report {
    pub(super) const fn scope(&self) -> Scope {
        (self.victim, if self.ntp { Vector::Ntp } else { Vector::Udp })
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
        suppress: i64,
    },
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
    Ask(Ask),
    /// A report that has a name and a time, sent again; counted from the newest.
    Repeat(usize),
    /// All of them in one batch.
    Together(Vec<Ask>),
    /// Seconds pass, and every deadline among them is met.
    Wait(i64),
    /// The machine stands still for so long.
    Stall(i64),
    /// Up to the next deadline, or a microsecond before it.
    Deadline {
        just_before: bool,
    },
    /// One of the configurations comes into force.
    Reload(usize),
    /// The process is killed, and another starts after some seconds.
    Crash {
        asked: Option<(Ask, Killed)>,
        down: i64,
    },
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..60)
}

fn step() -> impl Strategy<Value = Step> {
    let killed = prop_oneof![Just(Killed::Undurable), Just(Killed::Untold)];
    let down = prop_oneof![Just(0i64), 1i64..90];
    prop_oneof![
        24 => ask().prop_map(Step::Ask),
        2 => (0usize..8).prop_map(Step::Repeat),
        4 => prop::collection::vec(ask().prop_filter("overtakes the others", |ask| !ask.is_panic()), 2..8)
            .prop_map(Step::Together),
        6 => (1i64..30).prop_map(Step::Wait),
        1 => (200i64..2000).prop_map(Step::Wait),
        1 => (1i64..300).prop_map(Step::Stall),
        5 => any::<bool>().prop_map(|just_before| Step::Deadline { just_before }),
        2 => (0..super::CONFIGURATIONS).prop_map(Step::Reload),
        3 => (prop::option::of((ask(), killed)), down).prop_map(|(asked, down)| Step::Crash { asked, down }),
    ]
}

fn scope() -> impl Strategy<Value = Scope> {
    let vector = prop_oneof![3 => Just(Vector::Udp), 1 => Just(Vector::Ntp), 1 => Just(Vector::Manual)];
    (0..VICTIMS.len(), vector)
}

fn report() -> impl Strategy<Value = Report> {
    (
        0..SOURCES.len(),
        prop_oneof![8 => 0..4usize, 1 => Just(4usize)],
        prop::bool::weighted(0.25),
        prop::option::of(0u8..2),
        prop::bool::weighted(0.3),
        0..PORTS.len(),
        prop::option::of(prop_oneof![6 => 0i64..5, 1 => 20i64..90]),
    )
        .prop_map(|(source, victim, ntp, name, unban, port, age)| Report {
            source,
            victim,
            ntp,
            name,
            unban,
            port,
            age,
        })
}

fn ask() -> impl Strategy<Value = Ask> {
    let word = prop_oneof![3 => Just(Word::Running), 2 => Just(Word::Hold), 1 => Just(Word::Panic)];
    prop_oneof![
        24 => report().prop_map(Ask::Report),
        3 => (scope(), 0..PORTS.len(), 0..RATES.len(), 2i64..200)
            .prop_map(|(scope, port, rate, ttl)| Ask::Create { scope, port, rate, ttl }),
        3 => (scope(), 2i64..200).prop_map(|(scope, ttl)| Ask::Extend { scope, ttl }),
        2 => (scope(), 0..PORTS.len(), 0..RATES.len())
            .prop_map(|(scope, port, rate)| Ask::Adjust { scope, port, rate }),
        4 => (scope(), prop_oneof![Just(0i64), 1i64..200])
            .prop_map(|(scope, suppress)| Ask::Withdraw { scope, suppress }),
        3 => scope().prop_map(Ask::Undo),
        2 => scope().prop_map(Ask::Acknowledge),
        1 => (0..PREFIXES.len(), prop::option::of(1i64..200))
            .prop_map(|(prefix, time)| Ask::Protect { prefix, time }),
        2 => (0..PREFIXES.len()).prop_map(Ask::Unprotect),
        1 => (0..SOURCES.len(), any::<bool>())
            .prop_map(|(source, withdraw)| Ask::Pause { source, withdraw }),
        2 => (0..SOURCES.len()).prop_map(Ask::Resume),
        2 => (any::<bool>(), word).prop_map(|(whole_pop, word)| Ask::Say { whole_pop, word }),
    ]
}
