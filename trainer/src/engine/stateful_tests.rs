//! A checkpoint holds every component of the engine: all of them come back bit for bit, and one that is missing, of another
//! version or unknown is refused by its name.

use std::collections::BTreeSet;
use std::io::Write;

use dtrain_comm::local_world;
use dtrain_configs::schema::{AdamwConfig, Encoder, MethodFacts, OptimizerConfig, ScheduleConfig};
use tch::{Device, Kind, TchError, Tensor};

use crate::checkpoint::{
    CheckpointStore, FrameKind, ManifestInfo, Retention, RetentionPolicy, STATE_FILE, Sections, TensorFile,
    TensorHome, TensorSpec, file_bytes, write_tensors,
};
use crate::coordinator::Course;
use crate::engine::{Arithmetic, Engine, EngineSettings, Ranks};
use crate::error::TrainError;
use crate::method::{LocalBatch, Method, Objective, StepContext};
use crate::model::ForwardContext;
use crate::model::parameters::{Init, Parameters, Role};
use crate::state::{Layout, Snapshot, Stateful, Stored, Values, copy_into, spec_of};

const TEACHER: FrameKind = FrameKind { name: "teacher", tag: *b"TEAC", version: 4 };

/// A method that keeps a slowly moving copy of its weights and a number, as methods with a teacher do.
struct WithTeacher {
    teacher: Teacher,
}

struct Teacher {
    weights: Tensor,
    momentum: f64,
}

impl WithTeacher {
    fn build(parameters: &mut Parameters) -> Box<dyn Method> {
        let init = Init::Normal { std: 1.0 };
        let weight = parameters.parameter("conv.weight", &[4, 3, 2, 2], init, Role::Weight);
        let _ = parameters.buffer("bn.running_mean", &[4], 0.5);
        let _ = parameters.counter("bn.num_batches_tracked");
        Box::new(Self { teacher: Teacher { weights: weight.detach().copy(), momentum: 0.99 } })
    }
}

impl Method for WithTeacher {
    fn own_state(&mut self) -> Option<&mut dyn Stateful> {
        Some(&mut self.teacher)
    }

    fn facts(&self) -> MethodFacts {
        MethodFacts::default()
    }

    fn loss_names(&self) -> Vec<String> {
        vec!["none".into()]
    }

    fn monitors(&self) -> &'static [&'static str] {
        &[]
    }

    fn objective(&self, _: &LocalBatch, _: &StepContext<'_>) -> Result<Objective, TchError> {
        Err(TchError::Torch("nothing is trained here".into()))
    }

    fn num_features(&self) -> i64 {
        1
    }

    fn embed(&self, inputs: &Tensor, _: Encoder, _: &ForwardContext) -> Result<Tensor, TchError> {
        Ok(inputs.shallow_clone())
    }
}

impl Stateful for Teacher {
    fn layout(&self) -> Result<Layout, TrainError> {
        let spec = spec_of("teacher.conv.weight", &self.weights.size(), self.weights.kind())?;
        Ok(Layout { kind: TEACHER, home: TensorHome::Optimizer, tensors: vec![spec] })
    }

    fn save(&self) -> Result<Values, TrainError> {
        Ok(Values::new(TEACHER, vec![self.weights.shallow_clone()], self.momentum))
    }

    fn restore(&mut self, stored: &Stored<'_>) -> Result<(), TrainError> {
        self.momentum = stored.value(&TEACHER)?;
        let values = stored.tensors(TensorHome::Optimizer, &self.layout()?.tensors)?;
        values.iter().try_for_each(|value| copy_into(&self.weights, value))
    }
}

fn engine(seed: u64) -> Engine {
    let mut parameters = Parameters::new(Device::Cpu, Kind::Float, seed);
    let method = WithTeacher::build(&mut parameters);
    let settings = EngineSettings {
        global_batch: 8,
        micro_batch: None,
        tile: None,
        encoder: Encoder::Online,
        arithmetic: Arithmetic::Fp16,
        tf32: false,
        grad_clip: None,
        sync_bn: false,
        bucket_bytes: 1 << 20,
        first_bucket_bytes: 1 << 20,
        overlap: false,
        shard_optimizer: false,
        deferred: false,
        schedule: ScheduleConfig::default(),
        optimizer: OptimizerConfig::Adamw(AdamwConfig::default()),
        scheduled: Vec::new(),
        steps_per_epoch: 1,
        course: Course::whole(1),
    };
    Engine::new(method, parameters, Ranks::inline(&local_world(1)[0]), settings).unwrap()
}

/// A checkpoint's files in memory.
struct Files {
    sections: Sections,
    model: Vec<u8>,
    optimizer: Vec<u8>,
}

impl Files {
    fn of(engine: &mut Engine) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(dir.path()).unwrap();
        let policy = RetentionPolicy { keep_last: 1, mode: Default::default() };
        let snapshot = Snapshot::of(&engine.stateful()).unwrap();
        let written = snapshot
            .write(
                &store,
                1,
                ManifestInfo::default(),
                &Retention { policy, monitor: None, keeps: Vec::new() },
            )
            .unwrap();
        let read = |name: &str| std::fs::read(written.folder.join(name)).unwrap();
        Self {
            sections: Sections::parse(&read(STATE_FILE)).unwrap(),
            model: read(TensorHome::Model.file()),
            optimizer: read(TensorHome::Optimizer.file()),
        }
    }

    fn restore(&self, engine: &mut Engine) -> Result<(), TrainError> {
        let model = TensorFile::parse(self.model.clone())?;
        let optimizer = TensorFile::parse(self.optimizer.clone())?;
        let stored = Stored { sections: &self.sections, model: &model, optimizer: &optimizer };
        stored.restore(&mut engine.stateful(), &[])
    }

    /// The reason for which a fresh engine does not take these files.
    #[track_caller]
    fn refusal(&self) -> String {
        let error = self.restore(&mut engine(2)).unwrap_err();
        assert!(error.hint().is_some(), "{error}");
        error.to_string()
    }
}

