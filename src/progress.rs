//! How a run is seen while it works: bars on a terminal, a line per 10 % elsewhere, JSON lines for programs. Always on
//! standard error, always after the acknowledgement of what is told. The only home of `indicatif`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use commedia_actors::log::StoredEvent;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::StartOptions;
use commedia_actors::subscribers::Piece;
use commedia_domain::event::{Created, Event, Outcome, Work};
use commedia_domain::id::AgentIx;
use commedia_domain::message::StepId;
use commedia_domain::run::State;
use commedia_domain::scenario::Scenario;
use commedia_domain::value::timestamp_text;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::events::{Teller, agent_name, short_time};
use crate::output::{Console, say};

/// Agents with a line of their own.
const AGENT_LINES: usize = 16;
/// Characters of an agent's last words.
const LAST_WORDS: usize = 48;
/// How often bars are drawn.
const HERTZ: u8 = 12;

/// The way progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Bars; on a terminal only.
    Bar,
    /// A line per 10 %.
    Plain,
    /// A JSON object per stored event.
    Json,
    /// Nothing.
    None,
}

impl Mode {
    /// What was asked for, as far as the terminal can do it.
    pub fn chosen(asked: Option<Mode>, console: &Console) -> Mode {
        match asked {
            Some(Mode::Bar) if !console.terminal => Mode::Plain,
            Some(mode) => mode,
            None if console.quiet => Mode::None,
            None if console.terminal => Mode::Bar,
            None => Mode::Plain,
        }
    }

    /// How a run is started that is shown so. Programs are told of every tick by itself.
    pub fn start(self) -> StartOptions {
        let seen = matches!(self, Mode::Bar | Mode::Plain);
        StartOptions { follow: self == Mode::Json, watch: seen, pieces: seen, ..StartOptions::default() }
    }
}

/// The progress of one run.
pub enum RunProgress {
    /// Bars.
    Bars(Box<Bars>),
    /// Lines.
    Plain(Plain),
    /// JSON.
    Json(Teller),
    /// Nothing.
    None,
}

impl RunProgress {
    /// For a run of a scenario, with where it stands if it goes on.
    pub fn new(mode: Mode, id: &RunId, scenario: &Arc<Scenario>, before: Option<&State>) -> RunProgress {
        match mode {
            Mode::Bar => {
                let mut bars = Bars::new(scenario.clone());
                if let Some(state) = before {
                    bars.created(&state.created);
                    bars.ticked(state.tick, state.now);
                }
                RunProgress::Bars(Box::new(bars))
            }
            Mode::Plain => {
                let mut plain = Plain { spoke: BTreeSet::new(), name: scenario.name.to_string(), ticks: None, told: 0 };
                if let Some(state) = before {
                    plain.ticks = state.created.ticks;
                    plain.told = state.created.ticks.filter(|n| *n > 0).map_or(0, |n| state.tick * 10 / n);
                    say(&format!("{}: going on", plain.name));
                }
                RunProgress::Plain(plain)
            }
            Mode::Json => {
                let teller = Teller::new(id.clone(), scenario.clone());
                RunProgress::Json(before.map(|s| s.now).into_iter().fold(teller, Teller::from))
            }
            Mode::None => RunProgress::None,
        }
    }

    /// An event is durable.
    pub fn event(&mut self, stored: &StoredEvent) {
        match self {
            RunProgress::Bars(bars) => bars.event(&stored.event),
            RunProgress::Plain(plain) => {
                if let Some(line) = plain.event(&stored.event) {
                    say(&line);
                }
            }
            RunProgress::Json(teller) => {
                let told = teller.stored(stored);
                let at = told.at.map(timestamp_text);
                let line = json!({
                    "run_id": told.run_id.as_str(), "seq": told.seq, "type": told.kind, "agent": told.agent, "at": at,
                });
                say(&line.to_string());
            }
            RunProgress::None => {}
        }
    }

    /// A model says a piece of its answer.
    pub fn piece(&mut self, piece: &Piece) {
        match self {
            RunProgress::Bars(bars) => bars.piece(piece),
            RunProgress::Plain(plain) => {
                if let Some(line) = plain.piece(piece) {
                    say(&line);
                }
            }
            RunProgress::Json(_) | RunProgress::None => {}
        }
    }
}

