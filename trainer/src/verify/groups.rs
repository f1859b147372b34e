//! Which ways are compared with which, and how each is judged.

use super::ways::{Order, Way};
use crate::engine::Arithmetic;

/// How a comparison is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// By the tolerances of f64.
    Double,
    /// By those of fp32, or the noise.
    Single,
    /// By the tolerance of bf16.
    Half,
    /// Not at all: it measures the noise.
    Noise,
    /// Not at all.
    Reported,
}

/// Ways that are compared with one reference.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) reference: Way,
    pub(super) members: Vec<Member>,
}

/// A way, what it is called, and how it is judged.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) way: Way,
    pub(super) judgement: Judgement,
}

/// What the ways depend on.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// Numbers of ranks to compare, ascending.
    pub(super) worlds: Vec<usize>,
    /// Samples of the first batch.
    pub(super) batch: usize,
    /// Steps.
    pub(super) num_steps: usize,
    /// Rows of the pair loss in the first batch; `None` for other losses.
    pub(super) pair_rows: Option<usize>,
    /// Rows of the memory queue; 0 without one.
    pub(super) queue_rows: usize,
    /// Whether samples of a piece are normalized together.
    pub(super) batch_norm: bool,
}

/// Rows of the small tile: odd, so that no batch is a multiple of it by its powers of two.
const SMALL_TILE: usize = 5;
/// A bucket that holds one tensor, and one of 64 KiB.
const SMALL_BUCKETS: [(usize, &str); 2] = [(1, "buckets of one tensor"), (64 << 10, "buckets of 64 KiB")];

/// Permutations of the batch that measure the noise. Several, since noise comes in jumps: one activation that rounding moves
/// across the kink of a ReLU changes a gradient a thousand times as much as all sums do.
const PERMUTATIONS: [(Order, &str); 3] = [
    (Order::Reversed, "batch reversed"),
    (Order::Rotated, "halves exchanged"),
    (Order::Interleaved, "even places first"),
];

impl Facts {
    /// Everything that is to be trained, the f64 comparison of whole batches first.
    pub(super) fn groups(&self) -> Vec<Group> {
        let mut groups = vec![self.whole_batches()];
        let double = |steps| (Arithmetic::Fp64, steps, Judgement::Double);
        if self.batch_norm {
            groups.extend(self.micro_worlds().into_iter().map(|world_size| {
                self.rounds(world_size, double(self.num_steps.min(self.steps_before_the_queue_turns())))
            }));
        }
        groups.push(self.one_step());
        if self.batch_norm
            && let Some(&world_size) = self.micro_worlds().first()
        {
            groups.push(self.rounds(world_size, (Arithmetic::Fp32, 1, Judgement::Single)));
        }
        if self.num_steps > 1 {
            groups.push(self.all_steps_in_fp32());
        }
        groups
    }

    /// Numbers of ranks above one.
    fn many(&self) -> impl Iterator<Item = usize> {
        self.worlds.iter().copied().filter(|&world_size| world_size > 1)
    }

    /// Where what is not about the number of ranks is compared.
    fn least(&self) -> usize {
        self.many().next().unwrap_or(1)
    }

    fn whole_batches(&self) -> Group {
        let plain = |world_size| Way::plain(world_size, Arithmetic::Fp64, self.num_steps);
        let mut members = Vec::new();
        let mut add = |name: String, way| members.push(Member { name, way, judgement: Judgement::Double });
        for world_size in self.many() {
            add("ranks".into(), plain(world_size));
        }
        let least = self.least();
        if let Some(rows) = self.pair_rows {
            for tile in [SMALL_TILE, 2 * rows + 1] {
                add(format!("tiles of {tile} rows"), Way { tile: Some(tile), ..plain(least) });
            }
        }
        if least > 1 {
            for (bytes, name) in SMALL_BUCKETS {
                for overlap in [false, true] {
                    let name = if overlap { format!("{name}, overlapped") } else { name.to_owned() };
                    add(name, Way { bucket_bytes: Some(bytes), overlap, ..plain(least) });
                }
            }
            let sharded = |world_size| Way { shard_optimizer: true, ..plain(world_size) };
            add("sharded optimizer".into(), sharded(self.largest()));
            let bucket_bytes = Some(64 << 10);
            add(
                "sharded optimizer, overlapped, deferred".into(),
                Way { bucket_bytes, overlap: true, deferred: true, ..sharded(least) },
            );
        }
        add("deferred outcomes".into(), Way { deferred: true, ..plain(least) });
        if !self.batch_norm {
            for world_size in self.micro_worlds() {
                let micro_batch = self.micro_batch(world_size);
                let way = Way { micro_batch: Some(micro_batch), ..plain(world_size) };
                add(format!("micro-batches of {micro_batch}"), way);
            }
        }
        Group { reference: plain(1), members }
    }

