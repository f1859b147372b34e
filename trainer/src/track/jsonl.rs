//! `metrics.jsonl`: one flat JSON object per line, `step`, `epoch`, `wall_s` and then the metrics. A run that resumes
//! cuts the file back to its checkpoint, so that each step appears once.

use std::io::{self, BufRead, Read, Write};
use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Deserialize;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{Metrics, TrackError, from_json_number, json_number};
use crate::checkpoint::durable::replace_atomic;

/// Longest line that is read; a longer one is not of this program.
const MAX_LINE_BYTES: u64 = 1 << 20;
const COLUMNS: [&str; 3] = ["step", "epoch", "wall_s"];

/// The open file.
#[derive(Debug)]
pub struct MetricsFile {
    file: fs::File,
    /// Bytes of whole lines.
    len: u64,
    num_dropped: usize,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricsLine {
    /// Optimizer steps that were done.
    pub step: u64,
    /// Epochs that were completed.
    pub epoch: u64,
    /// Seconds of training so far, over all starts of the run.
    pub wall_s: f64,
    /// The metrics.
    pub values: Metrics,
}

impl MetricsFile {
    /// Opens the file at `path` for more lines. `resume_at_step` keeps the lines up to and including that step; without
    /// it the file begins empty. Lines that a crash tore are dropped.
    ///
    /// # Errors
    /// I/O errors. The old content is intact then.
    pub fn open(path: &Path, resume_at_step: Option<u64>) -> Result<Self, TrackError> {
        let mut num_dropped = 0;
        match resume_at_step {
            Some(step) if path.exists() => {
                let mut source = io::BufReader::new(fs::File::open(path)?);
                replace_atomic(path, |target| {
                    num_dropped = copy_until(&mut source, step, target)?;
                    Ok(())
                })?;
            }
            _ => replace_atomic(path, |_| Ok(()))?,
        }
        let file = fs::OpenOptions::new().append(true).open(path)?;
        let len = file.metadata()?.len();
        Ok(Self { file, len, num_dropped })
    }

    /// Lines that [`Self::open`] dropped: later than the checkpoint, or torn.
    pub fn num_dropped(&self) -> usize {
        self.num_dropped
    }

    /// Appends one line. It is handed to the operating system whole before this returns, so that a killed process
    /// loses nothing; it is not flushed to the disk, since metrics are not worth an fsync each.
    ///
    /// # Errors
    /// A metric called `step`, `epoch` or `wall_s`, and I/O errors.
    pub fn write(&mut self, step: u64, epoch: u64, wall_s: f64, values: &Metrics) -> Result<(), TrackError> {
        if let Some(name) = COLUMNS.iter().find(|name| values.contains_key(**name)) {
            return Err(TrackError::ReservedName { name: (*name).into() });
        }
        let mut line = serde_json::to_vec(&Row { step, epoch, wall_s, values }).map_err(io::Error::from)?;
        line.push(b'\n');
        if let Err(error) = self.file.write_all(&line) {
            // So that a disk that has room again later does not continue half a line.
            let _ = self.file.set_len(self.len);
            return Err(error.into());
        }
        self.len += line.len() as u64;
        Ok(())
    }
}

/// Reads all whole lines of `metrics.jsonl`; a torn last line is passed over.
///
/// # Errors
/// I/O errors, and a line that is not one, by its number.
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsLine>, TrackError> {
    let mut source = io::BufReader::new(fs::File::open(path)?);
    let mut lines = Vec::new();
    while let Some(line) = next_line(&mut source)? {
        if line.is_torn {
            break;
        }
        lines.push(parse(&line.bytes).map_err(|reason| TrackError::Invalid {
            path: PathBuf::from(path),
            reason: format!("line {}: {reason}", lines.len() + 1),
        })?);
    }
    Ok(lines)
}

/// The highest step that the file at `path` tells of; `None` where it has none or is not there. Lines that are none of
/// this program are passed over.
///
/// # Errors
/// I/O errors.
pub fn last_step(path: &Path) -> Result<Option<u64>, TrackError> {
    if !path.exists() {
        return Ok(None);
    }
    let mut source = io::BufReader::new(fs::File::open(path)?);
    let mut last = None;
    while let Some(line) = next_line(&mut source)? {
        last = last.max(serde_json::from_slice::<Step>(&line.bytes).ok().map(|found| found.step));
    }
    Ok(last)
}

#[derive(Deserialize)]
struct Step {
    step: u64,
}

/// Copies the lines up to `step` and returns how many were left out.
fn copy_until(source: &mut impl BufRead, step: u64, target: &mut dyn Write) -> io::Result<usize> {
    let mut num_dropped = 0;
    while let Some(line) = next_line(source)? {
        let keep = !line.is_torn
            && serde_json::from_slice::<Step>(&line.bytes).is_ok_and(|found| found.step <= step);
        if keep {
            target.write_all(&line.bytes)?;
        } else {
            num_dropped += 1;
        }
    }
    Ok(num_dropped)
}

struct Line {
    /// With the newline.
    bytes: Vec<u8>,
    /// Whether the newline is missing, since the file ends or the line is too long.
    is_torn: bool,
}

fn next_line(source: &mut impl BufRead) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    source.by_ref().take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let is_torn = bytes.last() != Some(&b'\n');
    if is_torn && bytes.len() as u64 == MAX_LINE_BYTES {
        source.skip_until(b'\n')?;
    }
    Ok(Some(Line { bytes, is_torn }))
}

