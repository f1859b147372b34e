//! What a checkpoint promises about itself: `manifest.json`, written last, checked first. Its last line is a checksum
//! of the text before it, in every format version, so that a flipped bit is told from a newer program.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::error::Fault;

/// Name of the manifest in a checkpoint's folder.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Parameters and buffers.
pub const MODEL_FILE: &str = "model.safetensors";
/// Moments and whatever else the optimizer and the method keep in tensors.
pub const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// The loop's state.
pub const STATE_FILE: &str = "state.bin";
/// Parts without which a checkpoint is refused.
pub const REQUIRED_FILES: [&str; 3] = [MODEL_FILE, OPTIMIZER_FILE, STATE_FILE];

/// Format of folder and manifest that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

const MAX_MANIFEST_BYTES: u64 = 16 << 20;
const CHECKSUM_LINE: &str = ",\n  \"xxh3_128\": \"";

/// What a checkpoint holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the program that wrote it.
    pub format_version: u32,
    /// Optimizer steps that were done.
    pub step: u64,
    /// Epochs that were completed.
    pub epoch: u64,
    /// When it was written, in seconds since 1970 UTC.
    pub created_unix_secs: u64,
    /// Every file besides the manifest.
    pub files: BTreeMap<String, FileEntry>,
    /// Last value of each metric; those that are not finite are left out, since JSON has no word for them.
    pub metrics: BTreeMap<String, f64>,
    /// What the caller wants to know before it loads anything, such as `world_size`.
    pub metadata: BTreeMap<String, serde_json::Value>,
}

/// Length and checksum of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// Length.
    pub bytes: u64,
    /// XXH3-128 of the content in 32 hexadecimal digits.
    pub xxh3_128: String,
}

/// What a caller says about a checkpoint that it commits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ManifestInfo {
    /// Epochs that were completed.
    pub epoch: u64,
    /// Last value of each metric.
    pub metrics: BTreeMap<String, f64>,
    /// Anything else.
    pub metadata: BTreeMap<String, serde_json::Value>,
}

/// How closely a checkpoint is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validation {
    /// Manifest, presence and length of each file.
    Quick,
    /// Also the checksum of each file; reads everything.
    Full,
}

