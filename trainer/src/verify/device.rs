//! Does a device compute what the CPU computes in 64 bits? Every loss, every network, whole steps of every method, the
//! optimizers and views of images, in each precision, forward and backward. What must not depend on rounding at all (a skipped step, a
//! deferred outcome, a repeated step) is compared bit for bit.
//!
//! # Tolerances
//! Errors are |a - b| / |b| in the Euclidean norm, b being the 64-bit result, of all outputs of a check as one vector, of
//! all gradients as one vector, and of each gradient by itself.
//!
//! | | outputs | gradients |
//! |---|---|---|
//! | `fp32` | 1e-5 | 1e-4 |
//! | `tf32`, `bf16`, `fp16` | 2e-2 | 5e-2 |
//!
//! Dot products of a few thousand terms lose two to three digits of fp32, backward through a deep network one more. A
//! network can be worse conditioned than that: batch norm over few values divides by small deviations, and a ReLU that
//! changes sides changes gradients at once. So a tolerance grows to ten times what this very check loses elsewhere in the
//! same run, the *yardstick*: in 64 bits with each weight and input off by a rounding of the precision, and on a GPU also on
//! the CPU in the same precision (in bf16 for `tf32` and `fp16`). It never exceeds 0.75: zeros are off by 1.
//!
//! A gradient that is zero by construction, such as that of a bias in front of batch norm, is nothing but rounding; it
//! counts in the vector of all gradients and is not judged by itself.

mod compare;
mod losses;
mod models;
mod optimizers;
mod precision;
mod setting;
mod steps;
mod uploads;
mod views;

use dtrain_configs::schema::DeviceChoice;
use serde::Serialize;
use tch::Device;

pub use compare::{Quantity, Row as DeviceRow};
pub use precision::DevicePrecision;

use crate::device::{CpuFeatures, be_deterministic, load_cuda};
use crate::error::TrainError;
use crate::torch_extra::set_tf32;
use compare::{Compared, ZERO_BY_CONSTRUCTION, judge};
use setting::Setting;

/// What to check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRequest {
    /// Which device; `auto` takes a GPU where there is one.
    pub device: DeviceChoice,
    /// In which precisions, each by itself.
    pub precisions: Vec<DevicePrecision>,
    /// Leave the two largest networks out.
    pub quick: bool,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceFigures {
    /// Name of the GPU, or `cpu`.
    pub device: String,
    /// 16-bit arithmetic of the CPU that it was compared with.
    pub cpu: &'static str,
    /// Whether the two largest networks were left out.
    pub quick: bool,
    /// One row per check, precision and quantity.
    pub rows: Vec<DeviceRow>,
    /// Rows beyond their tolerance.
    pub num_beyond: usize,
    /// Gradients that are zero by construction, which are not judged one by one.
    pub zero_by_construction: Vec<String>,
}

/// A computation that is the same on every device and in every precision, up to rounding.
type Compute<'a> = Box<dyn Fn(&Setting) -> Result<Compared, TrainError> + 'a>;

/// A named computation.
struct Check<'a> {
    name: String,
    compute: Compute<'a>,
}

impl<'a> Check<'a> {
    fn new(name: impl Into<String>, compute: impl Fn(&Setting) -> Result<Compared, TrainError> + 'a) -> Self {
        Self { name: name.into(), compute: Box::new(compute) }
    }
}

/// Runs all checks; `say` hears the name of each before it starts.
///
/// # Errors
/// When there is no such device, it cannot be used, or memory runs out. A result beyond its tolerance is no error.
pub fn device(request: &DeviceRequest, say: &dyn Fn(&str)) -> Result<DeviceFigures, TrainError> {
    let (device, name) = open(request.device)?;
    be_deterministic(true, device)?;
    let mut figures = DeviceFigures {
        device: name,
        cpu: CpuFeatures::detect().name(),
        quick: request.quick,
        rows: Vec::new(),
        num_beyond: 0,
        zero_by_construction: Vec::new(),
    };
    let mut checks = losses::checks();
    checks.extend(models::checks(request.quick));
    checks.extend(steps::checks());
    checks.extend(optimizers::checks());
    checks.extend(views::checks());
    for check in &checks {
        parity(check, device, &request.precisions, &mut figures, say)?;
    }
    for &precision in &request.precisions {
        let setting = Setting::new(device, precision);
        set_tf32(precision == DevicePrecision::Tf32);
        say(&format!("bits, {}", precision.name()));
        figures.rows.extend(steps::exact(&setting, precision)?);
        figures.rows.extend(optimizers::exact(&setting, precision)?);
        figures.rows.extend(models::exact(&setting, precision)?);
        figures.rows.extend(uploads::exact(&setting, precision)?);
    }
    set_tf32(false);
    figures.zero_by_construction.sort();
    figures.zero_by_construction.dedup();
    figures.num_beyond = figures.rows.iter().filter(|row| !row.passed).count();
    Ok(figures)
}

