//! A teacher: a second network whose weights are an exponential moving average of the trained ones (Tarvainen & Valpola
//! 2017, "Mean teachers"). It lies in one flat buffer in the order of the parameters that it follows, so that a step moves it
//! with one operation for each stretch that lies alike in both, usually one. Every rank holds all of it, since each forward
//! pass reads it; no gradient, bucket or optimizer knows it. Its running statistics are buffers like any others and its own.

use std::ops::Range;

use tch::{Kind, Tensor};

use super::flat::{Flat, laid_out, part};
use crate::error::TrainError;
use crate::model::parameters::{Parameters, Role, of_teacher};

/// The weights of a teacher.
#[derive(Debug)]
pub(super) struct Teacher {
    weights: Tensor,
    stretches: Vec<Stretch>,
}

/// Elements that lie one after the other in both networks.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stretch {
    teacher: Range<usize>,
    student: Range<usize>,
}

impl Teacher {
    /// Moves the weights of the teacher among `parameters` into one buffer; layers see the same storage from now on. `None`
    /// where there is no teacher.
    ///
    /// # Errors
    /// When memory runs out, or a weight of the teacher follows no parameter.
    pub(super) fn new(parameters: &Parameters, flat: &Flat) -> Result<Option<Self>, TrainError> {
        let shadows = parameters.shadows();
        if shadows.is_empty() {
            return Ok(None);
        }
        let named = shadows.iter().map(|shadow| (shadow.of(), &shadow.tensor, Role::Weight));
        let (segments, ends) = laid_out(named, parameters.kind());
        let len = ends.last().copied().unwrap_or(0);
        let weights = Tensor::f_zeros([len as i64], (parameters.kind(), parameters.device()))?;
        let mut stretches: Vec<Stretch> = Vec::new();
        for ((segment, &end), shadow) in segments.iter().zip(&ends).zip(shadows) {
            let followed = flat.segments().iter().find(|own| own.name == segment.name);
            let Some(followed) = followed.filter(|own| own.shape == segment.shape) else {
                return Err(TrainError::internal(format!("no parameter for `{}` to follow", shadow.name)));
            };
            tch::no_grad(|| -> Result<(), TrainError> {
                let mut view = segment.view_of(&weights);
                view.f_copy_(&shadow.tensor)?;
                Ok(shadow.tensor.shallow_clone().f_set_data(&view)?)
            })?;
            let begin = followed.offset;
            let student = begin..begin + (end - segment.offset);
            match stretches.last_mut().filter(|last| last.student.end == student.start) {
                Some(last) => (last.teacher.end, last.student.end) = (end, student.end),
                None => stretches.push(Stretch { teacher: segment.offset..end, student }),
            }
        }
        Ok(Some(Self { weights, stretches }))
    }

    /// All weights.
    pub(super) fn weights(&self) -> &Tensor {
        &self.weights
    }

    /// `teacher = momentum * teacher + (1 - momentum) * student`. Where `skip`, 0-dimensional and 1 or 0, is 1 the teacher
    /// stays; the host need not know it.
    ///
    /// # Errors
    /// When memory runs out.
    pub(super) fn follow(&self, flat: &Flat, momentum: f64, skip: Option<&Tensor>) -> Result<(), TrainError> {
        for Stretch { teacher, student } in &self.stretches {
            let (mut teacher, student) = (part(&self.weights, teacher), part(flat.parameters(), student));
            match skip {
                None => {
                    let _ = teacher.f_lerp_(&student, 1.0 - momentum)?;
                }
                Some(skip) => {
                    let share = (skip.f_to_kind(Kind::Double)?.f_neg()? + 1.0) * (1.0 - momentum);
                    let _ = teacher.f_lerp_tensor_(&student, &share.f_to_kind(teacher.kind())?)?;
                }
            }
        }
        Ok(())
    }