impl Manifest {
    pub(crate) fn new(step: u64, info: ManifestInfo, files: BTreeMap<String, FileEntry>) -> Self {
        let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            format_version: FORMAT_VERSION,
            step,
            epoch: info.epoch,
            created_unix_secs: since_1970.map_or(0, |time| time.as_secs()),
            files,
            metrics: info.metrics.into_iter().filter(|(_, value)| value.is_finite()).collect(),
            metadata: info.metadata,
        }
    }

    /// The manifest's text with its checksum.
    pub(crate) fn encode(&self) -> io::Result<String> {
        let json = serde_json::to_string_pretty(self)?;
        Ok(seal(json.strip_suffix("\n}").unwrap_or(&json)))
    }

    pub(crate) fn decode(text: &str) -> Result<Self, Fault> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let fault = |reason: &str| Fault::Manifest { reason: reason.into() };
        let (body, end) = text.rsplit_once(CHECKSUM_LINE).ok_or_else(|| fault("is cut short"))?;
        if end != format!("{:032x}\"\n}}\n", xxh3_128(body.as_bytes())) {
            return Err(fault("does not match its own checksum"));
        }
        let body = format!("{body}\n}}");
        let invalid = |error: serde_json::Error| Fault::Manifest { reason: format!("is not valid: {error}") };
        let found = serde_json::from_str::<Version>(&body).map_err(invalid)?.format_version;
        if found > FORMAT_VERSION {
            return Err(Fault::NewerFormat { found, supported: FORMAT_VERSION });
        }
        serde_json::from_str(&body).map_err(invalid)
    }

    /// Reads and checks the manifest in `folder`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(folder: &Path) -> Result<Self, Fault> {
        let unreadable =
            |error: io::Error| Fault::Unreadable { file: MANIFEST_FILE.into(), reason: error.to_string() };
        let file = match fs::File::open(folder.join(MANIFEST_FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => {
                return Err(Fault::NoManifest);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Fault::NoFolder),
            Err(error) => return Err(unreadable(error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_MANIFEST_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_MANIFEST_BYTES {
            let reason = format!("is longer than {MAX_MANIFEST_BYTES} bytes");
            return Err(Fault::Manifest { reason });
        }
        let text =
            String::from_utf8(bytes).map_err(|_| Fault::Manifest { reason: "is not valid UTF-8".into() })?;
        Self::decode(&text)
    }

    /// Whether the files in `folder` are those of this manifest, and all parts are there.
    ///
    /// # Errors
    /// The first fault, in the order of [`REQUIRED_FILES`] and then of names.
    pub fn check(&self, folder: &Path, level: Validation) -> Result<(), Fault> {
        if let Some(file) = REQUIRED_FILES.iter().find(|file| !self.files.contains_key(**file)) {
            return Err(Fault::MissingPart { file: (*file).into() });
        }
        for (name, entry) in &self.files {
            entry.check(folder, name, level)?;
        }
        Ok(())
    }
}

/// A manifest's text without its last brace, with the checksum and the brace.
pub(crate) fn seal(text: &str) -> String {
    let checksum = xxh3_128(text.as_bytes());
    format!("{text}{CHECKSUM_LINE}{checksum:032x}\"\n}}\n")
}

impl FileEntry {
    fn check(&self, folder: &Path, name: &str, level: Validation) -> Result<(), Fault> {
        if !is_plain_name(name) {
            let reason = format!("lists a file outside of the folder: `{}`", name.escape_debug());
            return Err(Fault::Manifest { reason });
        }
        let fault = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => Fault::MissingFile { file: name.into() },
            _ => Fault::Unreadable { file: name.into(), reason: error.to_string() },
        };
        let path = folder.join(name);
        let actual_bytes = fs::metadata(&path).map_err(fault)?.len();
        if actual_bytes != self.bytes {
            return Err(self.size_fault(name, actual_bytes));
        }
        if level == Validation::Full {
            let mut hasher = Xxh3::new();
            let mut file = fs::File::open(&path).map_err(fault)?;
            let mut buffer = vec![0; 1 << 20];
            loop {
                let read = file.read(&mut buffer).map_err(fault)?;
                let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
                hasher.update(bytes);
            }
            self.check_digest(name, hasher.digest128())?;
        }
        Ok(())
    }

    /// Reads the file, which must be as promised.
    pub(super) fn read(&self, folder: &Path, name: &str) -> Result<Vec<u8>, Fault> {
        self.check(folder, name, Validation::Quick)?;
        let fault = |error: io::Error| Fault::Unreadable { file: name.into(), reason: error.to_string() };
        let bytes = fs::read(folder.join(name)).map_err(fault)?;
        if bytes.len() as u64 != self.bytes {
            return Err(self.size_fault(name, bytes.len() as u64));
        }
        self.check_digest(name, xxh3_128(&bytes))?;
        Ok(bytes)
    }

    fn size_fault(&self, name: &str, actual_bytes: u64) -> Fault {
        Fault::Size { file: name.into(), expected_bytes: self.bytes, actual_bytes }
    }

    fn check_digest(&self, name: &str, digest: u128) -> Result<(), Fault> {
        let actual = format!("{digest:032x}");
        if actual != self.xxh3_128 {
            return Err(Fault::Checksum { file: name.into(), expected: self.xxh3_128.clone(), actual });
        }
        Ok(())
    }
}

/// Whether `name` is a single, visible file name.
pub(super) fn is_plain_name(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// Name of the folder of a step.
pub(super) fn step_folder(step: u64) -> String {
    format!("step-{step:08}")
}

/// The step of a folder of that name.
pub(super) fn folder_step(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (step_folder(step) == name).then_some(step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest(metrics: &[(&str, f64)], metadata: &[(&str, serde_json::Value)]) -> Manifest {
        let entry = FileEntry { bytes: 3, xxh3_128: format!("{:032x}", 5) };
        let info = ManifestInfo {
            epoch: 2,
            metrics: metrics.iter().map(|(name, value)| ((*name).into(), *value)).collect(),
            metadata: metadata.iter().map(|(name, value)| ((*name).into(), value.clone())).collect(),
        };
        Manifest::new(7, info, REQUIRED_FILES.iter().map(|name| ((*name).into(), entry.clone())).collect())
    }

    #[test]
    fn manifests_are_json_and_come_back() {
        let nested = serde_json::json!({ "a": {}, "b": [{}], "c": { "d": { "e": "}\n}" } } });
        let cases = [
            manifest(&[], &[]),
            manifest(&[("val/knn_top1", 0.5), ("lost", f64::NAN)], &[("world_size", 8.into())]),
            manifest(&[], &[("nested", nested)]),
            manifest(&[], &[("empty", serde_json::json!({}))]),
        ];
        for case in cases {
            let text = case.encode().unwrap();
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["xxh3_128"].as_str().unwrap().len(), 32);
            assert_eq!(Manifest::decode(&text).unwrap(), case, "{text}");
        }
    }

    #[test]
    fn a_newer_format_is_not_called_damage() {
        let newer = Manifest { format_version: FORMAT_VERSION + 1, ..manifest(&[], &[]) };
        let fault = Manifest::decode(&newer.encode().unwrap()).unwrap_err();
        assert_eq!(fault, Fault::NewerFormat { found: FORMAT_VERSION + 1, supported: FORMAT_VERSION });
        let flipped =
            manifest(&[], &[]).encode().unwrap().replace("\"format_version\": 1", "\"format_version\": 9");
        assert!(matches!(Manifest::decode(&flipped), Err(Fault::Manifest { .. })));
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for name in ["../state.bin", "/etc/passwd", "a/b", "..", ".hidden", ""] {
            assert!(!is_plain_name(name), "{name}");
        }
        assert_eq!(folder_step("step-00001200"), Some(1200));
        assert_eq!(folder_step(&step_folder(123_456_789_012)), Some(123_456_789_012));
        for name in ["step-1200", "step-", "step-+0001200", ".staging-step-00001200", "step-0000120x"] {
            assert_eq!(folder_step(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_changed_byte_is_noticed(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = manifest(&[("a", 1.0)], &[]).encode().unwrap().into_bytes();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            if let Ok(text) = String::from_utf8(bytes.clone()) {
                prop_assert!(Manifest::decode(&text).is_err());
            }
            bytes.truncate(at);
            prop_assert!(Manifest::decode(&String::from_utf8_lossy(&bytes)).is_err());
        }
    }
}
