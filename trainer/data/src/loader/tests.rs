//! What the loader promises.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use dtrain_configs::schema::{AudioConfig, AugmentConfig, FeatureConfig};
use tempfile::TempDir;

use super::queue::bytes_of;
use super::*;
use crate::augment::gain::Gain;
use crate::augment::shift::Shift;
use crate::augment::{Augmentation, SoundAugmentations};
use crate::batch::GroupRequest;
use crate::columns::{Columns, NONE};
use crate::memory::PlainMemory;
use crate::rng::{Purpose, ViewKey};
use crate::sampler::Draw;
use crate::views::{Excerpt, SoundSpec, SoundViews, ViewRequest, ViewSlot, Workspace};

const OPTIONS: LoaderOptions =
    LoaderOptions { threads: 2, prefetch_batches: 3, prefetch_bytes: 1 << 20, tells_of_first: false };

/// Recordings of various lengths; number 5 and 6 are broken.
fn maker() -> (TempDir, Arc<SoundViews>) {
    let folder = tempfile::tempdir().unwrap();
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 8000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let paths: Vec<PathBuf> = (0..12u32).map(|i| folder.path().join(format!("{i}.wav"))).collect();
    for (i, path) in (0u32..).zip(&paths) {
        let mut writer = hound::WavWriter::create(path, spec).unwrap();
        for t in 0..500 + 200 * i {
            writer.write_sample((t * t % (1000 + i)) as i16).unwrap();
        }
        writer.finalize().unwrap();
    }
    fs_err::write(&paths[5], "no sound").unwrap();
    let half = fs_err::read(&paths[6]).unwrap();
    fs_err::write(&paths[6], &half[..half.len() / 2]).unwrap();
    let audio = AudioConfig { sample_rate: 8000, clip_secs: 0.1, ..AudioConfig::default() };
    let features = FeatureConfig { n_fft: 128, hop_length: 80, n_mels: 8, ..FeatureConfig::default() };
    let excerpts = paths.into_iter().map(|path| Excerpt { path: path.into(), frames: None }).collect();
    let maker = SoundViews::new(excerpts, &audio, &features, &AugmentConfig::default(), 3, 10_000).unwrap();
    (folder, Arc::new(maker))
}

/// Plays a view backwards or not, and tells which.
#[derive(Debug)]
struct Reverse;

impl Augmentation<[f32]> for Reverse {
    fn column(&self) -> Option<&str> {
        Some("reversed")
    }

    fn apply(&self, key: &ViewKey, clip: &mut [f32], drawn: &mut i64) {
        *drawn = key.stream(Purpose::Shown).up_to(1) as i64;
        if *drawn == 1 {
            clip.reverse();
        }
    }
}

/// The same with small crops besides: a third of the frames, shifted and turned up but not masked.
fn maker_of_two_specs() -> (TempDir, Arc<SoundViews>) {
    let (folder, maker) = maker();
    let maker = Arc::into_inner(maker).unwrap();
    let audio = AudioConfig { sample_rate: 8000, clip_secs: 0.03, ..AudioConfig::default() };
    let features = FeatureConfig { n_fft: 128, hop_length: 80, n_mels: 8, ..FeatureConfig::default() };
    let of_clip: Vec<Box<dyn Augmentation<[f32]>>> = vec![
        Box::new(Gain { range_db: [-3.0, 3.0] }),
        Box::new(Reverse),
        Box::new(Shift { max_fraction: 0.2 }),
    ];
    let augmentations = SoundAugmentations { random_crop: true, of_clip, ..SoundAugmentations::default() };
    let maker = maker.with(SoundSpec::new(&audio, &features, augmentations).unwrap());
    (folder, Arc::new(maker))
}

/// One view as the maker writes it.
fn view_of(maker: &SoundViews, spec: usize, (epoch, sample_id, view): (u64, u32, Option<u32>)) -> Vec<f32> {
    let mut values = vec![0.0; maker.shape_of(spec).unwrap().iter().product()];
    let request = ViewRequest { epoch, sample_id, augment: view.is_some() };
    let drawn = &mut vec![0; maker.drawn_columns(spec).len()];
    let slot = ViewSlot { spec, view: view.unwrap_or(0), index: 0, values: &mut values, drawn };
    maker.make(&mut Workspace::default(), &request, vec![slot], &mut []).unwrap();
    values
}

