//! Workspaces in one store: what one holds, another can neither read, nor name, nor change; and the machines do not tell them
//! apart otherwise.

mod store_support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Waker};

use commedia_actors::clock::WallClock;
use commedia_actors::identity::{Identity, IdentityError, RefreshError};
use commedia_actors::once::{Kept, Once, Started};
use commedia_actors::run_id::RunId;
use commedia_actors::runtime::{Runtime, RuntimeOptions, StartOptions};
use commedia_actors::scope::WorkspaceId;
use commedia_domain::event::ModelBinding;
use commedia_domain::id::Hash32;
use commedia_domain::identity::{Change, Role};
use commedia_domain::run::RunInput;
use commedia_domain::scenario::{NoFiles, Scenario, load};
use store_support::Place;

/// Its rules say more than fits beside an event, so that a blob is named.
const SHOP: &str = include_str!("stage/shop.scenario.yaml");
const BELL: &str = include_str!("stage/bell.scenario.yaml");

fn scenario(text: &str) -> Arc<Scenario> {
    let loaded = load("stage.scenario.yaml", text.as_bytes(), &NoFiles);
    Arc::new(loaded.unwrap_or_else(|faults| panic!("{}", faults[0])).scenario)
}

fn input(scenario: &Scenario, seed: u64) -> RunInput {
    RunInput { params: Vec::new(), seed, now: 0, models: vec![ModelBinding::Offline; scenario.models.len() + 1] }
}

async fn played(runtime: &Runtime, text: &str) -> (RunId, Hash32) {
    let scenario = scenario(text);
    let input = input(&scenario, 7);
    let handle = runtime.start_run(scenario, input, StartOptions::default()).await.expect("starts");
    let ended = handle.done().await.expect("ends");
    (ended.id.clone(), ended.digest)
}

