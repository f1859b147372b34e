//! A head: one thing that is to be told about an image, with the meaning of its label byte.

use std::fmt;

/// How a label byte becomes a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// The byte is the class.
    ClassIndex,
    /// The byte is a value on a scale of 256 from `min` to `max`; classes are `step` apart.
    Steps,
    /// The byte is a value on a scale of 256 from `min` to `max`, and also the class.
    Raw,
}

/// Parameter values that the labels stand for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ValueRange {
    /// Value of byte 0.
    pub min: f64,
    /// Value of byte 255.
    pub max: f64,
    /// Distance of two classes; 0 where none is stated.
    pub step: f64,
}

/// One thing that is to be told about an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// As the metadata have it.
    pub name: String,
    /// Classes are `0..num_classes`.
    pub num_classes: usize,
    /// Meaning of the label byte.
    pub reading: Reading,
    /// Values in the parameter's units, where the labels stand for some.
    pub range: Option<ValueRange>,
    /// Names of the classes, all or none.
    pub class_names: Vec<String>,
    /// Which statement gave the number of classes.
    pub source: String,
    /// What the metadata say about its values, such as `log`.
    pub scale: Option<String>,
    /// What the metadata say about it, for people; units stand here.
    pub description: Option<String>,
}

impl Head {
    /// A head whose label byte is the class.
    pub fn classes(name: impl Into<String>, num_classes: usize, source: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            num_classes,
            reading: Reading::ClassIndex,
            range: None,
            class_names: Vec::new(),
            source: source.into(),
            scale: None,
            description: None,
        }
    }

    /// The class of a label byte; nothing where it is out of range.
    pub fn class_of(&self, byte: u8) -> Option<usize> {
        let class = match (self.reading, self.range) {
            // Ties to even, as the format's own program rounds.
            (Reading::Steps, Some(range)) => {
                let steps = (range.value_of(byte) - range.min) / range.step;
                (steps.round_ties_even().max(0.0) as usize).min(self.num_classes.saturating_sub(1))
            }
            _ => usize::from(byte),
        };
        (class < self.num_classes).then_some(class)
    }

    /// The value of a label byte in the parameter's units: `min + byte/255 * (max - min)`.
    pub fn value_of(&self, byte: u8) -> Option<f64> {
        self.range.map(|range| range.value_of(byte))
    }

    /// The value of a class in the parameter's units.
    pub fn class_value(&self, class: usize) -> Option<f64> {
        let range = self.range?;
        match self.reading {
            Reading::ClassIndex => None,
            Reading::Steps => Some(range.min + class as f64 * range.step),
            Reading::Raw => Some(range.min + class as f64 / 255.0 * (range.max - range.min)),
        }
    }

    /// Width of the range in the parameter's units.
    pub fn span(&self) -> Option<f64> {
        self.range.map(|range| range.max - range.min)
    }
}

impl ValueRange {
    fn value_of(self, byte: u8) -> f64 {
        self.min + f64::from(byte) / 255.0 * (self.max - self.min)
    }
}

/// One line: `decay: 24 classes from min, max and step, -2 to 0.3 in steps of 0.1`.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, num_classes, source, .. } = self;
        write!(f, "{name}: {num_classes} classes from {source}")?;
        match (self.reading, self.range) {
            (Reading::ClassIndex, _) | (_, None) => f.write_str("; a label is the class"),
            (Reading::Steps, Some(ValueRange { min, max, step })) => {
                write!(f, "; a label is a value from {min} to {max}, classes are {step} apart")
            }
            (Reading::Raw, Some(ValueRange { min, max, .. })) => {
                write!(f, "; a label is a value from {min} to {max} and also the class")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_recovered_from_truncated_bytes() {
        for (min, max, step) in
            [(-2.0_f64, 0.3, 0.1_f64), (126.0, 127.0, 0.5), (0.0, 100.0, 1.0), (48.0, 72.0, 2.0)]
        {
            let num_classes = ((max - min) / step).round() as usize + 1;
            let range = Some(ValueRange { min, max, step });
            let head = Head { reading: Reading::Steps, range, ..Head::classes("x", num_classes, "steps") };
            for class in 0..num_classes {
                let value = head.class_value(class).unwrap();
                let byte = ((255.0 * (value - min) / (max - min)).floor().clamp(0.0, 255.0)) as u8;
                assert_eq!(head.class_of(byte), Some(class), "{value}");
                assert!((head.value_of(byte).unwrap() - value).abs() <= (max - min) / 255.0 + 1e-12);
            }
            assert_eq!(head.class_of(255), Some(num_classes - 1));
        }
    }

    #[test]
    fn a_class_index_has_an_end_and_a_raw_value_has_none() {
        let head = Head::classes("digit", 10, "the format");
        assert_eq!((head.class_of(9), head.class_of(10), head.class_value(3)), (Some(9), None, None));
        let range = Some(ValueRange { min: -1.0, max: 1.0, step: 0.0 });
        let raw = Head { reading: Reading::Raw, range, ..Head::classes("x", 256, "min and max") };
        assert_eq!(
            (raw.class_of(255), raw.class_value(255), raw.value_of(0)),
            (Some(255), Some(1.0), Some(-1.0))
        );
        assert_eq!(
            raw.to_string(),
            "x: 256 classes from min and max; a label is a value from -1 to 1 and also the class"
        );
    }
}
