//! A store's copy: whole and equal, or not there at all.

mod store_support;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use commedia_actors::store::blob::{Blob, Snapshot};
use commedia_actors::store::copy::{Copied, CopyError, copy};
use commedia_actors::store::engine::Durability;
use commedia_actors::store::live::LiveRow;
use commedia_actors::store::{Append, CheckReport, ENGINES, Head, Options, Store, StreamId, StreamKind};
use store_support::*;

/// Streams of several kinds and workspaces, with blobs, meta and snapshots, one of them beyond one page.
async fn sample(engine: &str, dir: &Path) -> CheckReport {
    let store = Store::open(&url(engine, dir), Durability::Process, Options::default()).await.unwrap();
    let shared = Blob::new(vec![9; 20_000]);
    for n in 0..12_u8 {
        let stream = run(&format!("r{n}"));
        let own = Blob::new(vec![n; 2000]);
        let blobs = vec![shared.clone(), own];
        let request = Append {
            frame: frame_with(&stream, &Head::START, 3, &blobs),
            blobs,
            meta: Some(vec![n, n]),
            live: if n == 5 { LiveRow::Put(vec![50]) } else { LiveRow::Keep },
            ..append_of(&store, &stream, &Head::START, 3)
        };
        let head = store.append(request).await.unwrap();
        let snapshot = |head: &Head| Snapshot {
            seq: head.seq,
            head_hash: head.hash,
            digest: head.hash,
            state_version: 1,
            bytes: vec![n; 9000],
        };
        store.put_snapshot(&stream, snapshot(&head)).await.unwrap();
        let head = fill(&store, &stream, &[1, 30]).await;
        store.put_snapshot(&stream, snapshot(&head)).await.unwrap();
    }
    fill(&store, &run("long"), &[400; 12]).await;
    for (workspace, kind) in [("other", StreamKind::Run), ("default", StreamKind::Scenario)] {
        fill(&store, &StreamId::new(workspace, kind, "r3").unwrap(), &[2]).await;
    }
    let report = store.check().await.unwrap();
    store.close().await.unwrap();
    report
}

async fn check(from: (&'static str, &Path), to: (&'static str, &Path), report: &CheckReport) -> Copied {
    let copied = copy(&url(from.0, from.1), &url(to.0, to.1), Durability::Process).await.unwrap();
    let store = open_files(to.0, to.1).await;
    assert_eq!((store.engine().0, &store.check().await.unwrap()), (to.0, report));
    let snapshot = store.newest_snapshot(&run("r7")).await.unwrap().unwrap();
    assert_eq!((snapshot.seq, snapshot.bytes), (34, vec![7; 9000]));
    assert_eq!(store.meta(&run("r7")).await.unwrap(), Some(vec![7, 7]));
    let live = Arc::new(Mutex::new(Vec::new()));
    let into = live.clone();
    let note = move |_: &str, id: &str, row: &[u8]| into.lock().unwrap().push((id.to_owned(), row.to_vec()));
    store.visit_live(StreamKind::Run, note).await.unwrap();
    assert_eq!((&*live.lock().unwrap(), store.live_is_whole()), (&vec![("r5".to_owned(), vec![50])], true));
    let head = verify(&store, &run("r7"), usize::MAX).await;
    append(&store, &run("r7"), &head, 2).await.expect("and it goes on");
    store.close().await.unwrap();
    copied
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_equals_its_source_in_any_engine() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        let report = sample(engine, &source).await;
        assert_eq!(report.damage, []);
        for other in ENGINES {
            let copied = check((engine, &source), (other, &dir.path().join(other)), &report).await;
            let counted = (copied.streams, copied.frames, copied.blobs, copied.snapshots);
            assert_eq!(counted, (15, 3 * 12 + 12 + 2, 13, 12), "{engine} to {other}");
            assert_eq!(copied.events, report.streams.iter().map(|s| s.events).sum::<u64>());
            assert!(copied.bytes_from > 0 && copied.bytes_to > 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_copied_is_refused_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (source, taken, target) = (dir.path().join("source"), dir.path().join("taken"), dir.path().join("target"));
    open_files("fjall", &source).await.close().await.unwrap();
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("file"), "").unwrap();
    let (from, to) = (url("fjall", &source), url("sled", &target));
    for (from, to) in [
        ("memory:", &to[..]),
        (&from, "memory:"),
        (&from, &url("sled", &taken)),
        (&from, &from),
        (&url("fjall", &dir.path().join("nowhere")), &to),
        (&from, "redb://x"),
    ] {
        let refused = copy(from, to, Durability::Process).await;
        assert!(matches!(refused, Err(CopyError::Usage(_))), "{from} {to}: {refused:?}");
    }
    let other = copy(&url("sled", &source), &to, Durability::Process).await.unwrap_err().to_string();
    assert!(other.contains("holds a store of the engine fjall; the URL names sled"), "{other}");
    let owner = open_files("fjall", &source).await;
    let locked = copy(&from, &to, Durability::Process).await;
    assert!(matches!(locked, Err(CopyError::Open { .. })), "{locked:?}");
    owner.close().await.unwrap();
    assert!(!target.exists() && !dir.path().join("nowhere").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_copy_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target, beside) = (dir.path().join("source"), dir.path().join("target"), dir.path().join("target.copying"));
    let report = sample("sled", &source).await;
    // What a killed copy leaves: some streams, in another engine even.
    let left = open_files("sled", &beside).await;
    fill(&left, &run("r3"), &[7]).await;
    let (from, to) = (url("sled", &source), url("fjall", &target));
    let locked = copy(&from, &to, Durability::Process).await;
    assert!(matches!(locked, Err(CopyError::Open { .. })), "a copy that is at work is left alone: {locked:?}");
    left.close().await.unwrap();
    check(("sled", &source), ("fjall", &target), &report).await;
    assert!(!beside.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_source_is_not_copied() {
    let dir = tempfile::tempdir().unwrap();
    let (source, target) = (dir.path().join("source"), dir.path().join("target"));
    let store = open_files("fjall", &source).await;
    let blob = Blob::new(vec![1]);
    let named =
        Append { frame: frame_with(&run("a"), &Head::START, 1, &[blob]), ..append_of(&store, &run("a"), &Head::START, 1) };
    store.append(named).await.unwrap();
    store.close().await.unwrap();
    let refused = copy(&url("fjall", &source), &url("sled", &target), Durability::Process).await.unwrap_err();
    assert!(matches!(&refused, CopyError::Read(e) if e.to_string().contains("is missing")), "{refused}");
    assert!(!target.exists());
}
