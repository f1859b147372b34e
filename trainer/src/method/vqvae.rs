//! VQ-VAE with heads on its latents (van den Oord et al. 2017, arXiv 1711.00937): patches of a view are encoded, rounded to codes
//! and decoded; what the latents know besides is asked by two heads.
//!
//! Of a view x in N patches, with z the latents of the encoder, e their codes and D the decoder, its losses are
//! - `recon`: mean of (D(e) - x)^2 over the values of all patches,
//! - `vq`: commitment times the mean of (z - sg(e))^2 and, where gradients move codes, the mean of (sg(z) - e)^2; nothing for FSQ,
//! - `machine_id`: cross-entropy of the target by a head on the mean latent over positions and patches,
//! - `transform`: cross-entropy of the change that was drawn for the view, likewise or for each patch by itself; views for which
//!   nothing was drawn have none,
//! - `entropy`: sum of p log p, where p is the mean over the global batch of softmax(-|z - e|^2 / temperature).
//!
//! `sg` lets no gradient pass; the decoder's passes the rounding as `method.gradient` says. Labels are smoothed in training only,
//! so that validation compares runs that differ in it.

mod quantizer;

use dtrain_configs::schema::{
    Encoder, MethodFacts, Scheduled, SemanticHeadsConfig, TransformsConfig, UnusedClasses, VqvaeConfig,
};
use tch::{Kind, TchError, Tensor};

use super::patches::Patches;
use super::{
    AfterStep, DirectTerm, FirstStep, HeadReading, HeadTask, LocalBatch, Mean, Method, Objective, Over,
    Parts, Reconstruction, Statistics, StepContext, Targets, Task, Term,
};
use crate::loss::cross_entropy::{NO_LABEL, cross_entropy};
use crate::loss::widened;
use crate::model::decoder::Decoder;
use crate::model::layers::{Pointwise, global_average_pool};
use crate::model::semantic_head::SemanticHead;
use crate::model::{Backbone, ForwardContext};
use crate::state::Stateful;
use quantizer::{Codebook, Quantized, Usage, passed};

/// Sum over the global batch of the soft assignments, which the first pass finds.
const ASSIGNED: &str = "assigned";
/// What the decoder is fed has this share of its bound at least where a latent counts as at the bound.
const AT_BOUND: f64 = 0.98;
const RECON: &str = "recon";
const VQ: &str = "vq";
const MACHINE_ID: &str = "machine_id";
const TRANSFORM: &str = TransformsConfig::COLUMN;
const ENTROPY: &str = "entropy";

/// Encoder, codebook, decoder and heads.
pub struct Vqvae {
    facts: MethodFacts,
    config: VqvaeConfig,
    patches: Patches,
    backbone: Box<dyn Backbone>,
    to_latent: Pointwise,
    codebook: Box<dyn Codebook>,
    usage: Usage,
    decoder: Decoder,
    machine_id: SemanticHead,
    transform: SemanticHead,
    /// The target.
    target: [HeadTask; 1],
    /// Classes of the target that the head tells apart; all where it keeps those without a sample.
    told: Vec<i64>,
    started: Option<Tensor>,
}

impl Vqvae {
    /// Registers `to_latent`, `codebook`, `usage`, `decoder`, and `heads.machine_id` and `heads.transform`.
    pub(super) fn build(config: &VqvaeConfig, parts: Parts<'_>) -> Self {
        let Parts { facts, backbone, task: Task { input, target, .. }, parameters, .. } = parts;
        let patches = Patches::of(facts.patches);
        let [channels, height, width] = backbone.feature_shape();
        let (dim, num_codes) = (config.codebook.width() as i64, config.codebook.size() as i64);
        let to_latent = Pointwise::new("to_latent", (channels, dim), parameters);
        let codebook = parameters
            .scope("codebook", |scope| quantizer::build(&config.codebook, config.latent_bound, scope));
        let usage = parameters.scope("usage", |scope| Usage::build(num_codes, scope));
        let decoder = parameters.scope("decoder", |scope| {
            let to = patches.shape(*input);
            Decoder::build([dim, height, width], to, config.decoder_channels as i64, backbone.norm(), scope)
        });
        let told: Vec<i64> = match config.semantic_heads.unused_classes {
            UnusedClasses::Keep => (0..target.num_classes).collect(),
            UnusedClasses::LeaveOut => {
                (0..target.num_classes).filter(|class| !target.unused.contains(class)).collect()
            }
        };
        let SemanticHeadsConfig { hidden_dim, dropout, .. } = config.semantic_heads;
        let [machine_id, transform] = parameters.scope("heads", |heads| {
            let mut head = |name: &str, num_classes: i64, layer: u64| {
                let widths = [dim, hidden_dim as i64, num_classes];
                heads.scope(name, |scope| SemanticHead::new(widths, dropout, layer, scope))
            };
            [head(MACHINE_ID, told.len() as i64, 1), head(TRANSFORM, TransformsConfig::COUNT, 2)]
        });
        let started = config.codebook.begins_by_kmeans().then(|| parameters.counter("started"));
        Self {
            facts,
            config: config.clone(),
            patches,
            backbone,
            to_latent,
            codebook,
            usage,
            decoder,
            machine_id,
            transform,
            target: [target.clone()],
            told,
            started,
        }
    }

