//! Pages on their way to another node. Times travel as ages, since every node has a clock of its own.

use std::time::Duration;

use super::super::calls::{Calls, ChannelId, MAX_CHANNELS};
use super::super::clock::Moment;
use super::super::operation::{Operation, Purpose};
use super::super::process::ProcessState;
use super::super::row::Row;
use super::super::stage::Stage;

const ROW_BYTES: usize = 4 + 1 + 1 + 8 + 3 * 4 + 1;
const CALLS_BYTES: usize = 1 + 8 + 8 + 8 + 1 + 4;

/// An age that is none, or too long to be counted.
const NO_AGE: u32 = u32::MAX;

/// What a frame says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct News {
    /// The rank that tells the person, if one does.
    pub speaker: Option<usize>,
    /// Without what never changes.
    pub rows: Vec<Row>,
}

/// The longest frame of a world.
pub(super) fn max_bytes(world_size: usize) -> usize {
    8 + world_size * (ROW_BYTES + MAX_CHANNELS * CALLS_BYTES)
}

pub(super) fn encode(rows: &[Row], speaker: Option<usize>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + rows.len() * (ROW_BYTES + 2 * CALLS_BYTES));
    let mut put = |word: &[u8]| bytes.extend_from_slice(word);
    put(&number(speaker.map_or(0, |rank| rank + 1)));
    put(&number(rows.len()));
    for row in rows {
        put(&number(row.rank));
        put(&[row.process.code(), row.stage.code()]);
        put(&row.step.map_or(0, |step| step.saturating_add(1)).to_le_bytes());
        for age in [row.beat_age, Some(row.heard_age), Some(row.stage_age)] {
            put(&millis(age));
        }
        let channels = row.channels.get(..MAX_CHANNELS).unwrap_or(&row.channels);
        put(&[channels.len() as u8]);
        for calls in channels {
            put(&[calls.id.purpose.code()]);
            for count in [calls.id.number, calls.begun, calls.ended] {
                put(&count.to_le_bytes());
            }
            put(&[calls.operation.code()]);
            put(&millis(calls.since.age(row.now)));
        }
    }
    bytes
}

/// Reads a frame at `now`; `None` for anything that is not exactly one frame of a world of that size.
pub(super) fn decode(bytes: &[u8], world_size: usize, now: Moment) -> Option<News> {
    let mut rest = Reader(bytes);
    let speaker = rest.number()?.checked_sub(1).filter(|&rank| rank < world_size);
    let count = rest.number()?;
    if count > world_size {
        return None;
    }
    let rows: Option<Vec<Row>> = (0..count).map(|_| rest.row(now)).collect();
    rest.0.is_empty().then_some(News { speaker, rows: rows? })
}

fn number(value: usize) -> [u8; 4] {
    u32::try_from(value).unwrap_or(u32::MAX).to_le_bytes()
}

fn millis(age: Option<Duration>) -> [u8; 4] {
    age.and_then(|age| u32::try_from(age.as_millis()).ok()).unwrap_or(NO_AGE).to_le_bytes()
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn number(&mut self) -> Option<usize> {
        self.take().map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    fn count(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// The outer `None` is the end of the bytes, the inner one an age that is none.
    fn age(&mut self) -> Option<Option<Duration>> {
        let millis = self.take().map(u32::from_le_bytes)?;
        Some((millis != NO_AGE).then(|| Duration::from_millis(millis.into())))
    }

    fn row(&mut self, now: Moment) -> Option<Row> {
        let rank = self.number()?;
        let (process, stage) = (ProcessState::of_code(self.byte()?.into()), Stage::of_code(self.byte()?));
        let step = self.count()?.checked_sub(1);
        let (beat_age, heard_age, stage_age) = (self.age()?, self.age()?, self.age()?);
        let num_channels = usize::from(self.byte()?);
        if num_channels > MAX_CHANNELS {
            return None;
        }
        let channels: Option<Vec<Calls>> = (0..num_channels).map(|_| self.calls(now)).collect();
        Some(Row {
            rank,
            process,
            stage,
            step,
            beat_age,
            heard_age: heard_age.unwrap_or(Duration::MAX),
            stage_age: stage_age.unwrap_or(Duration::MAX),
            channels: channels?,
            now,
            ..Row::default()
        })
    }

    fn calls(&mut self, now: Moment) -> Option<Calls> {
        let purpose = Purpose::of_code(self.byte()?);
        // One more than the number has to fit beside the purpose.
        let number = self.count()?.min(1 << 48);
        let (begun, ended) = (self.count()?, self.count()?);
        let operation = Operation::of_code(self.byte()?);
        let since = self.age()?.map_or_else(Moment::default, |age| now.before(age));
        Some(Calls { id: ChannelId { purpose, number }, begun, ended, operation, since })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: u64) -> Moment {
        Moment::from_start(Duration::from_secs(secs))
    }

    fn news() -> News {
        let id = ChannelId { purpose: Purpose::Nccl, number: 2 };
        let calls = Calls { id, begun: 9, ended: 8, operation: Operation::Group, since: at(97) };
        let row = Row {
            rank: 3,
            process: ProcessState::Disk,
            stage: Stage::Saving,
            step: Some(7),
            beat_age: None,
            heard_age: Duration::from_secs(2),
            stage_age: Duration::from_secs(5),
            channels: vec![calls; MAX_CHANNELS],
            now: at(100),
            ..Row::default()
        };
        News { speaker: Some(2), rows: vec![row.clone(), Row { rank: 0, step: None, ..row }] }
    }

    #[test]
    fn news_survive_the_journey_to_another_clock() {
        let News { speaker, rows } = news();
        let bytes = encode(&rows, speaker);
        assert_eq!(bytes.len(), max_bytes(2));
        assert_eq!(decode(&bytes, 4, at(100)), Some(news()));
        // On a node that started 60 seconds later.
        let there = decode(&bytes, 4, at(40)).unwrap();
        assert_eq!(there.rows[0].channels[0].since, at(37));
    }

    #[test]
    fn frames_of_another_world_are_refused() {
        let bytes = encode(&news().rows, Some(2));
        assert_eq!(decode(&bytes, 1, at(1)), None, "more rows than ranks");
        assert_eq!(decode(&bytes[..bytes.len() - 1], 4, at(1)), None);
        assert_eq!(decode(&[&bytes[..], &[0]].concat(), 4, at(1)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = decode(&bytes, 4, at(1));
        }

        #[test]
        fn damaged_frames_are_read_without_panic(at_byte in 0_usize..400, value in any::<u8>()) {
            let mut bytes = encode(&news().rows, Some(2));
            if let Some(byte) = bytes.get_mut(at_byte) {
                *byte = value;
            }
            if let Some(news) = decode(&bytes, 4, at(1)) {
                prop_assert!(news.rows.len() <= 4);
            }
        }
    }
}
