//! The command line: what can be asked, and to whom it goes. Words and exit codes are promises (docs/cli.md).

mod ask;
mod bench;
mod command;
mod completions;
mod config;
mod crash_points;
mod doctor;
mod drive;
mod init;
mod ls;
mod peer;
mod people;
mod release;
mod remote;
mod replay;
mod resolve;
mod resume;
mod run;
mod schema;
mod serve;
mod show;
mod store;
mod tail;
mod tell;
mod validate;
mod version;
mod why;

use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use commedia_actors::scope::WorkspaceId;
use commedia_actors::store::engine::Durability;

use crate::app::App;
use crate::failure::{Exit, Failure};
use crate::output::{Console, Format};
use crate::remote::Remote;
use crate::settings::{Flags, Settings};

/// Runs networks of agents over a scenario, durably.
#[derive(Debug, Parser)]
#[command(
    name = "commedia",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "Also: ask ls tail why resume cancel pause resolve tell replay user workspace key store config doctor schema bench completions version (commedia help --all).\nA first run: commedia run coin-shop"
)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Everywhere")]
struct Global {
    /// The data folder [default: $COMMEDIA_DATA, else $XDG_DATA_HOME/commedia]
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "memory")]
    data: Option<PathBuf>,
    /// Keep nothing: all is gone when the program ends
    #[arg(long, global = true)]
    memory: bool,
    /// The store itself: sled://DIR, fjall://DIR or memory:
    #[arg(long, global = true, value_name = "URL", conflicts_with = "memory")]
    store: Option<String>,
    /// What an acknowledged event survives: a power cut, or the end of this process
    #[arg(long, global = true, value_name = "WHAT")]
    durability: Option<DurabilityFlag>,
    /// The server to act on instead of the local data folder [default: $COMMEDIA_SERVER]; $COMMEDIA_TOKEN says who asks
    #[arg(long, global = true, value_name = "URL", conflicts_with_all = ["data", "memory", "store", "workspace"])]
    server: Option<String>,
    /// The workspace, by its id [default: $COMMEDIA_WORKSPACE, else that of a local data folder]
    #[arg(long, global = true, value_name = "ID")]
    workspace: Option<WorkspaceId>,
    /// Threads that work [default: one for each core]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    workers: Option<u16>,
    /// The form of what is printed on standard output
    #[arg(long, global = true, value_name = "FORM", default_value = "table", hide_default_value = true)]
    output: Format,
    /// Only data and errors
    #[arg(long, short, global = true)]
    quiet: bool,
    /// Log more: info, debug (-vv), trace (-vvv)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

