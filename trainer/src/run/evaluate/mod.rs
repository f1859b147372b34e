//! What weights reach, outside of training too: the statistics that they are evaluated by, probes and embeddings of a
//! checkpoint, predictions, and the reports of heads.

mod audit_report;
mod banks;
mod baselines;
mod explained;
mod full;
mod head_reports;
mod infer;
mod pictures;
mod probe;
mod reports;
mod statistics;

pub use full::full_evaluation;
pub use infer::{Asked, Columns, Inferred, infer};
pub use probe::{Probed, open as open_probed};
pub use reports::write_reports;

pub(crate) use banks::{BankSamples, probe_banks};
pub(crate) use baselines::BaselineFindings;
