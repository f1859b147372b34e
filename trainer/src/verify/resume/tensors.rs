//! Two files of tensors.

use super::{Part, RESUME_TOLERANCE, Strictness};
use crate::checkpoint::{CheckpointError, Dtype, TensorFile, TensorView};
use crate::error::TrainError;

/// Differences that are told one by one.
const NUM_TOLD: usize = 3;

/// Compares tensor by tensor, in the order of the file.
pub(super) fn compare(
    name: &str,
    one: Vec<u8>,
    other: Vec<u8>,
    strictness: Strictness,
) -> Result<Part, TrainError> {
    let parse = |bytes| TensorFile::parse(bytes).map_err(CheckpointError::from);
    let (one, other) = (parse(one)?, parse(other)?);
    let num_tensors = one.tensors().count();
    let num_elements: u64 = one.tensors().map(|view| view.spec.shape.iter().product::<u64>()).sum();
    let mut differences = Vec::new();
    let mut whole = Distance::default();
    for view in one.tensors() {
        let Ok(twin) = other.tensor(&view.spec.name) else {
            differences.push(format!("`{}` is missing", view.spec.name));
            continue;
        };
        if view.spec != twin.spec {
            differences.push(format!(
                "`{}` is {} {:?} and {} {:?}",
                view.spec.name,
                view.spec.dtype.name(),
                view.spec.shape,
                twin.spec.dtype.name(),
                twin.spec.shape
            ));
        } else if view.bytes != twin.bytes {
            match strictness {
                Strictness::Bits => differences.push(differing_bits(&view, &twin)),
                Strictness::Samples if !whole.add(&view, &twin) => {
                    differences.push(differing_bits(&view, &twin));
                }
                Strictness::Samples => {}
            }
        } else if strictness == Strictness::Samples {
            whole.add(&view, &twin);
        }
    }
    let more = other.tensors().filter(|view| one.tensor(&view.spec.name).is_err());
    differences.extend(more.map(|view| format!("`{}` is there only after the resume", view.spec.name)));
    let mut compared = format!("{num_tensors} tensors, {num_elements} elements");
    if strictness == Strictness::Samples {
        let relative = whole.relative();
        compared.push_str(&format!(", relative difference {relative:.1e}"));
        if relative.is_nan() || relative > RESUME_TOLERANCE {
            differences.push(format!("relative difference {relative:.1e} is beyond {RESUME_TOLERANCE:.0e}"));
        }
    }
    if differences.len() > NUM_TOLD {
        let rest = differences.len() - NUM_TOLD;
        differences.truncate(NUM_TOLD);
        differences.push(format!("{rest} more"));
    }
    Ok(Part::new(name, compared, differences))
}

/// `backbone.conv1.weight`: 12 of 432 elements, 57 bits.
fn differing_bits(one: &TensorView<'_>, other: &TensorView<'_>) -> String {
    let width = one.spec.dtype.num_bytes() as usize;
    let elements = one.bytes.chunks(width).zip(other.bytes.chunks(width));
    let differing = elements.filter(|(a, b)| a != b).count();
    let bits: u32 = one.bytes.iter().zip(other.bytes).map(|(a, b)| (a ^ b).count_ones()).sum();
    format!(
        "`{}`: {differing} of {} elements differ, {bits} bits",
        one.spec.name,
        one.bytes.len() / width.max(1)
    )
}

/// Norm of the difference over the norm, over all floats of a file. Single tensors are not judged: where a gradient is
/// zero by construction, moments are nothing but rounding.
#[derive(Default)]
struct Distance {
    difference: f64,
    norm: f64,
}

impl Distance {
    /// Returns whether the tensor holds floats; others must be equal.
    fn add(&mut self, one: &TensorView<'_>, other: &TensorView<'_>) -> bool {
        let (Some(one), Some(other)) = (floats(one), floats(other)) else { return false };
        for (a, b) in one.iter().zip(&other) {
            self.difference += (a - b).powi(2);
            self.norm += a * a;
        }
        true
    }

    fn relative(&self) -> f64 {
        if self.difference == 0.0 { 0.0 } else { (self.difference / self.norm).sqrt() }
    }
}

fn floats(view: &TensorView<'_>) -> Option<Vec<f64>> {
    match view.spec.dtype {
        Dtype::F64 => Some(view.bytes.as_chunks().0.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect()),
        Dtype::F32 => {
            Some(view.bytes.as_chunks().0.iter().map(|bytes| f64::from(f32::from_le_bytes(*bytes))).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::checkpoint::{TensorSpec, write_tensors};

    fn file(tensors: &[(&str, Dtype, Vec<u8>)]) -> Vec<u8> {
        let specs: Vec<TensorSpec> = tensors
            .iter()
            .map(|(name, dtype, bytes)| TensorSpec {
                name: (*name).into(),
                dtype: *dtype,
                shape: vec![bytes.len() as u64 / dtype.num_bytes()],
            })
            .collect();
        let mut written = Vec::new();
        write_tensors(&mut written, &specs, &BTreeMap::new(), |i, w| w.write_all(&tensors[i].2)).unwrap();
        written
    }

    fn doubles(values: &[f64]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn one_bit_is_found_and_named() {
        let mut weights = doubles(&[1.0, 2.0, 3.0]);
        let one = file(&[("a", Dtype::F64, doubles(&[5.0])), ("b", Dtype::F64, weights.clone())]);
        let equal = compare("m", one.clone(), one.clone(), Strictness::Bits).unwrap();
        assert!(equal.is_equal() && equal.compared == "2 tensors, 4 elements", "{equal:?}");
        weights[9] ^= 1;
        let other = file(&[("a", Dtype::F64, doubles(&[5.0])), ("b", Dtype::F64, weights)]);
        let part = compare("m", one, other, Strictness::Bits).unwrap();
        assert_eq!(part.differences, ["`b`: 1 of 3 elements differ, 1 bits"]);
    }

    #[test]
    fn sums_in_another_order_pass_and_a_lost_sample_does_not() {
        let with = |weight: f64, count: i64| {
            file(&[
                ("w", Dtype::F64, doubles(&[1.0, weight])),
                ("n", Dtype::I64, count.to_le_bytes().to_vec()),
            ])
        };
        let judge = |one, other| compare("m", one, other, Strictness::Samples).unwrap();
        assert!(judge(with(2.0, 7), with(2.0 + 1e-12, 7)).is_equal());
        assert!(!judge(with(2.0, 7), with(2.0 + 1e-6, 7)).is_equal());
        assert!(!judge(with(2.0, 7), with(f64::NAN, 7)).is_equal());
        let counted = judge(with(2.0, 7), with(2.0, 8));
        assert_eq!(counted.differences, ["`n`: 1 of 1 elements differ, 4 bits"]);
    }

    #[test]
    fn missing_additional_and_reshaped_tensors_are_named() {
        let one = file(&[("a", Dtype::U8, vec![1]), ("b", Dtype::U8, vec![1, 2])]);
        let other = file(&[("b", Dtype::U8, vec![1]), ("c", Dtype::U8, vec![1])]);
        let part = compare("m", one, other, Strictness::Bits).unwrap();
        assert_eq!(
            part.differences,
            ["`a` is missing", "`b` is U8 [2] and U8 [1]", "`c` is there only after the resume"]
        );
    }
}
