//! Assigns samples to train, val and test, so that what belongs together stays together.

use std::collections::{BTreeMap, BTreeSet};

use dtrain_configs::schema::SplitConfig;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::DataError;
use crate::texts::NUM_LISTED;

/// Use of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Part {
    /// Learned from.
    #[default]
    Train,
    /// Choices are made by it.
    Val,
    /// Reported on.
    Test,
    /// Left out.
    Unused,
}

/// What the split of samples depends on.
pub(super) struct SplitInput<'a> {
    /// Dotted key of the split, for messages.
    pub key: &'a str,
    /// What the groups are, for messages: a label, or `path`.
    pub by: &'a str,
    /// Group of each sample: samples of one group stay together. `None`: the sample has no group name.
    pub groups: &'a [Option<&'a str>],
    /// Path of each sample, the group of those without one.
    pub paths: &'a [&'a str],
    /// Class of each sample.
    pub classes: &'a [Option<u32>],
    /// Part of each sample that a list of paths names; empty where there is no list.
    pub of_list: &'a [Option<Part>],
    /// Which samples are anomalies, and test samples by that; empty where the data have none.
    pub anomalies: &'a [bool],
}

impl SplitInput<'_> {
    fn is_listed(&self, sample: usize) -> bool {
        self.of_list.get(sample).is_some_and(Option::is_some)
    }

    /// Anomalies of a class.
    fn num_anomalies(&self, class: Option<u32>) -> usize {
        let samples = self.anomalies.iter().zip(self.classes);
        samples.filter(|(is_one, of_sample)| **is_one && **of_sample == class).count()
    }
}

/// The part of each sample. Lists of paths come first, then listed values; a part without either gets its fraction of each class's
/// remaining groups, in the order of a hash of their names: the same for every run, order of files and seed, and
/// nearly the same after groups were added. Whatever is left is train.
///
/// # Errors
/// A listed value that no sample has or that two parts list, and impossible fractions.
pub(super) fn split(config: &SplitConfig, input: &SplitInput<'_>) -> Result<Vec<Part>, DataError> {
    let fractions = [config.test_fraction, config.val_fraction];
    if !(fractions.iter().all(|fraction| *fraction >= 0.0) && fractions.iter().sum::<f64>() < 1.0) {
        return Err(DataError::SplitFraction {
            key: input.key.to_owned(),
            test_fraction: config.test_fraction,
            val_fraction: config.val_fraction,
        });
    }
    let mut part_of = listed(config, input)?;
    let subset = config.subset_fraction;
    if !(subset > 0.0 && subset <= 1.0) {
        return Err(DataError::SubsetFraction { key: input.key.to_owned(), fraction: subset });
    }
    let is_named = |values: &[String], list: bool| !values.is_empty() || list;
    let test = if is_named(&config.test, config.test_list.is_some()) { 0.0 } else { config.test_fraction };
    let val = if is_named(&config.val, config.val_list.is_some()) { 0.0 } else { config.val_fraction };
    if test + val > 0.0 || subset < 1.0 || !input.anomalies.is_empty() {
        for (group, part) in by_fraction(Shares { test, val, subset }, input, &part_of) {
            part_of.insert(group, part);
        }
    }
    let parts = input.groups.iter().zip(input.paths).enumerate().map(|(sample, (group, path))| {
        let group = Group::of(*group, path);
        let of_list = input.of_list.get(sample).copied().flatten();
        of_list.or_else(|| part_of.get(&group).copied()).unwrap_or_default()
    });
    Ok(parts.collect())
}

/// A path never collides with a value of the same letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Group<'a> {
    Named(&'a str),
    Alone(&'a str),
}

impl<'a> Group<'a> {
    fn of(group: Option<&'a str>, path: &'a str) -> Self {
        group.map_or(Group::Alone(path), Group::Named)
    }

    fn name(self) -> &'a str {
        match self {
            Group::Named(name) | Group::Alone(name) => name,
        }
    }
}

