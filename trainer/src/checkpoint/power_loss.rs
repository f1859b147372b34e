//! Power loss between any two file operations. A save is traced; then, for every moment of it, each state that a disk can
//! be in after a crash is built in a folder of its own and loaded: only what was flushed is certain, and what was not may
//! be there or not, in the order of the operations.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use fs_err as fs;

use super::*;

/// A file operation that has succeeded.
#[derive(Debug, Clone)]
pub(super) enum Op {
    MakeDir(PathBuf),
    Create(PathBuf),
    SyncFile(PathBuf),
    SyncDir(PathBuf),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// With the bytes that a flush has made durable.
type Traced = (Op, Vec<u8>);

thread_local! {
    static TRACE: RefCell<Option<Vec<Traced>>> = const { RefCell::new(None) };
}

/// Called by every file operation; remembers it while a trace runs, with the bytes that a flush makes durable.
pub(super) fn note(op: Op) {
    TRACE.with_borrow_mut(|trace| {
        if let Some(trace) = trace {
            let content = match &op {
                Op::SyncFile(path) => fs::read(path).unwrap(),
                _ => Vec::new(),
            };
            trace.push((op, content));
        }
    });
}

fn traced(work: impl FnOnce()) -> Vec<Traced> {
    TRACE.set(Some(Vec::new()));
    work();
    TRACE.take().unwrap()
}

/// A disk: what programs see, and what is certain to be there after a crash.
#[derive(Debug, Clone)]
struct Disk {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone)]
enum Node {
    Dir {
        seen: BTreeMap<String, usize>,
        durable: BTreeMap<String, usize>,
    },
    /// The content of the last flush; a file that was never flushed may be empty.
    File {
        durable: Vec<u8>,
    },
}

impl Disk {
    /// The durable state of `root`, a folder of folders and files.
    fn of(root: &Path) -> Self {
        let mut disk = Self { nodes: Vec::new() };
        disk.take(root);
        disk
    }

    fn take(&mut self, path: &Path) -> usize {
        let number = self.nodes.len();
        self.nodes.push(Node::File { durable: Vec::new() });
        let node = if path.is_dir() {
            let names =
                fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let names: Vec<String> = names.collect();
            let seen: BTreeMap<String, usize> =
                names.into_iter().map(|name| (name.clone(), self.take(&path.join(name)))).collect();
            Node::Dir { durable: seen.clone(), seen }
        } else {
            Node::File { durable: fs::read(path).unwrap() }
        };
        self.nodes[number] = node;
        number
    }

    fn find(&self, root: &Path, path: &Path) -> usize {
        let mut at = 0;
        for part in path.strip_prefix(root).unwrap().components() {
            let Component::Normal(name) = part else { panic!("{}", path.display()) };
            let Node::Dir { seen, .. } = &self.nodes[at] else { panic!("{}", path.display()) };
            at = seen[name.to_str().unwrap()];
        }
        at
    }

    fn entries(&mut self, root: &Path, path: &Path) -> (&mut BTreeMap<String, usize>, String) {
        let parent = self.find(root, path.parent().unwrap());
        let Node::Dir { seen, .. } = &mut self.nodes[parent] else { panic!("{}", path.display()) };
        (seen, path.file_name().unwrap().to_str().unwrap().to_owned())
    }

    fn apply(&mut self, root: &Path, (op, content): &Traced) {
        let fresh = self.nodes.len();
        match op {
            Op::MakeDir(path) | Op::Create(path) => {
                self.nodes.push(match op {
                    Op::Create(_) => Node::File { durable: Vec::new() },
                    _ => Node::Dir { seen: BTreeMap::new(), durable: BTreeMap::new() },
                });
                let (entries, name) = self.entries(root, path);
                entries.insert(name, fresh);
            }
            Op::Rename(from, to) => {
                let (entries, name) = self.entries(root, from);
                let number = entries.remove(&name).unwrap();
                let (entries, name) = self.entries(root, to);
                entries.insert(name, number);
            }
            Op::Remove(path) => {
                let (entries, name) = self.entries(root, path);
                entries.remove(&name);
            }
            Op::SyncFile(path) => {
                let number = self.find(root, path);
                self.nodes[number] = Node::File { durable: content.clone() };
            }
            Op::SyncDir(path) => {
                let number = self.find(root, path);
                let Node::Dir { seen, durable } = &mut self.nodes[number] else {
                    panic!("{}", path.display())
                };
                *durable = seen.clone();
            }
        }
    }

