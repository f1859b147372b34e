//! Host memory that a snapshot is copied into, so that training can go on while it is written. It is allocated and touched
//! once, at the start: copying into fresh pages takes ten times as long.

use tch::{Device, Kind, Tensor};

use super::bytes_of;
use super::snapshot::{Snapshot, Tensors};
use crate::checkpoint::{Memory, Placed, Strided, TensorSpec};
use crate::error::TrainError;
use crate::torch_extra::{Event, copy_to_host_memory, host_memory};

/// Every tensor begins at a multiple of this, a cache line.
const ALIGNMENT_BYTES: usize = 64;

/// The memory, and the point in the device's queue at which it is filled.
pub struct Staging {
    /// `[bytes]` of 8-bit integers; pinned where tensors come from a GPU.
    memory: Tensor,
    filled: Event,
}

impl Staging {
    /// Bytes that tensors of `specs` need.
    pub fn num_bytes<'a>(specs: impl IntoIterator<Item = &'a TensorSpec>) -> u64 {
        specs.into_iter().map(|spec| aligned(spec.num_bytes().unwrap_or(0) as usize) as u64).sum()
    }

    /// Memory for tensors of `specs` that live on `device`.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new<'a>(
        specs: impl IntoIterator<Item = &'a TensorSpec>,
        device: Device,
    ) -> Result<Self, TrainError> {
        let bytes = Self::num_bytes(specs);
        Ok(Self { memory: host_memory(bytes as i64, device)?, filled: Event::new(device, false)? })
    }

    /// Copies the tensors of `snapshot`, each in the order in which it lies. A GPU copies when it gets there; the tensors
    /// may change as soon as this returns, since later operations on them are queued behind.
    ///
    /// # Errors
    /// When the device has failed, or the snapshot is larger than the memory.
    pub fn fill(&mut self, snapshot: &Snapshot) -> Result<(Placed, Placed), TrainError> {
        let mut offset = 0;
        let model = self.take(&snapshot.model, &mut offset)?;
        let optimizer = self.take(&snapshot.optimizer, &mut offset)?;
        self.filled.record()?;
        Ok((model, optimizer))
    }

    fn take(&self, file: &Tensors, offset: &mut usize) -> Result<Placed, TrainError> {
        let mut places = Vec::with_capacity(file.specs.len());
        let mut run = Run::default();
        for (spec, tensor) in file.specs.iter().zip(&file.tensors) {
            let place = place_of(spec, tensor, *offset);
            *offset += aligned(place.num_bytes());
            if !place.is_empty() && !run.extends_to(tensor, &place) {
                std::mem::take(&mut run).copy_into(self)?;
                run.extends_to(tensor, &place);
            }
            places.push(place);
        }
        run.copy_into(self)?;
        Ok(Placed { specs: file.specs.clone(), places })
    }

    /// The memory of a place as a tensor.
    fn view(&self, kind: Kind, place: &Strided) -> Result<Tensor, TrainError> {
        let bytes = self.memory.f_narrow(0, place.offset as i64, place.num_bytes() as i64)?;
        let sizes = |values: &[usize]| values.iter().map(|&value| value as i64).collect::<Vec<i64>>();
        let (shape, strides) = (sizes(&place.shape), sizes(&place.strides));
        Ok(bytes.f_view_dtype(kind)?.f_as_strided(shape, strides, None)?)
    }
}

impl Memory for Staging {
    fn settle(&self) -> Result<(), String> {
        self.filled.synchronize().map_err(|error| error.to_string())
    }

    fn bytes(&self) -> &[u8] {
        bytes_of(&self.memory)
    }
}

/// Tensors that lie one behind the other, as the engine's do: one copy takes all of them.
#[derive(Default)]
struct Run {
    members: Vec<(Tensor, Strided)>,
    /// Where the next one would begin.
    next: usize,
}

