//! What becomes of the weights that `init_from` names.

use serde::{Deserialize, Serialize};

/// Which of the weights of a file are taken, and what is made of those of another shape.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InitConfig {
    /// Where the file holds several networks: what stands in front of the names of the wanted one, or one word of it, such as
    /// `teacher` or `encoder_q`; `null` = the one under this program's own names, else the only one.
    pub network: Option<String>,
    /// Sum the weights of a first convolution over its channels, such as red, green and blue, where views have one channel; a
    /// file of another number of channels is refused otherwise.
    pub sum_channels: bool,
    /// Interpolate the positions of a vision transformer to the patches of these views; those of the file are taken for a
    /// square. A file of another number of positions is refused otherwise.
    pub resize_positions: bool,
}
