//! Columns of a table that say which part of a file a row is about.

use csv::StringRecord;
use dtrain_configs::schema::LabelsConfig;

use super::Span;
use super::table::Table;
use crate::error::{CutError, DataError};

/// Where the columns are.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanColumns {
    begin: Option<usize>,
    end: Option<usize>,
}

impl SpanColumns {
    /// # Errors
    /// A column that the table does not have.
    pub(super) fn find(config: &LabelsConfig, table: &Table) -> Result<Self, DataError> {
        let find = |key: &'static str, name: &Option<String>| {
            let Some(name) = name else { return Ok(None) };
            match table.columns.iter().position(|column| column == name) {
                Some(at) => Ok(Some(at)),
                None => Err(DataError::from(CutError::NoColumn {
                    path: table.path.clone(),
                    key,
                    column: name.clone(),
                    columns: table.columns.clone(),
                })),
            }
        };
        Ok(Self {
            begin: find("data.labels.begin", &config.begin)?,
            end: find("data.labels.end", &config.end)?,
        })
    }

    /// Whether a column says when and not what.
    pub(super) fn has(&self, at: usize) -> bool {
        [self.begin, self.end].contains(&Some(at))
    }

    /// The part that a row of `file` is about; `None` where the table has none.
    ///
    /// # Errors
    /// A cell that is no time, and an end that does not lie after the beginning.
    pub(super) fn span(
        &self,
        table: &Table,
        (line, record): (u64, &StringRecord),
        file: &str,
    ) -> Result<Option<Span>, DataError> {
        let Some(begin) = self.begin else { return Ok(None) };
        let begin_secs = seconds(table, (line, record), begin)?.unwrap_or(0.0);
        let end_secs = match self.end {
            Some(end) => seconds(table, (line, record), end)?,
            None => None,
        };
        match end_secs {
            Some(end_secs) if end_secs <= begin_secs => Err(CutError::EndsBeforeBegin {
                path: table.path.clone(),
                file: file.to_owned(),
                line,
                begin_secs,
                end_secs,
            }
            .into()),
            _ => Ok(Some(Span { begin_secs, end_secs, line })),
        }
    }
}

fn seconds(
    table: &Table,
    (line, record): (u64, &StringRecord),
    column: usize,
) -> Result<Option<f64>, DataError> {
    let Some(cell) = Table::cell(record, column) else { return Ok(None) };
    match cell.parse().ok().filter(|secs: &f64| secs.is_finite() && *secs >= 0.0) {
        Some(secs) => Ok(Some(secs)),
        None => Err(CutError::NoSeconds {
            path: table.path.clone(),
            column: table.columns.get(column).cloned().unwrap_or_default(),
            line,
            value: cell.to_owned(),
        }
        .into()),
    }
}
