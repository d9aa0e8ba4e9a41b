//! `commedia run`: one run or many of a scenario, seen while they work, summed up at their end.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use commedia_actors::live::LoadedRun;
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{Runtime, StartOptions};
use commedia_domain::diagnostic::Diagnostic;
use commedia_domain::event::{Labels, ModelBinding, tool_name};
use commedia_domain::extraction::Extracted;
use commedia_domain::run::{RunInput, Status};
use commedia_domain::scenario::{AgentKind, ModelTarget, Scenario};
use commedia_domain::tool::mcp::Server;
use commedia_domain::turn::by_rules;
use commedia_domain::value::Value;
use serde_json::Value as Json;
use tokio::task::JoinSet;

use super::ask::{reader, reading};
use super::drive::{Watch, say_resume};
use crate::app::{App, close, interrupted, start_failure};
use crate::day;
use crate::diagnostics::{Texts, render};
use crate::extraction::{self, Person};
use crate::failure::{Exit, Failure};
use crate::models::{self, Bound, Wanted};
use crate::output::say;
use crate::parameters;
use crate::progress::{ManyProgress, Mode};
use crate::report::{self, Outcome};
use crate::settings::models::ModelSettings;
use crate::source::{Source, values};
use crate::tape::Tape;
use crate::words;

/// Runs at most.
const MAX_RUNS: u32 = 1_000_000;

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// A scenario file, or the name of a built-in scenario
    pub(super) scenario: String,
    /// Give a parameter a value
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parameters::split)]
    set: Vec<(String, String)>,
    /// Take parameters from a YAML or JSON file; --set goes before it
    #[arg(long, value_name = "FILE")]
    params: Option<PathBuf>,
    /// The seed of all random draws; of several runs the first one's
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Who answers for every model: PROVIDER:NAME such as openai:gpt-4o-mini, stub, or auto
    #[arg(long, value_name = "MODEL", conflicts_with = "offline")]
    pub(super) model: Option<String>,
    /// No model: rules answer, and where there are none the stub
    #[arg(long)]
    pub(super) offline: bool,
    /// The day the run is asked for, which defaults such as "next Monday" count from [default: the clock]
    #[arg(long, value_name = "DATE")]
    pub(super) today: Option<jiff::civil::Date>,
    /// So many runs, with seeds one after the other
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_RUNS)))]
    runs: Option<u32>,
    /// So many of them at once [default: one for each worker; on a server 16]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    parallel: Option<u32>,
    /// How progress is shown [default: bars on a terminal, else a line per 10 %]
    #[arg(long, value_name = "HOW")]
    progress: Option<Mode>,
    /// The same as --progress bar
    #[arg(long, conflicts_with = "progress")]
    live: bool,
    /// What happens to approvals (no agent of this version asks for one)
    #[arg(long, value_name = "HOW", hide = true)]
    approvals: Option<Approvals>,
    /// Inject the faults of a file, instead of the scenario's own
    #[arg(long, value_name = "FILE")]
    faults: Option<String>,
    /// Record what models answer, a lane per agent, in a folder that is made for it
    #[arg(long, value_name = "DIR", conflicts_with = "cassette")]
    record: Option<PathBuf>,
    /// Have models' answers from a recording: none is called, and a request it does not know fails its run
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "offline"])]
    cassette: Option<PathBuf>,
    /// Read parameters out of a text, - is standard input; --set goes before it
    #[arg(long, value_name = "TEXT")]
    ask: Option<String>,
    /// Start with what --ask read without asking, where it is settled
    #[arg(long)]
    yes: bool,
    /// Give the run, or each of several, a label to find it again by (`commedia ls --label`)
    #[arg(long = "label", value_name = "NAME=VALUE", value_parser = words::label)]
    labels: Vec<(Arc<str>, Arc<str>)>,
    /// Do not follow it: print the run's id and end (on a server)
    #[arg(long)]
    pub(super) detach: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Approvals {
    Prompt,
    Auto,
    Reject,
    Inbox,
}

impl RunArgs {
    pub(super) fn mode(&self, app: &App) -> Mode {
        Mode::chosen(self.live.then_some(Mode::Bar).or(self.progress), &app.console)
    }