fn listed<'a>(
    config: &'a SplitConfig,
    input: &SplitInput<'a>,
) -> Result<BTreeMap<Group<'a>, Part>, DataError> {
    let known: BTreeSet<&str> = input.groups.iter().copied().flatten().collect();
    let mut part_of = BTreeMap::new();
    for (list, values, part) in [("test", &config.test, Part::Test), ("val", &config.val, Part::Val)] {
        for value in values {
            if !known.contains(value.as_str()) {
                return Err(DataError::UnknownSplitValue {
                    key: format!("{}.{list}", input.key),
                    value: value.clone(),
                    by: input.by.to_owned(),
                    known: known.iter().take(2 * NUM_LISTED).map(|&name| name.to_owned()).collect(),
                    num_known: known.len(),
                });
            }
            if part_of.insert(Group::Named(value), part).is_some_and(|other| other != part) {
                return Err(DataError::SplitOverlap { key: input.key.to_owned(), value: value.clone() });
            }
        }
    }
    Ok(part_of)
}

/// Shares of the groups of a class.
#[derive(Clone, Copy)]
struct Shares {
    test: f64,
    val: f64,
    /// Of those that are not for the test.
    subset: f64,
}

/// Parts of the groups that are not `taken`. A class of at least two groups gives at least one to each part that
/// wants a share, as long as one is left for train. A class with anomalies gives the test as many groups besides as it has
/// anomalies, half of its groups at most.
fn by_fraction<'a>(
    shares: Shares,
    input: &SplitInput<'a>,
    taken: &BTreeMap<Group<'a>, Part>,
) -> Vec<(Group<'a>, Part)> {
    let mut groups_of_class: BTreeMap<Option<u32>, Vec<Group<'a>>> = BTreeMap::new();
    for (group, class) in class_of_groups(input) {
        if !taken.contains_key(&group) {
            groups_of_class.entry(class).or_default().push(group);
        }
    }
    let mut parts = Vec::new();
    for (class, mut groups) in groups_of_class {
        groups.sort_by_key(|group| (xxh3_64(group.name().as_bytes()), *group));
        let beside_anomalies = input.num_anomalies(class).min(groups.len() / 2);
        let num_test = num_of(shares.test, groups.len(), 0).max(beside_anomalies);
        let kept = match shares.subset < 1.0 {
            true => num_of(shares.subset, groups.len() - num_test, 0),
            false => groups.len() - num_test,
        };
        let num_val = match shares.subset < 1.0 || beside_anomalies > 0 {
            true => num_of(shares.val, kept, 0),
            false => num_of(shares.val, groups.len(), num_test),
        };
        let wanted = [
            (Part::Test, num_test),
            (Part::Val, num_val),
            (Part::Train, kept - num_val.min(kept)),
            (Part::Unused, groups.len() - num_test - kept),
        ];
        let wanted = wanted.into_iter().flat_map(|(part, count)| std::iter::repeat_n(part, count));
        parts.extend(groups.into_iter().zip(wanted));
    }
    parts
}

/// Groups for a part that wants `fraction` of `len`, of which `used` are gone and one stays in train.
fn num_of(fraction: f64, len: usize, used: usize) -> usize {
    if fraction == 0.0 {
        return 0;
    }
    let wanted = (fraction * len as f64).round().max(1.0) as usize;
    wanted.min(len.saturating_sub(used + 1))
}

