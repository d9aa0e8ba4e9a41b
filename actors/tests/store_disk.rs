//! The store at work on a disk that is full, fails or is slow: nothing acknowledged is lost, reads are served throughout,
//! writes go on by themselves, and nothing is left behind by openings. On each engine, in a process of its own.
//!
//! `COMMEDIA_DISK_ROUNDS`: how often (3). A full disk is a tmpfs in a mount namespace; failing syncs and writes come from a
//! library that is built with cc and preloaded. Where the machine has neither, the test says so and is skipped.

mod store_support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use commedia_actors::store::blob::{Blob, Snapshot};
use commedia_actors::store::live::LiveRow;
use commedia_actors::store::{Append, AppendError, Head, ReadError, Store, StreamId};
use store_support::*;

const WRITERS: u64 = 6;
/// Writes go on so soon after the disk takes them again.
const PROMISED: Duration = Duration::from_secs(10);

/// What goes wrong with the disk, and how it is mended.
enum Trouble {
    /// Another program fills it.
    Full { ballast: PathBuf },
    /// Calls below the store's folder fail or take long.
    Calls { control: File, what: i32, errno: i32, delay_ms: i32 },
}

impl Trouble {
    fn begin(&self) {
        match self {
            Trouble::Full { ballast } => {
                let mut file = File::create(ballast).unwrap();
                // Large pieces first: the store is at work meanwhile, and takes what is left.
                for piece in [1 << 20, 1 << 12, 1] {
                    while file.write_all(&vec![1; piece]).is_ok() {}
                }
            }
            Trouble::Calls { control, what, errno, delay_ms } => {
                let words = [errno, delay_ms].map(|word| word.to_ne_bytes()).concat();
                control.write_all_at(&words, 4).unwrap();
                control.write_all_at(&what.to_ne_bytes(), 0).unwrap();
            }
        }
    }

    fn end(&self) {
        match self {
            Trouble::Full { ballast } => fs::remove_file(ballast).unwrap(),
            Trouble::Calls { control, .. } => control.write_all_at(&[0; 4], 0).unwrap(),
        }
    }

    /// Whether a page may be unreadable until the engine is open again: of sled one that could not be split, where its
    /// own threads met the error while a batch was being applied.
    fn may_hide(&self, engine: &str) -> bool {
        engine == "sled" && matches!(self, Trouble::Calls { .. }) && self.refuses()
    }

    fn refuses(&self) -> bool {
        !matches!(self, Trouble::Calls { what: SYNCS_ARE_SLOW, .. })
    }
}

const SYNCS_FAIL: i32 = 1;
const WRITES_FAIL: i32 = 2;
const SYNCS_ARE_SLOW: i32 = 3;
const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

#[derive(Default)]
struct Work {
    acknowledged: Mutex<BTreeMap<StreamId, Head>>,
    appends: [AtomicU64; WRITERS as usize],
    refusals: AtomicU64,
    reads: AtomicU64,
    hidden: AtomicU64,
    slowest_read_ms: AtomicU64,
    over: AtomicBool,
}

impl Work {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn appends(&self) -> [u64; WRITERS as usize] {
        std::array::from_fn(|n| self.appends[n].load(Ordering::SeqCst))
    }
}