    /// How many runs, where it is said.
    pub(super) fn runs(&self) -> Option<u32> {
        self.runs
    }

    /// How many of them at once, where it is said.
    pub(super) fn parallel(&self) -> Option<usize> {
        self.parallel.map(|n| n as usize)
    }

    /// The labels in order of names; of two with one name the later.
    pub(super) fn labels(&self) -> Result<Arc<Labels>, Failure> {
        let by_name: BTreeMap<_, _> = self.labels.iter().cloned().collect();
        match by_name.len() {
            0..=words::MOST_LABELS => Ok(Arc::new(by_name.into_iter().collect())),
            n => Err(Failure::usage(format!("a run has {} labels at most, and these are {n}", words::MOST_LABELS))),
        }
    }

    /// What cannot be said to a server.
    pub(super) fn refuse_local_flags(&self) -> Result<(), Failure> {
        let given = [("--record", self.record.is_some()), ("--cassette", self.cassette.is_some())];
        match given.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) => Err(Failure::usage(format!("`{flag}` does not go with a server in this version"))
                .help("leave it out, or leave --server out")),
            None => Ok(()),
        }
    }

    /// The faults to be injected, as a server is told: those of a file that is named, or else a file's own. Of a scenario that comes with
    /// the program the server knows its own.
    pub(super) fn faults_as_json(&self, app: &App, own: Option<&Scenario>) -> Result<Option<Json>, Failure> {
        // What is doubtful about the scenario was said when it was read without them.
        let injected = self.faults.as_deref().map(|file| load(app, &self.scenario, Some(file), Mode::Json)).transpose()?;
        let list = injected.as_ref().or(own).map(|scenario| scenario.resolved()["faults"].take());
        Ok(list.map(|list| if list.is_null() { Json::Array(Vec::new()) } else { list }))
    }

    /// What is asked for in words, if anything is.
    pub(super) fn words(&self) -> Result<Option<String>, Failure> {
        self.ask.as_deref().map(|given| extraction::text(given, &mut std::io::stdin().lock())).transpose()
    }

    /// The parameters that were read out of words, once they are confirmed, of the file and of the command line, as a server
    /// wants them.
    pub(super) fn parameters_as_json(&self, app: &App, scenario: &Scenario, read: Option<&Json>) -> Result<Json, Failure> {
        let given = given(scenario, self)?;
        let found = read.map(|read| self.confirmed(app, scenario, extraction::of_json(scenario, read)?, &given)).transpose()?;
        let all = found.map_or_else(Vec::new, |found| extraction::values(&found)).into_iter().chain(given);
        Ok(Json::Object(all.map(|(name, value)| (name, value.to_json())).collect()))
    }

    /// What was read, with what is given by name in its place, once it is confirmed.
    fn confirmed(
        &self,
        app: &App,
        scenario: &Scenario,
        mut found: Vec<Extracted>,
        given: &[(String, Value)],
    ) -> Result<Vec<Extracted>, Failure> {
        extraction::overrule(&mut found, given);
        let terminal = app.console.terminal && std::io::stdin().is_terminal() && self.ask.as_deref() != Some("-");
        let mut input = std::io::stdin().lock();
        let person = match () {
            () if self.yes => Person::SaidYes,
            () if terminal => Person::There(&mut input, &say),
            () => Person::Nobody,
        };
        extraction::confirm(scenario, found, person)
    }
}

