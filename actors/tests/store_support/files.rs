//! What tests with files share, those of the whole program too: chance with a seed, folders copied and listed.

use std::path::{Path, PathBuf};

/// Numbers from a seed, for tests that need no more.
pub struct Random(pub u64);

impl Random {
    pub fn from_env(name: &str) -> Random {
        let fresh = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var(name).map_or_else(|_| fresh(), |text| text.parse().unwrap());
        println!("{name}={seed}");
        Random(seed | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % n
    }
}

pub fn count_from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

pub fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

/// A fresh copy beside the others.
pub fn copied(from: &Path, dir: &Path, name: &str) -> PathBuf {
    let to = dir.join(name);
    if to.exists() {
        std::fs::remove_dir_all(&to).unwrap();
    }
    copy_dir(from, &to);
    to
}
