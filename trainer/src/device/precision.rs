//! The fastest arithmetic that a device has for training.

use dtrain_configs::schema::Precision;
use tch::Device;

use super::CpuFeatures;

/// What `trainer.precision=auto` means on `device`, and why, in a few words. `compute_capability` is a GPU's.
pub fn default_precision(
    device: Device,
    compute_capability: Option<(i32, i32)>,
    features: &CpuFeatures,
) -> (Precision, String) {
    match (device, compute_capability) {
        (Device::Cpu, _) if features.has_bf16() => {
            (Precision::Bf16, format!("the CPU has {}", features.name()))
        }
        (Device::Cpu, _) => (Precision::Fp32, format!("the CPU has {}", features.name())),
        (_, Some((major, minor))) => {
            let precision = match major {
                8.. => Precision::Bf16,
                7 => Precision::Fp16,
                _ => Precision::Fp32,
            };
            let has = match precision {
                Precision::Bf16 => "bf16 matrix units",
                Precision::Fp16 => "fp16 matrix units, but none for bf16",
                _ => "no 16-bit matrix units",
            };
            (precision, format!("a GPU of compute capability {major}.{minor} has {has}"))
        }
        (_, None) => (Precision::Fp32, "the GPU's compute capability is unknown".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_device_gets_the_fastest_that_it_has() {
        let with = CpuFeatures { avx512_bf16: true, amx_bf16: false };
        let without = CpuFeatures::default();
        let gpu = |capability| default_precision(Device::Cuda(0), capability, &without);
        let cases = [
            (default_precision(Device::Cpu, None, &with), Precision::Bf16, "the CPU has avx512_bf16"),
            (
                default_precision(Device::Cpu, None, &without),
                Precision::Fp32,
                "the CPU has no bf16 instructions",
            ),
            (gpu(Some((9, 0))), Precision::Bf16, "a GPU of compute capability 9.0 has bf16 matrix units"),
            (gpu(Some((8, 0))), Precision::Bf16, "a GPU of compute capability 8.0 has bf16 matrix units"),
            (
                gpu(Some((7, 5))),
                Precision::Fp16,
                "a GPU of compute capability 7.5 has fp16 matrix units, but none for bf16",
            ),
            (
                gpu(Some((6, 1))),
                Precision::Fp32,
                "a GPU of compute capability 6.1 has no 16-bit matrix units",
            ),
            (gpu(None), Precision::Fp32, "the GPU's compute capability is unknown"),
        ];
        for ((precision, reason), expected, expected_reason) in cases {
            assert_eq!((precision, reason.as_str()), (expected, expected_reason));
        }
    }
}
