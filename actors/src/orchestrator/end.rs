//! A run that is over, or stands still: nothing of it stays with its orchestrator, and whoever waits for it is told.

use super::State;
use crate::live::LoadedRun;

impl State {
    /// The run for whoever waits for it; nothing of it is left here.
    pub(super) fn loaded(&mut self) -> LoadedRun {
        let ended = self.run.state().status.ended().is_some();
        LoadedRun {
            id: self.live.id.id().clone(),
            run: self.run.take(),
            digest: self.log.digest(),
            head: self.log.head(),
            started_ms: self.meta.started_ms,
            ended_ms: ended.then_some(self.meta.updated_ms),
        }
    }

    /// The run is over, or stands still: whoever waits is told.
    pub(super) fn finish(&mut self) {
        let metrics = &self.shared.metrics;
        if let Some(status) = self.run.state().status.ended() {
            metrics.runs_total.with_label_values(&[&*self.run.scenario().name, status]).inc();
            metrics.run_duration_seconds.observe(self.began.elapsed().as_secs_f64());
        }
        self.rest();
    }

    pub(super) fn rest(&mut self) {
        self.go_on();
        self.forget_timer();
        self.shared.registry.remove(&self.live.id);
        let loaded = self.loaded();
        // Somebody may have been put aside with this run's timer, which is forgotten now, while another resumed it.
        if let Some(parked) = self.shared.registry.unpark(&self.live.id) {
            parked.finish(Ok(loaded.clone()));
        }
        self.live.finish(Ok(loaded));
    }
}
