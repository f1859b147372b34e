//! What heads confuse and how they do on each class, as files and for TensorBoard.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::checkpoint::durable::write_atomic;
use crate::error::TrainError;
use crate::eval::{Evaluation, HeadResult};
use crate::run::report::Tracker;
use crate::track::{Confusion, Picture, TrackError};

/// Draws what a head took for what.
fn confusion(head: &HeadResult) -> Result<Picture, TrackError> {
    Confusion { head: &head.name, counts: &head.confusion, class_names: &head.classes }.picture()
}

fn can_be_drawn(head: &HeadResult) -> bool {
    head.per_class.len() <= Confusion::MAX_CLASSES
}

/// Most letters of a head in a file name.
const MAX_LETTERS: usize = 60;

/// `confusion_test_digit.png` for each head; what a file name may not hold becomes `_`, and heads whose names are then
/// alike, also to file systems that take `A` for `a`, are told apart by a number.
fn file_names<'a>(part: &str, heads: impl Iterator<Item = &'a str>) -> Vec<String> {
    let plain = |c: char| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let mut taken = BTreeSet::new();
    let mut name = |head: &str| {
        let stem: String = head.chars().take(MAX_LETTERS).map(plain).collect();
        let mut name = format!("confusion_{part}_{stem}.png");
        let mut number = 2;
        while !taken.insert(name.to_lowercase()) {
            name = format!("confusion_{part}_{stem}-{number}.png");
            number += 1;
        }
        name
    };
    heads.map(&mut name).collect()
}

/// Name of the file with a line for each class.
const CLASSES: &str = "classes.csv";

/// A line for each class of each head and part, with precision, recall and F1 as shares, then one for their macro
/// averages.
fn class_lines(evaluations: &[Evaluation]) -> Result<Vec<u8>, TrainError> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    let header = ["part", "head", "class", "precision", "recall", "f1", "samples", "predicted"];
    lines.write_record(header).map_err(TrainError::internal)?;
    for (evaluation, head) in evaluations.iter().flat_map(|of| of.heads.iter().map(move |head| (of, head))) {
        let mut line = |class: &str, shares: [f64; 3], counts: [u64; 2]| {
            let fields = [evaluation.part.as_str(), &head.name, class].map(str::to_owned);
            let shares = shares.map(|share| format!("{share:.6}"));
            let counts = counts.map(|count| count.to_string());
            lines.write_record(fields.into_iter().chain(shares).chain(counts)).map_err(TrainError::internal)
        };
        for class in &head.per_class {
            let shares = [class.precision, class.recall, class.f1];
            line(&class.name, shares, [class.samples, class.predicted])?;
        }
        let mean = head.macro_averages;
        line("(macro average)", [mean.precision, mean.recall, mean.f1], [head.total, head.total])?;
    }
    lines.into_inner().map_err(TrainError::internal)
}

/// Writes `classes.csv` and the confusion matrices of evaluations into `folder`, which is made if need be, and names the
/// files. Without heads there are none.
///
/// # Errors
/// I/O errors name the file.
pub(super) fn write_head_reports(
    evaluations: &[Evaluation],
    folder: &Path,
) -> Result<Vec<PathBuf>, TrainError> {
    if evaluations.iter().all(|evaluation| evaluation.heads.is_empty()) {
        return Ok(Vec::new());
    }
    fs::create_dir_all(folder)?;
    let mut written = vec![folder.join(CLASSES)];
    write_atomic(&folder.join(CLASSES), &class_lines(evaluations)?)?;
    for evaluation in evaluations {
        written.extend(write_confusions(evaluation, folder)?);
    }
    Ok(written)
}

/// Heads of more classes than a picture can show have none.
fn write_confusions(evaluation: &Evaluation, folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let names = file_names(&evaluation.part, evaluation.heads.iter().map(|head| head.name.as_str()));
    let shown = evaluation.heads.iter().zip(&names).filter(|(head, _)| can_be_drawn(head));
    let write = |(head, name): (&HeadResult, &String)| {
        let path = folder.join(name);
        write_atomic(&path, &confusion(head)?.png)?;
        Ok(path)
    };
    shown.map(write).collect()
}

impl Tracker {
    /// The confusion matrices of an evaluation.
    pub(crate) fn confusions(&mut self, step: u64, evaluation: &Evaluation) -> Result<(), TrackError> {
        for head in evaluation.heads.iter().filter(|head| can_be_drawn(head)) {
            self.image(step, &format!("confusion/{}_{}", evaluation.part, head.name), || confusion(head))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_heads_never_leave_the_folder() {
        let name = |part: &str, head: &str| file_names(part, [head].into_iter()).remove(0);
        assert_eq!(name("test", "digit"), "confusion_test_digit.png");
        assert_eq!(name("val", "../a b/c"), "confusion_val_.._a_b_c.png");
        assert!(name("val", &"ü".repeat(1000)).len() < 200);
    }

    #[test]
    fn every_class_of_every_part_has_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let head = HeadResult::of_confusion("bird", vec!["koel".into(), "a, b".into()], &[3, 1, 0, 4]);
        let of =
            |part: &str| Evaluation { part: part.into(), heads: vec![head.clone()], ..Evaluation::default() };
        let written = write_head_reports(&[of("val"), of("test")], &dir.path().join("new")).unwrap();
        let names: Vec<_> = written.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["classes.csv", "confusion_val_bird.png", "confusion_test_bird.png"]);
        let text = fs::read_to_string(&written[0]).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7);
        assert_eq!(lines[1], "val,bird,koel,1.000000,0.750000,0.857143,4,3");
        assert_eq!(lines[5], "test,bird,\"a, b\",0.800000,1.000000,0.888889,4,5");
        assert!(lines[6].starts_with("test,bird,(macro average),0.900000,0.875000,0.873016,8,8"));
        assert!(write_head_reports(&[Evaluation::default()], &dir.path().join("none")).unwrap().is_empty());
        assert!(!dir.path().join("none").exists());
    }

    #[test]
    fn pictures_of_two_heads_are_two_files() {
        let names = file_names("test", ["a b", "a/b", "A_B", "a_b-2", "c"].into_iter());
        assert_eq!(
            names,
            ["a_b", "a_b-2", "A_B-3", "a_b-2-2", "c"].map(|stem| format!("confusion_test_{stem}.png"))
        );
    }
}
