//! What the loader promises.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use dtrain_configs::schema::{AudioConfig, AugmentConfig, FeatureConfig};
use tempfile::TempDir;

use super::queue::bytes_of;
use super::*;
use crate::memory::PlainMemory;
use crate::sampler::Draw;
use crate::views::SoundViews;

const OPTIONS: LoaderOptions =
    LoaderOptions { threads: 2, prefetch_batches: 3, prefetch_bytes: 1 << 20, tells_of_first: false };

/// Recordings of various lengths; number 5 and 6 are broken.
fn maker() -> (TempDir, Arc<ViewMaker>) {
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
    let audio = AudioConfig { sample_rate: 8000, clip_secs: 0.1 };
    let features = FeatureConfig { n_fft: 128, hop_length: 80, n_mels: 8, ..FeatureConfig::default() };
    let maker = SoundViews::new(paths, &audio, &features, &AugmentConfig::default(), 3, 10_000).unwrap();
    (folder, Arc::new(ViewMaker::Sound(Box::new(maker))))
}

fn sound(maker: &ViewMaker) -> &SoundViews {
    match maker {
        ViewMaker::Sound(sound) => sound,
        ViewMaker::Images(_) => panic!("recordings"),
    }
}

fn request(step: u64, sample_ids: Vec<u32>) -> BatchRequest {
    let draws = sample_ids.into_iter().map(Draw::first).collect();
    BatchRequest { epoch: step / 4, step, draws, num_views: 2, augment: true }
}

fn requests() -> Vec<BatchRequest> {
    let mut requests: Vec<_> = (0..9u32)
        .map(|step| request(step.into(), (0..step).map(|i| (i * 5 + step) % 12).collect()))
        .collect();
    requests.push(BatchRequest { num_views: 1, augment: false, ..request(9, (0..12).collect()) });
    requests.push(request(10, vec![5, 6]));
    requests
}

fn all(maker: &Arc<ViewMaker>, options: LoaderOptions) -> Vec<Batch<Vec<f32>>> {
    let loader = Loader::start(maker.clone(), requests().into_iter(), options, PlainMemory).unwrap();
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
    let mut workspace = sound(&maker).workspace();
    let mut expected = vec![0.0; maker.view_len()];
    for batch in all(&maker, OPTIONS) {
        let ids: Vec<u32> = batch.request.draws.iter().map(|draw| draw.id).collect();
        let good = |id: &u32| ![5, 6].contains(id);
        assert_eq!(batch.kept, (0..ids.len()).filter(|&i| good(&ids[i])).collect::<Vec<_>>());
        let failed: Vec<u32> = batch.failed.iter().map(|f| f.sample_id).collect();
        assert_eq!(failed, ids.iter().copied().filter(|id| !good(id)).collect::<Vec<_>>());
        for sample in &batch.failed {
            let reason = if sample.sample_id == 5 { "not a WAV file" } else { "truncated" };
            assert!(sample.reason.starts_with(reason), "{}", sample.reason);
            assert_eq!(sample.path, sound(&maker).recordings()[sample.sample_id as usize]);
        }
        let num_views = batch.request.num_views as usize;
        assert_eq!(batch.data.len(), num_views * batch.kept.len() * maker.view_len());
        let mut views = batch.data.chunks(maker.view_len());
        for view in 0..batch.request.num_views {
            for &position in &batch.kept {
                let view = batch.request.augment.then_some(view);
                let epoch = batch.request.epoch;
                sound(&maker).make(&mut workspace, epoch, ids[position], view, &mut expected).unwrap();
                assert_eq!(views.next().unwrap(), expected);
            }
        }
    }
}

#[test]
fn a_sample_that_is_drawn_again_gets_further_views() {
    let (_folder, maker) = maker();
    let draws = vec![Draw { id: 1, repeat: 0 }, Draw { id: 1, repeat: 1 }];
    let request = BatchRequest { draws, ..request(0, Vec::new()) };
    let loader = Loader::start(maker.clone(), [request].into_iter(), OPTIONS, PlainMemory).unwrap();
    let batch = loader.next().unwrap().unwrap();
    let mut workspace = sound(&maker).workspace();
    let mut expected = vec![0.0; maker.view_len()];
    // View-major: views 0 of both draws, then views 1; the second draw goes on with views 2 and 3.
    for (actual, view) in batch.data.chunks(maker.view_len()).zip([0, 2, 1, 3]) {
        sound(&maker).make(&mut workspace, 0, 1, Some(view), &mut expected).unwrap();
        assert_eq!(actual, expected);
    }
}

#[test]
fn what_is_made_ahead_stays_within_the_budget() {
    let (_folder, maker) = maker();
    let batch_bytes = bytes_of(&request(0, vec![0; 4]), maker.shape()).unwrap();
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

    let huge = BatchRequest { num_views: u32::MAX, ..request(8, vec![0; 1 << 24]) };
    let loader = Loader::start(maker, [huge].into_iter(), OPTIONS, PlainMemory).unwrap();
    assert!(matches!(loader.next(), Some(Err(LoaderError::TooLarge { step: 8, .. }))));
}
