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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tch::{Tensor, no_grad};

    use super::*;
    use crate::torch_extra::{GradientHooks, set_grad};

    const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

    fn wave(shape: &[i64], frequency: f64) -> Tensor {
        (Tensor::arange(shape.iter().product::<i64>(), FLOAT) * frequency).sin().reshape(shape)
    }

    fn enter() -> Autocast {
        Autocast::enter(Device::Cpu, Kind::BFloat16)
    }

    fn product() -> Kind {
        wave(&[3, 4], 0.3).matmul(&wave(&[4, 2], 0.7)).kind()
    }

    #[test]
    fn products_and_convolutions_are_bf16_under_the_guard() {
        let convolution = || {
            let (input, weight) = (wave(&[2, 3, 8, 8], 0.3), wave(&[4, 3, 3, 3], 0.7));
            input.conv2d(&weight, None::<&Tensor>, [1, 1], [1, 1], [1, 1], 1).kind()
        };
        assert_eq!((product(), convolution()), (Kind::Float, Kind::Float));
        {
            let _outer = enter();
            assert_eq!((product(), convolution()), (Kind::BFloat16, Kind::BFloat16));
            {
                let _loss = Autocast::off(Device::Cpu);
                assert_eq!((product(), convolution()), (Kind::Float, Kind::Float));
                let _inner = enter();
                assert_eq!(product(), Kind::BFloat16);
            }
            assert_eq!(product(), Kind::BFloat16);
            // What every thread does is its own affair.
            assert_eq!(std::thread::spawn(product).join().unwrap(), Kind::Float);
            let there = std::thread::spawn(|| {
                let _guard = enter();
                product()
            });
            assert_eq!(there.join().unwrap(), Kind::BFloat16);
        }
        assert_eq!(product(), Kind::Float);
    }

    #[test]
    fn gradients_are_f32_and_add_up_in_place() {
        let leaf = wave(&[8, 8], 0.7).set_requires_grad(true);
        let flat = Tensor::zeros([64], FLOAT);
        set_grad(&leaf, &flat.view([8, 8])).unwrap();
        let heard = Arc::new(AtomicUsize::new(0));
        let hears = Arc::clone(&heard);
        let _hooks = GradientHooks::new([&leaf], move |_| {
            hears.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
        let input = wave(&[4, 8], 0.3);
        for pass in 1..=2 {
            let output = {
                let _guard = enter();
                // Used twice: converted once, and still one gradient.
                input.matmul(&leaf).matmul(&leaf)
            };
            output.to_kind(Kind::Float).sum(Kind::Float).backward();
            assert_eq!(heard.load(Ordering::Relaxed), pass);
        }
        assert_eq!((leaf.grad().kind(), leaf.grad().data_ptr()), (Kind::Float, flat.data_ptr()));

        let exact = wave(&[8, 8], 0.7).set_requires_grad(true);
        (input.matmul(&exact).matmul(&exact).sum(Kind::Float) * 2.0).backward();
        let error = (flat.view([8, 8]) - exact.grad()).norm() / exact.grad().norm();
        assert!(error.double_value(&[]) < 1e-2, "{error}");
    }

    #[test]
    fn a_pass_without_gradients_takes_none_from_a_later_one() {
        let leaf = wave(&[8, 8], 0.7).set_requires_grad(true);
        let input = wave(&[4, 8], 0.3);
        let _outer = no_grad(|| {
            let guard = enter();
            let _ = input.matmul(&leaf);
            guard
        });
        let _guard = enter();
        let output = input.matmul(&leaf);
        assert!(output.requires_grad());
        output.to_kind(Kind::Float).sum(Kind::Float).backward();
        assert!(leaf.grad().norm().double_value(&[]) > 0.0);
    }

    #[test]
    fn weights_that_have_moved_are_converted_anew() {
        let leaf = wave(&[8, 8], 0.7).set_requires_grad(true);
        let input = Tensor::eye(8, FLOAT);
        let forward = || {
            let _guard = enter();
            input.matmul(&leaf).detach().to_kind(Kind::Float)
        };
        let before = forward();
        let _ = no_grad(|| leaf.shallow_clone().g_mul_scalar_(2.0));
        assert_eq!(forward(), before * 2.0);
    }
}
