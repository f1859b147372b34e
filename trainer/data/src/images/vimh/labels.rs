//! Which classes the label bytes stand for. The format's programs read them in three ways; the metadata decide which
//! one holds for a head:
//!
//! 1. The mapping has the type `classification`, or the pickle's `heads_config` counts the head's classes: the byte is
//!    the class. There are `num_classes` of them, else as many as `heads_config` says, else `max - min + 1`.
//! 2. The mapping has `min`, `max` and a `step` that divides the range: the byte is a value, and classes are `step`
//!    apart. `num_classes`, if stated, must agree.
//! 3. The mapping states `num_classes` without a step: the byte is the class.
//! 4. Otherwise the byte is the class, one of 256; with `min` and `max` it is also a value.

use std::collections::BTreeMap;

use super::super::error::FormatProblem;
use super::super::head::{Head, Reading, ValueRange};
use super::info::{Info, Mapping};

/// More classes than that are a mistake in the metadata.
const MAX_CLASSES: u64 = 1 << 16;
/// Values of a byte.
const NUM_BYTES: usize = 256;
/// A step divides a range if the number of steps is that close to a whole number, as in the format's own program.
const TOLERANCE: f64 = 1e-3;

/// Classes by name, as a pickle's `heads_config` has them.
pub type HeadsConfig = BTreeMap<String, u64>;

/// The heads of the label ids of a set.
///
/// # Errors
/// Metadata that contradict themselves, two heads of one name.
pub fn heads(info: &Info, ids: &[u8], config: &HeadsConfig) -> Result<Vec<Head>, FormatProblem> {
    let mut heads: Vec<Head> = Vec::with_capacity(ids.len());
    for &id in ids {
        let name = unused_name(info, id, &heads)?;
        let mapping = info.parameter_mappings.get(&name).cloned().unwrap_or_default();
        let head = head(name, &mapping, config)?;
        heads.push(Head { scale: mapping.scale, description: mapping.description, ..head });
    }
    Ok(heads)
}

/// The heads of the label ids of a set whose labels are classes.
///
/// # Errors
/// Absurd numbers of classes, two heads of one name.
pub fn class_heads(
    info: &Info,
    ids: &[u8],
    classes: &[f64],
    source: &str,
) -> Result<Vec<Head>, FormatProblem> {
    let mut heads: Vec<Head> = Vec::with_capacity(ids.len());
    for (&id, &num_classes) in ids.iter().zip(classes) {
        let name = unused_name(info, id, &heads)?;
        let num_classes = check_classes(num_classes, &format!("parameter_mappings.{name}"))?;
        let Mapping { scale, description, .. } =
            info.parameter_mappings.get(&name).cloned().unwrap_or_default();
        heads.push(Head { scale, description, ..Head::classes(name, num_classes, source) });
    }
    Ok(heads)
}

fn unused_name(info: &Info, id: u8, heads: &[Head]) -> Result<String, FormatProblem> {
    let name = info.name_of(id);
    match heads.iter().any(|head| head.name == name) {
        true => Err(FormatProblem::key("parameter_names", "different names", format!("`{name}` twice"))),
        false => Ok(name),
    }
}

fn head(name: String, mapping: &Mapping, config: &HeadsConfig) -> Result<Head, FormatProblem> {
    let counted = config.get(&name).copied();
    let stated = mapping.num_classes;
    let key = |part: &str| format!("parameter_mappings.{name}.{part}");
    if mapping.kind.as_deref() == Some("classification") || counted.is_some() {
        let (num_classes, source) = match (stated, counted, mapping.min, mapping.max) {
            (Some(stated), ..) => (stated as f64, "`num_classes`"),
            (_, Some(counted), ..) => (counted as f64, "`heads_config`"),
            (_, _, Some(min), Some(max)) => (max - min + 1.0, "`max` - `min` + 1"),
            _ => return Err(FormatProblem::key(key("num_classes"), "a number of classes", "none")),
        };
        let num_classes = check_classes(num_classes, &key("num_classes"))?;
        return Ok(Head::classes(name, num_classes, source));
    }
    let range = match (mapping.min, mapping.max) {
        (Some(min), Some(max)) if min < max => {
            Some(ValueRange { min, max, step: mapping.step.unwrap_or(0.0).max(0.0) })
        }
        _ => None,
    };
    let num_steps = range.filter(|range| range.step > 0.0).map(|range| (range.max - range.min) / range.step);
    if let Some(num_steps) =
        num_steps.filter(|steps| (steps - steps.round()).abs() <= TOLERANCE * steps.max(1.0))
    {
        let computed = check_classes(num_steps.round() + 1.0, &key("step"))?;
        if stated.is_some_and(|stated| stated != computed as u64) {
            let expected = format!("{computed}, as `min`, `max` and `step` say");
            return Err(FormatProblem::key(key("num_classes"), expected, stated.unwrap_or(0).to_string()));
        }
        let head = Head::classes(name, computed, "`min`, `max` and `step`");
        return Ok(Head { reading: Reading::Steps, range, ..head });
    }
    if let Some(stated) = stated.filter(|&stated| stated != NUM_BYTES as u64) {
        let num_classes = check_classes(stated as f64, &key("num_classes"))?;
        return Ok(Head { range, ..Head::classes(name, num_classes, "`num_classes`") });
    }
    let source = match (range, num_steps) {
        (None, _) => "the 256 values of a byte",
        (Some(_), None) => "the 256 values of a byte, since no `step` is stated",
        (Some(_), Some(_)) => "the 256 values of a byte, since `step` does not divide the range",
    };
    Ok(Head { reading: Reading::Raw, range, ..Head::classes(name, NUM_BYTES, source) })
}