pub(super) async fn run(app: &App, args: &RunArgs) -> Result<Exit, Failure> {
    if args.detach {
        return Err(
            Failure::usage("`--detach` needs a server, which goes on with the run").help("say --server URL, or leave it out")
        );
    }
    let (mode, labels) = (args.mode(app), args.labels()?);
    let scenario = Arc::new(load(app, &args.scenario, args.faults.as_deref(), mode)?);
    let played = args.cassette.as_deref().map_or(Ok(Tape::None), Tape::play)?;
    let bound = match played.bindings(&scenario)? {
        Some(models) => Bound { models, found_by: None, notes: Vec::new() },
        None => {
            let wanted = Wanted { model: args.model.as_deref(), offline: args.offline };
            models::bind(&scenario, wanted, &app.settings.models).await?
        }
    };
    let tape = match &args.record {
        Some(dir) => Tape::record(dir, &scenario, &bound.models)?,
        None => played,
    };
    if mode != Mode::Json {
        let line = tape.says().or_else(|| who_answers(&scenario, &bound, &app.settings.models));
        line.iter().for_each(|line| app.console.note(line));
        bound.notes.iter().for_each(|note| app.console.note(&format!("note: {note}")));
    }
    let params = asked(app, &scenario, args, &bound, &tape).await?;
    let input = RunInput { params, seed: args.seed, now: now(app, args)?, models: bound.models.clone() };
    // Parameters are checked before a store is opened: nothing is created for a run that cannot be.
    commedia_domain::run::NewRun::new(&scenario, &input).map_err(|faults| Failure::invalid(faults.join("\nerror: ")))?;
    if mode != Mode::Json
        && let Some(estimate) = crate::estimate::of_run(&scenario, &input.models, &app.settings.prices)
    {
        app.console.note(&estimate.line());
    }
    let order = Order { scenario, input, mode, labels, tape };
    match args.runs {
        None => one(app, order).await,
        Some(runs) => {
            let parallel = args.parallel().unwrap_or(app.settings.workers).min(runs as usize);
            many(app, order, runs, parallel).await
        }
    }
}

/// What is to be run.
struct Order {
    scenario: Arc<Scenario>,
    input: RunInput,
    mode: Mode,
    labels: Arc<Labels>,
    tape: Tape,
}

impl Order {
    /// How a run is started that is shown so.
    fn start(&self, mode: Mode) -> StartOptions {
        StartOptions { labels: self.labels.clone(), ..mode.start() }
    }
}

/// Parameters: what a text says, once it is confirmed, then those of the file and of the command line.
async fn asked(
    app: &App,
    scenario: &Arc<Scenario>,
    args: &RunArgs,
    bound: &Bound,
    tape: &Tape,
) -> Result<Vec<(String, Value)>, Failure> {
    let given = given(scenario, args)?;
    let Some(text) = &args.ask else { return Ok(given) };
    let found = reading(app, scenario, text, args.today, reader(app, scenario, bound, tape)?.as_ref()).await?.parameters;
    let found = args.confirmed(app, scenario, found, &given)?;
    Ok(extraction::values(&found).into_iter().chain(given).collect())
}

/// Reads a scenario; its faults are told as `validate` tells them, and what is not built is refused with its place.
pub(super) fn load(app: &App, name: &str, faults: Option<&str>, mode: Mode) -> Result<Scenario, Failure> {
    let tell = |source: Option<&Source>, faults: &[Diagnostic]| {
        let texts = Texts::of(source, faults);
        faults.iter().for_each(|fault| say(render(fault, &texts, app.console.colour_err).trim_end()));
        Failure::said(Exit::Invalid)
    };
    let source = Source::named(name).map_err(|fault| tell(None, &[*fault]))?;
    let injected = faults.map(Source::file).transpose().map_err(|fault| tell(None, &[*fault]))?;
    let loaded = source.load_with(injected.as_ref());
    let loaded = loaded.map_err(|faults| {
        tell(injected.as_ref().filter(|i| faults.iter().all(|f| f.file == i.name)).or(Some(&source)), &faults)
    })?;
    if !app.console.quiet && mode != Mode::Json {
        tell(Some(&source), &loaded.warnings);
    }
    let scenario = loaded.scenario;
    if let Some(unbuilt) = scenario.unbuilt.first() {
        let place = format!("{}:{}:{}", source.name, unbuilt.span.line, unbuilt.span.column);
        let more = match scenario.unbuilt.len() - 1 {
            0 => String::new(),
            n => format!(" (nor are {n} more things it asks for)"),
        };
        return Err(Failure::invalid(format!("{place}: {} is not part of this version{more}", unbuilt.what))
            .help("nothing was stored; `commedia validate` accepts the file"));
    }
    Ok(scenario)
}

