//! Deleted streams: unknown at once and for good, without a trace in lists and checks; the others are as they were.

mod store_support;

use std::sync::{Arc, Mutex};

use commedia_actors::store::blob::Snapshot;
use commedia_actors::store::live::LiveRow;
use commedia_actors::store::{Append, AppendError, Delete, Head, Mark, Options, Store, StreamId, StreamKind};
use store_support::*;

async fn delete(store: &Store, stream: &StreamId) -> Vec<(StreamId, AppendError)> {
    let expected = store.head(stream).await.unwrap();
    store.delete(vec![Delete { stream: stream.clone(), expected, lease: store.lease(stream), wall_ms: 1 }]).await.unwrap()
}

async fn is_unknown(store: &Store, stream: &StreamId) {
    assert_eq!(store.head(stream).await, Ok(Head::START));
    assert_eq!(store.read(stream, 1, 1000).await, Ok(vec![]));
    assert_eq!((store.meta(stream).await, store.newest_snapshot(stream).await), (Ok(None), Ok(None)));
    let listed = store.streams("default", StreamKind::Run, None, 100).await.unwrap();
    assert!(listed.iter().all(|listed| listed.stream != *stream), "{listed:?}");
    let report = store.check().await.unwrap();
    assert_eq!(report.damage, []);
    assert!(report.streams.iter().all(|checked| checked.stream != *stream));
    let again = append(store, stream, &Head::START, 1).await;
    assert!(matches!(again, Err(AppendError::Invalid(said)) if said.contains("was deleted")), "{again:?}");
    let mark =
        Mark { stream: stream.clone(), expected: Head::START, lease: store.lease(stream), meta: vec![], live: LiveRow::Keep };
    assert!(matches!(store.mark(mark).await, Err(AppendError::Invalid(_))));
    let snapshot = Snapshot { seq: 1, head_hash: Head::START.hash, digest: Head::START.hash, state_version: 1, bytes: vec![] };
    assert!(matches!(store.put_snapshot(stream, snapshot).await, Err(AppendError::Invalid(_))));
    // Whoever writes the live index anew may have read it before.
    store.list_live(vec![(stream.clone(), LiveRow::Put(vec![1]))], false).await.unwrap();
    let found: Arc<Mutex<Vec<String>>> = Arc::default();
    let into = found.clone();
    store.visit_live(StreamKind::Run, move |_, id, _| into.lock().unwrap().push(id.into())).await.unwrap();
    assert!(!found.lock().unwrap().iter().any(|id| id == stream.id()), "{stream} has a row in the live index");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_stream_is_unknown_for_good_and_the_others_are_as_they_were() {
    for place in [Place::memory(), Place::memory_in_groups(), Place::sled(), Place::fjall()] {
        let store = place.open().await;
        let streams: Vec<StreamId> = (0..9).map(|n| run(&format!("r{n}"))).collect();
        let mut heads = Vec::new();
        for stream in &streams {
            let request =
                Append { meta: Some(vec![1]), live: LiveRow::Put(vec![1]), ..append_of(&store, stream, &Head::START, 2) };
            let head = store.append(request).await.unwrap();
            let snapshot = Snapshot { seq: 2, head_hash: head.hash, digest: head.hash, state_version: 1, bytes: vec![7; 9000] };
            store.put_snapshot(stream, snapshot).await.unwrap();
            heads.push(fill(&store, stream, &[5, 40]).await);
        }
        // Some were there when the store was opened, so that the mark knows them; some are new.
        store.close().await.unwrap();
        let store = place.open().await;
        let new = run("new");
        fill(&store, &new, &[3]).await;
        let late = Delete { stream: streams[0].clone(), expected: Head::START, lease: store.lease(&streams[0]), wall_ms: 1 };
        let refused = store.delete(vec![late]).await.unwrap();
        assert!(matches!(&refused[..], [(stream, AppendError::Conflict { head })] if *stream == streams[0] && *head == heads[0]));
        for stream in streams[1..4].iter().chain([&new]) {
            assert_eq!(delete(&store, stream).await, []);
        }
        for (epoch, stage) in ["at once", "after opening", "and again"].iter().enumerate() {
            println!("{stage}");
            let store = if epoch == 0 { store.clone() } else { place.open().await };
            for stream in streams[1..4].iter().chain([&new]) {
                is_unknown(&store, stream).await;
            }
            for n in [0, 4, 5, 6, 7, 8] {
                assert_eq!(verify(&store, &streams[n], 1000).await, heads[n]);
                heads[n] = append(&store, &streams[n], &heads[n], 1).await.unwrap();
            }
            store.close().await.unwrap();
        }
    }
}

/// More rows than go at once, and a store that breaks in between: what is left goes after the next opening.
#[tokio::test]
async fn what_a_crash_leaves_of_a_long_stream_is_taken_away_later() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    let stream = run("long");
    fill(&store, &stream, &[1; 9000]).await;
    let full = store.engine().2;
    engine.refuse_opens(u64::MAX);
    engine.fail_after(1);
    let refused = delete(&store, &stream).await;
    assert_eq!(refused, [(stream.clone(), AppendError::Unknown)]);
    drop(store);
    // Were it the same engine, the store that was dropped might open it once more, now that it can, and fence the next.
    let store = engine.elsewhere().open(Options::default()).await;
    is_unknown(&store, &stream).await;
    assert!(store.engine().2 > full / 4, "half of it is there still");
    assert_eq!(store.sweep_leftovers().await.unwrap(), 1);
    assert!(store.engine().2 < 300, "{} bytes", store.engine().2);
    assert_eq!(store.sweep_leftovers().await.unwrap(), 0);
    is_unknown(&store, &stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_asks_for_the_format_that_knows_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_files("sled", dir.path()).await;
    let head = fill(&store, &run("a"), &[1]).await;
    store.close().await.unwrap();
    std::fs::write(dir.path().join("FORMAT"), "commedia store 1 sled\n").unwrap();
    let store = open_files("sled", dir.path()).await;
    assert_eq!((store.format(), verify(&store, &run("a"), 1).await), (1, head), "an older store is worked with as it is");
    let expected = head;
    let refused = store.delete(vec![Delete { stream: run("a"), expected, lease: store.lease(&run("a")), wall_ms: 1 }]).await;
    assert!(matches!(refused, Err(AppendError::Invalid(said)) if said.contains("commedia store migrate")));
    assert_eq!(verify(&store, &run("a"), 1).await, head);
    store.close().await.unwrap();
}
