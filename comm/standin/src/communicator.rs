//! Communicators, blocking and not, as those of NCCL behave.

use std::ffi::{CStr, CString, c_char, c_int};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use crate::operation::{Failure, Operation, Place};
use crate::settings::settings;
use crate::shared::{Shared, wait_until};
use crate::stream::Stream;

pub(crate) const SUCCESS: c_int = 0;
pub(crate) const SYSTEM_ERROR: c_int = 2;
const INTERNAL_ERROR: c_int = 3;
pub(crate) const INVALID_ARGUMENT: c_int = 4;
pub(crate) const INVALID_USAGE: c_int = 5;
pub(crate) const IN_PROGRESS: c_int = 7;

/// How long a nonblocking call goes on after it has returned.
const LAUNCH: Duration = Duration::from_micros(100);

/// The last text of an error in this process.
static LAST_ERROR: Mutex<Option<&'static CStr>> = Mutex::new(None);

/// How often communicators of this process have connected.
static CONNECTIONS: AtomicU64 = AtomicU64::new(0);

/// The text of the last error of any communicator.
pub(crate) fn last_error() -> *const c_char {
    LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(c"").as_ptr()
}

/// How often communicators of this process have connected.
pub(crate) fn connections() -> u64 {
    CONNECTIONS.load(Ordering::Relaxed)
}

/// A rank of a communicator.
#[derive(Debug)]
pub(crate) struct Communicator {
    rank: usize,
    world_size: usize,
    blocking: bool,
    shared: OnceLock<Shared>,
    aborted: AtomicBool,
    /// What `ncclCommGetAsyncError` reports.
    state: Mutex<c_int>,
    error: Mutex<CString>,
    /// Operations that were submitted.
    operations: AtomicU64,
    /// Groups that were submitted.
    groups: AtomicU64,
    /// A bit for each connection that is there.
    connected: AtomicU32,
}

impl Communicator {
    /// A rank that has not met the others yet.
    pub(crate) fn new(rank: usize, world_size: usize, blocking: bool) -> Arc<Self> {
        Arc::new(Self {
            rank,
            world_size,
            blocking,
            shared: OnceLock::new(),
            aborted: AtomicBool::new(false),
            state: Mutex::new(IN_PROGRESS),
            error: Mutex::default(),
            operations: AtomicU64::new(0),
            groups: AtomicU64::new(0),
            connected: AtomicU32::new(if settings().connects_lazily { 0 } else { u32::MAX }),
        })
    }

    /// Begins to meet the other ranks; the state tells when that is done.
    pub(crate) fn init(self: &Arc<Self>, token: String, device: c_int) {
        let own = self.clone();
        self.go_on(move || own.meet(&token, device));
    }

    /// Runs the rest of a call: at once for a blocking communicator, later for a nonblocking one.
    fn go_on(&self, rest: impl FnOnce() + Send + 'static) {
        let call = settings().call;
        if self.blocking {
            std::thread::sleep(call.unwrap_or_default());
            return rest();
        }
        std::thread::spawn(move || {
            std::thread::sleep(call.unwrap_or(LAUNCH));
            rest();
        });
    }

    fn meet(&self, token: &str, device: c_int) {
        let world_size = self.world_size;
        if settings().failing_rank == Some(self.rank) {
            return self.fail(SYSTEM_ERROR, "No network interface was found");
        }
        let shared = match Shared::open(token, self.rank, world_size) {
            Ok(shared) => self.shared.get_or_init(|| shared),
            Err(problem) => return self.fail(SYSTEM_ERROR, &problem),
        };
        let mut host = DefaultHasher::new();
        settings().host.hash(&mut host);
        shared.own().host.store(host.finish(), Ordering::Relaxed);
        let device = u64::try_from(device).unwrap_or_default() + 1;
        shared.own().device.store(device, Ordering::Release);
        let all_came = || shared.all(|slot| slot.device.load(Ordering::Acquire) != 0);
        if !wait_until(all_came, || self.is_aborted()) {
            shared.unlink();
            return self.fail(INTERNAL_ERROR, "aborted while connecting");
        }
        let place = |rank: usize| {
            let slot = shared.slot(rank);
            (slot.device.load(Ordering::Relaxed), slot.host.load(Ordering::Relaxed))
        };
        match (0..world_size).find(|&other| other != self.rank && place(other) == place(self.rank)) {
            None => self.set_state(SUCCESS),
            Some(other) => {
                let rank = self.rank;
                let device = device - 1;
                self.fail(
                    INVALID_USAGE,
                    &format!(
                        "Duplicate GPU detected : rank {rank} and rank {other} both on CUDA device {device}"
                    ),
                );
            }
        }
    }

