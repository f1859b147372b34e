//! What the samples of the first batch are, for its picture.

use dtrain_data::{Dataset, LabelColumn};

use crate::batch::Batch;

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
