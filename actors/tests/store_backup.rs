//! Backups: written while the store is at work, restored to the same streams, refused where they are damaged.
//!
//! `COMMEDIA_FLIPS`: how often a backup is damaged (30); `COMMEDIA_FLIP_SEED`: the same again.

mod store_support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use commedia_actors::store::backup::{BackupError, Contents};
use commedia_actors::store::blob::{Blob, Snapshot};
use commedia_actors::store::engine::Durability;
use commedia_actors::store::live::LiveRow;
use commedia_actors::store::restore::{RestoreError, restore};
use commedia_actors::store::{Append, ENGINES, Head, Options, Store, StreamId, StreamKind};
use store_support::damage::Attack;
use store_support::*;

fn silent(_: &Contents) {}

async fn back_up(store: &Store, path: &Path) -> Contents {
    store.backup(path, &silent).await.unwrap()
}

async fn put_back(from: &Path, engine: &str, dir: &Path) -> Result<Contents, RestoreError> {
    restore(from, &url(engine, dir), Durability::Process, &silent).await
}

/// Streams of several kinds and workspaces with blobs, snapshots, lists' rows and live rows; one beyond one page.
async fn sample(store: &Store) {
    let shared = Blob::new(vec![9; 20_000]);
    for n in 0..9_u8 {
        let stream = run(&format!("r{n}"));
        let blobs = vec![shared.clone(), Blob::new(vec![n; 2000])];
        let request = Append {
            frame: frame_with(&stream, &Head::START, 3, &blobs),
            blobs,
            meta: Some(vec![n, n]),
            live: if n == 5 { LiveRow::Put(vec![50]) } else { LiveRow::Keep },
            ..append_of(store, &stream, &Head::START, 3)
        };
        let head = store.append(request).await.unwrap();
        let snapshot = Snapshot { seq: 3, head_hash: head.hash, digest: head.hash, state_version: 1, bytes: vec![n; 9000] };
        store.put_snapshot(&stream, snapshot).await.unwrap();
        fill(store, &stream, &[1, 30]).await;
    }
    fill(store, &run("long"), &[400; 12]).await;
    for (workspace, kind) in [("other", StreamKind::Run), ("default", StreamKind::Scenario)] {
        fill(store, &StreamId::new(workspace, kind, "r3").unwrap(), &[2]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_restored_is_what_was_backed_up_in_any_engine() {
    let dir = tempfile::tempdir().unwrap();
    for engine in ENGINES {
        let (source, file) = (dir.path().join(engine), dir.path().join(format!("{engine}.backup")));
        let store = open_files(engine, &source).await;
        sample(&store).await;
        let report = store.check().await.unwrap();
        let contents = back_up(&store, &file).await;
        let counted = (contents.streams, contents.frames, contents.blobs, contents.snapshots);
        assert_eq!(counted, (12, 3 * 9 + 12 + 2, 10, 9));
        assert_eq!((contents.bytes, contents.events), (fs::metadata(&file).unwrap().len(), 9 * 34 + 4800 + 4));
        store.close().await.unwrap();
        for other in ENGINES {
            let target = dir.path().join(format!("{engine}-{other}"));
            assert_eq!(put_back(&file, other, &target).await.unwrap(), contents);
            let store = open_files(other, &target).await;
            assert_eq!(store.check().await.unwrap(), report, "{engine} to {other}");
            let snapshot = store.newest_snapshot(&run("r7")).await.unwrap().unwrap();
            assert_eq!((snapshot.seq, snapshot.bytes), (3, vec![7; 9000]));
            let live = Arc::new(Mutex::new(Vec::new()));
            let into = live.clone();
            let note = move |_: &str, id: &str, row: &[u8]| into.lock().unwrap().push((id.to_owned(), row.to_vec()));
            store.visit_live(StreamKind::Run, note).await.unwrap();
            assert_eq!(*live.lock().unwrap(), [("r5".to_owned(), vec![50])]);
            let head = verify(&store, &run("r7"), usize::MAX).await;
            append(&store, &run("r7"), &head, 2).await.expect("and it goes on");
            store.close().await.unwrap();
        }
    }
    let left: Vec<_> = files(dir.path()).into_iter().filter(|path| path.to_string_lossy().contains(".restoring")).collect();
    assert_eq!(left, Vec::<std::path::PathBuf>::new());
}

/// Each stream is in it at least as far as it was acknowledged before, and as one unbroken chain.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_at_work_is_backed_up_stream_by_stream() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let store = open_files(engine, &dir.path().join("store")).await;
        let (over, appends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..6 {
            let (store, over, appends) = (store.clone(), over.clone(), appends.clone());
            writers.spawn(async move {
                let stream = run(&format!("w{writer}"));
                let mut head = Head::START;
                while !over.load(Ordering::SeqCst) {
                    let blob = Blob::new(payload(&stream, head.seq + 1_000_000));
                    let request = Append {
                        frame: frame_with(&stream, &head, 3, std::slice::from_ref(&blob)),
                        blobs: vec![blob],
                        meta: Some((head.seq + 3).to_be_bytes().to_vec()),
                        live: LiveRow::Put((head.seq + 3).to_be_bytes().to_vec()),
                        ..append_of(&store, &stream, &head, 3)
                    };
                    head = store.append(request).await.unwrap();
                    appends.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
                head
            });
        }
        let mut together = 0;
        for n in 0..2 {
            let reached = appends.load(Ordering::SeqCst) + 30;
            while appends.load(Ordering::SeqCst) < reached {
                tokio::task::yield_now().await;
            }
            let mut before = Vec::new();
            for writer in 0..6 {
                let stream = run(&format!("w{writer}"));
                before.push((store.head(&stream).await.unwrap(), stream));
            }
            let file = dir.path().join(format!("{n}.backup"));
            back_up(&store, &file).await;
            let target = dir.path().join(format!("restored-{n}"));
            put_back(&file, engine, &target).await.unwrap();
            let restored = open_files(engine, &target).await;
            for (head, stream) in before.iter().filter(|(head, _)| head.seq > 0) {
                let found = verify(&restored, stream, 10_000).await;
                assert!(found.seq >= head.seq, "{stream}: {found:?} after {head:?}");
                assert_eq!(
                    store.read(stream, found.seq, 1).await.unwrap()[0].head(),
                    found,
                    "it is one of the store's own heads"
                );
                let shown = restored.meta(stream).await.unwrap().unwrap();
                let shown = u64::from_be_bytes(shown.try_into().unwrap());
                assert!(shown <= found.seq, "lists never show more than there is");
                together += u32::from(shown == found.seq);
            }
            restored.close().await.unwrap();
        }
        over.store(true, Ordering::SeqCst);
        writers.join_all().await;
        assert!(together > 5, "{together} of 12 rows are of their head's moment");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_refused_at_its_place_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_files("fjall", &dir.path().join("store")).await;
    sample(&store).await;
    let (whole, copy, target) = (dir.path().join("whole"), dir.path().join("copy"), dir.path().join("target"));
    back_up(&store, &whole).await;
    store.close().await.unwrap();
    let bytes = fs::read(&whole).unwrap();
    let mut random = Random::from_env("COMMEDIA_FLIP_SEED");
    for n in 0..count_from_env("COMMEDIA_FLIPS", 30) {
        fs::write(&copy, &bytes).unwrap();
        let attack = [Attack::Flip, Attack::Cut, Attack::Grow, Attack::Zero][random.below(4) as usize];
        let done = attack.on(&copy, &mut random);
        if fs::read(&copy).unwrap() == bytes {
            continue;
        }
        let said = put_back(&copy, "sled", &target).await.expect_err("it must be refused").to_string();
        println!("{n}: {done}: {said}");
        assert!(said.contains("byte ") || said.contains("no backup") || said.contains("has format"), "{done}: {said}");
        assert!(!target.exists() && !dir.path().join("target.restoring").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_files("sled", &dir.path().join("store")).await;
    fill(&store, &run("a"), &[3]).await;
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(matches!(store.backup(&file, &silent).await, Err(BackupError::Taken(path)) if path == file));
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let nowhere = dir.path().join("nowhere/file");
    assert!(matches!(store.backup(&nowhere, &silent).await, Err(BackupError::File { .. })));
    // What a killed backup leaves is begun anew.
    let other = dir.path().join("other");
    fs::write(dir.path().join("other.partial"), vec![7; 100_000]).unwrap();
    back_up(&store, &other).await;
    assert!(!dir.path().join("other.partial").exists());
    let usage = async |from: &Path, to: &str| restore(from, to, Durability::Process, &silent).await.unwrap_err();
    let taken = url("sled", dir.path());
    assert!(matches!(usage(&other, &taken).await, RestoreError::Usage(said) if said.contains("is not empty")));
    assert!(matches!(usage(&other, "memory:").await, RestoreError::Usage(_)));
    let target = dir.path().join("target");
    for (from, expect) in [(&file, "it is no backup"), (&dir.path().join("nothing"), "No such file")] {
        let said = usage(from, &url("sled", &target)).await.to_string();
        assert!(said.contains(expect), "{said}");
    }
    assert!(!target.exists() && !dir.path().join("target.restoring").exists());
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_not_backed_up_as_if_it_were_whole() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    fill(&store, &run("good"), &[2, 3]).await;
    fill(&store, &run("bad"), &[2, 3]).await;
    engine.damage(&[b"bad\0", &3_u64.to_be_bytes()[..]].concat());
    let dir = tempfile::tempdir().unwrap();
    let said = store.backup(&dir.path().join("file"), &silent).await.unwrap_err().to_string();
    assert!(said.contains("default/run/bad"), "{said}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