    /// Latents of the patches of `views`, `[n * N, D, h, w]`.
    fn encode(&self, views: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let features = self.backbone.features(&self.patches.cut(views)?, pass)?;
        let latents = widened(&self.to_latent.forward(&features.maps)?);
        match self.config.latent_bound {
            Some(bound) => latents.f_tanh()?.f_mul_scalar(bound),
            None => Ok(latents),
        }
    }

    /// The patches of codes `[m, D]` that lie as latents of `shape` do.
    fn decode(&self, codes: &Tensor, shape: &[i64], pass: &ForwardContext) -> Result<Tensor, TchError> {
        Ok(widened(&self.decoder.forward(&as_maps(codes, shape)?, pass)?))
    }

    /// Scores of the target's classes, `[n, K]`; those that the head leaves out are far below all others.
    fn target_scores(&self, embeddings: &Tensor, pass: &ForwardContext) -> Result<Tensor, TchError> {
        widened(&self.machine_id.forward(embeddings, pass)?).f_contiguous()
    }

    /// Numbers of `classes` among those that the head tells apart.
    fn among_told(&self, classes: &[i64]) -> Vec<i64> {
        let place = |class: &i64| self.told.binary_search(class).map_or(NO_LABEL, |place| place as i64);
        classes.iter().map(place).collect()
    }

    /// Share of label smoothing by PyTorch's formula; none outside of training.
    fn smoothing(&self, num_classes: i64, pass: &ForwardContext) -> f64 {
        let SemanticHeadsConfig { label_smoothing, smoothing, .. } = self.config.semantic_heads;
        if pass.train { smoothing.as_of_all(label_smoothing, num_classes) } else { 0.0 }
    }

    /// What each latent `[m, D]` would choose if it chose by chance, the nearer the likelier: `[m, K]`.
    fn assignments(&self, latents: &Tensor) -> Result<Option<Tensor>, TchError> {
        let Some(entries) = self.codebook.entries()? else { return Ok(None) };
        let lengths = entries.f_square()?.f_sum_dim_intlist(1, false, None::<Kind>)?;
        // |z|^2 is the same for all codes.
        let distances = lengths.f_sub(&latents.f_mm(&entries.f_tr()?)?.f_mul_scalar(2.0)?)?;
        let scores = distances.f_div_scalar(-self.config.entropy_temperature)?;
        Ok(Some(scores.f_softmax(1, None::<Kind>)?))
    }

    /// The sum over this part of p log p with the mean p of the global batch held; its gradient is that of the whole sum, as the
    /// p of a latent add up to 1. In evaluations, which know no global batch, p is the mean of each view by itself.
    fn entropy(
        &self,
        latents: &Tensor,
        num_latents: f64,
        context: &StepContext<'_>,
    ) -> Result<Tensor, TchError> {
        let Some(each) = self.assignments(latents)? else { return nothing(latents) };
        let logarithm = |mean: &Tensor| mean.f_clamp_min(1e-12)?.f_log();
        let Some(found) = context.first_pass else {
            let (per_view, num_codes) = (self.latents_per_view(), each.size()[1]);
            let of_views = each.f_reshape([each.size()[0] / per_view, per_view, num_codes])?;
            let mean = of_views.f_mean_dim([1_i64].as_slice(), false, None::<Kind>)?;
            let sum = mean.f_mul(&logarithm(&mean)?)?.f_sum(None::<Kind>)?;
            return sum.f_mul_scalar(per_view as f64 / num_latents);
        };
        let mean = found.get(ASSIGNED)?.f_to_kind(each.kind())?.f_div_scalar(num_latents)?;
        each.f_mul(&logarithm(&mean)?)?.f_sum(None::<Kind>)?.f_div_scalar(num_latents)
    }

