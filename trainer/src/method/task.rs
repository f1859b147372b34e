//! What the data ask of a network.

use crate::model::InputShape;

/// Views that go in and labels that come out.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Task {
    /// Channels, rows and columns of a view.
    pub input: InputShape,
    /// The label that is learned where a method learns one.
    pub target: HeadTask,
    /// Every label of the data.
    pub heads: Vec<HeadTask>,
}

/// One label.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeadTask {
    /// Its name.
    pub name: String,
    /// Its classes.
    pub num_classes: i64,
    /// Value of each class in the label's units; empty where the classes are no steps of a scale.
    pub values: Vec<f64>,
    /// Classes without a sample, ascending.
    pub unused: Vec<i64>,
}

impl Task {
    /// Views of `input` (C, H, W) and one label, the target.
    pub fn of_classes(input: impl Into<InputShape>, num_classes: i64) -> Self {
        let head = HeadTask { name: "class".into(), num_classes, ..HeadTask::default() };
        Self { input: input.into(), target: head.clone(), heads: vec![head] }
    }
}

impl HeadTask {
    /// Value of each class: in units, or else its number.
    pub fn scale(&self) -> Vec<f64> {
        match self.values.len() as i64 == self.num_classes {
            true => self.values.clone(),
            false => (0..self.num_classes).map(|class| class as f64).collect(),
        }
    }

    /// Largest less smallest value, where there is a scale.
    pub fn span(&self) -> Option<f64> {
        let smallest = self.values.iter().copied().reduce(f64::min)?;
        Some(self.values.iter().copied().fold(smallest, f64::max) - smallest)
    }
}