impl Run {
    /// Adds a tensor that begins where the last one ends, or the first; false if it lies elsewhere.
    fn extends_to(&mut self, tensor: &Tensor, place: &Strided) -> bool {
        let begin = tensor.data_ptr() as usize;
        let fits = self.members.last().is_none_or(|(last, last_place)| {
            let in_order =
                [(last, last_place), (tensor, place)].map(|(tensor, place)| lies_as(tensor, place));
            self.next == begin && last.kind() == tensor.kind() && in_order == [true, true]
        });
        if fits {
            self.members.push((tensor.detach(), place.clone()));
            self.next = begin + aligned(place.num_bytes());
        }
        fits
    }

    fn copy_into(self, staging: &Staging) -> Result<(), TrainError> {
        let (Some((first, begin)), Some((_, last))) = (self.members.first(), self.members.last()) else {
            return Ok(());
        };
        let bytes = last.offset + last.num_bytes() - begin.offset;
        let whole = Strided {
            shape: vec![bytes / begin.element_bytes],
            strides: vec![1],
            offset: begin.offset,
            element_bytes: begin.element_bytes,
        };
        // Refused where neighbours in memory belong to different allocations.
        let together = first.f_as_strided([whole.len() as i64], [1_i64], None);
        match together.ok().filter(|_| self.members.len() > 1) {
            Some(together) => copy_to_host_memory(&together, &staging.view(first.kind(), &whole)?)?,
            None => self.members.iter().try_for_each(|(tensor, place)| {
                Ok::<(), TrainError>(copy_to_host_memory(tensor, &staging.view(tensor.kind(), place)?)?)
            })?,
        }
        Ok(())
    }
}

/// Whether the copy has the tensor's own order.
fn lies_as(tensor: &Tensor, place: &Strided) -> bool {
    tensor.stride().iter().zip(&place.strides).all(|(own, copy)| *own == *copy as i64)
}

fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT_BYTES)
}

/// In the tensor's own order where its elements lie close together, so that a copy is one of bytes; else row by row.
fn place_of(spec: &TensorSpec, tensor: &Tensor, offset: usize) -> Strided {
    let shape: Vec<usize> = spec.shape.iter().map(|&size| size as usize).collect();
    let own: Vec<usize> = tensor.stride().iter().map(|&stride| stride.max(0) as usize).collect();
    let strides = if is_dense(&shape, &own) { own } else { row_major(&shape) };
    Strided { offset, element_bytes: spec.dtype.num_bytes() as usize, shape, strides }
}

/// Whether the elements fill their memory without gap or overlap.
fn is_dense(shape: &[usize], strides: &[usize]) -> bool {
    let mut dims: Vec<(usize, usize)> =
        strides.iter().copied().zip(shape.iter().copied()).filter(|(_, size)| *size != 1).collect();
    dims.sort_unstable();
    let mut expected = 1;
    dims.into_iter().all(|(stride, size)| {
        let fits = stride == expected;
        expected *= size;
        fits
    })
}

fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    let mut next = 1;
    for (stride, size) in strides.iter_mut().zip(shape).rev() {
        *stride = next;
        next *= size;
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{FrameKind, TensorHome};
    use crate::state::tensor_bytes::spec_of;
    use crate::state::{Layout, Stateful, Stored, Values, copy_into};

    /// Tensors in the orders that the engine and others keep them in.
    struct Part(Vec<Tensor>);

    impl Part {
        fn new() -> Self {
            let numbers = |len: i64, kind: Kind| Tensor::arange(len, (kind, Device::Cpu));
            Self(vec![
                numbers(2 * 3 * 4 * 5, Kind::Float).view([2, 4, 5, 3]).permute([0, 3, 1, 2]),
                numbers(7, Kind::Double),
                numbers(1, Kind::Int64).squeeze(),
                numbers(6, Kind::Float).view([2, 3]).transpose(0, 1),
                numbers(12, Kind::Float).view([4, 3]).narrow(1, 0, 2),
                numbers(3, Kind::Float).expand([2, 3], false),
                Tensor::zeros([0, 4], (Kind::Float, Device::Cpu)),
            ])
        }
    }

    const PART: FrameKind = FrameKind { name: "part", tag: *b"PART", version: 1 };

    impl Stateful for Part {
        fn layout(&self) -> Result<Layout, TrainError> {
            let named = self.0.iter().enumerate();
            let specs = named.map(|(i, t)| spec_of(&format!("t{i}"), &t.size(), t.kind()));
            Ok(Layout { kind: PART, home: TensorHome::Model, tensors: specs.collect::<Result<_, _>>()? })
        }

        fn save(&self) -> Result<Values, TrainError> {
            Ok(Values::new(PART, self.0.iter().map(Tensor::shallow_clone).collect(), ()))
        }

        fn restore(&mut self, stored: &Stored<'_>) -> Result<(), TrainError> {
            let values = stored.tensors(TensorHome::Model, &self.layout()?.tensors)?;
            self.0.iter().zip(&values).try_for_each(|(target, value)| copy_into(target, value))
        }
    }

    #[test]
    fn a_copy_holds_what_was_there_in_row_major_order() {
        let part = Part::new();
        let parts: Vec<Box<dyn Stateful>> =
            vec![Box::new(Part(part.0.iter().map(Tensor::shallow_clone).collect()))];
        let specs = parts[0].layout().unwrap().tensors;
        let mut staging = Staging::new(&specs, Device::Cpu).unwrap();
        let before: Vec<Tensor> = part.0.iter().map(|tensor| tensor.contiguous().copy()).collect();
        let snapshot = Snapshot::of(&parts).unwrap();
        for round in 0..2 {
            let (model, optimizer) = staging.fill(&snapshot).unwrap();
            assert!(optimizer.specs.is_empty());
            if round == 0 {
                for tensor in &part.0[..4] {
                    let _ = tensor.shallow_clone().fill_(-1.0);
                }
            }
            staging.settle().unwrap();
            for (place, (tensor, expected)) in model.places.iter().zip(part.0.iter().zip(&before)) {
                let mut written = Vec::new();
                place.write_to(staging.bytes(), &mut written).unwrap();
                let now = tensor.contiguous();
                let expected = if round == 0 { expected } else { &now };
                assert_eq!(written, bytes_of(expected));
            }
        }
    }

    /// As the engine has them: views of one buffer, each at a multiple of 64 bytes.
    #[test]
    fn neighbours_are_copied_at_once_and_strangers_one_by_one() {
        let flat = Tensor::arange(64, (Kind::Float, Device::Cpu));
        let views = vec![
            flat.narrow(0, 0, 5),
            flat.narrow(0, 16, 12).view([2, 2, 3, 1]).permute([0, 3, 1, 2]),
            flat.narrow(0, 32, 16).view([4, 4]),
            flat.narrow(0, 50, 4),
            Tensor::arange(4, (Kind::Double, Device::Cpu)),
        ];
        let mut run = Run::default();
        let mut offset = 0;
        let extended: Vec<bool> = views
            .iter()
            .map(|view| {
                let spec = spec_of("view", &view.size(), view.kind()).unwrap();
                let place = place_of(&spec, view, offset);
                offset += aligned(place.num_bytes());
                run.extends_to(view, &place)
            })
            .collect();
        assert_eq!(extended, [true, true, true, false, false]);

        let parts: Vec<Box<dyn Stateful>> = vec![Box::new(Part(views))];
        let snapshot = Snapshot::of(&parts).unwrap();
        let mut staging = Staging::new(&snapshot.model.specs, Device::Cpu).unwrap();
        let (model, _) = staging.fill(&snapshot).unwrap();
        for (place, tensor) in model.places.iter().zip(&snapshot.model.tensors) {
            let mut written = Vec::new();
            place.write_to(staging.bytes(), &mut written).unwrap();
            assert_eq!(written, bytes_of(&tensor.contiguous()));
        }
    }

    #[test]
    fn the_order_of_convolutions_is_kept_and_gaps_are_not() {
        let part = Part::new();
        let layout = part.layout().unwrap().tensors;
        let strides = |index: usize| place_of(&layout[index], &part.0[index], 0).strides;
        assert_eq!(strides(0), [60, 1, 15, 3]);
        assert_eq!(strides(3), [1, 3]);
        assert_eq!((strides(4), strides(5)), (vec![2, 1], vec![3, 1]));
        // Each at a multiple of 64 bytes: 480, 56, 8, 24, 32, 24 and 0.
        assert_eq!(Staging::num_bytes(&layout), 512 + 64 * 5);
    }
}
