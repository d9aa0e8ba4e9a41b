//! Ten thousand agents by rules over a hundred ticks: each draws once and writes its own state once a tick.

use commedia_domain::event::ModelBinding;

use super::handoff::{self, Variant};
use super::{Bench, Measured};
use crate::failure::Failure;

pub(super) async fn measure(bench: &Bench) -> Result<Measured, Failure> {
    handoff::measure(bench, &Variant { pack: "population", binding: ModelBinding::Offline }).await
}
