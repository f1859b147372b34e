//! What a trial has measured so far, read while it runs: `metrics.jsonl` has a line for each evaluation.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use serde_json::Value;

/// The values of one metric by the epochs that were completed.
#[derive(Debug)]
pub(crate) struct Curve {
    path: PathBuf,
    metric: String,
    /// File and bytes that were read: a run that goes on replaces the file.
    read: (u64, u64),
    values: Vec<(u64, f64)>,
}

impl Curve {
    /// Of the file at `path`, which need not be there yet.
    pub fn new(path: PathBuf, metric: &str) -> Self {
        Self { path, metric: metric.to_owned(), read: (0, 0), values: Vec::new() }
    }

    /// The value after so many epochs, once it is measured.
    pub fn at(&mut self, epochs: u64) -> Option<f64> {
        if let Err(error) = self.read_on() {
            tracing::debug!("{} cannot be read: {error}", self.path.display());
        }
        self.values.iter().find(|(at, _)| *at == epochs).map(|(_, value)| *value)
    }

    fn read_on(&mut self) -> std::io::Result<()> {
        let about = match std::fs::metadata(&self.path) {
            Ok(about) => about,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        let (file, done) = self.read;
        if (file, done) == (about.ino(), about.len()) {
            return Ok(());
        }
        let begin = if file == about.ino() && about.len() > done { done } else { 0 };
        let mut text = Vec::new();
        let mut opened = File::open(&self.path)?;
        opened.seek(SeekFrom::Start(begin))?;
        opened.read_to_end(&mut text)?;
        if begin == 0 {
            self.values.clear();
        }
        // A line that is being written is read when it is whole.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in text.get(..whole).unwrap_or_default().split(|byte| *byte == b'\n') {
            let Ok(line) = serde_json::from_slice::<Value>(line) else { continue };
            let epoch = line.get("epoch").and_then(Value::as_u64);
            if let (Some(epoch), Some(value)) = (epoch, line.get(&self.metric)) {
                self.values.push((epoch, value.as_f64().unwrap_or(f64::NAN)));
            }
        }
        self.read = (opened.metadata()?.ino(), begin + whole as u64);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn values_are_read_as_they_come_and_anew_where_a_run_goes_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        let mut curve = Curve::new(path.clone(), "val/acc");
        assert_eq!(curve.at(1), None);
        let mut file = File::create(&path).unwrap();
        write!(file, "{{\"step\": 5, \"epoch\": 0, \"train/loss\": 1}}\n{{\"step\": 9, \"epoch\": 1, \"val/acc\": 0.5}}\n{{\"st").unwrap();
        assert_eq!((curve.at(1), curve.at(2)), (Some(0.5), None));
        writeln!(file, "ep\": 18, \"epoch\": 2, \"val/acc\": \"NaN\"}}").unwrap();
        assert!(curve.at(2).unwrap().is_nan());
        let other = folder.path().join("new");
        std::fs::write(&other, "{\"step\": 9, \"epoch\": 1, \"val/acc\": 0.25}\n").unwrap();
        std::fs::rename(other, &path).unwrap();
        assert_eq!((curve.at(1), curve.at(2)), (Some(0.25), None));
    }
}
