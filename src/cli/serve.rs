//! `commedia serve`: the front-end over the data folder, until it is asked to stop.

use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio::net::TcpListener;

use crate::app::{App, close, interrupted};
use crate::failure::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// The address to listen on; port 0 is any that is free [default: 127.0.0.1:7140]
    #[arg(long, value_name = "ADDR")]
    bind: Option<SocketAddr>,
    /// Who is let in: `none` is everybody, on this machine's own addresses only
    #[arg(long, value_name = "HOW")]
    auth: Option<Auth>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Auth {
    None,
    Required,
}

pub(super) async fn serve(app: &App, args: &ServeArgs) -> Result<Exit, Failure> {
    let bind = args.bind.unwrap_or(app.settings.http.bind);
    if args.auth != Some(Auth::None) {
        return Err(Failure::usage("this version knows no users yet: everybody who reaches it may do everything")
            .help("say `--auth none`, which serves this machine's own addresses only"));
    }
    if !bind.ip().is_loopback() {
        return Err(Failure::usage(format!(
            "without users only this machine's own addresses are served, and {bind} is none of them"
        ))
        .help("leave --bind out, or say --bind 127.0.0.1:7140"));
    }
    let listener = TcpListener::bind(bind).await;
    let listener = listener
        .map_err(|e| Failure::usage(format!("{bind} cannot be listened on: {e}")).help("--bind names another address"))?;
    let at = listener.local_addr().map_err(|e| Failure::new(Exit::Internal, e))?;
    // Signals are heard from here on.
    let stop = interrupted();
    let runtime = app.open(1).await?;
    let url = format!("http://{at}");
    app.console.document(&json!({"schema": "commedia.server/v1", "url": url}), || format!("{url}\n"));
    app.console.note(&format!("{url}/docs tries the API; runs are kept in {}", app.settings.store));
    let served = crate::http::serve(listener, runtime.clone(), app.settings.clone(), app.model(), stop).await;
    close(&runtime).await;
    served.map(|()| Exit::Ok)
}