/// The bytes of a file without the tensor `left_out`, and with an `extra` one.
fn edited(bytes: &[u8], left_out: &str, extra: Option<&str>) -> Vec<u8> {
    let file = TensorFile::parse(bytes.to_vec()).unwrap();
    let views: Vec<_> = file.tensors().filter(|view| view.spec.name != left_out).collect();
    let mut specs: Vec<TensorSpec> = views.iter().map(|view| view.spec.clone()).collect();
    specs.extend(extra.map(|name| spec_of(name, &[2], Kind::Int64).unwrap()));
    let mut edited = Vec::new();
    write_tensors(&mut edited, &specs, &Default::default(), |index, w: &mut dyn Write| {
        w.write_all(views.get(index).map_or(&[0; 16][..], |view| view.bytes))
    })
    .unwrap();
    assert_eq!(edited.len() as u64, file_bytes(&specs, &Default::default()).unwrap());
    edited
}

/// Every bit of an engine's state.
fn bits(engine: &mut Engine) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
    let files = Files::of(engine);
    (files.sections.to_bytes().unwrap(), files.model, files.optimizer)
}

#[test]
fn every_component_comes_back() {
    let mut trained = engine(1);
    // Numbers that no fresh engine has.
    for (number, (_, tensor)) in trained.moments().unwrap().iter().enumerate() {
        let _ = tensor.shallow_clone().fill_(0.25 + number as f64);
    }
    for (_, tensor) in trained.parameters().named().skip(1) {
        let _ = tensor.shallow_clone().fill_(7.0);
    }
    trained.optimizer.set_steps(&[5]);
    trained.loss_scale.as_mut().unwrap().update(true);
    let files = Files::of(&mut trained);
    let names: BTreeSet<&str> = files.sections.names().collect();
    assert_eq!(names, ["loss scale", "model", "optimizer", "teacher"].into());
    let mut fresh = engine(2);
    assert!(bits(&mut fresh) != bits(&mut trained));
    files.restore(&mut fresh).unwrap();
    assert!(bits(&mut fresh) == bits(&mut trained));
    assert_eq!(fresh.optimizer_steps(), [5]);
    // In logical order, whatever order the weights lie in.
    let model = TensorFile::parse(files.model).unwrap();
    let view = model.tensor("conv.weight").unwrap();
    let (_, weight) = trained.parameters().named().next().unwrap();
    assert_eq!(view.bytes, crate::state::bytes_of(&weight.contiguous()));
}

#[test]
fn a_component_that_is_missing_or_unknown_is_refused_by_name() {
    let whole = Files::of(&mut engine(1));
    let all: Vec<String> = whole.sections.names().map(str::to_owned).collect();
    for left_out in &all {
        let mut sections = Sections::default();
        for kept in all.iter().filter(|name| *name != left_out) {
            sections.copy(&whole.sections, kept);
        }
        let files = Files { sections, model: whole.model.clone(), optimizer: whole.optimizer.clone() };
        let expected = format!("the checkpoint lacks the state of `{left_out}`, which this run needs");
        assert_eq!(files.refusal(), expected);
    }
    let mut more = Files::of(&mut engine(1));
    more.sections.put(&FrameKind { name: "codebook", tag: *b"CODE", version: 1 }, &1u8).unwrap();
    assert_eq!(more.refusal(), "the checkpoint holds the state of `codebook`, which this run has not");
}

#[test]
fn a_section_of_another_version_is_refused_with_its_version() {
    let whole = Files::of(&mut engine(1));
    let mut sections = Sections::default();
    for name in ["loss scale", "model", "optimizer"] {
        sections.copy(&whole.sections, name);
    }
    sections.put(&FrameKind { version: 5, ..TEACHER }, &0.5f64).unwrap();
    let files = Files { sections, ..whole };
    assert_eq!(files.refusal(), "teacher: version 5, this program reads version 4");
}

#[test]
fn a_tensor_that_is_missing_different_or_unknown_is_refused_by_name() {
    let whole = Files::of(&mut engine(1));
    let with = |model: Vec<u8>, optimizer: Vec<u8>| {
        Files { sections: whole.sections.clone(), model, optimizer }.refusal()
    };
    for name in ["exp_avg_sq.conv.weight", "teacher.conv.weight"] {
        let refusal = with(whole.model.clone(), edited(&whole.optimizer, name, None));
        assert_eq!(
            refusal,
            format!("the checkpoint's `optimizer.safetensors` lacks `{name}`, which this run needs")
        );
    }
    let renamed = edited(&whole.model, "bn.num_batches_tracked", Some("bn.num_batches_tracked"));
    assert_eq!(
        with(renamed, whole.optimizer.clone()),
        "the checkpoint's `bn.num_batches_tracked` is I64 [2], this run's is I64 []"
    );
    let refusal = with(edited(&whole.model, "", Some("extra")), whole.optimizer.clone());
    assert_eq!(refusal, "the checkpoint holds `extra`, which this model lacks");
    let refusal = with(whole.model.clone(), edited(&whole.optimizer, "", Some("center")));
    assert_eq!(refusal, "the checkpoint holds `center`, which this model lacks");
}
