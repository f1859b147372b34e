//! Tensors of libtorch as the types, shapes and bytes that a checkpoint knows, and back.

use tch::{Kind, Tensor};

use crate::checkpoint::{Dtype, TensorSpec};
use crate::error::TrainError;

/// The type of a tensor that is saved.
///
/// # Errors
/// A type that no component keeps.
pub fn dtype_of(kind: Kind) -> Result<Dtype, TrainError> {
    match kind {
        Kind::Float => Ok(Dtype::F32),
        Kind::Double => Ok(Dtype::F64),
        Kind::Int64 => Ok(Dtype::I64),
        other => Err(TrainError::internal(format!("tensors of {other:?} are not saved"))),
    }
}

/// libtorch's name of a type.
pub(super) fn kind_of(dtype: Dtype) -> Option<Kind> {
    match dtype {
        Dtype::F32 => Some(Kind::Float),
        Dtype::F64 => Some(Kind::Double),
        Dtype::I64 => Some(Kind::Int64),
        Dtype::F16 => Some(Kind::Half),
        Dtype::Bf16 => Some(Kind::BFloat16),
        Dtype::Bool | Dtype::U8 | Dtype::I8 | Dtype::I16 | Dtype::I32 => None,
    }
}

/// Name, type and shape of a tensor.
///
/// # Errors
/// A type that no component keeps.
pub fn spec_of(name: &str, shape: &[i64], kind: Kind) -> Result<TensorSpec, TrainError> {
    let shape = shape.iter().map(|&size| size as u64).collect();
    Ok(TensorSpec { name: name.into(), dtype: dtype_of(kind)?, shape })
}

/// A tensor of the bytes of a file.
///
/// # Errors
/// Types that this program has no use for; when memory runs out.
pub fn tensor_of(spec: &TensorSpec, bytes: &[u8]) -> Result<Tensor, TrainError> {
    let Some(kind) = kind_of(spec.dtype) else {
        return Err(TrainError::config(
            format!("tensors of {} are not supported", spec.dtype.name()),
            "convert the file to F32",
        ));
    };
    let shape: Vec<i64> = spec.shape.iter().map(|&size| size as i64).collect();
    Ok(Tensor::f_from_data_size(bytes, &shape, kind)?)
}

/// The bytes of a contiguous CPU tensor.
pub fn bytes_of(tensor: &Tensor) -> &[u8] {
    let len = tensor.numel() * tensor.kind().elt_size_in_bytes();
    if len == 0 {
        return &[];
    }
    // SAFETY: a contiguous CPU tensor holds `len` bytes at its data pointer, for as long as it is borrowed.
    unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<u8>(), len) }
}

/// Writes `value` into the memory of `target`, whoever else looks at it.
///
/// # Errors
/// When the shapes differ.
pub fn copy_into(target: &Tensor, value: &Tensor) -> Result<(), TrainError> {
    Ok(tch::no_grad(|| target.shallow_clone().f_copy_(value))?)
}
