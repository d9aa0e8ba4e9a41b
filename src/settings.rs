//! Settings of the process: the embedded default ← a file ← the environment ← flags, checked once, here and nowhere else.

pub mod models;
pub mod rates;
pub mod server;
mod shown;
pub mod telemetry;

pub use self::shown::Shown;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use commedia_actors::budget::DayLimits;
use commedia_actors::clock::WallClock;
use commedia_actors::prices::Prices;
use commedia_actors::runtime::Keep;
use commedia_actors::scope::WorkspaceId;
use commedia_actors::store::{self, engine::Durability};
use commedia_actors::tool::address::Allowed;
use commedia_actors::tool::mcp::McpOptions;
use commedia_domain::run::budget::bound_micro_usd;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use crate::failure::Failure;

/// Every key with its meaning and its default.
pub const REFERENCE: &str = include_str!("../config/commedia.toml");

/// What models cost, as far as it is known.
const PRICES: &str = include_str!("../config/prices.toml");

/// What the flags of a command say.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--data`.
    pub data: Option<PathBuf>,
    /// `--memory`.
    pub memory: bool,
    /// `--store`.
    pub store: Option<String>,
    /// `--durability`.
    pub durability: Option<Durability>,
    /// `--workers`.
    pub workers: Option<usize>,
    /// `--workspace`.
    pub workspace: Option<WorkspaceId>,
    /// `--server`.
    pub server: Option<String>,
    /// How often `-v`.
    pub verbose: u8,
}

/// The settings of this process.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder.
    pub data: PathBuf,
    /// The workspace that commands on it work in.
    pub workspace: WorkspaceId,
    /// The server that commands act on instead.
    pub server: Option<String>,
    /// The store: `memory:`, `sled://DIR` or `fjall://DIR`.
    pub store: String,
    /// What an acknowledgement survives.
    pub durability: Durability,
    /// Worker threads, at least 1.
    pub workers: usize,
    /// Live runs at most.
    pub max_live_runs: usize,
    /// New runs that wait for a place at most.
    pub max_queued_runs: usize,
    /// New runs are refused while the process takes more memory, in bytes.
    pub max_memory_bytes: Option<u64>,
    /// A run that waits for its timer is passivated after so long; `None`: only where its place is wanted.
    pub passivate_after: Option<Duration>,
    /// How long a process that was asked to stop waits for live runs and for the store.
    pub drain: Duration,
    /// Which ended runs are kept.
    pub keep_ended: Keep,
    /// What tools of kind `http` may reach besides public addresses.
    pub http_allowed: Allowed,
    /// Where models are, with their limits and the places of their keys.
    pub models: models::ModelSettings,
    /// What models cost.
    pub prices: Prices,
    /// What the workspace's runs may spend on models together, a day.
    pub day_limits: DayLimits,
    /// What tools of kind `mcp` may start.
    pub mcp: McpOptions,
    /// How the front-end is served.
    pub http: server::ServerSettings,
    /// Where traces of runs go.
    pub telemetry: telemetry::TelemetrySettings,
    /// What is logged.
    pub log: String,
    /// The wall clock.
    pub clock: WallClock,
}

/// The variables of this process that a started MCP server gets: what any program needs, and no key.
const INHERITED: [&str; 9] = ["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ"];

