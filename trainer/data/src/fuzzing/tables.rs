//! Label tables.

use std::path::Path;

use dtrain_fuzz_kit::{Parse, Target};

use crate::labels::columns_of_table;

/// A CSV table whose column `file` names recordings.
pub const CSV_TABLE: Target = Target {
    name: "csv_table",
    parse: Parse::File(parse),
    seeds,
    words: &["file", "../stat", "../maps", "\"", "\"\"", ",,", "\r\n", "\u{feff}", "./", "../"],
    // A row of two bytes is a record, a path, a name and a value in memory.
    bytes_per_input_byte: 400,
    // The first table starts the threads that look for its files.
    constant_bytes: 1 << 20,
};

fn parse(table: &Path) -> bool {
    let Ok(columns) = columns_of_table(table) else { return false };
    for column in &columns {
        let num_classes = column.classes.len();
        assert!(column.of_sample.iter().flatten().all(|&class| (class as usize) < num_classes));
    }
    true
}

/// The table lies in `/proc/self/fd`, so that files of `/proc/self` exist from its point of view.
fn seeds() -> Vec<Vec<u8>> {
    let tables = [
        "file,species,take\n../stat,rook,1\n../maps,\"a, b\",\n",
        "\u{feff}species, file ,take\r\nrook,../stat,10\r\nwren,../maps,9\r\n",
        "file\n../stat\n",
    ];
    tables.iter().map(|table| table.as_bytes().to_vec()).collect()
}
