//! GPUs: loading libtorch's part for them, streams, events, and copies that nobody waits for. One binary serves machines
//! with and without GPUs, so everything here answers on a CPU too.

use std::ffi::{c_char, c_int, c_void};
use std::time::Instant;

use tch::{Device, Kind, TchError, Tensor};
use torch_sys::C_tensor;

use super::check;

unsafe extern "C" {
    fn dtrain_load_cuda() -> *mut c_char;
    fn dtrain_num_gpus(num_gpus: *mut c_int) -> *mut c_char;
    fn dtrain_current_stream(device_index: c_int, stream: *mut *mut c_void) -> *mut c_char;
    fn dtrain_event_new(timing: bool, event: *mut *mut c_void) -> *mut c_char;
    fn dtrain_event_free(event: *mut c_void);
    fn dtrain_event_record(event: *mut c_void, device_index: c_int) -> *mut c_char;
    fn dtrain_event_query(event: *const c_void, done: *mut bool) -> *mut c_char;
    fn dtrain_event_synchronize(event: *const c_void) -> *mut c_char;
    fn dtrain_event_elapsed_ms(begin: *const c_void, end: *const c_void, ms: *mut f64) -> *mut c_char;
    fn dtrain_copy_to_host(source: *const C_tensor, host: *mut *mut C_tensor) -> *mut c_char;
}

/// Loads libtorch_cuda. Must come before anything asks libtorch for a GPU (tch's `Cuda::is_available` and
/// `Device::cuda_if_available` do), and costs half a second and 230 MB: ask the driver for GPUs first. Further calls do
/// nothing.
///
/// # Errors
/// When the library or one that it needs cannot be loaded, with the dynamic linker's reason, or when it sees no GPU.
pub fn load_cuda() -> Result<(), TchError> {
    // SAFETY: no arguments; what it loads belongs to the libtorch that this program runs on.
    check(unsafe { dtrain_load_cuda() })
}

/// GPUs that libtorch sees; 0 before [`load_cuda`]. Asks libtorch for GPUs: see there.
///
/// # Errors
/// What libtorch says where it cannot tell.
pub fn num_gpus() -> Result<usize, TchError> {
    let mut num_gpus = 0;
    // SAFETY: the pointer is to a local.
    check(unsafe { dtrain_num_gpus(&mut num_gpus) })?;
    Ok(usize::try_from(num_gpus).unwrap_or(0))
}

/// Index of a GPU.
pub(super) fn gpu_index(device: Device) -> Option<c_int> {
    match device {
        Device::Cuda(index) => Some(c_int::try_from(index).unwrap_or(c_int::MAX)),
        _ => None,
    }
}

/// The native handle (`cudaStream_t`) of the stream on which this thread's operations on `device` run; null for a CPU
/// and for CUDA's default stream.
///
/// # Errors
/// When libtorch_cuda is not loaded.
pub fn current_stream(device: Device) -> Result<*mut c_void, TchError> {
    let mut stream = std::ptr::null_mut();
    if let Some(index) = gpu_index(device) {
        // SAFETY: `stream` is written before the call returns.
        check(unsafe { dtrain_current_stream(index, &mut stream) })?;
    }
    Ok(stream)
}

/// A point in a device's queue of operations. A CPU does each operation at once, so its events are past when recorded.
#[derive(Debug)]
pub struct Event {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Host(Option<Instant>),
    Gpu { event: *mut c_void, index: c_int },
}

// SAFETY: a CUDA event may be used and freed on any thread, and `record` borrows it exclusively.
unsafe impl Send for Event {}

impl Event {
    /// An event for `device`; `timing` for [`Event::elapsed_ms`], which costs a little.
    ///
    /// # Errors
    /// When libtorch_cuda is not loaded.
    pub fn new(device: Device, timing: bool) -> Result<Self, TchError> {
        let Some(index) = gpu_index(device) else { return Ok(Self { inner: Inner::Host(None) }) };
        let mut event = std::ptr::null_mut();
        // SAFETY: `event` is written before the call returns.
        check(unsafe { dtrain_event_new(timing, &mut event) })?;
        Ok(Self { inner: Inner::Gpu { event, index } })
    }

    /// Takes an event that C++ has made for GPU `index`.
    ///
    /// # Safety
    /// `event` came from C++ and belongs to nobody else.
    pub(super) unsafe fn from_raw(event: *mut c_void, index: c_int) -> Self {
        Self { inner: Inner::Gpu { event, index } }
    }

    /// For C++; null on a CPU.
    pub(super) fn as_raw(&self) -> *const c_void {
        match &self.inner {
            Inner::Host(_) => std::ptr::null(),
            Inner::Gpu { event, .. } => *event,
        }
    }

    /// Marks the end of what this thread has given the device so far.
    ///
    /// # Errors
    /// When the device has failed.
    pub fn record(&mut self) -> Result<(), TchError> {
        match &mut self.inner {
            Inner::Host(at) => {
                *at = Some(Instant::now());
                Ok(())
            }
            // SAFETY: the event lives as long as `self`, which is borrowed exclusively.
            Inner::Gpu { event, index } => check(unsafe { dtrain_event_record(*event, *index) }),
        }
    }

    /// Whether the device has got there; true before the first record.
    ///
    /// # Errors
    /// When the device has failed.
    pub fn query(&self) -> Result<bool, TchError> {
        let mut done = true;
        if let Inner::Gpu { event, .. } = &self.inner {
            // SAFETY: the event lives as long as `self`; `done` is written before the call returns.
            check(unsafe { dtrain_event_query(*event, &mut done) })?;
        }
        Ok(done)
    }