    /// Puts the operations of a group on a stream.
    pub(crate) fn launch(self: &Arc<Self>, stream: &Stream, operations: Vec<Operation>) -> c_int {
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match *state {
                SUCCESS => {}
                IN_PROGRESS => {
                    self.tell(
                        "Attempt to use communicator before the previous operation returned ncclSuccess",
                    );
                    return INVALID_ARGUMENT;
                }
                error => return error,
            }
            if !self.blocking {
                *state = IN_PROGRESS;
            }
        }
        let first = self.operations.fetch_add(operations.len() as u64, Ordering::Relaxed);
        let group = self.groups.fetch_add(1, Ordering::Relaxed);
        let (own, stream) = (self.clone(), stream.clone());
        self.go_on(move || {
            if !own.connect(&operations) {
                return own.fail(INTERNAL_ERROR, "aborted while connecting");
            }
            let runner = own.clone();
            stream.push(move || runner.run(first, group, &operations));
            own.set_state(SUCCESS);
        });
        if self.blocking { self.state() } else { IN_PROGRESS }
    }

    /// Waits for the other ranks where an operation is the first of its kind and size; false once aborted.
    fn connect(&self, operations: &[Operation]) -> bool {
        let Some(shared) = self.shared.get() else { return false };
        let needed = operations.iter().fold(0, |all, op| all | 1 << op.connection(self.world_size));
        let before = self.connected.fetch_or(needed, Ordering::AcqRel);
        if before & needed == needed && !settings().connects_always {
            return true;
        }
        CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let number = shared.own().connected.fetch_add(1, Ordering::AcqRel) + 1;
        let all_came = || shared.all(|slot| slot.connected.load(Ordering::Acquire) >= number);
        wait_until(all_came, || self.is_aborted())
    }

    /// Runs the operations of a group in an order that only the group's number and the seed decide.
    fn run(&self, first: u64, group: u64, operations: &[Operation]) {
        let Some(shared) = self.shared.get() else { return };
        for index in order(operations.len(), settings().seed ^ group) {
            let Some(operation) = operations.get(index) else { continue };
            let place = Place { number: first + index as u64, index, group: operations.len() };
            // SAFETY: whoever submitted the operation keeps its buffers until it is complete.
            match unsafe { operation.run(shared, self.rank, place, &|| self.is_aborted()) } {
                Ok(()) => {}
                Err(Failure::Aborted) => return,
                Err(Failure::Mismatch(text)) => {
                    // As with NCCL, an operation that cannot be carried out does not end by itself.
                    self.fail(INVALID_USAGE, &text);
                    wait_until(|| false, || self.is_aborted());
                    return;
                }
            }
        }
    }

    /// Number of ranks.
    pub(crate) fn world_size(&self) -> usize {
        self.world_size
    }

    /// Begins the end: the state tells when all ranks have come to it.
    pub(crate) fn finalize(self: &Arc<Self>) -> c_int {
        if self.state() != SUCCESS {
            return INVALID_ARGUMENT;
        }
        self.set_state(IN_PROGRESS);
        let own = self.clone();
        self.go_on(move || {
            let Some(shared) = own.shared.get() else { return };
            shared.own().finalized.store(1, Ordering::Release);
            let all_came = || shared.all(|slot| slot.finalized.load(Ordering::Acquire) != 0);
            if wait_until(all_came, || own.is_aborted()) {
                own.set_state(SUCCESS);
            } else {
                own.fail(INTERNAL_ERROR, "aborted while finalizing");
            }
        });
        if self.blocking { self.state() } else { IN_PROGRESS }
    }

    /// Makes this rank's operations end, whatever they wait for.
    pub(crate) fn abort(&self) {
        self.aborted.store(true, Ordering::Release);
        if let Some(shared) = self.shared.get() {
            shared.unlink();
        }
    }

    /// What `ncclCommGetAsyncError` reports.
    pub(crate) fn state(&self) -> c_int {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The text of the last error, for as long as the communicator lives.
    pub(crate) fn last_error(&self) -> *const std::ffi::c_char {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).as_ptr()
    }

    fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }

    /// Changes the state, unless it is an error, which stays.
    fn set_state(&self, new: c_int) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if [SUCCESS, IN_PROGRESS].contains(&*state) {
            *state = new;
        }
    }

    fn fail(&self, code: c_int, text: &str) {
        self.tell(text);
        self.set_state(code);
    }

    /// Keeps the first text, whose address may have been handed out.
    fn tell(&self, text: &str) {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        if error.is_empty() {
            *error = CString::new(text).unwrap_or_default();
            // Handed out for ever, and rare.
            let last: &'static CStr = Box::leak(error.clone().into_boxed_c_str());
            *LAST_ERROR.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        }
    }
}

