//! Everything of commedia that runs.
//!
//! ```text
//! Supervisor ─┬─ Orchestrator (one per live run) ─┬─ Agent (while it has work; a shard of a population likewise)
//!             │                                   └─ …
//! Store ──────┴─ writer thread (group commit)
//! ```
//! References point down, reports go up by type. No actor holds truth that is not in the log.

pub mod admission;
pub mod agent;
pub mod budget;
pub mod catalogue;
pub mod clock;
pub mod command;
pub mod extraction;
pub mod feed;
pub mod follow;
pub mod identity;
pub mod live;
pub mod log;
mod meta;
pub mod metrics;
pub mod model;
pub mod once;
pub mod orchestrator;
mod passive;
pub mod points;
pub mod prices;
mod rebuild;
mod recovery;
pub mod registry;
pub mod run_id;
pub mod runtime;
pub mod scope;
pub mod store;
pub mod subscribers;
mod supervisor;
pub mod telemetry;
mod timers;
pub mod tool;
mod transport;
mod turns;
mod upkeep;
pub mod verify;