fn request(step: u64, sample_ids: Vec<u32>) -> BatchRequest {
    let draws = sample_ids.into_iter().map(Draw::first).collect();
    BatchRequest { epoch: step / 4, step, draws, groups: vec![GroupRequest::of(2)], augment: true }
}

fn requests() -> Vec<BatchRequest> {
    let mut requests: Vec<_> = (0..9u32)
        .map(|step| request(step.into(), (0..step).map(|i| (i * 5 + step) % 12).collect()))
        .collect();
    requests.push(BatchRequest {
        groups: vec![GroupRequest::of(1)],
        augment: false,
        ..request(9, (0..12).collect())
    });
    requests.push(request(10, vec![5, 6]));
    requests
}

fn all(maker: &Arc<SoundViews>, options: LoaderOptions) -> Vec<Batch<Vec<f32>>> {
    all_of(maker, requests(), options)
}

fn all_of(
    maker: &Arc<SoundViews>,
    requests: Vec<BatchRequest>,
    options: LoaderOptions,
) -> Vec<Batch<Vec<f32>>> {
    let loader = Loader::start(maker.clone(), requests.into_iter(), options, PlainMemory).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = loader.next() {
        batches.push(Batch { prepare_secs: 0.0, ..batch.unwrap() });
    }
    assert!(loader.next().is_none());
    batches
}

#[test]
fn batches_come_in_order_with_the_same_bits_for_any_threads_and_budget() {
    let (_folder, maker) = maker();
    let expected =
        all(&maker, LoaderOptions { threads: 1, prefetch_batches: 1, prefetch_bytes: 0, ..OPTIONS });
    assert_eq!(expected.iter().map(|b| b.request.clone()).collect::<Vec<_>>(), requests());
    for threads in [0, 2, 5] {
        for (prefetch_batches, prefetch_bytes) in [(0, u64::MAX), (3, 20_000), (20, u64::MAX)] {
            let options = LoaderOptions { threads, prefetch_batches, prefetch_bytes, ..OPTIONS };
            assert_eq!(all(&maker, options), expected, "{options:?}");
        }
    }
}

#[test]
fn every_view_lies_in_its_place_and_failed_samples_drop_out_with_all_of_theirs() {
    let (_folder, maker) = maker();
    let view_len = maker.shape().iter().product();
    for batch in all(&maker, OPTIONS) {
        let ids: Vec<u32> = batch.request.draws.iter().map(|draw| draw.id).collect();
        let good = |id: &u32| ![5, 6].contains(id);
        assert_eq!(batch.kept, (0..ids.len()).filter(|&i| good(&ids[i])).collect::<Vec<_>>());
        let failed: Vec<u32> = batch.failed.iter().map(|f| f.sample_id).collect();
        assert_eq!(failed, ids.iter().copied().filter(|id| !good(id)).collect::<Vec<_>>());
        for sample in &batch.failed {
            let reason = if sample.sample_id == 5 { "not a recording" } else { "truncated" };
            assert!(sample.reason.starts_with(reason), "{}", sample.reason);
            assert_eq!(sample.path, *maker.excerpts()[sample.sample_id as usize].path);
        }
        let [block] = batch.groups.as_slice() else { panic!("one group") };
        assert_eq!(block.data.len(), block.num_views as usize * batch.kept.len() * view_len);
        let mut views = block.data.chunks(view_len);
        for view in 0..block.num_views {
            for &position in &batch.kept {
                let view = batch.request.augment.then_some(view);
                let expected = view_of(&maker, 0, (batch.request.epoch, ids[position], view));
                assert_eq!(views.next().unwrap(), expected);
            }
        }
    }
}