impl Global {
    fn flags(&self) -> Flags {
        Flags {
            data: self.data.clone(),
            memory: self.memory,
            store: self.store.clone(),
            durability: self.durability.map(|d| match d {
                DurabilityFlag::Fsync => Durability::Fsync,
                DurabilityFlag::Process => Durability::Process,
            }),
            workers: self.workers.map(usize::from),
            workspace: self.workspace.clone(),
            server: self.server.clone(),
            verbose: self.verbose,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum DurabilityFlag {
    Fsync,
    Process,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a scenario to start from, and the schema editors read
    Init(init::InitArgs),
    /// Tell all faults of scenario files at once
    #[command(visible_alias = "check")]
    Validate(validate::ValidateArgs),
    /// Read parameters out of a text
    #[command(hide = true)]
    Ask(ask::AskArgs),
    /// Run a scenario
    Run(Box<run::RunArgs>),
    /// Show a run
    Show(show::ShowArgs),
    /// Serve the API with a finished run to look at; nothing is kept
    Up(serve::UpArgs),
    /// Serve the API: HTTP and WebSocket
    Serve(serve::ServeArgs),
    /// Users: make, list, remove
    #[command(hide = true)]
    User(people::UserArgs),
    /// Workspaces: make, list
    #[command(hide = true)]
    Workspace(people::WorkspaceArgs),
    /// Keys for programs: make, list, revoke
    #[command(hide = true)]
    Key(people::KeyArgs),
    /// List runs, newest first
    #[command(hide = true)]
    Ls(ls::LsArgs),
    /// Tell a run's events, one a line
    #[command(hide = true)]
    Tail(tail::TailArgs),
    /// Tell the chain of causes behind an event
    #[command(hide = true)]
    Why(why::WhyArgs),
    /// Go on with what was interrupted
    #[command(hide = true)]
    Resume(resume::ResumeArgs),
    /// End a run
    #[command(hide = true)]
    Cancel(command::CommandArgs),
    /// Let a run stand still
    #[command(hide = true)]
    Pause(command::CommandArgs),
    /// Say something to an agent of a run
    #[command(hide = true)]
    Tell(tell::TellArgs),
    /// Say what became of a step of which nobody knows
    #[command(hide = true)]
    Resolve(resolve::ResolveArgs),
    /// Let a quarantined run go on, or fail
    #[command(hide = true)]
    Release(release::ReleaseArgs),
    /// Fold a run from its log: no calls
    #[command(hide = true)]
    Replay(replay::ReplayArgs),
    /// Look after the store
    #[command(hide = true)]
    Store(store::StoreArgs),
    /// Print a JSON Schema
    #[command(hide = true)]
    Schema(schema::SchemaArgs),
    /// Measure scenarios per second
    #[command(hide = true)]
    Bench(bench::BenchArgs),
    /// Answer as a model's server would, for tests
    #[command(hide = true)]
    Peer(peer::PeerArgs),
    /// Print settings with where they come from
    #[command(hide = true)]
    Config(config::ConfigArgs),
    /// Say what a run or a server would stumble over here
    #[command(hide = true)]
    Doctor,
    /// Print the API's document (OpenAPI 3.1)
    #[command(hide = true)]
    Openapi,
    /// Print completions for a shell
    #[command(hide = true)]
    Completions(completions::CompletionsArgs),
    /// List the places at which a build for tests can be told to die
    #[command(hide = true)]
    CrashPoints,
    /// Print the version and the formats it writes
    #[command(hide = true)]
    Version,
    /// Explain the program or a command
    #[command(hide = true)]
    Help(HelpArgs),
}

impl Command {
    /// Whether it has nothing to do with stored runs, so that a server makes no difference.
    fn is_local(&self) -> bool {
        matches!(
            self,
            Command::Init(_)
                | Command::Validate(_)
                | Command::Serve(_)
                | Command::Up(_)
                | Command::Config(_)
                | Command::Doctor
                | Command::Openapi
                | Command::Schema(_)
                | Command::Bench(_)
                | Command::Peer(_)
                | Command::Completions(_)
                | Command::CrashPoints
                | Command::Version
                | Command::Help(_)
        )
    }
}

#[derive(Debug, Args)]
struct HelpArgs {
    /// A command
    command: Vec<String>,
    /// Every command
    #[arg(long)]
    all: bool,
}

impl Cli {
    /// What must be known before anything runs: threads and streams.
    pub fn prepare(&self) -> Result<(Settings, Console), Failure> {
        crash_points::arm()?;
        let global = &self.global;
        let flags = global.flags();
        Ok((Settings::read(&flags)?, Console::new(global.output, global.quiet)))
    }

    /// Does what was asked.
    pub async fn perform(self, app: &App) -> Result<Exit, Failure> {
        if let Some(url) = app.settings.server.as_deref().filter(|_| !self.command.is_local()) {
            let token = std::env::var("COMMEDIA_TOKEN").ok().filter(|token| !token.is_empty());
            return remote::perform(app, &Remote::new(url, token)?, self.command).await;
        }
        match self.command {
            Command::Init(args) => init::init(app, &args),
            Command::Validate(args) => validate::validate(app, &args),
            Command::Ask(args) => ask::ask(app, &args).await,
            Command::Run(args) => run::run(app, &args).await,
            Command::Show(args) => show::show(app, &args).await,
            Command::Ls(args) => ls::ls(app, &args).await,
            Command::Tail(args) => tail::tail(app, &args).await,
            Command::Why(args) => why::why(app, &args).await,
            Command::Resume(args) => resume::resume(app, &args).await,
            Command::Cancel(args) => command::cancel(app, &args).await,
            Command::Pause(args) => command::pause(app, &args).await,
            Command::Tell(args) => tell::tell(app, &args).await,
            Command::Resolve(args) => resolve::resolve(app, &args).await,
            Command::Release(args) => release::release(app, &args).await,
            Command::Replay(args) => replay::replay(app, &args).await,
            Command::Serve(args) => serve::serve(app, &args).await,
            Command::User(args) => people::user(app, &args).await,
            Command::Workspace(args) => people::workspace(app, &args).await,
            Command::Key(args) => people::key(app, &args).await,
            Command::Store(args) => store::store(app, &args).await,
            Command::Schema(args) => schema::schema(app, &args),
            Command::Bench(args) => bench::bench(app, &args).await,
            Command::Peer(args) => peer::peer(app, &args).await,
            Command::Config(args) => config::config(app, &args, &self.global.flags()),
            Command::Doctor => doctor::doctor(app).await,
            Command::Openapi => {
                let document = crate::http::document();
                match app.console.format {
                    Format::Table => app.console.line(&crate::output::pretty(&document)),
                    _ => app.console.document(&document, String::new),
                }
                Ok(Exit::Ok)
            }
            Command::Up(args) => serve::up(app, &args).await,
            Command::Completions(args) => completions::completions(app, &args),
            Command::CrashPoints => crash_points::crash_points(app),
            Command::Version => version::version(app),
            Command::Help(args) => help(app, &args),
        }
    }
}

/// Shown under all commands.
const EXIT_CODES: &str = "Exit codes:
    0  all is well
    1  a fault of the program
    2  the command line
    3  an invalid file or parameters
    4  a run failed
    5  a limit was reached, or a run waits with nobody to ask
    6  cancelled by a person
    7  a server cannot be reached, or lets nobody in
    8  the store is locked, damaged or full
   99  a check or threshold was missed
  130  interrupted; the state is saved";

/// The whole command line, with every command shown.
pub(crate) fn whole() -> clap::Command {
    let mut whole = Cli::command().after_help(EXIT_CODES);
    let names: Vec<String> = whole.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    for name in names {
        whole = whole.mut_subcommand(name, |c| c.hide(false));
    }
    whole
}

fn help(app: &App, args: &HelpArgs) -> Result<Exit, Failure> {
    let mut command = if args.all { whole() } else { Cli::command() };
    for name in &args.command {
        let Some(found) = command.find_subcommand(name) else {
            return Err(Failure::usage(format!("there is no command `{name}`")).help("`commedia help --all` lists them"));
        };
        let full = format!("{} {}", command.get_bin_name().unwrap_or("commedia"), found.get_name());
        command = found.clone().bin_name(full);
    }
    let text = command.render_long_help();
    let text = if app.console.colour { text.ansi().to_string() } else { text.to_string() };
    app.console.print(&text);
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        whole().debug_assert();
    }
}
