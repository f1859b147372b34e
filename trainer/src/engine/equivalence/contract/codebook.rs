//! A codebook that is moved by summed statistics (van den Oord et al. 2017, appendix A.1), begins with rows of the first batch
//! and replaces entries that nobody uses by rows of the global batch; beside it a classifier over the labelled samples alone,
//! and the entropy of the mean class over the global batch, which needs a first pass.

use dtrain_configs::schema::{Encoder, MethodFacts};
use tch::TchError;

use super::super::untouched::skips_a_bad_step;
use super::*;
use crate::loss::cross_entropy::cross_entropy;
use crate::method::{AfterStep, DirectTerm, FirstStep, Mean, Objective, Over, Statistics, StepContext, Term};
use crate::state::Stateful;

const ENTRIES: i64 = 6;
const DIM: i64 = 4;
const DECAY: f64 = 0.8;
/// An entry with fewer rows than this, on average, is replaced.
const DEAD: f64 = 0.7;

struct Codebook {
    encoder: Tensor,
    decoder: Tensor,
    classifier: Tensor,
    /// `[ENTRIES, DIM]`.
    entries: Tensor,
    /// Moving averages of the number of rows of each entry, `[ENTRIES]`, and of their sums.
    counts: Tensor,
    sums: Tensor,
    started: Tensor,
}

impl Codebook {
    fn build(parameters: &mut Parameters) -> Box<dyn Method> {
        let encoder = weight(parameters, "encoder", &[SIZE * SIZE, DIM]);
        let decoder = weight(parameters, "decoder", &[DIM, SIZE * SIZE]);
        let classifier = weight(parameters, "classifier", &[DIM, CLASSES]);
        let [entries, counts, sums, started] = parameters.after_step(|parameters| {
            let entries = parameters.buffer("entries", &[ENTRIES, DIM], 0.0);
            let counts = parameters.buffer("counts", &[ENTRIES], 1.0);
            [entries, counts, parameters.buffer("sums", &[ENTRIES, DIM], 0.0), parameters.counter("started")]
        });
        Box::new(Self { encoder, decoder, classifier, entries, counts, sums, started })
    }

    fn encode(&self, part: &LocalBatch) -> Result<Tensor, TchError> {
        part.inputs().f_flatten(1, -1)?.f_mm(&self.encoder)?.f_tanh()
    }

    /// One row for each sample with a 1 at its nearest entry.
    fn nearest(&self, rows: &Tensor) -> Result<Tensor, TchError> {
        let distances = (rows.detach().f_unsqueeze(1)? - self.entries.f_unsqueeze(0)?).f_square()?;
        let nearest = distances.f_sum_dim_intlist(-1, false, None::<Kind>)?.f_argmin(1, false)?;
        nearest.f_one_hot(ENTRIES)?.f_to_kind(Kind::Double)
    }
}

