//! `commedia completions`: a script for a shell. The only home of `clap_complete`.

use clap::Args;
use clap_complete::Shell;

use crate::app::App;
use crate::failure::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(super) fn completions(app: &App, args: &CompletionsArgs) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::whole(), "commedia", &mut script);
    app.console.print(&String::from_utf8_lossy(&script));
    Ok(Exit::Ok)
}
