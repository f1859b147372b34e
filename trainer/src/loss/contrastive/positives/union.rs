//! Which rows are positives of each other, as a signed sum of sets of rows.
//!
//! P(i) holds the rows j != i that a rule of positives says are like i, without those of another sample that share the key of
//! an exclusion. With r_1, ..., r_R the rules, s the sample and e_1, ..., e_K the exclusions, the indicator of P(i) is, by
//! inclusion and exclusion over the nonempty sets S of rules and over the nonempty sets T of exclusions,
//!
//! ```text
//! sum_S (-1)^(|S|+1) ( [S holds] + sum_T (-1)^|T| ([S holds and e_T equal] - [S holds, e_T and s equal]) ) - [j = i]
//! ```
//!
//! A rule of equal keys says that two rows lie in one cell of a partition. Nearness is none, but the rows that are near a
//! row are neighbours once the rows of each recording are sorted by time; so they are within each cell of a finer partition.
//! Rows whose key is unknown lie in no cell.

use super::super::keys::PairKeys;
use super::partition::Partition;
use super::sets::Sets;

/// A bracket of the formula.
pub(super) struct Bracket {
    pub(super) sign: i64,
    pub(super) sets: Sets,
}

/// A set of rules: rows of one cell, and if `is_near` not further apart than nearness allows.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    partition: Partition,
    is_near: bool,
}

/// A column of the keys, batch and queue together.
struct Joined<'a> {
    batch: &'a [i64],
    queue: &'a [i64],
}

impl Joined<'_> {
    fn iter(&self) -> impl Iterator<Item = i64> {
        self.batch.iter().chain(self.queue).copied()
    }

    /// Keys that are known.
    fn known(&self) -> impl Iterator<Item = Option<i64>> {
        self.iter().map(|key| (key >= 0).then_some(key))
    }
}

/// The brackets of the formula, the first with sign 1. Brackets that cancel are left out.
pub(super) fn brackets(batch: &PairKeys, queue: Option<&PairKeys>) -> Vec<Bracket> {
    let samples = Joined { batch: &batch.samples, queue: queue.map_or(&[], |queue| &queue.samples) };
    let exclusions: Vec<Joined<'_>> = columns(&batch.excluded, queue.map(|queue| &queue.excluded)).collect();
    let begins: Vec<i64> =
        nearness(batch, queue).map_or_else(Vec::new, |(_, begins)| begins.iter().collect());
    let within = batch.near.as_ref().map_or(0, |near| near.within);
    let num_rows = batch.num_rows();
    let sets = |Rule { partition, is_near }: &Rule| match is_near {
        false => Sets::of_cells(partition, num_rows),
        true => Sets::near(partition, num_rows, &begins, within),
    };
    let mut brackets = Vec::new();
    for (sign, rule) in union(batch, queue, &begins) {
        brackets.push(Bracket { sign, sets: sets(&rule) });
        // Every subset of the exclusions, as the partition that it makes of the rule's.
        let mut subsets = vec![(sign, rule)];
        for exclusion in &exclusions {
            let finer: Vec<(i64, Rule)> = subsets
                .iter()
                .map(|(sign, rule)| {
                    (-sign, Rule { partition: rule.partition.refine(exclusion.known()), ..*rule })
                })
                .collect();
            for (sign, rule) in &finer {
                let by_sample = Rule { partition: rule.partition.refine(samples.iter().map(Some)), ..*rule };
                if by_sample.partition.num_cells != rule.partition.num_cells {
                    brackets.push(Bracket { sign: *sign, sets: sets(rule) });
                    brackets.push(Bracket { sign: -sign, sets: sets(&by_sample) });
                }
            }
            subsets.extend(finer);
        }
    }
    brackets
}

/// The sets of rules with their signs, the first with sign 1. Where there is one rule it stands as it is.
fn union(batch: &PairKeys, queue: Option<&PairKeys>, begins: &[i64]) -> Vec<(i64, Rule)> {
    let groups = Joined { batch: &batch.groups, queue: queue.map_or(&[], |queue| &queue.groups) };
    let whole = Partition::whole(groups.iter().count());
    let by_group = whole.refine(groups.iter().map(Some));
    if batch.alike.is_empty() && batch.near.is_none() {
        return vec![(1, Rule { partition: by_group, is_near: false })];
    }
    let num_rows = batch.num_rows();
    let mut subsets = vec![(1, Rule { partition: by_group.of_batch(num_rows), is_near: false })];
    let mut extend = |refined: &dyn Fn(&Rule) -> Rule| {
        let alone = refined(&Rule { partition: whole.clone(), is_near: false });
        let both: Vec<(i64, Rule)> = subsets.iter().map(|(sign, rule)| (-sign, refined(rule))).collect();
        subsets.push((1, alone));
        subsets.extend(both);
    };
    for column in columns(&batch.alike, queue.map(|queue| &queue.alike)) {
        extend(&|rule| Rule { partition: rule.partition.refine(column.known()).of_batch(num_rows), ..*rule });
    }
    if let (Some(near), Some((recordings, _))) = (&batch.near, nearness(batch, queue)) {
        let begin = |at: usize| begins.get(at).copied().filter(|&begin| begin >= 0);
        let placed = || recordings.known().enumerate().map(|(at, key)| begin(at).and(key));
        extend(&|rule| {
            let partition = rule.partition.refine(placed()).of_batch(num_rows);
            let is_near = !are_narrow(&partition, begins, near.within);
            Rule { partition, is_near }
        });
    }
    without_opposites(subsets)
}

