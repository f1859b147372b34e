//! Embeddings as TensorBoard's projector reads them from a folder: `projector_config.pbtxt` names two tables of tab-separated
//! cells, the numbers without a header, and what is known of each row with one.

use std::path::{Path, PathBuf};

use super::TrackError;
use crate::checkpoint::durable::write_atomic;

/// The file that TensorBoard looks for.
const CONFIG: &str = "projector_config.pbtxt";
const TENSORS: &str = "tensors.tsv";
const METADATA: &str = "metadata.tsv";

/// A table for the projector.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Projector<'a> {
    /// What it is called there.
    pub name: &'a str,
    /// The embeddings, each of as many numbers.
    pub rows: &'a [Vec<f32>],
    /// Names of what is known.
    pub columns: &'a [String],
    /// Of each row, a cell for each column.
    pub cells: &'a [Vec<String>],
}

impl Projector<'_> {
    /// Writes the three files into `folder`, which is there, and names them.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write(&self, folder: &Path) -> Result<Vec<PathBuf>, TrackError> {
        let mut written = Vec::new();
        for (name, text) in [(TENSORS, self.tensors()), (METADATA, self.metadata()), (CONFIG, self.config())]
        {
            let path = folder.join(name);
            write_atomic(&path, text.as_bytes())?;
            written.push(path);
        }
        Ok(written)
    }

    fn tensors(&self) -> String {
        let row = |row: &Vec<f32>| row.iter().map(f32::to_string).collect::<Vec<_>>().join("\t") + "\n";
        self.rows.iter().map(row).collect()
    }

    /// A table of one column has no header: the projector would take it for a row.
    fn metadata(&self) -> String {
        let line =
            |cells: &Vec<String>| cells.iter().map(|cell| plain(cell)).collect::<Vec<_>>().join("\t") + "\n";
        let columns = self.columns.to_vec();
        let header = (columns.len() > 1).then_some(&columns);
        header.into_iter().chain(self.cells).map(line).collect()
    }

    fn config(&self) -> String {
        let name = plain(self.name).replace(['"', '\\'], "_");
        format!(
            "embeddings {{\n  tensor_name: \"{name}\"\n  tensor_path: \"{TENSORS}\"\n  metadata_path: \"{METADATA}\"\n}}\n"
        )
    }
}

/// Without what would end a cell or a line.
fn plain(cell: &str) -> String {
    cell.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_have_a_line_for_each_row_whatever_cells_hold() {
        let columns = ["file", "class"].map(str::to_owned);
        let cells = [["a\tb.wav", "x\n"], ["c.wav", ""]].map(|row| row.map(str::to_owned).to_vec());
        let rows = [vec![1.0, -0.5], vec![1e-8, 3.25]];
        let dir = tempfile::tempdir().unwrap();
        let projector = Projector { name: "test \"1\"", rows: &rows, columns: &columns, cells: &cells };
        let read = |path: &PathBuf| fs_err::read_to_string(path).unwrap();
        let texts: Vec<String> = projector.write(dir.path()).unwrap().iter().map(read).collect();
        assert_eq!(texts[0], "1\t-0.5\n0.00000001\t3.25\n");
        assert_eq!(texts[1], "file\tclass\na b.wav\tx \nc.wav\t\n");
        assert!(texts[2].contains("tensor_name: \"test _1_\""), "{}", texts[2]);
        let alone =
            Projector { columns: &columns[..1], cells: &[vec!["a".into()], vec!["b".into()]], ..projector };
        assert_eq!(alone.metadata(), "a\nb\n");
    }
}