/// Over uneven drops, and with samples that are drawn again.
#[test]
fn groups_of_two_shapes_come_with_the_same_bits_for_any_threads() {
    let (_folder, maker) = maker_of_two_specs();
    let groups = [GroupRequest { num_views: 2, spec: 0 }, GroupRequest { num_views: 3, spec: 1 }];
    let of_two = |request: BatchRequest| BatchRequest { groups: groups.to_vec(), ..request };
    let mut requests: Vec<_> = requests().into_iter().map(of_two).collect();
    let draws = vec![Draw { id: 1, repeat: 0 }, Draw::first(5), Draw { id: 1, repeat: 1 }];
    requests.push(of_two(BatchRequest { draws, ..request(11, Vec::new()) }));

    let expected = all_of(&maker, requests.clone(), LoaderOptions { threads: 1, ..OPTIONS });
    assert_eq!(all_of(&maker, requests, LoaderOptions { threads: 5, ..OPTIONS }), expected);
    assert_eq!((maker.shape_of(0), maker.shape_of(1)), (Some([1, 8, 11]), Some([1, 8, 4])));
    for batch in expected {
        for (number, (block, group)) in batch.groups.iter().zip(groups).enumerate() {
            let view_len = maker.shape_of(group.spec).unwrap().iter().product();
            assert_eq!(block.shape, maker.shape_of(group.spec).unwrap());
            assert_eq!(block.data.len(), group.num_views as usize * batch.kept.len() * view_len);
            let mut views = block.data.chunks(view_len);
            for index in 0..group.num_views {
                for &position in &batch.kept {
                    let Draw { id, repeat } = batch.request.draws[position];
                    let view = group.num_views * repeat + index + ((number as u32) << 20);
                    let view = batch.request.augment.then_some(view);
                    let expected = view_of(&maker, group.spec, (batch.request.epoch, id, view));
                    assert_eq!(views.next().unwrap(), expected, "{id} {view:?}");
                }
            }
        }
    }
}

#[test]
fn an_augmentation_tells_what_it_drew_for_each_view() {
    let (_folder, maker) = maker_of_two_specs();
    let groups = vec![GroupRequest::of(1), GroupRequest { num_views: 3, spec: 1 }];
    let request = BatchRequest { groups, ..request(2, vec![0, 5, 1, 2, 6, 7]) };
    let unaugmented = BatchRequest { augment: false, ..request.clone() };
    let batches = all_of(&maker, vec![request, unaugmented], OPTIONS);
    assert_eq!(batches[0].kept, [0, 2, 3, 5]);
    assert_eq!(batches[0].groups[0].drawn, Columns::new(4));
    let drawn = batches[0].groups[1].drawn.i64("reversed").unwrap();
    let expected = (0..3).flat_map(|view| {
        [0, 1, 2, 7].map(|sample_id| {
            let key = ViewKey { seed: 3, epoch: 0, sample_id, view: (1 << 20) + view };
            key.stream(Purpose::Shown).up_to(1) as i64
        })
    });
    assert_eq!(drawn, expected.collect::<Vec<_>>());
    assert!(drawn.contains(&0) && drawn.contains(&1));
    assert_eq!(batches[1].groups[1].drawn.i64("reversed"), Some([NONE; 12].as_slice()));
}

/// A second group leaves the first one as it was, in samples that are drawn again too, and so does an empty one, of a spec that
/// there need not be.
#[test]
fn the_first_group_has_the_views_that_it_has_alone() {
    let (_folder, maker) = maker_of_two_specs();
    let draws = vec![Draw::first(7), Draw::first(6), Draw::first(2), Draw { id: 7, repeat: 1 }];
    let of_groups = |groups: &[GroupRequest]| {
        let groups = groups.to_vec();
        let request = BatchRequest { draws: draws.clone(), groups, ..request(3, Vec::new()) };
        all_of(&maker, vec![request], OPTIONS).remove(0)
    };
    let large = GroupRequest::of(2);
    let alone = of_groups(&[large]);
    for second in [GroupRequest { num_views: 4, spec: 1 }, GroupRequest { num_views: 0, spec: 9 }] {
        let both = of_groups(&[large, second]);
        assert_eq!(both.groups[0], alone.groups[0]);
        assert_eq!(both.groups[1].data.is_empty(), second.num_views == 0);
    }
}

