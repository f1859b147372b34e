//! Colours of pictures, and how numbers become colours.

/// Red, green and blue.
pub type Rgb = [u8; 3];

/// Paper.
pub const WHITE: Rgb = [255; 3];
/// Text and axes.
pub const BLACK: Rgb = [0; 3];
/// Text of less weight.
pub const GRAY: Rgb = [110; 3];
/// Lines behind data, and places without data.
pub const LIGHT_GRAY: Rgb = [225; 3];
/// Stands out in every palette: where a value is not finite.
pub const NOT_FINITE: Rgb = [255, 0, 90];

/// Colours of things side by side, told apart with every kind of colour vision (Okabe and Ito 2008).
pub const SERIES: [Rgb; 4] = [[0x00, 0x72, 0xb2], [0xe6, 0x9f, 0x00], [0x00, 0x9e, 0x73], [0xcc, 0x79, 0xa7]];

/// Colours of up to ten groups (Tableau 10, M. Stone 2016).
const GROUPS: [Rgb; 10] = [
    [0x4e, 0x79, 0xa7],
    [0xf2, 0x8e, 0x2b],
    [0xe1, 0x57, 0x59],
    [0x76, 0xb7, 0xb2],
    [0x59, 0xa1, 0x4f],
    [0xed, 0xc9, 0x48],
    [0xb0, 0x7a, 0xa1],
    [0xff, 0x9d, 0xa7],
    [0x9c, 0x75, 0x5f],
    [0x4a, 0x4a, 0x4a],
];

/// Viridis of matplotlib (S. van der Walt, N. Smith) at ten equal distances; linear in between.
const VIRIDIS: [Rgb; 10] = [
    [0x44, 0x01, 0x54],
    [0x48, 0x28, 0x78],
    [0x3e, 0x49, 0x89],
    [0x31, 0x68, 0x8e],
    [0x26, 0x82, 0x8e],
    [0x1f, 0x9e, 0x89],
    [0x35, 0xb7, 0x79],
    [0x6e, 0xce, 0x58],
    [0xb5, 0xde, 0x2b],
    [0xfd, 0xe7, 0x25],
];

/// Blues of ColorBrewer (C. Brewer), from white on, at equal distances; linear in between.
const BLUES: [Rgb; 9] = [
    [0xff, 0xff, 0xff],
    [0xde, 0xeb, 0xf7],
    [0xc6, 0xdb, 0xef],
    [0x9e, 0xca, 0xe1],
    [0x6b, 0xae, 0xd6],
    [0x42, 0x92, 0xc6],
    [0x21, 0x71, 0xb5],
    [0x08, 0x51, 0x9c],
    [0x08, 0x30, 0x6b],
];

/// 0 to 1 as dark violet to yellow, even to the eye.
pub fn viridis(level: f32) -> Rgb {
    between(&VIRIDIS, level)
}

/// 0 to 1 as white to dark blue.
pub fn blues(level: f32) -> Rgb {
    between(&BLUES, level)
}

/// Turns of the wheel from one of many groups to the next: the golden ratio puts neighbours far apart.
const TURN: f64 = 0.618_033_988_749_895;

/// The colour of one of `count` groups. Many go round the hues in three brightnesses by turns, since groups that follow each other
/// mostly belong together, as recordings of a species do, and are to be told apart.
pub fn wheel(group: usize, count: usize) -> Rgb {
    if let Some(color) = GROUPS.get(group).filter(|_| count <= GROUPS.len()) {
        return *color;
    }
    let hue = 6.0 * (group as f64 * TURN).fract() as f32;
    let channel = |offset: f32| ((hue + offset).rem_euclid(6.0) - 3.0).abs().clamp(1.0, 2.0) - 1.0;
    let pure = [0.0, 4.0, 2.0].map(|offset| to_byte(channel(offset)));
    match group % 3 {
        0 => mix(pure, BLACK, 0.15),
        1 => mix(pure, BLACK, 0.5),
        _ => mix(pure, WHITE, 0.35),
    }
}

/// Black or white, whichever can be read on `background`.
pub fn ink_on(background: Rgb) -> Rgb {
    if brightness(background) > 140.0 { BLACK } else { WHITE }
}

/// 0 to 1 as a byte.
pub(super) fn to_byte(level: f32) -> u8 {
    (level.clamp(0.0, 1.0) * 255.0).round() as u8
}

/// `from` at 0, `to` at 1.
pub(super) fn mix(from: Rgb, to: Rgb, part: f32) -> Rgb {
    let channel = |from: u8, to: u8| (f32::from(from) * (1.0 - part) + f32::from(to) * part).round() as u8;
    [channel(from[0], to[0]), channel(from[1], to[1]), channel(from[2], to[2])]
}

/// Luma of Rec. 709, 0 to 255.
fn brightness([r, g, b]: Rgb) -> f32 {
    0.2126 * f32::from(r) + 0.7152 * f32::from(g) + 0.0722 * f32::from(b)
}

fn between(stops: &[Rgb], level: f32) -> Rgb {
    let at = level.clamp(0.0, 1.0) * stops.len().saturating_sub(1) as f32;
    let below = (at as usize).min(stops.len().saturating_sub(2));
    match stops.get(below..below + 2) {
        Some([from, to]) => mix(*from, *to, at - below as f32),
        _ => NOT_FINITE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn palettes_go_one_way_in_brightness() {
        let levels =
            |palette: fn(f32) -> Rgb| (0..=1000).map(move |i| brightness(palette(i as f32 / 1000.0)));
        let viridis_levels: Vec<f32> = levels(viridis).collect();
        assert!(viridis_levels.windows(2).all(|pair| pair[1] >= pair[0] - 0.5));
        let blue_levels: Vec<f32> = levels(blues).collect();
        assert!(blue_levels.windows(2).all(|pair| pair[1] <= pair[0] + 0.5));
        assert_eq!([viridis(0.0), viridis(1.0)], [VIRIDIS[0], VIRIDIS[9]]);
        assert_eq!([blues(0.0), blues(1.0)], [WHITE, BLUES[8]]);
        assert_eq!(viridis(f32::INFINITY), VIRIDIS[9]);
    }

    #[test]
    fn groups_have_colours_of_their_own() {
        for count in [2, 10, 11, 24, 70] {
            let colors: std::collections::BTreeSet<Rgb> =
                (0..count).map(|group| wheel(group, count)).collect();
            assert_eq!(colors.len(), count);
            assert!(!colors.contains(&WHITE));
        }
    }

    #[test]
    fn ink_differs_from_what_it_is_written_on() {
        for palette in [viridis, blues] {
            for level in 0..=100 {
                let background = palette(level as f32 / 100.0);
                let contrast = (brightness(background) - brightness(ink_on(background))).abs();
                assert!(contrast > 100.0, "{background:?}");
            }
        }
    }
}
