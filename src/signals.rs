//! SIGINT and SIGTERM: the first asks the process to stop, the second ends it at once.
//!
//! They are heard on a thread of their own, so that the second one is heard whatever the others are busy with or stuck in.

use std::future::Future;
use std::sync::OnceLock;

use tokio::sync::watch;

use crate::failure::Exit;

static ASKED: OnceLock<watch::Receiver<bool>> = OnceLock::new();

/// Comes back when the process has been asked to stop. Signals are heard from this call on, not from the first wait.
pub fn interrupted() -> impl Future<Output = ()> + Send {
    let mut asked = ASKED.get_or_init(listen).clone();
    async move {
        if asked.wait_for(|asked| *asked).await.is_err() {
            // Nobody listens: a signal does what it does to a process that asks for nothing else.
            std::future::pending::<()>().await;
        }
    }
}

/// Starts the thread, and waits until signals reach it.
fn listen() -> watch::Receiver<bool> {
    let (tell, asked) = watch::channel(false);
    let (ready, listens) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
        let Ok(own) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
        own.block_on(async {
            if let Some(mut signals) = Signals::new() {
                drop(ready);
                signals.next().await;
                // Whoever has not asked yet finds it here.
                tell.send_replace(true);
                signals.next().await;
                std::process::exit(Exit::Interrupted as i32);
            }
        });
    });
    match thread {
        // It comes back with an error: nothing is ever sent, and the sender goes when signals are heard, or cannot be.
        Ok(_) => drop(listens.recv()),
        Err(e) => tracing::warn!("signals are not heard: {e}"),
    }
    asked
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> Option<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Some(Signals { interrupt: signal(SignalKind::interrupt()).ok()?, terminate: signal(SignalKind::terminate()).ok()? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> Option<Signals> {
        Some(Signals)
    }

    async fn next(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
