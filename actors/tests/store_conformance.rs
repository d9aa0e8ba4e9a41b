//! What every engine must do: one suite, run on each. A further engine is one more line at the end.

mod store_support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use commedia_actors::store::blob::{Blob, Snapshot, blob_name};
use commedia_actors::store::engine::{Batch, Durability, Engine, EngineError, Guard, Order, ROW_LIMIT, Visit};
use commedia_actors::store::frame::{FRAME_LIMIT, FrameBuilder, Lane};
use commedia_actors::store::live::LiveRow;
use commedia_actors::store::memory::MemoryEngine;
use commedia_actors::store::migrate::migrate;
use commedia_actors::store::{
    Append, AppendError, Head, Lease, META_LIMIT, Mark, Options, STORE_FORMAT, Store, StreamId, StreamKind,
};
use commedia_domain::id::Hash32;
use proptest::prelude::*;
use store_support::*;

async fn a_stream_grows_frame_by_frame(place: &Place) {
    let store = place.open().await;
    let stream = run("a");
    assert_eq!(store.head(&stream).await, Ok(Head::START));
    assert_eq!(store.read(&stream, 1, 1000).await, Ok(vec![]));
    let one = append(&store, &stream, &Head::START, 3).await.unwrap();
    assert_eq!(one.seq, 3);
    assert_eq!(one, frame(&stream, &Head::START, 3).head());
    let two = append(&store, &stream, &one, 1).await.unwrap();
    assert_eq!((two.seq, store.head(&stream).await), (4, Ok(two)));
    assert_eq!(verify(&store, &stream, 1).await, two);
    assert_eq!(store.read(&stream, 1, usize::MAX).await, store.read(&stream, 0, usize::MAX).await, "read twice, same answer");
}

async fn a_wrong_head_is_a_conflict_that_names_the_right_one(place: &Place) {
    let store = place.open().await;
    let stream = run("a");
    let head = fill(&store, &stream, &[2, 1]).await;
    let earlier = frame(&stream, &Head::START, 2).head();
    for wrong in [Head::START, earlier, Head { seq: 3, hash: Hash32([9; 32]) }, Head { seq: 9, ..head }] {
        assert_eq!(append(&store, &stream, &wrong, 1).await, Err(AppendError::Conflict { head }));
    }
    let unfounded = Append { frame: frame(&stream, &earlier, 1), ..append_of(&store, &stream, &head, 1) };
    assert!(matches!(store.append(unfounded).await, Err(AppendError::Invalid(_))));
    assert_eq!(append(&store, &run("none"), &head, 1).await, Err(AppendError::Conflict { head: Head::START }));
    assert_eq!(verify(&store, &stream, 9999).await, head);
}

async fn an_outdated_lease_is_fenced(place: &Place) {
    let store = place.open().await;
    let stream = run("a");
    let head = fill(&store, &stream, &[1]).await;
    let old = store.lease(&stream);
    store.close().await.unwrap();
    let store = place.open().await;
    let epoch = store.epoch();
    assert!(epoch > old.epoch);
    let stale = Append { lease: old, ..append_of(&store, &stream, &head, 1) };
    assert_eq!(store.append(stale).await, Err(AppendError::Fenced { epoch }));
    let elsewhere = Lease { shard: (old.shard + 1) % 1024, epoch };
    let stale = Append { lease: elsewhere, ..append_of(&store, &stream, &head, 1) };
    assert!(matches!(store.append(stale).await, Err(AppendError::Invalid(_))));
    assert_eq!(append(&store, &stream, &head, 1).await.unwrap().seq, 2);
}

