//! Contexts, streams and events as values that clean up after themselves.

use std::sync::{Arc, Mutex, PoisonError};

use cudarc::driver::sys::{CUcontext, CUdevice, CUevent, CUstream};

use super::driver::{CudaError, Driver, NOT_READY, SUCCESS};
use super::gpus;

/// `CU_STREAM_NON_BLOCKING`: no implicit order with the legacy default stream.
const NON_BLOCKING: u32 = 1;
/// `CU_EVENT_DISABLE_TIMING`, without which recording costs more.
const DISABLE_TIMING: u32 = 2;

/// The primary context of a device, which libtorch uses too.
#[derive(Debug)]
pub(crate) struct Context {
    driver: &'static Driver,
    device: CUdevice,
    handle: CUcontext,
}

// SAFETY: the driver lets any thread use a context's handle.
unsafe impl Send for Context {}
// SAFETY: as above; the handle is never changed.
unsafe impl Sync for Context {}

impl Context {
    /// Retains the context of a device.
    pub(crate) fn retain(driver: &'static Driver, ordinal: usize) -> Result<Arc<Self>, CudaError> {
        let device = gpus::device(driver, ordinal)?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the pointer is to a local.
        let status = unsafe { (driver.context_retain)(&raw mut handle, device) };
        driver.check(status, "cuDevicePrimaryCtxRetain")?;
        Ok(Arc::new(Self { driver, device, handle }))
    }

    /// The driver's functions.
    pub(super) fn driver(&self) -> &'static Driver {
        self.driver
    }

    /// Makes the context that of the calling thread, as most other calls need it.
    pub(crate) fn make_current(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained.
        self.driver.check(unsafe { (self.driver.context_set_current)(self.handle) }, "cuCtxSetCurrent")
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: retained once by this value. An error at the end of a process has no consequence.
        unsafe { (self.driver.context_release)(self.device) };
    }
}

/// An order of work on a device.
#[derive(Debug)]
pub(crate) struct Stream {
    context: Arc<Context>,
    handle: CUstream,
    /// The default stream is the context's own.
    is_owned: bool,
}

// SAFETY: the driver lets any thread use a stream's handle.
unsafe impl Send for Stream {}
// SAFETY: as above; the handle is never changed.
unsafe impl Sync for Stream {}

impl Stream {
    /// The legacy default stream, on which libtorch computes.
    pub(crate) fn legacy(context: &Arc<Context>) -> Self {
        Self { context: context.clone(), handle: std::ptr::null_mut(), is_owned: false }
    }

    /// A stream without order to any other and with the highest priority, so that communication starts between the
    /// kernels of the computation. The context is current.
    pub(crate) fn new(context: &Arc<Context>) -> Result<Self, CudaError> {
        let driver = context.driver;
        let (mut least, mut greatest) = (0, 0);
        // SAFETY: the pointers are to locals.
        let status = unsafe { (driver.stream_priorities)(&raw mut least, &raw mut greatest) };
        driver.check(status, "cuCtxGetStreamPriorityRange")?;
        let mut handle = std::ptr::null_mut();
        // SAFETY: the pointer is to a local.
        let status = unsafe { (driver.stream_create)(&raw mut handle, NON_BLOCKING, greatest) };
        driver.check(status, "cuStreamCreate")?;
        Ok(Self { context: context.clone(), handle, is_owned: true })
    }

    /// The handle, which is valid as long as this value.
    pub(crate) fn handle(&self) -> CUstream {
        self.handle
    }

    /// Whether all of its work is complete. The context is current.
    ///
    /// # Errors
    /// An error of that work, or of any before it.
    pub(crate) fn is_idle(&self) -> Result<bool, CudaError> {
        let driver = self.context.driver;
        // SAFETY: the handle is valid.
        match unsafe { (driver.stream_query)(self.handle) } {
            SUCCESS => Ok(true),
            NOT_READY => Ok(false),
            code => driver.check(code, "cuStreamQuery").map(|()| true),
        }
    }

    /// Orders what comes next on this stream after the last record of `event`. The context is current.
    pub(crate) fn wait(&self, event: &Event) -> Result<(), CudaError> {
        let driver = self.context.driver;
        // SAFETY: both handles are valid; the flags must be 0.
        let status = unsafe { (driver.stream_wait_event)(self.handle, event.handle, 0) };
        driver.check(status, "cuStreamWaitEvent")
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.is_owned {
            // SAFETY: created by this value; work on it goes on to its end.
            unsafe { (self.context.driver.stream_destroy)(self.handle) };
        }
    }
}

/// A place in a stream's work.
#[derive(Debug)]
pub(crate) struct Event {
    context: Arc<Context>,
    handle: CUevent,
}

// SAFETY: the driver lets any thread use an event's handle.
unsafe impl Send for Event {}
// SAFETY: as above; the handle is never changed.
unsafe impl Sync for Event {}

impl Event {
    fn new(context: &Arc<Context>) -> Result<Self, CudaError> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: the pointer is to a local.
        let status = unsafe { (context.driver.event_create)(&raw mut handle, DISABLE_TIMING) };
        context.driver.check(status, "cuEventCreate")?;
        Ok(Self { context: context.clone(), handle })
    }

    /// Marks the end of the stream's present work. The context is current.
    pub(crate) fn record(&self, stream: &Stream) -> Result<(), CudaError> {
        let driver = self.context.driver;
        // SAFETY: both handles are valid.
        driver.check(unsafe { (driver.event_record)(self.handle, stream.handle) }, "cuEventRecord")
    }

    /// Whether the work before the last record is complete. The context is current.
    ///
    /// # Errors
    /// An error of that work, or of any before it.
    pub(crate) fn is_reached(&self) -> Result<bool, CudaError> {
        let driver = self.context.driver;
        // SAFETY: the handle is valid.
        match unsafe { (driver.event_query)(self.handle) } {
            SUCCESS => Ok(true),
            NOT_READY => Ok(false),
            code => driver.check(code, "cuEventQuery").map(|()| true),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: created by this value; waits for it that were enqueued stay valid.
        unsafe { (self.context.driver.event_destroy)(self.handle) };
    }
}

/// Events that are used again and again.
#[derive(Debug)]
pub(crate) struct EventPool {
    context: Arc<Context>,
    free: Mutex<Vec<Event>>,
}

impl EventPool {
    /// An empty pool.
    pub(crate) fn new(context: &Arc<Context>) -> Arc<Self> {
        Arc::new(Self { context: context.clone(), free: Mutex::default() })
    }

    /// An event that nobody else uses. The context is current.
    pub(crate) fn take(&self) -> Result<Event, CudaError> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.map_or_else(|| Event::new(&self.context), Ok)
    }

    /// Takes back an event whose last record has been reached or is waited for.
    pub(crate) fn give_back(&self, event: Event) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(event);
    }
}