    /// Waits until the device has got there.
    ///
    /// # Errors
    /// When the device has failed.
    pub fn synchronize(&self) -> Result<(), TchError> {
        match &self.inner {
            Inner::Host(_) => Ok(()),
            // SAFETY: the event lives as long as `self`.
            Inner::Gpu { event, .. } => check(unsafe { dtrain_event_synchronize(*event) }),
        }
    }

    /// Milliseconds from `self` to `later`, both recorded with timing and past.
    ///
    /// # Errors
    /// When they are not, or belong to different kinds of devices.
    pub fn elapsed_ms(&self, later: &Event) -> Result<f64, TchError> {
        match (&self.inner, &later.inner) {
            (Inner::Host(Some(begin)), Inner::Host(Some(end))) => {
                Ok(end.saturating_duration_since(*begin).as_secs_f64() * 1e3)
            }
            (Inner::Gpu { event: begin, .. }, Inner::Gpu { event: end, .. }) => {
                let mut milliseconds = 0.0;
                // SAFETY: both events live for the time of the call.
                check(unsafe { dtrain_event_elapsed_ms(*begin, *end, &mut milliseconds) })?;
                Ok(milliseconds)
            }
            _ => Err(TchError::Torch(
                "the time between events takes two recorded ones of one kind of device".into(),
            )),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Inner::Gpu { event, .. } = self.inner {
            // SAFETY: the event came from `dtrain_event_new` and is given back once.
            unsafe { dtrain_event_free(event) };
        }
    }
}

/// A few values of a device on their way to the host, so that nobody has to wait for the device.
#[derive(Debug)]
pub struct HostCopy {
    state: Copying,
}

#[derive(Debug)]
enum Copying {
    Done(Vec<f64>),
    Underway { host: Tensor, event: Event },
}

impl HostCopy {
    /// Starts to copy `source`, of any shape and type, as it is now: later changes are not seen.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn start(source: &Tensor) -> Result<Self, TchError> {
        let device = source.device();
        if gpu_index(device).is_none() {
            return Ok(Self { state: Copying::Done(values(source)?) });
        }
        let mut event = Event::new(device, false)?;
        let mut host = std::ptr::null_mut();
        // SAFETY: the tensor is valid for the time of the call, which makes a new one.
        check(unsafe { dtrain_copy_to_host(source.as_ptr(), &mut host) })?;
        // SAFETY: a call without a message has made a new tensor, which this side owns.
        let host = unsafe { Tensor::from_ptr(host) };
        event.record()?;
        Ok(Self { state: Copying::Underway { host, event } })
    }

    /// Whether [`HostCopy::wait`] would return at once.
    ///
    /// # Errors
    /// When the device has failed.
    pub fn is_done(&self) -> Result<bool, TchError> {
        match &self.state {
            Copying::Done(_) => Ok(true),
            Copying::Underway { event, .. } => event.query(),
        }
    }

    /// The values, in logical order.
    ///
    /// # Errors
    /// When the device has failed.
    pub fn wait(self) -> Result<Vec<f64>, TchError> {
        match self.state {
            Copying::Done(values) => Ok(values),
            Copying::Underway { host, event } => {
                event.synchronize()?;
                values(&host)
            }
        }
    }
}

fn values(host: &Tensor) -> Result<Vec<f64>, TchError> {
    Vec::try_from(host.detach().f_to_kind(Kind::Double)?.f_flatten(0, -1)?)
}

#[cfg(test)]
mod tests {
    use dtrain_test_skip::skipped;

    use super::*;

    const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

    #[test]
    fn a_copy_is_what_the_tensor_was() {
        let mut source = Tensor::arange(6, FLOAT).reshape([2, 3]).transpose(0, 1);
        let copy = HostCopy::start(&source).unwrap();
        let _ = source.fill_(-1.0);
        assert!(copy.is_done().unwrap());
        assert_eq!(copy.wait().unwrap(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let scalar = Tensor::from(2.5f64).set_requires_grad(true);
        assert_eq!(HostCopy::start(&scalar).unwrap().wait().unwrap(), [2.5]);
        assert!(HostCopy::start(&Tensor::zeros([0], FLOAT)).unwrap().wait().unwrap().is_empty());
    }

    #[test]
    fn a_cpu_is_always_there() {
        assert!(current_stream(Device::Cpu).unwrap().is_null());

        let (mut begin, mut end) =
            (Event::new(Device::Cpu, true).unwrap(), Event::new(Device::Cpu, true).unwrap());
        assert!(begin.elapsed_ms(&end).is_err());
        begin.record().unwrap();
        end.record().unwrap();
        end.synchronize().unwrap();
        assert!(end.query().unwrap());
        assert!(begin.elapsed_ms(&end).unwrap() >= 0.0);
    }

    #[test]
    fn loading_ends_with_a_gpu_or_with_the_reason() {
        match load_cuda() {
            Ok(()) => assert!(num_gpus().unwrap() > 0),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(".so"), "no library is named: {text}");
                assert_eq!(num_gpus().unwrap(), 0);
            }
        }
    }

    #[test]
    fn what_needs_a_gpu_says_so_where_there_is_none() {
        if num_gpus().unwrap() > 0 {
            return skipped("this machine has a GPU");
        }
        let gpu = Device::Cuda(0);
        let refusals = [Event::new(gpu, false).map(|_| ()), current_stream(gpu).map(|_| ())];
        for refusal in refusals {
            assert!(refusal.is_err());
        }
    }
}
