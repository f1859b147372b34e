//! What a run looks like on the terminal.

mod audit;
mod bar;
mod classes;
mod observer;
mod percent;
mod tables;

pub use bar::listen;
pub use observer::TerminalObserver;
pub use tables::{best_table, evaluation_tables, fact_table};
