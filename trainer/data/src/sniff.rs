//! What a file is, by its first bytes. A name says only what somebody wanted it to be.

use std::path::Path;

use dtrain_configs::shell_path;

/// Bytes from the beginning of a file that tell what it is.
pub const NUM_FIRST_BYTES: usize = 512;

/// What is looked for where recordings are, in words.
pub const SOUND: &str = "WAV, FLAC, Ogg Vorbis, MP3, M4A, AIFF or CAF";

/// Recordings that are read by their packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SoundKind {
    /// Apple's and SGI's format of samples.
    Aiff,
    /// Apple's Core Audio Format.
    Caf,
    /// Free Lossless Audio Codec.
    Flac,
    /// MPEG audio, layer III.
    Mp3,
    /// MPEG-4, as M4A files are.
    Mp4,
    /// Ogg, with Vorbis or FLAC in it.
    Ogg,
}

/// Something else than what was looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A recording that is read, as a WAV file is.
    Sound(SoundKind),
    /// Sound or film that ffmpeg reads.
    Audio(&'static str),
    /// Files packed into one, with the command that unpacks it.
    Packed(&'static str, &'static str),
    /// A zip archive, as which `torch.save` writes too.
    Zip,
    /// A picture of its own.
    Picture(&'static str),
    /// Arrays or tables of another library.
    Arrays(&'static str),
    /// What Git LFS leaves in place of a file that has not been fetched.
    LfsPointer,
    /// What a server sends instead of a file.
    WebPage,
    /// What a Mac stores beside a file on other file systems.
    ResourceFork,
    /// Words.
    Text,
    /// Zeros only, as an interrupted download or a full disk leaves them.
    Zeros,
    /// Nothing.
    Empty,
}

/// Offset, bytes, what they tell. Longer ones before their beginnings.
const SIGNATURES: &[(usize, &[u8], FileKind)] = &[
    (0, b"version https://git-lfs", FileKind::LfsPointer),
    (0, b"fLaC", FileKind::Sound(SoundKind::Flac)),
    (28, b"OpusHead", FileKind::Audio("an Ogg file with Opus")),
    (28, b"Speex   ", FileKind::Audio("an Ogg file with Speex")),
    (28, b"\x80theora", FileKind::Audio("a film (Ogg with Theora)")),
    (0, b"OggS", FileKind::Sound(SoundKind::Ogg)),
    (0, b"ID3", FileKind::Audio("a file with an ID3 tag in front, as MP3 files have it")),
    (8, b"AIFF", FileKind::Sound(SoundKind::Aiff)),
    (8, b"AIFC", FileKind::Sound(SoundKind::Aiff)),
    (0, b".snd", FileKind::Audio("an AU file")),
    (0, b"caff", FileKind::Sound(SoundKind::Caf)),
    (0, b"NIST_1A", FileKind::Audio("a NIST SPHERE file")),
    (0, b"RIFX", FileKind::Audio("a big-endian WAV file (RIFX)")),
    (0, b"riff\x2e\x91\xcf\x11", FileKind::Audio("a Sony Wave64 file")),
    (0, b"wvpk", FileKind::Audio("a WavPack file")),
    (0, b"MAC ", FileKind::Audio("a Monkey's Audio file")),
    (0, b"TTA1", FileKind::Audio("a True Audio file")),
    (0, b"ajkg", FileKind::Audio("a Shorten file")),
    (0, b"#!AMR", FileKind::Audio("an AMR file")),
    (0, b"MThd", FileKind::Audio("a MIDI file")),
    (4, b"ftypqt  ", FileKind::Audio("a film (QuickTime)")),
    (4, b"ftypM4P", FileKind::Audio("an M4P file, which is encrypted (DRM)")),
    (4, b"ftypaax", FileKind::Audio("an audio book that is encrypted (DRM)")),
    (4, b"ftyp", FileKind::Sound(SoundKind::Mp4)),
    (0, b"\x1a\x45\xdf\xa3", FileKind::Audio("a Matroska or WebM file")),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", FileKind::Audio("a Windows Media file")),
    (8, b"AVI ", FileKind::Audio("an AVI file")),
    (8, b"WEBP", FileKind::Picture("a WebP picture")),
    (0, b"\x89PNG", FileKind::Picture("a PNG picture")),
    (0, b"\xff\xd8\xff", FileKind::Picture("a JPEG picture")),
    (0, b"GIF8", FileKind::Picture("a GIF picture")),
    (0, b"II*\0", FileKind::Picture("a TIFF picture")),
    (0, b"MM\0*", FileKind::Picture("a TIFF picture")),
    (0, b"%PDF", FileKind::Picture("a PDF document")),
    (0, b"\x1f\x8b", FileKind::Packed("a gzip file", "gunzip")),
    (257, b"ustar", FileKind::Packed("a tar archive", "tar xf")),
    (0, b"\xfd7zXZ\0", FileKind::Packed("an xz file", "xz -d")),
    (0, b"BZh", FileKind::Packed("a bzip2 file", "bunzip2")),
    (0, b"\x28\xb5\x2f\xfd", FileKind::Packed("a Zstandard file", "zstd -d")),
    (0, b"7z\xbc\xaf\x27\x1c", FileKind::Packed("a 7-Zip archive", "7z x")),
    (0, b"Rar!", FileKind::Packed("a RAR archive", "unrar x")),
    (0, b"PK\x03\x04", FileKind::Zip),
    (0, b"PK\x05\x06", FileKind::Zip),
    (0, b"\x93NUMPY", FileKind::Arrays("an array of numpy (.npy)")),
    (0, b"\x89HDF", FileKind::Arrays("an HDF5 file")),
    (0, b"PAR1", FileKind::Arrays("a Parquet file")),
    (0, b"ARROW1", FileKind::Arrays("an Arrow file")),
    (0, b"MATLAB 5", FileKind::Arrays("a MATLAB file")),
    (0, b"\0\x05\x16\x07", FileKind::ResourceFork),
];

/// Beginnings of what servers send, in small letters.
const MARKUP: [&[u8]; 6] = [b"<!doctype", b"<html", b"<head", b"<?xml", b"<error", b"<script"];

impl SoundKind {
    /// With its article.
    fn describe(self) -> &'static str {
        match self {
            Self::Aiff => "an AIFF file",
            Self::Caf => "a Core Audio file",
            Self::Flac => "a FLAC file",
            Self::Mp3 => "an MP3 file",
            Self::Mp4 => "an MP4 file (M4A, AAC)",
            Self::Ogg => "an Ogg file",
        }
    }
}

impl FileKind {
    /// What begins with these bytes; nothing where they do not tell. A file of which they are all may be shorter than
    /// [`NUM_FIRST_BYTES`].
    pub fn of(first: &[u8]) -> Option<Self> {
        if first.is_empty() {
            return Some(Self::Empty);
        }
        let by_signature = SIGNATURES
            .iter()
            .find(|(at, bytes, _)| first.get(*at..).is_some_and(|rest| rest.starts_with(bytes)))
            .map(|&(_, _, kind)| kind);
        by_signature.or_else(|| Self::by_look(first))
    }

    fn by_look(first: &[u8]) -> Option<Self> {
        let text = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
        let begins = |with: &&[u8]| text.get(..with.len()).is_some_and(|t| t.eq_ignore_ascii_case(with));
        if MARKUP.iter().any(begins) {
            return Some(Self::WebPage);
        }
        if first.len() >= 16 && first.iter().all(|&byte| byte == 0) {
            return Some(Self::Zeros);
        }
        // An MPEG frame: eleven bits that are set, a version that exists, layer II or III, or none as in AAC. Layer I is
        // out of use, and its two bytes are those of UTF-16.
        if let [0xff, second, ..] = *first
            && second & 0xe0 == 0xe0
            && second & 0x18 != 0x08
            && second & 0x06 != 0x06
        {
            return Some(match second & 0x06 {
                0 => Self::Audio("an AAC file (ADTS)"),
                2 => Self::Sound(SoundKind::Mp3),
                _ => Self::Audio("an MP2 file"),
            });
        }
        let is_text = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..);
        // The last letter may be cut.
        let is_unicode =
            std::str::from_utf8(first).map_or_else(|error| error.error_len().is_none(), |_| true);
        (first.len() >= 4 && is_unicode && first.iter().all(is_text)).then_some(Self::Text)
    }

    /// As [`FileKind::of`], but only what pixels and labels cannot be taken for: three bytes or more at the very
    /// beginning.
    pub fn of_binary(first: &[u8]) -> Option<Self> {
        let at_start =
            SIGNATURES.iter().find(|(at, bytes, _)| *at == 0 && bytes.len() > 2 && first.starts_with(bytes));
        at_start.map(|&(_, _, kind)| kind).or_else(|| Self::of(first).filter(|kind| *kind == Self::WebPage))
    }

    /// The command that unpacks `path`, which is of this kind; nothing where it is not packed.
    pub(super) fn how_to_unpack(self, path: &Path) -> Option<String> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let is_tar = [".tar", ".tgz", ".tbz2", ".txz"].iter().any(|ending| name.ends_with(ending))
            || name.contains(".tar.");
        let command = match self {
            Self::Packed(..) if is_tar => "tar xf",
            Self::Packed(_, command) => command,
            Self::Zip => "unzip",
            _ => return None,
        };
        Some(format!("`{command} {}`", shell_path(path)))
    }

    /// With its article.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Sound(kind) => kind.describe(),
            Self::Audio(name) | Self::Packed(name, _) | Self::Picture(name) | Self::Arrays(name) => name,
            Self::Zip => "a zip archive, which `torch.save` writes too",
            Self::LfsPointer => "a Git LFS pointer, which stands for a file that has not been fetched",
            Self::WebPage => "a web page, as a failed download leaves it",
            Self::ResourceFork => "what a Mac stores beside a file (`._NAME`)",
            Self::Text => "text",
            Self::Zeros => "zeros, as an interrupted download leaves them",
            Self::Empty => "empty",
        }
    }

    /// The next step, for one file or many; `wanted` is what was looked for, such as [`SOUND`].
    pub fn advice(self, wanted: &str) -> String {
        match self {
            Self::Audio(_) if wanted == SOUND => {
                "convert with ffmpeg, for instance `ffmpeg -i IN -vn OUT.flac`".into()
            }
            Self::Packed(_, command) => format!("unpack with `{command} FILE`"),
            Self::Zip => {
                "unpack an archive with `unzip FILE`; what `torch.save` wrote can be loaded with PyTorch and \
                          saved in one of the formats of docs/formats.md"
                    .into()
            }
            Self::LfsPointer => "`git lfs pull` in the repository fetches the files".into(),
            Self::WebPage | Self::Zeros | Self::Empty => {
                "download again, and look at the size of what came".into()
            }
            Self::ResourceFork => "delete these files: `find FOLDER -name '._*' -delete`".into(),
            Self::Sound(_) | Self::Audio(_) | Self::Picture(_) | Self::Arrays(_) | Self::Text => {
                format!("give {wanted} files; docs/formats.md says which formats are read")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        let tar = [&[b'a'; 257][..], b"ustar\0", &[0; 249]].concat();
        for (first, expected) in [
            (&b"fLaC\0\0\0\x22"[..], "a FLAC file"),
            (b"OggS\0\x02", "an Ogg file"),
            (
                b"OggS\0\x02\0\0\0\0\0\0\0\0\x7a\xae\xd7\x17\0\0\0\0CZp\x1a\x01\x13OpusHead",
                "an Ogg file with Opus",
            ),
            (b"FORM\0\0\0\0AIFFCOMM", "an AIFF file"),
            (b"\xff\xfb\x90\x64\0\0", "an MP3 file"),
            (b"\xff\xf1\x50\x80\0\0", "an AAC file (ADTS)"),
            (b"\0\0\0\x20ftypM4A ", "an MP4 file (M4A, AAC)"),
            (b"RIFX\0\0\0\0WAVE", "a big-endian WAV file (RIFX)"),
            (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
            (b"\xef\xbb\xbf\r\n <!DOCTYPE html><html>", "a web page"),
            (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied", "a web page"),
            (b"PK\x03\x04archive/data.pkl", "a zip archive"),
            (b"\x1f\x8b\x08", "a gzip file"),
            (&tar, "a tar archive"),
            (b"\0\x05\x16\x07\0\x02\0\0Mac OS X", "what a Mac stores"),
            (b"404: Not Found", "text"),
            (&[0; 64], "zeros"),
            (b"", "empty"),
        ] {
            let kind = FileKind::of(first).unwrap();
            assert!(kind.describe().starts_with(expected), "{} for {expected}", kind.describe());
            assert!(!kind.advice(SOUND).is_empty());
        }
        for binary in [&b"RIFF\x24\0\0\0WAVEfmt "[..], &[0, 0, 8, 3, 0, 0], &[7, 200, 3, 1, 9], &[0xff; 9]] {
            assert_eq!(FileKind::of(binary), None);
        }
    }
}
