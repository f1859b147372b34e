//! A number for each view of a sample.

use std::fmt;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number for each view of a group, in their order; the last one holds for all further views. Written as a number, or as
/// a list, `[1.0, 0.1]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ByView(Vec<f64>);

impl ByView {
    /// The number of the view `index` of a group; 0 of an empty list, which checks refuse.
    pub fn of(&self, index: u32) -> f64 {
        self.0.get(index as usize).or(self.0.last()).copied().unwrap_or(0.0)
    }

    /// All numbers.
    pub fn all(&self) -> &[f64] {
        &self.0
    }

    /// Whether it is 0 for every view.
    pub fn is_zero(&self) -> bool {
        self.0.iter().all(|&number| number == 0.0)
    }
}

impl From<f64> for ByView {
    fn from(number: f64) -> Self {
        Self(vec![number])
    }
}

impl From<Vec<f64>> for ByView {
    fn from(numbers: Vec<f64>) -> Self {
        Self(numbers)
    }
}

impl Serialize for ByView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [number] => number.serialize(serializer),
            numbers => numbers.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ByView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByViewVisitor)
    }
}

struct ByViewVisitor;

impl<'de> Visitor<'de> for ByViewVisitor {
    type Value = ByView;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a list with one for each view")
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<ByView, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<ByView, E> {
        Ok((number as f64).into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<ByView, E> {
        Ok((number as f64).into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ByView, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = list.next_element()? {
            numbers.push(number);
        }
        Ok(ByView(numbers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_number_holds_for_all_further_views() {
        let numbers = ByView::from(vec![1.0, 0.1]);
        assert_eq!([0, 1, 2, 9].map(|index| numbers.of(index)), [1.0, 0.1, 0.1, 0.1]);
        assert_eq!([0, 5].map(|index| ByView::from(0.5).of(index)), [0.5, 0.5]);
        assert_eq!(ByView::from(Vec::new()).of(0), 0.0);
        assert!(ByView::from(vec![0.0, 0.0]).is_zero() && !numbers.is_zero());
    }

    #[test]
    fn numbers_and_lists_read_back() {
        for (text, numbers) in
            [("0.5", vec![0.5]), ("1", vec![1.0]), ("[1.0, 0.1]", vec![1.0, 0.1]), ("[]", vec![])]
        {
            let read: ByView = serde_json::from_str(text).unwrap();
            assert_eq!(read, ByView::from(numbers));
            let written = serde_json::to_string(&read).unwrap();
            assert_eq!(serde_json::from_str::<ByView>(&written).unwrap(), read);
        }
        let error = serde_json::from_str::<ByView>("\"often\"").unwrap_err().to_string();
        assert!(error.contains("a number, or a list with one for each view"), "{error}");
    }
}
