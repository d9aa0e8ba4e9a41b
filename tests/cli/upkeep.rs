//! Room and formats, as commands.

use crate::home::{Home, keys};

#[test]
fn ended_runs_are_deleted_and_their_room_comes_back() {
    let home = Home::new();
    home.run(&["run", "coin-shop", "--runs", "12"]).exits(0);
    let newest = home.run(&["show", "@1", "--output", "json"]).exits(0).json();
    let oldest = home.run(&["show", "@12", "--output", "json"]).exits(0).json();
    assert!(home.run(&["store", "prune", "--keep", "some"]).exits(2).err.contains("`all`, a number of runs"));
    let pruned = home.run(&["store", "prune", "--keep", "24h", "--output", "json"]).exits(0).json();
    assert_eq!((keys(&pruned), &pruned["deleted"]), (vec!["schema", "store", "deleted"], &0.into()));
    assert_eq!(home.run(&["store", "prune", "--keep", "2", "--output", "json"]).exits(0).json()["deleted"], 10);
    let compacted = home.run(&["store", "compact", "--output", "json"]).exits(0).json();
    assert_eq!(keys(&compacted), ["schema", "store", "bytes_before", "bytes_after", "rows", "dropped"]);
    assert!(compacted["bytes_after"].as_u64() <= compacted["bytes_before"].as_u64(), "{compacted}");
    let listed = home.run(&["ls", "--output", "jsonl"]).exits(0).lines();
    assert_eq!(listed.len(), 2);
    let shown = home.run(&["show", newest["run_id"].as_str().expect("an id"), "--output", "json"]).exits(0).json();
    assert_eq!(shown["digest"], newest["digest"]);
    home.run(&["replay", "@1", "--verify"]).exits(0);
    home.run(&["show", oldest["run_id"].as_str().expect("an id")]).exits(2);
    assert_eq!(home.run(&["store", "check", "--output", "json"]).exits(0).json()["runs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn formats_go_both_ways_and_a_deleted_run_stays_deleted() {
    let home = Home::new();
    home.run(&["run", "coin-shop", "--runs", "3"]).exits(0);
    home.run(&["store", "prune", "--keep", "1"]).exits(0);
    let to = |to: &[&str]| home.run(&[&["store", "migrate", "--output", "json"], to].concat());
    let went = |json: serde_json::Value| (json["from"].as_u64(), json["to"].as_u64());
    assert_eq!(went(to(&[]).exits(0).json()), (Some(3), Some(3)));
    assert_eq!(went(to(&["--to", "1"]).exits(0).json()), (Some(3), Some(1)));
    let mark = std::fs::read_to_string(home.data().join("store/high-water")).expect("text");
    assert!(!mark.contains(&u64::MAX.to_string()), "an older program finds nothing missing: {mark}");
    assert_eq!(home.run(&["store", "check", "--output", "json"]).exits(0).json()["runs"].as_array().map(Vec::len), Some(1));
    home.run(&["run", "coin-shop"]).exits(0);
    assert!(home.run(&["store", "prune", "--keep", "1"]).exits(8).err.contains("commedia store migrate"));
    assert_eq!(went(to(&["--to", "2"]).exits(0).json()), (Some(1), Some(2)));
    home.run(&["store", "prune", "--keep", "1"]).exits(0);
    assert_eq!(home.run(&["ls", "--output", "jsonl"]).exits(0).lines().len(), 1);
    home.run(&["store", "check"]).exits(0);
    assert_eq!(went(to(&[]).exits(0).json()), (Some(2), Some(3)));
    assert_eq!(home.run(&["ls", "--output", "jsonl"]).exits(0).lines().len(), 1);
    assert!(to(&["--to", "4"]).exits(2).err.contains("formats known are 1 to 3"));
}
