//! How the settings of one run come to be: YAML groups, experiments and overrides are composed into one tree
//! whose every value knows where it came from, and the tree is decoded into [`RunConfig`].

pub mod schema;

pub use schema::RunConfig;
