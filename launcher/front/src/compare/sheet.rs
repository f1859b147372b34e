//! A table of words and numbers, for a terminal, for Markdown and as comma-separated values.

use comfy_table::{Cell, CellAlignment, Table, presets};

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Column {
    /// Words, under this heading.
    Text(String),
    /// A metric of the last or the best weights.
    Number {
        /// The metric.
        name: String,
        /// `last` or `best`.
        weights: &'static str,
    },
}

/// A mean.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Number {
    /// `None` where nothing was measured.
    mean: Option<f64>,
    /// Standard deviation of a sample, of two values and more.
    deviation: Option<f64>,
}

/// A line: first the words, then the numbers, in the order of the columns.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// One for each column of words.
    pub texts: Vec<String>,
    /// One for each column of numbers.
    pub numbers: Vec<Number>,
}

/// The table.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sheet {
    /// Columns of words, then of numbers.
    pub columns: Vec<Column>,
    /// Lines.
    pub rows: Vec<Row>,
}

impl Number {
    /// Of the values of several runs.
    pub fn of(values: &[f64]) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        let count = values.len() as f64;
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        Self { mean: Some(mean), deviation }
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.mean, self.deviation) {
            (None, _) => f.write_str("-"),
            (Some(mean), None) => write!(f, "{mean:.4}"),
            (Some(mean), Some(deviation)) => write!(f, "{mean:.4} \u{b1} {deviation:.4}"),
        }
    }
}

impl Sheet {
    fn headings(&self) -> Vec<String> {
        let heading = |column: &Column| match column {
            Column::Text(name) => name.clone(),
            Column::Number { name, weights } => format!("{name} {weights}"),
        };
        self.columns.iter().map(heading).collect()
    }

    /// For people at a terminal.
    pub fn terminal(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header(self.headings());
        for Row { texts, numbers } in &self.rows {
            let numbers = numbers.iter().map(|number| Cell::new(number).set_alignment(CellAlignment::Right));
            table.add_row(texts.iter().map(Cell::new).chain(numbers));
        }
        table.to_string()
    }

    /// For a document.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let escaped = |cell: &String| cell.replace('|', "\\|");
        let rule: String = self
            .columns
            .iter()
            .map(|column| if matches!(column, Column::Text(_)) { "---|" } else { "---:|" })
            .collect();
        let mut text = format!("{}|{rule}\n", line(self.headings().iter().map(escaped).collect()));
        for Row { texts, numbers } in &self.rows {
            let cells = texts.iter().map(escaped).chain(numbers.iter().map(Number::to_string));
            text.push_str(&line(cells.collect()));
        }
        text
    }

    /// For another program: all digits, mean and standard deviation in columns of their own (RFC 4180).
    pub fn csv(&self) -> String {
        let has_deviations = self.rows.iter().flat_map(|row| &row.numbers).any(|n| n.deviation.is_some());
        let mut headings = Vec::new();
        for (column, heading) in self.columns.iter().zip(self.headings()) {
            let is_number = matches!(column, Column::Number { .. });
            let deviation = (is_number && has_deviations).then(|| format!("{heading} sd"));
            headings.push(heading);
            headings.extend(deviation);
        }
        let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
        let mut text = csv_line(&headings);
        for row in &self.rows {
            let mut cells = row.texts.clone();
            for value in &row.numbers {
                cells.push(number(value.mean));
                cells.extend(has_deviations.then(|| number(value.deviation)));
            }
            text.push_str(&csv_line(&cells));
        }
        text
    }
}

fn csv_line(cells: &[String]) -> String {
    let quoted = |cell: &String| {
        let is_plain = !cell.contains([',', '"', '\n', '\r']);
        if is_plain { cell.clone() } else { format!("\"{}\"", cell.replace('"', "\"\"")) }
    };
    format!("{}\n", cells.iter().map(quoted).collect::<Vec<_>>().join(","))
}
