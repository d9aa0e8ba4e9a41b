//! Compaction: room comes back, nothing else changes, whoever is at work goes on, and a crash leaves the old or the new.

mod store_support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use commedia_actors::store::blob::{Blob, Snapshot};
use commedia_actors::store::{Append, Delete, ENGINES, Head, Store, StreamId};
use store_support::samples::{examine, sample};
use store_support::*;

const DAY_MS: i64 = 24 * 3600 * 1000;

async fn put(store: &Store, stream: &StreamId, blobs: Vec<Blob>) -> Head {
    let request =
        Append { frame: frame_with(stream, &Head::START, 3, &blobs), blobs, ..append_of(store, stream, &Head::START, 3) };
    let head = store.append(request).await.unwrap();
    let snapshot = Snapshot { seq: 3, head_hash: head.hash, digest: head.hash, state_version: 1, bytes: vec![7; 9000] };
    store.put_snapshot(stream, snapshot).await.unwrap();
    head
}

async fn delete(store: &Store, streams: &[(StreamId, Head)]) {
    let wanted = |(stream, head): &(StreamId, Head)| Delete {
        stream: stream.clone(),
        expected: *head,
        lease: store.lease(stream),
        wall_ms: 0,
    };
    assert_eq!(store.delete(streams.iter().map(wanted).collect()).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_gives_its_room_back_and_nothing_else_changes() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let store = open_files(engine, dir.path()).await;
        let shared = Blob::new(vec![9; 5000]);
        let mut streams = Vec::new();
        for n in 0..200 {
            let stream = run(&format!("r{n:03}"));
            let own = Blob::new(payload(&stream, 7).repeat(200));
            let head = put(&store, &stream, vec![shared.clone(), own]).await;
            streams.push((stream, head));
        }
        delete(&store, &streams[10..]).await;
        let report = store.check().await.unwrap();
        let (own, gone) = (|n: usize| Blob::new(payload(&streams[n].0, 7).repeat(200)).name(), 50);
        assert!(store.blob("default", own(gone)).await.unwrap().is_some(), "blobs go with compaction");
        let (epoch, lease) = (store.epoch(), store.lease(&streams[3].0));
        let done = store.compact(DAY_MS).await.unwrap();
        println!("{engine}: {done:?}");
        assert!(done.bytes_after * 3 < done.bytes_before && done.dropped > 190, "{engine}: {done:?}");
        assert_eq!(store.blob("default", own(gone)).await, Ok(None));
        for n in 0..10 {
            assert!(store.blob("default", own(n)).await.unwrap().is_some());
        }
        assert_eq!((store.epoch(), store.check().await.unwrap()), (epoch, report));
        let again = Append { lease, ..append_of(&store, &streams[3].0, &streams[3].1, 2) };
        store.append(again).await.expect("nobody is fenced");
        assert!(append(&store, &streams[gone].0, &Head::START, 1).await.is_err(), "the tombstone is there still");
        let second = store.compact(DAY_MS).await.unwrap();
        assert_eq!(second.dropped, 0);
        assert_eq!(store.compact(40 * DAY_MS).await.unwrap().dropped, 190, "old tombstones go");
        assert_eq!(store.check().await.unwrap().damage, []);
        store.close().await.unwrap();
        let store = open_files(engine, dir.path()).await;
        assert_eq!((store.check().await.unwrap().damage, store.damage()), (vec![], vec![]));
        assert_eq!(store.head(&streams[gone].0).await, Ok(Head::START));
        assert_eq!(verify(&store, &streams[3].0, 1000).await.seq, 5);
        store.close().await.unwrap();
        let names = |suffix: &str| files(dir.path()).iter().filter(|path| path.to_string_lossy().contains(suffix)).count();
        assert_eq!((names(".compact"), names(".old")), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_at_work_goes_on() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let store = open_files(engine, dir.path()).await;
        for n in 0..300 {
            put(&store, &run(&format!("r{n}")), vec![Blob::new(vec![n as u8; 3000])]).await;
        }
        let (over, appends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..4 {
            let (store, over, appends) = (store.clone(), over.clone(), appends.clone());
            writers.spawn(async move {
                let stream = run(&format!("w{writer}"));
                let (mut head, lease) = (Head::START, store.lease(&stream));
                while !over.load(Ordering::SeqCst) {
                    // Every second one names a blob that nobody named for a while.
                    let old = Blob::new(vec![(head.seq % 7) as u8; 3000]);
                    let new = Blob::new(payload(&stream, head.seq + 1_000_000));
                    let blobs = vec![old, new];
                    let request = Append {
                        frame: frame_with(&stream, &head, 3, &blobs),
                        blobs,
                        lease,
                        ..append_of(&store, &stream, &head, 3)
                    };
                    head = store.append(request).await.expect("no append fails");
                    assert_eq!(store.head(&stream).await, Ok(head));
                    appends.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
                (stream, head)
            });
        }
        for _ in 0..3 {
            let reached = appends.load(Ordering::SeqCst) + 20;
            while appends.load(Ordering::SeqCst) < reached {
                tokio::task::yield_now().await;
            }
            store.compact(0).await.unwrap();
        }
        over.store(true, Ordering::SeqCst);
        let heads = writers.join_all().await;
        for stage in ["at once", "after opening"] {
            let store = if stage == "at once" { store.clone() } else { open_files(engine, dir.path()).await };
            assert_eq!(store.check().await.unwrap().damage, [], "{engine} {stage}");
            for (stream, head) in &heads {
                assert_eq!(verify(&store, stream, 100_000).await, *head, "{stage}");
            }
            store.close().await.unwrap();
        }
    }
}

/// Each moment at which a process may have died, as it leaves the folders.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_the_old_or_the_new() {
    for engine in ENGINES {
        for moment in ["while copying", "before the places change", "between", "before the old one goes"] {
            let dir = tempfile::tempdir().unwrap();
            let heads = sample(engine, dir.path(), 3).await;
            let at = |suffix: &str| dir.path().join(format!("{engine}{suffix}"));
            match moment {
                "while copying" => {
                    fs::create_dir(at(".compacting")).unwrap();
                    fs::write(at(".compacting").join("db"), "half").unwrap();
                }
                "before the places change" => copy_dir(&at(""), &at(".compacted")),
                "between" => {
                    copy_dir(&at(""), &at(".compacted"));
                    fs::rename(at(""), at(".old")).unwrap();
                }
                _ => copy_dir(&at(""), &at(".old")),
            }
            assert_eq!(examine(engine, dir.path(), &heads).await, None, "{engine}, {moment}");
            for suffix in [".compacting", ".compacted", ".old"] {
                assert!(!at(suffix).exists(), "{engine}, {moment}: {suffix}");
            }
        }
    }
}
