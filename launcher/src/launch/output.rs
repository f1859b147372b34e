//! The output of ranks: each byte is filed, each line is shown as soon as it is whole, the last lines are kept for the case
//! that the rank dies. Rank 0 speaks for all and stands without prefix; a line of another rank begins with its number.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dtrain_front::Printer;
use dtrain_front::rank::Channel;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use super::mpirun::{Chatter, tagged};

const CHUNK_BYTES: usize = 64 << 10;
/// A longer line is shown in pieces.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Lines of a rank that are shown when it dies.
const TAIL_LINES: usize = 8;
/// What is kept of mpirun's own words.
const MAX_MPIRUN_BYTES: usize = 256 << 10;

/// Everything that the processes of an attempt say.
pub struct Output {
    sources: Vec<Source>,
    printer: Printer,
    /// Folder of the files; `None` files nothing.
    files: Option<PathBuf>,
    tails: BTreeMap<usize, VecDeque<String>>,
    mpirun: Vec<u8>,
    chatter: Chatter,
}

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaker {
    Rank(usize),
    Mpirun,
}

struct Source {
    speaker: Speaker,
    channel: Channel,
    end: File,
    open: bool,
    file: Option<File>,
    line: Vec<u8>,
}

impl Output {
    /// Makes the pipes of `num_ranks` ranks in `job`, into which [`dtrain_front::rank::begin`] writes. `files` is a folder that
    /// exists.
    ///
    /// # Errors
    /// I/O errors; too many open files.
    pub fn new(job: &Path, num_ranks: usize, files: Option<PathBuf>, printer: Printer) -> io::Result<Self> {
        let mut output = Self {
            sources: Vec::with_capacity(2 * num_ranks + 2),
            printer,
            files,
            tails: BTreeMap::new(),
            mpirun: Vec::new(),
            chatter: Chatter::default(),
        };
        for rank in 0..num_ranks {
            for channel in Channel::ALL {
                let path = job.join(channel.file_name(rank));
                nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
                // Open for writing too, so that it neither waits for its rank nor ends with it.
                let mut options = OpenOptions::new();
                options.read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits());
                output.add(Speaker::Rank(rank), channel, options.open(path)?);
            }
        }
        Ok(output)
    }

    /// Adds the outputs of the process that was started: mpirun, or the only rank until it has found its pipes.
    pub fn add_child(&mut self, is_mpirun: bool, out: Option<OwnedFd>, err: Option<OwnedFd>) {
        let speaker = if is_mpirun { Speaker::Mpirun } else { Speaker::Rank(0) };
        for (channel, end) in Channel::ALL.into_iter().zip([out, err]) {
            if let Some(end) = end {
                self.add(speaker, channel, File::from(end));
            }
        }
    }

    fn add(&mut self, speaker: Speaker, channel: Channel, end: File) {
        self.sources.push(Source { speaker, channel, end, open: true, file: None, line: Vec::new() });
    }

    /// Waits for output, but no longer than `timeout`, and takes what is there. Returns whether there was any.
    ///
    /// # Errors
    /// The system's; a signal is none.
    pub fn take(&mut self, timeout: Duration) -> io::Result<bool> {
        let ready = self.ready(timeout)?;
        let mut chunk = vec![0; if ready.is_empty() { 0 } else { CHUNK_BYTES }];
        let mut any = false;
        for at in ready {
            let Some(source) = self.sources.get_mut(at) else { continue };
            match source.end.read(&mut chunk) {
                Ok(0) => source.open = false,
                Ok(count) => {
                    any = true;
                    let bytes = chunk.get(..count).unwrap_or_default();
                    self.keep(at, bytes);
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(_) => source.open = false,
            }
        }
        Ok(any)
    }

    fn ready(&self, timeout: Duration) -> io::Result<Vec<usize>> {
        let open: Vec<(usize, &Source)> = self.sources.iter().enumerate().filter(|(_, s)| s.open).collect();
        let mut ends: Vec<PollFd<'_>> =
            open.iter().map(|(_, source)| PollFd::new(source.end.as_fd(), PollFlags::POLLIN)).collect();
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX);
        match poll(&mut ends, timeout) {
            Err(Errno::EINTR) => return Ok(Vec::new()),
            polled => polled?,
        };
        let is_ready = |end: &PollFd<'_>| end.revents().is_some_and(|events| !events.is_empty());
        Ok(open.iter().zip(&ends).filter(|(_, end)| is_ready(end)).map(|((at, _), _)| *at).collect())
    }

    /// After the end of the processes: takes what is left, lines without an end too.
    ///
    /// # Errors
    /// As for [`Self::take`].
    pub fn finish(&mut self) -> io::Result<()> {
        while self.take(Duration::ZERO)? {}
        for at in 0..self.sources.len() {
            let rest =
                self.sources.get_mut(at).map(|source| std::mem::take(&mut source.line)).unwrap_or_default();
            if !rest.is_empty() {
                self.say(at, &rest);
            }
        }
        Ok(())
    }

    /// The last lines of a rank.
    pub fn last_lines(&self, rank: usize) -> Vec<String> {
        self.tails.get(&rank).map(|tail| tail.iter().cloned().collect()).unwrap_or_default()
    }

    /// mpirun's own words.
    pub fn mpirun(&self) -> String {
        String::from_utf8_lossy(&self.mpirun).into_owned()
    }

    /// Whether any rank has said anything.
    pub fn any_rank_spoke(&self) -> bool {
        !self.tails.is_empty()
    }

    fn keep(&mut self, at: usize, bytes: &[u8]) {
        let Some(source) = self.sources.get_mut(at) else { return };
        if let Some(folder) = &self.files
            && let Err(error) = source.file_bytes(folder, bytes)
        {
            // Ranks on a full disk must still be heard.
            self.printer.warn(&format!("the output of ranks is no longer filed: {error}"));
            self.files = None;
        }
        let mut lines = Vec::new();
        source.line.extend_from_slice(bytes);
        while let Some(end) = source.line.iter().position(|byte| *byte == b'\n') {
            let mut line: Vec<u8> = source.line.drain(..=end).collect();
            line.pop();
            lines.push(line);
        }
        if source.line.len() > MAX_LINE_BYTES {
            lines.push(std::mem::take(&mut source.line));
        }
        for line in lines {
            self.say(at, &line);
        }
    }

    /// Shows a line and remembers it.
    fn say(&mut self, at: usize, line: &[u8]) {
        let Some(source) = self.sources.get(at) else { return };
        match (source.speaker, tagged(line)) {
            (Speaker::Rank(rank), _) => self.say_of(rank, source.channel, line),
            (Speaker::Mpirun, Some((rank, channel, line))) => self.say_of(rank, channel, line),
            (Speaker::Mpirun, None) => {
                if self.mpirun.len() < MAX_MPIRUN_BYTES {
                    self.mpirun.extend_from_slice(line);
                    self.mpirun.push(b'\n');
                }
                if self.chatter.is_news(&String::from_utf8_lossy(line)) {
                    self.printer.relay(Channel::Err, "", line);
                }
            }
        }
    }

    fn say_of(&mut self, rank: usize, channel: Channel, line: &[u8]) {
        let prefix = if rank == 0 { String::new() } else { format!("[{rank}] ") };
        self.printer.relay(channel, &prefix, line);
        let tail = self.tails.entry(rank).or_default();
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(String::from_utf8_lossy(line).into_owned());
    }
}

