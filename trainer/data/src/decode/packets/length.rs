//! How long a recording is: what its container says, where its end bears that out, and else what is counted.

use super::super::error::DecodeProblem;
use super::super::{MAX_FRAMES, RecordingNote};
use super::open::{MpegLength, Opened};
use super::stream::End;

/// How long a recording is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Length {
    pub num_frames: u64,
    /// In ascending order.
    pub notes: Vec<RecordingNote>,
}

impl Length {
    /// The length of a recording. Little of it is decoded unless it is cut or does not say.
    ///
    /// # Errors
    /// A recording without samples, or with too many.
    pub fn of(opened: &Opened) -> Result<Self, DecodeProblem> {
        let length = match (opened.mpeg, opened.stated_frames) {
            // To look at the end of an MP3 is to read all of it.
            (Some(MpegLength::Fitting), Some(num_frames)) => Self { num_frames, notes: Vec::new() },
            (Some(mpeg), _) => {
                let num_frames = opened.stream()?.count_frames();
                let notes = match mpeg {
                    MpegLength::TooLong => vec![RecordingNote::Cut],
                    MpegLength::Other => vec![RecordingNote::OtherLength],
                    MpegLength::Untold | MpegLength::Fitting => Vec::new(),
                };
                Self { num_frames, notes }
            }
            (None, Some(stated)) => Self::borne_out(opened, stated)?,
            (None, None) => {
                let (num_frames, end) = counted(opened, 0)?;
                Self { num_frames, notes: vec![note_of(&end).unwrap_or(RecordingNote::LengthUnknown)] }
            }
        };
        if length.num_frames == 0 {
            let is_cut = length.notes.contains(&RecordingNote::Cut);
            let cut = || DecodeProblem::Undecodable("it is cut short before its first sample".into());
            return Err(if is_cut { cut() } else { DecodeProblem::Empty });
        }
        if length.num_frames > MAX_FRAMES {
            return Err(DecodeProblem::TooLong {
                num_frames: length.num_frames,
                sample_rate: opened.sample_rate,
            });
        }
        Ok(length)
    }

    /// The stated length where decoding the last frame finds an end there.
    fn borne_out(opened: &Opened, stated: u64) -> Result<Self, DecodeProblem> {
        if stated <= MAX_FRAMES {
            let (num_frames, end) = counted(opened, stated - 1)?;
            if num_frames == stated {
                return Ok(Self { num_frames, notes: note_of(&end).into_iter().collect() });
            }
        }
        let (num_frames, end) = counted(opened, 0)?;
        let short = stated.checked_sub(num_frames);
        if end == End::Regular && short.is_some_and(|short| short < opened.stated_in) {
            return Ok(Self { num_frames, notes: Vec::new() });
        }
        let note = if num_frames < stated { RecordingNote::Cut } else { RecordingNote::OtherLength };
        let mut notes = vec![note];
        notes.extend(note_of(&end).filter(|other| *other > note));
        Ok(Self { num_frames, notes })
    }
}

fn note_of(end: &End) -> Option<RecordingNote> {
    match end {
        End::Cut => Some(RecordingNote::Cut),
        End::FurtherStream => Some(RecordingNote::FurtherStreams),
        End::Regular | End::Undecodable(_) => None,
    }
}

/// The number of frames, found by decoding from the frame `from` on, and how they end; 0 where there is none from there on.
fn counted(opened: &Opened, from: u64) -> Result<(u64, End), DecodeProblem> {
    let channels = u64::from(opened.channels.max(1));
    let mut num_frames = 0;
    let mut stream = opened.stream_at(from)?;
    let end = stream.each(from, |first, samples| {
        num_frames = first + samples.len() as u64 / channels;
        Ok(num_frames <= MAX_FRAMES)
    })?;
    match end {
        End::Undecodable(reason) => Err(DecodeProblem::Undecodable(reason)),
        end => Ok((num_frames, end)),
    }
}