async fn opened(place: &Place) -> Runtime {
    Runtime::open_on(place.open().await, RuntimeOptions::default()).await.expect("opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn another_workspace_s_run_is_like_none() {
    for place in [Place::memory(), Place::sled(), Place::fjall()] {
        let ann = opened(&place).await;
        let bob = ann.within(WorkspaceId::new(), "bob");
        let (run, digest) = played(&ann, SHOP).await;
        let unknown = RunId::new();
        for id in [&run, &unknown] {
            fn check<E: std::fmt::Display>(id: &RunId, found: Result<(), E>) {
                let words = found.map_or_else(|e| e.to_string(), |()| "found".into());
                assert_eq!(words.replace(id.as_str(), "ID"), "there is no run `ID` here (see `commedia ls`)");
            }
            check(id, bob.load(id).await.map(drop));
            check(id, bob.events(id, 1).await.map(drop));
            assert_eq!(bob.events_page(id, 1).await.expect("an empty page").len(), 0);
            check(id, bob.summary(id).await.map(drop));
            check(id, bob.follow(id, 0).await.map(drop));
            check(id, bob.load_at(id, 1).await.map(drop));
            check(id, bob.beginning(id).await.map(drop));
            check(id, bob.verify(id).await.map(drop));
            check(id, bob.cancel(id, "x").await.map(drop));
            check(id, bob.resume(id, StartOptions::default()).await.map(drop));
            check(id, bob.release(id, true).await.map(drop));
            check(id, bob.delete_run(id).await.map(drop));
            assert_eq!(bob.runs_beginning(id.as_str(), 9).await.expect("reads").len(), 1, "a whole id is taken as it is");
            assert_eq!(bob.runs_beginning(&id.as_str()[..20], 9).await.expect("reads"), []);
        }
        assert_eq!((ann.runs().await.expect("reads").len(), bob.runs().await.expect("reads").len()), (1, 0));
        assert_eq!(played(&bob, SHOP).await.1, digest, "where it plays is not in the digest");
        assert_eq!(bob.runs().await.expect("reads").len(), 1);
        assert_eq!(ann.check().await.expect("reads").damage, []);
        ann.shutdown().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_run_hears_nobody_from_elsewhere() {
    let runtime = Runtime::open(RuntimeOptions::default()).await.expect("opens");
    let (ann, bob) = (runtime.within(WorkspaceId::new(), "ann"), runtime.within(WorkspaceId::new(), "bob"));
    let scenario = scenario(BELL);
    let stored = StartOptions { stored: true, ..StartOptions::default() };
    let input = RunInput { now: WallClock::default().now_ms(), ..input(&scenario, 1) };
    let run = ann.start_run(scenario, input, stored).await.expect("starts").id;
    assert!(bob.cancel(&run, "mine").await.is_err());
    assert!(bob.follow(&run, 0).await.is_err());
    let standings = runtime.standings().await.expect("reads");
    assert_eq!((standings.waiting() + standings.interrupted.len(), bob.runs().await.expect("reads").len()), (1, 0));
    ann.cancel(&run, "done").await.expect("cancels");
    let last = ann.events(&run, 1).await.expect("reads").pop().expect("an event");
    assert_eq!((last.event.name(), &*last.cause.principal), ("run.cancelled", "ann"));
    runtime.shutdown().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_a_request_holds_in_its_workspace() {
    let runtime = Runtime::open(RuntimeOptions::default()).await.expect("opens");
    let (ann, bob) = (runtime.within(WorkspaceId::new(), "ann"), runtime.within(WorkspaceId::new(), "bob"));
    let (scenario, once) = (scenario(SHOP), Once { key: Hash32([1; 32]), payload: Hash32([2; 32]) });
    let mut ids = Vec::new();
    for (who, is_new) in [(&ann, true), (&bob, true), (&ann, false)] {
        let stored = StartOptions { stored: true, ..StartOptions::default() };
        match who.start_once(once, scenario.clone(), input(&scenario, 1), stored).await.expect("starts") {
            Started::New(handle) => {
                assert!(is_new);
                ids.push(handle.id);
            }
            Started::Known(id) => {
                assert!(!is_new);
                ids.push(id);
            }
        }
    }
    assert_eq!((&ids[0], ids[0] == ids[1]), (&ids[2], false));
    runtime.shutdown().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_keeps_what_each_workspace_names() {
    for place in [Place::sled(), Place::fjall()] {
        let ann = opened(&place).await;
        let bob = ann.within(WorkspaceId::new(), "bob");
        let (first, _) = played(&ann, SHOP).await;
        let (second, digest) = played(&bob, SHOP).await;
        ann.delete_run(&first).await.expect("deletes");
        ann.compact().await.expect("compacts");
        assert_eq!(bob.load(&second).await.expect("loads").digest, digest);
        assert_eq!(ann.check().await.expect("reads").damage, []);
        ann.shutdown().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_directory_and_the_sessions_outlive_the_process() {
    for place in [Place::memory(), Place::sled(), Place::fjall()] {
        let runtime = opened(&place).await;
        let identity = Identity::open(&runtime).await.expect("opens");
        let ann = identity.set_up("Ann@x.org", "hash".into(), "set-up").await.expect("is the first");
        assert!(matches!(identity.set_up("eve@x.org", "hash".into(), "x").await, Err(IdentityError::Refused(_))));
        let local = WorkspaceId::local();
        let key = identity.add_key(&local, "ci", Role::Operator, None, "user:ann").await.expect("makes");
        let gone = identity.add_key(&local, "old", Role::Operator, Some(0), "user:ann").await.expect("makes");
        let (session, other) = (identity.sessions().open(&ann, "default").await, identity.sessions().open(&ann, "default").await);
        let (session, other) = (session.expect("opens"), other.expect("opens"));
        let next = identity.sessions().refresh(&session.token, |s| Some(s.workspace.clone())).await.expect("goes on");
        let before = identity.directory().clone();
        runtime.shutdown().await.expect("closes");

        let runtime = opened(&place).await;
        let identity = Identity::open(&runtime).await.expect("opens");
        assert_eq!(*identity.directory(), before);
        assert_eq!(identity.directory().role("default", &ann), Some(Role::Owner));
        assert_eq!(identity.key(&key.key).map(|(id, key)| (id, key.role)), Some((key.key_id.clone(), Role::Operator)));
        assert_eq!(identity.key(&gone.key), None, "it has expired");
        let mut forged = key.key.clone();
        forged.replace_range(40..41, if &key.key[40..41] == "0" { "1" } else { "0" });
        assert_eq!((identity.key(&forged), identity.key("cm_"), identity.key(&key.key[..40])), (None, None, None));
        assert!(identity.sessions().get(&session.id).await.expect("reads").is_some());
        let again = identity.sessions().refresh(&session.token, |s| Some(s.workspace.clone())).await;
        assert!(matches!(again, Err(RefreshError::Over)), "a token is good once");
        assert!(identity.sessions().get(&session.id).await.expect("reads").is_none(), "and its second use ends the session");
        let newest = identity.sessions().refresh(&next.token, |s| Some(s.workspace.clone())).await;
        assert!(matches!(newest, Err(RefreshError::Over)), "for the newest token, too");
        assert!(identity.sessions().get(&other.id).await.expect("reads").is_some(), "another session goes on");
        identity.change(vec![Change::KeyRevoked { key: key.key_id }], "user:ann").await.expect("revokes");
        assert_eq!(identity.key(&key.key), None);
        runtime.shutdown().await.expect("closes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_answered_again_for_a_day_and_forgotten_after_two() {
    const DAY: i64 = 86_400_000;
    static HANDS: AtomicI64 = AtomicI64::new(0);
    for place in [Place::memory(), Place::sled(), Place::fjall()] {
        // An hour before a day ends: the key goes on into the next.
        HANDS.store(20_000 * DAY - 3_600_000, Ordering::Relaxed);
        let options = RuntimeOptions { clock: WallClock::staged(&HANDS), ..RuntimeOptions::default() };
        let runtime = Runtime::open_on(place.open().await, options).await.expect("opens");
        let bob = runtime.within(WorkspaceId::new(), "bob");
        let identity = Identity::open(&runtime).await.expect("opens");
        let ann = identity.set_up("ann@x.org", "hash".into(), "set-up").await.expect("is the first");
        let session = identity.sessions().open(&ann, "default").await.expect("opens");
        let ended = identity.sessions().open(&ann, "default").await.expect("opens");
        identity.sessions().revoke(&ended.id, "logged out").await.expect("ends");
        let kept = |body: &[u8]| Kept { status: 200, headers: Vec::new(), body: Some(body.to_vec()) };
        let once = |payload: u8| Once { key: Hash32([1; 32]), payload: Hash32([payload; 32]) };
        let answered = async |payload: u8| match bob.answer_once(once(payload)).await {
            Ok(answering) => answering.answered.and_then(|kept| kept.body),
            Err(e) => Some(e.to_string().into_bytes()),
        };
        {
            let first = bob.answer_once(once(1)).await.expect("its turn");
            assert_eq!(first.answered, None);
            // Whoever comes meanwhile waits for what the first is answered.
            let second = bob.answer_once(once(1));
            let mut second = std::pin::pin!(second);
            assert!(second.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            first.keep(&kept(b"done")).await.expect("keeps");
            drop(first);
            assert_eq!(second.await.expect("its turn").answered, Some(kept(b"done")));
        }
        let another = b"this key was used for another request within a day";
        let check = async |days: i64, payload: u8, expect: Option<&[u8]>, receipts: usize, sessions: usize| {
            HANDS.fetch_add(days * DAY, Ordering::Relaxed);
            assert_eq!(answered(payload).await.as_deref(), expect, "{days} days on");
            assert_eq!(runtime.forget_receipts().await.expect("forgets"), receipts, "{days} days on");
            assert_eq!(identity.sessions().forget_over().await.expect("forgets"), sessions, "{days} days on");
        };
        check(0, 1, Some(b"done"), 0, 1).await;
        HANDS.fetch_add(2 * 3_600_000, Ordering::Relaxed);
        check(0, 1, Some(b"done"), 0, 0).await;
        check(0, 2, Some(another), 0, 0).await;
        check(1, 2, None, 1, 0).await;
        bob.answer_once(once(2)).await.expect("its turn").keep(&kept(b"new")).await.expect("keeps");
        check(0, 2, Some(b"new"), 0, 0).await;
        assert!(identity.sessions().get(&session.id).await.expect("reads").is_some());
        check(30, 2, None, 1, 1).await;
        assert!(identity.sessions().get(&session.id).await.expect("reads").is_none());
        runtime.shutdown().await.expect("closes");
    }
}
