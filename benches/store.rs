//! What an append costs, per engine and durability: alone, and a hundred at once, of 300 bytes each. A hundred share a
//! group or a few. Run with `cargo bench --bench store`; compare ratios, not seconds. `COMMEDIA_BENCH_DIR`: on which disk.

use std::path::PathBuf;

use commedia_actors::store::engine::Durability;
use commedia_actors::store::frame::{Cause, FrameBuilder, Lane};
use commedia_actors::store::live::LiveRow;
use commedia_actors::store::{Append, ENGINES, Head, Options, Store, StreamId, StreamKind};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Of one event; the frame around it has about 150 more.
const PAYLOAD: [u8; 300] = [0x5a; 300];

/// The first event of a new stream, as a short run writes it.
async fn append(store: Store, n: u64) {
    let stream =
        StreamId::new("bench", StreamKind::Run, &format!("{:032x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).expect("a name");
    let cause = Cause {
        kind: "bench".into(),
        id: Default::default(),
        payload_hash: Default::default(),
        principal: "bench".into(),
        wall_ms: 0,
    };
    let lease = store.lease(&stream);
    let mut frame = FrameBuilder::new(1, &Head::START, lease.epoch, cause);
    frame.push(Lane::Canonical, &PAYLOAD).expect("fits");
    let frame = frame.encode().expect("not empty");
    let append = Append { stream, expected: Head::START, lease, frame, blobs: Vec::new(), meta: None, live: LiveRow::Keep };
    store.append(append).await.expect("appends");
}

fn measure(c: &mut Criterion, runtime: &Runtime, name: &str, url: &str, durability: Durability) {
    let store = runtime.block_on(Store::open(url, durability, Options::default())).expect("opens");
    let mut next = 0;
    for at_once in [1, 100_u64] {
        let mut group = c.benchmark_group(format!("append/{name}"));
        group.throughput(Throughput::Elements(at_once));
        group.bench_function(format!("{at_once} at once"), |b| {
            b.iter(|| {
                let from = next;
                next += at_once;
                runtime.block_on(async {
                    let all: JoinSet<()> = (from..next).map(|n| append(store.clone(), n)).collect();
                    all.join_all().await;
                });
            });
        });
        group.finish();
    }
    runtime.block_on(store.close()).expect("closes");
}

fn stores(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("starts");
    measure(c, &runtime, "memory", "memory:", Durability::Process);
    let disk = std::env::var_os("COMMEDIA_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    for engine in ENGINES {
        for durability in [Durability::Process, Durability::Fsync] {
            let folder = tempfile::tempdir_in(&disk).expect("a folder");
            let url = format!("{engine}://{}", folder.path().display());
            measure(c, &runtime, &format!("{engine}, {}", durability.name()), &url, durability);
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(3)).warm_up_time(std::time::Duration::from_secs(1));
    targets = stores
}
criterion_main!(benches);
