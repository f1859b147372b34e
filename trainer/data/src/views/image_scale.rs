//! From bytes and from pixels of 0 to 1 to what a network sees: less the mean of their channel, over its standard deviation.

use dtrain_configs::schema::ImagesConfig;

use super::ViewError;

/// Mean and standard deviation of ImageNet, which most programs use.
const IMAGENET: [[f64; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];

/// One channel.
#[derive(Debug)]
struct Channel {
    /// Values of a byte.
    of_byte: [f32; 256],
    mean: f32,
    std: f32,
}

/// Normalization of the channels of images.
#[derive(Debug)]
pub(super) struct ImageScale(Vec<Channel>);

impl ImageScale {
    /// For images with so many channels, of a format that has the `usual` mean and standard deviation of three.
    ///
    /// # Errors
    /// [`ViewError::Channels`] where the settings have another number of channels.
    pub fn new(
        usual: Option<[[f64; 3]; 2]>,
        channels: usize,
        config: &ImagesConfig,
    ) -> Result<Self, ViewError> {
        let [mean, std] = match channels {
            3 => usual.unwrap_or(IMAGENET).map(|values| values.to_vec()),
            _ => [vec![0.5; channels], vec![0.5; channels]],
        };
        let of_channels = |key, configured: &Option<Vec<f64>>, usual: Vec<f64>| match configured {
            None => Ok(usual),
            Some(values) if values.len() == channels => Ok(values.clone()),
            Some(values) => Err(ViewError::Channels { key, found: values.len(), channels }),
        };
        let mean = of_channels("data.images.mean", &config.mean, mean)?;
        let std = of_channels("data.images.std", &config.std, std)?;
        let channel = |(mean, std): (f64, f64)| {
            let mut of_byte = [0.0; 256];
            for (byte, value) in of_byte.iter_mut().enumerate() {
                *value = ((byte as f64 / 255.0 - mean) / std) as f32;
            }
            Channel { of_byte, mean: mean as f32, std: std as f32 }
        };
        Ok(Self(mean.into_iter().zip(std).map(channel).collect()))
    }

    /// Mean and standard deviation of each channel.
    pub fn mean_and_std(&self) -> (Vec<f32>, Vec<f32>) {
        self.0.iter().map(|channel| (channel.mean, channel.std)).unzip()
    }

    /// Writes the values of bytes, [C, H, W].
    pub fn of_bytes(&self, bytes: &[u8], out: &mut [f32]) {
        let plane = (bytes.len() / self.0.len().max(1)).max(1);
        let planes = out.chunks_mut(plane).zip(bytes.chunks(plane));
        for ((out, bytes), channel) in planes.zip(&self.0) {
            for (value, &byte) in out.iter_mut().zip(bytes) {
                *value = channel.of_byte[usize::from(byte)];
            }
        }
    }

    /// Makes values of pixels from 0 to 1, [C, H, W], in their place.
    pub fn of_pixels(&self, pixels: &mut [f32]) {
        let plane = (pixels.len() / self.0.len().max(1)).max(1);
        for (pixels, channel) in pixels.chunks_mut(plane).zip(&self.0) {
            pixels.iter_mut().for_each(|pixel| *pixel = (*pixel - channel.mean) / channel.std);
        }
    }
}
