//! The inputs that are kept, in `corpus`: those named `seed-…` are what the product writes, the others were found to break
//! something once.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Target;

/// One input.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Where it lies.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The folder of a target's inputs.
pub fn folder(target: &Target) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name)
}

/// The inputs of a target, in the order of their names.
pub fn kept(target: &Target) -> Vec<Kept> {
    let folder = folder(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut kept: Vec<Kept> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let bytes = fs::read(&path).unwrap();
            Kept { path, bytes }
        })
        .collect();
    kept.sort_by(|left, right| left.path.cmp(&right.path));
    kept
}

/// Writes the first inputs of a target.
pub fn write_seeds(target: &Target, seeds: &[(&str, Vec<u8>)]) {
    let folder = folder(target);
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in seeds {
        fs::write(folder.join(format!("seed-{name}")), bytes).unwrap();
    }
}