/// Parameters of the file, then of the command line.
fn given(scenario: &Scenario, args: &RunArgs) -> Result<Vec<(String, Value)>, Failure> {
    let mut params = Vec::new();
    if let Some(file) = &args.params {
        params.extend(values(file)?.into_iter().map(|(name, json)| (name, Value::from_json(&json))));
    }
    for (name, text) in &args.set {
        params.push((name.clone(), parameters::typed(scenario, name, text)?));
    }
    Ok(params)
}

fn now(app: &App, args: &RunArgs) -> Result<i64, Failure> {
    args.today.map_or_else(|| Ok(app.settings.clock.now_ms()), day::midnight)
}

/// Who answers for the agents that want a model, in one line; `None` where none does.
fn who_answers(scenario: &Scenario, bound: &Bound, settings: &ModelSettings) -> Option<String> {
    let mut by: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for agent in scenario.agents.iter().filter(|a| a.kind == AgentKind::Llm) {
        let binding = agent.model.and_then(|m| bound.models.get(m.at())).or(bound.models.last());
        let who = match binding {
            Some(ModelBinding::Provider { provider, model }) => {
                let alias = agent.model.and_then(|m| scenario.models.get(m.at()));
                let target = ModelTarget::Provider { provider: provider.clone(), model: model.clone() };
                let alias = alias.filter(|a| a.target == target || a.target == ModelTarget::Auto).map(|a| &**a);
                format!("{provider}:{model} at {} answers", models::host(settings, provider, alias))
            }
            other if by_rules(agent, other.is_none_or(|b| *b == ModelBinding::Offline)) => "rules answer".into(),
            _ => "the stub answers".into(),
        };
        by.entry(who).or_default().push(&agent.name);
    }
    if by.is_empty() {
        return None;
    }
    let is_live = bound.models.iter().any(|b| matches!(b, ModelBinding::Provider { .. }));
    let found_by = bound.found_by.as_ref().filter(|_| is_live).map(|by| format!(" (by {by})")).unwrap_or_default();
    let mode = if is_live {
        "live"
    } else if bound.models.contains(&ModelBinding::Stub) {
        "stub"
    } else {
        "offline"
    };
    let mut parts: Vec<String> = by.iter().map(|(who, agents)| format!("{who} for {}", agents.join(", "))).collect();
    let calls = tools_that_call(scenario, &bound.models);
    if !calls.is_empty() {
        parts.push(format!("tools that call servers: {calls}"));
    } else if !is_live {
        parts.push("nothing leaves this machine".into());
    }
    Some(format!("{mode}{found_by}: {}", parts.join("; ")))
}

