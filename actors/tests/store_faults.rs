//! The store when things go wrong below it: slow syncs, errors, panics, damaged rows, a dead actor, two owners.

mod store_support;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use commedia_actors::store::blob::Blob;
use commedia_actors::store::{Append, AppendError, Head, Options, ReadError, Store, StreamKind};
use store_support::*;

fn poll_once<T>(future: &mut std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// Until the store has been opened again after an error.
async fn until_reopened(store: &Store, epoch: u64) {
    while store.epoch() == epoch {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nobody_sees_what_is_not_synced_yet() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    let (old, new) = (run("old"), run("new"));
    let meta = |n| Some(vec![n]);
    let head = store.append(Append { meta: meta(1), ..append_of(&store, &old, &Head::START, 2) }).await.unwrap();
    engine.set_gate(false);
    let on_old = Append { meta: meta(2), ..append_of(&store, &old, &head, 3) };
    let mut on_old = pin!(store.append(on_old));
    assert!(poll_once(&mut on_old).is_pending());
    engine.until_waiting().await;
    let mut on_new = pin!(append(&store, &new, &Head::START, 1));
    assert!(poll_once(&mut on_new).is_pending());

    let seen = async |expected: Head, tag: u8, streams: usize| {
        assert_eq!(store.head(&old).await, Ok(expected));
        assert_eq!(verify(&store, &old, usize::MAX).await, expected);
        let listed = store.streams("default", StreamKind::Run, None, 10).await.unwrap();
        assert_eq!(listed.len(), streams);
        let listed = listed.into_iter().find(|l| l.stream == old).unwrap();
        assert_eq!((listed.head, listed.meta), (Ok(expected), vec![tag]));
    };
    seen(head, 1, 1).await;
    engine.set_gate(true);
    let head = on_old.await.unwrap();
    on_new.await.unwrap();
    seen(head, 2, 2).await;
}

#[tokio::test]
async fn what_arrives_during_a_sync_is_the_next_group() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    engine.set_gate(false);
    let mut tasks = tokio::task::JoinSet::new();
    let spawn = |tasks: &mut tokio::task::JoinSet<_>, n: u32| {
        let store = store.clone();
        tasks.spawn(async move { append(&store, &run(&format!("s{n}")), &Head::START, 1).await.unwrap() });
    };
    spawn(&mut tasks, 0);
    engine.until_waiting().await;
    (1..50).for_each(|n| spawn(&mut tasks, n));
    // The casts of all of them are made before this task's turn comes again on a runtime of one thread.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    engine.set_gate(true);
    assert_eq!(tasks.join_all().await.len(), 50);
    let stats = store.stats();
    assert_eq!((stats.groups, stats.writes, stats.syncs), (2, 50, 2));
}

#[tokio::test]
async fn the_queue_is_bounded_and_a_full_one_makes_callers_wait() {
    let engine = Faulty::new();
    let store = engine.open(Options { queue_bytes: 2048, ..Options::default() }).await;
    engine.set_gate(false);
    let (a, b, c) = (run("a"), run("b"), run("c"));
    let mut waiting = [
        pin!(append(&store, &a, &Head::START, 1)),
        pin!(append(&store, &b, &Head::START, 1)),
        pin!(append(&store, &c, &Head::START, 1)),
    ];
    for append in &mut waiting {
        assert!(poll_once(append).is_pending());
    }
    engine.until_waiting().await;
    engine.set_gate(true);
    for append in waiting {
        append.await.unwrap();
    }
    // More than the whole queue holds goes through alone.
    let blob = Blob::new(vec![1; 100_000]);
    store.put_blobs("w", vec![blob.clone()]).await.unwrap();
    assert_eq!(store.blob("w", blob.name()).await.unwrap().as_deref(), Some(blob.bytes()));
}

async fn check_error(fault: Fault, opens_refused: u64) {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    let (stream, epoch) = (run("a"), store.epoch());
    let head = fill(&store, &stream, &[2]).await;
    let lease = store.lease(&stream);
    engine.fail_next(fault);
    engine.refuse_opens(opens_refused);
    assert_eq!(append(&store, &stream, &head, 1).await, Err(AppendError::Unknown), "{fault:?}");
    if opens_refused > 0 {
        let refused = append(&store, &stream, &head, 1).await;
        assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
        assert_eq!(store.head(&stream).await, Ok(head), "reads go on, up to what was acknowledged");
        assert_eq!(verify(&store, &stream, usize::MAX).await, head);
    }
    until_reopened(&store, epoch).await;
    let stale = Append { lease, ..append_of(&store, &stream, &head, 1) };
    assert_eq!(store.append(stale).await, Err(AppendError::Fenced { epoch: epoch + 1 }));
    // Whether it was written is known now: only the failed sync had applied it.
    let head = store.head(&stream).await.unwrap();
    assert_eq!(head.seq, if fault == Fault::Sync { 3 } else { 2 });
    let head = append(&store, &stream, &head, 1).await.unwrap();
    assert_eq!(verify(&store, &stream, usize::MAX).await, head);
    assert_eq!(engine.opens(), 2 + opens_refused);
    assert_eq!(store.check().await.unwrap().damage, []);
}

#[tokio::test]
async fn after_an_error_the_engine_is_opened_again() {
    for fault in [Fault::Apply, Fault::Sync, Fault::Panic] {
        check_error(fault, 0).await;
    }
}

/// After an error of the disk sled may hide pages that its log has, while it takes writes.
#[tokio::test]
async fn an_engine_that_cannot_be_read_is_opened_again_once() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    let head = append(&store, &run("a"), &Head::START, 2).await.unwrap();
    for round in 1..=3 {
        engine.hide();
        let (a, none) = (run("a"), run("none"));
        let (one, other) = tokio::join!(store.head(&a), store.head(&none));
        assert_eq!((one, other), (Ok(head), Ok(Head::START)), "round {round}");
        assert_eq!(engine.opens(), 1 + round, "once for both");
    }
    append(&store, &run("a"), &head, 1).await.unwrap();
}

