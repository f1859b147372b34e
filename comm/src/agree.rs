//! All ranks go on, or none: a failure of one rank becomes known to all before anybody waits for it.

use std::fmt::{self, Display};

use crate::error::CommError;

/// Longest message of a rank.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// Why the ranks do not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// Some ranks, or all, reported a failure.
    #[error("{0}")]
    Failed(Failures),
    /// The ranks could not ask each other.
    #[error(transparent)]
    Comm(#[from] CommError),
}

/// What failed where; the same value on all ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failures {
    /// Number of ranks that were asked.
    pub world_size: usize,
    /// The different messages in the order of the lowest rank that has them.
    pub causes: Vec<Cause>,
}

/// A message and the ranks that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// Ascending.
    pub ranks: Vec<usize>,
    /// The text of the error.
    pub message: String,
}

impl Failures {
    /// Of what each rank has sent: nothing, or `!` and its message.
    pub(crate) fn fold(messages: &[Vec<u8>]) -> Self {
        let mut causes: Vec<Cause> = Vec::new();
        for (rank, bytes) in messages.iter().enumerate() {
            let Some((_, text)) = bytes.split_first() else { continue };
            let message = String::from_utf8_lossy(text).into_owned();
            match causes.iter_mut().find(|cause| cause.message == message) {
                Some(cause) => cause.ranks.push(rank),
                None => causes.push(Cause { ranks: vec![rank], message }),
            }
        }
        Self { world_size: messages.len(), causes }
    }
}

impl Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [cause] = self.causes.as_slice()
            && cause.ranks.len() == self.world_size
        {
            return f.write_str(&cause.message);
        }
        for (index, cause) in self.causes.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}: {}", rank_list(&cause.ranks), cause.message)?;
        }
        Ok(())
    }
}

/// `rank 3`, or `ranks 0-3, 5`; `ranks` is ascending.
pub(crate) fn rank_list(ranks: &[usize]) -> String {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for &rank in ranks {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == rank => *last = rank,
            _ => spans.push((rank, rank)),
        }
    }
    let spans: Vec<String> = spans
        .iter()
        .map(|&(first, last)| if first == last { first.to_string() } else { format!("{first}-{last}") })
        .collect();
    format!("{} {}", if ranks.len() == 1 { "rank" } else { "ranks" }, spans.join(", "))
}

pub(crate) fn shortened(mut text: String) -> String {
    if text.len() > MAX_MESSAGE_BYTES {
        let mut end = MAX_MESSAGE_BYTES - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ext::CollectiveExt;
    use crate::single::Single;

    /// Of what each rank has sent: nothing, or `!` and its message.
    pub(crate) fn fold(messages: &[&str]) -> String {
        Failures::fold(&messages.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>()).to_string()
    }

    #[test]
    fn one_message_of_all_ranks_is_said_once() {
        assert_eq!(fold(&["!no such file", "!no such file"]), "no such file");
    }

    #[test]
    fn messages_name_their_ranks() {
        assert_eq!(
            fold(&["!disk full", "!disk full", "", "!no GPU", "!disk full"]),
            "ranks 0-1, 4: disk full\nrank 3: no GPU"
        );
    }

    #[test]
    fn an_empty_message_is_a_failure() {
        assert_eq!(Single::new().agree(Err::<(), _>("")).unwrap_err().to_string(), "");
        assert_eq!(Single::new().agree(Ok::<_, String>(7)), Ok(7));
    }

    #[test]
    fn long_messages_are_cut_at_a_character() {
        let text = shortened("ä".repeat(MAX_MESSAGE_BYTES));
        assert!(text.len() <= MAX_MESSAGE_BYTES && text.ends_with("ä…"));
    }
}
