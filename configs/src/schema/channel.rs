//! Which channel of a recording is heard.

use std::fmt;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is heard of recordings of several channels. Written as `mean`, or as the number of a channel from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Channel {
    /// The mean of all channels.
    #[default]
    Mean,
    /// One channel, counted from 0.
    Number(u16),
}

impl Serialize for Channel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Mean => serializer.serialize_str("mean"),
            Self::Number(number) => number.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Channel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChannelVisitor)
    }
}

struct ChannelVisitor;

impl Visitor<'_> for ChannelVisitor {
    type Value = Channel;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("`mean`, or the number of a channel from 0")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<Channel, E> {
        match word {
            "mean" => Ok(Channel::Mean),
            other => Err(E::invalid_value(serde::de::Unexpected::Str(other), &self)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Channel, E> {
        match u16::try_from(number) {
            Ok(number) => Ok(Channel::Number(number)),
            Err(_) => Err(E::invalid_value(serde::de::Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Channel, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(serde::de::Unexpected::Signed(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_read_back() {
        for (text, channel) in
            [("\"mean\"", Channel::Mean), ("0", Channel::Number(0)), ("65535", Channel::Number(65535))]
        {
            assert_eq!(serde_json::from_str::<Channel>(text).unwrap(), channel);
            assert_eq!(serde_json::to_string(&channel).unwrap(), text);
        }
        for text in ["\"left\"", "-1", "65536", "0.5"] {
            let error = serde_json::from_str::<Channel>(text).unwrap_err().to_string();
            assert!(error.contains("`mean`, or the number of a channel from 0"), "{error}");
        }
    }
}
