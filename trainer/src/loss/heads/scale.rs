//! What the classes of a head stand for.

use tch::{Device, Kind, Tensor};

/// The value of each class in the parameter's units.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadScale {
    /// One for each class.
    pub values: Vec<f64>,
}

impl HeadScale {
    /// Classes that are their own value: 0, 1 .. `num_classes` - 1.
    pub fn indices(num_classes: usize) -> Self {
        Self { values: (0..num_classes).map(|class| class as f64).collect() }
    }

    /// `[K]`, f64.
    pub fn tensor(&self, device: Device) -> Tensor {
        Tensor::from_slice(&self.values).to_device(device)
    }
}

/// Values as shares of their range, so that a loss does not depend on units.
pub(super) struct Shares {
    /// u_k in -1/2..=1/2, `[K]`, f64; all 0 where the values do not differ.
    pub centred: Tensor,
    /// Half of least and largest value, 0-dimensional, f64.
    pub middle: Tensor,
    /// Largest less least value, 0-dimensional, f64.
    pub range: Tensor,
}

impl Shares {
    /// Of `values` `[K]` with K >= 1.
    pub fn of(values: &Tensor) -> Self {
        let values = values.to_kind(Kind::Double);
        let (least, largest) = (values.min(), values.max());
        let (middle, range) = ((&least + &largest) * 0.5, largest - least);
        // Equal values are all the middle, which no divisor changes.
        let divisor = range.where_scalarother(&range.gt(0.0), 1.0);
        Self { centred: (values - &middle) / divisor, middle, range }
    }

    /// In units, never outside of the values.
    pub fn in_units(&self, shares: &Tensor) -> Tensor {
        shares.to_kind(Kind::Double).clamp(-0.5, 0.5) * &self.range + &self.middle
    }
}