/// One check in all precisions against 64 bits.
fn parity(
    check: &Check<'_>,
    device: Device,
    precisions: &[DevicePrecision],
    figures: &mut DeviceFigures,
    say: &dyn Fn(&str),
) -> Result<(), TrainError> {
    say(&check.name);
    set_tf32(false);
    let reference = (check.compute)(&Setting::reference())?;
    let zero = reference.negligible_gradients(ZERO_BY_CONSTRUCTION);
    figures.zero_by_construction.extend(zero.iter().map(|tensor| format!("{}: {tensor}", check.name)));
    for &precision in precisions {
        let yardsticks = Setting::yardsticks(device, precision);
        let yardsticks =
            yardsticks.iter().map(|setting| (check.compute)(setting)).collect::<Result<Vec<_>, _>>()?;
        set_tf32(precision == DevicePrecision::Tf32);
        let measured = (check.compute)(&Setting::new(device, precision))?;
        set_tf32(false);
        figures.rows.extend(judge(&check.name, precision, &reference, &measured, &yardsticks));
    }
    Ok(())
}

/// The device and its name.
fn open(choice: DeviceChoice) -> Result<(Device, String), TrainError> {
    let cpu = (Device::Cpu, "cpu".to_owned());
    if choice == DeviceChoice::Cpu {
        return Ok(cpu);
    }
    let reason = match dtrain_comm::gpus() {
        Ok(gpus) => match gpus.first() {
            Some(gpu) => {
                load_cuda().map_err(|reason| {
                    TrainError::environment(
                        format!("libtorch cannot use the GPU {}: {reason}", gpu.name),
                        "install libtorch with CUDA (`scripts/setup.sh --gpu`), or use `--device cpu`",
                    )
                })?;
                return Ok((Device::Cuda(gpu.ordinal), gpu.name.clone()));
            }
            None => "no GPU is visible".to_owned(),
        },
        Err(reason) => reason.to_string(),
    };
    if choice == DeviceChoice::Cuda {
        return Err(TrainError::environment(
            format!("there is no GPU: {reason}"),
            "use `--device cpu`, or start on a machine with a GPU and its driver",
        ));
    }
    Ok(cpu)
}

#[cfg(test)]
mod tests {
    use dtrain_test_skip::skipped;

    use super::*;

    #[test]
    fn a_cpu_agrees_with_itself_in_every_precision() {
        tch::set_num_threads(1);
        let mut figures = DeviceFigures {
            device: "cpu".into(),
            cpu: "",
            quick: true,
            rows: Vec::new(),
            num_beyond: 0,
            zero_by_construction: Vec::new(),
        };
        let precisions = [DevicePrecision::Fp32, DevicePrecision::Bf16];
        let mut checks = losses::checks();
        checks.extend(steps::checks());
        checks.extend(optimizers::checks());
        for check in &checks {
            parity(check, Device::Cpu, &precisions, &mut figures, &|_| ()).unwrap();
        }
        let beyond: Vec<&DeviceRow> = figures.rows.iter().filter(|row| !row.passed).collect();
        assert!(beyond.is_empty(), "{beyond:#?}");
        assert!(figures.rows.len() > 2 * checks.len());
        // Rounding happened: a check that compares a thing with itself would report zeros.
        let exact: Vec<&DeviceRow> = figures.rows.iter().filter(|row| row.error == 0.0).collect();
        assert!(exact.is_empty(), "{exact:#?}");
    }

    #[test]
    fn a_machine_without_a_gpu_says_so() {
        if dtrain_comm::gpus().is_ok_and(|gpus| !gpus.is_empty()) {
            return skipped("this machine has a GPU");
        }
        let error = open(DeviceChoice::Cuda).unwrap_err();
        assert!(error.to_string().starts_with("there is no GPU: "), "{error}");
        assert_eq!(error.class(), crate::ErrorClass::Environment);
        assert_eq!(open(DeviceChoice::Auto).unwrap().0, Device::Cpu);
    }
}