#[test]
fn a_sample_that_is_drawn_again_gets_further_views() {
    let (_folder, maker) = maker();
    let draws = vec![Draw { id: 1, repeat: 0 }, Draw { id: 1, repeat: 1 }];
    let request = BatchRequest { draws, ..request(0, Vec::new()) };
    let loader = Loader::start(maker.clone(), [request].into_iter(), OPTIONS, PlainMemory).unwrap();
    let batch = loader.next().unwrap().unwrap();
    // View-major: views 0 of both draws, then views 1; the second draw goes on with views 2 and 3.
    let view_len = maker.shape().iter().product();
    for (actual, view) in batch.groups[0].data.chunks(view_len).zip([0, 2, 1, 3]) {
        assert_eq!(actual, view_of(&maker, 0, (0, 1, Some(view))));
    }
}

#[test]
fn what_is_made_ahead_stays_within_the_budget() {
    let (_folder, maker) = maker();
    let batch_bytes = bytes_of(&request(0, vec![0; 4]), maker.slot_len(0)).unwrap();
    for (prefetch_batches, prefetch_bytes, most) in [(3, u64::MAX, 3), (9, 2 * batch_bytes, 2), (9, 1, 1)] {
        let asked = Arc::new(AtomicU64::new(0));
        let counted = asked.clone();
        let endless = (0..).map(move |step| {
            counted.fetch_add(1, Ordering::SeqCst);
            request(step, vec![0, 1, 2, 3])
        });
        let options = LoaderOptions { prefetch_batches, prefetch_bytes, ..OPTIONS };
        let loader = Loader::start(maker.clone(), endless, options, PlainMemory).unwrap();
        for taken in 1..=50u64 {
            let batch = loader.next().unwrap().unwrap();
            assert_eq!(batch.request.step, taken - 1);
            // One request beyond what is held may have been asked for, and waits.
            assert!(asked.load(Ordering::SeqCst) <= taken + most + 1);
            let state = loader.queue.lock();
            assert!(state.num_held as u64 <= most && state.ready.len() as u64 <= most);
            assert!(state.held_bytes <= prefetch_bytes.max(batch_bytes));
        }
    }
}

#[test]
fn dropping_the_loader_ends_it_whatever_it_is_doing() {
    let (_folder, maker) = maker();
    for taken in 0..20 {
        let endless = (0..).map(|step| request(step, (0..12).cycle().take(60).collect()));
        let loader = Loader::start(maker.clone(), endless, OPTIONS, PlainMemory).unwrap();
        for _ in 0..taken % 4 {
            loader.next().unwrap().unwrap();
        }
    }
    assert_eq!(Arc::strong_count(&maker), 1, "all threads are gone");
}

#[test]
fn a_panic_and_an_impossible_request_end_the_loader_with_an_error() {
    let (_folder, maker) = maker();
    let good = || request(0, vec![1, 2]);
    let broken = (0..3).map(move |step| match step {
        0 => request(0, vec![1, 2]),
        _ => panic!("out of {step}"),
    });
    let loader = Loader::start(maker.clone(), broken, OPTIONS, PlainMemory).unwrap();
    assert_eq!(loader.next().unwrap().unwrap().request, good());
    assert_eq!(loader.next(), Some(Err(LoaderError::Panicked { step: 0, message: "out of 1".into() })));
    assert_eq!(loader.next(), None);

    let bad = [request(7, vec![1, 99]), good()];
    let loader = Loader::start(maker.clone(), bad.into_iter(), OPTIONS, PlainMemory).unwrap();
    let reason = "sample 99 does not exist: the data set has 12".into();
    assert_eq!(loader.next(), Some(Err(LoaderError::Failed { step: 7, reason, hint: None })));
    assert_eq!(loader.next(), None);

    let huge = BatchRequest { groups: vec![GroupRequest::of(u32::MAX)], ..request(8, vec![0; 1 << 24]) };
    let loader = Loader::start(maker.clone(), [huge].into_iter(), OPTIONS, PlainMemory).unwrap();
    assert!(matches!(loader.next(), Some(Err(LoaderError::TooLarge { step: 8, .. }))));

    let unknown = BatchRequest { groups: vec![GroupRequest { num_views: 1, spec: 3 }], ..good() };
    let loader = Loader::start(maker, [unknown].into_iter(), OPTIONS, PlainMemory).unwrap();
    let reason = "there are no views of spec 3".into();
    assert_eq!(loader.next(), Some(Err(LoaderError::Failed { step: 0, reason, hint: None })));
}
