//! Which runs there are and how each kill of each run is meant: a deck with enough of every kind, shuffled by the seed.

use dtrain_configs::schema::MethodConfig;

use crate::dice::Dice;
use crate::moments::Victim;

/// When a process is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// At a random moment between two steps or in one.
    Anytime,
    /// While a checkpoint is being written.
    InWrite,
    /// Before the first step of a start.
    StartUp,
    /// While the embedding is probed.
    InEvaluation,
}

/// Who starts the run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Supervision {
    /// `dtrain launch` does, by itself.
    Launch,
    /// The same mpirun command again, as a scheduler would give it.
    Mpirun,
}

/// A kill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kill {
    /// When.
    pub moment: Moment,
    /// Whom.
    pub victim: Victim,
    /// Uniform in [0, 1): how far into the moment, and which of several processes.
    pub share: f64,
}

/// A run.
#[derive(Debug, Clone, PartialEq)]
pub struct RunPlan {
    /// From 0.
    pub number: usize,
    /// Name of the method.
    pub method: &'static str,
    /// Ranks.
    pub world: usize,
    /// Checkpoints are written while training goes on.
    pub asynchronous: bool,
    /// Who starts it again.
    pub supervision: Supervision,
    /// In this order.
    pub kills: Vec<Kill>,
}

/// Parts of a hundred kills.
const MOMENTS: [(Moment, usize); 4] =
    [(Moment::InWrite, 38), (Moment::StartUp, 16), (Moment::InEvaluation, 16), (Moment::Anytime, 30)];
const VICTIMS: [(Victim, usize); 4] =
    [(Victim::Rank0, 26), (Victim::OtherRank, 34), (Victim::Mpirun, 20), (Victim::Launcher, 20)];

/// `num_runs` runs of `kills_per_run` kills. Every fifth run has no launcher; a rank dies in its place.
/// Such a run may be done before its last kill: ranks that mpirun leaves behind train until they notice.
pub fn plan(num_runs: usize, kills_per_run: usize, seed: u64) -> Vec<RunPlan> {
    let mut dice = Dice::new(seed);
    let mut moments = deck(&MOMENTS, num_runs * kills_per_run);
    let mut victims = deck(&VICTIMS, num_runs * kills_per_run);
    dice.shuffle(&mut moments);
    dice.shuffle(&mut victims);
    let mut cards = moments.into_iter().zip(victims);
    let methods = MethodConfig::all();
    (0..num_runs)
        .map(|number| {
            let supervision = if number % 5 == 4 { Supervision::Mpirun } else { Supervision::Launch };
            let mut kills: Vec<Kill> = cards
                .by_ref()
                .take(kills_per_run)
                .map(|(moment, victim)| Kill {
                    moment,
                    victim: match (supervision, victim) {
                        (Supervision::Mpirun, Victim::Launcher) => Victim::OtherRank,
                        (_, victim) => victim,
                    },
                    share: dice.share(),
                })
                .collect();
            spread(&mut kills);
            // Each method goes round the four pairs of a world and a way to write, however many methods there are.
            let (round, method) = (number / methods.len(), number % methods.len());
            let pair = (round + method) % 4;
            RunPlan {
                number,
                method: methods[method].name(),
                world: 2 + pair % 2,
                asynchronous: pair < 2,
                supervision,
                kills,
            }
        })
        .collect()
}

/// `num` cards in the proportion of `parts`.
fn deck<T: Copy>(parts: &[(T, usize)], num: usize) -> Vec<T> {
    let hundred: Vec<T> = parts.iter().flat_map(|(kind, share)| std::iter::repeat_n(*kind, *share)).collect();
    // The same proportion in every prefix: card i is the kind that stands at i * 37 of the hundred.
    (0..num).map(|i| hundred[i * 37 % hundred.len()]).collect()
}

/// No two kills during start-up in a row: a run needs to make progress in between, as launchers rightly ask.
fn spread(kills: &mut [Kill]) {
    for at in 1..kills.len() {
        if kills[at - 1].moment == Moment::StartUp && kills[at].moment == Moment::StartUp {
            let later = (at + 1..kills.len()).find(|later| kills[*later].moment != Moment::StartUp);
            match later {
                Some(later) => kills.swap(at, later),
                None => kills[at].moment = Moment::Anytime,
            }
        }
    }
}