#[tokio::test]
async fn an_engine_that_does_not_open_is_tried_again() {
    check_error(Fault::Sync, 1).await;
}

#[tokio::test]
async fn everything_in_a_failed_group_is_unknown_and_what_comes_after_unavailable() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    engine.refuse_opens(u64::MAX);
    engine.set_gate(false);
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..20 {
        let store = store.clone();
        tasks.spawn(async move { append(&store, &run(&format!("s{n}")), &Head::START, 1).await });
    }
    engine.until_waiting().await;
    engine.fail_next(Fault::Sync);
    engine.set_gate(true);
    let answers = tasks.join_all().await;
    let unknown = answers.iter().filter(|a| **a == Err(AppendError::Unknown)).count();
    let unavailable = answers.iter().filter(|a| matches!(a, Err(AppendError::Unavailable(_)))).count();
    assert!(unknown >= 1 && unknown + unavailable == 20, "{answers:?}");
    for n in 0..20 {
        assert_eq!(store.head(&run(&format!("s{n}"))).await, Ok(Head::START));
    }
    assert_eq!(store.every_stream(None, 100).await, Ok(vec![]));
}

#[tokio::test]
async fn a_damaged_stream_is_refused_and_the_rest_served() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    let (bad, good) = (run("bad"), run("good"));
    let bad_head = fill(&store, &bad, &[1, 1]).await;
    let good_head = fill(&store, &good, &[1]).await;
    store.close().await.unwrap();
    let store = engine.open(Options::default()).await;
    engine.damage(b"bad\0");
    let Err(ReadError::Damaged(damage)) = store.head(&bad).await else { panic!() };
    assert_eq!((damage.stream, &damage.what[..]), (Some(bad.clone()), "a bad page"));
    assert!(matches!(store.read(&bad, 1, 100).await, Err(ReadError::Damaged(_))));
    let (on_bad, on_good) = tokio::join!(append(&store, &bad, &bad_head, 1), append(&store, &good, &good_head, 1));
    assert!(matches!(on_bad, Err(AppendError::Damaged(_))), "{on_bad:?}");
    assert_eq!(verify(&store, &good, 1).await, on_good.unwrap());
    assert_eq!(engine.opens(), 2, "a damaged stream is no reason to open again");
}

#[tokio::test]
async fn what_comes_before_a_bad_place_is_served_and_the_place_is_never_taken_for_the_end() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    let stream = run("bad");
    fill(&store, &stream, &[2, 3, 4, 1]).await;
    engine.damage(&[b"bad\0", &6_u64.to_be_bytes()[..]].concat());
    for (from, expect) in
        [(1, Some(vec![2, 5])), (2, Some(vec![2, 5])), (3, Some(vec![5])), (5, Some(vec![5])), (6, None), (7, None)]
    {
        let read = store.read(&stream, from, usize::MAX).await;
        let heads = read.as_ref().map(|frames| frames.iter().map(|f| f.head().seq).collect::<Vec<_>>());
        assert_eq!(heads.ok(), expect, "from {from}: {read:?}");
    }
    assert_eq!(store.head(&stream).await.unwrap().seq, 10);
    let report = store.check().await.unwrap();
    assert_eq!((report.damage[0].seq, report.streams[0].head.seq, report.streams[0].whole), (Some(6), 5, false));
}

