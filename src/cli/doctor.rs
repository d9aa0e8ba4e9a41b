//! `commedia doctor`: what a run, or a server, would stumble over here, each with its remedy.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use commedia_actors::store::OpenError;
use serde_json::{Value as Json, json};

use crate::app::{App, close};
use crate::failure::{Exit, Failure};

/// How an inquiry came out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Good,
    /// It works; something about it should be known.
    Note,
    Bad,
}

struct Finding {
    what: &'static str,
    mark: Mark,
    found: String,
    remedy: Option<String>,
}

fn good(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, mark: Mark::Good, found: found.into(), remedy: None }
}

fn other(what: &'static str, mark: Mark, found: impl Into<String>, remedy: &str) -> Finding {
    Finding { what, mark, found: found.into(), remedy: Some(remedy.to_owned()) }
}

pub(super) async fn doctor(app: &App) -> Result<Exit, Failure> {
    let mut findings = vec![store(app).await];
    if let Some(dir) = app.settings.store_dir() {
        findings.push(disk(dir));
    }
    findings.push(files(app.settings.http.max_connections));
    findings.push(address(app).await);
    findings.push(models(app));
    findings.push(tls(app));
    let word = |mark| match mark {
        Mark::Good => "ok",
        Mark::Note => "note",
        Mark::Bad => "bad",
    };
    let row = |f: &Finding| json!({"check": f.what, "status": word(f.mark), "found": f.found, "remedy": f.remedy});
    let rows: Vec<Json> = findings.iter().map(row).collect();
    app.console.list(&json!({"schema": "commedia.doctor/v1", "checks": rows}), &rows, || {
        let sign = |mark| match mark {
            Mark::Good => "✓",
            Mark::Note => "·",
            Mark::Bad => "✗",
        };
        let line = |f: &Finding| {
            let remedy = f.remedy.as_ref().map_or_else(String::new, |remedy| format!("\n    {remedy}"));
            format!("{} {:<8} {}{remedy}\n", sign(f.mark), f.what, f.found)
        };
        findings.iter().map(line).collect()
    });
    Ok(if findings.iter().any(|f| f.mark == Mark::Bad) { Exit::Missed } else { Exit::Ok })
}

/// Whether the store opens; one that is not there yet is not made.
async fn store(app: &App) -> Finding {
    const WHAT: &str = "store";
    if !app.is_stored() {
        return good(WHAT, format!("{}: nothing there yet; the first run makes it", app.settings.store));
    }
    match app.try_open(1).await {
        Ok(runtime) => {
            let runs = runtime.standings().await.map(|s| (s.interrupted.len(), s.waiting(), s.quarantined));
            close(&runtime).await;
            match runs {
                Ok((0, waiting, 0)) => good(WHAT, format!("{}: opens; {waiting} runs wait", app.settings.store)),
                Ok((interrupted, _, quarantined)) => other(
                    WHAT,
                    Mark::Note,
                    format!("{}: opens; {interrupted} runs were interrupted, {quarantined} are quarantined", app.settings.store),
                    "`commedia resume` goes on with the former; `commedia release` decides on the latter",
                ),
                Err(e) => other(WHAT, Mark::Bad, e.to_string(), "`commedia store check` says what is wrong"),
            }
        }
        Err(e @ OpenError::Locked { .. }) => {
            other(WHAT, Mark::Note, e.to_string(), "a server or a run works there: fine, if you know of it")
        }
        Err(e) => other(WHAT, Mark::Bad, e.to_string(), "`commedia store check` says what is wrong; a backup helps"),
    }
}

/// Whether the folder can be written, and how long a small write takes to be on the disk.
fn disk(dir: &Path) -> Finding {
    const WHAT: &str = "disk";
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let path = there.join(format!(".commedia-doctor-{}", std::process::id()));
    let mut took = Vec::new();
    let tried = (|| {
        let mut file = fs::File::create_new(&path)?;
        for _ in 0..5 {
            let begun = Instant::now();
            file.write_all(&[7; 4096])?;
            file.sync_all()?;
            took.push(begun.elapsed());
        }
        Ok::<(), std::io::Error>(())
    })();
    // It may not be there.
    drop(fs::remove_file(&path));
    took.sort_unstable();
    let median = took.get(2).copied().unwrap_or_default();
    let words = format!("{}: a write is on the disk within {:.1} ms", there.display(), median.as_secs_f64() * 1e3);
    match tried {
        Err(e) => {
            other(WHAT, Mark::Bad, format!("{} cannot be written: {e}", there.display()), "name another folder with --data")
        }
        Ok(()) if median > Duration::from_millis(50) => other(
            WHAT,
            Mark::Note,
            words,
            "each acknowledgement waits for that; `--durability process` does not, and loses with the power",
        ),
        Ok(()) => good(WHAT, words),
    }
}

/// Whether the process may open as many files as it takes connections.
fn files(connections: usize) -> Finding {
    const WHAT: &str = "files";
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let limit =
        limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<usize>().ok());
    match limit {
        None => good(WHAT, "no bound is known here"),
        Some(limit) if limit < connections + 256 => other(
            WHAT,
            Mark::Note,
            format!("{limit} files may be open, and `http.max_connections` is {connections}"),
            "raise it (`ulimit -n`, LimitNOFILE=), or lower http.max_connections",
        ),
        Some(limit) => good(WHAT, format!("{limit} may be open")),
    }
}

async fn address(app: &App) -> Finding {
    const WHAT: &str = "address";
    let bind = app.settings.http.bind;
    match tokio::net::TcpListener::bind(bind).await {
        Ok(_) => good(WHAT, format!("{bind} is free for `commedia serve`")),
        Err(e) => other(
            WHAT,
            Mark::Note,
            format!("{bind} cannot be listened on: {e}"),
            "a server may be there; --bind names another address",
        ),
    }
}

/// Providers that there is a key for, or an address of one's own.
fn models(app: &App) -> Finding {
    const WHAT: &str = "models";
    let known: Vec<&str> = app.settings.models.configured().collect();
    if known.is_empty() {
        return other(
            WHAT,
            Mark::Note,
            "no provider: rules and the stub answer",
            "set OPENAI_API_KEY or ANTHROPIC_API_KEY, or run Ollama",
        );
    }
    good(WHAT, format!("there are keys or addresses for {}", known.join(", ")))
}

fn tls(app: &App) -> Finding {
    const WHAT: &str = "tls";
    match &app.settings.http.tls {
        None => good(WHAT, "off: fine on this machine, or behind a proxy"),
        Some((certificate, key)) => match crate::http::check_tls(certificate, key) {
            Ok(()) => good(WHAT, format!("{} and its key fit", certificate.display())),
            Err(failure) => other(WHAT, Mark::Bad, failure.message, "see [http.tls] in commedia.toml"),
        },
    }
}
