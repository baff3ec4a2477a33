//! C10: files of a stopped server's root are damaged one at a time. Afterwards every table is right to the last row, or whoever needs
//! the file is told DATA_LOSS and its name; a table is never older, empty, or silently wrong.
//!
//! The exception that the README names is left out: the newest record, deleted from outside, passes for a commit that never
//! happened.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use end_to_end::ledger::{Ledger, Size};
use end_to_end::{Site, SoakTime, TestResult, code_of, reached};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tonic::Code;

/// Small appends, and large ones that are a segment each, of a root without checkpoints.
const FEW: (usize, usize) = (5, 2);
/// The same with more commits than lie between two checkpoints.
const MANY: (usize, usize) = (510, 1);
/// Bytes that are zeroed together.
const ZEROED: usize = 16;

/// A root that nothing is wrong with, and what it holds.
struct Original {
    root: PathBuf,
    tables: Vec<Ledger>,
    _folder: tempfile::TempDir,
}

impl Original {
    async fn new((small_appends, large_appends): (usize, usize)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        let mut site = Site::at(&root).await.unwrap();
        let client = site.client().await.unwrap();
        let mut small = Ledger::new("small", Size::SMALL);
        small.create(&client).await.unwrap();
        small.append_many(&client, small_appends).await.unwrap();
        let mut large = Ledger::new("large", Size::LARGE);
        large.create(&client).await.unwrap();
        for _ in 0..large_appends {
            large.append(&client).await.unwrap();
        }
        site.restart().await.unwrap();
        let client = site.client().await.unwrap();
        for table in [&small, &large] {
            assert!(table.check(&client).await.unwrap().is_empty());
        }
        site.server.stop().await.unwrap();
        Self { root, tables: vec![small, large], _folder: folder }
    }

    /// Files below the root, by kind.
    fn files(&self) -> BTreeMap<&'static str, Vec<PathBuf>> {
        let mut files: BTreeMap<&str, Vec<PathBuf>> = BTreeMap::new();
        let mut folders = vec![self.root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = fs::read_dir(&folder).unwrap();
            let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
            paths.sort();
            for path in paths {
                if path.is_dir() {
                    folders.push(path);
                } else if let Some(kind) = kind_of(&path) {
                    let below = path.strip_prefix(&self.root).unwrap().to_owned();
                    files.entry(kind).or_default().push(below);
                }
            }
        }
        files
    }
}

fn kind_of(path: &Path) -> Option<&'static str> {
    let name = path.file_name()?.to_str()?;
    let of_catalog = path.components().any(|part| part.as_os_str() == "_catalog");
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("checkpoint") => Some("checkpoint"),
        Some("parquet") => Some("segment"),
        None if name.starts_with('0') && of_catalog => Some("catalog record"),
        None if name.starts_with('0') => Some("record"),
        _ => None,
    }
}

/// One kind of damage.
#[derive(Debug, Clone)]
enum Damage {
    Flip { at: usize, mask: u8 },
    Zero { at: usize },
    Truncate { length: usize },
    Delete,
    Swap { with: PathBuf },
}

impl Damage {
    /// Damages a file, and returns what to write where to undo it.
    fn inflict(&self, root: &Path, file: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let path = root.join(file);
        let original = fs::read(&path).unwrap();
        let mut bytes = original.clone();
        let mut undo = vec![(path.clone(), original)];
        match self {
            Self::Flip { at, mask } => bytes[*at] ^= mask,
            Self::Zero { at } => {
                let end = (at + ZEROED).min(bytes.len());
                bytes[*at..end].fill(0);
            }
            Self::Truncate { length } => bytes.truncate(*length),
            Self::Delete => {
                fs::remove_file(&path).unwrap();
                return undo;
            }
            Self::Swap { with } => {
                let other = root.join(with);
                let swapped = std::mem::replace(&mut bytes, fs::read(&other).unwrap());
                fs::write(&other, swapped).unwrap();
                undo.push((other, bytes.clone()));
            }
        }
        fs::write(&path, bytes).unwrap();
        undo
    }

    /// What every file gets: ends, middle, and the bytes where a footer or a frame keeps its lengths.
    fn of_file(length: usize, swap: Option<&PathBuf>) -> Vec<Self> {
        let mut damages = vec![Self::Delete];
        for at in [0, 9, length / 3, length / 2, length - 6, length - 1] {
            damages.push(Self::Flip { at, mask: 1 << (at % 8) });
        }
        damages.extend([0, length / 2, length - ZEROED].map(|at| Self::Zero { at }));
        damages.extend([0, 1, length / 2, length - 1].map(|length| Self::Truncate { length }));
        damages.extend(swap.map(|with| Self::Swap { with: with.clone() }));
        damages
    }
}

/// What the damage led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    /// Every table is right: the file was not needed.
    Harmless,
    /// The server does not start, and names the file.
    NoStart,
    /// Whoever needs the file is told.
    DataLoss,
}

