//! Of an image: how bright it is, and how far its pixels are from that.

/// Names of what [`of_image`] measures, in its order.
pub(crate) const OF_AN_IMAGE: &[&str] = &["brightness", "contrast"];

/// Mean and standard deviation of all values of the image, from 0 to 1.
pub(crate) fn of_image(pixels: &[u8]) -> Vec<f64> {
    let count = pixels.len().max(1) as f64;
    let values = || pixels.iter().map(|&pixel| f64::from(pixel) / 255.0);
    let mean = values().sum::<f64>() / count;
    let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    vec![mean, variance.sqrt()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brightness_and_contrast_are_mean_and_deviation() {
        assert_eq!(of_image(&[255, 0, 0, 255]), [0.5, 0.5]);
        let [brightness, contrast] = of_image(&[51; 9])[..] else { panic!() };
        assert!((brightness - 0.2).abs() < 1e-12 && contrast < 1e-12);
        assert_eq!(of_image(&[]), [0.0, 0.0]);
        assert_eq!(of_image(&[1]).len(), OF_AN_IMAGE.len());
    }
}
