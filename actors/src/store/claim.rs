//! Taking over an engine: it is compared with its high-water mark, and the epoch is raised before anything is written.

use std::sync::Arc;

use super::engine::{Batch, Durability, Engine, Guard, Order};
use super::error::{Damage, OpenError};
use super::highwater::{HighWater, Marks, push_line};
use super::key;
use super::listing::Layout;
use super::live::{self, Whole};
use super::losses;
use super::reader::Opened;
use crate::points::{Point, pass};

/// The control row: epoch and group, with their check. Each group replaces it and is guarded by its last content, so
/// of two writers on one engine the older is fenced.
pub(crate) fn control(epoch: u64, group: u64) -> [u8; 24] {
    let mut row = [0; 24];
    row[..8].copy_from_slice(&epoch.to_be_bytes());
    row[8..16].copy_from_slice(&group.to_be_bytes());
    let check = blake3::hash(&row[..16]);
    row[16..].copy_from_slice(&check.as_bytes()[..8]);
    row
}

/// Epoch and group of a control row, if it is one.
pub(crate) fn read_control(row: &[u8]) -> Option<(u64, u64)> {
    let (epoch, rest) = row.split_first_chunk()?;
    let (group, _) = rest.split_first_chunk()?;
    let (epoch, group) = (u64::from_be_bytes(*epoch), u64::from_be_bytes(*group));
    (control(epoch, group) == row).then_some((epoch, group))
}

/// An engine just opened, looked over and claimed for a new epoch.
pub(crate) struct Claimed {
    /// For the readers.
    pub(crate) opened: Opened,
    /// For the writer.
    pub(crate) claim: Claim,
}

/// The right to write, and where to go on.
pub(crate) struct Claim {
    pub(crate) high_water: Option<HighWater>,
    pub(crate) durability: Durability,
    pub(crate) epoch: u64,
    pub(crate) group: u64,
}

/// Goes on with an engine in the epoch that it was claimed in: nobody else had it in between, and nobody is fenced.
pub(crate) fn go_on(
    engine: Arc<dyn Engine>,
    (high_water, marks): (HighWater, Marks),
    durability: Durability,
    layout: Layout,
) -> Result<Claimed, OpenError> {
    let control = engine.get(key::CONTROL)?.as_deref().and_then(read_control);
    let (epoch, group) = control.ok_or_else(|| OpenError::Damaged(Damage::of_store("the control row is damaged")))?;
    if group < marks.group || epoch < marks.epoch {
        return Err(OpenError::Damaged(Damage::of_store("the copy is behind the high-water mark")));
    }
    let live = Whole::of(&*engine, Some(epoch))?;
    let path = high_water.path().to_path_buf();
    let lost = losses::noted(&path).map_err(|e| OpenError::Failed(format!("cannot read what was lost: {e}")))?;
    let damage: Vec<Damage> = marks.damage.iter().cloned().chain(lost).map(Damage::of_store).collect();
    let opened = Opened {
        lost: any_lost(&damage),
        deleted: any_deleted(&*engine)?.into(),
        engine,
        marks,
        damage,
        high_water: Some(path),
        live,
        layout,
        moves: 0.into(),
    };
    Ok(Claimed { opened, claim: Claim { high_water: Some(high_water), durability, epoch, group } })
}

fn any_lost(damage: &[Damage]) -> bool {
    damage.iter().any(|damage| damage.what.contains("acknowledged groups are missing"))
}

fn any_deleted(engine: &dyn Engine) -> Result<bool, OpenError> {
    let tombstones = key::tombstones();
    Ok(engine.first(&tombstones.from, &tombstones.to, Order::Ascending)?.is_some())
}

/// Compares an engine with its high-water mark and raises the epoch, durably.
pub(crate) fn claim(
    engine: Arc<dyn Engine>,
    high_water: Option<(HighWater, Marks)>,
    durability: Durability,
    layout: Layout,
) -> Result<Claimed, OpenError> {
    let row = engine.get(key::CONTROL)?;
    let stored = row.as_deref().map(read_control);
    if stored == Some(None) {
        return Err(OpenError::Damaged(Damage::of_store("the control row is damaged")));
    }
    let live = Whole::of(&*engine, stored.flatten().map(|(epoch, _)| epoch))?;
    let (epoch, group) = stored.flatten().unwrap_or((0, 0));
    let (mut high_water, marks) = high_water.map_or((None, None), |(file, marks)| (Some(file), Some(marks)));
    let path = high_water.as_ref().map(|file| file.path().to_path_buf());
    let mut damage: Vec<Damage> = engine.found().into_iter().map(Damage::of_store).collect();
    if let Some(marks) = &marks {
        damage.extend(marks.damage.iter().map(Damage::of_store));
        if marks.torn {
            tracing::info!("the high-water mark ended in the middle of a line: the group was not acknowledged");
        }
        if group < marks.group {
            let what = format!("{} acknowledged groups are missing at the end", marks.group - group);
            if let Some(path) = &path {
                losses::note(path, &what).map_err(|e| OpenError::Failed(format!("cannot keep what was lost: {e}")))?;
            }
            damage.push(Damage::of_store(what));
        } else if group > marks.group + 1 {
            let what = format!("{} groups are missing from the end of the high-water mark", group - marks.group - 1);
            damage.push(Damage::of_store(what));
        }
    }
    let lost = path.as_deref().map(losses::noted).transpose();
    let lost = lost.map_err(|e| OpenError::Failed(format!("cannot read what was lost: {e}")))?.unwrap_or_default();
    let known: Vec<Damage> = lost.into_iter().map(Damage::of_store).filter(|lost| !damage.contains(lost)).collect();
    damage.extend(known);
    let lost = any_lost(&damage);
    let marks = marks.unwrap_or_default();
    let (epoch, group) = (epoch.max(marks.epoch) + 1, group.max(marks.group) + 1);
    let mut batch = Batch::default();
    batch.put(key::CONTROL, &control(epoch, group));
    if live.get() {
        live::complete(epoch, &mut batch);
    }
    pass(Point::ClaimBefore);
    engine.apply(Guard { key: key::CONTROL, holds: row.as_deref() }, &batch)?;
    pass(Point::ClaimApplied);
    engine.sync(durability)?;
    pass(Point::ClaimSynced);
    if let Some(file) = &mut high_water {
        let mut lines = Vec::new();
        push_line(&mut lines, group, epoch, None);
        file.append(&lines, durability).map_err(|e| OpenError::Failed(format!("cannot write the high-water mark: {e}")))?;
    }
    let deleted = any_deleted(&*engine)?.into();
    pass(Point::ClaimAfter);
    Ok(Claimed {
        opened: Opened { engine, marks, damage, lost, high_water: path, live, deleted, layout, moves: 0.into() },
        claim: Claim { high_water, durability, epoch, group },
    })
}
