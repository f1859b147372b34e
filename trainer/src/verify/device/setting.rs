//! Where and how a check computes: device, types, and by how much its numbers are off on purpose.

use dtrain_data::rng::{Purpose, Stream, stream};
use tch::{Device, Kind, Tensor};

use super::precision::DevicePrecision;
use crate::engine::Arithmetic;
use crate::error::TrainError;
use crate::model::parameters::Parameters;
use crate::torch_extra::Autocast;

/// Seed of all numbers of the checks.
pub(super) const SEED: u64 = 20_111;

/// Where and how to compute.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Setting {
    pub(super) device: Device,
    pub(super) arithmetic: Arithmetic,
    /// Each weight and input is multiplied by a number between 1 - jitter and 1 + jitter.
    jitter: f64,
}

impl Setting {
    /// What is to be judged.
    pub(super) fn new(device: Device, precision: DevicePrecision) -> Self {
        Self { device, arithmetic: precision.arithmetic(), jitter: 0.0 }
    }

    /// What it is compared with.
    pub(super) fn reference() -> Self {
        Self { device: Device::Cpu, arithmetic: Arithmetic::Fp64, jitter: 0.0 }
    }

    /// What says how much the same check loses elsewhere: in 64 bits with shaken numbers, and on a GPU also on the CPU.
    pub(super) fn yardsticks(device: Device, precision: DevicePrecision) -> Vec<Self> {
        let shaken = Self { jitter: precision.jitter(), ..Self::reference() };
        let arithmetic = match precision {
            DevicePrecision::Fp32 => Arithmetic::Fp32,
            DevicePrecision::Tf32 | DevicePrecision::Bf16 | DevicePrecision::Fp16 => Arithmetic::Bf16,
        };
        let cpu = Self { device: Device::Cpu, arithmetic, jitter: 0.0 };
        if device == Device::Cpu { vec![shaken] } else { vec![shaken, cpu] }
    }

    /// Type of weights and inputs.
    pub(super) fn kind(&self) -> Kind {
        self.arithmetic.kind()
    }

    /// Convolutions and products take the reduced type until the guard is dropped.
    pub(super) fn enter(&self) -> Option<Autocast> {
        self.arithmetic.enter(self.device)
    }

    /// Numbers from a normal distribution, the same ones on every device and in every type; `name` tells them apart.
    pub(super) fn normal(&self, name: u32, shape: &[i64]) -> Tensor {
        let mut values = vec![0.0; shape.iter().product::<i64>().max(0) as usize];
        numbers(name).add_gaussian(1.0, &mut values);
        self.place(name, &Tensor::from_slice(&values).reshape(shape))
    }

    /// A host tensor of floating-point numbers where and as this setting computes.
    pub(super) fn place(&self, name: u32, host: &Tensor) -> Tensor {
        self.shaken(name, &host.to_kind(Kind::Double)).to_kind(self.kind()).to_device(self.device)
    }

    /// Parameters for a network of this setting.
    pub(super) fn parameters(&self) -> Parameters {
        Parameters::new(self.device, self.kind(), SEED)
    }

    /// Shakes all parameters of a network, by nothing where the setting has no jitter.
    pub(super) fn shake(&self, parameters: &Parameters) -> Result<(), TrainError> {
        if self.jitter == 0.0 {
            return Ok(());
        }
        for (index, parameter) in (u32::MAX / 2..).zip(parameters.parameters()) {
            let shaken = self.shaken(index, &parameter.tensor.detach().to_kind(Kind::Double));
            tch::no_grad(|| parameter.tensor.shallow_clone().f_copy_(&shaken))?;
        }
        Ok(())
    }

    fn shaken(&self, name: u32, values: &Tensor) -> Tensor {
        if self.jitter == 0.0 {
            return values.shallow_clone();
        }
        let mut stream = stream(SEED, 1, name, 0, Purpose::Noise);
        let factors: Vec<f64> =
            (0..values.numel()).map(|_| 1.0 + stream.uniform_in([-self.jitter, self.jitter])).collect();
        values * Tensor::from_slice(&factors).reshape(values.size())
    }
}

fn numbers(name: u32) -> Stream {
    stream(SEED, 0, name, 0, Purpose::Noise)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_everywhere_and_shaken_ones_are_off_by_the_jitter() {
        let reference = Setting::reference();
        let exact = reference.normal(3, &[1000]);
        let single = Setting::new(Device::Cpu, DevicePrecision::Fp32).normal(3, &[1000]);
        assert_eq!(single.kind(), Kind::Float);
        assert_eq!(single.to_kind(Kind::Double), exact);
        assert_ne!(reference.normal(4, &[1000]), exact);

        let shaken = Setting::yardsticks(Device::Cpu, DevicePrecision::Bf16)[0].normal(3, &[1000]);
        let off = (shaken / &exact - 1.0).abs();
        assert!(off.max().double_value(&[]) <= 0.5_f64.powi(8) * 1.000_001);
        assert!(off.mean(Kind::Double).double_value(&[]) > 0.5_f64.powi(10));
    }
}
