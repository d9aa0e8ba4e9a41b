//! The process dies at every crash point, and again while it recovers: nothing acknowledged is lost, no step is recorded
//! twice, each digest is the undisturbed run's, the store is whole. On sled and on fjall.
//!
//! Needs a program built with the feature: `cargo test --features failpoints --test crash_points`. `COMMEDIA_CRASH_PASSES`
//! (1) says how many passes of each point, `COMMEDIA_DOUBLE_CRASHES` (6) how many double crashes, `COMMEDIA_SEED` repeats them.

mod judge;
mod keyed;
mod stage;
mod stuck;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use judge::Undisturbed;
use stage::{PLAY, Stage, Told};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// A crash is of the process, not of the disk: where there is a disk in memory, that is quicker.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    folder.expect("a folder")
}

/// The whole play, undisturbed: the stage before each act, and what came of it.
struct Played {
    before: Vec<Stage>,
    undisturbed: Undisturbed,
}

fn play(folder: &Path, engine: &'static str) -> Played {
    let (mut before, mut told) = (Vec::new(), Told::new());
    let stage = Stage::new(&folder.join("stage"), engine);
    for (n, act) in PLAY.into_iter().enumerate() {
        before.push(stage.copied(&folder.join(format!("before-{n}"))));
        stage.perform(act, &mut VecDeque::new(), &mut told);
    }
    judge::judge(&stage, &Undisturbed::default(), &told, "undisturbed");
    Played { before, undisturbed: Undisturbed::of(&stage) }
}

/// A crash in one act, and another one while that is recovered from; then judgement. `None`: the act does not come by the
/// first point so often; else whether there were as many crashes as were wanted.
fn crash(played: &Played, folder: &Path, act: usize, point: &str, again: Option<&str>) -> Option<bool> {
    let stage = played.before[act].copied(folder);
    let mut told = Told::new();
    let mut left: VecDeque<String> = [Some(point), again].into_iter().flatten().map(str::to_owned).collect();
    let all = left.len();
    let what = format!("{point} in act {act}, {:?}, then {again:?}", PLAY[act]);
    stage.perform(PLAY[act], &mut left, &mut told);
    let hit = left.len() < all;
    if hit {
        // The store takes writes, and the next part of the play goes on from here.
        if let Some(next) = PLAY.get(act + 1) {
            stage.perform(*next, &mut VecDeque::new(), &mut told);
        }
        judge::judge(&stage, &played.undisturbed, &told, &what);
    }
    std::fs::remove_dir_all(folder).expect("removed");
    hit.then_some(left.is_empty())
}

fn points(stage: &Stage) -> Vec<String> {
    let listed = stage.ask(&["crash-points"]);
    assert_eq!(listed["schema"], "commedia.crash-points/v1");
    listed["points"].as_array().expect("a list").iter().map(stage::text).collect()
}

fn at_every_point(engine: &'static str) {
    let folder = folder();
    let played = play(folder.path(), engine);
    let passes = number("COMMEDIA_CRASH_PASSES", 1) as usize;
    let points = points(&played.before[0]);
    let (next, crashes) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let missed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let (folder, played, points, next, crashes, missed) = (folder.path(), &played, &points, &next, &crashes, &missed);
            scope.spawn(move || {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let hits = sweep(played, &folder.join(format!("worker-{worker}")), point, passes);
                    crashes.fetch_add(hits, Ordering::Relaxed);
                    if hits < passes {
                        missed.lock().expect("no panic").push(format!("{point}: {hits}"));
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().expect("no panic");
    let crashes = crashes.into_inner();
    eprintln!(
        "{engine}: {} points, {passes} passes, {crashes} crashes: nothing lost, nothing twice, digests equal",
        points.len()
    );
    assert_eq!(missed, Vec::<String>::new(), "points passed less than {passes} times");
}

/// Crashes at the first passes of a point; how many there were.
fn sweep(played: &Played, folder: &Path, point: &str, passes: usize) -> usize {
    let mut hits = 0;
    let (likely, others): (Vec<usize>, Vec<usize>) = (0..PLAY.len()).partition(|act| PLAY[*act].is_for(point));
    for act in likely.into_iter().chain(others) {
        let mut nth = 1;
        while hits < passes && crash(played, folder, act, &format!("{point}:{nth}"), None).is_some() {
            hits += 1;
            nth += 1;
        }
        if hits == passes {
            break;
        }
    }
    hits
}

#[test]
fn a_crash_at_any_point_loses_nothing_on_sled() {
    at_every_point("sled");
}

#[test]
fn a_crash_at_any_point_loses_nothing_on_fjall() {
    at_every_point("fjall");
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % n.max(1)
    }
}

#[test]
fn a_second_crash_while_recovering_loses_nothing_either() {
    let (wanted, seed) = (number("COMMEDIA_DOUBLE_CRASHES", 6), number("COMMEDIA_SEED", u64::from(std::process::id())));
    eprintln!("COMMEDIA_DOUBLE_CRASHES={wanted} COMMEDIA_SEED={seed}");
    let folder = folder();
    let played = ["sled", "fjall"].map(|engine| play(&folder.path().join(engine), engine));
    let points = points(&played[0].before[0]);
    let mut chance = Chance(seed);
    let mut draws: Vec<(usize, usize, String, String)> = Vec::new();
    let (mut done, mut tried) = (0, 0);
    while done < wanted {
        assert!(tried < 60 * wanted, "{done} double crashes in {tried} attempts");
        tried += 1;
        let (engine, act) = (chance.below(2), chance.below(PLAY.len()));
        let mut point = || format!("{}:{}", points[chance.below(points.len())], 1 + chance.below(3));
        let (first, second) = (point(), point());
        if crash(&played[engine], &folder.path().join("again"), act, &first, Some(&second)) == Some(true) {
            done += 1;
            draws.push((engine, act, first, second));
        }
    }
    let acts: std::collections::BTreeSet<usize> = draws.iter().map(|(_, act, ..)| *act).collect();
    eprintln!("{done} double crashes in {tried} attempts, in {} acts: nothing lost, nothing twice, digests equal", acts.len());
}
