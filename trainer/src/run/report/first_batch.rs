//! What a batch shows: its views as pictures, and what the samples are.

use dtrain_data::{Dataset, LabelColumn};
use tch::{TchError, Tensor};

use crate::batch::{Batch, first_views};
use crate::track::{Color, Matrix, Picture, TrackError};

/// Labels of a sample that are written above it.
const MAX_LABELS: usize = 4;
/// Characters of a class or a file's name.
const MAX_CHARS: usize = 32;

/// For each sample that is present in a batch its labels, then its file.
pub(crate) fn captions(dataset: &Dataset, batch: &Batch) -> Vec<String> {
    let classes = dataset.classes_of(batch);
    let labels_of = |at: usize| {
        let label = |(label, classes): (&LabelColumn, &Vec<i64>)| {
            let class = usize::try_from(*classes.get(at)?).ok()?;
            Some(format!("{} {}", label.name, beginning(label.classes.get(class)?)))
        };
        dataset.labels.iter().zip(&classes).filter_map(label).take(MAX_LABELS).collect::<Vec<_>>()
    };
    let caption = |(at, id): (usize, u32)| {
        let name = dataset.name_of(id).map(|name| end(&name));
        labels_of(at).into_iter().chain(name).collect::<Vec<_>>().join(", ")
    };
    batch.kept_ids().enumerate().map(caption).collect()
}

/// The views of the first samples of a batch, as the network sees them: a picture for each group that has any, with its number. A
/// row per sample, with its label above it, and a column per view.
pub(crate) fn pictures_of(
    batch: &Batch,
    num_samples: usize,
    labels: &[String],
) -> Result<Vec<(usize, Picture)>, TrackError> {
    let undrawn = |error: TchError| TrackError::Picture { reason: error.to_string() };
    let mut pictures = Vec::new();
    for (number, group) in batch.groups.iter().enumerate() {
        if group.num_views == 0 || batch.kept.is_empty() {
            continue;
        }
        let views = first_views(group, batch.kept.len(), num_samples).map_err(undrawn)?;
        let values = Vec::<f32>::try_from(views.flatten(0, -1)).map_err(undrawn)?;
        let rows = rows(&values, &views, group.shape)?;
        pictures.push((number, Picture::grid(&rows, labels, Color::Viridis)?));
    }
    Ok(pictures)
}

/// A row per sample, a column per view, of `values` of `views` [num_views, samples, C, H, W].
fn rows<'a>(
    values: &'a [f32],
    views: &Tensor,
    [channels, height, width]: [usize; 3],
) -> Result<Vec<Vec<Matrix<'a>>>, TrackError> {
    let len = channels * height * width;
    let size = |axis: usize| views.size().get(axis).map_or(0, |&size| size as usize);
    let (num_views, samples) = (size(0), size(1));
    let view_of = |view: usize, sample: usize| {
        let begin = (view * samples + sample) * len;
        let values = values.get(begin..begin + len).unwrap_or_default();
        Matrix::new(values, channels, height, width)
    };
    let row = |sample| (0..num_views).map(|view| view_of(view, sample)).collect();
    (0..samples).map(row).collect()
}

fn beginning(class: &str) -> String {
    if class.chars().count() <= MAX_CHARS {
        return class.to_owned();
    }
    class.chars().take(MAX_CHARS - 2).chain("..".chars()).collect()
}

/// A path tells by its end.
fn end(path: &str) -> String {
    let count = path.chars().count();
    if count <= MAX_CHARS {
        return path.to_owned();
    }
    "..".chars().chain(path.chars().skip(count + 2 - MAX_CHARS)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_keep_what_tells_them_apart() {
        assert_eq!(beginning("lark"), "lark");
        assert_eq!(beginning(&"a".repeat(40)), format!("{}..", "a".repeat(30)));
        assert_eq!(end("lark/1.wav"), "lark/1.wav");
        assert_eq!(end(&format!("{}/ü1.wav", "x".repeat(40))), format!("..{}/ü1.wav", "x".repeat(23)));
    }
}
