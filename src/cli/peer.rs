//! `commedia peer`: a server that answers as a model's would, to try scenarios over HTTP and to measure with.

use std::time::Duration;

use clap::Args;
use commedia_actors::model::peer::{Behaviour, Peer};
use serde_json::json;

use crate::app::{App, interrupted};
use crate::failure::{Exit, Failure};

#[derive(Debug, Args)]
pub(super) struct PeerArgs {
    /// The port to listen on, of this machine only; 0 is any that is free
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,
    /// Wait so long before each answer, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=600_000))]
    latency: u64,
    /// Call all tools and pass the floor in one answer, not one after the other
    #[arg(long)]
    brisk: bool,
}

pub(super) async fn peer(app: &App, args: &PeerArgs) -> Result<Exit, Failure> {
    let latency = Duration::from_millis(args.latency);
    let behaviour = if args.brisk { Behaviour::Brisk(latency) } else { Behaviour::Stub(latency) };
    let peer = Peer::start_at(args.port, behaviour).await;
    let peer = peer.map_err(|e| Failure::usage(format!("port {} cannot be listened on: {e}", args.port)))?;
    let url = peer.url();
    app.console.document(&json!({"url": url}), || format!("{url}\n"));
    app.console.note(&format!(
        "the stub answers as OpenAI (Responses, Chat Completions) and Claude would; try\n  \
         OPENAI_BASE_URL={url}/v1 OPENAI_API_KEY=none commedia run handoff-4 --model openai:gpt-4o-mini"
    ));
    tokio::select! {
        () = peer.wait() => Ok(Exit::Ok),
        () = interrupted() => Ok(Exit::Ok),
    }
}
