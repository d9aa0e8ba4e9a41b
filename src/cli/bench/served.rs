//! The server of the workload over HTTP: `commedia peer` as a process of its own, or one that runs already.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::BenchArgs;
use crate::failure::{Exit, Failure};
use crate::settings::models::ModelSettings;

/// A server that ends with the bench; `None` where it is not the bench's own.
pub(super) struct Served(Option<Child>);

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0
            && let Err(e) = child.kill().and_then(|()| child.wait())
        {
            tracing::warn!("the bench's server is left behind: {e}");
        }
    }
}

/// Starts the server, or takes the one that is named; the settings lead to it, and to nobody else.
pub(super) fn serve(settings: &mut ModelSettings, args: &BenchArgs) -> Result<Served, Failure> {
    let failed = |e: std::io::Error| Failure::new(Exit::Internal, format!("the bench's server does not start: {e}"));
    let (served, url) = match &args.endpoint {
        Some(url) => (Served(None), url.trim_end_matches('/').to_owned()),
        None => {
            let mut command = Command::new(std::env::current_exe().map_err(failed)?);
            command.args(["peer", "--brisk", "--quiet", "--workers", "1", "--latency", &args.latency.to_string()]);
            let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
            let out = child.stdout.take();
            let served = Served(Some(child));
            let mut url = String::new();
            if let Some(out) = out {
                BufReader::new(out).read_line(&mut url).map_err(failed)?;
            }
            if url.is_empty() {
                return Err(Failure::new(Exit::Internal, "the bench's server ended at once"));
            }
            (served, url.trim_end().to_owned())
        }
    };
    let Some(openai) = settings.providers.iter_mut().find(|p| p.name == "openai") else {
        return Err(Failure::new(Exit::Internal, "the bench's provider is missing"));
    };
    openai.base_url = Some(format!("{url}/v1"));
    openai.key = None;
    Ok(served)
}
