//! A build for use has no crash points, and says so instead of passing over what it was told.

use crate::home::Home;

#[test]
fn a_build_for_use_has_no_crash_points() {
    let home = Home::new();
    let said = home.run(&["crash-points", "--output", "json"]).exits(2);
    assert!(said.err.contains("cargo build --features failpoints"), "{}", said.err);
    for variable in ["COMMEDIA_CRASH_AT", "COMMEDIA_PANIC_AT", "COMMEDIA_HANG_AT"] {
        let output = home.command(&["ls"]).env(variable, "run.end.before").output().expect("starts");
        let said = crate::home::Said::from(output).exits(2);
        assert!(said.err.contains(variable) && said.err.contains("built without crash points"), "{}", said.err);
    }
    assert!(!home.data().exists());
    let program = std::fs::read(env!("CARGO_BIN_EXE_commedia")).expect("is read");
    let program = String::from_utf8_lossy(&program);
    let holds = |words: &str| program.contains(words);
    assert!(!holds(concat!("high-water.comp", "act.before")), "nothing of a point is left in it");
    assert!(holds("built without crash points"), "the search finds what is there");
}
