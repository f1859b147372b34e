//! What a user has said about samples that show a confounder.

use serde::{Deserialize, Serialize};

/// Training samples of which a user has told what is wrong with them: what their masks mark must not matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorrectionsConfig {
    /// Classes of `data.target` whose samples are corrected, such as `["8"]`; `[]`: all.
    pub values: Vec<String>,
    /// Samples that are corrected, of those that have a mask; `null`: every one.
    pub size: Option<usize>,
    /// What the user gives: corrected images as further samples, or the masks of the samples that are there.
    pub give: CorrectionKind,
    /// Names which samples they are; a smaller `size` takes some of those of a larger one.
    pub seed: u64,
}

impl CorrectionsConfig {
    /// The label that tells which samples are corrected, for `data.pools`.
    pub const LABEL: &str = "is_user_corrected";
    /// Its classes: other samples, and those.
    pub const CLASSES: [&str; 2] = ["no", "yes"];
}

impl Default for CorrectionsConfig {
    fn default() -> Self {
        Self { values: Vec::new(), size: Some(100), give: CorrectionKind::Images, seed: 0 }
    }
}

/// What a user gives to correct a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CorrectionKind {
    /// A copy in which what the mask marks is zero.
    #[default]
    Images,
    /// The mask.
    Masks,
}