impl Source {
    fn file_bytes(&mut self, folder: &Path, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let name = match (self.speaker, self.channel) {
                (Speaker::Rank(rank), channel) => channel.file_name(rank),
                (Speaker::Mpirun, Channel::Out) => "mpirun.out".to_owned(),
                (Speaker::Mpirun, Channel::Err) => "mpirun.err".to_owned(),
            };
            let options = fs_err::OpenOptions::new().create(true).append(true).open(folder.join(name))?;
            self.file = Some(options.into_parts().0);
        }
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(num_ranks: usize) -> (tempfile::TempDir, Output, PathBuf) {
        let job = tempfile::tempdir().unwrap();
        let files = job.path().join("files");
        std::fs::create_dir(&files).unwrap();
        // The printer of a rank that does not speak: the test's own output stays clean.
        let output = Output::new(job.path(), num_ranks, Some(files.clone()), Printer::new(1)).unwrap();
        (job, output, files)
    }

    fn write(job: &tempfile::TempDir, rank: usize, channel: Channel, bytes: &[u8]) {
        let mut pipe = OpenOptions::new().write(true).open(job.path().join(channel.file_name(rank))).unwrap();
        pipe.write_all(bytes).unwrap();
    }

    #[test]
    fn every_byte_is_filed_and_the_last_lines_are_kept() {
        let (job, mut output, files) = output(2);
        write(&job, 1, Channel::Err, b"one\ntw");
        assert!(output.take(Duration::ZERO).unwrap());
        assert_eq!(output.last_lines(1), ["one"]);
        write(&job, 1, Channel::Err, b"o\n\xff");
        write(&job, 0, Channel::Out, b"data");
        output.finish().unwrap();
        assert_eq!(output.last_lines(1), ["one", "two", "\u{fffd}"]);
        assert_eq!(std::fs::read(files.join("rank_001.err")).unwrap(), b"one\ntwo\n\xff");
        assert_eq!(std::fs::read(files.join("rank_000.out")).unwrap(), b"data");
        assert!(!files.join("rank_000.err").exists(), "no file without output");
    }

    #[test]
    fn many_lines_leave_the_last_ones() {
        let (job, mut output, files) = output(1);
        let text: String = (0..5000).map(|line| format!("line {line}\n")).collect();
        for piece in text.as_bytes().chunks(1000) {
            write(&job, 0, Channel::Err, piece);
            output.take(Duration::ZERO).unwrap();
        }
        output.finish().unwrap();
        let expected: Vec<String> = (4992..5000).map(|line| format!("line {line}")).collect();
        assert_eq!(output.last_lines(0), expected);
        assert_eq!(std::fs::read_to_string(files.join("rank_000.err")).unwrap(), text);
    }

    #[test]
    fn lines_that_come_through_mpirun_belong_to_their_rank() {
        let (_job, mut output, _files) = output(0);
        let (read, write) = std::io::pipe().unwrap();
        output.add_child(true, None, Some(read.into()));
        (&write).write_all(b"[1,3]<stderr>:error: x\nhost key unknown\n").unwrap();
        drop(write);
        output.finish().unwrap();
        assert_eq!(output.last_lines(3), ["error: x"]);
        assert_eq!(output.mpirun(), "host key unknown\n");
        assert!(!output.sources[0].open);
    }

    #[test]
    fn a_folder_that_is_gone_does_not_silence_the_ranks() {
        let (job, mut output, files) = output(1);
        std::fs::remove_dir(files).unwrap();
        write(&job, 0, Channel::Err, b"still here\n");
        output.finish().unwrap();
        assert_eq!(output.last_lines(0), ["still here"]);
    }
}