impl Method for Codebook {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        MethodFacts { first_pass: true, ..MethodFacts::default() }
    }

    fn loss_names(&self) -> Vec<String> {
        ["reconstruction", "class", "entropy"].map(String::from).into()
    }

    fn loss_weights(&self) -> Vec<f64> {
        vec![1.0, 0.5, -0.1]
    }

    fn mean_names(&self) -> Vec<String> {
        vec!["first_class".into()]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &[]
    }

    fn count(&self, targets: &Targets) -> Vec<u64> {
        vec![targets.num_labelled()]
    }

    fn started(&self) -> Option<&Tensor> {
        Some(&self.started)
    }

    fn before_first_step(&mut self, parts: &[LocalBatch], start: &FirstStep<'_>) -> Result<(), TchError> {
        let own: Vec<Tensor> = parts.iter().map(|part| self.encode(part)).collect::<Result<_, _>>()?;
        let rows = start.gather(&Tensor::f_cat(&own, 0)?)?;
        let every = rows.size()[0] / ENTRIES;
        let chosen: Vec<i64> = (0..ENTRIES).map(|entry| entry * every).collect();
        self.entries.f_copy_(&rows.f_index_select(0, &Tensor::from_slice(&chosen))?)?;
        self.sums.f_copy_(&self.entries)
    }

    fn first_pass(&self, part: &LocalBatch, _: &StepContext<'_>) -> Result<Statistics, TchError> {
        let classes = self.encode(part)?.f_mm(&self.classifier)?.f_softmax(1, None::<Kind>)?;
        let mut found = Statistics::default();
        found.put("class", &classes.f_sum_dim_intlist(0, false, None::<Kind>)?)?;
        Ok(found)
    }

    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError> {
        let (rows, targets) = (self.encode(part)?, &part.targets);
        let samples = targets.global_samples as f64;
        let one_hot = self.nearest(&rows)?;
        let quantized = one_hot.f_mm(&self.entries)?;
        // Straight through to the encoder, which is drawn to its entries besides.
        let passed = &rows + (&quantized - &rows).detach();
        let error = (passed.f_mm(&self.decoder)? - part.inputs().f_flatten(1, -1)?).f_square()?;
        let commitment = (&rows - &quantized).f_square()?.f_sum(None::<Kind>)?;
        let reconstruction = (error.f_sum(None::<Kind>)? + commitment * 0.25) / samples;

        let scores = rows.f_mm(&self.classifier)?;
        let classes = Tensor::from_slice(targets.classes());
        let labelled = context.counts[0];
        let class = cross_entropy(&scores, &classes, labelled, 0.0);

        let each = scores.f_softmax(1, None::<Kind>)?;
        let mean = match context.first_pass {
            Some(found) => found.get("class")? / samples,
            None => each.detach().f_mean_dim([0_i64].as_slice(), false, None::<Kind>)?,
        };
        // The entropy of the mean, whose derivative is that of this sum with the mean held: classes add up to 1.
        let entropy = (&each * mean.f_clamp_min(1e-12)?.f_log()?).f_sum(None::<Kind>)? / -samples;

        let mut statistics = Statistics::default();
        statistics.put("counts", &one_hot.f_sum_dim_intlist(0, false, None::<Kind>)?)?;
        statistics.put("sums", &one_hot.f_tr()?.f_mm(&rows.detach())?)?;
        let drawn = context.draw_samples(ENTRIES as usize, targets.global_samples);
        statistics.put("drawn", &drawn.rows_of(&rows, targets.positions())?)?;
        let first_class = each.detach().f_narrow(1, 0, 1)?.f_sum(None::<Kind>)?;
        Ok(Objective {
            terms: vec![
                Term::direct(reconstruction),
                Term::Direct(DirectTerm { loss: class, over: Over::Group(0), factor: None }),
                Term::direct(entropy),
            ],
            means: vec![Mean { over: Over::Group(0), ..Mean::new("first_class", first_class) }],
            statistics,
        })
    }

    fn after_step(&mut self, after: &AfterStep<'_>) -> Result<(), TchError> {
        let (count, sum) = (after.statistics.get("counts")?, after.statistics.get("sums")?);
        let counts = &self.counts * DECAY + count * (1.0 - DECAY);
        let sums = &self.sums * DECAY + sum * (1.0 - DECAY);
        let drawn = after.statistics.get("drawn")?;
        let (rows, found) = (drawn.f_narrow(1, 0, DIM)?, drawn.f_narrow(1, DIM, 1)?);
        let dead = counts.f_lt(DEAD)?.f_unsqueeze(1)?.f_logical_and(&found.f_gt(0.5)?)?;
        let sums = rows.f_where_self(&dead, &sums)?;
        let counts = counts.f_ones_like()?.f_where_self(&dead.f_squeeze_dim(1)?, &counts)?;
        after.set(&self.entries, &(&sums / counts.f_unsqueeze(1)?))?;
        after.set(&self.counts, &counts)?;
        after.set(&self.sums, &sums)
    }

    fn num_features(&self) -> i64 {
        DIM
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, _: &ForwardContext) -> Result<Tensor, TchError> {
        inputs.f_flatten(1, -1)?.f_mm(&self.encoder)?.f_tanh()
    }
}

fn case() -> Case {
    whole(adamw(), built_by(Codebook::build))
}

fn named<'a>(trained: &'a Trained, name: &str) -> &'a Tensor {
    let mut all = trained.weights.iter().chain(&trained.buffers);
    all.find(|(own, _)| own == name).map(|(_, tensor)| tensor).unwrap()
}

#[test]
fn however_the_batch_is_cut_the_codebook_is_the_same() {
    assert_cuts_do_not_matter("codebook", case);
}

