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
pub mod compose;
mod composer;
mod decode;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod moved;
mod node;
pub mod overrides;
mod read;
mod reference;
mod scalar;
pub mod schema;
mod serialize;
mod source;
mod suggest;
mod validate;
mod yaml;

pub use builtin::{ExperimentInfo, Group, Library, experiments, file_text, groups};
pub use compose::{ComposeOptions, Composition, compose, load, load_with_overrides};
pub use error::{ConfigErrors, Problem};
pub use schema::RunConfig;
pub use source::{Place, Source, SourceKind};
pub use suggest::choice_hint;
pub use yaml::to_yaml;
