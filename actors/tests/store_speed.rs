//! Figures, not checks: `cargo test -p commedia-actors --test store_speed -- --ignored --nocapture --test-threads 1`.
//!
//! Appends of one frame with one event of 200 bytes, encoded on the way: one at a time, and by many tasks at once.

mod store_support;

use std::time::{Duration, Instant};

use commedia_actors::store::engine::Durability;
use commedia_actors::store::frame::{FrameBuilder, Lane};
use commedia_actors::store::live::LiveRow;
use commedia_actors::store::{Append, ENGINES, Head, Options, Store};
use store_support::*;

const PAYLOAD: [u8; 200] = [0x5a; 200];

async fn write(store: Store, task: usize, appends: u64) {
    let stream = run(&format!("speed-{task}"));
    let (lease, cause) = (store.lease(&stream), cause());
    let mut head = Head::START;
    for _ in 0..appends {
        let mut frame = FrameBuilder::new(1, &head, lease.epoch, cause.clone());
        frame.push(Lane::Canonical, &PAYLOAD).unwrap();
        let frame = frame.encode().unwrap();
        let append =
            Append { stream: stream.clone(), expected: head, lease, frame, blobs: vec![], meta: None, live: LiveRow::Keep };
        head = store.append(append).await.unwrap();
    }
}

/// Processor time of this process so far, in seconds: a busy machine does not change it much.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let ticks = stat.rsplit(") ").next().map(|rest| rest.split(' ').skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum());
    ticks.unwrap_or(0.0) / 100.0
}

async fn measure(name: &str, store: Store, tasks: usize, for_ms: u64) {
    let mut appends = 20;
    loop {
        // A round long enough to be measured is the figure; the ones before warm up.
        let before = store.stats();
        let (started, cpu) = (Instant::now(), cpu_seconds());
        let mut set = tokio::task::JoinSet::new();
        for task in 0..tasks {
            set.spawn(write(store.clone(), task + usize::try_from(appends).unwrap() * 10_000, appends));
        }
        set.join_all().await;
        let took = started.elapsed();
        if took < Duration::from_millis(for_ms) {
            appends *= 2;
            continue;
        }
        let (stats, total) = (store.stats(), tasks as u64 * appends);
        let (groups, syncs) = (stats.groups - before.groups, stats.syncs - before.syncs);
        println!(
            "{name:<24} {tasks:>5} tasks: {:>8.0} appends/s, {:>6.1} µs each, {:>5.1} µs of processor, {:>5.1} a group, {:.2} syncs a group",
            total as f64 / took.as_secs_f64(),
            took.as_secs_f64() * 1e6 / total as f64,
            (cpu_seconds() - cpu) * 1e6 / total as f64,
            total as f64 / groups as f64,
            syncs as f64 / groups as f64,
        );
        return;
    }
}

#[test]
#[ignore = "figures, to be read by a person"]
fn appends_per_second() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        for tasks in [1, 64, 1000] {
            measure("memory", Place::memory().open().await, tasks, 300).await;
            measure("memory, in groups", Place::memory_in_groups().open().await, tasks, 300).await;
        }
        for (durability, tasks) in
            [Durability::Process, Durability::Fsync].into_iter().flat_map(|d| [1, 16, 64, 256, 1000].map(|n| (d, n)))
        {
            for engine in ENGINES {
                let dir = tempfile::tempdir_in(std::env::var("COMMEDIA_SPEED_DIR").unwrap_or("/tmp".into())).unwrap();
                let store = Store::open(&url(engine, dir.path()), durability, Options::default()).await.unwrap();
                measure(&format!("{engine}, {}", durability.name()), store.clone(), tasks, 1000).await;
                store.close().await.unwrap();
            }
        }
    });
}

#[test]
#[ignore = "figures, to be read by a person"]
fn frames_per_second() {
    for (events, bytes) in [(1, 200), (20, 400), (500, 400)] {
        let payload = vec![0x5a; bytes];
        let (mut frames, mut size, started) = (0_u32, 0, Instant::now());
        while started.elapsed() < Duration::from_millis(500) {
            let mut frame = FrameBuilder::new(1, &Head::START, 1, cause());
            (0..events).for_each(|_| assert!(frame.push(Lane::Canonical, &payload).is_ok()));
            size = std::hint::black_box(frame.encode().unwrap()).bytes().len();
            frames += 1;
        }
        println!("encode and hash {events} × {bytes} bytes: {:.2} µs, {size} bytes", 5e5 / f64::from(frames));
    }
}
