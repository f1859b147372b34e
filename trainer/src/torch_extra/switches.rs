//! Global switches of libtorch that are for GPUs. They may be set on any machine.

unsafe extern "C" {
    fn dtrain_set_tf32(allowed: bool);
    fn dtrain_set_deterministic(deterministic: bool);
}

/// Whether GPUs may round the factors of fp32 matrix products and convolutions to TF32.
pub fn set_tf32(allowed: bool) {
    // SAFETY: sets fields of libtorch's global context.
    unsafe { dtrain_set_tf32(allowed) }
}

/// cuDNN's deterministic algorithms, or, without, the fastest ones by trial.
pub fn set_deterministic(deterministic: bool) {
    // SAFETY: sets fields of libtorch's global context.
    unsafe { dtrain_set_deterministic(deterministic) }
}