/// Entries after each step by plain arithmetic over the whole batch, from weights before the step and entries that began as rows
/// of the first batch. Among the steps are some in which an entry dies.
#[test]
fn entries_follow_the_rows_of_the_global_batch() {
    let values = |tensor: &Tensor| Vec::<f64>::try_from(tensor.flatten(0, -1)).unwrap();
    let all = batches(2);
    let mut died = 0;
    let mut start = Parameters::new(Device::Cpu, Kind::Double, 3);
    let _ = Codebook::build(&mut start);
    let mut encoder = start.parameters()[0].tensor.detach();
    let (mut entries, mut counts, mut sums): (Vec<Vec<f64>>, Vec<f64>, Vec<Vec<f64>>) = Default::default();
    for step in 0..all.len() {
        let samples = &all[step].samples;
        let rows = views(samples, 1, SIZE).flatten(1, -1).mm(&encoder).tanh();
        let rows: Vec<Vec<f64>> = (0..rows.size()[0]).map(|row| values(&rows.get(row))).collect();
        if step == 0 {
            entries =
                (0..ENTRIES as usize).map(|e| rows[e * (rows.len() / ENTRIES as usize)].clone()).collect();
            (counts, sums) = (vec![1.0; ENTRIES as usize], entries.clone());
        }
        let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let mut of_entry = vec![Vec::new(); ENTRIES as usize];
        for row in &rows {
            let nearest = (0..entries.len())
                .min_by(|&a, &b| distance(row, &entries[a]).total_cmp(&distance(row, &entries[b])));
            of_entry[nearest.unwrap()].push(row);
        }
        for (entry, own) in of_entry.iter().enumerate() {
            counts[entry] = DECAY * counts[entry] + (1.0 - DECAY) * own.len() as f64;
            for d in 0..DIM as usize {
                let sum: f64 = own.iter().map(|row| row[d]).sum();
                sums[entry][d] = DECAY * sums[entry][d] + (1.0 - DECAY) * sum;
            }
        }
        let trained = train(&case(), &all[..=step]);
        let found: Vec<Vec<f64>> =
            (0..ENTRIES).map(|entry| values(&named(&trained, "entries").get(entry))).collect();
        for entry in 0..ENTRIES as usize {
            if counts[entry] < DEAD {
                // One of the rows of this batch has taken its place.
                died += 1;
                let taken = rows.iter().find(|row| distance(row, &found[entry]) < 1e-20);
                sums[entry].clone_from(taken.unwrap_or_else(|| panic!("entry {entry} of step {step}")));
                counts[entry] = 1.0;
            }
            entries[entry] = sums[entry].iter().map(|sum| sum / counts[entry]).collect();
            assert!(distance(&entries[entry], &found[entry]) < 1e-18, "entry {entry} of step {step}");
        }
        encoder = named(&trained, "encoder").shallow_clone();
    }
    assert!(died > 0, "no entry has died");
}

/// The loss that is a mean over a group is divided by the group's number in the global batch, and the entropy is that of the
/// mean over it.
#[test]
fn counts_and_the_first_pass_are_of_the_global_batch() {
    let all = &batches(3)[1..2];
    let outcome = &train(&Case { micro_batch: Some(2), ..case() }, all).outcomes[0];
    let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
    let _ = Codebook::build(&mut parameters);
    let tensor = |index: usize| parameters.parameters()[index].tensor.detach();
    let rows = views(&all[0].samples, 1, SIZE).flatten(1, -1).mm(&tensor(0)).tanh();
    let classes = rows.mm(&tensor(2)).softmax(1, None::<Kind>);
    let probability = |row: usize, class: i64| classes.double_value(&[row as i64, class]);
    let labels: Vec<i64> = all[0].samples.iter().map(|&sample| class(sample)).collect();
    let labelled = labels.iter().filter(|&&class| class >= 0).count() as f64;
    assert!(labelled < labels.len() as f64);
    let of_labelled = labels.iter().enumerate().filter(|(_, class)| **class >= 0);
    let expected = of_labelled.map(|(row, &class)| -probability(row, class).ln()).sum::<f64>() / labelled;
    let n = labels.len();
    let means = (0..CLASSES).map(|class| (0..n).map(|row| probability(row, class)).sum::<f64>() / n as f64);
    let entropy: f64 = means.map(|mean| -mean * mean.ln()).sum();
    let first = (0..n).map(|row| probability(row, 0)).sum::<f64>() / labelled;
    let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-12;
    assert!(close(outcome.losses[1], expected), "{} and {expected}", outcome.losses[1]);
    assert!(close(outcome.losses[2], entropy), "{} and {entropy}", outcome.losses[2]);
    assert!(close(outcome.means[0].1, first), "{} and {first}", outcome.means[0].1);
    let total = outcome.losses[0] + 0.5 * outcome.losses[1] - 0.1 * outcome.losses[2];
    assert!(close(outcome.loss, total), "{} and {total}", outcome.loss);
}

#[test]
fn a_step_that_does_not_count_leaves_the_codebook() {
    for (micro_batch, deferred) in [(None, false), (Some(2), true)] {
        let case = Case { micro_batch, way: Way { deferred, ..PLAIN_WAY }, ..case() };
        thread::scope(|scope| {
            for collective in local_world(2) {
                let case = &case;
                scope.spawn(move || skips_a_bad_step("codebook", case, collective));
            }
        });
    }
}
