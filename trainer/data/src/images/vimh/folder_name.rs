//! `vimh-32x32x1_8000Hz_1p0s_256dss_simple_2p`: what the name of a folder states about its set.

use std::path::Path;

use super::super::shape::StatedShape;

const PREFIX: &str = "vimh-";

/// The shape that a folder's name states: `vimh-{H}x{W}x{C}_...`. Everything after the size is optional, and so are the
/// channels; other names state nothing.
pub fn stated_shape(folder: &Path) -> StatedShape {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let name = absolute.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    parse(name)
}

pub fn parse(name: &str) -> StatedShape {
    let size = name.strip_prefix(PREFIX).and_then(|rest| rest.split('_').next());
    size.and_then(StatedShape::parse).unwrap_or_default()
}

/// The official name of a set.
pub fn folder_name(
    [height, width, channels]: [usize; 3],
    sample_rate: u32,
    duration_secs: f64,
    num_samples: usize,
    synth: &str,
    num_parameters: usize,
) -> String {
    let duration = format!("{duration_secs:.1}").replace('.', "p");
    format!(
        "{PREFIX}{height}x{width}x{channels}_{sample_rate}Hz_{duration}s_{num_samples}dss_{synth}_{num_parameters}p"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_name_states_is_read() {
        let cases = [
            ("vimh-32x32x1_8000Hz_1p0s_256dss_simple_2p", "32x32x1"),
            ("vimh-32x32_8000Hz_1p0s_256dss_simple_2p", "32x32"),
            ("vimh-28x28x1_sensor_data", "28x28x1"),
            ("vimh-64x16", "64x16"),
            ("vimh-big_data", "nothing"),
            ("my-vimh-32x32x1", "nothing"),
            ("vimh-32x32x1x1_a", "nothing"),
            ("vimh-", "nothing"),
        ];
        for (name, expected) in cases {
            assert_eq!(parse(name).to_string(), expected, "{name}");
        }
        assert_eq!(stated_shape(Path::new("/a/vimh-3x4/")).to_string(), "3x4");
        assert_eq!(stated_shape(Path::new("/")), StatedShape::default());
    }

    #[test]
    fn the_official_name_is_read_back() {
        let name = folder_name([32, 32, 1], 8000, 1.0, 256, "simple", 2);
        assert_eq!(name, "vimh-32x32x1_8000Hz_1p0s_256dss_simple_2p");
        assert_eq!(parse(&name), StatedShape::whole(32, 32, 1));
    }
}