/// However little is asked for at once.
#[tokio::test]
async fn what_comes_before_a_missing_frame_is_served_and_the_frame_is_never_taken_for_the_end() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    let stream = run("bad");
    fill(&store, &stream, &[2, 3, 4, 1]).await;
    engine.lose(&[b"bad\0", &6_u64.to_be_bytes()[..]].concat());
    for max_bytes in [1, 100, 300, 1000, usize::MAX] {
        let (mut at, mut seen) = (Head::START, Vec::new());
        let end = loop {
            match store.read_after(&stream, &at, max_bytes).await {
                Ok(frames) if frames.is_empty() => panic!("{max_bytes} bytes at once: it seems to end at {}", at.seq),
                Ok(frames) => {
                    at = frames.last().unwrap().head();
                    seen.extend(frames.iter().map(|frame| frame.head().seq));
                }
                Err(e) => break e,
            }
        };
        assert!(matches!(end, ReadError::Damaged(_)), "{max_bytes} bytes at once: {end}");
        assert!([2, 5].starts_with(&seen), "{max_bytes} bytes at once: {seen:?}");
    }
}

#[tokio::test]
async fn half_a_group_in_the_engine_is_not_seen() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    let stream = run("a");
    let head = fill(&store, &stream, &[3, 2]).await;
    engine.fail_next(Fault::Half);
    engine.refuse_opens(u64::MAX);
    assert_eq!(append(&store, &stream, &head, 200).await, Err(AppendError::Unknown));
    assert!(append(&store, &run("b"), &Head::START, 1).await.is_err());
    assert_eq!(store.head(&stream).await, Ok(head));
    for page_bytes in [1, 500, usize::MAX] {
        assert_eq!(verify(&store, &stream, page_bytes).await, head);
    }
    assert_eq!(store.read(&stream, 6, 1).await, Ok(vec![]));
}

#[tokio::test]
async fn a_dead_store_actor_can_be_revived() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    let stream = run("a");
    let head = fill(&store, &stream, &[1]).await;
    let lease = store.lease(&stream);
    store.cell().kill();
    store.cell().wait(None).await.unwrap();
    assert!(matches!(append(&store, &stream, &head, 1).await, Err(AppendError::Unavailable(_))));
    assert_eq!(store.head(&stream).await, Ok(head), "reads need no actor");
    store.revive().await.unwrap();
    let stale = Append { lease, ..append_of(&store, &stream, &head, 1) };
    assert!(matches!(store.append(stale).await, Err(AppendError::Fenced { .. })));
    append(&store, &stream, &head, 1).await.unwrap();
}

#[tokio::test]
async fn of_two_stores_on_one_memory_the_older_is_fenced() {
    for place in [Place::memory(), Place::memory_in_groups()] {
        let older = place.open().await;
        let (stream, other) = (run("a"), run("b"));
        let head = fill(&older, &stream, &[1]).await;
        let owner = place.open().await;
        let fenced = Err(AppendError::Fenced { epoch: owner.epoch() });
        assert_eq!(append(&older, &stream, &head, 1).await, fenced);
        assert_eq!(append(&older, &other, &Head::START, 1).await, fenced);
        let newer = append(&owner, &stream, &head, 1).await.unwrap();
        assert_eq!(append(&older, &stream, &newer, 1).await, fenced, "not even with the right head");
        assert_eq!(append(&older, &stream, &Head::START, 1).await, fenced, "nor a conflict");
        assert_eq!(older.head(&stream).await, Ok(newer));
        assert_eq!(verify(&owner, &stream, 1).await, newer);
    }
}

#[tokio::test]
async fn a_write_without_an_answer_is_unknown_in_the_end() {
    let engine = Faulty::new();
    let store = engine.open(Options { timeout: Duration::from_millis(10), ..Options::default() }).await;
    engine.set_gate(false);
    assert_eq!(append(&store, &run("a"), &Head::START, 1).await, Err(AppendError::Unknown));
    engine.set_gate(true);
}

#[tokio::test]
async fn every_group_is_observed() {
    #[derive(Default)]
    struct Seen(std::sync::Mutex<Vec<(usize, u32)>>);
    impl commedia_actors::store::Observe for Seen {
        fn committed(&self, group: &commedia_actors::store::Group) {
            assert!(group.bytes > 0);
            self.0.lock().unwrap().push((group.jobs, group.syncs));
        }
    }
    let seen = Arc::new(Seen::default());
    let store = Faulty::new().open(Options { observer: Some(seen.clone()), ..Options::default() }).await;
    fill(&store, &run("a"), &[1, 1]).await;
    assert_eq!(*seen.0.lock().unwrap(), [(1, 1), (1, 1)]);
}
