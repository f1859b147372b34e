//! Places for trials on this machine: cores that no other trial uses, and a GPU of its own where there are some.

use std::collections::HashMap;

/// A place for one trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Slot {
    /// Cores that the trial may use; empty: as the worker.
    pub cores: Vec<usize>,
    /// What the trial sees as its GPUs; `None`: whatever the worker sees.
    pub gpus: Option<String>,
}

/// What there is to share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Cores that this process may use.
    pub cores: Vec<usize>,
    /// Names of the GPUs that this process sees.
    pub gpus: Vec<String>,
    /// Bytes of memory that are free.
    pub free_bytes: Option<u64>,
}

/// What a trial asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Share {
    /// Trials side by side, where somebody says so.
    pub at_once: Option<usize>,
    /// Cores of a trial, where somebody says so.
    pub cores: Option<usize>,
    /// Processes of a trial.
    pub ranks: usize,
    /// Memory of a trial.
    pub bytes: u64,
    /// Whether trials leave GPUs alone.
    pub on_cpu: bool,
}

impl Machine {
    /// This one.
    pub fn look() -> Self {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let free = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
        let free = free.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        Self {
            cores: dtrain_comm::allowed_cores(),
            gpus: visible_gpus(),
            free_bytes: free.map(|kib| kib << 10),
        }
    }

    /// The places, and where their number comes from. There is always one.
    ///
    /// # Errors
    /// More is asked for than there is.
    pub fn slots(&self, share: &Share) -> Result<(Vec<Slot>, String), String> {
        let ranks = share.ranks.max(1);
        let gpus: &[String] = if share.on_cpu { &[] } else { &self.gpus };
        if !gpus.is_empty() && gpus.len() < ranks {
            return Err(format!(
                "a trial of {ranks} ranks needs {ranks} GPUs, and {} are visible",
                gpus.len()
            ));
        }
        let num_cores = self.cores.len().max(1);
        let per_trial = share.cores.unwrap_or(1).max(1) * if share.cores.is_some() { 1 } else { ranks };
        let by_gpus = gpus.len() / ranks;
        let by_cores = (num_cores / per_trial).max(1);
        let by_memory =
            self.free_bytes.map_or(usize::MAX, |free| (free / share.bytes.max(1)) as usize).max(1);
        let (number, reason) = match (share.at_once, by_gpus) {
            (Some(number), 0) => (number, "asked for".to_owned()),
            (Some(number), gpus) if number > gpus => {
                return Err(format!(
                    "{number} trials at once need {} GPUs, and {} are visible",
                    number * ranks,
                    self.gpus.len()
                ));
            }
            (Some(number), _) => (number, "asked for".to_owned()),
            (None, 0) if by_memory < by_cores => {
                (by_memory, format!("{:.1} GiB of memory each", share.bytes as f64 / f64::from(1 << 30)))
            }
            (None, 0) => (by_cores, format!("{per_trial} of {num_cores} cores each")),
            (None, gpus) if by_memory < gpus => (by_memory, "by memory".to_owned()),
            (None, gpus) => (gpus, format!("{ranks} of {} GPUs each", self.gpus.len())),
        };
        let slots = (0..number.max(1)).map(|index| Slot {
            cores: self.cores_of(index, number.max(1), share.cores),
            gpus: gpus
                .get(index * ranks..(index + 1) * ranks)
                .filter(|own| !own.is_empty())
                .map(|own| own.join(",")),
        });
        Ok((slots.collect(), reason))
    }

    /// Neighbouring cores; where there are fewer cores than places, places share.
    fn cores_of(&self, index: usize, number: usize, asked: Option<usize>) -> Vec<usize> {
        let count = self.cores.len();
        if count < number {
            return self.cores.get(index % count.max(1)).copied().into_iter().collect();
        }
        let (begin, end) = (index * count / number, (index + 1) * count / number);
        let most = asked.unwrap_or(usize::MAX);
        self.cores.get(begin..end).unwrap_or_default().iter().copied().take(most).collect()
    }
}

/// As CUDA is told, else all that the driver lists.
fn visible_gpus() -> Vec<String> {
    if let Ok(visible) = std::env::var("CUDA_VISIBLE_DEVICES") {
        return visible
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
    }
    let count = std::fs::read_dir("/proc/driver/nvidia/gpus").map_or(0, |entries| entries.flatten().count());
    (0..count).map(|index| index.to_string()).collect()
}

/// How many cores each place has, for the terminal.
pub(crate) fn described(slots: &[Slot]) -> String {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    for slot in slots {
        *counts.entry(slot.cores.len()).or_default() += 1;
    }
    let least = counts.keys().min().copied().unwrap_or(0);
    let most = counts.keys().max().copied().unwrap_or(0);
    if least == most { format!("{least} core(s)") } else { format!("{least} to {most} cores") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: Share = Share { at_once: None, cores: None, ranks: 1, bytes: 1 << 30, on_cpu: false };

    fn machine(cores: usize, gpus: usize) -> Machine {
        Machine {
            cores: (0..cores).collect(),
            gpus: (0..gpus).map(|index| index.to_string()).collect(),
            free_bytes: Some(64 << 30),
        }
    }

    fn slots(machine: &Machine, share: Share) -> Vec<Slot> {
        machine.slots(&share).unwrap().0
    }

    #[test]
    fn places_share_no_core_and_no_gpu() {
        for (cores, gpus, at_once) in [(8, 0, None), (8, 0, Some(3)), (64, 4, None), (7, 2, Some(2))] {
            let slots = slots(&machine(cores, gpus), Share { at_once, ..SHARE });
            let mut used: Vec<usize> = slots.iter().flat_map(|slot| slot.cores.clone()).collect();
            let count = used.len();
            used.sort_unstable();
            used.dedup();
            assert_eq!(used.len(), count, "{slots:?}");
            assert!(slots.iter().all(|slot| !slot.cores.is_empty()));
            let gpu: Vec<_> = slots.iter().filter_map(|slot| slot.gpus.clone()).collect();
            assert_eq!(gpu.len(), if gpus > 0 { slots.len() } else { 0 });
        }
    }

    #[test]
    fn the_number_follows_from_what_there_is() {
        assert_eq!(slots(&machine(8, 0), SHARE).len(), 8);
        assert_eq!(slots(&machine(8, 0), Share { cores: Some(4), ..SHARE }).len(), 2);
        assert_eq!(slots(&machine(8, 0), Share { ranks: 4, ..SHARE }).len(), 2);
        assert_eq!(slots(&machine(64, 4), SHARE).len(), 4);
        assert_eq!(slots(&machine(64, 4), Share { ranks: 2, ..SHARE })[1].gpus.as_deref(), Some("2,3"));
        assert_eq!(slots(&machine(64, 4), Share { on_cpu: true, ..SHARE }).len(), 64);
        assert_eq!(slots(&Machine { free_bytes: Some(3 << 30), ..machine(8, 0) }, SHARE).len(), 3);
        assert_eq!(slots(&Machine { free_bytes: Some(0), ..machine(8, 0) }, SHARE).len(), 1);
        assert_eq!(slots(&machine(2, 0), Share { at_once: Some(4), ..SHARE }).len(), 4, "they share cores");
        assert!(machine(8, 2).slots(&Share { at_once: Some(3), ..SHARE }).unwrap_err().contains("3 GPUs"));
        assert!(machine(8, 2).slots(&Share { ranks: 4, ..SHARE }).unwrap_err().contains("4 ranks"));
    }
}
