//! A store and the program on it: a play in acts that between them come by every crash point, each act such that it can be
//! done again until it is done, as somebody would whose machine went down.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value as Json;

/// How often an act is begun again at most.
const ATTEMPTS: u32 = 60;
/// A high-water mark longer than this is written anew when the store is opened.
const LONG_HIGH_WATER: usize = 64 * 1024;

const BELL: &str = include_str!("../../actors/tests/stage/bell.scenario.yaml");

/// Stands still once its turns are used up, and again each time it is resumed.
const LIMITED: &str = r"
name: limited
models: {m: {use: stub}}
clock: {tick: P1D, ticks: 20}
agents: {writer: {kind: llm, model: m, instructions: Write., handles: [tick]}}
limits: {turns: 5, on_exceed: pause}
";

/// A model's steps, tools, blobs and snapshots.
fn diary() -> String {
    let filler = "a long day ".repeat(120);
    format!(
        r#"
name: diary
models: {{m: {{use: stub}}}}
clock: {{tick: P1D, ticks: 250}}
world: {{state: {{n: {{type: integer, default: 0}}}}}}
tools: {{cheer: {{kind: state, description: Cheer up, input: {{type: object, properties: {{}}}}, set: {{n: "state.n + 1"}}}}}}
agents:
  writer: {{kind: llm, model: m, instructions: "Write, day {{{{ tick }}}}.", handles: [tick], tools: [cheer]}}
  herald:
    kind: rules
    handles: [tick]
    rules: [{{when: "tick % 10 == 0", emit: [{{say: "Day {{{{ tick }}}}: {filler}"}}]}}]
limits: {{turns: 5000}}
metrics: {{n: {{value: state.n}}}}
"#
    )
}

/// A part of the play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// A diary is written to its end.
    Diary(u64),
    /// The same, and the store's writer panics at a point of its first process.
    Broken(u64, &'static str),
    /// Three small runs in one process.
    Coins,
    /// A run on a real clock is begun, and the process is terminated while it waits.
    Bell,
    /// The bell is told something.
    Tell(u64),
    /// The bell is gone on with before its time; nothing happens to it.
    Looked,
    /// So many hours have passed.
    Hours(u64),
    /// A run stands still because a limit is used up.
    Limited,
    /// It is resumed, and stands still again.
    Resumed(u64),
    /// The high-water mark has grown long; the store is opened.
    Aged,
    /// The store is copied.
    Copy(u64),
}

pub(crate) const PLAY: [Act; 25] = [
    Act::Diary(1),
    Act::Coins,
    Act::Bell,
    Act::Tell(1),
    Act::Tell(2),
    Act::Tell(3),
    Act::Looked,
    Act::Looked,
    Act::Looked,
    Act::Hours(1),
    Act::Hours(2),
    Act::Hours(3),
    Act::Broken(2, "group.apply.before:4"),
    Act::Broken(3, "group.sync.after:5"),
    Act::Broken(4, "high-water.written:6"),
    Act::Limited,
    Act::Resumed(1),
    Act::Resumed(2),
    Act::Resumed(3),
    Act::Aged,
    Act::Aged,
    Act::Aged,
    Act::Copy(1),
    Act::Copy(2),
    Act::Copy(3),
];

impl Act {
    /// Whether a point is one that this act is in the play for: there it is looked for first.
    pub(crate) fn is_for(self, point: &str) -> bool {
        let begins = |words: &[&str]| words.iter().any(|word| point.starts_with(word));
        match self {
            Act::Tell(_) => begins(&["command.", "run.wake", "run.passivate"]),
            Act::Looked => begins(&["run.relist"]),
            Act::Hours(_) => begins(&["run.recover"]),
            Act::Broken(..) => begins(&["store.reopen"]),
            Act::Resumed(_) => begins(&["run.unpause"]),
            Act::Aged => begins(&["high-water.compact"]),
            Act::Copy(_) => begins(&["store.copy"]),
            Act::Coins => begins(&["run.create", "run.end"]),
            Act::Diary(_) | Act::Bell | Act::Limited => false,
        }
    }
}

/// What a process came to.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    /// Whether the process died at an armed point.
    pub(crate) fn crashed(&self) -> bool {
        self.signal == Some(6) && self.err.contains("crash point ")
    }

    fn json(&self) -> Json {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}\n{}\n{}", self.out, self.err))
    }
}

/// Acknowledged events: run, seq, type.
pub(crate) type Told = BTreeMap<(String, u64), String>;

/// What a process is to do.
struct Job {
    words: Vec<String>,
    hours: u64,
    /// Terminated once it has told so much.
    terminate: bool,
    panic_at: Option<&'static str>,
}