/// The class of most of a group's samples, the lowest where several are as frequent.
fn class_of_groups<'a>(input: &SplitInput<'a>) -> BTreeMap<Group<'a>, Option<u32>> {
    let mut counts: BTreeMap<Group<'a>, BTreeMap<Option<u32>, usize>> = BTreeMap::new();
    let samples = input.groups.iter().zip(input.paths).zip(input.classes).enumerate();
    for (_, ((group, path), class)) in samples.filter(|(sample, _)| !input.is_listed(*sample)) {
        *counts.entry(Group::of(*group, path)).or_default().entry(*class).or_default() += 1;
    }
    let most = |counts: BTreeMap<Option<u32>, usize>| {
        counts.into_iter().rev().max_by_key(|(_, count)| *count).and_then(|(class, _)| class)
    };
    counts.into_iter().map(|(group, counts)| (group, most(counts))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn config(test: &[&str], val: &[&str], test_fraction: f64, val_fraction: f64) -> SplitConfig {
        let list = |values: &[&str]| values.iter().map(|s| (*s).to_owned()).collect();
        let (test, val) = (list(test), list(val));
        SplitConfig { test, val, test_fraction, val_fraction, ..SplitConfig::default() }
    }

    fn split_of(
        config: &SplitConfig,
        groups: &[Option<&str>],
        classes: &[Option<u32>],
    ) -> Result<Vec<Part>, DataError> {
        let names: Vec<String> = (0..groups.len()).map(|i| format!("p{i}")).collect();
        let paths: Vec<&str> = names.iter().map(String::as_str).collect();
        let of_list = &[];
        split(
            config,
            &SplitInput {
                key: "data.splits.x",
                by: "take",
                groups,
                paths: &paths,
                classes,
                of_list,
                anomalies: &[],
            },
        )
    }

    /// What no list names is divided as ever, without what is listed.
    #[test]
    fn lists_of_paths_come_before_values_and_fractions() {
        let paths: Vec<String> = (0..20).map(|i| format!("p{i}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let groups: Vec<Option<&str>> = paths.iter().map(|path| Some(*path)).collect();
        let mut of_list = vec![None; 20];
        (of_list[3], of_list[4]) = (Some(Part::Test), Some(Part::Train));
        let classes = [Some(0); 20];
        let input = SplitInput {
            key: "data.splits.x",
            by: "path",
            groups: &groups,
            paths: &paths,
            classes: &classes,
            of_list: &of_list,
            anomalies: &[],
        };
        let listed = SplitConfig { test_list: Some("t.txt".into()), ..config(&[], &["p3", "p5"], 0.9, 0.0) };
        let parts = split(&listed, &input).unwrap();
        let count = |parts: &[Part], part| parts.iter().filter(|p| **p == part).count();
        assert_eq!((parts[3], parts[5], count(&parts, Part::Test)), (Part::Test, Part::Val, 1));
        let shared = SplitConfig { test_list: Some("t.txt".into()), ..config(&[], &[], 0.4, 0.5) };
        let parts = split(&shared, &input).unwrap();
        assert_eq!((parts[3], parts[4]), (Part::Test, Part::Train));
        assert_eq!((count(&parts, Part::Test), count(&parts, Part::Val)), (1, 9));
    }

    #[test]
    fn listed_values_go_to_their_part() {
        let groups = [Some("0"), Some("1"), None, Some("2"), Some("0")];
        let parts = split_of(&config(&["0"], &["2"], 0.0, 0.0), &groups, &[Some(0); 5]).unwrap();
        assert_eq!(parts, [Part::Test, Part::Train, Part::Train, Part::Val, Part::Test]);
    }

    #[test]
    fn a_list_for_test_leaves_the_fraction_for_val() {
        let names: Vec<String> = (0..20).map(|i| i.to_string()).collect();
        let groups: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
        let parts = split_of(&config(&["3"], &[], 0.9, 0.05), &groups, &[Some(0); 20]).unwrap();
        let count = |part| parts.iter().filter(|p| **p == part).count();
        assert_eq!((count(Part::Test), count(Part::Val), parts[3]), (1, 1, Part::Test));
    }

    #[test]
    fn wrong_values_and_fractions_are_refused() {
        let refuse =
            |config| split_of(&config, &[Some("0"), Some("1")], &[None, None]).unwrap_err().to_string();
        let text = refuse(config(&["4"], &[], 0.0, 0.0));
        assert_eq!(
            text,
            "`data.splits.x.test` lists `4`, but no recording has this take; there are `0`, `1`"
        );
        assert!(refuse(config(&["0"], &["0"], 0.0, 0.0)).contains("both list `0`"));
        for (test, val) in [(0.5, 0.5), (-0.1, 0.0), (f64::NAN, 0.0), (0.0, f64::INFINITY)] {
            assert!(refuse(config(&[], &[], test, val)).contains("test_fraction"));
        }
    }

    #[test]
    fn a_path_is_not_a_value() {
        let parts = split_of(&config(&["p1"], &[], 0.0, 0.0), &[Some("p1"), None], &[None, None]).unwrap();
        assert_eq!(parts, [Part::Test, Part::Train]);
    }

    proptest! {
        #[test]
        fn fractions_keep_groups_together_and_hold_in_each_class(
            sizes in prop::collection::vec((1usize..5, 0u32..4), 1..120),
            test_fraction in 0.0f64..0.6,
            val_fraction in 0.0f64..0.35,
            rotation in 0usize..100,
        ) {
            let mut samples: Vec<(String, u32)> = Vec::new();
            for (i, (size, class)) in sizes.iter().enumerate() {
                samples.extend(std::iter::repeat_n((format!("group{i}"), *class), *size));
            }
            let parts_of = |samples: &[(String, u32)]| -> BTreeMap<String, Vec<Part>> {
                let groups: Vec<Option<&str>> = samples.iter().map(|(group, _)| Some(group.as_str())).collect();
                let classes: Vec<Option<u32>> = samples.iter().map(|(_, class)| Some(*class)).collect();
                let parts = split_of(&config(&[], &[], test_fraction, val_fraction), &groups, &classes).unwrap();
                let mut by_group: BTreeMap<String, Vec<Part>> = BTreeMap::new();
                for ((group, _), part) in samples.iter().zip(parts) {
                    by_group.entry(group.clone()).or_default().push(part);
                }
                by_group
            };
            let parts = parts_of(&samples);
            prop_assert!(parts.values().all(|parts| parts.windows(2).all(|pair| pair[0] == pair[1])));
            for class in 0..4 {
                let of_class: Vec<Part> = (0..sizes.len())
                    .filter(|&i| sizes[i].1 == class)
                    .map(|i| parts[&format!("group{i}")][0])
                    .collect();
                let len = of_class.len();
                let count = |part| of_class.iter().filter(|p| **p == part).count();
                prop_assert!(len == 0 || count(Part::Train) > 0);
                if len > 10 {
                    let error = (count(Part::Test) as f64 - test_fraction * len as f64).abs();
                    prop_assert!(error <= 1.0, "{error}");
                }
            }
            let len = samples.len();
            samples.rotate_left(rotation % len);
            prop_assert_eq!(parts, parts_of(&samples));
        }
    }

    /// Two machines of 40 healthy recordings, one with 6 faults and one with 30, which are in the test by a list.
    #[test]
    fn faults_bring_as_many_healthy_recordings_of_their_machine_and_a_subset_leaves_others_out() {
        let counts = [(0_u32, 40, 6), (2, 40, 30)];
        let (mut names, mut classes, mut anomalies) = (Vec::new(), Vec::new(), Vec::new());
        for (class, normal, faulty) in counts {
            for i in 0..normal + faulty {
                names.push(format!("{class}/{i}"));
                classes.push(Some(class));
                anomalies.push(i >= normal);
            }
        }
        let paths: Vec<&str> = names.iter().map(String::as_str).collect();
        let groups: Vec<Option<&str>> = paths.iter().copied().map(Some).collect();
        let of_list: Vec<Option<Part>> = anomalies.iter().map(|&one| one.then_some(Part::Test)).collect();
        let input = SplitInput {
            key: "data.splits.x",
            by: "path",
            groups: &groups,
            paths: &paths,
            classes: &classes,
            of_list: &of_list,
            anomalies: &anomalies,
        };
        let parts = |subset_fraction: f64| {
            split(&SplitConfig { subset_fraction, ..config(&[], &[], 0.0, 0.1) }, &input)
        };
        let found = |parts: &[Part], class: u32, part: Part| {
            let own = parts.iter().zip(&classes).filter(|(of, own)| **of == part && **own == Some(class));
            own.count()
        };
        let all = parts(1.0).unwrap();
        // Half of the healthy ones at most; a tenth of the rest is for validation.
        for (class, test, val, train) in [(0, 12, 3, 31), (2, 50, 2, 18)] {
            let counts = [Part::Test, Part::Val, Part::Train].map(|part| found(&all, class, part));
            assert_eq!(counts, [test, val, train], "{class}");
        }
        let some = parts(0.5).unwrap();
        for (class, test, val, train, unused) in [(0, 12, 2, 15, 17), (2, 50, 1, 9, 10)] {
            let parts = [Part::Test, Part::Val, Part::Train, Part::Unused];
            assert_eq!(parts.map(|part| found(&some, class, part)), [test, val, train, unused], "{class}");
        }
        let error = parts(0.0).unwrap_err().to_string();
        assert_eq!(error, "`data.splits.x.subset_fraction` = 0 must be above 0 and at most 1");
    }
}