async fn reading_begins_with_the_frame_that_holds_the_seq(place: &Place) {
    let store = place.open().await;
    let stream = run("a");
    let head = fill(&store, &stream, &[3, 1, 5, 2]).await;
    let starts = [1, 1, 1, 4, 5, 5, 5, 5, 5, 10, 10];
    for (from, start) in (1..).zip(starts) {
        let frames = store.read(&stream, from, 1).await.unwrap();
        assert_eq!(frames.iter().map(|f| f.header.first_seq).collect::<Vec<_>>(), [start], "from {from}");
        let rest = store.read(&stream, from, usize::MAX).await.unwrap();
        assert_eq!((rest[0].header.first_seq, rest.last().unwrap().head()), (start, head));
    }
    assert_eq!(store.read(&stream, 12, usize::MAX).await, Ok(vec![]));
    assert_eq!(store.read(&stream, u64::MAX, usize::MAX).await, Ok(vec![]));
    let elsewhere = Head { seq: 3, hash: Hash32([1; 32]) };
    assert!(store.read_after(&stream, &elsewhere, 1).await.unwrap_err().to_string().contains("hash chain"));
}

async fn frames_of_every_size_come_back(place: &Place) {
    let store = place.open().await;
    let stream = run("big");
    let mut head = Head::START;
    let mut expected = Vec::new();
    for size in [0, 1, ROW_LIMIT - 250, ROW_LIMIT, 3 * ROW_LIMIT + 7, 100_000, FRAME_LIMIT - 250] {
        let mut builder = FrameBuilder::new(1, &head, 1, cause());
        let bytes: Vec<u8> = (0..size).map(|i| (i * 7 + size) as u8).collect();
        builder.push(Lane::Canonical, &bytes).unwrap();
        let append = Append { frame: builder.encode().unwrap(), ..append_of(&store, &stream, &head, 1) };
        head = store.append(append).await.unwrap();
        expected.push(bytes);
    }
    store.close().await.unwrap();
    let store = place.open().await;
    let frames = store.read(&stream, 1, usize::MAX).await.unwrap();
    assert_eq!(frames.into_iter().map(|f| f.records[0].bytes.clone()).collect::<Vec<_>>(), expected);
    assert_eq!(store.check().await.unwrap().damage, []);
}

async fn what_is_too_large_is_refused_before_it_is_queued(place: &Place) {
    let store = place.open().await;
    let stream = run("a");
    let meta = |len| Some(vec![1; len]);
    let fits = Append { meta: meta(META_LIMIT), ..append_of(&store, &stream, &Head::START, 1) };
    let head = store.append(fits).await.unwrap();
    let large = Append { meta: meta(META_LIMIT + 1), ..append_of(&store, &stream, &head, 1) };
    let expected = AppendError::TooLarge { what: "the meta row", bytes: META_LIMIT + 1, limit: META_LIMIT };
    assert_eq!(store.append(large).await, Err(expected));
    assert_eq!(store.head(&stream).await, Ok(head));
}

async fn lists_are_paged_in_order_and_show_the_last_meta(place: &Place) {
    let store = place.open().await;
    let mut expected = BTreeMap::new();
    for n in 0..25_u8 {
        let stream = run(&format!("r{n:02}"));
        let meta = Some(vec![n]);
        let head = store.append(Append { meta, ..append_of(&store, &stream, &Head::START, 2) }).await.unwrap();
        expected.insert(stream.clone(), (head, vec![n]));
        if n.is_multiple_of(2) {
            let meta = (n.is_multiple_of(4)).then(|| vec![n, n]);
            let shown = meta.clone().unwrap_or(vec![n]);
            let head = store.append(Append { meta, ..append_of(&store, &stream, &head, 1) }).await.unwrap();
            expected.insert(stream, (head, shown));
        }
    }
    let strangers = [("default", StreamKind::Sweep), ("default2", StreamKind::Run), ("defaul", StreamKind::Run)];
    for (workspace, kind) in strangers {
        fill(&store, &StreamId::new(workspace, kind, "r03").unwrap(), &[1]).await;
    }
    let mut names: Vec<_> = expected.keys().cloned().collect();
    names.sort_by(|a, b| a.id().cmp(b.id()));
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = store.streams("default", StreamKind::Run, after.as_ref(), 10).await.unwrap();
        assert!(page.len() <= 10);
        let Some(last) = page.last() else { break };
        after = Some(last.stream.clone());
        for listed in page {
            assert_eq!((listed.head, listed.meta), (Ok(expected[&listed.stream].0), expected[&listed.stream].1.clone()));
            seen.push(listed.stream);
        }
    }
    assert_eq!(seen, names);
    assert_eq!(store.every_stream(None, 100).await.unwrap().len(), 28);
    assert_eq!(store.streams("nobody", StreamKind::Run, None, 10).await, Ok(vec![]));
    assert_eq!(store.streams("default", StreamKind::Run, None, 0).await, Ok(vec![]));
}

