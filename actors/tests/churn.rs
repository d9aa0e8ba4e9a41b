//! Runs started, ended and deleted, over and over: what is on the disk comes back to where it was.
//!
//! `COMMEDIA_CHURN`: how many runs on each engine (400).

mod store_support;

use commedia_actors::runtime::{DeleteError, Keep, Runtime, RuntimeOptions, StartOptions};
use commedia_actors::store::ENGINES;
use commedia_actors::store::engine::Durability;
use commedia_domain::run::RunInput;
use commedia_domain::scenario::{NoFiles, load};
use store_support::{count_from_env, url};

const TALK: &str = r"
name: talk
agents: {bell: {kind: rules, rules: [{otherwise: true, emit: [{say: 'Ding, ding, ding, ding, ding, ding, ding, ding.'}]}]}}
";

fn on_disk(dir: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    store_support::files(dir).iter().map(|path| std::fs::metadata(path).map_or(0, |about| about.blocks() * 512)).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn room_comes_back() {
    for engine in ENGINES {
        let dir = tempfile::tempdir().unwrap();
        let options =
            RuntimeOptions { store: url(engine, dir.path()), durability: Durability::Process, ..RuntimeOptions::default() };
        let runtime = Runtime::open(options).await.unwrap();
        let scenario = std::sync::Arc::new(load("talk.yaml", TALK.as_bytes(), &NoFiles).unwrap().scenario);
        let play = async |runs: u64| {
            let mut ids = Vec::new();
            for _ in 0..runs {
                let handle = runtime
                    .start_run(
                        scenario.clone(),
                        RunInput { params: Vec::new(), seed: 1, now: 0, models: Vec::new() },
                        StartOptions::default(),
                    )
                    .await
                    .unwrap();
                ids.push(handle.done().await.unwrap().id);
            }
            ids
        };
        let keep = play(5).await;
        runtime.compact().await.unwrap();
        let base = on_disk(dir.path());
        let (mut most, rounds, runs) = (0, 4, count_from_env("COMMEDIA_CHURN", 400));
        for _ in 0..rounds {
            let ids = play(runs / rounds).await;
            assert_eq!(runtime.prune(Keep::Newest(5)).await.unwrap() as u64, runs / rounds);
            let gone = runtime.delete_run(&ids[0]).await.unwrap_err();
            assert!(matches!(gone, DeleteError::Unknown(_)), "{gone}");
            most = most.max(on_disk(dir.path()));
        }
        let done = runtime.compact().await.unwrap();
        let after = on_disk(dir.path());
        println!("{engine}: {base} bytes with 5 runs, at most {most}, {after} after {runs} runs more and 5 left; {done:?}");
        assert!(after < base + 300 * 1024 + 300 * runs, "{engine}: {base} to {after}");
        assert!(runtime.load(&keep[0]).await.is_err(), "the oldest went first");
        assert_eq!(runtime.runs().await.unwrap().len(), 5);
        assert_eq!(runtime.check().await.unwrap().damage, []);
        runtime.shutdown().await.unwrap();
    }
}
