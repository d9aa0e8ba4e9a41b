//! `commedia`: parse, prepare, perform, exit.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use clap::Parser;
use commedia::app::App;
use commedia::cli::Cli;
use commedia::failure::{Exit, Failure};
use commedia::output::say;
use mimalloc::MiMalloc;

/// A run is many small things of short life, made by one thread and dropped by another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => {
            // Help asked for is data; a usage error is none. That nobody reads either is no fault.
            drop(e.print());
            return ExitCode::from(if e.use_stderr() { Exit::Usage as u8 } else { Exit::Ok as u8 });
        }
    };
    let performed = catch_unwind(AssertUnwindSafe(|| perform(cli)));
    let fault = |_| Err(Failure::new(Exit::Internal, "this is a fault of commedia, not of your input").help("please report it"));
    let exit = performed.unwrap_or_else(fault).unwrap_or_else(|failure| {
        if !failure.message.is_empty() {
            say(&failure.to_string());
        }
        failure.exit
    });
    ExitCode::from(exit as u8)
}

fn perform(cli: Cli) -> Result<Exit, Failure> {
    let (settings, console) = cli.prepare()?;
    commedia::log::init(&settings.log, console.terminal, console.colour_err)?;
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    let runtime = threads.worker_threads(settings.workers).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new(Exit::Internal, format!("threads cannot be started: {e}")))?;
    let app = App::new(settings, console);
    let exit = runtime.block_on(cli.perform(&app));
    // A read that is still blocked (standard input, a slow disk) must not hold the exit back.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    exit
}