/// The tools that leave the process, of agents that may call them in this run.
fn tools_that_call(scenario: &Scenario, models: &[ModelBinding]) -> String {
    let mut names: Vec<String> = Vec::new();
    for agent in scenario.agents.iter().filter(|a| a.kind == AgentKind::Llm) {
        let binding = agent.model.and_then(|m| models.get(m.at())).or(models.last());
        if by_rules(agent, binding.is_none_or(|b| *b == ModelBinding::Offline)) {
            continue;
        }
        for tool in agent.tools.iter().filter_map(|tool| scenario.leaves(*tool)) {
            let kind = tool
                .mcp()
                .map_or("", |mcp| if matches!(mcp.server, Server::Command { .. }) { " (MCP, started here)" } else { " (MCP)" });
            let name = format!("{}{kind}", tool.name);
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.join(", ")
}

async fn one(app: &App, order: Order) -> Result<Exit, Failure> {
    let runtime = app.open_with(1, &order.tape).await?;
    let stop = interrupted();
    tokio::pin!(stop);
    let start = order.start(order.mode);
    let started = tokio::select! {
        started = runtime.start_run(order.scenario.clone(), order.input, start) => started.map_err(start_failure)?,
        () = &mut stop => {
            close(&runtime).await;
            say_resume(app, &[]);
            return Ok(Exit::Interrupted);
        }
    };
    let id = started.id.clone();
    let watch = Watch { runtime: &runtime, scenario: &order.scenario, mode: order.mode, before: None };
    let loaded = tokio::select! {
        loaded = watch.drive(started) => loaded?,
        () = &mut stop => {
            close(&runtime).await;
            say_resume(app, &[id]);
            return Ok(Exit::Interrupted);
        }
    };
    close(&runtime).await;
    Ok(Exit::of_all(order.tape.close().into_iter().chain([sum_up(app, &loaded)])))
}

/// Prints a run that has ended or stands still, and says what it means for the process.
pub(super) fn sum_up(app: &App, loaded: &LoadedRun) -> Exit {
    let (outcome, verdicts) = report::of_one(loaded);
    app.console.document(&report::run_json(loaded, &verdicts), || report::run_text(loaded, &verdicts));
    if let Status::Paused { reason } = &loaded.run.state().status {
        app.console.note(&format!("paused: {reason}; go on with\n  commedia resume {}", loaded.id));
    }
    say_unknown(app, loaded);
    report::exit_of(std::slice::from_ref(&outcome), &verdicts)
}

/// How to go on with a run that waits for an operator: a line for each step of which nobody knows what became of it.
pub(super) fn say_unknown(app: &App, loaded: &LoadedRun) {
    for step in loaded.run.unknown_steps() {
        let tool = tool_name(loaded.run.scenario(), step.tool);
        let line = format!("commedia resolve {} {} --outcome succeeded|failed|retry", loaded.id, step.step);
        app.console.note(&format!("nobody knows what became of `{tool}` in step {}; say it with\n  {line}", step.step));
    }
}

/// A run of several: its place and what came of it.
type Ended = (usize, RunId, Result<Outcome, Failure>);

async fn many(app: &App, order: Order, runs: u32, parallel: usize) -> Result<Exit, Failure> {
    let runtime = app.open_with(parallel, &order.tape).await?;
    let mut progress = ManyProgress::new(order.mode, u64::from(runs), parallel);
    let mut working: JoinSet<Result<Ended, Failure>> = JoinSet::new();
    let mut outcomes: BTreeMap<usize, Outcome> = BTreeMap::new();
    let mut failures: Vec<(RunId, Failure)> = Vec::new();
    let (mut next, mut cut) = (0_u32, false);
    let stop = interrupted();
    tokio::pin!(stop);
    loop {
        while next < runs && working.len() < parallel && !cut {
            working.spawn(a_run(runtime.clone(), &order, next));
            next += 1;
        }
        tokio::select! {
            ended = working.join_next() => match ended {
                None => break,
                Some(Ok(Ok((n, id, ended)))) => {
                    progress.ended(ended.as_ref().is_ok_and(Outcome::completed));
                    match ended {
                        Ok(outcome) => { outcomes.insert(n, outcome); }
                        Err(failure) => failures.push((id, failure)),
                    }
                }
                Some(Ok(Err(failure))) => {
                    close(&runtime).await;
                    return Err(failure);
                }
                Some(Err(e)) => return Err(Failure::new(Exit::Internal, e)),
            },
            () = &mut stop, if !cut => {
                cut = true;
                break;
            }
        }
    }
    progress.finish();
    close(&runtime).await;
    if cut {
        let mut open: Vec<RunId> = Vec::new();
        while let Some(ended) = working.join_next().await {
            if let Ok(Ok((_, id, _))) = ended {
                open.push(id);
            }
        }
        say_resume(app, &open);
        if next < runs {
            let seed = order.input.seed.wrapping_add(u64::from(next));
            say(&format!("{} runs were not started: --seed {seed} --runs {}", runs - next, runs - next));
        }
        return Ok(Exit::Interrupted);
    }
    let outcomes: Vec<Outcome> = outcomes.into_values().collect();
    let verdicts = report::thresholds(&order.scenario, &outcomes);
    let json = report::runs_json(&order.scenario, &outcomes, &verdicts);
    app.console.document(&json, || report::runs_text(&order.scenario, &outcomes, &verdicts));
    failures.iter().for_each(|(id, failure)| say(&format!("run {id}: {failure}")));
    let failed = failures.iter().map(|(_, f)| f.exit);
    Ok(Exit::of_all(failed.chain(order.tape.close()).chain([report::exit_of(&outcomes, &verdicts)])))
}

/// One of several runs: the seed is the first one's and its place.
fn a_run(runtime: Runtime, order: &Order, n: u32) -> impl Future<Output = Result<Ended, Failure>> + Send + use<> {
    let mut input = order.input.clone();
    input.seed = input.seed.wrapping_add(u64::from(n));
    let scenario = order.scenario.clone();
    let mode = if order.mode == Mode::Json { Mode::Json } else { Mode::None };
    let start = order.start(mode);
    async move {
        let handle = runtime.start_run(scenario.clone(), input, start).await.map_err(start_failure)?;
        let id = handle.id.clone();
        let watch = Watch { runtime: &runtime, scenario: &scenario, mode, before: None };
        let ended = watch.drive(handle).await.map(|loaded| Outcome::of(&loaded));
        Ok((n as usize, id, ended))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use commedia_domain::scenario::{NoFiles, load};

    fn scenario(models: &str) -> Scenario {
        let more = if models.is_empty() { "" } else { "  m: {kind: llm, model: m, instructions: hi}\n" };
        let source = format!(
            "name: s\n{models}agents:\n{more}  a: {{kind: llm, instructions: hi, fallback: {{rules: [{{otherwise: true, emit: [{{finish: 1}}]}}]}}}}\n  \
             b: {{kind: llm, instructions: hi}}\n  c: {{kind: rules, rules: []}}\n"
        );
        let loaded = load("s.yaml", source.as_bytes(), &NoFiles).map_err(|d| d[0].to_string());
        loaded.expect("a scenario").scenario
    }

    /// The settings of a process with these variables.
    fn settings(env: &[(&str, &str)]) -> ModelSettings {
        let find = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        // Nobody listens there.
        let find = |name: &str| if name == "OLLAMA_HOST" { Some("127.0.0.1:1".into()) } else { find(name) };
        crate::settings::models::layered(&find, &Default::default()).expect("settings")
    }

    #[tokio::test]
    async fn who_answers_is_said_once() {
        let all = "rules answer for a; the stub answers for b; nothing leaves this machine";
        let rows = [
            (None, false, "", format!("offline: {all}")),
            (None, true, "", format!("offline: {all}")),
            (Some("stub"), false, "", "stub: the stub answers for a, b; nothing leaves this machine".into()),
            (Some("ollama:q"), false, "", "live (by --model): ollama:q at 127.0.0.1:1 answers for a, b".into()),
            (None, true, "models: {m: {use: 'openai:gpt'}}\n", format!("offline: {}", all.replace("for b", "for m, b"))),
            (
                None,
                false,
                "models: {m: {use: 'openai:q', base_url: 'http://127.0.0.1:9/v1'}}\n",
                format!("live: openai:q at 127.0.0.1:9 answers for m; {all}").replace("; nothing leaves this machine", ""),
            ),
        ];
        for (model, offline, models, expect) in rows {
            let scenario = scenario(models);
            let settings = settings(&[]);
            let bound = models::bind(&scenario, Wanted { model, offline }, &settings).await.expect("bound");
            assert_eq!(bound.models.len(), scenario.models.len() + 1);
            assert_eq!(who_answers(&scenario, &bound, &settings).unwrap_or_default(), expect);
        }
    }

    #[tokio::test]
    async fn what_cannot_answer_is_refused_with_the_remedy() {
        let own = "models: {m: {use: 'openai:gpt'}}\n";
        let rows = [
            (own, None, "there is no key for `openai`: set OPENAI_API_KEY"),
            ("", Some("anthropic:claude"), "there is no key for `anthropic`: set ANTHROPIC_API_KEY"),
            ("", Some("azure:mine"), "where `azure` is is not known: set AZURE_OPENAI_ENDPOINT"),
            ("", Some("gpt-4o"), "`gpt-4o` is no model"),
            ("", Some("mistral:x"), "there is no provider `mistral`"),
            ("", Some("openai:"), "`openai:` names no model"),
        ];
        for (models, model, words) in rows {
            let wanted = Wanted { model, offline: false };
            let failure = models::bind(&scenario(models), wanted, &settings(&[])).await.expect_err(words);
            assert_eq!((failure.exit, failure.message.contains(words)), (Exit::Invalid, true), "{failure}");
            assert!(failure.help.is_some(), "{failure}");
        }
    }
}