/// A line per tenth of the clock, and one for each agent whose model begins to speak.
#[derive(Debug)]
pub struct Plain {
    spoke: BTreeSet<Arc<str>>,
    name: String,
    ticks: Option<u64>,
    told: u64,
}

impl Plain {
    fn piece(&mut self, piece: &Piece) -> Option<String> {
        let begins = self.spoke.len() < AGENT_LINES && self.spoke.insert(piece.agent.clone());
        begins.then(|| format!("{}: {} speaks", self.name, piece.agent))
    }

    fn event(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::RunCreated(created) => {
                self.ticks = created.ticks;
                Some(format!("{}: running", self.name))
            }
            Event::TickAdvanced { tick, at, .. } => {
                let ticks = self.ticks.filter(|n| *n > 0)?;
                let tenth = tick * 10 / ticks;
                (tenth > self.told).then(|| {
                    self.told = tenth;
                    format!("{}: {:>3} %  tick {tick} of {ticks}  {}", self.name, tenth * 10, short_time(*at))
                })
            }
            _ => None,
        }
    }
}

/// One line per agent, and a bar for the clock.
pub struct Bars {
    scenario: Arc<Scenario>,
    all: MultiProgress,
    clock: ProgressBar,
    agents: Vec<ProgressBar>,
    turns: Vec<u64>,
    tokens: u64,
    at: Option<i64>,
    /// The last words of agents that speak, by place.
    words: BTreeMap<usize, (StepId, String)>,
}