async fn blobs_are_found_by_their_names_in_their_workspace(place: &Place) {
    let store = place.open().await;
    let sizes = [0, 1, ROW_LIMIT - 6, ROW_LIMIT - 5, ROW_LIMIT - 4, 2 * ROW_LIMIT - 5, 100_000, 3_000_000];
    let blobs: Vec<Blob> = sizes.iter().map(|size| Blob::new((0..*size).map(|i| (i % 251) as u8).collect())).collect();
    store.put_blobs("w", blobs[..4].to_vec()).await.unwrap();
    let stream = StreamId::new("w", StreamKind::Run, "a").unwrap();
    let with_blobs = Append {
        frame: frame_with(&stream, &Head::START, 1, &blobs),
        blobs: blobs.clone(),
        ..append_of(&store, &stream, &Head::START, 1)
    };
    store.append(with_blobs).await.unwrap();
    store.put_blobs("w", blobs.clone()).await.unwrap();
    store.close().await.unwrap();
    let store = place.open().await;
    for blob in &blobs {
        assert_eq!(store.blob("w", blob.name()).await.unwrap().as_deref(), Some(blob.bytes()));
        assert_eq!(store.blob("v", blob.name()).await, Ok(None));
        assert_eq!(blob_name(blob.bytes()), blob.name());
    }
    assert_eq!(store.blob("w", Hash32([0; 32])).await, Ok(None));
    assert!(store.put_blobs("no/name", blobs).await.is_err());
    assert_eq!(store.check().await.unwrap().damage, []);
}

async fn a_named_blob_that_is_missing_is_damage(place: &Place) {
    let store = place.open().await;
    let stream = run("a");
    let blob = Blob::new(vec![1]);
    let named = Append { frame: frame_with(&stream, &Head::START, 1, &[blob]), ..append_of(&store, &stream, &Head::START, 1) };
    store.append(named).await.unwrap();
    let damage = store.check().await.unwrap().damage;
    assert_eq!(damage.len(), 1);
    assert!(damage[0].to_string().starts_with("default/run/a, event 1: blob ") && damage[0].what.ends_with(" is missing"));
}

async fn the_newest_snapshot_and_the_one_before_are_kept(place: &Place) {
    let store = place.open().await;
    let stream = run("a");
    let head = fill(&store, &stream, &[10, 10, 10]).await;
    let snapshot = |seq, len: usize| Snapshot {
        seq,
        head_hash: head.hash,
        digest: Hash32([5; 32]),
        state_version: 2,
        bytes: (0..len).map(|i| (i % 249) as u8).collect(),
    };
    assert_eq!(store.newest_snapshot(&stream).await, Ok(None));
    for (seq, len) in [(10, 50_000), (20, 0), (30, 1_000_000), (30, 7)] {
        store.put_snapshot(&stream, snapshot(seq, len)).await.unwrap();
        assert_eq!(store.newest_snapshot(&stream).await, Ok(Some(snapshot(seq, len))));
    }
    store.close().await.unwrap();
    let store = place.open().await;
    assert_eq!(store.newest_snapshot(&stream).await, Ok(Some(snapshot(30, 7))));
    assert_eq!(store.newest_snapshot(&run("b")).await, Ok(None));
    store.put_snapshot(&stream, snapshot(31, 1)).await.unwrap();
    assert_eq!(store.newest_snapshot(&stream).await, Ok(None), "nobody acknowledged event 31");
    assert_eq!(store.check().await.unwrap().damage, []);
}

