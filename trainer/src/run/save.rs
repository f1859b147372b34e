//! Checkpoints of a run: which tensors and which state go into which file, and back. A part that holds state appears in
//! both directions or not at all.

use std::collections::BTreeMap;
use std::path::Path;

use dtrain_comm::{Collective, CollectiveExt};
use tch::{Device, Kind, Tensor};

use super::prepare::Prepared;
use super::{LoopState, RunDir, Session, agreed};
use crate::checkpoint::{
    CheckpointError, CheckpointStore, Dtype, FrameKind, Loaded, MODEL_FILE, ManifestInfo, OPTIMIZER_FILE,
    RetentionPolicy, STATE_FILE, TensorFile, TensorSpec, Validation, decode, encode, file_bytes,
    write_tensors,
};
use crate::engine::Engine;
use crate::error::TrainError;

/// `state.bin`.
pub(crate) const STATE: FrameKind = FrameKind { name: "loop state", tag: *b"LOOP", version: 2 };

/// A checkpoint's content, read by rank 0 and known to all ranks.
pub struct Restored {
    /// The loop's state.
    pub state: LoopState,
    model: TensorFile,
    optimizer: TensorFile,
}

impl Session<'_> {
    /// Rank 0 writes a checkpoint and applies the retention policy; the others give it their parts and wait.
    pub(super) fn save(&mut self, step: u64) -> Result<(), TrainError> {
        if self.run_dir.is_none() {
            return Ok(());
        }
        let moments = self.prepared.engine.moments()?;
        self.on_rank_0(|session| session.write_checkpoint(step, &moments))
    }

    fn write_checkpoint(&mut self, step: u64, moments: &[(String, Tensor)]) -> Result<(), TrainError> {
        let Some(run_dir) = &self.run_dir else { return Ok(()) };
        let prepared = &self.prepared;
        let engine = &prepared.engine;
        let state = LoopState {
            coordinator: self.coordinator.state().clone(),
            wall_secs: self.wall_secs(),
            dropped: self.dropped.clone(),
            metrics: self.metrics.clone(),
            data_fingerprint: prepared.dataset.fingerprint,
            resolved: prepared.resolved,
            world_size: engine.collective().world().world_size,
            optimizer_steps: engine.optimizer_steps().to_vec(),
            loss_scale: engine.loss_scale().copied(),
            unreported_finite: self.last_step_finite,
        };
        let model = model_tensors(engine);
        let (model_specs, moment_specs) = (specs(&model)?, specs(moments)?);
        let none = BTreeMap::new();

        let store = CheckpointStore::open(run_dir.checkpoints())?;
        store.require_space(file_bytes(&model_specs, &none)? + file_bytes(&moment_specs, &none)?)?;
        let mut staged = store.begin(step)?;
        staged.write_file(MODEL_FILE, |w| write_all(w, &model_specs, &model))?;
        staged.write_file(OPTIMIZER_FILE, |w| write_all(w, &moment_specs, moments))?;
        staged.write_file(STATE_FILE, |w| Ok(w.write_all(&encode(&STATE, &state)?)?))?;
        let folder = staged.commit(ManifestInfo {
            epoch: step / prepared.plan.steps_per_epoch.max(1),
            metrics: self.measured_at(step),
            metadata: BTreeMap::from([("world_size".into(), state.world_size.into())]),
        })?;
        let config = &prepared.config.checkpoint;
        let policy = RetentionPolicy { keep_last: config.keep_last, mode: config.mode };
        let actions = store.plan(&policy, config.monitor.as_deref())?;
        store.apply(&actions)?;
        self.observer.saved(&folder, step);
        Ok(())
    }
}

/// Asks whether a checkpoint will fit before there is anything to save.
pub fn require_room(run_dir: &RunDir, engine: &Engine) -> Result<(), TrainError> {
    let none = BTreeMap::new();
    let model = specs(&model_tensors(engine))?;
    let element_bytes = engine.kind().elt_size_in_bytes() as u64;
    let elements = |shape: &Vec<i64>| shape.iter().product::<i64>() as u64;
    let moments: u64 = engine.moment_specs().iter().map(|(_, shape)| elements(shape) * element_bytes).sum();
    let bytes = file_bytes(&model, &none)? + moments;
    Ok(CheckpointStore::inspect(run_dir.path()).require_space(bytes)?)
}

/// Loads the newest valid checkpoint of a run; `None` when there is none yet. Rank 0 reads, all ranks know.
pub fn load_newest(collective: &dyn Collective, run: &RunDir) -> Result<Option<Restored>, TrainError> {
    broadcast(collective, || {
        // Opening repairs what a killed process left half done.
        Ok(CheckpointStore::open(run.checkpoints())?.load_latest(Validation::Full)?)
    })
}

