//! The process edge of commedia: the only code that knows the command line, the environment,
//! the terminal and HTTP.
//!
//! ```text
//! argv ─▶ cli ─▶ settings ─▶ app::App ─▶ Runtime::start_run ─▶ Orchestrator: decide, append, apply, publish, perform
//!                  source ─▶ scenario::load ─▶ Arc<Scenario> ──┘                                  │
//! stdout ◀─ output ◀─ report, events ◀──────── LoadedRun, StoredEvent ◀────────────────────────────┘
//! ```
//! Data goes to standard output, everything else to standard error; what a command ends with is `failure::Exit`.

pub mod app;
mod bundle;
pub mod causes;
pub mod cli;
pub mod day;
pub mod diagnostics;
pub mod estimate;
pub mod events;
pub mod extraction;
pub mod failure;
pub mod graph;
mod http;
pub mod log;
pub mod models;
pub mod output;
pub mod packs;
pub mod parameters;
mod password;
pub mod progress;
pub mod remote;
pub mod report;
pub mod secrets;
pub mod settings;
mod signals;
pub mod source;
pub mod statistics;
pub mod storm;
pub mod tape;
pub mod words;
