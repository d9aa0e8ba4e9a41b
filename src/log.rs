//! Logs go to standard error: for people on a terminal, as JSON lines elsewhere. The only home of `tracing-subscriber`.

use commedia_actors::agent::INJECTED;
use tracing_subscriber::EnvFilter;

use crate::failure::Failure;

/// Starts logging with a filter in the syntax of `EnvFilter`.
pub fn init(filter: &str, terminal: bool, colour: bool) -> Result<(), Failure> {
    let parsed: EnvFilter =
        filter.parse().map_err(|e| Failure::usage(format!("the log filter `{filter}` cannot be read: {e}")))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(parsed).with_writer(std::io::stderr).with_ansi(colour);
    let started = if terminal { subscriber.compact().try_init() } else { subscriber.json().try_init() };
    started.map_err(|e| Failure::new(crate::failure::Exit::Internal, e))?;
    // A panic is a line of the log like any other; whoever supervises what panicked decides what follows.
    std::panic::set_hook(Box::new(|info| {
        let words = info.to_string().replace('\n', " ");
        // A crash that a scenario asks for is no fault of the program.
        match info.payload_as_str() {
            Some(asked) if asked.starts_with(INJECTED) => tracing::debug!("panicked: {words}"),
            _ => tracing::error!("panicked: {words}"),
        }
    }));
    Ok(())
}
