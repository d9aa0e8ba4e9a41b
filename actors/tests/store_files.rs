//! What only an engine with files can show: locks, engines, syncs, kills. Every test runs on each of them.
//!
//! `COMMEDIA_KILLS`: how often (10); `COMMEDIA_KILL_SEED`: the same again.

mod store_support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use commedia_actors::store::blob::{Blob, Snapshot};
use commedia_actors::store::engine::Durability;
use commedia_actors::store::live::LiveRow;
use commedia_actors::store::{Append, ENGINES, Head, OpenError, Options, Store, StreamId};
use commedia_domain::id::Hash32;
use store_support::*;

async fn open_error(engine: &str, dir: &Path) -> OpenError {
    Store::open(&url(engine, dir), Durability::Fsync, Options::default()).await.err().expect("it must not open")
}

async fn a_directory_has_one_owner(engine: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let store = open_files(engine, dir.path()).await;
    assert!(matches!(open_error(engine, dir.path()).await, OpenError::Locked { pid, .. } if pid == std::process::id()));
    store.close().await.unwrap();
    let store = open_files(engine, dir.path()).await;
    let cell = store.cell();
    drop(store);
    cell.wait(None).await.unwrap();
    open_files(engine, dir.path()).await.close().await.unwrap();
    for url in ["sled://", "redb:///tmp/x", "memory", ""] {
        assert!(matches!(Store::open(url, Durability::Fsync, Options::default()).await, Err(OpenError::Url(_))), "{url}");
    }
}

async fn another_engines_url_is_refused_and_both_are_named(engine: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    open_files(engine, dir.path()).await.close().await.unwrap();
    for other in ENGINES.into_iter().filter(|other| *other != engine) {
        let said = open_error(other, dir.path()).await.to_string();
        let expected = format!("{} holds a store of the engine {engine}; the URL names {other}", dir.path().display());
        assert_eq!(said, expected);
        assert!(!dir.path().join(other).exists());
    }
    open_files(engine, dir.path()).await.close().await.unwrap();
}

