//! `dtrain verify device`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// What can be typed after `dtrain verify device`.
#[derive(Debug, Args)]
pub struct VerifyDeviceArgs {
    /// Device to check
    #[arg(long, value_enum, default_value = "auto")]
    pub device: DeviceName,
    /// Precisions to check it in
    #[arg(long, value_enum, value_name = "NAME,...", value_delimiter = ',', default_value = "fp32,bf16")]
    pub precision: Vec<PrecisionName>,
    /// Leave the two largest networks out
    #[arg(long)]
    pub quick: bool,
    /// Write all numbers there as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceName {
    /// A GPU where there is one, else the CPU.
    Auto,
    /// The CPU.
    Cpu,
    /// The first GPU.
    Cuda,
}

/// Precisions of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PrecisionName {
    /// 32-bit floats.
    Fp32,
    /// 32-bit floats whose factors GPUs round to 10 bits of mantissa.
    Tf32,
    /// Autocast to bfloat16.
    Bf16,
    /// Autocast to 16-bit floats.
    Fp16,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Verb, VerifyTarget};
    use super::*;

    #[test]
    fn devices_are_verified_in_the_precisions_that_are_named() {
        let args = |words: &[&str]| match Cli::try_parse_from(words).unwrap().verb {
            Verb::Verify { what: VerifyTarget::Device(args) } => args,
            other => panic!("{other:?}"),
        };
        let plain = args(&["dtrain", "verify", "device"]);
        assert_eq!((plain.device, plain.quick), (DeviceName::Auto, false));
        assert_eq!(plain.precision, [PrecisionName::Fp32, PrecisionName::Bf16]);
        let typed = args(&["dtrain", "verify", "device", "--device", "cuda", "--precision", "tf32,fp16"]);
        assert_eq!(
            (typed.device, typed.precision),
            (DeviceName::Cuda, vec![PrecisionName::Tf32, PrecisionName::Fp16])
        );
        assert!(Cli::try_parse_from(["dtrain", "verify", "device", "--precision", "fp64"]).is_err());
    }
}
