//! Ways to damage a file.

use std::fs;
use std::path::Path;

use super::files::Random;

/// Ways to damage a file.
#[derive(Clone, Copy, Debug)]
pub enum Attack {
    Flip,
    Cut,
    Delete,
    Zero,
    Grow,
}

impl Attack {
    /// A flip or a cut, nearly always.
    pub fn any(random: &mut Random) -> Attack {
        match random.below(10) {
            0..=4 => Attack::Flip,
            5..=6 => Attack::Cut,
            7 => Attack::Delete,
            8 => Attack::Zero,
            _ => Attack::Grow,
        }
    }

    /// Does it somewhere in a file; says where.
    pub fn on(self, path: &Path, random: &mut Random) -> String {
        let mut bytes = fs::read(path).unwrap();
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        let at = random.below(used as u64 + 1) as usize;
        match self {
            Attack::Flip if used == 0 => return "nothing to flip".into(),
            Attack::Flip => bytes[at % used] ^= 1 << random.below(8),
            Attack::Cut => bytes.truncate(at),
            Attack::Delete => {
                fs::remove_file(path).unwrap();
                return "deleted".into();
            }
            Attack::Zero => {
                let end = used.min(at + 4096);
                bytes[at..end].fill(0);
            }
            Attack::Grow => bytes.extend((0..100).map(|_| random.below(256) as u8)),
        }
        fs::write(path, &bytes).unwrap();
        format!("{self:?} at byte {at} of {used}")
    }
}
