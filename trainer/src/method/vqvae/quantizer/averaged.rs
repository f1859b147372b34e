//! Codes that are moving averages of the latents which chose them (van den Oord et al. 2017, arXiv 1711.00937, appendix A.1).
//!
//! With n_i latents of code i in the global batch and m_i their sum, gamma the decay and epsilon the smoothing:
//! `N_i = gamma N_i + (1 - gamma) n_i`, `M_i = gamma M_i + (1 - gamma) m_i`, `e_i = M_i / N'_i`, where
//! `N'_i = (N_i + epsilon) / (N + K epsilon) N` and N is the sum of all N_i (Laplace smoothing, as in the official code).
//!
//! Departures: a code that no latent chose keeps its place, where smoothing would draw it to 0; and codes are kept within the
//! bound of the latents. For latents of length 1 the average is brought to length 1 too (Yu et al. 2021, arXiv 2110.04627).
//!
//! Unused codes are replaced while the perplexity of the N_i is low: a code below a share of the mean N_i, that no latent of
//! this step chose, becomes a latent of the global batch that was drawn for it, with the mean N_i and the sum that belongs to
//! it. With less it would be unused again at once, with its old sum it would go back (facebookresearch/encodec issues 33, 61).

use dtrain_configs::schema::{CodebookConfig, CodebookKind};
use tch::{Kind, TchError, Tensor};

use super::kmeans::{Clusters, kmeans};
use super::nearest::{counts_and_sums, nearest};
use super::{Codebook, Quantized, unit};
use crate::method::{AfterStep, Statistics};
use crate::model::frozen::Frozen;
use crate::model::parameters::{Init, Parameters, Role};

/// Statistics of a step: latents of each code, their sums, and a drawn latent for each code.
const COUNTS: &str = "codebook.counts";
const SUMS: &str = "codebook.sums";
const DRAWN: &str = "codebook.drawn";

/// See the module.
pub struct Averaged {
    config: CodebookConfig,
    bound: Option<f64>,
    /// `[K, D]`.
    entries: Tensor,
    /// `[K]`.
    counts: Tensor,
    /// `[K, D]`.
    sums: Tensor,
    frozen: Frozen,
}

impl Averaged {
    /// Registers `entries`, `counts` and `sums` in the current scope of `parameters`.
    pub fn build(config: &CodebookConfig, bound: Option<f64>, parameters: &mut Parameters) -> Self {
        let shape = [config.num_codes as i64, config.dim as i64];
        let frozen = parameters.frozen();
        let limit = 1.0 / config.num_codes as f64;
        let drawn = parameters
            .constant(|scope| scope.parameter("entries", &shape, Init::Uniform { bound: limit }, Role::Bias));
        let [entries, counts, sums] = parameters.after_step(|scope| {
            let entries = scope.buffer("entries", &shape, 0.0);
            let counts = scope.buffer("counts", &shape[..1], 1.0);
            [entries, counts, scope.buffer("sums", &shape, 0.0)]
        });
        let is_unit = config.kind == CodebookKind::Cosine;
        tch::no_grad(|| {
            let drawn = if is_unit { unit(&drawn).unwrap_or(drawn) } else { drawn };
            // Without memory for a buffer the network is not used.
            let _ = entries.shallow_clone().f_copy_(&drawn);
            let _ = sums.shallow_clone().f_copy_(&drawn);
        });
        Self { config: config.clone(), bound, entries, counts, sums, frozen }
    }

    /// Within the bound, or of length 1.
    fn placed(&self, entries: Tensor) -> Result<Tensor, TchError> {
        match (self.config.kind, self.bound) {
            (CodebookKind::Cosine, _) => unit(&entries),
            (_, Some(bound)) => entries.f_clamp(-bound, bound),
            (_, None) => Ok(entries),
        }
    }