/// A permutation of `0..len`, the same for the same seed (Fisher-Yates over a splitmix64 sequence).
fn order(len: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    let mut state = seed;
    for last in (1..len).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let other = usize::try_from((mixed ^ (mixed >> 31)) % (last as u64 + 1)).unwrap_or_default();
        order.swap(last, other);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::Verb;
    use crate::reduce::{Kind, Reduction};

    /// Communicators of two ranks of this process on the given devices, when they have met or failed.
    fn pair(token: &str, devices: [c_int; 2]) -> Vec<Arc<Communicator>> {
        let token = format!("test-{}-{token}", std::process::id());
        let ranks: Vec<_> = devices
            .into_iter()
            .enumerate()
            .map(|(rank, device)| {
                let communicator = Communicator::new(rank, 2, false);
                communicator.init(token.clone(), device);
                communicator
            })
            .collect();
        for rank in &ranks {
            wait_until(|| rank.state() != IN_PROGRESS, || false);
        }
        assert!(!settings().dir.join(format!("dtrain-standin-{token}")).exists());
        ranks
    }

    fn sum(values: &mut [f32]) -> Operation {
        let memory: *mut u8 = values.as_mut_ptr().cast();
        let verb = Verb::AllReduce(Reduction::Sum);
        Operation { verb, kind: Kind::Float32, count: values.len(), send: memory, recv: memory }
    }

    #[test]
    fn equal_devices_are_refused_as_nccl_refuses_them() {
        for rank in pair("duplicate", [1, 1]) {
            assert_eq!(rank.state(), INVALID_USAGE);
            // SAFETY: the communicator is alive.
            let text = unsafe { std::ffi::CStr::from_ptr(rank.last_error()) }.to_str().unwrap();
            assert!(text.starts_with("Duplicate GPU detected : rank "), "{text}");
        }
    }

    #[test]
    fn calls_before_an_earlier_one_is_over_are_refused() {
        let ranks = pair("early", [0, 1]);
        let mut values = [[1.0_f32; 4], [2.0; 4]];
        let streams = [Stream::new(), Stream::new()];
        for ((rank, stream), values) in ranks.iter().zip(&streams).zip(&mut values) {
            assert_eq!(rank.launch(stream, vec![sum(values)]), IN_PROGRESS);
            assert_eq!(rank.launch(stream, vec![sum(values)]), INVALID_ARGUMENT);
        }
        for (rank, stream) in ranks.iter().zip(&streams) {
            wait_until(|| rank.state() == SUCCESS, || false);
            stream.synchronize();
        }
        assert_eq!(values, [[3.0; 4]; 2]);
    }

    #[test]
    fn an_operation_without_its_peer_ends_with_the_abort_only() {
        let ranks = pair("abort", [0, 1]);
        let mut values = [1.0_f32; 4];
        let stream = Stream::new();
        // The first operation connects, which takes both; the second hangs on the stream.
        let mut others = [1.0_f32; 4];
        let peer = Stream::new();
        ranks[0].launch(&stream, vec![sum(&mut values)]);
        ranks[1].launch(&peer, vec![sum(&mut others)]);
        wait_until(|| ranks[0].state() == SUCCESS, || false);
        stream.synchronize();
        ranks[0].launch(&stream, vec![sum(&mut values)]);
        wait_until(|| ranks[0].state() == SUCCESS, || false);
        let end = stream.record();
        std::thread::sleep(Duration::from_millis(20));
        assert!(!end.is_reached());
        ranks[0].abort();
        end.wait();
    }

    #[test]
    fn a_first_operation_without_its_peer_connects_until_the_abort() {
        let ranks = pair("connect", [0, 1]);
        let mut values = [1.0_f32; 4];
        let stream = Stream::new();
        ranks[0].launch(&stream, vec![sum(&mut values)]);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(ranks[0].state(), IN_PROGRESS);
        ranks[0].abort();
        wait_until(|| ranks[0].state() == INTERNAL_ERROR, || false);
        assert!(stream.is_idle());
    }

    #[test]
    fn an_order_is_a_permutation_that_the_seed_decides() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..50 {
            let order_of_seed = order(6, seed);
            assert_eq!(order_of_seed, order(6, seed));
            let mut sorted = order_of_seed.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..6).collect::<Vec<_>>());
            seen.insert(order_of_seed);
        }
        assert!(seen.len() > 20, "{} orders of 50 seeds", seen.len());
        assert!(order(0, 1).is_empty());
    }
}
