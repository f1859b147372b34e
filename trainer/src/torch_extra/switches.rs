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

/// Algorithms that give the same bits each time, on GPUs too: an operator that has none there is an error with its name.
/// Without, cuDNN takes the fastest ones by trial. cuBLAS follows its environment; see [`cublas_problem`].
pub fn set_deterministic(deterministic: bool) {
    // SAFETY: sets fields of libtorch's global context.
    unsafe { dtrain_set_deterministic(deterministic) }
}

/// The variable by which cuBLAS chooses the memory that its kernels share.
pub const CUBLAS_WORKSPACE: &str = "CUBLAS_WORKSPACE_CONFIG";

/// What is wrong with a value of [`CUBLAS_WORKSPACE`] for deterministic work on a GPU. libtorch refuses the first matrix product
/// unless it is one of two.
pub fn cublas_problem(value: Option<&str>) -> Option<String> {
    match value {
        Some(":4096:8" | ":16:8") => None,
        Some(other) => Some(format!("`{CUBLAS_WORKSPACE}={other}` lets cuBLAS add up in any order")),
        None => Some(format!("without `{CUBLAS_WORKSPACE}` cuBLAS may add up in any order")),
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;
    use crate::torch_extra::cuda_contract::observed;

    #[test]
    fn what_is_not_deterministic_is_refused_by_name_and_new_memory_is_left_alone() {
        set_deterministic(true);
        let (mut tensor, index) =
            (Tensor::zeros([4], (Kind::Float, Device::Cpu)), Tensor::from_slice(&[1_i64]));
        // One of the few that are not on a CPU either: which of two equal places wins is open.
        let error = tensor.f_put_(&index, &Tensor::from_slice(&[1.0_f32]), false).unwrap_err();
        assert!(error.to_string().contains("put_ does not have a deterministic implementation"), "{error}");
        let (_, seen) = observed(|| Tensor::empty([4], (Kind::Float, Device::Cpu)));
        assert_eq!((seen.calls("empty"), seen.calls("fill_")), (1, 0));
    }

    #[test]
    fn cublas_is_deterministic_with_two_values_only() {
        assert_eq!([":4096:8", ":16:8"].map(|value| cublas_problem(Some(value))), [None, None]);
        for other in [None, Some(""), Some(":4096:2:16:8")] {
            assert!(cublas_problem(other).unwrap().contains(CUBLAS_WORKSPACE));
        }
    }
}