fn parse(line: &[u8]) -> Result<MetricsLine, String> {
    let map: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let whole = |name: &str| {
        let value = map.get(name).and_then(serde_json::Value::as_u64);
        value.ok_or_else(|| format!("`{name}` is not a whole number"))
    };
    let values = map
        .iter()
        .filter(|(name, _)| !COLUMNS.contains(&name.as_str()))
        .map(|(name, value)| match from_json_number(value) {
            Some(value) => Ok((name.clone(), value)),
            None => Err(format!("`{name}` is not a number")),
        })
        .collect::<Result<_, _>>()?;
    let wall_s = map.get("wall_s").and_then(from_json_number);
    let wall_s = wall_s.ok_or_else(|| "`wall_s` is not a number".to_owned())?;
    Ok(MetricsLine { step: whole("step")?, epoch: whole("epoch")?, wall_s, values })
}

struct Row<'a> {
    step: u64,
    epoch: u64,
    wall_s: f64,
    values: &'a Metrics,
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(COLUMNS.len() + self.values.len()))?;
        map.serialize_entry("step", &self.step)?;
        map.serialize_entry("epoch", &self.epoch)?;
        // Milliseconds suffice, and keep the lines short.
        map.serialize_entry("wall_s", &json_number((self.wall_s * 1e3).round() / 1e3))?;
        for (name, value) in self.values {
            map.serialize_entry(name, &json_number(*value))?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(pairs: &[(&str, f64)]) -> Metrics {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
    }

    #[test]
    fn lines_are_flat_json_in_a_fixed_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut file = MetricsFile::open(&path, None).unwrap();
        file.write(10, 1, 2.50049, &values(&[("train/loss", 0.25), ("train/grad_norm", f64::NAN)])).unwrap();
        file.write(20, 1, 3.0, &values(&[("a", f64::INFINITY), ("b", f64::NEG_INFINITY)])).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            "{\"step\":10,\"epoch\":1,\"wall_s\":2.5,\"train/grad_norm\":\"NaN\",\"train/loss\":0.25}\n\
             {\"step\":20,\"epoch\":1,\"wall_s\":3.0,\"a\":\"Infinity\",\"b\":\"-Infinity\"}\n"
        );
        assert!(file.write(30, 1, 0.0, &values(&[("epoch", 1.0)])).is_err());
        let lines = read_metrics(&path).unwrap();
        assert!(lines[0].values["train/grad_norm"].is_nan());
        assert_eq!(lines[1].values, values(&[("a", f64::INFINITY), ("b", f64::NEG_INFINITY)]));
    }

    #[test]
    fn a_new_run_begins_empty_and_a_resumed_one_without_file_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        fs::write(&path, "{\"step\":1}\n").unwrap();
        MetricsFile::open(&path, None).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
        fs::remove_file(&path).unwrap();
        assert_eq!(MetricsFile::open(&path, Some(3)).unwrap().num_dropped(), 0);
        assert!(path.exists());
    }

    #[test]
    fn too_long_lines_and_garbage_are_dropped_and_their_neighbours_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut content = b"{\"step\":1}\n".to_vec();
        content.extend(vec![b'x'; 3 << 20]);
        content.extend(b"\n\xff\xfe\n\n{\"step\":2}\n{\"step\":-3}\n{\"step\":9}\n{\"step\":2");
        fs::write(&path, content).unwrap();
        assert_eq!(MetricsFile::open(&path, Some(5)).unwrap().num_dropped(), 6);
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":1}\n{\"step\":2}\n");
    }

    proptest! {
        /// Killed anywhere in a line, resumed anywhere: exactly the whole lines up to the step remain, and more follow.
        #[test]
        fn cutting_back_keeps_each_step_once(num_lines in 0..8u64, cut in any::<prop::sample::Index>(), step in 0..10u64) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("metrics.jsonl");
            let mut file = MetricsFile::open(&path, None).unwrap();
            for step in 0..num_lines {
                file.write(step, 0, 0.0, &values(&[("loss", step as f64)])).unwrap();
            }
            let mut content = fs::read(&path).unwrap();
            content.truncate(cut.index(content.len() + 1));
            let whole = content.iter().filter(|byte| **byte == b'\n').count() as u64;
            fs::write(&path, &content).unwrap();
            let mut file = MetricsFile::open(&path, Some(step)).unwrap();
            file.write(step + 1, 0, 0.0, &Metrics::new()).unwrap();
            let steps: Vec<_> = read_metrics(&path).unwrap().iter().map(|line| line.step).collect();
            let expected: Vec<_> = (0..whole.min(step + 1)).chain([step + 1]).collect();
            prop_assert_eq!(steps, expected);
        }
    }
}