    /// The replaced entries, counts and sums; `used`: codes that a latent of the step has chosen.
    fn reseeded(
        &self,
        [entries, counts, sums]: [Tensor; 3],
        used: &Tensor,
        drawn: &Tensor,
    ) -> Result<[Tensor; 3], TchError> {
        let num_codes = self.config.num_codes as f64;
        let width = entries.size()[1];
        let mean = counts.f_sum(None::<Kind>)?.f_div_scalar(num_codes)?;
        let is_low = super::perplexity(&counts)?.f_lt(self.config.reseed_below * num_codes)?;
        let found = drawn.f_narrow(1, width, 1)?.f_squeeze_dim(1)?.f_gt(0.5)?;
        let dead = counts
            .f_lt_tensor(&mean.f_mul_scalar(self.config.dead_below)?)?
            .f_logical_and(&used.f_logical_not()?)?
            .f_logical_and(&found)?
            .f_logical_and(&is_low)?;
        let rows = self.placed(drawn.f_narrow(1, 0, width)?)?;
        let dead_rows = dead.f_unsqueeze(1)?;
        Ok([
            rows.f_where_self(&dead_rows, &entries)?,
            mean.f_where_self(&dead, &counts)?,
            rows.f_mul(&mean)?.f_where_self(&dead_rows, &sums)?,
        ])
    }
}

impl Codebook for Averaged {
    fn entries(&self) -> Result<Option<Tensor>, TchError> {
        Ok(Some(self.entries.shallow_clone()))
    }

    fn quantize(&self, latents: &Tensor) -> Result<Quantized, TchError> {
        let latents = match self.config.kind {
            CodebookKind::Cosine => unit(latents)?,
            _ => latents.shallow_clone(),
        };
        let codes = nearest(&latents, &self.entries)?;
        let vectors = self.lookup(&codes)?;
        Ok(Quantized { latents, codes, vectors })
    }

    fn lookup(&self, codes: &Tensor) -> Result<Tensor, TchError> {
        self.entries.f_index_select(0, codes)
    }

    fn begin(&mut self, rows: &Tensor, seed: u64) -> Result<(), TchError> {
        let rows = if self.config.kind == CodebookKind::Cosine { unit(rows)? } else { rows.shallow_clone() };
        let Clusters { means, counts } =
            kmeans(&rows, self.config.num_codes as i64, self.config.kmeans_iterations, seed)?;
        let means = self.placed(means)?;
        let found = means.size()[0];
        // Counts times means: with other sums the first step would move all codes (vector-quantize-pytorch issue 66).
        let sums = means.f_mul(&counts.f_unsqueeze(1)?)?;
        let _ = self.counts.f_zero_()?;
        let _ = self.sums.f_zero_()?;
        for (buffer, value) in [(&self.entries, &means), (&self.counts, &counts), (&self.sums, &sums)] {
            buffer.f_narrow(0, 0, found)?.f_copy_(value)?;
        }
        Ok(())
    }

    fn wants_drawn(&self) -> bool {
        self.config.reseed_below > 0.0 && !self.frozen.is_set()
    }

    fn tell(&self, found: &Quantized, drawn: Option<Tensor>, to: &mut Statistics) -> Result<(), TchError> {
        if self.frozen.is_set() {
            return Ok(());
        }
        let (counts, sums) = counts_and_sums(&found.latents, &found.codes, self.config.num_codes as i64)?;
        to.put(COUNTS, &counts)?;
        to.put(SUMS, &sums)?;
        if let Some(drawn) = drawn {
            to.put(DRAWN, &drawn)?;
        }
        Ok(())
    }

    fn after_step(&mut self, after: &AfterStep<'_>) -> Result<(), TchError> {
        if self.frozen.is_set() {
            return Ok(());
        }
        let (count, sum) = (after.statistics.get(COUNTS)?, after.statistics.get(SUMS)?);
        let CodebookConfig { decay, laplace, num_codes, .. } = self.config;
        let moved = |own: &Tensor, new: &Tensor| {
            own.f_to_kind(Kind::Double)?.f_mul_scalar(decay)?.f_add(&new.f_mul_scalar(1.0 - decay)?)
        };
        let (counts, sums) = (moved(&self.counts, count)?, moved(&self.sums, sum)?);
        let total = counts.f_sum(None::<Kind>)?;
        let smoothed = counts
            .f_add_scalar(laplace)?
            .f_div(&total.f_add_scalar(laplace * num_codes as f64)?)?
            .f_mul(&total)?
            .f_clamp_min(f64::MIN_POSITIVE)?;
        let used = count.f_gt(0.5)?;
        let averages = self.placed(sums.f_div(&smoothed.f_unsqueeze(1)?)?)?;
        let entries = averages.f_where_self(&used.f_unsqueeze(1)?, &self.entries.f_to_kind(Kind::Double)?)?;
        let mut state = [entries, counts, sums];
        if self.wants_drawn() {
            state = self.reseeded(state, &used, after.statistics.get(DRAWN)?)?;
        }
        let [entries, counts, sums] = state;
        after.set(&self.entries, &entries)?;
        after.set(&self.counts, &counts)?;
        after.set(&self.sums, &sums)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::method::StepFacts;

    const KIND: (Kind, Device) = (Kind::Double, Device::Cpu);

    fn built(kind: CodebookKind, reseed_below: f64) -> (Averaged, Parameters) {
        let config = CodebookConfig {
            kind,
            num_codes: 4,
            dim: 2,
            decay: 0.9,
            laplace: 1e-3,
            reseed_below,
            ..CodebookConfig::default()
        };
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 5);
        let codebook = parameters.scope("codebook", |scope| Averaged::build(&config, Some(5.0), scope));
        let entries = Tensor::from_slice(&[1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0]).view([4, 2]);
        tch::no_grad(|| {
            codebook.entries.shallow_clone().copy_(&entries);
            codebook.sums.shallow_clone().copy_(&entries);
        });
        (codebook, parameters)
    }

