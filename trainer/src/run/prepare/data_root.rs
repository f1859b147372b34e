//! Where the data are. Without `data.root` the data set's generated stand-in is used: rank 0 of each run makes it
//! on first use, the others wait.

use std::path::{Path, PathBuf};

use dtrain_comm::{Collective, Stage};
use dtrain_configs::schema::{DataConfig, GenerateConfig, GeneratorKind};
use dtrain_data::synth::{self, ImageSetKind, RecordingSetKind};

use crate::error::TrainError;
use crate::run::agree::agreed;

/// Folder of generated data sets, below the working directory.
const GENERATED: &str = "data";

/// The folder with the data, made if need be.
pub fn data_root(config: &DataConfig, collective: &dyn Collective) -> Result<PathBuf, TrainError> {
    if let Some(root) = &config.root {
        return Ok(root.clone());
    }
    let Some(generate) = &config.generate else {
        return Err(TrainError::config(
            "`data.root` is not set and the data set has no generator",
            "set `data.root=FOLDER`",
        ));
    };
    let root = generated_root(Path::new(GENERATED), generate);
    let _stage = collective.heartbeat().enter(Stage::Generating);
    let made = if collective.world().rank == 0 { make(generate, &root) } else { Ok(()) };
    agreed(collective, made)?;
    Ok(root)
}

/// What a generator makes.
enum Made {
    Recordings(RecordingSetKind),
    Images(ImageSetKind),
}

fn made(kind: GeneratorKind) -> Made {
    match kind {
        GeneratorKind::Birdsong => Made::Recordings(RecordingSetKind::Birdsong),
        GeneratorKind::SpokenDigits => Made::Recordings(RecordingSetKind::SpokenDigits),
        GeneratorKind::EnvironmentalSounds => Made::Recordings(RecordingSetKind::EnvironmentalSounds),
        GeneratorKind::MachineSounds => Made::Recordings(RecordingSetKind::MachineSounds),
        GeneratorKind::Digits => Made::Images(ImageSetKind::Digits),
        GeneratorKind::Vimh => Made::Images(ImageSetKind::Vimh),
        GeneratorKind::Cifar10 => Made::Images(ImageSetKind::Cifar10),
        GeneratorKind::Cifar100mh => Made::Images(ImageSetKind::Cifar100mh),
        GeneratorKind::Confounded08 => Made::Images(ImageSetKind::Confounded08),
        GeneratorKind::ConfoundedDecoy => Made::Images(ImageSetKind::ConfoundedDecoy),
        GeneratorKind::ConfoundedDots => Made::Images(ImageSetKind::ConfoundedDots),
        GeneratorKind::Images => Made::Images(ImageSetKind::Images),
    }
}

fn make(generate: &GenerateConfig, root: &Path) -> Result<(), TrainError> {
    let GenerateConfig { kind, seed, scale } = *generate;
    match made(kind) {
        Made::Recordings(kind) => synth::ensure(kind, seed, scale, root).map(|_| ())?,
        Made::Images(kind) => synth::ensure_images(kind, seed, scale, root).map(|_| ())?,
    }
    Ok(())
}

/// `data/birdsong`, or `data/birdsong-seed1-scale0.5` where seed or size differ from the generator's defaults.
fn generated_root(parent: &Path, generate: &GenerateConfig) -> PathBuf {
    let mut name = match made(generate.kind) {
        Made::Recordings(RecordingSetKind::Birdsong) => "birdsong".to_owned(),
        Made::Recordings(RecordingSetKind::SpokenDigits) => "spoken-digits".to_owned(),
        Made::Recordings(RecordingSetKind::EnvironmentalSounds) => "environmental-sounds".to_owned(),
        Made::Recordings(RecordingSetKind::MachineSounds) => "machine-sounds".to_owned(),
        Made::Images(kind) => kind.folder_name(generate.scale),
    };
    if generate.seed != 0 {
        name.push_str(&format!("-seed{}", generate.seed));
    }
    if generate.scale != 1.0 {
        name.push_str(&format!("-scale{}", generate.scale));
    }
    parent.join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_generated_sets_apart() {
        let mut generate = GenerateConfig { kind: GeneratorKind::Birdsong, seed: 0, scale: 1.0 };
        assert_eq!(generated_root(Path::new("data"), &generate), Path::new("data/birdsong"));
        generate.seed = 3;
        generate.scale = 0.25;
        assert_eq!(generated_root(Path::new("data"), &generate), Path::new("data/birdsong-seed3-scale0.25"));
    }
}