/// Loads the checkpoint at `path`: its folder or a run directory.
pub fn load_at(collective: &dyn Collective, path: &Path) -> Result<Restored, TrainError> {
    let found = broadcast(collective, || Ok(Some(CheckpointStore::open_at(path, Validation::Full)?)))?;
    found.ok_or_else(|| {
        TrainError::config(
            format!("`{}` holds no checkpoint yet", path.display()),
            "train first, or give a folder like `.../checkpoints/step-...`",
        )
    })
}

fn broadcast(
    collective: &dyn Collective,
    find: impl FnOnce() -> Result<Option<Loaded>, TrainError>,
) -> Result<Option<Restored>, TrainError> {
    let read = || -> Result<Option<[Vec<u8>; 3]>, TrainError> {
        let Some(loaded) = find()? else { return Ok(None) };
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        tracing::info!("loading {}", loaded.dir.display());
        let file = |name: &str| fs_err::read(loaded.dir.join(name));
        Ok(Some([file(STATE_FILE)?, file(MODEL_FILE)?, file(OPTIMIZER_FILE)?]))
    };
    let here = if collective.world().rank == 0 { read() } else { Ok(None) };
    let here = agreed(collective, here)?;
    let found = collective.broadcast_bytes(vec![u8::from(here.is_some())], 0)?;
    if found != [1] {
        return Ok(None);
    }
    let mut files = here.unwrap_or_default().into_iter();
    let mut next = || collective.broadcast_bytes(files.next().unwrap_or_default(), 0);
    let (state, model, optimizer) = (next()?, next()?, next()?);
    let parsed = || -> Result<Restored, TrainError> {
        Ok(Restored {
            state: decode(&STATE, &state).map_err(CheckpointError::from)?,
            model: TensorFile::parse(model).map_err(CheckpointError::from)?,
            optimizer: TensorFile::parse(optimizer).map_err(CheckpointError::from)?,
        })
    };
    Ok(Some(agreed(collective, parsed())?))
}

impl Restored {
    /// Puts weights, buffers and moments into place.
    pub fn apply(&self, prepared: &mut Prepared) -> Result<(), TrainError> {
        self.apply_weights(prepared)?;
        let engine = &mut prepared.engine;
        let expected: Vec<(String, Tensor)> = engine
            .moment_specs()
            .into_iter()
            .map(|(name, shape)| (name, Tensor::empty(shape.as_slice(), (engine.kind(), Device::Cpu))))
            .collect();
        let moments = read_all(&self.optimizer, &expected, OPTIMIZER_FILE)?;
        engine.restore_loss_scale(self.state.loss_scale);
        engine.restore_optimizer(&moments, &self.state.optimizer_steps)
    }

    /// Puts weights and buffers into place only.
    pub fn apply_weights(&self, prepared: &mut Prepared) -> Result<(), TrainError> {
        let targets = model_tensors(&prepared.engine);
        let values = read_all(&self.model, &targets, MODEL_FILE)?;
        let known: std::collections::BTreeSet<&str> = targets.iter().map(|(name, _)| name.as_str()).collect();
        if let Some(extra) = self.model.tensors().find(|t| !known.contains(t.spec.name.as_str())) {
            return Err(TrainError::config(
                format!("the checkpoint holds `{}`, which this model lacks", extra.spec.name),
                "use the model and method of the run that wrote it",
            ));
        }
        copy_into(&targets, &values);
        Ok(())
    }
}

const WEIGHTS_HINT: &str = "give a run directory, a checkpoint folder or a safetensors file";

/// Starts from the weights that another run or program left: every tensor that both have in the same shape.
pub fn init_weights(
    collective: &dyn Collective,
    prepared: &mut Prepared,
    path: &Path,
) -> Result<usize, TrainError> {
    let bytes = || -> Result<Vec<u8>, TrainError> {
        if !path.exists() {
            return Err(TrainError::config(
                format!("`init_from={}` does not exist", path.display()),
                WEIGHTS_HINT,
            ));
        }
        if path.is_dir() {
            let loaded = CheckpointStore::open_at(path, Validation::Full)?;
            return Ok(fs_err::read(loaded.dir.join(MODEL_FILE))?);
        }
        Ok(fs_err::read(path)?)
    };
    let here = if collective.world().rank == 0 { bytes() } else { Ok(Vec::new()) };
    let bytes = collective.broadcast_bytes(agreed(collective, here)?, 0)?;
    let file = TensorFile::parse(bytes).map_err(|e| {
        TrainError::config(format!("`init_from={}` cannot be read: {e}", path.display()), WEIGHTS_HINT)
    })?;
    let mut used = 0;
    // A memory queue holds rows of another run's encoder.
    let targets = model_tensors(&prepared.engine).into_iter().filter(|(name, _)| !name.starts_with("queue."));
    for (name, target) in targets {
        // A backbone exported on its own carries torchvision's bare names.
        let bare = name.strip_prefix("backbone.").unwrap_or(&name).to_owned();
        let Some(view) = [&name, &bare].into_iter().find_map(|n| file.tensor(n).ok()) else { continue };
        let shape: Vec<i64> = view.spec.shape.iter().map(|&n| n as i64).collect();
        if shape != target.size() {
            if name.starts_with("backbone.") {
                return Err(TrainError::config(
                    format!(
                        "`init_from={}`: `{name}` is {shape:?} there and {:?} here",
                        path.display(),
                        target.size()
                    ),
                    "choose the `model` and `data` that the weights were trained with",
                ));
            }
            continue;
        }
        copy_into(&[(name, target)], &[tensor_of(&view.spec.dtype, &shape, view.bytes)?]);
        used += 1;
    }
    if used == 0 {
        return Err(TrainError::config(
            format!("`init_from={}` shares no tensor name with this model", path.display()),
            "names are torchvision's, with or without `backbone.` in front",
        ));
    }
    Ok(used)
}

