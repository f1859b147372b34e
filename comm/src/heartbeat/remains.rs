//! What ranks were doing last, read by their launcher after they have ended: one that was killed cannot tell.

use std::collections::BTreeMap;
use std::path::Path;

use super::clock::Moment;
use super::memory::{Memory, PREFIX};
use super::writer::LastStage;

/// The last stage of every rank of a world that left its memory in `folder`, which was its `DTRAIN_JOB_DIR`.
#[must_use]
pub fn last_stages(folder: &Path, world_size: usize) -> BTreeMap<usize, LastStage> {
    let mut found: BTreeMap<usize, (Moment, LastStage)> = BTreeMap::new();
    for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if !name.starts_with(PREFIX) {
            continue;
        }
        // Of another world, or cut short.
        let Ok(memory) = Memory::open(&path, world_size) else { continue };
        for rank in 0..world_size {
            let Some(slot) = memory.slot(rank) else { break };
            let beat = slot.last_beat();
            if beat > found.get(&rank).map_or(Moment::default(), |(latest, _)| *latest) {
                found.insert(rank, (beat, LastStage { stage: slot.stage().0, step: slot.step() }));
            }
        }
    }
    found.into_iter().map(|(rank, (_, stage))| (rank, stage)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::stage::Stage;
    use super::*;

    #[test]
    fn ranks_that_have_ended_are_read_from_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::create_at(&folder.path().join(format!("{PREFIX}1-0")), 3).unwrap();
        let slot = memory.slot(2).unwrap();
        slot.set_stage(Stage::Backward, Moment::now());
        slot.set_step(Some(41));
        slot.beat(Moment::now());
        drop(memory);
        std::fs::write(folder.path().join(format!("{PREFIX}2-0")), "no memory").unwrap();
        std::fs::write(folder.path().join("else"), "").unwrap();
        let stages = last_stages(folder.path(), 3);
        assert_eq!(stages.len(), 1, "ranks that never beat are left out");
        assert_eq!(stages[&2].to_string(), "backward, step 41");
        assert!(last_stages(folder.path(), 4).is_empty());
        assert!(last_stages(&folder.path().join("none"), 3).is_empty());
    }
}
