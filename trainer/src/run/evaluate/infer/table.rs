//! The table of predictions: a row for each sample, columns for each head.

use dtrain_data::{Dataset, Place};

use crate::error::TrainError;
use crate::eval::{Answer, Prediction};
use crate::method::HeadTask;

/// What stands in a table besides the predicted class and its probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Columns {
    /// Most probable classes with their probabilities; 1: the predicted one alone.
    pub top: usize,
    /// The probability of every class.
    pub probabilities: bool,
}

/// Writes rows of predictions as CSV.
pub(super) struct Table<'a> {
    columns: Columns,
    heads: Vec<Head<'a>>,
    samples: &'a Dataset,
    /// Whether labels of the samples are known, which stand beside what was predicted.
    has_truth: bool,
}

struct Head<'a> {
    task: &'a HeadTask,
    classes: &'a [String],
}

impl<'a> Table<'a> {
    /// `trained` names the classes; `samples` are those that are asked about.
    pub fn new(
        tasks: &'a [HeadTask],
        trained: &'a Dataset,
        samples: &'a Dataset,
        columns: Columns,
        has_truth: bool,
    ) -> Self {
        let head = |task: &'a HeadTask| Head {
            task,
            classes: trained.label(&task.name).map_or(&[], |label| label.classes.as_slice()),
        };
        Self { columns, heads: tasks.iter().map(head).collect(), samples, has_truth }
    }

    /// Names of the columns.
    pub fn header(&self) -> Vec<String> {
        let mut header = vec![self.samples.source.noun().to_owned()];
        if self.has_places() {
            header.extend(["begin_secs", "length_secs"].map(str::to_owned));
        }
        for head in &self.heads {
            let name = &head.task.name;
            header.extend([name.clone(), format!("{name}_probability")]);
            header.extend((!head.task.values.is_empty()).then(|| format!("{name}_value")));
            header.extend(self.has_truth.then(|| format!("{name}_true")));
            for rank in 2..=self.top_of(head) {
                header.extend([format!("{name}_{rank}"), format!("{name}_{rank}_probability")]);
            }
            if self.columns.probabilities {
                header.extend(head.classes.iter().map(|class| format!("{name}={class}")));
            }
        }
        header
    }

    /// The fields of a sample.
    pub fn row(&self, prediction: &Prediction) -> Vec<String> {
        let mut row = match self.samples.source.place_of(prediction.id) {
            Some(Place { file, begin_secs, length_secs }) => {
                vec![file, begin_secs.to_string(), length_secs.to_string()]
            }
            None => vec![self.samples.name_of(prediction.id).unwrap_or_default()],
        };
        for (head, answer) in self.heads.iter().zip(&prediction.heads) {
            let class = |class: usize| head.classes.get(class).cloned().unwrap_or_default();
            row.extend([class(answer.class), probability(answer, answer.class)]);
            row.extend((!head.task.values.is_empty()).then(|| answer.value.to_string()));
            if self.has_truth {
                let label = self.samples.label(&head.task.name);
                row.push(
                    label.and_then(|label| label.class_name(prediction.id)).unwrap_or_default().to_owned(),
                );
            }
            let others = most_probable(answer).into_iter().map(Some).chain(std::iter::repeat(None));
            for other in others.take(self.top_of(head).saturating_sub(1)) {
                let (name, share) =
                    other.map_or_else(Default::default, |other| (class(other), probability(answer, other)));
                row.extend([name, share]);
            }
            if self.columns.probabilities {
                row.extend((0..head.classes.len()).map(|class| probability(answer, class)));
            }
        }
        row
    }

    /// Rows as CSV, with the header on the first rank.
    pub fn writer(&self, with_header: bool) -> Result<csv::Writer<Vec<u8>>, TrainError> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        if with_header {
            writer.write_record(self.header()).map_err(TrainError::internal)?;
        }
        Ok(writer)
    }

    /// Files are cut into samples, all of them or none.
    fn has_places(&self) -> bool {
        self.samples.source.place_of(0).is_some()
    }

    fn top_of(&self, head: &Head<'_>) -> usize {
        self.columns.top.clamp(1, head.classes.len().max(1))
    }
}

