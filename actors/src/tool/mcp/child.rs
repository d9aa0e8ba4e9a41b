//! A server's process: in a process group of its own, with only the variables it is given, ended with all it started.

use std::collections::VecDeque;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use crate::tool::http::Known;

/// How long a server may take to end by itself once its input is closed.
const GRACE: Duration = Duration::from_secs(2);
/// Lines of its standard error that are kept to explain an end.
const TAIL: usize = 8;
/// Characters of such a line.
const LINE: usize = 300;

/// A server's process. Dropping it ends the process and everything in its group.
pub(super) struct Process {
    said: Arc<Said>,
    stop: watch::Sender<bool>,
    ended: watch::Receiver<bool>,
}

/// The last lines that a process wrote to its standard error.
#[derive(Default)]
struct Said {
    tail: Mutex<VecDeque<String>>,
}

/// The group of a process: killed when this goes.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(e) = kill_process_group(self.0, Signal::KILL) {
            tracing::trace!(error = %e, "nothing was left of an MCP server");
        }
    }
}

impl Process {
    /// Starts a program; its input and output come back.
    pub(super) fn start(
        words: &[String],
        environment: &[(String, String)],
        known: &Arc<Known>,
    ) -> Result<(Process, ChildStdout, ChildStdin), String> {
        let (program, arguments) = words.split_first().ok_or("its command is empty")?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|e| format!("`{program}` cannot be started: {e}"))?;
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = Group(id.ok_or_else(|| format!("`{program}` ended at once"))?);
        let (Some(output), Some(input), Some(errors)) = (child.stdout.take(), child.stdin.take(), child.stderr.take()) else {
            return Err(format!("`{program}` has no input or output"));
        };
        let said = Arc::new(Said::default());
        drop(tokio::spawn(listen(errors, program.clone(), said.clone(), known.clone())));
        let (stop, stopped) = watch::channel(false);
        let (end, ended) = watch::channel(false);
        drop(tokio::spawn(async move {
            keep(child, group, stopped).await;
            end.send_replace(true);
        }));
        Ok((Process { said, stop, ended }, output, input))
    }

    /// What it said last, in one line; empty where it said nothing.
    pub(super) fn said(&self) -> String {
        let tail = self.said.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
    }

    /// Waits until it has ended, which it is told to.
    pub(super) async fn end(&self) {
        self.stop.send_replace(true);
        let mut ended = self.ended.clone();
        if ended.wait_for(|ended| *ended).await.is_err() {
            tracing::debug!("whoever kept an MCP server is gone, and the server with it");
        }
    }
}

/// Keeps a process until it ends or is to end, and then ends its group: what it started goes with it.
async fn keep(mut child: Child, group: Group, mut stopped: watch::Receiver<bool>) {
    tokio::select! {
        _ = child.wait() => {}
        // An error means that nobody wants it any more.
        () = async { drop(stopped.wait_for(|stop| *stop).await) } => {
            if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
                tracing::debug!("an MCP server did not end by itself");
            }
        }
    }
    drop(group);
    match child.wait().await {
        Ok(status) => tracing::debug!(%status, "an MCP server ended"),
        Err(e) => tracing::debug!(error = %e, "how an MCP server ended is not known"),
    }
}

/// Reads what a process says of itself: to the log, and the last of it to explain its end. Bounded, however much it says.
async fn listen(mut errors: impl AsyncRead + Unpin, program: String, said: Arc<Said>, known: Arc<Known>) {
    let mut buffer = vec![0_u8; 4096];
    let mut line: Vec<u8> = Vec::new();
    loop {
        let read = errors.read(&mut buffer).await.unwrap_or_default();
        for byte in &buffer[..read] {
            match byte {
                b'\n' => said.add(&program, &mut line, &known),
                // A character has four bytes at most; what is beyond the bound is dropped.
                _ if line.len() < 4 * LINE => line.push(*byte),
                _ => {}
            }
        }
        if read == 0 {
            return said.add(&program, &mut line, &known);
        }
    }
}

impl Said {
    fn add(&self, program: &str, line: &mut Vec<u8>, known: &Known) {
        let text = known.hidden(&String::from_utf8_lossy(line));
        line.clear();
        let text: String = text.trim().chars().filter(|c| !c.is_control()).take(LINE).collect();
        if text.is_empty() {
            return;
        }
        tracing::debug!(server = program, "{text}");
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back(text);
    }
}
