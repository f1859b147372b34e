//! `dtrain help`.

use clap::{Args, ValueEnum};

/// What is to be explained.
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// A setting such as `trainer.batch_size`, a section such as `trainer`, or a verb; without one, all there is
    #[arg(value_name = "KEY")]
    pub key: Option<String>,
    /// Print a page of the documentation that is made of the program's own tables
    #[arg(long, hide = true, conflicts_with = "key", value_name = "PAGE", value_enum)]
    pub markdown: Option<Page>,
}

/// Pages that are made of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Page {
    /// docs/settings.md
    Settings,
    /// docs/howto/words-of-other-tools.md
    Words,
}
