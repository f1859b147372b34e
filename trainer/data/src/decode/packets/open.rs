//! From a file to a demultiplexer and a decoder.

use std::fmt;

use fs_err::File;
use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::{
    CODEC_ID_AAC, CODEC_ID_MP1, CODEC_ID_MP2, CODEC_ID_MP3, CODEC_ID_VORBIS, profiles,
};
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoderOptions};
use symphonia::core::errors::Error;
use symphonia::core::formats::probe::{Hint, Probe};
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::MediaSourceStream;
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::TimeBase;
use symphonia::default::formats::{
    AiffReader, CafReader, FlacReader, IsoMp4Reader, MpaReader, OggReader, WavReader,
};

use super::super::error::DecodeProblem;
use super::super::source::Source;
use super::super::{MAX_SAMPLE_RATE, MIN_SAMPLE_RATE};
use super::mpeg::{self, Tag};
use super::section::Section;
use super::stream::{Clock, Stream};
use super::words::told;
use crate::sniff::SoundKind;

/// Most channels of a file that is decoded here.
const MAX_CHANNELS: usize = 64;
/// Bytes of an MP3's first frame that are looked at.
const NUM_TAG_BYTES: usize = 200;
/// By how much the length that an MP3 states may differ from the file's: tags at its end.
const TAG_SLACK_BYTES: u64 = 4096;

/// Frames of the longest packets that are usual in a CAF.
const CAF_PACKET_FRAMES: u64 = 4096;

/// What packets lie in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Container {
    Aiff,
    Caf,
    Flac,
    Mp3,
    Mp4,
    Ogg,
    /// With a codec of its own.
    Wav,
}

impl From<SoundKind> for Container {
    fn from(kind: SoundKind) -> Self {
        match kind {
            SoundKind::Aiff => Self::Aiff,
            SoundKind::Caf => Self::Caf,
            SoundKind::Flac => Self::Flac,
            SoundKind::Mp3 => Self::Mp3,
            SoundKind::Mp4 => Self::Mp4,
            SoundKind::Ogg => Self::Ogg,
        }
    }
}

/// How far a decoder has to hear what comes before, in frames. Frames of MP3 keep bits in those before them, and all lossy
/// formats overlap.
fn pre_roll(codec: &AudioCodecParameters) -> u64 {
    match codec.codec {
        CODEC_ID_MP1 | CODEC_ID_MP2 | CODEC_ID_MP3 => 32 * 1152,
        CODEC_ID_VORBIS => 2 * 8192,
        CODEC_ID_AAC => 4 * 1024,
        _ => 0,
    }
}

/// A file that can be decoded.
pub(super) struct Opened {
    file: File,
    begin: u64,
    len: u64,
    container: Container,
    /// Frames per second.
    pub sample_rate: u32,
    /// Samples per frame.
    pub channels: u16,
    /// Frames that the container states.
    pub stated_frames: Option<u64>,
    /// Frames in whose multiples it is stated.
    pub stated_in: u64,
    /// An MP3 with a tag that says how long it is, or one that says what is not so.
    pub mpeg: Option<MpegLength>,
    pub(super) pre_roll: u64,
}

/// What an MP3 says about its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MpegLength {
    /// Nothing, so that its frames are counted.
    Untold,
    /// As long as the file is.
    Fitting,
    /// Longer than the file.
    TooLong,
    /// Another length than the file's.
    Other,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("container", &self.container).finish_non_exhaustive()
    }
}

impl Opened {
    /// Opens what begins after `begin` bytes of a file.
    ///
    /// # Errors
    /// What is no such container, and what in it is not decoded, by name.
    pub fn new(source: &Source<'_>, container: Container, begin: u64) -> Result<Self, DecodeProblem> {
        let (file, len) = (source.reopened()?, source.len());
        let mpeg = match container {
            Container::Mp3 => {
                let mut first = [0; NUM_TAG_BYTES];
                let count = source.fill(begin, &mut first)?;
                let tag = mpeg::tag(first.get(..count).unwrap_or_default());
                Some(mpeg_length(tag, len.saturating_sub(begin)))
            }
            _ => None,
        };
        let reader = reader(container, file.try_clone()?, begin, len)?;
        let track = only_track(&*reader)?;
        let codec = audio_codec(track)?;
        let sample_rate = codec.sample_rate.unwrap_or_default();
        if !(MIN_SAMPLE_RATE..=MAX_SAMPLE_RATE).contains(&sample_rate) {
            return Err(DecodeProblem::SampleRate(sample_rate));
        }
        let mut opened = Self {
            sample_rate,
            channels: 0,
            // ffmpeg counts whole packets of ALAC.
            stated_in: if container == Container::Caf { CAF_PACKET_FRAMES } else { 1 },
            stated_frames: track.num_frames.filter(|&frames| frames > 0),
            pre_roll: pre_roll(codec),
            file,
            begin,
            len,
            container,
            mpeg,
        };
        (opened.sample_rate, opened.channels) = match codec.channels.as_ref().map(|channels| channels.count())
        {
            // What a header says is checked against what is decoded, which is what counts.
            Some(channels) if container != Container::Mp4 => (sample_rate, within(channels)?),
            _ => {
                let (decoded_rate, channels) = opened.stream()?.first_shape()?;
                if decoded_rate != sample_rate {
                    return Err(DecodeProblem::NotRead(OTHER_AAC));
                }
                (sample_rate, within(channels)?)
            }
        };
        Ok(opened)
    }

