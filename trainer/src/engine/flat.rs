//! All parameters in one buffer and all gradients in another, so that an all-reduce copies nothing and an optimizer step,
//! a norm or an average of weights is a handful of operations on one tensor.
//!
//! Parameters lie in registration order; each starts at a multiple of [`ALIGNMENT_BYTES`], as libtorch aligns tensors of
//! their own. The padding holds zeros whose gradient stays zero, so a range may run across it.

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use crate::error::TrainError;
use crate::model::parameters::{Parameters, Role};
use crate::torch_extra::set_grad;

/// Alignment of every parameter within the flat buffers: a cache line, and what vector instructions like.
pub const ALIGNMENT_BYTES: usize = 64;

/// Elements that a CPU thread works on at a time: some 256 KiB per buffer, so that the passes of one update find in the
/// cache what the pass before left there.
const CHUNK_ELEMENTS: usize = 1 << 16;

/// Where a parameter lies.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// Dotted name of the parameter.
    pub name: String,
    /// First element.
    pub offset: usize,
    /// Elements, without padding.
    pub len: usize,
    /// Logical shape.
    pub shape: Vec<i64>,
    /// What the parameter is.
    pub role: Role,
}

impl Segment {
    /// This parameter's part of a flat buffer, in the parameter's shape; shares the buffer's storage.
    ///
    /// The elements of a convolution's weight (out, in, height, width) lie in the order (out, height, width, in), which
    /// libtorch calls channels last: convolutions then give their results in that order too and copy nothing into the
    /// layout that they compute in.
    pub fn view_of(&self, buffer: &Tensor) -> Tensor {
        let elements = buffer.narrow(0, self.offset as i64, self.len as i64);
        match self.shape[..] {
            [out, inputs, height, width] => elements.view([out, height, width, inputs]).permute([0, 3, 1, 2]),
            _ => elements.view(self.shape.as_slice()),
        }
    }
}

/// Parameters and gradients as two one-dimensional tensors of equal layout.
#[derive(Debug)]
pub struct Flat {
    parameters: Tensor,
    gradients: Tensor,
    segments: Vec<Segment>,
    /// End of each segment with its padding.
    ends: Vec<usize>,
}

/// Where tensors of one type lie one after the other, and where each ends with its padding.
pub(super) fn laid_out<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor, Role)>,
    kind: Kind,
) -> (Vec<Segment>, Vec<usize>) {
    let alignment = ALIGNMENT_BYTES / kind.elt_size_in_bytes().max(1);
    let mut end = 0;
    let (mut segments, mut ends) = (Vec::new(), Vec::new());
    for (name, tensor, role) in tensors {
        let (offset, len) = (end, tensor.numel());
        end = (offset + len).next_multiple_of(alignment.max(1));
        segments.push(Segment { name: name.to_owned(), offset, len, shape: tensor.size(), role });
        ends.push(end);
    }
    (segments, ends)
}

impl Flat {
    /// Moves the parameters into a flat buffer and makes views of it their data, and views of a flat gradient buffer,
    /// filled with 0, their `.grad`. Layers that share the tensors see the same storage from now on.
    ///
    /// Never call `zero_grad` or `backward` with `create_graph` on them: both replace the views.
    ///
    /// # Errors
    /// When memory runs out, or libtorch refuses a gradient view, which a parameter made by [`Parameters`] does not provoke.
    pub fn new(parameters: &Parameters) -> Result<Self, TrainError> {
        let named = parameters.parameters().iter().map(|p| (p.name.as_str(), &p.tensor, p.role));
        let (segments, ends) = laid_out(named, parameters.kind());
        let end = ends.last().copied().unwrap_or(0);
        let zeros = |what: &str| {
            let bytes = end.saturating_mul(parameters.kind().elt_size_in_bytes()) as u64;
            Tensor::f_zeros([end as i64], (parameters.kind(), parameters.device())).map_err(|error| {
                TrainError::from(error).wanting(
                    format!("the {what} of {} parameters in one piece", segments.len()),
                    Some(bytes),
                    "choose a smaller `model`; a contrastive method has a `method.projector.hidden_dim` besides",
                )
            })
        };
        let (weights, gradients) = (zeros("weights")?, zeros("gradients")?);
        let flat = Self { parameters: weights, gradients, segments, ends };
        tch::no_grad(|| {
            for (parameter, segment) in parameters.parameters().iter().zip(&flat.segments) {
                let mut view = segment.view_of(&flat.parameters);
                view.f_copy_(&parameter.tensor)?;
                parameter.tensor.shallow_clone().f_set_data(&view)?;
                set_grad(&parameter.tensor, &segment.view_of(&flat.gradients))?;
            }
            Ok(flat)
        })
    }

    /// The flat parameters, without graph.
    pub fn parameters(&self) -> &Tensor {
        &self.parameters
    }

