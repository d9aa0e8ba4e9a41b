//! The verbs on a server (`--server URL`, or `COMMEDIA_SERVER`): the same words, options and objects as on the local data folder.

mod runs;

use serde_json::{Value as Json, json};

use super::Command;
use super::ls::LsArgs;
use super::resolve::ResolveArgs;
use crate::app::App;
use crate::failure::{Exit, Failure};
use crate::output::Format;
use crate::remote::Remote;
use crate::report::{self, columns};

/// Runs that a word is looked for among.
const PAGE: usize = 500;

/// Carries a verb out on a server.
pub(super) async fn perform(app: &App, remote: &Remote, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Run(args) => runs::run(app, remote, &args).await,
        Command::Ls(args) => ls(app, remote, &args).await,
        Command::Show(args) => show(app, remote, &find(remote, &args.id).await?).await,
        Command::Tail(args) => tail(app, remote, &find(remote, &args.id).await?, args.from, args.stored).await,
        Command::Resume(args) => {
            let word = args
                .id
                .as_deref()
                .ok_or_else(|| Failure::usage("say which run goes on: a server resumes what was interrupted by itself"))?;
            let id = find(remote, word).await?;
            runs::resume(app, remote, &id, args.mode(app)).await
        }
        Command::Cancel(args) => done(app, remote, &args.id, "cancel", json!({"reason": args.reason()}), "is cancelled").await,
        Command::Pause(args) => done(app, remote, &args.id, "pause", json!({"reason": args.reason()}), "stands still").await,
        Command::Release(args) => done(app, remote, &args.id, "release", json!({"to": args.word()}), "is released").await,
        Command::Tell(args) => {
            done(app, remote, &args.id, "messages", json!({"agent": args.agent, "text": args.text}), "was told").await
        }
        Command::Resolve(args) => resolve(app, remote, &args).await,
        Command::Replay(args) => {
            let id = find(remote, &args.id).await?;
            let replayed = remote.post(&format!("/api/runs/{id}/replay"), &json!({"verify": args.verify})).await?;
            app.console.document(&replayed, || report::replayed_text(&replayed));
            Ok(if replayed["equal"] == Json::Bool(false) { Exit::Failed } else { Exit::Ok })
        }
        Command::Why(args) => {
            let id = find(remote, &args.id).await?;
            super::why::tell(app, &remote.get(&format!("/api/runs/{id}/events/{}/causes", args.seq)).await?);
            Ok(Exit::Ok)
        }
        Command::Ask(args) => {
            if args.model.is_some() || args.offline {
                return Err(Failure::usage(
                    "a server reads with its own models: `--model` and `--offline` are for the data folder",
                ));
            }
            let body = json!({"scenario": args.scenario, "text": args.text()?, "today": args.today.map(|day| day.to_string())});
            let found = remote.post("/api/parameters/extract", &without_null(body)).await?;
            app.console.document(&found, || pretty(&found));
            Ok(Exit::Ok)
        }
        Command::User(args) => super::people::user_at(app, remote, &args).await,
        Command::Workspace(args) => super::people::workspace_at(app, remote, &args).await,
        Command::Key(args) => super::people::key_at(app, remote, &args).await,
        // What is local never comes here.
        _ => Err(Failure::usage("`store` looks after a data folder, not after a server")
            .help("say it where the server runs, while it is down; with `runtime.keep_ended` a running one compacts by itself")),
    }
}

fn pretty(json: &Json) -> String {
    serde_json::to_string_pretty(json).map_or_else(|_| String::new(), |text| text + "\n")
}

/// What a server answered, named as all documents of the console are.
pub(super) fn with_schema(noun: &str, answer: &Json) -> Json {
    let mut json = json!({"schema": format!("commedia.{noun}/v1")});
    answer.as_object().into_iter().flatten().for_each(|(name, value)| json[name] = value.clone());
    json
}

fn without_null(mut body: Json) -> Json {
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    body
}

fn text<'j>(json: &'j Json, field: &str) -> &'j str {
    json[field].as_str().unwrap_or_default()
}

/// A run's id, from an id, `@1` for the newest, or an id's unique beginning.
async fn find(remote: &Remote, word: &str) -> Result<String, Failure> {
    let none = || Failure::usage(format!("there is no run `{word}` there")).help("`commedia ls` lists them");
    if word.starts_with("r_") && word.len() == 28 {
        return Ok(word.to_owned());
    }
    let listed = remote.get(&format!("/api/runs?limit={PAGE}")).await?;
    let ids: Vec<&str> = listed["data"].as_array().into_iter().flatten().map(|run| text(run, "run_id")).collect();
    let found: Vec<&str> = match word.strip_prefix('@').map(str::parse::<usize>) {
        Some(n) => n.ok().and_then(|n| ids.get(n.checked_sub(1)?).copied()).into_iter().collect(),
        None if word.starts_with("r_") && word.len() >= 6 => ids.into_iter().filter(|id| id.starts_with(word)).collect(),
        None => Vec::new(),
    };
    match found.as_slice() {
        [id] => Ok((*id).to_owned()),
        [] => Err(none()),
        several => Err(Failure::usage(format!("`{word}` begins the ids of {} runs there: say more of it", several.len()))),
    }
}

