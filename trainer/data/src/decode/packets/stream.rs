//! Packets decoded one after the other, each sample with its place in the recording.

use symphonia::core::codecs::audio::AudioDecoder;
use symphonia::core::errors::Error;
use symphonia::core::formats::{FormatReader, SeekMode, SeekTo};
use symphonia::core::packet::Packet;
use symphonia::core::units::{TimeBase, Timestamp};

use super::super::error::DecodeProblem;
use super::words::told;

/// Packets in a row without a sample after which a file has no more.
const MAX_EMPTY_PACKETS: usize = 1000;
/// Frames of silence in place of packets that are damaged or missing: as many as were decoded, and these.
const MAX_FILLED_FRAMES: u64 = 1 << 18;

/// How the times of packets become frames.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    pub time_base: TimeBase,
    /// Time of the first frame.
    pub start: i64,
    pub sample_rate: u32,
    /// Samples per frame; 0 where that is not known yet.
    pub channels: u16,
    /// A packet has as many frames as its duration says, although more are decoded.
    pub durations_count: bool,
}

impl Clock {
    /// The frame at a time, counted from the first one; negative within the delay of an encoder.
    fn frame(&self, time: i64) -> i64 {
        let TimeBase { numer, denom } = self.time_base;
        let ticks = i128::from(time) - i128::from(self.start);
        let scaled = ticks * i128::from(numer.get()) * i128::from(self.sample_rate);
        let half = i128::from(denom.get() / 2);
        i64::try_from((scaled + half).div_euclid(i128::from(denom.get()))).unwrap_or(i64::MAX)
    }

    /// The time of a frame, or one shortly before.
    fn time(&self, frame: u64) -> i64 {
        let TimeBase { numer, denom } = self.time_base;
        let ticks = i128::from(frame) * i128::from(denom.get());
        let ticks = ticks / (i128::from(numer.get()) * i128::from(self.sample_rate)).max(1);
        i64::try_from(ticks).unwrap_or(i64::MAX).saturating_add(self.start)
    }
}

/// Why there are no more samples.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The file ends there, or nobody wanted more.
    Regular,
    /// The file ends in the middle of something.
    Cut,
    /// Another stream begins.
    FurtherStream,
    /// No packet could be decoded; the reason of the first one.
    Undecodable(String),
}

/// A demultiplexer, its decoder, and where they are.
pub(super) struct Stream {
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    clock: Clock,
    gapless: bool,
}

impl Stream {
    pub fn new(
        reader: Box<dyn FormatReader>,
        decoder: Box<dyn AudioDecoder>,
        track: u32,
        clock: Clock,
        gapless: bool,
    ) -> Self {
        Self { reader, decoder, track, clock, gapless }
    }

    /// Goes to the packet of a frame, or one before; false where that cannot be done.
    pub fn seek(&mut self, frame: u64) -> bool {
        let ts = Timestamp::new(self.clock.time(frame));
        let to = SeekTo::Timestamp { ts, track_id: self.track };
        let sought = self.reader.seek(SeekMode::Accurate, to);
        self.decoder.reset();
        sought.is_ok_and(|at| at.actual_ts <= ts)
    }

