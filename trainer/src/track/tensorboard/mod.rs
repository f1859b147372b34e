//! TensorBoard event files, without TensorFlow: records of hand-encoded messages that its reader understands. Each
//! start of a run writes its own file; a resumed one tells TensorBoard to forget the points after the checkpoint.

mod hparams;
mod proto;
mod record;

use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fs_err as fs;

pub use hparams::{HparamValue, SessionStatus};

use super::picture::Picture;
use super::{Metrics, TrackError};
use proto::{Message, Payload};

/// An open event file. Events are handed to the operating system with [`Self::flush`], at the latest when dropped.
#[derive(Debug)]
pub struct EventWriter<W: Write = io::BufWriter<fs::File>> {
    sink: W,
    clock: fn() -> f64,
}

impl EventWriter {
    /// Starts a new file in `dir`. With `resume_at_step`, TensorBoard drops what earlier files hold beyond that step.
    ///
    /// # Errors
    /// I/O errors.
    pub fn create(dir: &Path, resume_at_step: Option<u64>) -> Result<Self, TrackError> {
        fs::create_dir_all(dir)?;
        let secs = unix_secs() as u64;
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim().replace(['/', '\0'], "_");
        // TensorBoard reads files in the order of their names: the time first, then a number for starts within a second.
        let stem = format!("events.out.tfevents.{secs:010}.{host}.{}", std::process::id());
        let mut number = 0;
        let file = loop {
            match fs::File::create_new(dir.join(format!("{stem}.{number}"))) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
                file => break file?,
            }
        };
        Self::start(io::BufWriter::new(file), unix_secs, resume_at_step)
    }
}

impl<W: Write> EventWriter<W> {
    /// The first `SessionLog.START` of a run only tells that later ones are restarts; each later one makes TensorBoard
    /// drop steps at or beyond its own.
    fn start(sink: W, clock: fn() -> f64, resume_at_step: Option<u64>) -> Result<Self, TrackError> {
        let mut writer = Self { sink, clock };
        writer.write(0, &Payload::FileVersion)?;
        writer.write(resume_at_step.map_or(0, |step| step.saturating_add(1)), &Payload::SessionStart)?;
        writer.flush()?;
        Ok(writer)
    }

    /// Writes one point of each metric.
    ///
    /// # Errors
    /// I/O errors.
    pub fn scalars(&mut self, step: u64, values: &Metrics) -> Result<(), TrackError> {
        let values: Vec<_> = values.iter().map(|(tag, value)| proto::scalar(tag, *value)).collect();
        self.write(step, &Payload::Summary(&values))
    }

    /// Writes a picture.
    ///
    /// # Errors
    /// I/O errors.
    pub fn image(&mut self, step: u64, tag: &str, picture: &Picture) -> Result<(), TrackError> {
        let value = proto::image(tag, picture.width, picture.height, &picture.png);
        self.write(step, &Payload::Summary(&[value]))
    }

    /// Writes the run's settings for the HPARAMS tab, once per run, and the tags of the metrics to show beside them.
    ///
    /// # Errors
    /// I/O errors.
    pub fn hparams(
        &mut self,
        hparams: &[(String, HparamValue)],
        metrics: &[String],
    ) -> Result<(), TrackError> {
        for value in hparams::start(hparams, metrics, (self.clock)()) {
            self.write(0, &Payload::Summary(&[value]))?;
        }
        self.flush()
    }

    /// Writes how the run ended and flushes. A run that stops to be resumed has not ended.
    ///
    /// # Errors
    /// I/O errors.
    pub fn end(&mut self, status: SessionStatus) -> Result<(), TrackError> {
        let value: Message = hparams::end(status, (self.clock)());
        self.write(0, &Payload::Summary(&[value]))?;
        self.flush()
    }

    /// Hands what was written to the operating system, where TensorBoard sees it.
    ///
    /// # Errors
    /// I/O errors.
    pub fn flush(&mut self) -> Result<(), TrackError> {
        Ok(self.sink.flush()?)
    }

    fn write(&mut self, step: u64, payload: &Payload<'_>) -> Result<(), TrackError> {
        let event = proto::event((self.clock)(), step, payload);
        Ok(record::write_record(&mut self.sink, &event.into_bytes())?)
    }
}

fn unix_secs() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::track::{Color, Matrix};

    /// Made by TensorBoard itself, see `fixtures/make_events.py`.
    const GOLDEN: &str = include_str!("../../../fixtures/events.hex");
    const PNG: &str = "89504e470d0a1a0a0000000d49484452000000030000000208020000001216f14d0000001a49444154789c05c10101\
                       00000802206ca603bb59905360108b071bc10204a86277200000000049454e44ae426082";

    fn from_hex(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    fn the_bytes_are_those_of_tensorboards_own_writer() {
        let mut bytes = Vec::new();
        let mut writer = EventWriter::start(&mut bytes, || 1_700_000_000.25, Some(300)).unwrap();
        let hparams = [
            ("lr".to_owned(), HparamValue::Number(0.5)),
            ("method".to_owned(), HparamValue::Text("simclr".into())),
            ("sync_bn".to_owned(), HparamValue::Bool(false)),
        ];
        writer.hparams(&hparams, &["val/knn_top1".into()]).unwrap();
        for step in [301, 302] {
            let loss = 100.0 / step as f64;
            let values = [("train/loss".to_owned(), loss), ("train/zero".to_owned(), 0.0)].into();
            writer.scalars(step, &values).unwrap();
        }
        writer.image(302, "train/views", &Picture { width: 3, height: 2, png: from_hex(PNG) }).unwrap();
        writer.end(SessionStatus::Success).unwrap();
        assert!(
            bytes == from_hex(GOLDEN),
            "{}",
            bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()
        );
    }

    #[test]
    fn starts_within_a_second_get_files_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..3 {
            let mut writer = EventWriter::create(dir.path(), Some(10)).unwrap();
            let picture =
                Picture::grid(&[vec![Matrix::new(&[0.0; 4], 1, 2, 2).unwrap()]], &[], Color::Gray).unwrap();
            writer.image(11, "views", &picture).unwrap();
        }
        let entries = fs::read_dir(dir.path()).unwrap();
        let sizes: Vec<_> = entries.map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
        assert_eq!(sizes.len(), 3);
        assert!(sizes.iter().all(|size| *size > 100));
    }
}
