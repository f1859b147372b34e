//! Views of images: pixels from 0 to 1, less the mean of their channel, over its standard deviation.

use std::sync::Arc;

use dtrain_configs::schema::ImagesConfig;

use super::{ViewError, ViewRequest, ViewSlot, Views, Workspace};
use crate::images::{ImageBuffers, ImageFormat, Images};

/// Values of a byte in one channel.
type Table = [f32; 256];

/// Makes views of the images of a data set. Shared by threads.
#[derive(Debug)]
pub struct ImageViews {
    images: Arc<Images>,
    /// One for each channel.
    tables: Vec<Table>,
}

impl ImageViews {
    /// A maker of views of `images`.
    ///
    /// # Errors
    /// [`ViewError::Channels`] where the settings have another number of channels than the images.
    pub fn new(images: Arc<Images>, config: &ImagesConfig) -> Result<Self, ViewError> {
        let channels = images.shape().channels;
        let (mean, std) = normalization(images.format(), channels);
        let of_channels = |key, configured: &Option<Vec<f64>>, usual: Vec<f64>| match configured {
            None => Ok(usual),
            Some(values) if values.len() == channels => Ok(values.clone()),
            Some(values) => Err(ViewError::Channels { key, found: values.len(), channels }),
        };
        let mean = of_channels("data.images.mean", &config.mean, mean)?;
        let std = of_channels("data.images.std", &config.std, std)?;
        let table = |(mean, std): (f64, f64)| {
            let mut table = [0.0; 256];
            for (byte, value) in table.iter_mut().enumerate() {
                *value = ((byte as f64 / 255.0 - mean) / std) as f32;
            }
            table
        };
        Ok(Self { tables: mean.into_iter().zip(std).map(table).collect(), images })
    }

    /// Writes the view of a sample, [C, H, W] row-major, and the classes of its labels.
    ///
    /// # Errors
    /// [`ViewError::Image`] for a bad sample.
    fn write(
        &self,
        buffers: &mut ImageBuffers,
        sample_id: u32,
        out: &mut [f32],
        classes: &mut [i32],
    ) -> Result<(), ViewError> {
        self.images.classes(sample_id, buffers, classes)?;
        let pixels = self.images.pixels(sample_id, buffers)?;
        let plane = pixels.len() / self.tables.len().max(1);
        let planes = out.chunks_mut(plane.max(1)).zip(pixels.chunks(plane.max(1)));
        for ((out, pixels), table) in planes.zip(&self.tables) {
            for (value, &byte) in out.iter_mut().zip(pixels) {
                *value = table[usize::from(byte)];
            }
        }
        Ok(())
    }
}

impl Views for ImageViews {
    fn shape(&self) -> [usize; 3] {
        let shape = self.images.shape();
        [shape.channels, shape.height, shape.width]
    }

    fn labels(&self) -> &[String] {
        self.images.labels()
    }

    fn load(&self, workspace: &mut Workspace, sample_id: u32) -> Result<(), ViewError> {
        workspace.with(ImageBuffers::default, |buffers| self.images.pixels(sample_id, buffers).map(drop))?;
        Ok(())
    }

    fn make(
        &self,
        workspace: &mut Workspace,
        request: &ViewRequest,
        views: Vec<ViewSlot<'_>>,
        classes: &mut [i32],
    ) -> Result<(), ViewError> {
        workspace.with(ImageBuffers::default, |buffers| {
            views.into_iter().try_for_each(|slot| match slot.spec {
                0 => self.write(buffers, request.sample_id, slot.values, classes),
                spec => Err(ViewError::UnknownSpec(spec)),
            })
        })
    }
}

/// Mean and standard deviation of each channel, where the settings say nothing: those of the format's own programs.
fn normalization(format: ImageFormat, channels: usize) -> (Vec<f64>, Vec<f64>) {
    match (format, channels) {
        (ImageFormat::Cifar100Mh, 3) => (vec![0.4914, 0.4822, 0.4465], vec![0.2023, 0.1994, 0.2010]),
        (_, 3) => (vec![0.485, 0.456, 0.406], vec![0.229, 0.224, 0.225]),
        _ => (vec![0.5; channels], vec![0.5; channels]),
    }
}
