//! The peer as a process of its own: `cargo run -p commedia-actors --example peer -- PORT LATENCY_MS`. Prints its address.

use std::io::Write;
use std::time::Duration;

use commedia_actors::model::peer::{Behaviour, Peer};

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>().map_err(std::io::Error::other));
    let port = numbers.next().transpose()?.unwrap_or(0);
    let latency = numbers.next().transpose()?.unwrap_or(0);
    let port = u16::try_from(port).map_err(std::io::Error::other)?;
    let peer = Peer::start_at(port, Behaviour::Stub(Duration::from_millis(latency))).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{}", peer.url())?;
    out.flush()?;
    peer.wait().await;
    Ok(())
}
