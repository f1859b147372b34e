//! Which GPUs this process may use.

use std::ffi::{CStr, c_int};

use cudarc::driver::sys::CUdevice_attribute_enum as Attribute;
use cudarc::driver::sys::CUuuid_st;

use super::driver::{CudaError, Driver, driver};

/// A GPU that this process may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gpu {
    /// Index among the GPUs that this process sees, as libtorch counts them.
    pub ordinal: usize,
    /// Name of the product.
    pub name: String,
    /// Identity of the device, the same for all processes of the node.
    pub uuid: [u8; 16],
    /// Memory in bytes.
    pub total_bytes: u64,
    /// Major and minor version of the architecture, such as (9, 0).
    pub compute_capability: (i32, i32),
}

/// Why there is no GPU, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NoGpu {
    reason: String,
}

impl From<CudaError> for NoGpu {
    fn from(error: CudaError) -> Self {
        Self { reason: format!("the CUDA driver says: {}", error.text) }
    }
}

/// The GPUs that this process may use, of which there is at least one.
///
/// `CUDA_VISIBLE_DEVICES` counts. Devices of the stand-in for tests, whose compute capability is 0.0, are left out.
///
/// # Errors
/// [`NoGpu`]: no driver, a driver that does not work, or no device.
pub fn gpus() -> Result<Vec<Gpu>, NoGpu> {
    let driver = driver().map_err(|unusable| NoGpu { reason: unusable.reason })?;
    initialize(driver)?;
    let mut gpus = Vec::new();
    for ordinal in 0..num_devices(driver)? {
        gpus.push(describe(driver, ordinal)?);
    }
    gpus.retain(|gpu| gpu.compute_capability > (0, 0));
    if gpus.is_empty() { Err(NoGpu { reason: "the CUDA driver sees no GPU".to_owned() }) } else { Ok(gpus) }
}

/// Starts the driver; calls after the first do nothing.
pub(crate) fn initialize(driver: &Driver) -> Result<(), CudaError> {
    // SAFETY: no requirements; the flags must be 0.
    driver.check(unsafe { (driver.init)(0) }, "cuInit")
}

/// Number of devices that this process sees.
pub(crate) fn num_devices(driver: &Driver) -> Result<usize, CudaError> {
    let mut count = 0;
    // SAFETY: the pointer is to a local.
    driver.check(unsafe { (driver.device_count)(&raw mut count) }, "cuDeviceGetCount")?;
    Ok(usize::try_from(count).unwrap_or_default())
}

/// The handle of a device.
pub(super) fn device(driver: &Driver, ordinal: usize) -> Result<c_int, CudaError> {
    let mut device = 0;
    let ordinal = c_int::try_from(ordinal).unwrap_or(c_int::MAX);
    // SAFETY: the pointer is to a local.
    driver.check(unsafe { (driver.device_get)(&raw mut device, ordinal) }, "cuDeviceGet")?;
    Ok(device)
}

/// Identity of a device.
pub(crate) fn uuid(driver: &Driver, ordinal: usize) -> Result<[u8; 16], CudaError> {
    let device = device(driver, ordinal)?;
    let mut uuid = CUuuid_st { bytes: [0; 16] };
    // SAFETY: the pointer is to a local.
    driver.check(unsafe { (driver.device_uuid)(&raw mut uuid, device) }, "cuDeviceGetUuid")?;
    Ok(uuid.bytes.map(|byte| u8::from_ne_bytes(byte.to_ne_bytes())))
}

/// The identity as `nvidia-smi -L` writes it.
pub(crate) fn format_uuid(uuid: &[u8; 16]) -> String {
    let hex: String = uuid.iter().map(|byte| format!("{byte:02x}")).collect();
    let (a, rest) = hex.split_at(8);
    let (b, rest) = rest.split_at(4);
    let (c, rest) = rest.split_at(4);
    let (d, e) = rest.split_at(4);
    format!("GPU-{a}-{b}-{c}-{d}-{e}")
}

fn describe(driver: &Driver, ordinal: usize) -> Result<Gpu, CudaError> {
    let device = device(driver, ordinal)?;
    let mut name = [0_u8; 256];
    // SAFETY: `name` has room for as many bytes as are passed.
    let status = unsafe { (driver.device_name)(name.as_mut_ptr().cast(), 256, device) };
    driver.check(status, "cuDeviceGetName")?;
    let name = CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into_owned());
    let mut bytes = 0_usize;
    // SAFETY: the pointer is to a local.
    driver.check(unsafe { (driver.device_bytes)(&raw mut bytes, device) }, "cuDeviceTotalMem")?;
    let attribute = |which: Attribute| {
        let mut value = 0;
        // SAFETY: the pointer is to a local.
        let status = unsafe { (driver.device_attribute)(&raw mut value, which as u32, device) };
        driver.check(status, "cuDeviceGetAttribute").map(|()| value)
    };
    let major = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
    let minor = attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
    Ok(Gpu {
        ordinal,
        name: name.unwrap_or_default(),
        uuid: uuid(driver, ordinal)?,
        total_bytes: bytes as u64,
        compute_capability: (major, minor),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_written_as_nvidia_smi_does() {
        let uuid = std::array::from_fn(|index| index as u8 * 17);
        assert_eq!(format_uuid(&uuid), "GPU-00112233-4455-6677-8899-aabbccddeeff");
    }

    #[test]
    fn the_answer_is_a_list_or_one_line() {
        match gpus() {
            Ok(gpus) => assert!(!gpus.is_empty()),
            Err(reason) => {
                assert!(!reason.to_string().is_empty() && !reason.to_string().contains('\n'), "{reason}");
            }
        }
    }
}