    /// One step in the arithmetic of real runs, with what permutations of the batch change.
    fn one_step(&self) -> Group {
        let plain = |world_size| Way::plain(world_size, Arithmetic::Fp32, 1);
        let mut members = Vec::new();
        let mut add = |name: &str, way, judgement| {
            members.push(Member { name: name.to_owned(), way, judgement });
        };
        for (order, name) in PERMUTATIONS {
            add(name, Way { order, ..plain(1) }, Judgement::Noise);
        }
        // Whatever lies within a rounding of a kink, be it of ReLU or of a maximum.
        add("inputs moved by a rounding", Way { jitter: true, ..plain(1) }, Judgement::Noise);
        // Rounding within a sample, such as that of batch norm's sums over pixels, is the same in all permutations.
        add("against fp32", Way { arithmetic: Arithmetic::Fp64, ..plain(1) }, Judgement::Noise);
        for world_size in self.many() {
            add("ranks", plain(world_size), Judgement::Single);
        }
        let least = self.least();
        if self.pair_rows.is_some() {
            let name = format!("tiles of {SMALL_TILE} rows");
            add(&name, Way { tile: Some(SMALL_TILE), ..plain(least) }, Judgement::Single);
        }
        if let Some(&world_size) = self.micro_worlds().first().filter(|_| !self.batch_norm) {
            let micro_batch = self.micro_batch(world_size);
            let way = Way { micro_batch: Some(micro_batch), ..plain(world_size) };
            add(&format!("micro-batches of {micro_batch}"), way, Judgement::Single);
        }
        for world_size in std::iter::once(1).chain(self.many()) {
            let way = Way { arithmetic: Arithmetic::Bf16, ..plain(world_size) };
            add("against fp32", way, Judgement::Half);
        }
        Group { reference: plain(1), members }
    }

    /// How far weights go apart, of which nothing follows.
    fn all_steps_in_fp32(&self) -> Group {
        let plain = |world_size| Way::plain(world_size, Arithmetic::Fp32, self.num_steps);
        let mut members = vec![Member {
            name: "batch reversed".into(),
            way: Way { order: Order::Reversed, ..plain(1) },
            judgement: Judgement::Reported,
        }];
        if self.largest() > 1 {
            let way = plain(self.largest());
            members.push(Member { name: "ranks".into(), way, judgement: Judgement::Reported });
        }
        Group { reference: plain(1), members }
    }

    /// Micro-batches under batch norm, against one rank whose pieces are the rounds.
    fn rounds(
        &self,
        world_size: usize,
        (arithmetic, num_steps, judgement): (Arithmetic, usize, Judgement),
    ) -> Group {
        let micro_batch = self.micro_batch(world_size);
        let way = Way { micro_batch: Some(micro_batch), ..Way::plain(world_size, arithmetic, num_steps) };
        let reference = Way {
            world_size: 1,
            order: Order::Rounds { world_size, micro_batch },
            micro_batch: Some(world_size * micro_batch),
            ..way.clone()
        };
        let name = format!("micro-batches of {micro_batch}");
        Group { reference, members: vec![Member { name, way, judgement }] }
    }

    fn largest(&self) -> usize {
        self.worlds.last().copied().unwrap_or(1)
    }

    /// Numbers of ranks that micro-batches are compared on: the least and the largest that have more than one round. Under
    /// batch norm one rank would be its own reference.
    fn micro_worlds(&self) -> Vec<usize> {
        let mut worlds: Vec<usize> = self
            .worlds
            .iter()
            .copied()
            .filter(|&n| (n > 1 || !self.batch_norm) && self.micro_batch(n) < self.batch.div_ceil(n))
            .collect();
        if worlds.len() > 2 {
            worlds.drain(1..worlds.len() - 1);
        }
        worlds
    }