    /// The commitment cost of the step.
    fn commitment(&self, context: &StepContext<'_>) -> f64 {
        let schedule: Scheduled = self.config.commitment;
        context.values.get(VqvaeConfig::COMMITMENT).unwrap_or_else(|| schedule.ends()[1])
    }

    /// The loss `vq`, a mean over all values of `num_latents` latents.
    fn distance(&self, found: &Quantized, num_latents: f64, commitment: f64) -> Result<Tensor, TchError> {
        if !self.config.codebook.has_entries() {
            return nothing(&found.latents);
        }
        let squared = |a: &Tensor, b: &Tensor| a.f_sub(b)?.f_square()?.f_sum(None::<Kind>);
        let mut loss = squared(&found.latents, &found.vectors.detach())?.f_mul_scalar(commitment)?;
        if self.codebook.is_trained() {
            loss = loss.f_add(&squared(&found.latents.detach(), &found.vectors)?)?;
        }
        loss.f_div_scalar(num_latents * found.latents.size()[1] as f64)
    }

    /// Scores of the changes and which were drawn, a row for each view, or for each patch.
    fn transforms(
        &self,
        part: &LocalBatch,
        (pooled, embeddings): (&Tensor, &Tensor),
        (pass, of_patches): (&ForwardContext, &ForwardContext),
    ) -> Result<(Tensor, Tensor, i64), TchError> {
        let drawn = part.groups()[0].drawn.i64(TRANSFORM);
        let drawn = drawn.map_or_else(|| vec![NO_LABEL; part.num_samples()], <[i64]>::to_vec);
        let drawn = Tensor::f_from_slice(&drawn)?.f_to_device(embeddings.device())?;
        if self.config.transform_head_per_patch {
            let each = self.patches.count();
            let scores = widened(&self.transform.forward(pooled, of_patches)?);
            return Ok((scores, drawn.f_repeat_interleave_self_int(each, 0, None)?, each));
        }
        Ok((widened(&self.transform.forward(embeddings, pass)?), drawn, 1))
    }
}

/// A loss of 0 that backward can start from.
fn nothing(like: &Tensor) -> Result<Tensor, TchError> {
    like.f_sum(None::<Kind>)?.f_mul_scalar(0.0)
}

/// Latents `[rows, D, h, w]` as `[rows * h * w, D]`: position by position.
fn as_rows(maps: &Tensor) -> Result<Tensor, TchError> {
    let [rows, dim, height, width] =
        <[i64; 4]>::try_from(maps.size()).map_err(|_| TchError::Shape("latents without positions".into()))?;
    maps.f_permute([0, 2, 3, 1])?.f_reshape([rows * height * width, dim])
}

/// The other way round, for latents of `shape`.
fn as_maps(rows: &Tensor, shape: &[i64]) -> Result<Tensor, TchError> {
    let &[n, dim, height, width] = shape else {
        return Err(TchError::Shape("latents without positions".into()));
    };
    rows.f_reshape([n, height, width, dim])?.f_permute([0, 3, 1, 2])?.f_contiguous()
}

