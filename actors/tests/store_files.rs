//! What only an engine with files can show: locks, kills, flipped bits, lost ends. Every test runs on each of them.
//!
//! `COMMEDIA_KILLS`, `COMMEDIA_FLIPS`: how often (10, 30), the latter in a store of `COMMEDIA_FLIP_RUNS` streams; `COMMEDIA_KILL_SEED`, `COMMEDIA_FLIP_SEED`: the same again.

mod store_support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use commedia_actors::store::blob::{Blob, Snapshot};
use commedia_actors::store::engine::Durability;
use commedia_actors::store::live::LiveRow;
use commedia_actors::store::{Append, AppendError, ENGINES, Head, OpenError, Options, ReadError, Store, StreamId};
use commedia_domain::id::Hash32;
use store_support::*;

async fn open_error(engine: &str, dir: &Path) -> OpenError {
    Store::open(&url(engine, dir), Durability::Fsync, Options::default()).await.err().expect("it must not open")
}

async fn a_directory_has_one_owner(engine: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let store = open_files(engine, dir.path()).await;
    assert!(matches!(open_error(engine, dir.path()).await, OpenError::Locked { pid, .. } if pid == std::process::id()));
    store.close().await.unwrap();
    let store = open_files(engine, dir.path()).await;
    let cell = store.cell();
    drop(store);
    cell.wait(None).await.unwrap();
    open_files(engine, dir.path()).await.close().await.unwrap();
    for url in ["sled://", "redb:///tmp/x", "memory", ""] {
        assert!(matches!(Store::open(url, Durability::Fsync, Options::default()).await, Err(OpenError::Url(_))), "{url}");
    }
}

async fn another_engines_url_is_refused_and_both_are_named(engine: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    open_files(engine, dir.path()).await.close().await.unwrap();
    for other in ENGINES.into_iter().filter(|other| *other != engine) {
        let said = open_error(other, dir.path()).await.to_string();
        let expected = format!("{} holds a store of the engine {engine}; the URL names {other}", dir.path().display());
        assert_eq!(said, expected);
        assert!(!dir.path().join(other).exists());
    }
    open_files(engine, dir.path()).await.close().await.unwrap();
}