    /// More than half of a share, so that rounds are uneven.
    fn micro_batch(&self, world_size: usize) -> usize {
        let share = self.batch.div_ceil(world_size.max(1));
        if share > 2 { share / 2 + 1 } else { 1 }
    }

    /// Rounds permute the batch, and with it the order in which a full queue forgets rows. Until then it does not matter.
    fn steps_before_the_queue_turns(&self) -> usize {
        match (self.queue_rows, self.pair_rows) {
            (0, _) | (_, None | Some(0)) => usize::MAX,
            (queue, Some(rows)) => queue / rows + 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts {
            worlds: vec![1, 2, 3, 4],
            batch: 16,
            num_steps: 8,
            pair_rows: Some(32),
            queue_rows: 0,
            batch_norm: true,
        }
    }

    fn names(facts: &Facts) -> Vec<String> {
        let groups = facts.groups();
        let shown = |m: &Member| format!("{:?} {} {}", m.way.arithmetic, m.way.world_size, m.name);
        groups.iter().flat_map(|g| g.members.iter().map(shown)).collect()
    }

    #[test]
    fn everything_is_compared_once() {
        let expected = [
            "Fp64 2 ranks",
            "Fp64 3 ranks",
            "Fp64 4 ranks",
            "Fp64 2 tiles of 5 rows",
            "Fp64 2 tiles of 65 rows",
            "Fp64 2 buckets of one tensor",
            "Fp64 2 buckets of one tensor, overlapped",
            "Fp64 2 buckets of 64 KiB",
            "Fp64 2 buckets of 64 KiB, overlapped",
            "Fp64 4 sharded optimizer",
            "Fp64 2 sharded optimizer, overlapped, deferred",
            "Fp64 2 deferred outcomes",
            "Fp64 2 micro-batches of 5",
            "Fp64 4 micro-batches of 3",
            "Fp32 1 batch reversed",
            "Fp32 1 halves exchanged",
            "Fp32 1 even places first",
            "Fp32 1 inputs moved by a rounding",
            "Fp64 1 against fp32",
            "Fp32 2 ranks",
            "Fp32 3 ranks",
            "Fp32 4 ranks",
            "Fp32 2 tiles of 5 rows",
            "Bf16 1 against fp32",
            "Bf16 2 against fp32",
            "Bf16 3 against fp32",
            "Bf16 4 against fp32",
            "Fp32 2 micro-batches of 5",
            "Fp32 1 batch reversed",
            "Fp32 4 ranks",
        ];
        assert_eq!(names(&facts()), expected);
        for group in facts().groups() {
            assert_eq!(group.reference.world_size, 1);
            assert!(group.members.iter().all(|m| m.way != group.reference));
            assert!(group.members.iter().all(|m| m.way.num_steps == group.reference.num_steps));
        }
    }

    #[test]
    fn without_batch_norm_micro_batches_are_compared_with_the_whole() {
        let facts = Facts { batch_norm: false, pair_rows: None, ..facts() };
        let groups = facts.groups();
        assert!(groups.iter().all(|g| g.reference.micro_batch.is_none()));
        let micro = |m: &&Member| m.way.micro_batch.is_some();
        let of_whole: Vec<_> = groups[0].members.iter().filter(micro).collect();
        let shown: Vec<_> = of_whole.iter().map(|m| (m.way.world_size, m.way.micro_batch)).collect();
        assert_eq!(shown, [(1, Some(9)), (4, Some(3))]);
        assert!(!names(&facts).iter().any(|name| name.contains("tiles")));
    }

    #[test]
    fn a_queue_shortens_what_permutes_the_batch() {
        let facts = Facts { queue_rows: 70, ..facts() };
        let of_rounds = &facts.groups()[1];
        assert_eq!((of_rounds.reference.num_steps, of_rounds.members[0].way.num_steps), (3, 3));
    }

    #[test]
    fn a_world_of_one_compares_what_needs_no_other_rank() {
        let facts = Facts { worlds: vec![1], ..facts() };
        assert!(facts.groups().iter().flat_map(|g| &g.members).all(|m| m.way.world_size == 1));
        assert!(names(&facts).iter().any(|name| name.contains("tiles of 5 rows")));
    }
}
