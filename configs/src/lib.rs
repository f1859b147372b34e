//! How the settings of one run come to be: YAML groups, experiments and overrides are composed into one tree
//! whose every value knows where it came from, and the tree is decoded into [`RunConfig`].
//!
//! ```
//! use dtrain_configs::{ComposeOptions, compose};
//!
//! let overrides = ["experiment=supcon_fsdd", "trainer.batch_size=64", "optimizer=sgd"].map(String::from);
//! let composition = compose(&overrides, &ComposeOptions::default())?;
//! assert_eq!(composition.config.trainer.batch_size, 64);
//! assert_eq!(composition.origin("trainer.batch_size").as_deref(), Some("override 2: trainer.batch_size=64"));
//!
//! let wrong = ["trainer.batch_sise=64".to_owned()];
//! let errors = compose(&wrong, &ComposeOptions::default()).unwrap_err();
//! assert!(errors.to_string().contains("did you mean `trainer.batch_size` (default 128)?"));
//! # Ok::<(), dtrain_configs::ConfigErrors>(())
//! ```
//!
//! The order of the layers is in [`mod@compose`], the grammar of overrides in [`overrides`], the settings themselves
//! with their defaults in [`schema`].

mod apply;
mod builtin;
mod checks;
pub mod compose;
mod composer;
mod decode;
mod error;
mod experiment;
mod flat;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod help;
mod listing;
mod literal;
mod moved;
mod node;
mod origins;
pub mod overrides;
mod read;
mod reference;
mod renamed;
mod rollback;
mod run_dir;
mod scalar;
pub mod schema;
mod serialize;
mod shell;
mod source;
mod suggest;
pub mod sweep;
mod validate;
mod yaml;

pub use builtin::{ComposeOptions, Group, Library, file_text, groups, studies, study_text};
pub use compose::{Composition, compose, load, load_with, load_with_overrides};
pub use error::{ConfigErrors, Problem};
pub use flat::{flat_settings, told_settings};
pub use help::{explain, sections, settings_page};
pub use listing::{FileInfo, files};
pub use moved::{ONE_RUN, Word, hint_of_word, words_of_other_tools};
pub use origins::Origins;
pub use rollback::after_rollback;
pub use run_dir::{RunDir, StopRequest};
pub use schema::RunConfig;
pub use shell::{shell_path, shell_word};
pub use source::{Place, Source, SourceKind};
pub use suggest::{choice_hint, closest};
pub use yaml::to_yaml;