    /// The flat gradients.
    pub fn gradients(&self) -> &Tensor {
        &self.gradients
    }

    /// Where each parameter lies, in registration order.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Elements of a flat buffer, padding included.
    pub fn num_elements(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// A buffer of zeros with the same layout, for moments as a whole.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn zeros_like(&self) -> Result<Tensor, TrainError> {
        let bytes = self.parameters.numel().saturating_mul(self.parameters.kind().elt_size_in_bytes());
        self.parameters.f_zeros_like().map_err(|error| {
            TrainError::from(error).wanting(
                "a moment of the optimizer as a whole, to be saved or restored",
                Some(bytes as u64),
                "choose a smaller `model`, or an optimizer with fewer moments such as `optimizer=sgd`",
            )
        })
    }

    /// Before a step.
    pub fn zero_gradients(&self) {
        let _ = self.gradients.shallow_clone().zero_();
    }

    /// Parts of the flat gradient that are reduced one after the other: in reverse order of registration, which is about
    /// the order in which backward completes them. A bucket holds whole parameters up to `cap_bytes`, or one larger
    /// parameter; the first is limited to `first_bytes`. A function of the model and the two limits alone, so all ranks
    /// and all restarts agree.
    pub fn buckets(&self, cap_bytes: usize, first_bytes: usize) -> Vec<Range<usize>> {
        let element_bytes = self.parameters.kind().elt_size_in_bytes();
        let mut buckets: Vec<Range<usize>> = Vec::new();
        let mut current: Option<Range<usize>> = None;
        for (segment, &end) in self.segments.iter().zip(&self.ends).rev() {
            let cap = if buckets.is_empty() { first_bytes } else { cap_bytes };
            current = Some(match current {
                Some(bucket) if (bucket.end - segment.offset) * element_bytes <= cap => {
                    segment.offset..bucket.end
                }
                full => {
                    buckets.extend(full);
                    segment.offset..end
                }
            });
        }
        buckets.extend(current);
        buckets
    }

    /// The parameters that take part in a step; `active[i]` speaks of `segments()[i]`, and one that is missing is not
    /// active.
    pub fn active_set(&self, active: &[bool]) -> ActiveSet {
        let flags: Vec<bool> =
            (0..self.segments.len()).map(|i| active.get(i).copied().unwrap_or(false)).collect();
        let is_active = |index: usize, _: &Segment| flags.get(index).copied().unwrap_or(false).then_some(());
        let ranges = self.runs(is_active).into_iter().map(|(range, ())| range).collect();
        ActiveSet { flags, ranges }
    }

    /// Neighbouring segments that are to be treated alike, as few ranges as there can be: `treatment` says how, or
    /// `None` to leave a segment out.
    pub fn runs<T: PartialEq>(
        &self,
        treatment: impl Fn(usize, &Segment) -> Option<T>,
    ) -> Vec<(Range<usize>, T)> {
        let mut runs: Vec<(Range<usize>, T)> = Vec::new();
        for (index, (segment, &end)) in self.segments.iter().zip(&self.ends).enumerate() {
            let Some(treatment) = treatment(index, segment) else { continue };
            match runs.last_mut() {
                Some((range, last)) if range.end == segment.offset && *last == treatment => range.end = end,
                _ => runs.push((segment.offset..end, treatment)),
            }
        }
        runs
    }

    /// `range` in pieces that suit the device's cache; one piece on a GPU.
    pub fn chunks(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        chunks(range, self.parameters.device())
    }
}

/// The parameters that take part in a step. All others keep weights and moments bit for bit, which a gradient of zero
/// would not achieve: decay and momentum would move them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActiveSet {
    flags: Vec<bool>,
    ranges: Vec<Range<usize>>,
}

impl ActiveSet {
    /// Whether parameter `index` takes part.
    pub fn contains(&self, index: usize) -> bool {
        self.flags.get(index).copied().unwrap_or(false)
    }

    /// The active part of a flat buffer, neighbours merged.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }
}

/// The part `range` of a flat buffer; shares its storage.
pub fn part(buffer: &Tensor, range: &Range<usize>) -> Tensor {
    buffer.narrow(0, range.start as i64, range.len() as i64)
}

/// `range` in pieces that suit the device's cache; one piece on a GPU.
pub fn chunks(range: Range<usize>, device: Device) -> impl Iterator<Item = Range<usize>> + use<> {
    let len = match device {
        Device::Cpu => CHUNK_ELEMENTS * tch::get_num_threads().max(1) as usize,
        _ => range.len().max(1),
    };
    let end = range.end;
    range.step_by(len).map(move |start| start..(start + len).min(end))
}