    /// Its packets from the beginning.
    pub fn stream(&self) -> Result<Stream, DecodeProblem> {
        let reader = reader(self.container, self.file.try_clone()?, self.begin, self.len)?;
        let track = only_track(&*reader)?;
        let codec = audio_codec(track)?;
        // An MP3 without a tag, or with one that is wrong, is trimmed by an estimate.
        let gapless = self.mpeg.is_none_or(|length| length == MpegLength::Fitting);
        let options = AudioDecoderOptions::default().gapless(gapless);
        let decoder = symphonia::default::get_codecs().make_audio_decoder(codec, &options).map_err(
            |error| match error {
                Error::Unsupported(_) if codec.codec == CODEC_ID_AAC => DecodeProblem::NotRead(OTHER_AAC),
                error => told(&error),
            },
        )?;
        let time_base = track.time_base.or(TimeBase::try_from_recip(self.sample_rate)).unwrap_or_default();
        let (id, start) = (track.id, track.start_ts.get());
        Ok(Stream::new(reader, decoder, id, self.clock(time_base, start), gapless))
    }

    /// Its packets from one on that lets the frame `first` be decoded exactly.
    pub fn stream_at(&self, first: u64) -> Result<Stream, DecodeProblem> {
        let mut stream = self.stream()?;
        let target = first.saturating_sub(self.pre_roll);
        // In packets of ADPCM the library seeks to another place.
        let is_sought = target > 0 && self.container != Container::Wav && stream.seek(target);
        if target == 0 || is_sought {
            return Ok(stream);
        }
        // What cannot be sought in is decoded from its beginning.
        self.stream()
    }

    fn clock(&self, time_base: TimeBase, start: i64) -> Clock {
        Clock {
            time_base,
            start: start.max(0),
            sample_rate: self.sample_rate,
            channels: self.channels,
            durations_count: self.container == Container::Mp4,
        }
    }
}

const OTHER_AAC: &str = "AAC other than AAC-LC of one or two channels, such as HE-AAC,";

fn within(channels: usize) -> Result<u16, DecodeProblem> {
    match channels {
        1..=MAX_CHANNELS => Ok(channels as u16),
        _ => Err(DecodeProblem::Undecodable(format!("{channels} channels"))),
    }
}

fn mpeg_length(tag: Option<Tag>, found: u64) -> MpegLength {
    match tag {
        Some(Tag { num_frames: Some(1..), num_bytes: Some(stated) }) if stated > found => MpegLength::TooLong,
        Some(Tag { num_frames: Some(1..), num_bytes: Some(stated) }) if found - stated > TAG_SLACK_BYTES => {
            MpegLength::Other
        }
        Some(Tag { num_frames: Some(1..), .. }) => MpegLength::Fitting,
        _ => MpegLength::Untold,
    }
}

fn reader(
    container: Container,
    file: File,
    begin: u64,
    len: u64,
) -> Result<Box<dyn FormatReader>, DecodeProblem> {
    let mut probe = Probe::new();
    match container {
        Container::Aiff => probe.register_format::<AiffReader<'_>>(),
        Container::Caf => probe.register_format::<CafReader<'_>>(),
        Container::Flac => probe.register_format::<FlacReader<'_>>(),
        Container::Mp3 => probe.register_format::<MpaReader<'_>>(),
        Container::Mp4 => probe.register_format::<IsoMp4Reader<'_>>(),
        Container::Ogg => probe.register_format::<OggReader<'_>>(),
        Container::Wav => probe.register_format::<WavReader<'_>>(),
    }
    let bytes = MediaSourceStream::new(Box::new(Section::new(file, begin, len)), Default::default());
    // Without a reader of tags, none is read, however large.
    probe
        .probe(&Hint::new(), bytes, FormatOptions::default(), MetadataOptions::default())
        .map_err(|error| told(&error))
}

/// The track of sound of a file without pictures.
fn only_track(reader: &dyn FormatReader) -> Result<&Track, DecodeProblem> {
    if reader.tracks().iter().any(|track| track.track_type() == Some(TrackType::Video)) {
        return Err(DecodeProblem::NotRead("a film, as phones and cameras record them,"));
    }
    match reader.tracks() {
        [track] => Ok(track),
        [] => Err(DecodeProblem::Undecodable("no track of sound".into())),
        tracks => {
            let sound = |track: &&Track| track.track_type() == Some(TrackType::Audio);
            let mut of_sound = tracks.iter().filter(sound);
            match (of_sound.next(), of_sound.next()) {
                // Chapters and captions of a recording.
                (Some(track), None) if reader.format_info().short_name == "isomp4" => Ok(track),
                _ => Err(DecodeProblem::NotRead("a file of several tracks")),
            }
        }
    }
}

fn audio_codec(track: &Track) -> Result<&AudioCodecParameters, DecodeProblem> {
    let Some(CodecParameters::Audio(codec)) = &track.codec_params else {
        return Err(DecodeProblem::NotRead(
            "sound that is encrypted (DRM), or in a codec that is not known,",
        ));
    };
    if matches!(codec.profile, Some(profiles::CODEC_PROFILE_AAC_HE | profiles::CODEC_PROFILE_AAC_HE_V2)) {
        return Err(DecodeProblem::NotRead(OTHER_AAC));
    }
    if symphonia::default::get_codecs().get_audio_decoder(codec.codec).is_none() {
        return Err(DecodeProblem::NotRead("a codec without a decoder here"));
    }
    Ok(codec)
}