    /// Makes the teacher a copy of the student, running statistics included.
    ///
    /// # Errors
    /// When a GPU fails.
    pub(super) fn copy(&self, parameters: &Parameters, flat: &Flat) -> Result<(), TrainError> {
        self.follow(flat, 0.0, None)?;
        tch::no_grad(|| {
            for buffer in parameters.buffers() {
                let Some(name) = of_teacher(&buffer.name) else { continue };
                if let Some(own) = parameters.buffers().iter().find(|own| own.name == name) {
                    buffer.tensor.shallow_clone().f_copy_(&own.tensor)?;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::model::parameters::Init;

    /// A student of three weights, the last of which the teacher does not have, or, `apart`, the one in the middle.
    fn networks(apart: bool) -> Parameters {
        let mut parameters = Parameters::new(Device::Cpu, Kind::Double, 3);
        let register = |parameters: &mut Parameters, names: &[&str]| {
            for name in names {
                let shape: &[i64] = if *name == "conv" { &[4, 2, 3, 3] } else { &[5] };
                let _ = parameters.parameter(name, shape, Init::Normal { std: 1.0 }, Role::Weight);
            }
        };
        let (all, followed) = match apart {
            false => (["conv", "fc", "head"], ["conv", "fc"]),
            true => (["conv", "head", "fc"], ["conv", "fc"]),
        };
        register(&mut parameters, &all);
        let _ = parameters.buffer("running_mean", &[2], 1.0);
        parameters.teacher(|parameters| {
            register(parameters, &followed);
            let _ = parameters.buffer("running_mean", &[2], 0.0);
        });
        parameters
    }

    #[test]
    fn it_follows_by_the_formula_in_as_few_pieces_as_there_are() {
        for apart in [false, true] {
            let parameters = networks(apart);
            let flat = Flat::new(&parameters).unwrap();
            let teacher = Teacher::new(&parameters, &flat).unwrap().unwrap();
            assert_eq!(teacher.stretches.len(), if apart { 2 } else { 1 });
            let student = |name: &str| {
                parameters.parameters().iter().find(|p| p.name == name).unwrap().tensor.detach().copy()
            };
            let before: Vec<Tensor> = parameters.shadows().iter().map(|s| s.tensor.copy()).collect();
            for (shadow, before) in parameters.shadows().iter().zip(&before) {
                assert_eq!(*before, student(shadow.of()), "a copy at first");
            }
            let _ = flat.parameters().shallow_clone().g_mul_scalar_(3.0);
            teacher.follow(&flat, 0.75, Some(&Tensor::from(1.0_f32))).unwrap();
            for (shadow, before) in parameters.shadows().iter().zip(&before) {
                assert_eq!(shadow.tensor, *before, "{} moved in a skipped step", shadow.name);
            }
            let mut expected: Vec<Tensor> = before;
            for skip in [None, Some(Tensor::from(0.0_f32))] {
                teacher.follow(&flat, 0.75, skip.as_ref()).unwrap();
                for (shadow, expected) in parameters.shadows().iter().zip(&mut expected) {
                    *expected = &*expected * 0.75 + student(shadow.of()) * 0.25;
                    let error = (&shadow.tensor - &*expected).abs().max().double_value(&[]);
                    assert!(error < 1e-15, "{}: {error:e}", shadow.name);
                }
            }
            teacher.copy(&parameters, &flat).unwrap();
            for shadow in parameters.shadows() {
                assert_eq!(shadow.tensor, student(shadow.of()));
            }
            assert_eq!(parameters.buffers()[1].tensor, parameters.buffers()[0].tensor);
        }
    }

    #[test]
    fn a_teacher_without_a_student_is_refused() {
        let mut parameters = networks(false);
        let _ = parameters
            .teacher(|parameters| parameters.parameter("other", &[1], Init::Constant(0.0), Role::Weight));
        let flat = Flat::new(&parameters).unwrap();
        let error = Teacher::new(&parameters, &flat).unwrap_err();
        assert!(error.to_string().contains("`teacher.other`"), "{error}");
    }
}
