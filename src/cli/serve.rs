//! `commedia serve`: the front-end over the data folder, until it is asked to stop.

use std::net::SocketAddr;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use commedia_actors::runtime::{Runtime, StartOptions};
use commedia_domain::event::ModelBinding;
use commedia_domain::run::RunInput;
use serde_json::json;

use crate::app::{App, close, interrupted, load_failure, start_failure};
use crate::failure::{Exit, Failure};
use crate::http::Gate;
use crate::packs;
use crate::settings::Settings;
use crate::source::Source;

/// The scenario of the run that `up` shows.
const DEMO: &str = "retail-season";

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The address to listen on; port 0 is any that is free [default: 127.0.0.1:7140]
    #[arg(long, value_name = "ADDR")]
    bind: Option<SocketAddr>,
    /// Who is let in: users and keys, or everybody (on this machine's own addresses only)
    #[arg(long, value_name = "HOW", default_value = "required")]
    auth: Auth,
}

#[derive(Debug, Args)]
pub(super) struct UpArgs {
    /// The address to listen on, of this machine; port 0 is any that is free [default: 127.0.0.1:7140]
    #[arg(long, value_name = "ADDR")]
    bind: Option<SocketAddr>,
}

/// A server in memory, with one run that has ended: nothing to set up, nothing left behind.
pub(super) async fn up(app: &App, args: &UpArgs) -> Result<Exit, Failure> {
    let settings = Settings { store: "memory:".into(), server: None, ..app.settings.clone() };
    let demo = App::new(settings, app.console.again());
    serve_with(&demo, args.bind.unwrap_or(demo.settings.http.bind), Auth::None, true).await
}

/// The run that is there to be looked at.
async fn demo_run(runtime: &Runtime) -> Result<String, Failure> {
    let pack = packs::find(DEMO).ok_or_else(|| Failure::new(Exit::Internal, "the demo is not there"))?;
    let scenario = Arc::new(Source::pack(pack).load().map_err(|f| Failure::new(Exit::Internal, &f[0]))?.scenario);
    let models = vec![ModelBinding::Offline; scenario.models.len() + 1];
    let input = RunInput { params: Vec::new(), seed: 7, now: runtime.now_ms(), models };
    let handle = runtime.start_run(scenario, input, StartOptions::default()).await.map_err(start_failure)?;
    Ok(handle.done().await.map_err(load_failure)?.id.to_string())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Auth {
    None,
    Required,
}

pub(super) async fn serve(app: &App, args: &ServeArgs) -> Result<Exit, Failure> {
    serve_with(app, args.bind.unwrap_or(app.settings.http.bind), args.auth, false).await
}

async fn serve_with(app: &App, bind: SocketAddr, auth: Auth, demo: bool) -> Result<Exit, Failure> {
    if auth == Auth::None && !bind.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "without users only this machine's own addresses are served, and {bind} is none of them"
        ))
        .help("leave --auth out, or say --bind 127.0.0.1:7140"));
    }
    let listener = crate::http::listen(bind)
        .map_err(|e| Failure::usage(format!("{bind} cannot be listened on: {e}")).help("--bind names another address"))?;
    let at = listener.local_addr().map_err(|e| Failure::new(Exit::Internal, e))?;
    // Signals are heard from here on.
    let stop = interrupted();
    let runtime = app.open(1).await?;
    let gate = match auth {
        Auth::None => Gate::Open,
        Auth::Required => Gate::of_users(&runtime, app.settings.clock).await.map_err(|e| Failure::new(Exit::Store, e))?,
    };
    let scheme = if app.settings.http.tls.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{at}");
    if !at.ip().is_loopback() && app.settings.http.tls.is_none() {
        app.console.note(
            "warning: tokens and passwords come over the network in the clear: set [http.tls], or put a proxy with TLS in front",
        );
    }
    app.console.document(&json!({"schema": "commedia.server/v1", "url": url}), || format!("{url}\n"));
    app.console.note(&format!("{url}/docs tries the API; runs are kept in {}", app.settings.store));
    if demo {
        let id = demo_run(&runtime).await?;
        app.console.note(&format!("a run to look at: {url}/api/runs/{id}/result, {url}/api/runs/{id}/events"));
    }
    if let Some(token) = gate.setup() {
        app.console.note(&format!("nobody is there yet: {url}/setup#{token} makes the first user, until this process ends"));
    }
    let served = crate::http::serve(listener, runtime.clone(), gate, app.settings.clone(), app.model(), stop).await;
    close(&runtime).await;
    served.map(|()| Exit::Ok)
}
