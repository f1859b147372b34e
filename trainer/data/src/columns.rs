//! Named columns: what is known of each row of a batch besides its views. Each is of one type and width, and whatever is done
//! to the rows is done to all columns at once.

use std::ops::Range;

/// In a column of classes or of what was drawn: none.
pub const NONE: i64 = -1;

/// Values of one kind for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// Classes, numbers of samples, which change was drawn; [`NONE`] where a row has none.
    I64(Vec<i64>),
    /// Weights and masks.
    F32(Vec<f32>),
}

/// Columns over the same rows, in the order in which they were put there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Columns {
    num_rows: usize,
    columns: Vec<(String, Column)>,
}

#[derive(Debug, Clone, PartialEq)]
struct Column {
    /// Values of a row.
    width: usize,
    /// Row-major.
    values: Values,
}

/// A column that does not fit the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the column `{name}` has {num_values} values for {num_rows} rows of {width}")]
pub struct ColumnError {
    /// Its name.
    pub name: String,
    /// Values that were given.
    pub num_values: usize,
    /// Rows of the others.
    pub num_rows: usize,
    /// Values of a row.
    pub width: usize,
}

/// The name of the column with the classes of a label of the data.
pub fn of_label(label: &str) -> String {
    format!("label.{label}")
}

impl Columns {
    /// No column yet, over `num_rows` rows.
    pub fn new(num_rows: usize) -> Self {
        Self { num_rows, columns: Vec::new() }
    }

    /// Rows of every column.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|(name, _)| name.as_str())
    }

    /// Puts a column of `width` values a row there, in the place of one of the same name.
    ///
    /// # Errors
    /// It has other rows than the rest.
    pub fn put(&mut self, name: impl Into<String>, width: usize, values: Values) -> Result<(), ColumnError> {
        let name = name.into();
        let num_values = values.len();
        if self.num_rows.checked_mul(width) != Some(num_values) {
            return Err(ColumnError { name, num_values, num_rows: self.num_rows, width });
        }
        let column = Column { width, values };
        match self.columns.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = column,
            None => self.columns.push((name, column)),
        }
        Ok(())
    }

    /// The whole numbers of this name, row-major; `None` where there are no such.
    pub fn i64(&self, name: &str) -> Option<&[i64]> {
        match &self.column(name)?.values {
            Values::I64(values) => Some(values),
            Values::F32(_) => None,
        }
    }

    /// The real numbers of this name, row-major; `None` where there are no such.
    pub fn f32(&self, name: &str) -> Option<&[f32]> {
        match &self.column(name)?.values {
            Values::F32(values) => Some(values),
            Values::I64(_) => None,
        }
    }

    /// Values of a row of this column.
    pub fn width(&self, name: &str) -> Option<usize> {
        Some(self.column(name)?.width)
    }

    /// Rows whose whole number of this name is not [`NONE`]; 0 where there is no such column.
    pub fn count(&self, name: &str) -> u64 {
        self.i64(name).unwrap_or_default().iter().filter(|&&value| value > NONE).count() as u64
    }

    /// The rows `range`, as far as there are such.
    #[must_use]
    pub fn narrow(&self, range: &Range<usize>) -> Self {
        let end = range.end.min(self.num_rows);
        self.select(range.start.min(end)..end)
    }

    /// The rows of these numbers, in their order, which may hold one again; those beyond the last are left out.
    #[must_use]
    pub fn select(&self, rows: impl IntoIterator<Item = usize>) -> Self {
        let rows: Vec<usize> = rows.into_iter().filter(|&row| row < self.num_rows).collect();
        let selected = |(name, Column { width, values }): &(String, Column)| {
            (name.clone(), Column { width: *width, values: values.select(&rows, *width) })
        };
        Self { num_rows: rows.len(), columns: self.columns.iter().map(selected).collect() }
    }

    /// The same columns without a row.
    #[must_use]
    pub fn empty(&self) -> Self {
        self.narrow(&(0..0))
    }

    fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find_map(|(known, column)| (known == name).then_some(column))
    }
}

impl Values {
    fn len(&self) -> usize {
        match self {
            Self::I64(values) => values.len(),
            Self::F32(values) => values.len(),
        }
    }

    fn select(&self, rows: &[usize], width: usize) -> Self {
        match self {
            Self::I64(values) => Self::I64(rows_of(values, rows, width)),
            Self::F32(values) => Self::F32(rows_of(values, rows, width)),
        }
    }
}

fn rows_of<T: Copy>(values: &[T], rows: &[usize], width: usize) -> Vec<T> {
    let mut selected = Vec::with_capacity(rows.len() * width);
    for row in rows {
        selected.extend_from_slice(values.get(row * width..(row + 1) * width).unwrap_or_default());
    }
    selected
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        let mut columns = Columns::new(4);
        columns.put("class", 1, Values::I64(vec![3, NONE, 0, 5])).unwrap();
        columns.put("mask", 2, Values::F32(vec![0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5])).unwrap();
        columns
    }

    #[test]
    fn whatever_happens_to_rows_happens_to_all_columns() {
        let columns = columns();
        assert_eq!(columns.names().collect::<Vec<_>>(), ["class", "mask"]);
        assert_eq!((columns.num_rows(), columns.width("mask"), columns.count("class")), (4, Some(2), 3));

        let part = columns.narrow(&(1..3));
        assert_eq!((part.num_rows(), part.count("class")), (2, 1));
        assert_eq!(part.i64("class"), Some([NONE, 0].as_slice()));
        assert_eq!(part.f32("mask"), Some([1.0, 1.5, 2.0, 2.5].as_slice()));
        assert_eq!(columns.narrow(&(0..9)), columns);
        assert_eq!(columns.narrow(&(7..9)).num_rows(), 0);

        let drawn = columns.select([3, 0, 3, 17]);
        assert_eq!(drawn.num_rows(), 3);
        assert_eq!(drawn.i64("class"), Some([5, 3, 5].as_slice()));
        assert_eq!(drawn.f32("mask"), Some([3.0, 3.5, 0.0, 0.5, 3.0, 3.5].as_slice()));

        let empty = columns.empty();
        assert_eq!((empty.num_rows(), empty.names().count()), (0, 2));
        assert_eq!(empty.i64("class"), Some([].as_slice()));
    }

    #[test]
    fn a_column_has_one_type_and_the_rows_of_the_others() {
        let mut columns = columns();
        assert_eq!((columns.f32("class"), columns.i64("mask"), columns.i64("nothing")), (None, None, None));
        assert_eq!(columns.count("mask"), 0);
        let error = columns.put("weight", 1, Values::F32(vec![1.0; 3])).unwrap_err();
        assert_eq!(error.to_string(), "the column `weight` has 3 values for 4 rows of 1");
        columns.put("class", 1, Values::I64(vec![1; 4])).unwrap();
        assert_eq!((columns.i64("class"), columns.names().count()), (Some([1; 4].as_slice()), 2));
    }
}