/// Nothing where the head tells none.
fn probability(answer: &Answer, class: usize) -> String {
    answer.probabilities.get(class).map_or_else(String::new, |share| format!("{share:.6}"))
}

/// The other classes, the most probable first; of equal ones that with the smaller number.
fn most_probable(answer: &Answer) -> Vec<usize> {
    let mut others: Vec<usize> =
        (0..answer.probabilities.len()).filter(|&class| class != answer.class).collect();
    let share = |class: usize| answer.probabilities.get(class).copied().unwrap_or(0.0);
    others.sort_by(|&a, &b| share(b).total_cmp(&share(a)).then(a.cmp(&b)));
    others
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use dtrain_data::{LabelColumn, Recordings, Sample};

    use super::*;

    fn dataset(labels: Vec<LabelColumn>, begin: Option<u64>) -> Dataset {
        let sample = Sample {
            path: Path::new("/a, b.wav").into(),
            relative: "a, b.wav".into(),
            begin,
            num_frames: 4000,
            sample_rate: 8000,
        };
        Dataset {
            name: "birds".into(),
            root: PathBuf::new(),
            source: Arc::new(Recordings(vec![sample])),
            labels,
            set_aside: Vec::new(),
            anomalies: Vec::new(),
            recordings: vec![0],
            train: Vec::new(),
            val: Vec::new(),
            test: vec![0],
            begins: Vec::new(),
            own_parts: Vec::new(),
            skipped: Vec::new(),
            warnings: Vec::new(),
            fingerprint: 0,
        }
    }

    fn label(name: &str, classes: &[&str], values: &[f64]) -> LabelColumn {
        LabelColumn {
            name: name.into(),
            classes: classes.iter().map(|&class| class.to_owned()).collect(),
            values: values.to_vec(),
            of_sample: vec![Some(1)],
        }
    }

    fn text(columns: Columns, has_truth: bool, begin: Option<u64>) -> String {
        let labels =
            vec![label("bird", &["koel", "rook", "wren"], &[]), label("note", &["40", "50"], &[40.0, 50.0])];
        let trained = dataset(labels, begin);
        let tasks = [
            HeadTask { name: "bird".into(), num_classes: 3, ..HeadTask::default() },
            HeadTask { name: "note".into(), num_classes: 2, values: vec![40.0, 50.0], ..HeadTask::default() },
        ];
        let table = Table::new(&tasks, &trained, &trained, columns, has_truth);
        let mut writer = table.writer(true).unwrap();
        let heads = vec![
            Answer { class: 2, value: 2.0, probabilities: vec![0.25, 0.05, 0.7] },
            Answer { class: 1, value: 47.5, probabilities: Vec::new() },
        ];
        writer.write_record(table.row(&Prediction { id: 0, heads })).unwrap();
        String::from_utf8(writer.into_inner().unwrap()).unwrap()
    }

    #[test]
    fn a_row_names_the_classes_and_their_probabilities() {
        let plain = Columns { top: 1, probabilities: false };
        assert_eq!(
            text(plain, false, None),
            "file,bird,bird_probability,note,note_probability,note_value\n\"a, b.wav\",wren,0.700000,50,,47.5\n"
        );
        assert_eq!(
            text(plain, false, Some(10_000))
                .lines()
                .map(|line| line.split(",wren").next().unwrap())
                .collect::<Vec<_>>(),
            [
                "file,begin_secs,length_secs,bird,bird_probability,note,note_probability,note_value",
                "\"a, b.wav\",1.25,0.5"
            ]
        );
        let columns = Columns { top: 9, probabilities: true };
        assert_eq!(
            text(columns, true, None),
            "file,bird,bird_probability,bird_true,bird_2,bird_2_probability,bird_3,bird_3_probability,bird=koel,bird=rook,\
             bird=wren,note,note_probability,note_value,note_true,note_2,note_2_probability,note=40,note=50\n\
             \"a, b.wav\",wren,0.700000,rook,koel,0.250000,rook,0.050000,0.250000,0.050000,0.700000,50,,47.5,50,,,,\n"
        );
    }
}