/// Whether the rows of each cell are all near each other.
fn are_narrow(partition: &Partition, begins: &[i64], within: i64) -> bool {
    let mut ends = vec![None; partition.num_cells];
    for (cell, &begin) in partition.cells.iter().zip(begins) {
        if let Some(end) = cell.and_then(|cell| ends.get_mut(cell)) {
            let (first, last) = end.unwrap_or((begin, begin));
            *end = Some((begin.min(first), begin.max(last)));
        }
    }
    ends.iter().flatten().all(|(first, last)| last - first <= within)
}

/// Leaves out what cancels, and begins with a sign of 1: each row lies in its own set, so that there is one.
fn without_opposites(subsets: Vec<(i64, Rule)>) -> Vec<(i64, Rule)> {
    let mut kept: Vec<(i64, Rule)> = Vec::with_capacity(subsets.len());
    for (sign, rule) in subsets {
        match kept.iter().position(|(other, known)| *other == -sign && *known == rule) {
            Some(opposite) => {
                kept.remove(opposite);
            }
            None => kept.push((sign, rule)),
        }
    }
    kept.sort_by_key(|(sign, _)| -sign);
    kept
}

fn columns<'a>(batch: &'a [Vec<i64>], queue: Option<&'a Vec<Vec<i64>>>) -> impl Iterator<Item = Joined<'a>> {
    batch.iter().enumerate().map(move |(at, batch)| Joined {
        batch,
        queue: queue.and_then(|queue| queue.get(at)).map_or(&[], Vec::as_slice),
    })
}

/// Recordings and beginnings.
fn nearness<'a>(batch: &'a PairKeys, queue: Option<&'a PairKeys>) -> Option<(Joined<'a>, Joined<'a>)> {
    let queued = queue.and_then(|queue| queue.near.as_ref());
    let near = batch.near.as_ref()?;
    let recordings =
        Joined { batch: &near.recordings, queue: queued.map_or(&[], |near| near.recordings.as_slice()) };
    let begins = Joined { batch: &near.begins, queue: queued.map_or(&[], |near| near.begins.as_slice()) };
    Some((recordings, begins))
}

#[cfg(test)]
mod tests {
    use super::super::super::keys::Nearness;
    use super::*;

    /// Signs and whether sets overlap.
    fn signs(keys: &PairKeys) -> Vec<(i64, bool)> {
        let begins = keys.near.as_ref().map_or_else(Vec::new, |near| near.begins.clone());
        union(keys, None, &begins).into_iter().map(|(sign, rule)| (sign, rule.is_near)).collect()
    }

    #[test]
    fn rules_that_say_the_same_cost_nothing() {
        let mut keys = PairKeys::new(vec![0, 0, 1, 1], vec![0, 1, 2, 3]);
        assert_eq!(signs(&keys), [(1, false)]);
        keys.alike = vec![vec![7, 7, 8, 8]];
        assert_eq!(signs(&keys), [(1, false)], "the same partition");
        keys.alike = vec![vec![7, 8, 9, 9]];
        assert_eq!(signs(&keys), [(1, false)], "a finer one");
        keys.alike = vec![vec![7, 8, 8, 9]];
        assert_eq!(signs(&keys), [(1, false), (1, false), (-1, false)]);
        // A clip's own views, and clips near it.
        let near = |within| Nearness { recordings: vec![5; 4], begins: vec![0, 0, 3, 3], within };
        keys = PairKeys { near: Some(near(2)), ..PairKeys::new(vec![-1, -1, -2, -2], vec![0, 0, 1, 1]) };
        assert_eq!(signs(&keys), [(1, true)]);
        keys.near = Some(near(3));
        assert_eq!(signs(&keys), [(1, false)], "all within reach");
        keys.near = Some(Nearness { begins: vec![0, 0, -1, -1], ..near(3) });
        assert_eq!(signs(&keys), [(1, false)], "a row that lies nowhere has its own views");
    }
}