    /// Rate and channels of the first packet that can be decoded.
    pub fn first_shape(&mut self) -> Result<(u32, usize), DecodeProblem> {
        let mut first_error = None;
        for _ in 0..MAX_EMPTY_PACKETS {
            let packet = match self.reader.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => break,
                Err(_) if first_error.is_none() => {
                    let cut = "it is cut short before its first sample";
                    return Err(DecodeProblem::Undecodable(cut.into()));
                }
                Err(_) => break,
            };
            if packet.track_id != self.track {
                continue;
            }
            match self.decoder.decode(&packet) {
                Ok(decoded) => return Ok((decoded.spec().rate(), decoded.spec().channels().count())),
                Err(error) => drop(first_error.get_or_insert(error)),
            }
        }
        Err(first_error.map_or(DecodeProblem::Empty, |error| told(&error)))
    }

    /// Hands out what is decoded from the frame `begin` on, interleaved, with the number of its first frame, until `take` returns
    /// false. Damaged and missing packets are silence.
    pub fn each(
        &mut self,
        begin: u64,
        mut take: impl FnMut(u64, &[f32]) -> Result<bool, DecodeProblem>,
    ) -> Result<End, DecodeProblem> {
        let channels = usize::from(self.clock.channels);
        let begin = i64::try_from(begin).unwrap_or(i64::MAX);
        let (mut interleaved, mut position) = (Vec::new(), None);
        let (mut num_decoded, mut num_filled, mut num_empty) = (0u64, 0u64, 0usize);
        let mut first_error = None;
        let end = loop {
            let packet = match self.reader.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track => packet,
                Ok(Some(_)) => {
                    num_empty += 1;
                    if num_empty > MAX_EMPTY_PACKETS { break End::Cut } else { continue }
                }
                Ok(None) => break End::Regular,
                Err(Error::ResetRequired) => break End::FurtherStream,
                Err(_) => break End::Cut,
            };
            let first = self.first_frame(&packet);
            match self.decoder.decode(&packet) {
                Ok(decoded) if decoded.spec().channels().count() != channels => interleaved.clear(),
                Ok(decoded) => decoded.copy_to_vec_interleaved::<f32>(&mut interleaved),
                Err(Error::DecodeError(reason)) => {
                    first_error.get_or_insert(reason);
                    interleaved.clear();
                }
                Err(Error::ResetRequired) => break End::FurtherStream,
                Err(_) => break End::Cut,
            }
            if self.clock.durations_count {
                let end = packet.pts.get().saturating_add_unsigned(packet.dur.get());
                let stated = self.clock.frame(end).saturating_sub(first).max(0) as usize;
                interleaved.truncate(stated.saturating_mul(channels));
            }
            let frames = interleaved.len() / channels.max(1);
            let at = *position.get_or_insert(first);
            // Times that go back are those of a damaged file.
            let gap = first.saturating_sub(at).max(0) as u64;
            if frames == 0 {
                num_empty += 1;
            } else {
                num_empty = 0;
                num_decoded += frames as u64;
            }
            num_filled = num_filled.saturating_add(gap);
            if num_empty > MAX_EMPTY_PACKETS || num_filled > num_decoded.saturating_add(MAX_FILLED_FRAMES) {
                break End::Cut;
            }
            if gap > 0 {
                let silence = vec![0.0; gap as usize * channels];
                interleaved.splice(..0, silence);
            }
            let next = at.saturating_add((gap + frames as u64) as i64);
            position = Some(next);
            let skipped = usize::try_from(begin.saturating_sub(at).max(0)).unwrap_or(usize::MAX);
            let wanted = interleaved.get(skipped.saturating_mul(channels)..).unwrap_or_default();
            if !wanted.is_empty() && !take(at.max(begin).max(0) as u64, wanted)? {
                break End::Regular;
            }
        };
        match first_error {
            Some(reason) if num_decoded == 0 => Ok(End::Undecodable(reason.to_owned())),
            _ => Ok(end),
        }
    }

    /// Frames of a recording whose packets are of one length, as those of MP3; none is decoded.
    pub fn count_frames(&mut self) -> u64 {
        let (mut begin, mut end) = (None, 0);
        while let Ok(Some(packet)) = self.reader.next_packet() {
            let first = self.clock.frame(packet.pts.get());
            let len = match begin {
                Some(begin) => first.saturating_sub(begin),
                None => i64::try_from(packet.dur.get()).unwrap_or(i64::MAX),
            };
            (begin, end) = (Some(first), first.saturating_add(len));
        }
        end.max(0) as u64
    }

    /// Where the samples of a packet begin.
    fn first_frame(&self, packet: &Packet) -> i64 {
        let trimmed = if self.gapless { packet.trim_start.get() } else { 0 };
        self.clock.frame(packet.pts.get().saturating_add_unsigned(trimmed))
    }
}