async fn everything_is_there_after_opening_again(place: &Place) {
    let mut heads = BTreeMap::new();
    for round in 0..3_u64 {
        let store = place.open().await;
        for n in 0..20 {
            let stream = run(&format!("r{n}"));
            assert_eq!(store.head(&stream).await.ok(), Some(heads.get(&stream).copied().unwrap_or(Head::START)));
            let head = fill(&store, &stream, &[1 + n % 3, round + 1]).await;
            heads.insert(stream, head);
        }
        if round == 1 {
            store.close().await.unwrap();
        } else {
            // A dropped handle closes as well, some time after.
            let cell = store.cell();
            drop(store);
            cell.wait(None).await.unwrap();
        }
    }
    let store = place.open().await;
    let report = store.check().await.unwrap();
    assert_eq!((report.damage, report.streams.len(), store.damage()), (vec![], 20, vec![]));
    for found in report.streams {
        assert_eq!((found.head, found.whole, found.events), (heads[&found.stream], true, found.head.seq));
        assert_eq!(verify(&store, &found.stream, 2000).await, found.head);
    }
}

async fn of_many_writers_one_wins_each_seq(place: &Place) {
    let store = place.open().await;
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..8 {
        let (store, shared, own) = (store.clone(), run("shared"), run(&format!("own-{writer}")));
        tasks.spawn(async move {
            let mut wins = 0;
            let mut head = Head::START;
            let mut mine = Head::START;
            while wins < 10 {
                match append(&store, &shared, &head, 1).await {
                    Ok(new) => (head, wins) = (new, wins + 1),
                    Err(AppendError::Conflict { head: other }) => head = other,
                    Err(e) => panic!("{e}"),
                }
                mine = append(&store, &own, &mine, 2).await.unwrap();
            }
            (own, mine)
        });
    }
    let own = tasks.join_all().await;
    assert_eq!(verify(&store, &run("shared"), 500).await.seq, 80);
    for (stream, head) in own {
        assert_eq!(verify(&store, &stream, usize::MAX).await, head);
    }
}

async fn a_closed_store_refuses_everything(place: &Place) {
    let store = place.open().await;
    let stream = run("a");
    let head = fill(&store, &stream, &[1]).await;
    store.close().await.unwrap();
    assert!(matches!(append(&store, &stream, &head, 1).await, Err(AppendError::Unavailable(_))));
    assert!(matches!(store.put_blobs("w", vec![]).await, Err(AppendError::Unavailable(_))));
    let store = place.open().await;
    assert_eq!(store.head(&stream).await, Ok(head));
}

/// A step of the property test.
#[derive(Clone, Debug)]
enum Step {
    Append { stream: u8, count: u64, meta: Option<Vec<u8>>, live: LiveRow, wrong: bool },
    Mark { stream: u8, meta: Vec<u8>, live: LiveRow },
    Reopen,
    Migrate { to: u32 },
    Read { stream: u8, from: u64, bytes: usize },
    List { after: Option<u8>, limit: usize },
    Newest { before: Option<u8>, limit: usize, with: Option<u8> },
    Live,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..20);
    let live = || {
        let row = proptest::collection::vec(0..4_u8, 0..9);
        prop_oneof![4 => Just(LiveRow::Keep), 2 => row.prop_map(LiveRow::Put), 1 => Just(LiveRow::Remove)]
    };
    let step = prop_oneof![
        8 => (0..4_u8, 1..9_u64, proptest::option::of(bytes()), live(), proptest::bool::weighted(0.1))
            .prop_map(|(stream, count, meta, live, wrong)| Step::Append { stream, count, meta, live, wrong }),
        1 => (0..4_u8, bytes(), live()).prop_map(|(stream, meta, live)| Step::Mark { stream, meta, live }),
        1 => Just(Step::Reopen),
        1 => (1..=STORE_FORMAT).prop_map(|to| Step::Migrate { to }),
        4 => (0..5_u8, 0..60_u64, 1..5000_usize).prop_map(|(stream, from, bytes)| Step::Read { stream, from, bytes }),
        2 => (proptest::option::of(0..5_u8), 0..6_usize).prop_map(|(after, limit)| Step::List { after, limit }),
        2 => (proptest::option::of(0..5_u8), 0..6_usize, proptest::option::of(0..2_u8))
            .prop_map(|(before, limit, with)| Step::Newest { before, limit, with }),
        1 => Just(Step::Live),
    ];
    proptest::collection::vec(step, 1..40)
}

