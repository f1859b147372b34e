//! The few protocol buffer messages of TensorBoard that are written, encoded by hand: field numbers are those of
//! `event.proto` and `summary.proto` in TensorBoard 2.

/// Wire types of <https://protobuf.dev/programming-guides/encoding/>.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED_32: u64 = 5;

/// A message that grows field by field.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Message(Vec<u8>);

impl Message {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn uint(mut self, field: u64, value: u64) -> Self {
        self.key(field, VARINT);
        self.varint(value);
        self
    }

    pub(super) fn bool(self, field: u64, value: bool) -> Self {
        self.uint(field, u64::from(value))
    }

    pub(super) fn double(mut self, field: u64, value: f64) -> Self {
        self.key(field, FIXED_64);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn float(mut self, field: u64, value: f32) -> Self {
        self.key(field, FIXED_32);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, field: u64, value: &[u8]) -> Self {
        self.key(field, LENGTH_DELIMITED);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    pub(super) fn string(self, field: u64, value: &str) -> Self {
        self.bytes(field, value.as_bytes())
    }

    pub(super) fn message(self, field: u64, value: &Message) -> Self {
        self.bytes(field, &value.0)
    }

    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// What an event carries.
#[derive(Debug)]
pub(super) enum Payload<'a> {
    /// The first event of a file.
    FileVersion,
    /// A start of the program; TensorBoard drops what other starts wrote at this step and later.
    SessionStart,
    /// Values.
    Summary(&'a [Message]),
}

/// `Event`: `wall_time` in seconds since 1970.
pub(super) fn event(wall_time: f64, step: u64, payload: &Payload<'_>) -> Message {
    let mut event = Message::new().double(1, wall_time);
    if step > 0 {
        // Fields at their default are left out.
        event = event.uint(2, step);
    }
    match payload {
        Payload::FileVersion => event.string(3, "brain.Event:2"),
        Payload::SessionStart => event.message(7, &Message::new().uint(1, 1)),
        Payload::Summary(values) => {
            event.message(5, &values.iter().fold(Message::new(), |summary, value| summary.message(1, value)))
        }
    }
}

/// `Summary.Value` with a scalar. Readers old and new take `simple_value`; TensorBoard makes it a tensor on loading.
pub(super) fn scalar(tag: &str, value: f64) -> Message {
    Message::new().string(1, tag).float(2, value as f32)
}

/// `Summary.Value` with a picture.
pub(super) fn image(tag: &str, width: u32, height: u32, png: &[u8]) -> Message {
    const RGB: u64 = 3;
    let image = Message::new().uint(1, height.into()).uint(2, width.into()).uint(3, RGB).bytes(4, png);
    Message::new().string(1, tag).message(4, &image)
}

/// `Summary.Value` that carries nothing but the data of a plugin. It needs a tensor all the same: TensorBoard's own
/// writer takes a float vector of length 0.
pub(super) fn plugin(tag: &str, plugin_name: &str, content: &Message) -> Message {
    const DT_FLOAT: u64 = 1;
    let data = Message::new().string(1, plugin_name).message(2, content);
    let shape = Message::new().message(2, &Message::new());
    let empty = Message::new().uint(1, DT_FLOAT).message(2, &shape);
    Message::new().string(1, tag).message(8, &empty).message(9, &Message::new().message(1, &data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_encoded_as_in_the_specification() {
        // The examples of the page above: 150 as a varint in field 1, "testing" in field 2, an embedded message.
        assert_eq!(Message::new().uint(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::new().string(2, "testing").into_bytes(), b"\x12\x07testing");
        assert_eq!(
            Message::new().message(3, &Message::new().uint(1, 150)).into_bytes(),
            [0x1a, 3, 8, 0x96, 1]
        );
        assert_eq!(Message::new().uint(1, u64::MAX).into_bytes().len(), 11);
        assert_eq!(Message::new().double(1, 1.0).into_bytes(), [9, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f]);
        assert_eq!(Message::new().float(2, 1.0).into_bytes(), [0x15, 0, 0, 0x80, 0x3f]);
    }
}
