//! What may happen in a run: the scenario, the two machines `Run` and `Turn`, commands, events.
//!
//! Only this crate decides. It knows no tokio, no files, no clock and no randomness of its own: time, seeds and
//! outcomes come in as arguments, so the same inputs give the same events on any machine.

pub mod body;
pub mod collection;
pub mod diagnostic;
pub mod draw;
pub mod event;
pub mod expression;
pub mod extraction;
pub mod fault;
pub mod id;
pub mod identity;
pub mod message;
pub mod names;
pub mod rules;
pub mod run;
pub mod scenario;
pub mod schema;
pub mod step;
pub mod template;
pub mod tool;
pub mod turn;
pub mod value;
pub mod world;
