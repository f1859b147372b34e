//! The pages of docs/howto: their commands are run as they stand.

mod data;
mod experiments;
mod runs;