fn check_classes(num_classes: f64, key: &str) -> Result<usize, FormatProblem> {
    if (1.0..=MAX_CLASSES as f64).contains(&num_classes) && num_classes.fract() == 0.0 {
        return Ok(num_classes as usize);
    }
    Err(FormatProblem::key(key, format!("1 to {MAX_CLASSES} classes"), num_classes.to_string()))
}

#[cfg(test)]
mod tests {
    use super::super::super::json::parse_json;
    use super::*;

    fn lines(mapping: &str, config: &[(&str, u64)]) -> Result<String, String> {
        let json = format!(r#"{{"parameter_names": ["x"], "parameter_mappings": {{"x": {mapping}}}}}"#);
        let info: Info = parse_json(json.as_bytes()).unwrap();
        let config = config.iter().map(|&(name, classes)| (name.to_owned(), classes)).collect();
        heads(&info, &[0], &config).map(|heads| heads[0].to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_metadata_decide_how_a_byte_is_read() {
        type Config<'a> = &'a [(&'a str, u64)];
        let is_class = "; a label is the class";
        let cases: [(&str, Config<'_>, String); 10] = [
            (r#"{"min":0,"max":9,"type":"classification"}"#, &[], format!("10 classes from `max` - `min` + 1{is_class}")),
            (r#"{"min":0,"max":9,"type":"classification"}"#, &[("x", 7)], format!("7 classes from `heads_config`{is_class}")),
            (r#"{"type":"classification","num_classes":5}"#, &[("x", 7)], format!("5 classes from `num_classes`{is_class}")),
            (r#"{"min":0,"max":1}"#, &[("x", 3)], format!("3 classes from `heads_config`{is_class}")),
            (r#"{"num_classes":12}"#, &[], format!("12 classes from `num_classes`{is_class}")),
            (
                r#"{"min":-2.0,"max":0.3,"step":0.1}"#,
                &[],
                "24 classes from `min`, `max` and `step`; a label is a value from -2 to 0.3, classes are 0.1 apart".into(),
            ),
            (
                r#"{"min":0,"max":1,"step":0.3}"#,
                &[],
                "256 classes from the 256 values of a byte, since `step` does not divide the range; a label is a value \
                 from 0 to 1 and also the class"
                    .into(),
            ),
            (
                r#"{"min":0,"max":1,"num_classes":256}"#,
                &[],
                "256 classes from the 256 values of a byte, since no `step` is stated; a label is a value from 0 to 1 \
                 and also the class"
                    .into(),
            ),
            (r#"{"min":3,"max":3,"step":0.0}"#, &[], format!("256 classes from the 256 values of a byte{is_class}")),
            ("{}", &[], format!("256 classes from the 256 values of a byte{is_class}")),
        ];
        for (mapping, config, expected) in cases {
            assert_eq!(lines(mapping, config).unwrap(), format!("x: {expected}"), "{mapping}");
        }
    }

    #[test]
    fn contradictions_are_refused() {
        let text = lines(r#"{"min":0,"max":1,"step":0.5,"num_classes":4}"#, &[]).unwrap_err();
        assert_eq!(
            text,
            "key `parameter_mappings.x.num_classes`: expected 3, as `min`, `max` and `step` say, found 4"
        );
        assert!(
            lines(r#"{"min":0,"max":1,"step":1e-9}"#, &[])
                .unwrap_err()
                .contains("expected 1 to 65536 classes")
        );
        assert!(
            lines(r#"{"type":"classification"}"#, &[]).unwrap_err().contains("expected a number of classes")
        );
        assert!(lines(r#"{"type":"classification","num_classes":0}"#, &[]).is_err());
        let info = Info { parameter_names: vec!["a".into(), "a".into()], ..Info::default() };
        assert!(heads(&info, &[0, 1], &HeadsConfig::new()).unwrap_err().to_string().contains("`a` twice"));
    }
}
