//! Convolutions and matrix products in a 16-bit type, everything else in the type of its inputs.

use std::ffi::c_int;
use std::marker::PhantomData;

use tch::{Device, Kind};

#[repr(C)]
#[derive(Debug, Clone, Copy)]
struct State {
    enabled: bool,
    cache: bool,
    dtype: c_int,
}

unsafe extern "C" {
    fn dtrain_autocast_enter(device_type: c_int, dtype: c_int) -> State;
    fn dtrain_autocast_leave(device_type: c_int, previous: State);
}

/// Number of a type in `c10::ScalarType`.
fn scalar_type(kind: Kind) -> Option<c_int> {
    match kind {
        Kind::Half => Some(5),
        Kind::BFloat16 => Some(15),
        _ => None,
    }
}

/// Number of a kind of device in `c10::DeviceType`, of those that have autocast here.
fn device_type(device: Device) -> Option<c_int> {
    match device {
        Device::Cpu => Some(0),
        Device::Cuda(_) => Some(1),
        _ => None,
    }
}

/// Autocast on this thread until dropped. Guards nest and are dropped in reverse order.
///
/// Weights are converted once per outermost guard and found again by later passes under it. Passes without gradients
/// need a guard of their own: what they convert has none.
#[must_use = "autocast ends when this is dropped"]
#[derive(Debug)]
pub struct Autocast {
    /// Device type and what was before; `None` where there is nothing to switch.
    outer: Option<(c_int, State)>,
    /// The state belongs to this thread.
    not_send: PhantomData<*const ()>,
}

impl Autocast {
    /// Operations that gain by it take `kind`, `BFloat16` or `Half`, on the kind of device that `device` is; another
    /// `kind` is as [`Autocast::off`].
    pub fn enter(device: Device, kind: Kind) -> Self {
        Self::switch(device, scalar_type(kind).unwrap_or(-1))
    }

    /// Operations take the type of their inputs, as without any guard: for losses under an outer guard.
    pub fn off(device: Device) -> Self {
        Self::switch(device, -1)
    }

    fn switch(device: Device, dtype: c_int) -> Self {
        let outer = device_type(device).map(|device_type| {
            // SAFETY: plain numbers; the device is one that libtorch has autocast for.
            (device_type, unsafe { dtrain_autocast_enter(device_type, dtype) })
        });
        Self { outer, not_send: PhantomData }
    }
}

impl Drop for Autocast {
    fn drop(&mut self) {
        if let Some((device_type, previous)) = self.outer {
            // SAFETY: plain numbers, which the call in `switch` on this thread has returned.
            unsafe { dtrain_autocast_leave(device_type, previous) };
        }
    }
}