/// Ids and rows of the live index.
type Lives = Vec<(String, Vec<u8>)>;

/// What a stream must hold: each frame's head, the meta bytes, the row of the live index.
type Model = BTreeMap<u8, (Vec<Head>, Vec<u8>, Option<Vec<u8>>)>;

fn relist(row: &mut Option<Vec<u8>>, live: LiveRow) {
    match live {
        LiveRow::Keep => {}
        LiveRow::Put(bytes) => *row = Some(bytes),
        LiveRow::Remove => *row = None,
    }
}

async fn behaves_as_the_model(place: &Place, steps: Vec<Step>) {
    let name = |n: u8| run(&format!("s{n}"));
    let mut store = place.open().await;
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Append { stream, count, meta, live, wrong } => {
                let (heads, known, row) = model.entry(stream).or_default();
                let head = heads.last().copied().unwrap_or(Head::START);
                let expected = if wrong { Head { seq: head.seq + 1, ..head } } else { head };
                let request = append_of(&store, &name(stream), &expected, count);
                let answer = store.append(Append { meta: meta.clone(), live: live.clone(), ..request }).await;
                if wrong {
                    assert_eq!(answer, Err(AppendError::Conflict { head }));
                } else {
                    heads.push(answer.unwrap());
                    *known = meta.unwrap_or(std::mem::take(known));
                    relist(row, live);
                }
            }
            Step::Mark { stream, meta, live } => {
                let Some((heads, known, row)) = model.get_mut(&stream).filter(|m| !m.0.is_empty()) else { continue };
                let (expected, name) = (heads[heads.len() - 1], name(stream));
                let lease = store.lease(&name);
                store.mark(Mark { stream: name, expected, lease, meta: meta.clone(), live: live.clone() }).await.unwrap();
                *known = meta;
                relist(row, live);
            }
            Step::Migrate { to } => {
                let Place::Files { engine, dir } = place else { continue };
                store.close().await.unwrap();
                assert_eq!(migrate(&url(engine, dir.path()), Some(to), Durability::Fsync).await.unwrap().1, to);
                store = place.open().await;
                assert_eq!(store.format(), to);
            }
            Step::Newest { before, limit, with } => {
                let before_name = before.map(name);
                // Without a meta byte it is unlike any.
                let keep = move |_: &StreamId, meta: Option<&[u8]>| {
                    with.is_none_or(|bit| meta.and_then(|meta| meta.first()).is_some_and(|byte| byte & 1 == bit))
                };
                let listed = store.newest("default", StreamKind::Run, before_name.as_ref(), limit, keep).await.unwrap();
                let listed: Vec<_> = listed.into_iter().map(|l| (l.stream, l.head.unwrap(), l.meta)).collect();
                let wanted = |m: &(Vec<Head>, Vec<u8>, Option<Vec<u8>>)| {
                    !m.0.is_empty() && with.is_none_or(|bit| m.1.first().is_some_and(|byte| byte & 1 == bit))
                };
                let expected = model.iter().rev().filter(|(n, m)| before.is_none_or(|before| **n < before) && wanted(m));
                let expected: Vec<_> = expected.take(limit).map(|(n, m)| (name(*n), m.0[m.0.len() - 1], m.1.clone())).collect();
                assert_eq!(listed, expected);
            }
            Step::Live => {
                let found: Arc<Mutex<Lives>> = Arc::default();
                let into = found.clone();
                let visit = move |_: &str, id: &str, row: &[u8]| into.lock().unwrap().push((id.into(), row.into()));
                store.visit_live(StreamKind::Run, visit).await.unwrap();
                let expected = model.iter().filter_map(|(n, m)| Some((name(*n).id().to_owned(), m.2.clone()?)));
                assert_eq!(*found.lock().unwrap(), expected.collect::<Lives>());
            }
            Step::Reopen => {
                store.close().await.unwrap();
                store = place.open().await;
            }
            Step::Read { stream, from, bytes } => {
                let heads = model.get(&stream).map_or(&[][..], |m| &m.0);
                let expected = heads.iter().filter(|head| head.seq >= from.max(1));
                let read = store.read(&name(stream), from, bytes).await.unwrap();
                let read: Vec<Head> = read.iter().inspect(|f| check_payloads(&name(stream), f)).map(|f| f.head()).collect();
                let expected: Vec<Head> = expected.copied().collect();
                assert!(expected.starts_with(&read) && read.is_empty() == expected.is_empty(), "{read:?} {expected:?}");
            }
            Step::List { after, limit } => {
                let listed = store.streams("default", StreamKind::Run, after.map(name).as_ref(), limit).await.unwrap();
                let listed: Vec<_> = listed.into_iter().map(|l| (l.stream, l.head.unwrap(), l.meta)).collect();
                let expected = model.iter().filter(|(n, m)| after.is_none_or(|after| **n > after) && !m.0.is_empty());
                let expected: Vec<_> = expected.take(limit).map(|(n, m)| (name(*n), m.0[m.0.len() - 1], m.1.clone())).collect();
                assert_eq!(listed, expected);
            }
        }
    }
    assert_eq!(store.check().await.unwrap().damage, []);
}