    fn latents(values: &[[f64; 2]]) -> Tensor {
        Tensor::from_slice(&values.concat()).view([-1, 2])
    }

    /// One step on `rows`; each code is offered the latent `drawn`.
    fn step(codebook: &mut Averaged, rows: &Tensor, drawn: [f64; 2]) {
        let found = codebook.quantize(rows).unwrap();
        let drawn = Tensor::from_slice(&[drawn[0], drawn[1], 1.0]).view([1, 3]).repeat([4, 1]);
        let mut statistics = Statistics::default();
        let wanted = codebook.wants_drawn().then_some(drawn);
        codebook.tell(&found, wanted, &mut statistics).unwrap();
        let (step, values) = (StepFacts::default(), &Default::default());
        let after = AfterStep { step, values, statistics: &statistics, pairs: &[], skip: None };
        codebook.after_step(&after).unwrap();
    }

    fn state(codebook: &Averaged) -> Vec<f64> {
        let all = [&codebook.entries, &codebook.counts, &codebook.sums];
        all.iter().flat_map(|tensor| Vec::<f64>::try_from(tensor.flatten(0, -1)).unwrap()).collect()
    }

    /// The formulas of the module by plain arithmetic; a code that nobody chose stays where it is.
    #[test]
    fn codes_are_smoothed_averages_of_the_latents_that_chose_them() {
        let (mut codebook, _parameters) = built(CodebookKind::Ema, 0.0);
        let rows = latents(&[[2.0, 0.1], [1.5, -0.2], [0.1, 3.0]]);
        step(&mut codebook, &rows, [0.0, 0.0]);
        let counts = [0.9 + 0.1 * 2.0, 0.9 + 0.1, 0.9, 0.9];
        let total: f64 = counts.iter().sum();
        let smoothed = |count: f64| (count + 1e-3) / (total + 4e-3) * total;
        let first = [(0.9 + 0.1 * 3.5) / smoothed(counts[0]), 0.1 * -0.1 / smoothed(counts[0])];
        let second = [0.1 * 0.1 / smoothed(counts[1]), (0.9 + 0.1 * 3.0) / smoothed(counts[1])];
        let expected = [first, second, [-1.0, 0.0], [0.0, -1.0]].concat();
        let found = state(&codebook);
        assert!(found[..8].iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert!(found[8..12].iter().zip(&counts).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
    }

    /// vector-quantize-pytorch issue 167: without a latent nothing moves, and a frozen codebook stays bit for bit.
    #[test]
    fn codes_stay_where_nothing_trains_them() {
        let (mut codebook, parameters) = built(CodebookKind::Ema, 0.0);
        let entries = codebook.entries.copy();
        for _ in 0..50 {
            step(&mut codebook, &Tensor::zeros([0, 2], KIND), [0.0, 0.0]);
        }
        assert_eq!(codebook.entries, entries);
        let (mut codebook, parameters) = (codebook, parameters);
        parameters.freeze(&["codebook".to_owned()]);
        let before = state(&codebook);
        step(&mut codebook, &latents(&[[3.0, 3.0]]), [4.0, 4.0]);
        assert_eq!(state(&codebook), before);
        parameters.freeze(&[]);
        step(&mut codebook, &latents(&[[3.0, 3.0]]), [4.0, 4.0]);
        assert_ne!(state(&codebook), before);
    }

    /// A code dies slowly; what it becomes has the sums of its new place, so that the next step does not draw it back
    /// (encodec issue 61), and it lives on for as long as a code that was in use (espnet issue 6284). A code that a latent of the
    /// step has chosen lives (encodec issue 33).
    #[test]
    fn dead_codes_become_latents_and_stay_there() {
        let (mut codebook, _parameters) = built(CodebookKind::Ema, 1.0);
        let rows = latents(&[[1.0, 0.0], [1.1, 0.0], [0.0, 1.0]]);
        let drawn = [3.0, -3.0];
        let mut steps = 0;
        while codebook.entries.get(3).double_value(&[0]) == 0.0 {
            step(&mut codebook, &rows, drawn);
            steps += 1;
            assert!(steps < 100, "no code has died");
        }
        assert!(steps > 10, "{steps}");
        // Both unused codes; the second, which one latent of three chooses, is as it was.
        for code in [2, 3] {
            assert_eq!(Vec::<f64>::try_from(codebook.entries.get(code)).unwrap(), drawn);
        }
        assert!(codebook.entries.get(1).double_value(&[1]) > 0.9);
        let mean = codebook.counts.get(2).double_value(&[]);
        let sum = codebook.sums.get(2).double_value(&[0]);
        assert!((sum - mean * 3.0).abs() < 1e-9 && mean > 0.5, "{sum} of {mean}");
        step(&mut codebook, &rows, [0.5, 0.5]);
        for code in [2, 3] {
            assert_eq!(Vec::<f64>::try_from(codebook.entries.get(code)).unwrap(), drawn);
        }
        // With a latent that has chosen it in this step a code is not dead, however rare it was.
        tch::no_grad(|| {
            let _ = codebook.counts.get(1).fill_(1e-6);
        });
        step(&mut codebook, &rows, [4.0, 4.0]);
        assert!(codebook.entries.get(1).double_value(&[0]) < 1.0);
    }

    /// Counts times means: otherwise the first step would move every code (vector-quantize-pytorch issue 66).
    #[test]
    fn after_kmeans_a_step_on_the_same_latents_moves_nothing() {
        for kind in [CodebookKind::Ema, CodebookKind::Cosine] {
            let (mut codebook, _parameters) = built(kind, 0.0);
            codebook.config.laplace = 0.0;
            let heaps =
                [[2.0, 0.1], [2.2, 0.0], [0.1, 3.0], [0.0, 2.5], [-3.0, -3.0], [-2.0, -2.9], [1.0, -4.0]];
            let rows = latents(&heaps);
            codebook.config.kmeans_iterations = 20;
            codebook.begin(&rows, 3).unwrap();
            let before = codebook.entries.copy();
            step(&mut codebook, &rows, [0.0, 0.0]);
            assert!(
                codebook.entries.allclose(&before, 1e-9, 1e-9, false),
                "{kind:?}: {}",
                &codebook.entries - before
            );
        }
    }

    #[test]
    fn fewer_latents_than_codes_leave_the_others_at_their_beginning() {
        let (mut codebook, _parameters) = built(CodebookKind::Ema, 0.0);
        let before = codebook.entries.copy();
        codebook.begin(&latents(&[[4.0, 4.0], [-4.0, 4.0]]), 0).unwrap();
        assert_eq!(codebook.entries.narrow(0, 2, 2), before.narrow(0, 2, 2));
        assert_ne!(codebook.entries.narrow(0, 0, 2), before.narrow(0, 0, 2));
        step(&mut codebook, &latents(&[[4.0, 4.0]]), [0.0, 0.0]);
        assert!(bool::try_from(codebook.entries.isfinite().all()).unwrap());
    }

    #[test]
    fn codes_stay_within_the_bound_or_on_the_sphere() {
        let (mut codebook, _parameters) = built(CodebookKind::Ema, 0.0);
        for _ in 0..100 {
            step(&mut codebook, &latents(&[[50.0, -50.0], [0.0, 90.0]]), [0.0, 0.0]);
        }
        assert!(codebook.entries.abs().max().double_value(&[]) <= 5.0);
        let (mut codebook, _parameters) = built(CodebookKind::Cosine, 0.0);
        step(&mut codebook, &latents(&[[30.0, 10.0], [0.1, 0.4]]), [0.0, 0.0]);
        let lengths = codebook.entries.norm_scalaropt_dim(2, [1], false);
        assert!(lengths.allclose(&lengths.ones_like(), 1e-9, 1e-9, false));
    }
}