/// Damages the root, looks at all tables, and makes the damage good: a server that is only asked changes no file.
async fn look(original: &Original, file: &Path, damage: &Damage) -> TestResult<Found> {
    let undo = damage.inflict(&original.root, file);
    let below =
        |path: &Path| path.strip_prefix(&original.root).unwrap().to_str().unwrap().to_owned();
    let names: Vec<_> = match damage {
        // Two sound files in each other's place: what is wrong is the folder as a whole.
        Damage::Swap { .. } => undo.iter().map(|(path, _)| below(path.parent().unwrap())).collect(),
        _ => vec![below(&undo[0].0)],
    };
    let found = look_at_tables(original, &names).await;
    for (path, bytes) in undo {
        fs::write(path, bytes)?;
    }
    found
}

/// Whatever is wrong must name one of these files.
async fn look_at_tables(original: &Original, names: &[String]) -> TestResult<Found> {
    let named = |text: &str| names.iter().any(|name| text.contains(name));
    // What earlier servers complained about is not to be mistaken for this one's words.
    fs::remove_file(original.root.with_extension("stderr"))?;
    let site = match Site::at(&original.root).await {
        Ok(site) => site,
        Err(error) if named(&error.to_string()) => return Ok(Found::NoStart),
        Err(error) => return Err(format!("the start does not name the file: {error}").into()),
    };
    let client = site.client().await?;
    let mut found = Found::Harmless;
    for table in &original.tables {
        match table.check(&client).await {
            Ok(_) => {}
            Err(error) if code_of(&*error) == Some(Code::DataLoss) && named(&error.to_string()) => {
                found = Found::DataLoss;
            }
            Err(error) => return Err(error),
        }
    }
    site.server.kill().await?;
    Ok(found)
}

/// The files of each kind that are damaged: the newest, one in between, and the first.
fn chosen(files: &[PathBuf]) -> Vec<&PathBuf> {
    let mut chosen = vec![&files[0], &files[files.len() - 1]];
    if files.len() > 4 {
        chosen.push(&files[files.len() - 3]);
    }
    chosen.dedup();
    chosen
}

fn is_newest(file: &Path, files: &[PathBuf]) -> bool {
    let newest = files.iter().filter(|other| other.parent() == file.parent()).max();
    newest.is_some_and(|newest| newest == file)
}

/// Inflicts what `damages` says on the chosen files of each kind, and counts what came of it.
async fn damage_all(
    name: &str,
    original: &Original,
    damages: impl Fn(&str, usize, Option<&PathBuf>) -> Vec<Damage>,
) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for (kind, files) in &original.files() {
        for file in chosen(files) {
            let length = fs::read(original.root.join(file)).unwrap().len();
            let newest = kind.ends_with("record") && is_newest(file, files);
            for damage in damages(kind, length, files.iter().find(|other| *other != file)) {
                if newest && matches!(damage, Damage::Delete) {
                    continue;
                }
                match look(original, file, &damage).await {
                    Ok(what) => *found.entry(format!("{kind} {what:?}")).or_default() += 1,
                    Err(error) => panic!("{kind} {}, {damage:?}: {error}", file.display()),
                }
            }
        }
    }
    reached(name, &counts(&found));
    found
}

fn counts(found: &BTreeMap<String, usize>) -> String {
    let counts: Vec<_> = found.iter().map(|(what, count)| format!("{what} {count}")).collect();
    counts.join(", ")
}

#[tokio::test]
async fn damage_is_named_or_harmless() {
    let original = Original::new(FEW).await;
    let found = damage_all("damaged files, 0 silent", &original, |_, length, swap| {
        Damage::of_file(length, swap)
    })
    .await;
    for needed in ["record DataLoss", "segment DataLoss", "catalog record NoStart"] {
        assert!(found.contains_key(needed), "no {needed}: {found:?}");
    }
}

/// A checkpoint is not needed while its records are there, and hides no damage of those after it.
#[tokio::test]
async fn damage_beside_a_checkpoint() {
    let original = Original::new(MANY).await;
    let found =
        damage_all("damage beside a checkpoint, 0 silent", &original, |kind, length, swap| {
            match kind {
                "checkpoint" => Damage::of_file(length, swap),
                "record" => vec![Damage::Flip { at: length / 2, mask: 1 }, Damage::Delete],
                _ => Vec::new(),
            }
        })
        .await;
    for needed in ["checkpoint Harmless", "record DataLoss"] {
        assert!(found.contains_key(needed), "no {needed}: {found:?}");
    }
}

/// At night: any byte of any file, as long as there is time.
#[tokio::test]
async fn any_byte_of_any_file() {
    let soak = SoakTime::start().unwrap();
    if !soak.is_set() {
        return;
    }
    let seed: u64 = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let original = Original::new(MANY).await;
    let files = original.files();
    let kinds: Vec<_> = files.keys().collect();
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    while soak.is_left() {
        let kind = kinds[random.random_range(0..kinds.len())];
        let file = &files[kind][random.random_range(0..files[kind].len())];
        let length = fs::read(original.root.join(file)).unwrap().len();
        let at = random.random_range(0..length);
        let damage = match random.random_range(0..4) {
            0 => Damage::Zero { at },
            1 => Damage::Truncate { length: at },
            _ => Damage::Flip { at, mask: 1 << random.random_range(0..8) },
        };
        match look(&original, file, &damage).await {
            Ok(what) => *found.entry(format!("{kind} {what:?}")).or_default() += 1,
            Err(error) => panic!("seed {seed}: {kind} {}, {damage:?}: {error}", file.display()),
        }
    }
    reached("any byte of any file, 0 silent", &format!("{}, seed {seed}", counts(&found)));
}
