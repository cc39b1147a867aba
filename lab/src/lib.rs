//! Real routers, databases and faults for tests, benchmarks and the demo, on one Linux machine.
//!
//! Nothing here is a stand-in: the routers are the ones operators run, from Debian's packages, bound to
//! addresses in 127.0.0.0/8 (or `::1`) and ports that need no privileges.
//!
//! - [`routers`]: BIRD, FRR, GoBGP and ExaBGP as BGP neighbours, with readback of the FlowSpec rules they hold
//! - [`speaker`]: a minimal BGP endpoint that says exactly the bytes a test wants said
//! - [`postgres`]: throw-away PostgreSQL clusters, one database per test
//! - [`proxy`]: a TCP proxy that cuts or stalls what passes through it
//! - [`debian`]: the programs the above need, and the package to install when one is missing
//! - [`daemon`]: the daemon as a child process, for the demo and the benchmarks
//! - [`load`]: events by the thousand, and what came of them; [`http`]: the client for that
//! - [`fuzz`]: corpora of the fuzzers, replayed and mutated within a test
//! - [`net`]: loopback addresses and ports that nobody else uses
//! - [`process`]: child processes that never outlive the process that started them
//!
//! The crate depends on no other crate of the workspace, so that all of them can use it in their tests.

pub mod daemon;
pub mod debian;
pub mod fuzz;
pub mod http;
pub mod load;
pub mod net;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod routers;
pub mod speaker;
