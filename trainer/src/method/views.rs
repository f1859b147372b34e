//! What methods that compare views of a sample share: one pass for each shape of view, and which views are compared.

use dtrain_configs::schema::Encoder;
use tch::{Kind, TchError, Tensor};

use super::{LocalBatch, StepContext, normalize};
use crate::model::Backbone;

/// Views of a sample over all groups.
pub(super) fn num_views(part: &LocalBatch) -> u32 {
    part.groups().iter().map(|group| group.num_views).sum()
}

/// Embeddings of the views of every shape, one pass for each, `[num_views * n, D]`: view-major, the large views first.
pub(super) fn embeddings(
    backbone: &dyn Backbone,
    part: &LocalBatch,
    context: &StepContext<'_>,
) -> Result<Tensor, TchError> {
    let of_group =
        |(index, group): (usize, &super::ViewGroup)| backbone.forward(&group.rows, context.pass_of(index));
    let mut rows: Vec<Tensor> =
        part.groups().iter().enumerate().map(of_group).collect::<Result<_, TchError>>()?;
    match rows.len() {
        1 => Ok(rows.remove(0)),
        _ => Tensor::f_cat(&rows, 0),
    }
}

/// The network that evaluations embed with.
pub(super) fn encoder<'a>(
    student: &'a dyn Backbone,
    teacher: &'a dyn Backbone,
    encoder: Encoder,
) -> &'a dyn Backbone {
    match encoder {
        Encoder::Online => student,
        Encoder::Teacher => teacher,
    }
}

/// The rows of each of `num_views` views.
pub(super) fn by_view(rows: &Tensor, num_views: u32) -> Result<Vec<Tensor>, TchError> {
    let of_each = rows.size().first().copied().unwrap_or(0) / i64::from(num_views.max(1));
    (0..i64::from(num_views)).map(|view| rows.f_narrow(0, view * of_each, of_each)).collect()
}

/// Pairs of a view, of any shape, and another one that is large: `(view, large)`. Those of the large views come first.
pub(super) fn pairs(num_views: usize, num_large: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..num_views).flat_map(move |view| {
        (0..num_large).filter_map(move |large| (view != large).then_some((view, large)))
    })
}

/// Cosines between what is predicted from each view and what is given of each other, large one, summed over the [`pairs`]: `[n]`
/// in fp32 at least, and the number of pairs.
pub(super) fn agreement(predicted: &[Tensor], given: &[Tensor]) -> Result<(Tensor, usize), TchError> {
    let (mut sum, mut count) = (None::<Tensor>, 0);
    for (view, large) in pairs(predicted.len(), given.len()) {
        let (Some(predicted), Some(given)) = (predicted.get(view), given.get(large)) else { continue };
        let cosines = cosines(predicted, given)?;
        sum = Some(match sum {
            None => cosines,
            Some(sum) => sum.f_add(&cosines)?,
        });
        count += 1;
    }
    let sum = sum.ok_or_else(|| TchError::Shape("a sample has a single view".into()))?;
    Ok((sum, count))
}

/// Cosine of the angle between the rows of `a` and `b` `[n, D]`: `[n]`, in fp32 at least.
fn cosines(a: &Tensor, b: &Tensor) -> Result<Tensor, TchError> {
    (normalize(a) * normalize(b)).f_sum_dim_intlist(1, false, None::<Kind>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_is_compared_with_each_other_large_one() {
        assert_eq!(pairs(2, 2).collect::<Vec<_>>(), [(0, 1), (1, 0)]);
        assert_eq!(pairs(4, 2).collect::<Vec<_>>(), [(0, 1), (1, 0), (2, 0), (2, 1), (3, 0), (3, 1)]);
    }
}
