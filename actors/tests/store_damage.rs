//! Deliberate damage to the files of a store: whatever it serves afterwards is right, whatever it does not is named.
//!
//! `COMMEDIA_FLIPS`: how often (40 on each engine), in a store of `COMMEDIA_FLIP_RUNS` streams (12);
//! `COMMEDIA_FLIP_SEED`: the same again.

mod store_support;

use std::fs;
use std::process::Command;

use commedia_actors::store::engine::Durability;
use commedia_actors::store::{OpenError, Options, Store};
use store_support::damage::Attack;
use store_support::samples::*;
use store_support::*;

async fn any_damage_is_named_or_does_no_harm(engine: &'static str) {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let heads = sample(engine, &whole, count_from_env("COMMEDIA_FLIP_RUNS", 12)).await;
    assert_eq!(examine(engine, &copied(&whole, dir.path(), "untouched"), &heads).await, None);
    let mut random = Random::from_env("COMMEDIA_FLIP_SEED");
    let paths = files(&whole);
    let (mut named, mut refused) = (0, 0);
    for n in 0..count_from_env("COMMEDIA_FLIPS", 40) {
        let copy = copied(&whole, dir.path(), "damaged");
        // Every second time the log, where nearly all bytes are.
        let any = &paths[random.below(paths.len() as u64) as usize];
        let path = if random.below(2) == 0 { log(engine, &copy) } else { copy.join(any.strip_prefix(&whole).unwrap()) };
        let done = Attack::any(&mut random).on(&path, &mut random);
        println!("{n}: {}: {done}", path.strip_prefix(&copy).unwrap().display());
        let said = examine(engine, &copy, &heads).await;
        println!("    {}", said.as_deref().unwrap_or("no harm"));
        named += u32::from(said.is_some());
        refused += u32::from(said.is_some_and(|said| said.starts_with("refused")));
    }
    println!("{engine}: {named} named, {refused} of them refuse the store; the others did no harm");
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

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_lock_and_a_stale_probe_do_no_harm() {
    for engine in ["sled", "fjall"] {
        let dir = tempfile::tempdir().unwrap();
        let heads = sample(engine, dir.path(), 2).await;
        for text in ["4000000\n", "", "no number", "99999999999999999999"] {
            fs::write(dir.path().join("lock"), text).unwrap();
            fs::write(dir.path().join("probe"), text).unwrap();
            assert_eq!(examine(engine, dir.path(), &heads).await, None, "{text:?}");
        }
    }
}

/// Root may write everywhere, so the folder is mounted read-only, in a namespace of its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_may_only_be_read_is_refused_with_its_name() {
    for engine in ["sled", "fjall"] {
        let dir = tempfile::tempdir().unwrap();
        sample(engine, dir.path(), 1).await;
        let mut command = Command::new("unshare");
        command.args(["-Urm", "sh", "-c", "mount --bind -o ro \"$0\" \"$0\" && exec \"$@\""]).arg(dir.path());
        let able =
            Command::new("unshare").args(["-Urm", "sh", "-c", "mount --bind -o ro \"$0\" \"$0\""]).arg(dir.path()).output();
        if !able.as_ref().is_ok_and(|output| output.status.success()) {
            println!("SKIPPED: no mounts in a namespace on this machine: {able:?}");
            return;
        }
        command.arg(std::env::current_exe().unwrap()).args(["--exact", "read_only_child", "--ignored", "--nocapture"]);
        let output = command.env("READ_ONLY_URL", url(engine, dir.path())).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.contains("1 passed"), "{text}{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[tokio::test]
#[ignore = "the process that the test above starts"]
async fn read_only_child() {
    let Ok(url) = std::env::var("READ_ONLY_URL") else { return };
    match Store::open(&url, Durability::Fsync, Options::default()).await {
        Err(OpenError::Failed(said)) => {
            assert!(said.contains(url.split_once("://").unwrap().1) && said.contains("Read-only file system"), "{said}");
        }
        Err(e) => panic!("{e}"),
        Ok(_) => panic!("it must not open"),
    }
}

macro_rules! on_files {
    ($($engine:ident)*) => {$(
        mod $engine {
            on_files! { $engine: any_damage_is_named_or_does_no_harm a_lost_end_is_named }
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