/// Sum of squares of a one-dimensional tensor, 0-dimensional, f64: pieces are summed in the tensor's
/// type (libtorch's cascade, good to some 1e-7 in fp32) and added in f64.
pub fn squared_norm(values: &Tensor) -> Tensor {
    let sums: Vec<Tensor> = chunks(0..values.numel(), values.device())
        .map(|piece| part(values, &piece).square().sum(values.kind()))
        .collect();
    if sums.is_empty() {
        return Tensor::zeros([0_i64; 0], (Kind::Double, values.device()));
    }
    Tensor::stack(&sums, 0).sum(Kind::Double)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::parameters::Init;

    fn parameters(lens: &[i64], kind: Kind) -> Parameters {
        let mut parameters = Parameters::new(Device::Cpu, kind, 1);
        for (i, len) in lens.iter().enumerate() {
            let _ = parameters.parameter(&format!("p{i}"), &[*len], Init::Normal { std: 1.0 }, Role::Weight);
        }
        parameters
    }

    #[test]
    fn layers_keep_their_values_and_backward_fills_the_flat_gradient() {
        for kind in [Kind::Float, Kind::Double] {
            let mut parameters = Parameters::new(Device::Cpu, kind, 1);
            let weight = parameters.parameter("w", &[3, 5], Init::Normal { std: 1.0 }, Role::Weight);
            let bias = parameters.parameter("b", &[5], Init::Constant(0.5), Role::Bias);
            let unused = parameters.parameter("u", &[2], Init::Constant(1.0), Role::Weight);
            let before = weight.detach().copy();
            let flat = Flat::new(&parameters).unwrap();
            assert_eq!(weight.detach(), before);
            let x = Tensor::randn([4, 3], (kind, Device::Cpu));
            for passes in 1..=2 {
                (x.mm(&weight) + &bias).sum(kind).backward();
                let [w, b, u] = flat.segments() else { panic!("three segments") };
                let expected = x.sum_dim_intlist(0, false, kind).unsqueeze(1).expand([3, 5], false) * passes;
                assert!((w.view_of(flat.gradients()) - expected).abs().max().double_value(&[]) < 1e-5);
                assert_eq!(b.view_of(flat.gradients()), bias.full_like(4.0 * passes as f64).detach());
                assert_eq!(u.view_of(flat.gradients()).abs().sum(kind).double_value(&[]), 0.0);
            }
            flat.zero_gradients();
            assert_eq!(weight.grad().abs().max().double_value(&[]), 0.0);
            let _ = flat.parameters().shallow_clone().fill_(2.0);
            assert_eq!(weight.sum(kind).double_value(&[]) + unused.sum(kind).double_value(&[]), 34.0);
            for segment in flat.segments() {
                assert_eq!(segment.view_of(flat.parameters()).data_ptr() as usize % ALIGNMENT_BYTES, 0);
            }
        }
    }

    #[test]
    fn active_ranges_are_merged_across_padding() {
        let flat = Flat::new(&parameters(&[3, 20, 16, 5, 7], Kind::Float)).unwrap();
        assert_eq!(flat.num_elements(), 16 + 32 + 16 + 16 + 16);
        let active = flat.active_set(&[true, true, false, true, true]);
        assert_eq!(active.ranges(), [0..48, 64..96]);
        assert!(active.contains(0) && !active.contains(2) && !active.contains(9));
        assert!(flat.active_set(&[]).ranges().is_empty());
    }

    #[test]
    fn a_model_without_parameters_is_empty() {
        let flat = Flat::new(&parameters(&[], Kind::Float)).unwrap();
        assert!(flat.buckets(1, 1).is_empty());
        assert_eq!(squared_norm(flat.gradients()).double_value(&[]), 0.0);
    }

    #[test]
    fn squared_norm_is_accurate() {
        let values = Tensor::full([3_000_001], 0.1, (Kind::Float, Device::Cpu));
        let expected = 3_000_001.0 * f64::from(0.1_f32).powi(2);
        assert!((squared_norm(&values).double_value(&[]) / expected - 1.0).abs() < 1e-6);
    }

    proptest! {
        #[test]
        fn buckets_partition_the_buffer_backwards(
            lens in prop::collection::vec(0_i64..200, 0..12),
            cap in 0_usize..3000,
            first in 0_usize..1000,
        ) {
            let flat = Flat::new(&parameters(&lens, Kind::Double)).unwrap();
            let buckets = flat.buckets(cap, first);
            let mut end = flat.num_elements();
            for (i, bucket) in buckets.iter().enumerate() {
                prop_assert_eq!(bucket.end, end);
                end = bucket.start;
                let inside = flat.segments().iter().filter(|s| s.len > 0 && bucket.contains(&s.offset)).count();
                let limit = if i == 0 { first } else { cap };
                prop_assert!(bucket.len() * 8 <= limit || inside <= 1);
                prop_assert!(flat.segments().iter().any(|s| s.offset == bucket.start));
            }
            prop_assert_eq!(end, 0);
        }
    }
}