/// One layer: what it does not say is the next one's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Layer {
    data: Option<PathBuf>,
    store: StoreLayer,
    runtime: RuntimeLayer,
    tools: ToolsLayer,
    models: models::ModelsLayer,
    budgets: BudgetsLayer,
    prices: BTreeMap<String, PriceLayer>,
    http: server::ServerLayer,
    telemetry: telemetry::TelemetryLayer,
    log: LogLayer,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct BudgetsLayer {
    workspace_per_day_usd: Option<f64>,
    workspace_per_day_tokens: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PriceLayer {
    input: f64,
    output: f64,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct StoreLayer {
    url: Option<String>,
    durability: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuntimeLayer {
    workers: Option<usize>,
    max_live_runs: Option<usize>,
    max_queued_runs: Option<usize>,
    max_memory: Option<String>,
    passivate_after: Option<String>,
    drain: Option<String>,
    keep_ended: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ToolsLayer {
    http: HttpToolsLayer,
    mcp: McpLayer,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct McpLayer {
    programs: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpToolsLayer {
    allow: Option<Vec<String>>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LogLayer {
    filter: Option<String>,
}

/// The variables of the environment, as a function so that tests need none.
type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

const VARIABLES: [&str; 29] = [
    "COMMEDIA_STORE__URL",
    "COMMEDIA_STORE__DURABILITY",
    "COMMEDIA_RUNTIME__WORKERS",
    "COMMEDIA_RUNTIME__MAX_LIVE_RUNS",
    "COMMEDIA_RUNTIME__MAX_QUEUED_RUNS",
    "COMMEDIA_RUNTIME__MAX_MEMORY",
    "COMMEDIA_RUNTIME__PASSIVATE_AFTER",
    "COMMEDIA_RUNTIME__DRAIN",
    "COMMEDIA_RUNTIME__KEEP_ENDED",
    "COMMEDIA_TOOLS__HTTP__ALLOW",
    "COMMEDIA_TOOLS__MCP__PROGRAMS",
    "COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_USD",
    "COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_TOKENS",
    "COMMEDIA_HTTP__BIND",
    "COMMEDIA_HTTP__MAX_CONNECTIONS",
    "COMMEDIA_HTTP__MAX_BODY",
    "COMMEDIA_HTTP__MAX_BUNDLE",
    "COMMEDIA_HTTP__HEAD_TIMEOUT",
    "COMMEDIA_HTTP__BODY_TIMEOUT",
    "COMMEDIA_HTTP__RATES__ADDRESS",
    "COMMEDIA_HTTP__RATES__PRINCIPAL",
    "COMMEDIA_HTTP__RATES__WORKSPACE",
    "COMMEDIA_HTTP__RATES__LOG_IN",
    "COMMEDIA_HTTP__TLS__CERTIFICATE",
    "COMMEDIA_HTTP__TLS__KEY",
    "COMMEDIA_HTTP__CORS__ORIGINS",
    "COMMEDIA_TELEMETRY__OTLP_ENDPOINT",
    "COMMEDIA_TELEMETRY__BODIES",
    "COMMEDIA_LOG__FILTER",
];

impl Settings {
    /// Settings of this process.
    pub fn read(flags: &Flags) -> Result<Settings, Failure> {
        let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let unknown = std::env::vars_os()
            .filter_map(|(name, _)| name.into_string().ok())
            .find(|n| n.starts_with("COMMEDIA_") && n.contains("__") && !VARIABLES.contains(&n.as_str()) && !models::is_known(n));
        if let Some(name) = unknown {
            return Err(Failure::usage(format!("the environment variable `{name}` means nothing"))
                .help(format!("known are {}, and COMMEDIA_MODELS__PROVIDER__KEY", VARIABLES.join(", "))));
        }
        Settings::layered(flags, &env, &file(&env)?)
    }

    fn layered(flags: &Flags, env: Env<'_>, file: &Layer) -> Result<Settings, Failure> {
        let reference: Layer = toml::from_str(REFERENCE).expect("the embedded reference is read by a test");
        let number = |name: &str| {
            let parse = |v: String| v.parse().map_err(|_| Failure::usage(format!("{name} must be a whole number, and is `{v}`")));
            env(name).map(parse).transpose()
        };
        let workers = match number("COMMEDIA_RUNTIME__WORKERS")? {
            _ if flags.workers.is_some() => flags.workers,
            from_env => from_env.or(file.runtime.workers).or(reference.runtime.workers),
        };
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        let durability = match flags.durability {
            Some(durability) => durability,
            None => {
                let word = env("COMMEDIA_STORE__DURABILITY").or(file.store.durability.clone()).or(reference.store.durability);
                durability(&word.unwrap_or_default())?
            }
        };
        let live = number("COMMEDIA_RUNTIME__MAX_LIVE_RUNS")?.or(file.runtime.max_live_runs).or(reference.runtime.max_live_runs);
        let queued = number("COMMEDIA_RUNTIME__MAX_QUEUED_RUNS")?;
        let queued = queued.or(file.runtime.max_queued_runs).or(reference.runtime.max_queued_runs);
        let memory = env("COMMEDIA_RUNTIME__MAX_MEMORY").or(file.runtime.max_memory.clone()).or(reference.runtime.max_memory);
        let max_memory_bytes = max_memory(&memory.unwrap_or_default())?;
        let runtime = (file.runtime.passivate_after.clone(), reference.runtime.passivate_after);
        let after = env("COMMEDIA_RUNTIME__PASSIVATE_AFTER").or(runtime.0).or(runtime.1);
        let passivate_after = passivate_after(&after.unwrap_or_default())?;
        let drain = env("COMMEDIA_RUNTIME__DRAIN").or(file.runtime.drain.clone()).or(reference.runtime.drain);
        let drain = drain_for(&drain.unwrap_or_default())?;
        let kept = (file.runtime.keep_ended.clone(), reference.runtime.keep_ended);
        let kept = env("COMMEDIA_RUNTIME__KEEP_ENDED").or(kept.0).or(kept.1);
        let keep_ended = keep(&kept.unwrap_or_default()).map_err(|e| Failure::usage(format!("runtime.keep_ended {e}")))?;
        let listed = |text: String| text.split(',').map(str::to_owned).collect::<Vec<_>>();
        let allow = env("COMMEDIA_TOOLS__HTTP__ALLOW").map(listed).or(file.tools.http.allow.clone()).unwrap_or_default();
        let http_allowed = Allowed::parse(&allow).map_err(|why| Failure::usage(format!("tools.http.allow: {why}")))?;
        let (prices, day_limits) = (prices(file)?, day_limits(env, file)?);
        let programs = env("COMMEDIA_TOOLS__MCP__PROGRAMS").map(listed).or(file.tools.mcp.programs.clone()).unwrap_or_default();
        let programs = programs.iter().map(|p| p.trim().to_owned()).filter(|p| !p.is_empty()).collect();
        let inherited = INHERITED.iter().filter_map(|name| Some(((*name).to_owned(), env(name)?))).collect();
        let (data, store) = places(flags, env, file)?;
        let word = match flags.verbose {
            0 => env("COMMEDIA_LOG__FILTER").or(file.log.filter.clone()).or(reference.log.filter).unwrap_or_default(),
            1 => "info".into(),
            2 => "debug".into(),
            _ => "trace".into(),
        };
        // A folder that is named goes before a server of the environment.
        let names_a_folder = flags.data.is_some() || flags.store.is_some() || flags.memory;
        let workspace = match (&flags.workspace, env("COMMEDIA_WORKSPACE")) {
            (Some(workspace), _) => workspace.clone(),
            (None, Some(text)) => text.parse().map_err(|e| Failure::usage(format!("COMMEDIA_WORKSPACE: {e}")))?,
            (None, None) => WorkspaceId::local(),
        };
        let offset_s = match env("COMMEDIA_CLOCK_OFFSET_S") {
            Some(text) => text
                .parse()
                .map_err(|_| Failure::usage(format!("COMMEDIA_CLOCK_OFFSET_S must be whole seconds, and is `{text}`")))?,
            None => 0,
        };
        Ok(Settings {
            data,
            store,
            workspace,
            server: flags.server.clone().or_else(|| env("COMMEDIA_SERVER").filter(|_| !names_a_folder)),
            durability,
            workers: workers.filter(|n| *n > 0).unwrap_or_else(cores).min(1024),
            max_live_runs: live.unwrap_or(1024).max(1),
            max_queued_runs: queued.unwrap_or(10_000),
            max_memory_bytes,
            passivate_after,
            drain,
            keep_ended,
            http_allowed,
            models: models::layered(env, &file.models)?,
            prices,
            day_limits,
            mcp: McpOptions { programs, environment: inherited },
            http: server::layered(env, &file.http, &reference.http)?,
            telemetry: telemetry::layered(env, &file.telemetry)?,
            log: word,
            clock: WallClock::offset(offset_s),
        })
    }

    /// Each setting with its value and where that comes from.
    pub fn shown(flags: &Flags) -> Result<Vec<Shown>, Failure> {
        let env = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let file = file_text(&env)?;
        Ok(shown::shown(flags, &env, file.as_ref().map(|(name, text)| (name.as_str(), text.as_str()))))
    }

    /// The folder of the store, where it has one.
    pub fn store_dir(&self) -> Option<&Path> {
        store::place(&self.store).map(|(_, dir)| dir)
    }

    /// Whether nothing outlives the process.
    pub fn in_memory(&self) -> bool {
        self.store == "memory:"
    }
}

/// What models cost: the file that comes with the program, and what the settings say of it.
fn prices(file: &Layer) -> Result<Prices, Failure> {
    let mut all: BTreeMap<String, PriceLayer> = toml::from_str(PRICES).expect("the embedded prices are read by a test");
    all.extend(file.prices.iter().map(|(name, price)| (name.clone(), *price)));
    let is_price = |usd: f64| usd.is_finite() && usd >= 0.0;
    for (name, price) in &all {
        if name.split_once(':').is_none_or(|(provider, model)| provider.is_empty() || model.is_empty()) {
            return Err(Failure::usage(format!("`prices`: `{name}` names no model")).help("such as \"openai:gpt-4o-mini\""));
        }
        if !is_price(price.input) || !is_price(price.output) {
            return Err(Failure::usage(format!("`prices.\"{name}\"`: a price is USD per million tokens, 0 or more")));
        }
    }
    Ok(Prices::new(all.into_iter().map(|(name, price)| (name, (price.input, price.output)))))
}

/// What the workspace's runs may spend together a day; 0 is no bound.
fn day_limits(env: Env<'_>, file: &Layer) -> Result<DayLimits, Failure> {
    let wrong = |name: &str, what: &str, text: &str| Failure::usage(format!("{name} must be {what}, 0 or more, and is `{text}`"));
    let (usd, tokens) = ("COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_USD", "COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_TOKENS");
    let money = match env(usd) {
        Some(text) => Some(text.parse::<f64>().map_err(|_| wrong(usd, "an amount of USD", &text))?),
        None => file.budgets.workspace_per_day_usd,
    };
    if let Some(money) = money.filter(|m| !m.is_finite() || *m < 0.0) {
        return Err(wrong("budgets.workspace_per_day_usd", "an amount of USD", &money.to_string()));
    }
    let count = match env(tokens) {
        Some(text) => Some(text.parse::<u64>().map_err(|_| wrong(tokens, "a whole number of tokens", &text))?),
        None => file.budgets.workspace_per_day_tokens,
    };
    Ok(DayLimits {
        tokens: count.filter(|n| *n > 0),
        micro_usd: money.filter(|usd| *usd > 0.0).map(|usd| bound_micro_usd(usd).max(1)),
    })
}

/// A ceiling such as `512 MiB`, `4 GiB` or `none`.
fn max_memory(text: &str) -> Result<Option<u64>, Failure> {
    if matches!(text, "" | "none") { Ok(None) } else { size("runtime.max_memory", text).map(Some) }
}

/// A size such as `2 MiB`.
fn size(name: &str, text: &str) -> Result<u64, Failure> {
    let unit = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let size = unit.iter().find_map(|(unit, shift)| text.strip_suffix(unit).map(|number| (number.trim(), *shift)));
    let bytes = size.and_then(|(number, shift)| number.parse::<u64>().ok()?.checked_shl(shift)).filter(|bytes| *bytes > 0);
    let wrong = || Failure::usage(format!("`{name}` is a size, and `{text}` is none"));
    bytes.ok_or_else(|| wrong().help("such as `512 MiB` or `4 GiB`"))
}

/// The data folder and the store. On each level the more exact word wins; a higher level wins over both of a lower one.
fn places(flags: &Flags, env: Env<'_>, file: &Layer) -> Result<(PathBuf, String), Failure> {
    let levels = [
        (flags.store.clone(), flags.data.clone()),
        (env("COMMEDIA_STORE__URL"), env("COMMEDIA_DATA").map(PathBuf::from)),
        (file.store.url.clone(), file.data.clone()),
    ];
    let data = levels.iter().find_map(|(_, data)| data.clone());
    let fallback = || {
        let xdg = env("XDG_DATA_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
        xdg.or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".local/share"))).map(|base| base.join("commedia"))
    };
    let chosen = levels.iter().find(|(url, data)| url.is_some() || data.is_some());
    let in_folder = |data: &Path| format!("sled://{}", data.join("store").display());
    let store = match chosen {
        _ if flags.memory => "memory:".to_owned(),
        Some((Some(url), _)) => url.clone(),
        Some((None, Some(data))) => in_folder(data),
        _ => String::new(),
    };
    let data = match data.or_else(fallback) {
        Some(data) => data,
        None if store.is_empty() => {
            return Err(Failure::usage("there is no place for data: neither HOME nor XDG_DATA_HOME is set")
                .help("name one with --data DIR, or use --memory"));
        }
        None => PathBuf::from("."),
    };
    let store = if store.is_empty() { in_folder(&data) } else { store };
    Ok((data, store))
}

fn passivate_after(word: &str) -> Result<Option<Duration>, Failure> {
    match word {
        "never" => Ok(None),
        "0" | "0s" => Ok(Some(Duration::ZERO)),
        span => match commedia_domain::scenario::time::wall(span) {
            Ok(ms) => Ok(Some(Duration::from_millis(ms))),
            Err(why) => Err(Failure::usage(format!(
                "runtime.passivate_after is a span such as `10s`, `0` or `never`, not `{span}`: {why}"
            ))),
        },
    }
}

fn drain_for(word: &str) -> Result<Duration, Failure> {
    let span = commedia_domain::scenario::time::wall(word).map(Duration::from_millis);
    span.map_err(|why| Failure::usage(format!("runtime.drain is a span such as `30s`, not `{word}`: {why}")))
}

/// Which ended runs are kept: `all`, so many of the newest, or those of a span of time.
pub fn keep(word: &str) -> Result<Keep, String> {
    match word {
        "all" => Ok(Keep::All),
        count if !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit()) => {
            count.parse().map(Keep::Newest).map_err(|_| format!("is a number that can be counted, not `{count}`"))
        }
        span => match commedia_domain::scenario::time::wall(span) {
            Ok(ms) => Ok(Keep::For(Duration::from_millis(ms))),
            Err(why) => Err(format!("is `all`, a number of runs such as `1000`, or a span such as `24h`, not `{span}`: {why}")),
        },
    }
}

fn durability(word: &str) -> Result<Durability, Failure> {
    match word {
        "fsync" => Ok(Durability::Fsync),
        "process" => Ok(Durability::Process),
        other => Err(Failure::usage(format!("durability is `fsync` or `process`, not `{other}`"))),
    }
}

/// The word of a durability.
pub fn durability_word(durability: Durability) -> &'static str {
    match durability {
        Durability::Fsync => "fsync",
        Durability::Process => "process",
    }
}

fn file(env: Env<'_>) -> Result<Layer, Failure> {
    file_text(env)?.map_or_else(|| Ok(Layer::default()), |(name, text)| layer(&name, &text))
}

/// The file that holds, if there is one: its name and its text.
fn file_text(env: Env<'_>) -> Result<Option<(String, String)>, Failure> {
    let config = env("XDG_CONFIG_HOME").map(PathBuf::from).filter(|p| p.is_absolute());
    let config = config.or_else(|| env("HOME").map(|home| PathBuf::from(home).join(".config")));
    let paths = [Some(PathBuf::from("commedia.toml")), config.map(|dir| dir.join("commedia/config.toml"))];
    for path in paths.into_iter().flatten() {
        match crate::source::read_bounded(&path) {
            Ok(bytes) => return Ok(Some((path.display().to_string(), String::from_utf8_lossy(&bytes).into_owned()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => {
                let why = crate::source::reason(&e);
                return Err(Failure::invalid(format!("`{}` cannot be read: {why}", path.display())));
            }
        }
    }
    Ok(None)
}

fn layer(name: &str, text: &str) -> Result<Layer, Failure> {
    toml::from_str(text).map_err(|e| {
        let line = e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        Failure::invalid(format!("{name}:{line}: {}", e.message().lines().next().unwrap_or("it cannot be read")))
            .help("`commedia schema config` lists the keys")
    })
}

/// The JSON Schema of `commedia.toml`.
pub fn json_schema() -> Json {
    let section = |about: &str, properties: Json| json!({"type": "object", "description": about, "additionalProperties": false, "properties": properties});
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "/schema/config/v1.json",
        "title": "commedia.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "data": {"type": "string", "description": "The data folder. Default: $XDG_DATA_HOME/commedia"},
            "store": section("Where runs are kept", json!({
                "url": {"type": "string", "pattern": "^(memory:|(sled|fjall)://.+)$", "description": "sled://DIR, fjall://DIR or memory:. Default: sled://<data>/store"},
                "durability": {"enum": ["fsync", "process"], "default": "fsync", "description": "What an acknowledged event survives"},
            })),
            "runtime": section("How runs are worked on", json!({
                "workers": {"type": "integer", "minimum": 0, "maximum": 1024, "default": 0, "description": "Threads; 0: one for each core"},
                "max_live_runs": {"type": "integer", "minimum": 1, "default": 1024, "description": "Runs that are live at once"},
                "max_queued_runs": {"type": "integer", "minimum": 0, "default": 10000, "description": "New runs that wait for a place; one more is refused"},
                "max_memory": {"type": "string", "default": "none", "description": "New runs are refused while the process takes more memory, such as 4 GiB; none: however much it takes"},
                "passivate_after": {"type": "string", "default": "10s", "description": "A run that waits for its timer is put aside after so long; 0: at once; never: only where its place is wanted"},
                "drain": {"type": "string", "default": "30s", "description": "How long a process that was asked to stop waits for live runs and for the store"},
                "keep_ended": {"type": "string", "default": "all", "description": "Which ended runs are kept: all, so many of the newest, or those of a span such as 24h; the others are deleted"},
            })),
            "tools": section("What tools may do outside the process", json!({
                "http": section("Tools of kind `http`", json!({
                    "allow": {"type": "array", "items": {"type": "string"}, "default": [], "description": "Hosts, addresses and CIDR ranges that may be reached though they are not on the public network"},
                })),
                "mcp": section("Tools of kind `mcp`", json!({
                    "programs": {"type": "array", "items": {"type": "string"}, "default": [], "description": "Programs that may be started as servers, as scenarios write them; *: any"},
                })),
            })),
            "models": section("Where models are; the same keys for each provider", models::json_schema()),
            "budgets": section("What runs may spend on models together", json!({
                "workspace_per_day_usd": {"type": "number", "minimum": 0, "default": 0, "description": "USD a day (UTC); 0: no bound"},
                "workspace_per_day_tokens": {"type": "integer", "minimum": 0, "default": 0, "description": "Tokens a day (UTC); 0: no bound"},
            })),
            "prices": {"type": "object", "description": "What models cost, by provider:model; provider:* for all that are not named", "additionalProperties": {
                "type": "object", "additionalProperties": false, "required": ["input", "output"],
                "properties": {
                    "input": {"type": "number", "minimum": 0, "description": "USD per million tokens read"},
                    "output": {"type": "number", "minimum": 0, "description": "USD per million tokens answered"},
                },
            }},
            "http": section("How the front-end is served", server::json_schema()),
            "telemetry": section("Where traces of runs go", telemetry::json_schema()),
            "log": section("What is told on standard error", json!({
                "filter": {"type": "string", "default": "warn", "description": "In the syntax of tracing's EnvFilter"},
            })),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(flags: &Flags, env: &[(&str, &str)], file: &str) -> Result<Settings, Failure> {
        let find = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::layered(flags, &find, &layer("commedia.toml", file)?)
    }

    #[test]
    fn a_flag_goes_before_the_environment_before_the_file() {
        let data = |dir: &str| Flags { data: Some(dir.into()), ..Flags::default() };
        let check = |flags: &Flags, env: &[(&str, &str)], file: &str, expect: &str| {
            let found = settings(flags, env, file).expect("settings");
            assert_eq!(found.store, expect, "{flags:?} {env:?} {file}");
        };
        let none = Flags::default();
        check(&none, &[("HOME", "/h")], "", "sled:///h/.local/share/commedia/store");
        check(&none, &[("HOME", "/h"), ("XDG_DATA_HOME", "/x")], "", "sled:///x/commedia/store");
        check(&none, &[("HOME", "/h")], "data = '/f'", "sled:///f/store");
        check(&none, &[("COMMEDIA_DATA", "/e")], "data = '/f'\n[store]\nurl = 'memory:'", "sled:///e/store");
        check(&none, &[("COMMEDIA_DATA", "/e"), ("COMMEDIA_STORE__URL", "sled:///u")], "", "sled:///u");
        check(&data("/a"), &[("COMMEDIA_STORE__URL", "sled:///u")], "", "sled:///a/store");
        check(&Flags { store: Some("sled:///s".into()), ..data("/a") }, &[], "", "sled:///s");
        check(&Flags { memory: true, ..none.clone() }, &[("COMMEDIA_DATA", "/e")], "", "memory:");
    }

    #[test]
    fn other_settings_come_in_the_same_order() {
        let home = ("HOME", "/h");
        let file = "[store]\ndurability = 'process'\n[runtime]\nworkers = 3";
        let found = settings(&Flags::default(), &[home, ("COMMEDIA_RUNTIME__WORKERS", "5")], file).expect("settings");
        assert_eq!(
            (found.durability, found.workers, found.max_live_runs, found.log.as_str()),
            (Durability::Process, 5, 1024, "warn")
        );
        let flags = Flags { workers: Some(2), durability: Some(Durability::Fsync), verbose: 2, ..Flags::default() };
        let found = settings(&flags, &[home, ("COMMEDIA_CLOCK_OFFSET_S", "-60")], file).expect("settings");
        assert_eq!((found.durability, found.workers, found.log.as_str()), (Durability::Fsync, 2, "debug"));
        assert_eq!(found.clock.offset_s, -60);
        assert_eq!((found.passivate_after, found.drain), (Some(Duration::from_secs(10)), Duration::from_secs(30)));
        let short = settings(&Flags::default(), &[home, ("COMMEDIA_RUNTIME__DRAIN", "250ms")], "[runtime]\ndrain = '9s'");
        assert_eq!(short.expect("settings").drain, Duration::from_millis(250));
        assert_eq!((found.passivate_after, found.keep_ended), (Some(Duration::from_secs(10)), Keep::All));
        for (word, expect) in [("all", Keep::All), ("1000", Keep::Newest(1000)), ("24h", Keep::For(Duration::from_secs(86_400)))]
        {
            let variable = ("COMMEDIA_RUNTIME__KEEP_ENDED", word);
            assert_eq!(settings(&Flags::default(), &[home, variable], "").expect("settings").keep_ended, expect);
        }
        assert_eq!((found.prices.of("ollama", "any"), found.day_limits), (Some((0.0, 0.0)), DayLimits::default()));
        let day = ("COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_USD", "1.5");
        let priced = "[budgets]\nworkspace_per_day_usd = 9.0\nworkspace_per_day_tokens = 7\n[prices]\n\"ollama:big\" = {input = 1.0, output = 2.0}";
        let spends = settings(&Flags::default(), &[home, day], priced).expect("settings");
        assert_eq!(spends.day_limits, DayLimits { tokens: Some(7), micro_usd: Some(1_500_000) });
        assert_eq!((spends.prices.of("ollama", "big"), spends.prices.of("ollama", "x")), (Some((1.0, 2.0)), Some((0.0, 0.0))));
        assert_eq!(found.http_allowed, Allowed::default());
        let allow = ("COMMEDIA_TOOLS__HTTP__ALLOW", "a.internal, 10.0.0.0/8");
        let found = settings(&Flags::default(), &[home, allow], "[tools.http]\nallow = ['x']").expect("settings");
        assert_eq!(Ok(found.http_allowed), Allowed::parse(&["a.internal", "10.0.0.0/8"]));
        for (word, expect) in [("0", Some(Duration::ZERO)), ("never", None), ("2m", Some(Duration::from_secs(120)))] {
            let variable = ("COMMEDIA_RUNTIME__PASSIVATE_AFTER", word);
            assert_eq!(settings(&Flags::default(), &[home, variable], "").expect("settings").passivate_after, expect);
        }
    }

    #[test]
    fn every_variable_that_is_read_is_known() {
        let sources =
            concat!(include_str!("settings.rs"), include_str!("settings/telemetry.rs"), include_str!("settings/server.rs"));
        let read = sources.split("env(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let ours: Vec<&str> = read.filter(|name| name.starts_with("COMMEDIA_") && name.contains("__")).collect();
        assert!(ours.len() > 5, "{ours:?}");
        let unknown: Vec<_> = ours.into_iter().filter(|name| !VARIABLES.contains(name) && !models::is_known(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn what_cannot_be_is_one_clear_line() {
        let check = |env: &[(&str, &str)], file: &str, words: &str| {
            let failure = settings(&Flags::default(), env, file).expect_err(words);
            assert!(failure.message.contains(words), "{}", failure.message);
        };
        check(&[], "", "neither HOME nor XDG_DATA_HOME");
        check(&[("HOME", "/h")], "\n[store]\nuri = 'x'", "commedia.toml:3: unknown field `uri`");
        check(&[("HOME", "/h")], "[store]\ndurability = 'maybe'", "not `maybe`");
        check(&[("HOME", "/h")], "[runtime]\npassivate_after = 'soon'", "not `soon`");
        check(&[("HOME", "/h")], "[runtime]\ndrain = 'never'", "runtime.drain is a span such as `30s`, not `never`");
        check(&[("HOME", "/h")], "[runtime]\nkeep_ended = 'some'", "runtime.keep_ended is `all`, a number");
        check(&[("HOME", "/h")], "[tools.http]\nallow = ['10.0.0.0/99']", "tools.http.allow: `10.0.0.0/99`");
        check(&[("HOME", "/h"), ("COMMEDIA_TOOLS__HTTP__ALLOW", "a.b,http://c")], "", "`http://c`");
        check(&[("HOME", "/h")], "[prices]\ngpt = {input = 1.0, output = 1.0}", "`gpt` names no model");
        check(&[("HOME", "/h")], "[prices]\n\"a:b\" = {input = -1.0, output = 1.0}", "a price is USD per million tokens");
        check(&[("HOME", "/h")], "[budgets]\nworkspace_per_day_usd = -1.0", "budgets.workspace_per_day_usd must be an amount");
        check(&[("HOME", "/h"), ("COMMEDIA_BUDGETS__WORKSPACE_PER_DAY_TOKENS", "lots")], "", "a whole number of tokens");
        check(&[("HOME", "/h"), ("COMMEDIA_RUNTIME__WORKERS", "many")], "", "must be a whole number");
    }

    #[test]
    fn the_reference_names_every_key_of_the_schema() {
        layer("reference", REFERENCE).expect("the reference is read");
        let uncommented: String = REFERENCE
            .lines()
            .map(|l| format!("{}\n", l.strip_prefix("# ").filter(|l| l.contains(" = \"")).unwrap_or(l)))
            .collect();
        let all: toml::Table = uncommented.parse().expect("still TOML");
        let schema = json_schema();
        for (section, fields) in schema["properties"].as_object().expect("sections") {
            match fields["properties"].as_object() {
                Some(fields) => fields.keys().for_each(|key| assert!(all[section].get(key).is_some(), "{section}.{key}")),
                None => assert!(all.contains_key(section), "{section}"),
            }
        }
    }
}