type Happening = Box<dyn FnOnce() + Send>;

/// An engine in memory at which something happens once between the scans of a list.
#[derive(Clone, Default)]
struct Meanwhile {
    memory: MemoryEngine,
    happens: Arc<Mutex<Option<Happening>>>,
    /// Rows that scans have shown.
    shown: Arc<AtomicUsize>,
}

impl Meanwhile {
    async fn open(&self) -> Store {
        let engine = self.clone();
        let open = Box::new(move || Ok(Arc::new(engine.clone()) as Arc<dyn Engine>));
        Store::open_engine(open, Durability::Fsync, false, Options::default()).await.unwrap()
    }
}

impl Engine for Meanwhile {
    fn name(&self) -> &'static str {
        "meanwhile"
    }

    fn apply(&self, guard: Guard<'_>, batch: &Batch) -> Result<(), EngineError> {
        self.memory.apply(guard, batch)
    }

    fn sync(&self, durability: Durability) -> Result<u32, EngineError> {
        self.memory.sync(durability)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
        self.memory.get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], order: Order, visit: &mut Visit<'_>) -> Result<(), EngineError> {
        self.memory.scan(from, to, order, &mut |key, value| {
            self.shown.fetch_add(1, Ordering::Relaxed);
            visit(key, value)
        })?;
        let happens = self.happens.lock().unwrap().take();
        happens.into_iter().for_each(|happens| happens());
        Ok(())
    }

    fn size_bytes(&self) -> u64 {
        self.memory.size_bytes()
    }

    fn blocks(&self) -> bool {
        true
    }

    fn close(&self) -> Result<(), EngineError> {
        self.memory.close()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_shows_streams_once_that_end_while_it_is_read() {
    let engine = Meanwhile::default();
    let store = engine.open().await;
    let mut heads = Vec::new();
    for n in 0..9 {
        let stream = run(&format!("s{n}"));
        let live = if n % 3 == 0 { LiveRow::Keep } else { LiveRow::Put(vec![0]) };
        let begun = Append { meta: Some(b"works".into()), live, ..append_of(&store, &stream, &Head::START, 1) };
        heads.push((stream, store.append(begun).await.unwrap()));
    }
    let ended = |n: usize| matches!(n, 1 | 4 | 5);
    let ends: Vec<Append> = (0..9)
        .filter(|n| ended(*n))
        .map(|n| {
            let (stream, head) = &heads[n];
            Append { meta: Some(b"ended".into()), live: LiveRow::Remove, ..append_of(&store, stream, head, 1) }
        })
        .collect();
    let (writer, runtime) = (store.clone(), tokio::runtime::Handle::current());
    *engine.happens.lock().unwrap() = Some(Box::new(move || {
        ends.into_iter().for_each(|end| assert!(runtime.block_on(writer.append(end)).is_ok()));
    }));
    let listed = store.newest("default", StreamKind::Run, None, 7, |_, _| true).await.unwrap();
    assert!(engine.happens.lock().unwrap().is_none());
    let shown: Vec<(&str, &[u8])> = listed.iter().map(|l| (l.stream.id(), &l.meta[..])).collect();
    let meta = |n: usize| if ended(n) { &b"ended"[..] } else { b"works" };
    let expected: Vec<(&str, &[u8])> = (2..9).rev().map(|n| (heads[n].0.id(), meta(n))).collect();
    assert_eq!(shown, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_misses_no_stream_whose_row_comes_to_the_live_index() {
    let engine = Meanwhile::default();
    let store = engine.open().await;
    for n in 0..5 {
        let begun = Append { meta: Some(vec![n]), ..append_of(&store, &run(&format!("s{n}")), &Head::START, 1) };
        store.append(begun).await.unwrap();
    }
    let (writer, runtime) = (store.clone(), tokio::runtime::Handle::current());
    *engine.happens.lock().unwrap() = Some(Box::new(move || {
        let rows = [1, 3].map(|n| (run(&format!("s{n}")), LiveRow::Put(vec![0])));
        runtime.block_on(writer.list_live(rows.into(), true)).unwrap();
    }));
    let listed = store.streams("default", StreamKind::Run, None, 100).await.unwrap();
    assert!(engine.happens.lock().unwrap().is_none());
    assert_eq!(listed.iter().map(|l| l.meta[0]).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

/// A page costs what lies before its end, wherever the streams stand that it is of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_found_without_reading_what_lies_behind_it() {
    for newest_end in [false, true] {
        let engine = Meanwhile::default();
        let store = engine.open().await;
        for n in 0..2500 {
            let is_over = (n >= 2400) == newest_end;
            let (word, live) = if is_over { (b"ended", LiveRow::Keep) } else { (b"works", LiveRow::Put(vec![0])) };
            let begun = Append { meta: Some(word.into()), live, ..append_of(&store, &run(&format!("s{n:04}")), &Head::START, 1) };
            store.append(begun).await.unwrap();
        }
        let newest: &[u8] = if newest_end { b"ended" } else { b"works" };
        for (wanted, limit, at_most) in [(newest, 50, 1300), (b"", 50, 1300), (newest, 101, 6000)] {
            engine.shown.store(0, Ordering::Relaxed);
            let keep = move |_: &StreamId, meta: Option<&[u8]>| wanted.is_empty() || meta == Some(wanted);
            let page = store.newest("default", StreamKind::Run, None, limit, keep).await.unwrap();
            let shown = engine.shown.load(Ordering::Relaxed);
            assert_eq!(page.len(), limit.min(100), "{newest_end} {limit}");
            assert!(shown <= at_most, "{newest_end} {limit}: {shown} rows");
        }
    }
}

/// The newest run is being written: the page shows as many others as it may, so that nobody takes it for the last.
#[tokio::test]
async fn a_page_is_full_though_some_are_being_written() {
    let engine = Faulty::new();
    let store = engine.open(Options::default()).await;
    for n in 0..9 {
        fill(&store, &run(&format!("s{n}")), &[1]).await;
    }
    engine.set_gate(false);
    let writing = tokio::spawn({
        let store = store.clone();
        async move { fill(&store, &run("s9"), &[1]).await }
    });
    engine.until_waiting().await;
    let ids = |page: Vec<commedia_actors::store::Listed>| page.iter().map(|l| l.stream.id().to_owned()).collect::<Vec<_>>();
    let page = store.newest("default", StreamKind::Run, None, 3, |_, _| true).await.unwrap();
    assert_eq!(ids(page), ["s8", "s7", "s6"]);
    engine.set_gate(true);
    writing.await.unwrap();
    let page = store.newest("default", StreamKind::Run, None, 3, |_, _| true).await.unwrap();
    assert_eq!(ids(page), ["s9", "s8", "s7"]);
}

#[tokio::test]
async fn a_stream_that_is_written_twice_in_one_group_stands_as_it_was_left() {
    let (engine, works, again) = (Faulty::new(), Some(b"works".to_vec()), Some(b"again".to_vec()));
    let store = engine.open(Options::default()).await;
    for (n, last, listed) in [(0, LiveRow::Keep, true), (1, LiveRow::Remove, false), (2, LiveRow::Put(vec![7]), true)] {
        let stream = run(&format!("s{n}"));
        engine.set_gate(false);
        let other = tokio::spawn({
            let (store, stream) = (store.clone(), run(&format!("other{n}")));
            async move { fill(&store, &stream, &[1]).await }
        });
        engine.until_waiting().await;
        let first = Append { meta: works.clone(), live: LiveRow::Put(vec![7]), ..append_of(&store, &stream, &Head::START, 1) };
        let head = first.frame.head();
        let second = Append { meta: again.clone(), live: last, ..append_of(&store, &stream, &head, 1) };
        let groups = store.stats().groups;
        let both = async { tokio::join!(store.append(first), store.append(second)) };
        let (both, ()) = tokio::join!(both, async {
            // The store's actor hands both to the writer meanwhile, which stands at the gate.
            for _ in 0..1000 {
                tokio::task::yield_now().await;
            }
            engine.set_gate(true);
        });
        other.await.unwrap();
        assert!(both.0.is_ok() && both.1.is_ok());
        assert_eq!(store.stats().groups - groups, 2, "the other's, and one for both");
        assert_eq!(store.meta(&stream).await.unwrap(), again);
        let found: Arc<Mutex<Vec<String>>> = Arc::default();
        let into = found.clone();
        store.visit_live(StreamKind::Run, move |_, id, _| into.lock().unwrap().push(id.into())).await.unwrap();
        assert_eq!(found.lock().unwrap().contains(&stream.id().to_owned()), listed, "{n}");
        assert_eq!(store.streams("default", StreamKind::Run, None, 100).await.unwrap().len(), 2 * (n + 1));
    }
}

fn check_property(cases: u32, place: fn() -> Place) {
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(steps in steps())| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
            .block_on(behaves_as_the_model(&place(), steps));
    });
}

macro_rules! conformance {
    ($engine:ident, $cases:literal; $($test:ident)*) => {
        mod $engine {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(&super::Place::$engine()).await;
            })*

            #[test]
            fn behaves_as_the_model() {
                super::check_property($cases, super::Place::$engine);
            }
        }
    };
    ($($engine:ident, $cases:literal;)*) => {$(conformance! { $engine, $cases;
        a_stream_grows_frame_by_frame
        a_wrong_head_is_a_conflict_that_names_the_right_one
        an_outdated_lease_is_fenced
        reading_begins_with_the_frame_that_holds_the_seq
        frames_of_every_size_come_back
        what_is_too_large_is_refused_before_it_is_queued
        lists_are_paged_in_order_and_show_the_last_meta
        blobs_are_found_by_their_names_in_their_workspace
        a_named_blob_that_is_missing_is_damage
        the_newest_snapshot_and_the_one_before_are_kept
        everything_is_there_after_opening_again
        of_many_writers_one_wins_each_seq
        a_closed_store_refuses_everything
    })*};
}

conformance! {
    memory, 100;
    memory_in_groups, 50;
    sled, 8;
    fjall, 8;
}
