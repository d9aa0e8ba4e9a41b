//! The scenarios that come with the program, embedded byte for byte. `init` writes them out; `run` knows them by name.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A scenario with its data files.
#[derive(Clone, Copy, Debug)]
pub struct Pack {
    /// Its name; the scenario itself is `<name>.scenario.yaml`.
    pub name: &'static str,
    /// What it is for, in one line.
    pub about: &'static str,
    /// Whether it is listed; the bench's own scenario is not.
    pub listed: bool,
    /// Paths within the pack, and their bytes; the scenario first.
    pub files: &'static [(&'static str, &'static [u8])],
}

macro_rules! pack {
    ($name:literal, $listed:literal, $about:literal, $($file:literal),+ $(,)?) => {
        Pack {
            name: $name,
            about: $about,
            listed: $listed,
            files: &[$(($file, include_bytes!(concat!("../config/scenarios/", $name, "/", $file)))),+],
        }
    };
}

/// All of them.
pub const PACKS: &[Pack] = &[
    pack!("coin-shop", true, "the smallest scenario: fifty customers, one cash box", "coin-shop.scenario.yaml"),
    pack!(
        "retail-season",
        true,
        "a season week by week: planner, demand, inventory, pricing and a seeded market",
        "retail-season.scenario.yaml",
        "README.md",
        "data/categories.csv",
        "data/history.csv",
        "data/market_curve.csv",
        "data/store_clusters.csv",
        "data/stores.csv",
    ),
    pack!(
        "startup-studio",
        true,
        "an idea to a pitch: market, product, plan, and a critic that sends work back",
        "startup-studio.scenario.yaml",
        "README.md",
        "data/segments.csv",
    ),
    pack!(
        "fault-drill",
        true,
        "a shipping network in a storm of crashes, lost messages and failing models",
        "fault-drill.scenario.yaml"
    ),
    pack!("handoff-4", false, "four agents, three handoffs: what `bench` measures", "handoff-4.scenario.yaml"),
    pack!("waiting", false, "one agent that waits for a day", "waiting.scenario.yaml"),
    pack!("population", false, "ten thousand agents by rules, a hundred ticks", "population.scenario.yaml"),
    pack!("handoff-4-rules", false, "the same by agents of kind `rules`", "handoff-4-rules.scenario.yaml"),
];

/// The pack of a name.
pub fn find(name: &str) -> Option<&'static Pack> {
    PACKS.iter().find(|p| p.name == name)
}

/// The names users are told of.
pub fn names() -> impl Iterator<Item = &'static str> {
    PACKS.iter().filter(|p| p.listed).map(|p| p.name)
}

impl Pack {
    /// The scenario's file name.
    pub fn entry(&self) -> &'static str {
        self.files[0].0
    }

    /// The scenario's bytes.
    pub fn source(&self) -> &'static [u8] {
        self.files[0].1
    }

    /// All files by path, as the loader asks for them.
    pub fn folder(&self) -> BTreeMap<String, Arc<[u8]>> {
        self.files.iter().map(|(path, bytes)| ((*path).to_owned(), Arc::from(*bytes))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn below(dir: &Path, prefix: &str, out: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).expect("the pack's folder is there") {
            let entry = entry.expect("readable");
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().is_dir() { below(&entry.path(), &format!("{name}/"), out) } else { out.push(name) }
        }
    }

    #[test]
    fn every_file_of_a_pack_is_embedded_but_generators() {
        for pack in PACKS {
            assert_eq!(pack.entry(), format!("{}.scenario.yaml", pack.name));
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenarios").join(pack.name);
            let mut there = Vec::new();
            below(&folder, "", &mut there);
            there.retain(|path| !path.starts_with("generate/"));
            let mut embedded: Vec<String> = pack.files.iter().map(|(path, _)| (*path).to_owned()).collect();
            there.sort();
            embedded.sort();
            assert_eq!(there, embedded, "{}", pack.name);
        }
    }
}
