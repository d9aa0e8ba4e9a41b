//! Backup and restore as commands.

use crate::home::{Home, keys};

#[test]
fn what_is_backed_up_comes_back() {
    let home = Home::new();
    for scenario in ["coin-shop", "handoff-4"] {
        home.run(&["run", scenario]).exits(0);
    }
    let report = home.run(&["store", "check", "--output", "json"]).exits(0).json();
    let (file, other) = (home.data().with_extension("backup"), home.data().with_extension("other"));
    let (file, other) = (file.to_str().expect("UTF-8"), other.to_str().expect("UTF-8"));
    let backed_up = home.run(&["store", "backup", file, "--output", "json"]).exits(0).json();
    let expect = ["schema", "file", "store", "streams", "frames", "events", "blobs", "snapshots", "bytes"];
    assert_eq!(keys(&backed_up), expect);
    assert!(home.run(&["store", "backup", file]).exits(2).err.contains("is there already"));
    assert!(home.run(&["store", "restore", file]).exits(2).err.contains("is not empty"));
    for engine in ["sled", "fjall"] {
        let url = format!("--store={engine}://{other}-{engine}");
        let restored = home.run(&["store", "restore", file, &url, "--output", "json"]).exits(0).json();
        for key in ["streams", "frames", "events", "blobs", "snapshots", "bytes"] {
            assert_eq!(restored[key], backed_up[key], "{key}");
        }
        assert_eq!(home.run(&["store", "check", &url, "--output", "json"]).exits(0).json()["runs"], report["runs"]);
        assert!(home.run(&["replay", "@1", "--verify", &url]).exits(0).out.contains("equal"));
    }
    let mut bytes = std::fs::read(file).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(file, bytes).expect("is written");
    let refused = home.run(&["store", "restore", file, &format!("--store=sled://{other}")]).exits(8);
    assert!(refused.err.contains("damaged at byte"), "{}", refused.err);
    assert!(!std::path::Path::new(other).exists());
    assert!(
        home.run(&["store", "restore", "nothing.backup", &format!("--store=sled://{other}")])
            .exits(2)
            .err
            .contains("No such file")
    );
}
