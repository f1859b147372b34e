//! The way of a batch's views to the device, where they are tensors.

use std::sync::Arc;

use dtrain_data::{Columns, ImageRecipe, ViewBlock};
use tch::{Device, Kind, TchError, Tensor};

use super::image::{self, ChangedRows};
use super::{Batch, HostBlock, ViewGroup, tensor};
use crate::torch_extra::Upload;

/// The views of a batch on their way to a device, group by group.
#[derive(Debug)]
pub struct BatchUpload(Vec<GroupUpload>);

#[derive(Debug)]
struct GroupUpload {
    num_views: u32,
    slots: Upload,
    shape: [i64; 3],
    recipe: Option<RecipeUpload>,
    drawn: Columns,
}

/// How views are made of what arrives.
#[derive(Debug)]
struct RecipeUpload {
    recipe: Arc<ImageRecipe>,
    changed: ChangedRows,
    rows: Upload,
}

/// Starts to bring the views to `device`, or what they are made of there. On a CPU both stay where they are: tensors over the
/// batch's memory, to be read only.
///
/// # Errors
/// When memory runs out.
pub fn upload(batch: &Batch, device: Device) -> Result<BatchUpload, TchError> {
    let start = |group: &ViewBlock<HostBlock>| {
        let num_rows = group.num_views as usize * batch.kept.len();
        let slots = tensor(&group.data, &[num_rows as i64, group.slot_len() as i64])?;
        let recipe = group.recipe.as_ref().map(|recipe| RecipeUpload::start(recipe, &group.data, device));
        Ok(GroupUpload {
            num_views: group.num_views,
            slots: Upload::start(&slots, device)?,
            shape: group.shape.map(|size| size as i64),
            recipe: recipe.transpose()?,
            drawn: group.drawn.clone(),
        })
    };
    Ok(BatchUpload(batch.groups.iter().map(start).collect::<Result<_, TchError>>()?))
}

/// The views of the first samples of a group, `num_samples` at most, on the host: [num_views, samples, C, H, W].
///
/// # Errors
/// When memory runs out.
pub fn first_views(
    group: &ViewBlock<HostBlock>,
    present: usize,
    num_samples: usize,
) -> Result<Tensor, TchError> {
    let (num_views, slot_len) = (i64::from(group.num_views), group.slot_len() as i64);
    let num_samples = num_samples.min(present) as i64;
    let slots = tensor(&group.data, &[num_views, present as i64, slot_len])?.f_narrow(1, 0, num_samples)?;
    let slots = slots.f_reshape([num_views * num_samples, slot_len])?;
    let [c, h, w] = group.shape.map(|size| size as i64);
    let views = match &group.recipe {
        None => slots,
        Some(recipe) => {
            let numbers = Vec::<f32>::try_from(slots.f_flatten(0, -1)?)?;
            image::views(recipe, &slots, &ChangedRows::of(recipe, &numbers)?)?
        }
    };
    views.f_reshape([num_views, num_samples, c, h, w])
}

/// The views of slots, [n, slot] row-major, as `recipe` makes them on `device`: [n, C, H, W].
///
/// # Errors
/// When memory runs out or the device has failed.
pub(crate) fn views_of_slots(
    recipe: &ImageRecipe,
    slots: &[f32],
    device: Device,
) -> Result<Tensor, TchError> {
    let slot_len = recipe.num_words() as i64;
    let words = Tensor::f_from_slice(slots)?.f_view([-1, slot_len])?.f_to_device(device)?;
    let changed = ChangedRows::of(recipe, slots)?;
    let rows = changed.upload(device)?;
    image::views(recipe, &words, &changed.arrived(rows)?)
}

impl RecipeUpload {
    fn start(recipe: &Arc<ImageRecipe>, slots: &[f32], device: Device) -> Result<Self, TchError> {
        let changed = ChangedRows::of(recipe, slots)?;
        let rows = changed.upload(device)?;
        Ok(Self { recipe: Arc::clone(recipe), changed, rows })
    }

    /// The views of slots that have arrived.
    fn views(self, slots: &Tensor) -> Result<Tensor, TchError> {
        image::views(&self.recipe, slots, &self.changed.arrived(self.rows)?)
    }
}

impl GroupUpload {
    fn arrived(self, kind: Kind) -> Result<ViewGroup, TchError> {
        let slots = self.slots.arrived()?;
        let [c, h, w] = self.shape;
        let rows = match self.recipe {
            None => {
                let num_rows = slots.size().first().copied().unwrap_or(0);
                slots.f_view([num_rows, c, h, w])?
            }
            Some(recipe) => recipe.views(&slots)?,
        };
        Ok(ViewGroup { num_views: self.num_views, rows: rows.f_to_kind(kind)?, drawn: self.drawn })
    }
}

impl BatchUpload {
    /// The views where they were going to, of type `kind`: rows [num_views * kept.len(), C, H, W] of each group.
    ///
    /// # Errors
    /// When the device has failed, or memory runs out.
    pub fn arrived(self, kind: Kind) -> Result<Vec<ViewGroup>, TchError> {
        self.0.into_iter().map(|group| group.arrived(kind)).collect()
    }

    /// As [`Self::arrived`], of a batch with one view of each sample: [kept.len(), C, H, W].
    ///
    /// # Errors
    /// As [`Self::arrived`]; a batch without views.
    pub fn arrived_alone(self, kind: Kind) -> Result<Tensor, TchError> {
        let first = self.arrived(kind)?.into_iter().next();
        Ok(first.ok_or_else(|| TchError::Shape("a batch without a group of views".into()))?.rows)
    }
}