/// Parameters and buffers under their names.
fn model_tensors(engine: &Engine) -> Vec<(String, Tensor)> {
    let parameters = engine.parameters();
    let trained = parameters.parameters().iter().map(|p| (p.name.clone(), p.tensor.detach()));
    let kept = parameters.buffers().iter().map(|b| (b.name.clone(), b.tensor.shallow_clone()));
    trained.chain(kept).collect()
}

fn dtype_of(tensor: &Tensor) -> Result<Dtype, TrainError> {
    match tensor.kind() {
        Kind::Float => Ok(Dtype::F32),
        Kind::Double => Ok(Dtype::F64),
        Kind::Int64 => Ok(Dtype::I64),
        other => Err(TrainError::internal(format!("tensors of {other:?} are not saved"))),
    }
}

fn specs(tensors: &[(String, Tensor)]) -> Result<Vec<TensorSpec>, TrainError> {
    tensors
        .iter()
        .map(|(name, tensor)| {
            let shape = tensor.size().into_iter().map(|n| n as u64).collect();
            Ok(TensorSpec { name: name.clone(), dtype: dtype_of(tensor)?, shape })
        })
        .collect()
}

fn write_all(
    writer: &mut dyn std::io::Write,
    specs: &[TensorSpec],
    tensors: &[(String, Tensor)],
) -> Result<(), CheckpointError> {
    write_tensors(writer, specs, &BTreeMap::new(), |index, w| {
        let Some((_, tensor)) = tensors.get(index) else { return Ok(()) };
        let tensor = tensor.to_device(tch::Device::Cpu).contiguous();
        let bytes = tensor.numel() * tensor.kind().elt_size_in_bytes();
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: a contiguous CPU tensor holds `bytes` bytes at its data pointer, and it lives until the end of this
        // block.
        w.write_all(unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<u8>(), bytes) })
    })?;
    Ok(())
}

/// The tensors named by `expected`, in their shapes and types; one that is missing or different is named.
fn read_all(file: &TensorFile, expected: &[(String, Tensor)], part: &str) -> Result<Vec<Tensor>, TrainError> {
    expected
        .iter()
        .map(|(name, target)| {
            let Ok(view) = file.tensor(name) else {
                return Err(TrainError::config(
                    format!("the checkpoint's `{part}` lacks `{name}`, which this run needs"),
                    "use the model, method and optimizer of the run that wrote it, or `init_from` to take what fits",
                ));
            };
            let shape: Vec<i64> = view.spec.shape.iter().map(|&n| n as i64).collect();
            if shape != target.size() || view.spec.dtype != dtype_of(target)? {
                return Err(TrainError::config(
                    format!(
                        "the checkpoint's `{name}` is {} {shape:?}, this run's is {} {:?}",
                        view.spec.dtype.name(),
                        dtype_of(target)?.name(),
                        target.size()
                    ),
                    "use the model, method and precision of the run that wrote it",
                ));
            }
            tensor_of(&view.spec.dtype, &shape, view.bytes)
        })
        .collect()
}

fn tensor_of(dtype: &Dtype, shape: &[i64], bytes: &[u8]) -> Result<Tensor, TrainError> {
    let kind = match dtype {
        Dtype::F32 => Kind::Float,
        Dtype::F64 => Kind::Double,
        Dtype::I64 => Kind::Int64,
        Dtype::F16 => Kind::Half,
        Dtype::Bf16 => Kind::BFloat16,
        other => {
            return Err(TrainError::config(
                format!("tensors of {} are not supported", other.name()),
                "convert the file to F32",
            ));
        }
    };
    Ok(Tensor::f_from_data_size(bytes, shape, kind)?)
}

fn copy_into(targets: &[(String, Tensor)], values: &[Tensor]) {
    tch::no_grad(|| {
        for ((_, target), value) in targets.iter().zip(values) {
            target.shallow_clone().copy_(value);
        }
    });
}