fn job(words: &[&str]) -> Job {
    Job { words: words.iter().map(|w| (*w).to_owned()).collect(), hours: 0, terminate: false, panic_at: None }
}

/// A folder with a store, scenarios and copies.
pub(crate) struct Stage {
    pub(crate) folder: PathBuf,
    engine: &'static str,
}

impl Stage {
    pub(crate) fn new(folder: &Path, engine: &'static str) -> Stage {
        std::fs::create_dir_all(folder).expect("created");
        std::fs::write(folder.join("bell.scenario.yaml"), BELL).expect("written");
        std::fs::write(folder.join("limited.scenario.yaml"), LIMITED).expect("written");
        std::fs::write(folder.join("diary.scenario.yaml"), diary()).expect("written");
        Stage { folder: folder.to_path_buf(), engine }
    }

    /// The same stage, elsewhere.
    pub(crate) fn copied(&self, folder: &Path) -> Stage {
        copy_folder(&self.folder, folder);
        Stage { folder: folder.to_path_buf(), engine: self.engine }
    }

    fn url(&self, name: &str) -> String {
        format!("{}://{}", self.engine, self.folder.join(name).display())
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_commedia"));
        command.args(["--store", &self.url("store")]).args(words).current_dir(&self.folder).env_clear();
        command.env("HOME", &self.folder).env("COMMEDIA_RUNTIME__PASSIVATE_AFTER", "0");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// What a process says that is let alone.
    pub(crate) fn ask(&self, words: &[&str]) -> Json {
        let output = self.command(words).args(["--output", "json"]).output().expect("starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said { code: output.status.code(), signal: None, out: text(&output.stdout), err: text(&output.stderr) }.json()
    }

    /// The rows of a scenario's runs.
    pub(crate) fn runs(&self, scenario: &str) -> Vec<Json> {
        let all = self.ask(&["ls"])["runs"].as_array().cloned().unwrap_or_default();
        all.into_iter().filter(|run| run["scenario"] == scenario).collect()
    }

    /// A run's stored events.
    pub(crate) fn log(&self, id: &str) -> Vec<Json> {
        self.ask(&["tail", id, "--stored"])["events"].as_array().cloned().unwrap_or_default()
    }

    /// Begins an act, and again, until it is done. A process dies at the first of the points, the next that comes by the
    /// second at that one, and so on; those where none did are left.
    pub(crate) fn perform(&self, act: Act, points: &mut VecDeque<String>, told: &mut Told) {
        // Such a process waits for an hour: it is only begun where it dies before, at what it does once.
        let dies = |point: &String| point.starts_with("run.relist") && point.ends_with(":1");
        if act == Act::Looked && !points.front().is_some_and(dies) {
            return;
        }
        if act == Act::Aged {
            self.grow_high_water();
        }
        for attempt in 0..ATTEMPTS {
            let Some(job) = self.left_of(act, attempt) else { return };
            let said = self.play(&job, points.front().map(String::as_str), told);
            if said.crashed() {
                points.pop_front();
            } else {
                let fine = matches!(said.code, Some(0 | 1 | 5 | 8 | 130));
                assert!(fine, "{act:?}, {points:?}: {:?}, signal {:?} {}\n{}", said.code, said.signal, said.out, said.err);
            }
        }
        panic!("{act:?} is not done after {ATTEMPTS} attempts");
    }

    /// What is left to do of an act.
    fn left_of(&self, act: Act, attempt: u32) -> Option<Job> {
        let status = |run: &Json| run["status"].as_str().unwrap_or_default().to_owned();
        let id = |run: &Json| run["run_id"].as_str().unwrap_or_default().to_owned();
        let followed = ["--progress", "json"];
        match act {
            Act::Diary(seed) | Act::Broken(seed, _) => {
                let run = self.runs("diary").into_iter().find(|run| run["seed"] == seed);
                let panic_at = match act {
                    Act::Broken(_, at) if attempt == 0 => Some(at),
                    _ => None,
                };
                let words = match run {
                    None => job(&["run", "diary.scenario.yaml", "--model", "stub", "--seed", &seed.to_string()]),
                    Some(run) if status(&run) == "completed" => return None,
                    Some(run) => job(&["resume", &id(&run)]),
                };
                Some(Job { panic_at, words: [words.words, followed.map(str::to_owned).to_vec()].concat(), ..job(&[]) })
            }
            Act::Limited => match self.runs("limited").first() {
                None => Some(job(&["run", "limited.scenario.yaml", "--model", "stub", "--progress", "json"])),
                Some(run) if status(run) == "paused" => None,
                Some(run) => Some(job(&["resume", &id(run), "--progress", "json"])),
            },
            Act::Resumed(times) => {
                let run = self.runs("limited").into_iter().next()?;
                let resumed = self.log(&id(&run)).iter().filter(|event| event["type"] == "run.resumed").count() as u64;
                let done = resumed >= times && status(&run) == "paused";
                (!done).then(|| job(&["resume", &id(&run), "--progress", "json"]))
            }
            Act::Coins => {
                let runs = self.runs("coin-shop");
                if runs.is_empty() {
                    return Some(job(&["run", "coin-shop", "--seed", "11", "--runs", "3", "--progress", "json"]));
                }
                if let Some(run) = runs.iter().find(|run| status(run) != "completed") {
                    return Some(job(&["resume", &id(run), "--progress", "json"]));
                }
                let missing = (11..14).find(|seed| !runs.iter().any(|run| run["seed"] == *seed))?;
                Some(job(&["run", "coin-shop", "--seed", &missing.to_string(), "--progress", "json"]))
            }
            Act::Bell => match self.runs("bell").first() {
                None => Some(Job { terminate: true, ..job(&["run", "bell.scenario.yaml", "--progress", "json"]) }),
                Some(run) if status(run) == "waiting" => None,
                Some(_) => Some(job(&["resume", "--progress", "json"])),
            },
            Act::Tell(n) => {
                let bell = id(self.runs("bell").first()?);
                let word = format!("word {n}");
                let heard = self.log(&bell).iter().any(|event| event["data"]["text"] == word.as_str());
                (!heard).then(|| job(&["tell", &bell, "bell", &word, "--progress", "json"]))
            }
            Act::Looked => {
                let bell = id(self.runs("bell").first()?);
                (attempt == 0).then(|| job(&["resume", &bell, "--progress", "json"]))
            }
            Act::Hours(hours) => {
                let run = self.runs("bell").into_iter().next()?;
                let rung = self.log(&id(&run)).iter().filter(|event| event["type"] == "trigger.fired").count() as u64;
                let done = rung >= hours && matches!(status(&run).as_str(), "waiting" | "completed");
                (!done).then(|| Job { hours, ..job(&["resume", "--progress", "json"]) })
            }
            Act::Aged => (attempt == 0 || self.high_water().len() > LONG_HIGH_WATER).then(|| job(&["ls"])),
            Act::Copy(n) => {
                let copy = format!("copy-{n}");
                let there = self.folder.join(&copy).join("FORMAT").exists();
                (!there).then(|| job(&["store", "copy", &self.url("store"), &self.url(&copy)]))
            }
        }
    }

    fn play(&self, job: &Job, arm: Option<&str>, told: &mut Told) -> Said {
        let words: Vec<&str> = job.words.iter().map(String::as_str).collect();
        let mut command = self.command(&words);
        if job.hours > 0 {
            command.env("COMMEDIA_CLOCK_OFFSET_S", (job.hours * 3600 + 60).to_string());
        }
        command.envs(arm.map(|point| ("COMMEDIA_CRASH_AT", point)));
        command.envs(job.panic_at.map(|point| ("COMMEDIA_PANIC_AT", point)));
        let mut child = command.spawn().expect("starts");
        let mut out = child.stdout.take().expect("piped");
        let reading = std::thread::spawn(move || std::io::read_to_string(&mut out).unwrap_or_default());
        let (mut err, mut events) = (String::new(), 0);
        for line in BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok) {
            if let Ok(event) = serde_json::from_str::<Json>(&line) {
                let (id, kind) = (&event["run_id"], &event["type"]);
                told.extend(event["seq"].as_u64().map(|seq| ((text(id), seq), text(kind))));
                events += 1;
                if job.terminate && events == 2 {
                    signal(child.id(), "TERM");
                }
            }
            err += &line;
            err.push('\n');
        }
        let status = child.wait().expect("is reaped");
        Said { code: status.code(), signal: status.signal(), out: reading.join().expect("is read"), err }
    }

    /// The lines of the high-water mark; behind them stand zeros.
    fn high_water(&self) -> Vec<u8> {
        let whole = std::fs::read(self.folder.join("store/high-water")).expect("is read");
        whole.into_iter().take_while(|byte| *byte != 0).collect()
    }

    /// The same lines over and over, as a long life would leave them: the last of each stream counts.
    fn grow_high_water(&self) {
        let lines = self.high_water();
        let long = lines.repeat(2 * LONG_HIGH_WATER / lines.len().max(1) + 1);
        std::fs::write(self.folder.join("store/high-water"), long).expect("written");
    }
}

pub(crate) fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

/// Sends a signal by the system's own command.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill is there");
    assert!(sent.success());
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("created");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
