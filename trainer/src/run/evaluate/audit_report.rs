//! What an audit found, as a file.

use std::path::{Path, PathBuf};

use fs_err as fs;

use crate::checkpoint::durable::write_atomic;
use crate::error::TrainError;
use crate::eval::Evaluation;
use crate::track::{Audit, AuditedColumn, ColumnSource, Known};

/// Name of the file with a line for each column.
const AUDIT: &str = "audit.csv";

const HEADER: [&str; 19] = [
    "part",
    "column",
    "source",
    "values",
    "answers_from",
    "chance",
    "knn_beyond_chance",
    "knn_low",
    "knn_high",
    "knn_accuracy",
    "knn_samples",
    "linear_beyond_chance",
    "linear_low",
    "linear_high",
    "linear_accuracy",
    "linear_samples",
    "worst_group",
    "worst_group_class_accuracy",
    "worst_group_samples",
];

/// Writes `audit.csv` into `folder`, which is made if need be, and names it; without an audit there is none.
///
/// # Errors
/// I/O errors name the file.
pub(super) fn write_audit(evaluations: &[Evaluation], folder: &Path) -> Result<Option<PathBuf>, TrainError> {
    let Some(audit) = evaluations.iter().find_map(|evaluation| evaluation.audit.as_ref()) else {
        return Ok(None);
    };
    fs::create_dir_all(folder)?;
    let path = folder.join(AUDIT);
    write_atomic(&path, &lines(audit)?)?;
    Ok(Some(path))
}

/// Best known first; shares from 0 to 1.
fn lines(audit: &Audit) -> Result<Vec<u8>, TrainError> {
    let mut lines = csv::Writer::from_writer(Vec::new());
    lines.write_record(HEADER).map_err(TrainError::internal)?;
    for column in &audit.columns {
        lines.write_record(cells(&audit.part, column)).map_err(TrainError::internal)?;
    }
    lines.into_inner().map_err(TrainError::internal)
}

fn cells(part: &str, column: &AuditedColumn) -> Vec<String> {
    let share = |share: f64| format!("{share:.6}");
    let source = match column.source {
        ColumnSource::Table => "table",
        ColumnSource::Measured => "measured",
    };
    let mut cells = vec![
        part.to_owned(),
        column.column.clone(),
        source.to_owned(),
        column.values.to_string(),
        column.answers_from.clone(),
        share(column.chance),
    ];
    let known = |known: &Known| {
        let [low, high] = known.beyond_chance_interval;
        let shares = [known.beyond_chance, low, high, known.accuracy].map(share);
        shares.into_iter().chain([known.samples.to_string()]).collect::<Vec<_>>()
    };
    let nothing = |cells: usize| vec![String::new(); cells];
    cells.extend(known(&column.knn));
    cells.extend(column.linear.as_ref().map_or_else(|| nothing(5), known));
    let worst = column.worst_group.as_ref();
    cells.extend(worst.map_or_else(
        || nothing(3),
        |worst| vec![worst.value.clone(), share(worst.class_accuracy), worst.samples.to_string()],
    ));
    cells
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::WorstGroup;

    #[test]
    fn every_column_has_a_line_of_as_many_cells_as_the_header() {
        let known = |accuracy: f64| Known {
            accuracy,
            interval: [accuracy - 0.1, accuracy + 0.1],
            samples: 40,
            beyond_chance: (accuracy - 0.5) / 0.5,
            beyond_chance_interval: [(accuracy - 0.6) / 0.5, (accuracy - 0.4) / 0.5],
        };
        let column = |name: &str, linear| AuditedColumn {
            column: name.into(),
            source: ColumnSource::Measured,
            values: 2,
            cuts: vec![-20.0],
            answers_from: "train".into(),
            chance: 0.5,
            knn: known(0.75),
            linear,
            without_value: 0,
            worst_group: None,
            small_groups: 0,
        };
        let worst = WorstGroup { value: "below -20, quiet".into(), samples: 12, class_accuracy: 0.25 };
        let gain = AuditedColumn { worst_group: Some(worst), ..column("gain_db", Some(known(0.9))) };
        let audit = Audit {
            part: "test".into(),
            class: "species".into(),
            columns: vec![gain, column("length_secs", None)],
            left_out: Vec::new(),
        };
        let dir = tempfile::tempdir().unwrap();
        let with = Evaluation { audit: Some(audit), ..Evaluation::default() };
        let path = write_audit(&[Evaluation::default(), with], &dir.path().join("new")).unwrap().unwrap();
        let text = fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines[1],
            "test,gain_db,measured,2,train,0.500000,0.500000,0.300000,0.700000,0.750000,40,0.800000,0.600000,1.000000,\
             0.900000,40,\"below -20, quiet\",0.250000,12"
        );
        assert_eq!(
            lines[2],
            "test,length_secs,measured,2,train,0.500000,0.500000,0.300000,0.700000,0.750000,40,,,,,,,,"
        );
        assert_eq!(write_audit(&[Evaluation::default()], dir.path()).unwrap(), None);
    }
}