impl Method for Vqvae {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        None
    }

    fn facts(&self) -> MethodFacts {
        self.facts
    }

    fn loss_names(&self) -> Vec<String> {
        [RECON, VQ, MACHINE_ID, TRANSFORM, ENTROPY].map(String::from).into()
    }

    fn loss_weights(&self) -> Vec<f64> {
        let VqvaeConfig { lambda_machine_id, lambda_transform, lambda_entropy, .. } = self.config;
        vec![1.0, 1.0, lambda_machine_id, lambda_transform, lambda_entropy]
    }

    fn mean_names(&self) -> Vec<String> {
        let names =
            ["machine_id_acc", "transform_acc", VqvaeConfig::PERPLEXITY, VqvaeConfig::USAGE, "at_bound"];
        names.map(String::from).into()
    }

    fn monitors(&self) -> &'static [&'static str] {
        &["val/recon_loss", "val/loss"]
    }

    fn count(&self, targets: &Targets) -> Vec<u64> {
        vec![targets.num_labelled()]
    }

    fn started(&self) -> Option<&Tensor> {
        self.started.as_ref()
    }

    fn before_first_step(&mut self, parts: &[LocalBatch], start: &FirstStep<'_>) -> Result<(), TchError> {
        let (latents, mut own) = (self.latents_per_view(), Vec::with_capacity(parts.len()));
        for part in parts {
            // By the statistics of the part, as the step will: running ones know nothing yet.
            let pass = ForwardContext::train(start.sync.clone()).without_update();
            let rows = as_rows(&self.encode(part.inputs(), &pass)?)?;
            let views = part.num_samples() as i64;
            let places = Tensor::f_from_slice(part.targets.positions())?.f_to_device(rows.device())?;
            let places = places.f_to_kind(Kind::Double)?.f_unsqueeze(1)?;
            let of_views = rows.f_reshape([views, latents * rows.size()[1]])?.f_to_kind(Kind::Double)?;
            own.push(Tensor::f_cat(&[places, of_views], 1)?);
        }
        // In the order of the batch, whichever rank has which sample.
        let all = start.gather(&Tensor::f_cat(&own, 0)?)?;
        let order = all.f_select(1, 0)?.f_argsort(0, false)?;
        let (views, width) = (all.size()[0], all.size()[1] - 1);
        let all = all.f_narrow(1, 1, width)?.f_index_select(0, &order)?;
        self.codebook.begin(&all.f_reshape([views * latents, width / latents])?, start.seed)
    }

    fn first_pass(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Statistics, TchError> {
        let pass = self.patches.pass(context.pass());
        let latents = as_rows(&self.encode(part.inputs(), &pass)?)?;
        let mut found = Statistics::default();
        let latents = self.codebook.quantize(&latents)?.latents;
        if let Some(each) = self.assignments(&latents)? {
            found.put(ASSIGNED, &each.f_sum_dim_intlist(0, false, Kind::Double)?)?;
        }
        Ok(found)
    }

    fn objective(&self, part: &LocalBatch, context: &StepContext<'_>) -> Result<Objective, TchError> {
        let (targets, pass) = (&part.targets, context.pass());
        let of_patches = self.patches.pass(pass);
        let maps = self.encode(part.inputs(), &of_patches)?;
        let found = self.codebook.quantize(&as_rows(&maps)?)?;
        let samples = targets.global_samples.max(1) as f64;
        let per_view = self.latents_per_view();
        let num_latents = samples * per_view as f64;

        let codes = passed(self.config.gradient, &found.latents, &found.vectors)?;
        let decoded = self.decode(&codes, &maps.size(), &of_patches)?;
        let wanted = self.patches.cut(part.inputs())?;
        let per_patch = decoded.size().iter().skip(1).product::<i64>() * self.patches.count();
        let recon = decoded.f_sub(&wanted)?.f_square()?.f_sum(None::<Kind>)?;
        let recon = recon.f_div_scalar(samples * per_patch as f64)?;
        let vq = self.distance(&found, num_latents, self.commitment(context))?;

        let pooled = global_average_pool(&maps)?;
        let embeddings = self.patches.mean(&pooled)?;
        let scores = self.target_scores(&embeddings, pass)?;
        let classes =
            Tensor::f_from_slice(&self.among_told(targets.classes()))?.f_to_device(maps.device())?;
        let labelled = context.counts.first().copied().unwrap_or(1);
        let machine_id =
            cross_entropy(&scores, &classes, labelled, self.smoothing(self.told.len() as i64, pass));
        let (of_transforms, drawn, each) =
            self.transforms(part, (&pooled, &embeddings), (pass, &of_patches))?;
        let smoothing = self.smoothing(TransformsConfig::COUNT, pass);
        let transform =
            cross_entropy(&of_transforms, &drawn, targets.global_samples * each as u64, smoothing);
        let entropy = match self.config.lambda_entropy > 0.0 {
            true => self.entropy(&found.latents, num_latents, context)?,
            false => nothing(&found.latents)?,
        };

        let hits = |scores: &Tensor, classes: &Tensor| {
            scores.detach().f_argmax(1, false)?.f_eq_tensor(classes)?.f_sum(Kind::Double)
        };
        let own = part.num_samples() as f64;
        let at_bound = match self.config.latent_bound {
            Some(bound) => maps.detach().f_abs()?.f_gt(AT_BOUND * bound)?.f_sum(Kind::Double)?,
            None => maps.detach().f_sum(Kind::Double)?.f_mul_scalar(0.0)?,
        };
        let values_per_view = per_view as f64 * maps.size()[1] as f64;
        let of_all = |sum: Tensor| sum.f_to_kind(Kind::Double)?.f_mul_scalar(own);
        let means = vec![
            Mean { over: Over::Group(0), ..Mean::new("machine_id_acc", hits(&scores, &classes)?) },
            Mean::new("transform_acc", hits(&of_transforms, &drawn)?.f_div_scalar(each as f64)?),
            Mean::new(VqvaeConfig::PERPLEXITY, of_all(self.usage.perplexity()?)?),
            Mean::new(VqvaeConfig::USAGE, of_all(self.usage.share()?)?),
            Mean::new("at_bound", at_bound.f_div_scalar(values_per_view)?),
        ];

        let mut statistics = Statistics::default();
        self.usage.tell(&found.codes, &mut statistics)?;
        let drawn = match self.codebook.wants_drawn() {
            true => {
                let slots = self.config.codebook.size();
                let slots = context.draw_distinct(slots, targets.global_samples * per_view as u64);
                Some(slots.vectors_of(&found.latents, targets.positions(), per_view)?)
            }
            false => None,
        };
        self.codebook.tell(&found, drawn, &mut statistics)?;
        let machine_id = Term::Direct(DirectTerm { loss: machine_id, over: Over::Group(0), factor: None });
        let terms = [Term::direct(recon), Term::direct(vq), machine_id, Term::direct(transform)];
        let terms = terms.into_iter().chain([Term::direct(entropy)]).collect();
        Ok(Objective { terms, means, statistics })
    }

    fn after_step(&mut self, after: &AfterStep<'_>) -> Result<(), TchError> {
        self.usage.after_step(after)?;
        self.codebook.after_step(after)
    }

    fn measured_augmented(&self) -> Vec<String> {
        vec![TRANSFORM.into()]
    }

    fn num_features(&self) -> i64 {
        self.config.codebook.width() as i64
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, pass: &ForwardContext) -> Result<Tensor, TchError> {
        let maps = self.encode(inputs, &self.patches.pass(pass))?;
        self.patches.mean(&global_average_pool(&maps)?)
    }

    fn heads(&self) -> &[HeadTask] {
        &self.target
    }

    fn heads_say_losses(&self) -> bool {
        false
    }

    fn read_heads(&self, embeddings: &Tensor, targets: &Targets) -> Result<Vec<HeadReading>, TchError> {
        let [target] = &self.target;
        let scores = self.target_scores(embeddings, &ForwardContext::eval())?;
        let labels = Tensor::f_from_slice(&self.among_told(targets.label(target)))?;
        let loss = cross_entropy(&scores, &labels.f_to_device(scores.device())?, 1, 0.0);
        let told = Tensor::f_from_slice(&self.told)?.f_to_device(scores.device())?;
        let classes = told.f_index_select(0, &scores.f_argmax(1, false)?)?;
        let of_told = scores.f_softmax(1, None::<Kind>)?;
        let all = Tensor::f_zeros([scores.size()[0], target.num_classes], (of_told.kind(), scores.device()))?;
        let probabilities = all.f_index_copy(1, &told, &of_told)?;
        let values = classes.f_to_kind(scores.kind())?;
        Ok(vec![HeadReading { loss, classes, values, probabilities: Some(probabilities) }])
    }

    fn num_codes(&self) -> Option<i64> {
        Some(self.config.codebook.size() as i64)
    }

    fn reconstruct(&self, inputs: &Tensor) -> Result<Option<Reconstruction>, TchError> {
        let pass = ForwardContext::eval();
        let maps = self.encode(inputs, &pass)?;
        let found = self.codebook.quantize(&as_rows(&maps)?)?;
        let decoded = self.decode(&found.vectors, &maps.size(), &pass)?;
        let (views, per_view) = (inputs.size()[0], self.latents_per_view());
        let wanted = self.patches.cut(inputs)?;
        let mean_of_view = |squared: Tensor| {
            let rows = squared.f_reshape([views, squared.numel() as i64 / views.max(1)])?;
            rows.f_mean_dim([1_i64].as_slice(), false, Kind::Double)
        };
        Ok(Some(Reconstruction {
            errors: mean_of_view(decoded.f_sub(&wanted)?.f_square()?)?,
            distances: mean_of_view(found.latents.f_sub(&found.vectors)?.f_square()?)?,
            codes: found.codes.f_reshape([views, per_view])?,
            views: self.patches.join(&decoded)?,
        }))
    }
}

impl Vqvae {
    /// Latents of a view.
    fn latents_per_view(&self) -> i64 {
        let [_, height, width] = self.backbone.feature_shape();
        self.patches.count() * height * width
    }
}