async fn done(app: &App, remote: &Remote, word: &str, verb: &str, body: Json, words: &str) -> Result<Exit, Failure> {
    let id = find(remote, word).await?;
    let json = with_schema("done", &remote.post(&format!("/api/runs/{id}/{verb}"), &body).await?);
    app.console.document(&json, || format!("run {id} {words}\n"));
    Ok(Exit::Ok)
}

/// What became of a step; without its name those that wait for that are named.
async fn resolve(app: &App, remote: &Remote, args: &ResolveArgs) -> Result<Exit, Failure> {
    let result = super::resolve::result(args)?;
    let id = find(remote, &args.id).await?;
    let (Some(step), Some(outcome)) = (&args.step, args.outcome) else {
        let state = remote.get(&format!("/api/runs/{id}/state")).await?;
        let open = state["unknown_steps"].as_array().into_iter().flatten();
        let open: Vec<String> = open.map(|step| format!("{} ({})", text(step, "step"), text(step, "tool"))).collect();
        if open.is_empty() {
            return Err(Failure::usage(format!("run `{id}` does not wait for a resolution")));
        }
        let what = if args.step.is_some() { "what became of it?" } else { "which step?" };
        let help = format!("it waits for {}; --outcome succeeded, failed or retry", open.join(", "));
        return Err(Failure::usage(what).help(help));
    };
    let body = without_null(json!({"outcome": outcome.word(), "result": result}));
    done(app, remote, &id, &format!("steps/{step}/resolution"), body, "goes on").await
}

async fn ls(app: &App, remote: &Remote, args: &LsArgs) -> Result<Exit, Failure> {
    let listed = remote.get(&format!("/api/runs?{}", args.query())).await?;
    let rows = listed["data"].as_array().cloned().unwrap_or_default();
    let json = json!({"schema": "commedia.list/v1", "runs": rows, "next": listed["next"]});
    app.console.list(&json, &rows, || {
        let head = ["run", "scenario", "status", "seed", "events", "started"].map(str::to_owned).to_vec();
        let row = |run: &Json| {
            let number = |field: &str| run[field].to_string();
            vec![
                text(run, "run_id").into(),
                text(run, "scenario").into(),
                text(run, "status").into(),
                number("seed"),
                number("events"),
                text(run, "started_at").into(),
            ]
        };
        if rows.is_empty() { String::new() } else { columns(std::iter::once(head).chain(rows.iter().map(row)).collect()) }
    });
    if let Some(last) = listed["next"].as_str() {
        app.console.note(&format!("older ones: {} --server {}", args.next(last), remote.url()));
    }
    Ok(Exit::Ok)
}

/// What came of a run that has ended; of another one, how it stands.
async fn show(app: &App, remote: &Remote, id: &str) -> Result<Exit, Failure> {
    let run = remote.get(&format!("/api/runs/{id}")).await?;
    if run["ended_at"].is_null() {
        app.console.document(&with_schema("run", &run), || {
            format!("run {id}  {}  {}  {} events\n", text(&run, "scenario"), text(&run, "status"), run["events"])
        });
        return Ok(Exit::Ok);
    }
    let result = report::without_counts(remote.get(&format!("/api/runs/{id}/result")).await?);
    app.console.document(&result, || told(&result));
    Ok(Exit::Ok)
}

/// What came of a run, for people.
fn told(result: &Json) -> String {
    let (id, scenario, status) = (text(result, "run_id"), text(result, "scenario"), text(result, "status"));
    let mut out = format!("run {id}  {scenario}  {status}  {} events  seed {}\n", result["events"], result["seed"]);
    for (name, value) in result["metrics"].as_object().into_iter().flatten() {
        out.push_str(&format!("  {name}  {value}\n"));
    }
    for check in result["checks"].as_array().into_iter().flatten() {
        let mark = if check["passed"] == Json::Bool(true) { "✓" } else { "✗" };
        out.push_str(&format!("  {mark} {}\n", text(check, "name")));
    }
    if let Some(words) = result["result"].as_str() {
        out.push_str(&format!("{words}\n"));
    }
    out.push_str(&format!("digest {}\n", text(result, "digest")));
    out
}

async fn tail(app: &App, remote: &Remote, id: &str, from: u64, stored: bool) -> Result<Exit, Failure> {
    let mut whole = Vec::new();
    let path = format!("/api/runs/{id}/events?after={}", from.saturating_sub(1));
    let each = |event: Json| {
        if stored && !event["part"].is_null() {
            return Ok(true);
        }
        match app.console.format {
            Format::Jsonl => app.console.line(&event.to_string()),
            Format::Table => app.console.line(&format!(
                "{:>6}  {:<20} {}",
                event["seq"].to_string(),
                text(&event, "type"),
                text(&event, "agent")
            )),
            Format::Json | Format::Yaml => whole.push(event),
        }
        Ok(!app.console.gone())
    };
    remote.lines(&path, each).await?;
    if matches!(app.console.format, Format::Json | Format::Yaml) {
        app.console.document(&json!({"schema": "commedia.events/v1", "events": whole}), String::new);
    }
    Ok(Exit::Ok)
}