impl Bars {
    fn new(scenario: Arc<Scenario>) -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(HERTZ));
        let style = style("  {prefix:<16} {msg}");
        let agents = (scenario.agents.iter().take(AGENT_LINES))
            .map(|a| {
                let bar = all.add(ProgressBar::no_length().with_style(style.clone()).with_prefix(a.name.to_string()));
                bar.set_message("idle");
                bar
            })
            .collect();
        let clock = all.add(ProgressBar::no_length().with_style(self::style("  {spinner} {elapsed} {msg}")));
        clock.enable_steady_tick(Duration::from_millis(120));
        Bars { turns: vec![0; scenario.agents.len()], scenario, all, clock, agents, tokens: 0, at: None, words: BTreeMap::new() }
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::RunCreated(created) => self.created(created),
            Event::TickAdvanced { tick, at, .. } => self.ticked(*tick, *at),
            Event::StepPlanned { seat, work, .. } => self.state(
                seat.agent,
                match work {
                    Work::Model | Work::Summary => "thinking",
                    Work::Judge { .. } => "judging",
                    Work::Tool { .. } => "acting",
                },
            ),
            Event::StepRecorded(recorded) => {
                if let Some(answered) = recorded.outcome.answer() {
                    self.tokens += answered.usage.tokens_in + answered.usage.tokens_out;
                    self.tell_clock();
                }
            }
            Event::TurnCompleted(done) => {
                self.turns[done.agent.at()] += done.served.iter().map(|(_, n)| u64::from(*n)).sum::<u64>();
                let handoff = done.entries.iter().find_map(|e| match &e.outcome {
                    Outcome::Handoff { to, .. } => Some(*to),
                    _ => None,
                });
                match handoff {
                    Some(to) => {
                        let words = format!("done → {}", agent_name(&self.scenario, to));
                        self.state(done.agent, &words);
                    }
                    None => self.state(done.agent, "idle"),
                }
            }
            Event::TurnFailed { seat, failure, .. } => self.state(seat.agent, &format!("failed: {}", failure.message)),
            Event::DelegateAsked { seat, .. } => self.state(seat.agent, "waiting"),
            Event::StepUnknown { seat, .. } => self.state(seat.agent, "waiting for an operator"),
            Event::AgentCrashed(crash) => self.state(crash.seat.agent, "restarting"),
            Event::AgentFailed { seat, .. } => self.state(seat.agent, "restarting"),
            Event::AgentQuarantined { seat, .. } => self.state(seat.agent, "quarantined"),
            _ => {}
        }
    }

    fn created(&mut self, created: &Created) {
        if let Some(ticks) = created.ticks {
            self.clock.set_length(ticks);
            self.clock.set_style(style("  {bar:32} {pos}/{len} {msg} · {elapsed}").progress_chars("━━╌"));
        }
        for ((bar, agent), n) in self.agents.iter().zip(&self.scenario.agents).zip(&created.replicas) {
            if agent.population {
                bar.set_prefix(format!("{} ×{n}", agent.name));
            }
        }
    }

    fn ticked(&mut self, tick: u64, at: i64) {
        self.clock.set_position(tick);
        self.at = Some(at);
        self.tell_clock();
    }

    fn tell_clock(&self) {
        let at = self.at.map(short_time);
        let tokens = (self.tokens > 0).then(|| format!("{} tokens", self.tokens));
        self.clock.set_message(at.into_iter().chain(tokens).collect::<Vec<_>>().join(" · "));
    }

    /// The last words of who speaks.
    fn piece(&mut self, piece: &Piece) {
        let Some(at) = self.scenario.agents.iter().position(|a| a.name == piece.agent).filter(|at| *at < self.agents.len())
        else {
            return;
        };
        let words = self.words.entry(at).or_insert_with(|| (piece.step, String::new()));
        if piece.text.is_empty() || words.0 != piece.step {
            *words = (piece.step, String::new());
        }
        words.1.extend(piece.text.chars().map(|c| if c.is_control() { ' ' } else { c }));
        let all = words.1.chars().count();
        words.1 = words.1.chars().skip(all.saturating_sub(LAST_WORDS)).collect();
        self.agents[at].set_message(format!("“{}”", words.1));
    }

    fn state(&self, agent: AgentIx, words: &str) {
        if let Some(bar) = self.agents.get(agent.at()) {
            bar.set_message(format!("{words} · {} turns", self.turns[agent.at()]));
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.agents.iter().for_each(ProgressBar::finish_and_clear);
        self.clock.finish_and_clear();
        // A terminal that went away is no fault of the run.
        drop(self.all.clear());
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a template of this file, held by a test")
}

/// The progress of several runs.
pub struct ManyProgress {
    total: u64,
    parallel: usize,
    done: u64,
    failed: u64,
    told: u64,
    bar: Option<ProgressBar>,
    plain: bool,
    started: Instant,
}

impl ManyProgress {
    /// For so many runs, so many at once. JSON is told by each run itself.
    pub fn new(mode: Mode, total: u64, parallel: usize) -> ManyProgress {
        let bar = (mode == Mode::Bar).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(HERTZ));
            bar.set_style(style("  {bar:32} running {pos}/{len} · {msg} · {elapsed}, {eta} left").progress_chars("━━╌"));
            bar.set_message(format!("{parallel} at once"));
            bar
        });
        ManyProgress { total, parallel, done: 0, failed: 0, told: 0, bar, plain: mode == Mode::Plain, started: Instant::now() }
    }

    /// A run is over.
    pub fn ended(&mut self, well: bool) {
        self.done += 1;
        self.failed += u64::from(!well);
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            if self.failed > 0 {
                bar.set_message(format!("{} at once · {} failed", self.parallel, self.failed));
            }
        }
        let tenth = self.done * 10 / self.total.max(1);
        if self.plain && tenth > self.told {
            self.told = tenth;
            let failed = if self.failed > 0 { format!(" · {} failed", self.failed) } else { String::new() };
            let seconds = self.started.elapsed().as_secs_f64();
            say(&format!("{:>3} %  {} of {} runs{failed} · {seconds:.1} s", tenth * 10, self.done, self.total));
        }
    }

    /// All are over.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_read() {
        for template in [
            "  {prefix:<16} {msg}",
            "  {spinner} {elapsed} {msg}",
            "  {bar:32} {pos}/{len} {msg} · {elapsed}",
            "  {bar:32} running {pos}/{len} · {msg} · {elapsed}, {eta} left",
        ] {
            style(template);
        }
    }

    #[test]
    fn plain_progress_is_a_line_per_tenth() {
        let mut plain = Plain { spoke: BTreeSet::new(), name: "shop".into(), ticks: Some(30), told: 0 };
        let lines: Vec<String> = (1..=30)
            .filter_map(|tick| {
                plain.event(&Event::TickAdvanced { tick, at: 86_400_000 * i64::try_from(tick).unwrap_or(0), fallen: vec![] })
            })
            .collect();
        assert_eq!(lines.len(), 10);
        assert_eq!(lines[0], "shop:  10 %  tick 3 of 30  1970-01-04");
        assert_eq!(lines[9], "shop: 100 %  tick 30 of 30  1970-01-31");
    }
}