async fn both_durabilities_survive_closing_and_count_their_syncs(engine: &'static str) {
    for (durability, syncs) in [(Durability::Fsync, 2), (Durability::Process, 0)] {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&url(engine, dir.path()), durability, Options::default()).await.unwrap();
        fill(&store, &run("warm"), &[1]).await;
        let before = store.stats().syncs;
        let head = fill(&store, &run("a"), &[5]).await;
        assert_eq!(store.stats().syncs - before, syncs, "the log and the high-water mark");
        assert_eq!(store.engine().0, engine);
        store.close().await.unwrap();
        let store = open_files(engine, dir.path()).await;
        assert_eq!(verify(&store, &run("a"), 1).await, head);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_gets_into_an_unsynced_file_of_its_own() {
    let engine = "sled";
    let dir = tempfile::tempdir().unwrap();
    let store = open_files(engine, dir.path()).await;
    let blobs: Vec<Blob> = (0..6_u8).map(|n| Blob::new("default", vec![n; 700_000])).collect();
    store.put_blobs("default", blobs).await.unwrap();
    for n in 0..30 {
        let stream = run(&format!("r{n}"));
        let mut head = Head::START;
        for _ in 0..4 {
            let mut builder = commedia_actors::store::frame::FrameBuilder::new(1, &head, 1, cause());
            builder.push(lane(0), &vec![n; 60_000]).unwrap();
            let request = Append { frame: builder.encode().unwrap(), ..append_of(&store, &stream, &head, 1) };
            head = store.append(request).await.unwrap();
        }
        let bytes = vec![n; 200_000];
        let snapshot = Snapshot { seq: 4, head_hash: head.hash, digest: head.hash, state_version: 1, bytes };
        store.put_snapshot(&stream, snapshot).await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(files(&dir.path().join("sled/blobs")), Vec::<std::path::PathBuf>::new());
}

/// The file that new rows are in.
fn log(engine: &str, dir: &Path) -> std::path::PathBuf {
    let log = |path: &std::path::PathBuf| path.ends_with("sled/db") || path.extension().is_some_and(|e| e == "jnl");
    files(&dir.join(engine)).into_iter().rfind(log).unwrap()
}

/// A store with some streams, blobs and a snapshot, closed; what each stream's head was.
async fn sample(engine: &str, dir: &Path, runs: u64) -> BTreeMap<StreamId, Head> {
    let store = open_files(engine, dir).await;
    let mut heads = BTreeMap::new();
    for n in 0..runs {
        let stream = run(&format!("r{n}"));
        let blob = Blob::new("default", vec![n as u8; 9000]);
        let request = Append {
            frame: frame_with(&stream, &Head::START, 3, std::slice::from_ref(&blob)),
            blobs: vec![blob],
            ..append_of(&store, &stream, &Head::START, 3)
        };
        let head = store.append(request).await.unwrap();
        let snapshot = Snapshot { seq: 3, head_hash: head.hash, digest: head.hash, state_version: 1, bytes: vec![1; 3000] };
        store.put_snapshot(&stream, snapshot).await.unwrap();
        heads.insert(stream.clone(), fill(&store, &stream, &[1, 30, 2, n % 5 + 1]).await);
    }
    store.close().await.unwrap();
    if engine == "fjall" {
        // Opening gives back the room that a new journal reserves: less to copy.
        open_files(engine, dir).await.close().await.unwrap();
    }
    heads
}

/// Opens what may be damaged. `None`: all is as it was. Else what the store says is wrong, once it is sure that whatever
/// it serves is right.
async fn examine(engine: &str, dir: &Path, heads: &BTreeMap<StreamId, Head>) -> Option<String> {
    let store = match Store::open(&url(engine, dir), Durability::Fsync, Options::default()).await {
        Ok(store) => store,
        Err(e) => return Some(format!("refused: {e}")),
    };
    let report = store.check().await.unwrap();
    let mut said: Vec<String> = report.damage.iter().map(ToString::to_string).collect();
    let listed = store.every_stream(None, 1000).await.unwrap();
    for (stream, head) in heads {
        let in_list = listed.iter().find(|l| l.stream == *stream);
        assert!(in_list.is_none_or(|l| l.head.as_ref().is_ok_and(|h| h == head) || l.head.is_err()), "{in_list:?}");
        assert!(in_list.is_some() || report.damage.iter().any(|d| d.stream.as_ref() == Some(stream)), "{stream} is not listed");
        let whole = match store.head(stream).await {
            Ok(found) => {
                assert_eq!(found, *head, "{stream}: another head, and nothing said");
                let mut at = Head::START;
                loop {
                    match store.read_after(stream, &at, 1000).await {
                        Ok(frames) if frames.is_empty() => break at == *head,
                        Ok(frames) => {
                            frames.iter().for_each(|frame| check_payloads(stream, frame));
                            at = frames.last().unwrap().head();
                        }
                        Err(ReadError::Damaged(_)) => break false,
                        Err(e) => panic!("{e}"),
                    }
                }
            }
            Err(ReadError::Damaged(damage)) => {
                assert_eq!(damage.stream.as_ref(), Some(stream));
                let refused = append(&store, stream, head, 1).await;
                assert!(matches!(refused, Err(AppendError::Damaged(_))), "{refused:?}");
                false
            }
            Err(e) => panic!("{e}"),
        };
        let named = report.damage.iter().any(|damage| damage.stream.as_ref() == Some(stream));
        assert!(whole || named, "{stream} is damaged and not named: {said:?}");
        let checked = report.streams.iter().find(|s| s.stream == *stream);
        assert_eq!(checked.is_some_and(|s| s.whole && s.head == *head), whole, "{stream}");
    }
    if let Err(e) = store.close().await {
        said.push(format!("closing: {e}"));
    }
    (!said.is_empty()).then(|| said.join("; "))
}

async fn a_flipped_bit_is_named_or_does_no_harm(engine: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let heads = sample(engine, &whole, count_from_env("COMMEDIA_FLIP_RUNS", 12)).await;
    assert_eq!(examine(engine, &copied(&whole, dir.path(), "untouched"), &heads).await, None);
    let mut random = Random::from_env("COMMEDIA_FLIP_SEED");
    let paths: Vec<_> = files(&whole).into_iter().filter(|path| !path.ends_with("lock")).collect();
    let mut named = 0;
    for n in 0..count_from_env("COMMEDIA_FLIPS", 30) {
        let copy = copied(&whole, dir.path(), "flipped");
        // Every second time the log, where nearly all bytes are.
        let any = &paths[random.below(paths.len() as u64) as usize];
        let path = if random.below(2) == 0 { log(engine, &copy) } else { copy.join(any.strip_prefix(&whole).unwrap()) };
        let mut bytes = fs::read(&path).unwrap();
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        if used == 0 {
            continue;
        }
        let (at, bit) = (random.below(used as u64) as usize, random.below(8));
        bytes[at] ^= 1 << bit;
        fs::write(&path, &bytes).unwrap();
        let said = examine(engine, &copy, &heads).await;
        println!("{n}: {} byte {at} bit {bit}: {}", path.display(), said.as_deref().unwrap_or("no harm"));
        named += u32::from(said.is_some());
    }
    println!("{named} named");
}

fn copied(from: &Path, dir: &Path, name: &str) -> std::path::PathBuf {
    let to = dir.join(name);
    if to.exists() {
        fs::remove_dir_all(&to).unwrap();
    }
    copy_dir(from, &to);
    to
}

async fn a_lost_end_is_named(engine: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let heads = sample(engine, &whole, 12).await;
    let len = fs::read(log(engine, &whole)).unwrap().iter().rposition(|b| *b != 0).unwrap() as u64;
    for kept in [0, 10, 30, 50, 70, 80, 90] {
        let copy = copied(&whole, dir.path(), "cut");
        fs::File::options().write(true).open(log(engine, &copy)).unwrap().set_len(len * kept / 100).unwrap();
        for entry in files(&copy.join(engine)).iter().filter(|path| path.to_string_lossy().contains("snap.")) {
            fs::remove_file(entry).unwrap();
        }
        let said = examine(engine, &copy, &heads).await.unwrap_or_else(|| panic!("{kept} % of the log, and nothing said"));
        println!("{kept} %: {said}");
        assert!(said.contains("refused") || said.contains("are missing"), "{said}");
    }
    let copy = copied(&whole, dir.path(), "emptied");
    fs::remove_dir_all(copy.join(engine)).unwrap();
    assert!(examine(engine, &copy, &heads).await.unwrap().contains("acknowledged groups are missing at the end"));
    assert!(examine(engine, &copy, &heads).await.unwrap().contains("acknowledged events 1 to "), "and it stays named");
    let copy = copied(&whole, dir.path(), "unmarked");
    fs::write(copy.join("high-water"), "").unwrap();
    assert!(examine(engine, &copy, &heads).await.unwrap().contains("missing from the end of the high-water mark"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_half_written_snapshot_of_sled_does_no_harm() {
    let engine = "sled";
    let dir = tempfile::tempdir().unwrap();
    let heads = sample(engine, dir.path(), 2).await;
    fs::write(dir.path().join("sled/snap.FFFFFFFFFFFFFFFF.generating"), "half").unwrap();
    assert_eq!(examine(engine, dir.path(), &heads).await, None);
}

/// What the child appends to, told by `COMMEDIA_KILL_DIR`; without it there is nothing to do.
#[test]
#[ignore = "the process that the kill test kills"]
fn killed_child() {
    let (Ok(dir), Ok(engine)) = (std::env::var("COMMEDIA_KILL_DIR"), std::env::var("COMMEDIA_KILL_ENGINE")) else { return };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(async {
        let store = open_files(&engine, Path::new(&dir)).await;
        let mut tasks = tokio::task::JoinSet::new();
        for writer in 0..6_u64 {
            tasks.spawn(write_for_ever(store.clone(), writer));
        }
        tasks.join_all().await;
    });
}

/// Appends to three streams in turn and reports each head once it is acknowledged.
async fn write_for_ever(store: Store, writer: u64) {
    let streams = [0, 1, 2].map(|n| run(&format!("w{writer}-{n}")));
    let mut heads = [Head::START; 3];
    for (head, stream) in heads.iter_mut().zip(&streams) {
        *head = store.head(stream).await.unwrap();
    }
    for turn in 0_u64.. {
        let n = turn as usize % 3;
        let (stream, head) = (&streams[n], heads[n]);
        let count = if turn.is_multiple_of(50) { 200 } else { 1 + turn % 7 };
        let blob = Blob::new("default", payload(stream, head.seq + 1_000_000));
        let request = Append {
            frame: frame_with(stream, &head, count, std::slice::from_ref(&blob)),
            blobs: vec![blob],
            meta: turn.is_multiple_of(4).then(|| vec![1; 30]),
            live: LiveRow::Put(vec![1; 9]),
            ..append_of(&store, stream, &head, count)
        };
        heads[n] = store.append(request).await.unwrap();
        report(stream, &heads[n]);
        if turn.is_multiple_of(20) {
            let (seq, head_hash) = (heads[n].seq, heads[n].hash);
            let snapshot = Snapshot { seq, head_hash, digest: head_hash, state_version: 1, bytes: vec![7; 20_000] };
            store.put_snapshot(stream, snapshot).await.unwrap();
        }
    }
}

fn report(stream: &StreamId, head: &Head) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nacknowledged {stream} {} {}", head.seq, head.hash).unwrap();
    out.flush().unwrap();
}

fn spawn_child(engine: &str, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed_child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env("COMMEDIA_KILL_DIR", dir)
        .env("COMMEDIA_KILL_ENGINE", engine)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Takes note of an acknowledgement; a line cut off by the kill is none.
fn note(line: &str, acknowledged: &mut BTreeMap<StreamId, (u64, Hash32)>) -> bool {
    let words: Vec<&str> = line.split(' ').collect();
    let ["acknowledged", stream, seq, hash] = words[..] else { return false };
    let (Ok(stream), Ok(seq), Some(hash)) = (stream.parse(), seq.parse(), Hash32::from_hex(hash)) else { return false };
    acknowledged.insert(stream, (seq, hash));
    true
}

async fn nothing_acknowledged_is_lost_to_a_kill(engine: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::from_env("COMMEDIA_KILL_SEED");
    let mut acknowledged = BTreeMap::new();
    let (mut lines, kills) = (0_u64, count_from_env("COMMEDIA_KILLS", 10));
    for kill in 0..kills {
        let mut child = spawn_child(engine, dir.path());
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let early = random.below(5) == 0;
        if !early {
            // Until the first acknowledgement.
            let mut line = String::new();
            while out.read_line(&mut line).unwrap() > 0 && !note(line.trim_end(), &mut acknowledged) {
                line.clear();
            }
        }
        let reader = std::thread::spawn(move || out.lines().map_while(Result::ok).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_micros(random.below(if early { 80_000 } else { 250_000 })));
        child.kill().unwrap();
        child.wait().unwrap();
        let read = reader.join().unwrap();
        lines += read.iter().filter(|line| note(line, &mut acknowledged)).count() as u64;

        let store = open_files(engine, dir.path()).await;
        assert_eq!(store.damage(), [], "kill {kill}");
        let report = store.check().await.unwrap();
        assert_eq!(report.damage, [], "kill {kill}");
        let full = kill + 1 == kills;
        for (stream, (seq, hash)) in &acknowledged {
            let found = report.streams.iter().find(|s| s.stream == *stream).unwrap();
            assert!(found.whole && found.head.seq >= *seq, "kill {kill}: {stream} was at {seq}, is at {}", found.head.seq);
            let frames = store.read(stream, *seq, 1).await.unwrap();
            assert_eq!(frames[0].head(), Head { seq: *seq, hash: *hash }, "kill {kill}: {stream}");
            if full {
                assert_eq!(verify(&store, stream, 100_000).await, found.head);
            }
        }
        store.close().await.unwrap();
    }
    println!("{kills} kills, {lines} acknowledged appends, {} streams", acknowledged.len());
    assert!(lines > 0);
}

/// On a small file system of its own, named by `COMMEDIA_SMALL_DISK` (a tmpfs of some 24 MiB for sled, of 160 MiB for fjall, say); the engine by
/// `COMMEDIA_KILL_ENGINE`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a small file system"]
async fn a_full_disk_stops_writes_only_and_only_while_it_is_full() {
    let Ok(disk) = std::env::var("COMMEDIA_SMALL_DISK") else { return };
    let engine: &str = &std::env::var("COMMEDIA_KILL_ENGINE").unwrap_or_else(|_| "sled".into());
    let ballast = Path::new(&disk).join("ballast");
    let dir = Path::new(&disk).join("store");
    let store = open_files(engine, &dir).await;
    let stream = run("a");
    let mut head = fill(&store, &stream, &[3, 5]).await;
    let epoch = store.epoch();
    let mut file = fs::File::create(&ballast).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let spare = Random::from_env("COMMEDIA_DISK_SEED").below(2_000_000);
    file.set_len(file.metadata().unwrap().len() - spare).unwrap();
    let error = loop {
        match append(&store, &stream, &head, 50).await {
            Ok(new) => head = new,
            Err(e) => break e,
        }
    };
    println!("full after {} events: {error}", head.seq);
    assert_eq!(error, AppendError::Unknown);
    for _ in 0..3 {
        let refused = append(&store, &stream, &head, 1).await;
        assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
        assert_eq!(store.head(&stream).await, Ok(head));
        let mut at = Head::START;
        while at != head {
            match store.read_after(&stream, &at, 50_000).await {
                Ok(frames) => at = frames.last().unwrap().head(),
                // sled cannot read a page whose split it could not write; nothing else is an excuse.
                Err(ReadError::Unavailable(why)) => {
                    println!("not readable after event {}: {why}", at.seq);
                    break;
                }
                Err(e) => panic!("{e}"),
            }
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    drop(file);
    fs::remove_file(&ballast).unwrap();
    while store.epoch() == epoch {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let found = store.head(&stream).await.unwrap();
    assert!(found == head || found.seq == head.seq + 50, "{found:?} after {head:?}");
    let head = append(&store, &stream, &found, 50).await.unwrap();
    assert_eq!(verify(&store, &stream, 100_000).await, head);
    assert_eq!(store.check().await.unwrap().damage, []);
    store.close().await.unwrap();
    let store = open_files(engine, &dir).await;
    assert_eq!(verify(&store, &stream, 100_000).await, head);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_fjall_that_was_not_finished_is_made_anew() {
    let dir = tempfile::tempdir().unwrap();
    open_files("fjall", dir.path()).await.close().await.unwrap();
    fs::rename(dir.path().join("fjall"), dir.path().join("fjall.new")).unwrap();
    fs::remove_file(dir.path().join("fjall.new/version")).unwrap();
    fs::write(dir.path().join("high-water"), "").unwrap();
    let store = open_files("fjall", dir.path()).await;
    assert_eq!(store.damage(), []);
    assert!(!dir.path().join("fjall.new").exists());
}

macro_rules! on_files {
    ($($engine:ident)*) => {$(
        mod $engine {
            on_files! { $engine:
                a_directory_has_one_owner
                another_engines_url_is_refused_and_both_are_named
                both_durabilities_survive_closing_and_count_their_syncs
                a_flipped_bit_is_named_or_does_no_harm
                a_lost_end_is_named
                nothing_acknowledged_is_lost_to_a_kill
            }
        }
    )*};
    ($engine:ident: $($test:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            super::$test(stringify!($engine)).await;
        }
    )*};
}

on_files! { sled fjall }