    /// Writes the disk below `target`: all names that programs saw, or only those that were flushed.
    fn write(&self, number: usize, target: &Path, all_names: bool) {
        match &self.nodes[number] {
            Node::File { durable } => fs::write(target, durable).unwrap(),
            Node::Dir { seen, durable } => {
                fs::create_dir_all(target).unwrap();
                for (name, number) in if all_names { seen } else { durable } {
                    self.write(*number, &target.join(name), all_names);
                }
            }
        }
    }
}

/// Every state that `root` can be in after a crash during `work`, with the number of operations that had been done.
fn crashes(root: &Path, work: impl FnOnce()) -> Vec<(usize, bool, Disk)> {
    let mut disk = Disk::of(root);
    let trace = traced(work);
    let mut states = vec![(0, true, disk.clone())];
    for (number, op) in trace.iter().enumerate() {
        disk.apply(root, op);
        // With each operation the newest that can be there, and the oldest: states between are those of fewer operations.
        states.extend([true, false].map(|all_names| (number + 1, all_names, disk.clone())));
    }
    states
}

fn save(store: &CheckpointStore, step: u64, salt: u8) {
    let mut staged = store.begin(step).unwrap();
    for (name, len) in REQUIRED_FILES.iter().zip([500usize, 300, 20]) {
        let content: Vec<u8> = (0..len).map(|i| i as u8 ^ step as u8 ^ salt).collect();
        staged.write_file(name, |file| Ok(file.write_all(&content)?)).unwrap();
    }
    staged.commit(ManifestInfo::default()).unwrap();
}

/// Step and first byte of the weights of what a start would load from `checkpoints`.
fn loaded(checkpoints: &Path) -> Option<(u64, u8)> {
    let store = CheckpointStore::open(checkpoints).unwrap();
    let hidden =
        fs::read_dir(checkpoints).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let hidden: Vec<String> = hidden.filter(|name| name.starts_with('.')).collect();
    assert!(hidden.is_empty(), "leftovers: {hidden:?}");
    let loaded = store.load_latest(Validation::Full).unwrap()?;
    Some((loaded.manifest.step, loaded.read_file(MODEL_FILE).unwrap()[0]))
}

/// Crashes `work` at every moment: before its end one of `old` and `new` is loaded, after it `new`, and never less than
/// was loaded at an earlier moment.
fn survives(prepare: impl FnOnce(&CheckpointStore), work: impl FnOnce(&CheckpointStore), new: (u64, u8)) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("run");
    let checkpoints = root.join("checkpoints");
    let store = CheckpointStore::open(&checkpoints).unwrap();
    prepare(&store);
    let old = loaded(&checkpoints);
    let states = crashes(&root, || work(&store));
    let last = states.iter().map(|(number, ..)| *number).max().unwrap();
    assert!(last >= 8, "only {last} operations were traced");
    let mut seen = std::collections::BTreeSet::new();
    for (number, all_names, disk) in &states {
        let after = dir.path().join("after");
        disk.write(0, &after, *all_names);
        let found = loaded(&after.join("checkpoints"));
        assert!(found == old || found == Some(new), "after operation {number}: {found:?}");
        seen.insert(found);
        if number == &last {
            assert_eq!(found, Some(new), "the save had been reported");
        }
        // The run goes on from there.
        let store = CheckpointStore::inspect(after.join("checkpoints"));
        save(&store, 99, 1);
        assert_eq!(loaded(&after.join("checkpoints")).map(|(step, _)| step), Some(99));
        fs::remove_dir_all(after).unwrap();
    }
    assert_eq!(seen.len(), if old == Some(new) { 1 } else { 2 }, "{seen:?}");
}

#[test]
fn the_first_save() {
    survives(|_| {}, |store| save(store, 20, 0), (20, 20));
}

#[test]
fn a_save_after_another() {
    survives(|store| save(store, 10, 0), |store| save(store, 20, 0), (20, 20));
}

#[test]
fn a_save_that_replaces_one_of_its_step() {
    survives(|store| save(store, 10, 0), |store| save(store, 10, 128), (10, 10 ^ 128));
}

#[test]
fn a_deletion_of_what_is_not_needed() {
    let prepare = |store: &CheckpointStore| [10, 20].into_iter().for_each(|step| save(store, step, 0));
    let delete = |store: &CheckpointStore| {
        save(store, 30, 0);
        store.apply(&[10, 20].map(|step| RetentionAction::Delete { step })).unwrap();
    };
    survives(prepare, delete, (30, 30));
}