/// Appends until it is over. After a refusal it reads the head, as owners of streams do, and decides again.
async fn write(store: Store, writer: u64, work: Arc<Work>, may_hide: bool) {
    let stream = run(&format!("w{writer}"));
    let mut head = store.head(&stream).await.unwrap();
    for turn in 0_u64.. {
        if work.is_over() {
            return;
        }
        let blob = Blob::new(payload(&stream, head.seq + 1_000_000));
        let count = 1 + turn % 9;
        let request = Append {
            frame: frame_with(&stream, &head, count, std::slice::from_ref(&blob)),
            blobs: vec![blob],
            meta: turn.is_multiple_of(4).then(|| vec![1; 30]),
            live: LiveRow::Put(vec![1; 9]),
            ..append_of(&store, &stream, &head, count)
        };
        match store.append(request).await {
            Ok(new) => {
                work.acknowledged.lock().unwrap().insert(stream.clone(), new);
                work.appends[writer as usize].fetch_add(1, Ordering::SeqCst);
                head = new;
            }
            Err(AppendError::Damaged(damage)) => panic!("{damage}"),
            Err(e) => {
                work.refusals.fetch_add(1, Ordering::SeqCst);
                let found = found(&store, &stream, &work, may_hide).await;
                assert!(found.seq >= head.seq, "{stream} was acknowledged up to {}, is at {}, after: {e}", head.seq, found.seq);
                head = found;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        if turn.is_multiple_of(40) {
            let (seq, head_hash) = (head.seq, head.hash);
            let snapshot = Snapshot { seq, head_hash, digest: head_hash, state_version: 1, bytes: vec![7; 20_000] };
            // A refused snapshot is done without, as by an orchestrator.
            drop(store.put_snapshot(&stream, snapshot).await);
        }
        tokio::time::sleep(Duration::from_millis(4)).await;
    }
}

/// A stream's head; where a page may be hidden it is asked for until the engine is open again.
async fn found(store: &Store, stream: &StreamId, work: &Work, may_hide: bool) -> Head {
    let began = Instant::now();
    loop {
        match store.head(stream).await {
            Ok(head) => return head,
            Err(ReadError::Unavailable(_)) if may_hide && began.elapsed() < Duration::from_secs(30) => {
                work.hidden.fetch_add(1, Ordering::SeqCst);
            }
            Err(e) => panic!("{stream}: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads what was acknowledged, all the time. No answer but the right one is accepted.
async fn read(store: Store, work: Arc<Work>, may_hide: bool) {
    let mut random = Random(11);
    while !work.is_over() {
        let known = work.acknowledged.lock().unwrap().clone();
        for (stream, head) in known {
            let began = Instant::now();
            let from = 1 + random.below(head.seq);
            for seq in [from, head.seq] {
                match store.read(&stream, seq, 1).await {
                    Ok(frames) => {
                        assert!(frames[0].header.first_seq <= seq && frames[0].head().seq >= seq);
                        assert!(seq == from || frames[0].head() == head);
                        check_payloads(&stream, &frames[0]);
                    }
                    Err(ReadError::Unavailable(_)) if may_hide => drop(work.hidden.fetch_add(1, Ordering::SeqCst)),
                    Err(e) => panic!("{stream} at {seq}: {e}"),
                }
            }
            work.reads.fetch_add(1, Ordering::SeqCst);
            work.slowest_read_ms.fetch_max(began.elapsed().as_millis() as u64, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Open files, threads of the engine and the store, and memory in KiB.
fn footprint() -> (usize, usize, u64) {
    let files = fs::read_dir("/proc/self/fd").unwrap().count();
    // Those of the runtime's pool come with slow reads and go when idle for a while.
    let names = fs::read_dir("/proc/self/task").unwrap().map(|task| fs::read_to_string(task.unwrap().path().join("comm")));
    let threads = names.filter(|name| name.as_ref().is_ok_and(|name| !name.starts_with("tokio"))).count();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    (files, threads, rss.unwrap())
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}: not within 30 s");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn work_through(engine: &str, dir: &Path, trouble: &Trouble) {
    let rounds = count_from_env("COMMEDIA_DISK_ROUNDS", 3);
    let (store, work) = (open_files(engine, dir).await, Arc::new(Work::default()));
    let mut tasks = tokio::task::JoinSet::new();
    (0..WRITERS).for_each(|writer| drop(tasks.spawn(write(store.clone(), writer, work.clone(), trouble.may_hide(engine)))));
    (0..2).for_each(|_| drop(tasks.spawn(read(store.clone(), work.clone(), trouble.may_hide(engine)))));
    until("each writer begins", || work.appends().iter().all(|n| *n > 0)).await;
    let (mut first, mut slowest) = (None, Duration::ZERO);
    for round in 0..rounds {
        let (refusals, epoch) = (work.refusals.load(Ordering::SeqCst), store.epoch());
        trouble.begin();
        if trouble.refuses() {
            until("a refusal", || work.refusals.load(Ordering::SeqCst) > refusals).await;
        }
        let (reads, appends) = (work.reads.load(Ordering::SeqCst), work.appends());
        tokio::time::sleep(Duration::from_millis(700)).await;
        let served = work.reads.load(Ordering::SeqCst) - reads;
        assert!(served > 0 || trouble.may_hide(engine), "round {round}: nothing was read meanwhile");
        if trouble.refuses() {
            let new = work.appends().iter().sum::<u64>() - appends.iter().sum::<u64>();
            assert!(new <= WRITERS, "round {round}: {new} appends, although the disk takes nothing");
        }
        let appends = work.appends();
        trouble.end();
        let ended = Instant::now();
        until("writes go on", || work.appends().iter().zip(appends).all(|(now, then)| *now > then)).await;
        slowest = slowest.max(ended.elapsed());
        println!(
            "round {round}: {served} reads meanwhile, writes after {:?}, epoch {epoch} to {}",
            ended.elapsed(),
            store.epoch()
        );
        assert!(ended.elapsed() < PROMISED);
        if round == 1 {
            first = Some(footprint());
        }
        if let Some(task) = tasks.try_join_next() {
            task.unwrap();
            panic!("a task ended");
        }
    }
    let last = footprint();
    work.over.store(true, Ordering::SeqCst);
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
    let (appends, refusals) = (work.appends().iter().sum::<u64>(), work.refusals.load(Ordering::SeqCst));
    println!(
        "{engine}: {rounds} rounds, {appends} appends acknowledged, {refusals} refused, {} reads, {} of them without an answer, the slowest {} ms; writes within {slowest:?}; {first:?} to {last:?} files, threads, KiB",
        work.reads.load(Ordering::SeqCst),
        work.hidden.load(Ordering::SeqCst),
        work.slowest_read_ms.load(Ordering::SeqCst),
    );
    if !trouble.refuses() {
        assert_eq!(refusals, 0, "a slow disk is no reason to refuse");
    }
    if let Some((files, threads, memory)) = first {
        // sled's own pool breathes.
        assert!(last.0 <= files + 4 && last.1 <= threads + 8, "{first:?} to {last:?}");
        // Where much is written the caches fill: 64 MiB, and two tables of 32 MiB in fjall.
        let grows = if matches!(trouble, Trouble::Full { .. }) { 128 * 1024 } else { 24 * 1024 };
        assert!(last.2 <= memory + grows, "{first:?} to {last:?}");
    }
    check_all(&store, &work).await;
    store.close().await.unwrap();
    let store = open_files(engine, dir).await;
    check_all(&store, &work).await;
    store.close().await.unwrap();
}

async fn check_all(store: &Store, work: &Work) {
    let report = store.check().await.unwrap();
    assert_eq!(report.damage, []);
    let acknowledged = work.acknowledged.lock().unwrap().clone();
    for (stream, head) in acknowledged {
        let found = verify(store, &stream, 100_000).await;
        assert!(found.seq >= head.seq, "{stream}");
        assert_eq!(store.read(&stream, head.seq, 1).await.unwrap()[0].head(), head);
    }
}

/// The process at work; the place, the engine and the trouble come in variables.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that the other tests start"]
async fn at_work() {
    let variable = |name: &str| std::env::var(name).ok();
    let (Some(dir), Some(engine)) = (variable("DISK_STORE"), variable("DISK_ENGINE")) else { return };
    let dir = Path::new(&dir);
    let trouble = match variable("FAULTS_CONTROL") {
        None => Trouble::Full { ballast: dir.parent().unwrap().join("ballast") },
        Some(control) => {
            let control = File::options().write(true).open(control).unwrap();
            let word = |name: &str| variable(name).unwrap().parse().unwrap();
            Trouble::Calls { control, what: word("DISK_WHAT"), errno: word("DISK_ERRNO"), delay_ms: 150 }
        }
    };
    work_through(&engine, dir, &trouble).await;
}

fn arguments() -> [&'static str; 6] {
    ["--exact", "at_work", "--ignored", "--nocapture", "--test-threads", "1"]
}

fn must_succeed(mut command: Command) {
    // Else glibc keeps what an engine's tables took, in pieces: memory that grows and is lost to nobody.
    command.env("MALLOC_MMAP_THRESHOLD_", "65536").env("MALLOC_ARENA_MAX", "1").env("RUST_BACKTRACE", "0");
    let output = command.output().unwrap();
    let text = [&output.stdout[..], &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    println!("{text}");
    assert!(output.status.success() && text.contains("1 passed"), "{:?}", output.status);
}

/// A shell's command in a mount namespace of its own, where a tmpfs of so many megabytes is at a folder; `None`: not on this machine.
fn on_small_disk(megabytes: u32, at: &Path) -> Option<Command> {
    let mount = |then: &str| {
        let mut command = Command::new("unshare");
        let script = format!("mount -t tmpfs -o size={megabytes}m none \"$0\" && {then}");
        command.args(["-Urm", "sh", "-c", &script]).arg(at);
        command
    };
    match mount("true").output() {
        Ok(output) if output.status.success() => Some(mount("exec \"$@\"")),
        other => {
            println!("SKIPPED: no tmpfs in a namespace on this machine: {other:?}");
            None
        }
    }
}

fn a_full_disk(engine: &str, megabytes: u32) {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut command) = on_small_disk(megabytes, dir.path()) else { return };
    command.arg(std::env::current_exe().unwrap()).args(arguments());
    command.env("DISK_STORE", dir.path().join("store")).env("DISK_ENGINE", engine);
    must_succeed(command);
}

/// The library of `disk_faults.c`; `None`: there is no compiler.
fn library(dir: &Path) -> Option<PathBuf> {
    let (source, library) = (dir.join("disk_faults.c"), dir.join("disk_faults.so"));
    fs::write(&source, include_str!("store_support/disk_faults.c")).unwrap();
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&library).arg(&source).arg("-ldl").output();
    match built {
        Ok(output) if output.status.success() => Some(library),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(e) => {
            println!("SKIPPED: no C compiler on this machine: {e}");
            None
        }
    }
}

fn failing_calls(engine: &str, what: i32, errno: i32) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let Some(library) = library(&path) else { return };
    let (control, store) = (path.join("control"), path.join("store"));
    fs::write(&control, [0; 16]).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments()).env("LD_PRELOAD", library).env("FAULTS_CONTROL", &control).env("FAULTS_DIR", &store);
    command.env("DISK_STORE", &store).env("DISK_ENGINE", engine);
    command.env("DISK_WHAT", what.to_string()).env("DISK_ERRNO", errno.to_string());
    must_succeed(command);
    let hits = fs::read(&control).unwrap()[12..].iter().fold(0, |all, byte| all + u32::from(*byte));
    assert!(hits > 0, "the library was never asked");
}

#[test]
fn a_full_disk_stops_writes_only_on_sled() {
    a_full_disk("sled", 256);
}

#[test]
fn a_full_disk_stops_writes_only_on_fjall() {
    a_full_disk("fjall", 384);
}

#[test]
fn failed_syncs_and_writes_lose_nothing_on_sled() {
    [(SYNCS_FAIL, EIO), (WRITES_FAIL, EIO), (WRITES_FAIL, ENOSPC), (WRITES_FAIL, EROFS)]
        .into_iter()
        .for_each(|(what, errno)| failing_calls("sled", what, errno));
}

#[test]
fn failed_syncs_and_writes_lose_nothing_on_fjall() {
    [(SYNCS_FAIL, EIO), (WRITES_FAIL, EIO), (WRITES_FAIL, ENOSPC), (WRITES_FAIL, EROFS)]
        .into_iter()
        .for_each(|(what, errno)| failing_calls("fjall", what, errno));
}

#[test]
fn a_slow_disk_is_waited_for() {
    ["sled", "fjall"].into_iter().for_each(|engine| failing_calls(engine, SYNCS_ARE_SLOW, 0));
}
