//! `vimh_dataset_info.json`: shape, names of the heads, and what their labels stand for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::error::FormatProblem;
use super::super::shape::StatedShape;
use super::super::split::Split;

/// The metadata, as far as they are read. Other keys are ignored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Info {
    /// `VIMH` or `CIFAR-100-MH`.
    pub format: Option<String>,
    /// Rows.
    pub height: Option<u64>,
    /// Columns.
    pub width: Option<u64>,
    /// Planes.
    pub channels: Option<u64>,
    /// `32x32x1`.
    pub image_size: Option<Value>,
    /// Names of the varying parameters; a label's id counts them.
    pub parameter_names: Vec<String>,
    /// What labels stand for; the fixed parameters are here too.
    pub parameter_mappings: BTreeMap<String, Mapping>,
    /// `both` where pickles and binary files belong together.
    pub output_format: Option<String>,
    /// Samples for training.
    #[serde(alias = "num_train_samples")]
    pub train_samples: Option<u64>,
    /// Samples for testing.
    #[serde(alias = "num_test_samples")]
    pub test_samples: Option<u64>,
    /// Layout of the binary files.
    pub label_encoding: LabelEncoding,
    /// There where images are of sound.
    pub sample_rate: Option<Value>,
}

/// What the labels of a parameter stand for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mapping {
    /// Value of byte 0.
    pub min: Option<f64>,
    /// Value of byte 255.
    pub max: Option<f64>,
    /// Distance of two classes.
    pub step: Option<f64>,
    /// Classes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_classes: Option<u64>,
    /// `classification` where a label is the class.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// Layout of the binary files.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct LabelEncoding {
    /// Bytes before the number of heads: 14, or 6 without the scale.
    pub metadata_bytes: Option<u64>,
}

impl Info {
    /// What the metadata state about the shape.
    ///
    /// # Errors
    /// `image_size` is no size, or another one than `height`, `width` and `channels`.
    pub fn stated_shape(&self) -> Result<StatedShape, FormatProblem> {
        let keys = StatedShape { height: self.height, width: self.width, channels: self.channels };
        let size = match &self.image_size {
            Some(Value::String(text)) => StatedShape::parse(text).ok_or_else(|| {
                FormatProblem::key("image_size", "a size such as `32x32x3`", format!("`{text:.40}`"))
            })?,
            // Some writers put the number of bytes here.
            _ => StatedShape::default(),
        };
        if keys.agrees_with(size) {
            Ok(keys.or(size))
        } else {
            let expected = format!("{keys}, as `height`, `width` and `channels` say");
            Err(FormatProblem::key("image_size", expected, size.to_string()))
        }
    }

    /// Samples that the metadata state for a part.
    pub fn num_samples(&self, split: Split) -> Option<u64> {
        match split {
            Split::Train => self.train_samples,
            Split::Test => self.test_samples,
        }
    }

    /// The name of a label's id.
    pub fn name_of(&self, id: u8) -> String {
        self.parameter_names.get(usize::from(id)).cloned().unwrap_or_else(|| format!("param_{id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::json::parse_json;
    use super::*;

    fn info(json: &str) -> Info {
        parse_json(json.as_bytes()).unwrap()
    }

    #[test]
    fn the_shape_has_two_spellings_that_must_agree() {
        let shape = |json: &str| info(json).stated_shape().map(|shape| shape.to_string());
        assert_eq!(shape(r#"{"height": 32, "width": 16, "channels": 1}"#).unwrap(), "32x16x1");
        assert_eq!(shape(r#"{"image_size": "32x16x3"}"#).unwrap(), "32x16x3");
        assert_eq!(shape(r#"{"image_size": 3072}"#).unwrap(), "nothing");
        let text = shape(r#"{"height": 32, "image_size": "28x28x1"}"#).unwrap_err().to_string();
        assert_eq!(
            text,
            "key `image_size`: expected 32x?, as `height`, `width` and `channels` say, found 28x28x1"
        );
        assert!(shape(r#"{"image_size": "big"}"#).unwrap_err().to_string().contains("found `big`"));
    }

    #[test]
    fn both_names_of_the_counts_are_known() {
        assert_eq!(info(r#"{"num_train_samples": 200}"#).num_samples(Split::Train), Some(200));
        assert_eq!(info(r#"{"test_samples": 50}"#).num_samples(Split::Test), Some(50));
        assert!(
            parse_json::<Info>(b"{\"height\": -1}").unwrap_err().to_string().starts_with("cannot be parsed")
        );
        assert_eq!(info(r#"{"parameter_names": ["a"]}"#).name_of(0), "a");
        assert_eq!(info("{}").name_of(7), "param_7");
    }
}