async fn both_durabilities_survive_closing_and_count_their_syncs(engine: &'static str) {
    for (durability, syncs) in [(Durability::Fsync, 2), (Durability::Process, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&url(engine, dir.path()), durability, Options::default()).await.unwrap();
        fill(&store, &run("warm"), &[1]).await;
        let before = store.stats().syncs;
        let head = fill(&store, &run("a"), &[5]).await;
        assert_eq!(store.stats().syncs - before, syncs, "the log and the high-water mark");
        assert_eq!(store.engine().0, engine);
        store.close().await.unwrap();
        let store = open_files(engine, dir.path()).await;
        assert_eq!(verify(&store, &run("a"), 1).await, head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_gets_into_an_unsynced_file_of_its_own() {
    let engine = "sled";
    let dir = tempfile::tempdir().unwrap();
    let store = open_files(engine, dir.path()).await;
    let blobs: Vec<Blob> = (0..6_u8).map(|n| Blob::new(vec![n; 700_000])).collect();
    store.put_blobs("default", blobs).await.unwrap();
    for n in 0..30 {
        let stream = run(&format!("r{n}"));
        let mut head = Head::START;
        for _ in 0..4 {
            let mut builder = commedia_actors::store::frame::FrameBuilder::new(1, &head, 1, cause());
            builder.push(lane(0), &vec![n; 60_000]).unwrap();
            let request = Append { frame: builder.encode().unwrap(), ..append_of(&store, &stream, &head, 1) };
            head = store.append(request).await.unwrap();
        }
        let bytes = vec![n; 200_000];
        let snapshot = Snapshot { seq: 4, head_hash: head.hash, digest: head.hash, state_version: 1, bytes };
        store.put_snapshot(&stream, snapshot).await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(files(&dir.path().join("sled/blobs")), Vec::<std::path::PathBuf>::new());
}

/// What the child appends to, told by `COMMEDIA_KILL_DIR`; without it there is nothing to do.
#[test]
#[ignore = "the process that the kill test kills"]
fn killed_child() {
    let (Ok(dir), Ok(engine)) = (std::env::var("COMMEDIA_KILL_DIR"), std::env::var("COMMEDIA_KILL_ENGINE")) else { return };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let store = open_files(&engine, Path::new(&dir)).await;
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..6_u64 {
            tasks.spawn(write_for_ever(store.clone(), writer));
        }
        tasks.join_all().await;
    });
}

/// Appends to three streams in turn and reports each head once it is acknowledged.
async fn write_for_ever(store: Store, writer: u64) {
    let streams = [0, 1, 2].map(|n| run(&format!("w{writer}-{n}")));
    let mut heads = [Head::START; 3];
    for (head, stream) in heads.iter_mut().zip(&streams) {
        *head = store.head(stream).await.unwrap();
    }
    for turn in 0_u64.. {
        let n = turn as usize % 3;
        let (stream, head) = (&streams[n], heads[n]);
        let count = if turn.is_multiple_of(50) { 200 } else { 1 + turn % 7 };
        let blob = Blob::new(payload(stream, head.seq + 1_000_000));
        let request = Append {
            frame: frame_with(stream, &head, count, std::slice::from_ref(&blob)),
            blobs: vec![blob],
            meta: turn.is_multiple_of(4).then(|| vec![1; 30]),
            live: LiveRow::Put(vec![1; 9]),
            ..append_of(&store, stream, &head, count)
        };
        heads[n] = store.append(request).await.unwrap();
        report(stream, &heads[n]);
        if turn.is_multiple_of(20) {
            let (seq, head_hash) = (heads[n].seq, heads[n].hash);
            let snapshot = Snapshot { seq, head_hash, digest: head_hash, state_version: 1, bytes: vec![7; 20_000] };
            store.put_snapshot(stream, snapshot).await.unwrap();
        }
    }
}

fn report(stream: &StreamId, head: &Head) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nacknowledged {stream} {} {}", head.seq, head.hash).unwrap();
    out.flush().unwrap();
}

fn spawn_child(engine: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env("COMMEDIA_KILL_DIR", dir)
        .env("COMMEDIA_KILL_ENGINE", engine)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Takes note of an acknowledgement; a line cut off by the kill is none.
fn note(line: &str, acknowledged: &mut BTreeMap<StreamId, (u64, Hash32)>) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let ["acknowledged", stream, seq, hash] = words[..] else { return false };
    let (Ok(stream), Ok(seq), Some(hash)) = (stream.parse(), seq.parse(), Hash32::from_hex(hash)) else { return false };
    acknowledged.insert(stream, (seq, hash));
    true
}

async fn nothing_acknowledged_is_lost_to_a_kill(engine: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::from_env("COMMEDIA_KILL_SEED");
    let mut acknowledged = BTreeMap::new();
    let (mut lines, kills) = (0_u64, count_from_env("COMMEDIA_KILLS", 10));
    for kill in 0..kills {
        let mut child = spawn_child(engine, dir.path());
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let early = random.below(5) == 0;
        if !early {
            // Until the first acknowledgement.
            let mut line = String::new();
            while out.read_line(&mut line).unwrap() > 0 && !note(line.trim_end(), &mut acknowledged) {
                line.clear();
            }
        }
        let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_micros(random.below(if early { 80_000 } else { 250_000 })));
        child.kill().unwrap();
        child.wait().unwrap();
        let read = reader.join().unwrap();
        lines += read.iter().filter(|line| note(line, &mut acknowledged)).count() as u64;

        let store = open_files(engine, dir.path()).await;
        assert_eq!(store.damage(), [], "kill {kill}");
        let report = store.check().await.unwrap();
        assert_eq!(report.damage, [], "kill {kill}");
        let full = kill + 1 == kills;
        for (stream, (seq, hash)) in &acknowledged {
            let found = report.streams.iter().find(|s| s.stream == *stream).unwrap();
            assert!(found.whole && found.head.seq >= *seq, "kill {kill}: {stream} was at {seq}, is at {}", found.head.seq);
            let frames = store.read(stream, *seq, 1).await.unwrap();
            assert_eq!(frames[0].head(), Head { seq: *seq, hash: *hash }, "kill {kill}: {stream}");
            if full {
                assert_eq!(verify(&store, stream, 100_000).await, found.head);
            }
        }
        store.close().await.unwrap();
    }
    println!("{kills} kills, {lines} acknowledged appends, {} streams", acknowledged.len());
    assert!(lines > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_fjall_that_was_not_finished_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    open_files("fjall", dir.path()).await.close().await.unwrap();
    fs::rename(dir.path().join("fjall"), dir.path().join("fjall.new")).unwrap();
    fs::remove_file(dir.path().join("fjall.new/version")).unwrap();
    fs::write(dir.path().join("high-water"), "").unwrap();
    let store = open_files("fjall", dir.path()).await;
    assert_eq!(store.damage(), []);
    assert!(!dir.path().join("fjall.new").exists());
}

macro_rules! on_files {
    ($($engine:ident)*) => {$(
        mod $engine {
            on_files! { $engine:
                a_directory_has_one_owner
                another_engines_url_is_refused_and_both_are_named
                both_durabilities_survive_closing_and_count_their_syncs
                nothing_acknowledged_is_lost_to_a_kill
            }
        }
    )*};
    ($engine:ident: $($test:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            super::$test(stringify!($engine)).await;
        }
    )*};
}

on_files! { sled fjall }
