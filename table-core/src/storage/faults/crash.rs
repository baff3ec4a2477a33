//! The states that a crash can leave on a [`SimDisk`].
//!
//! A kill keeps everything that programs saw. A power loss keeps what was synced, and of every unsynced change (a directory
//! entry, a file's contents) any combination: kept, dropped, and for contents also torn. Real file systems keep more order
//! than that; a protocol that survives this survives them.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Change, Disk, Folder, Inode, SimDisk, Step, apply};

/// Power-loss states built for one moment at most; beyond it they are drawn with a seed.
pub const CRASH_STATES_MAX: usize = 256;

/// What a crash left.
#[derive(Debug)]
pub struct CrashState {
    /// Which state it is, for a failing test's message.
    pub label: String,
    /// The disk as the next process finds it.
    pub disk: SimDisk,
}

/// An unsynced change and how many fates it can have.
enum Unsynced {
    Entry { folder: String, change: Change },
    Contents { inode: u64 },
}

impl Unsynced {
    /// Dropped, kept, and for contents torn.
    fn fates(&self) -> usize {
        match self {
            Self::Entry { .. } => 2,
            Self::Contents { .. } => 3,
        }
    }
}

impl Step {
    /// Every state that a crash right after this operation can leave, without repetition of equal choices: a kill, and the
    /// power losses. `seed` draws when there are more than [`CRASH_STATES_MAX`].
    pub fn crash_states(&self, seed: u64) -> Vec<CrashState> {
        let mut states = vec![CrashState {
            label: format!("kill after {self}"),
            disk: SimDisk::holding(self.disk.settled()),
        }];
        let unsynced = self.disk.unsynced();
        let combinations =
            unsynced.iter().try_fold(1_usize, |all, one| all.checked_mul(one.fates()));
        let choose = |mut number: usize| -> Vec<usize> {
            unsynced
                .iter()
                .map(|one| {
                    let fate = number % one.fates();
                    number /= one.fates();
                    fate
                })
                .collect()
        };
        let choices: Vec<Vec<usize>> = match combinations {
            Some(count) if count <= CRASH_STATES_MAX => (0..count).map(choose).collect(),
            _ => {
                let mut rng = StdRng::seed_from_u64(seed ^ self.number);
                let none = vec![0; unsynced.len()];
                let all = vec![1; unsynced.len()];
                let drawn = (2..CRASH_STATES_MAX)
                    .map(|_| unsynced.iter().map(|one| rng.random_range(0..one.fates())).collect());
                [none, all].into_iter().chain(drawn).collect()
            }
        };
        states.extend(choices.into_iter().map(|fates| CrashState {
            label: format!("power loss after {self}, fates of unsynced changes {fates:?}"),
            disk: SimDisk::holding(self.disk.after_power_loss(&unsynced, &fates)),
        }));
        states
    }
}

impl Disk {
    /// Everything that programs see, made durable.
    fn settled(&self) -> Self {
        let inodes = self.inodes.iter().map(|(id, file)| (*id, durable_file(&file.visible)));
        let folders = self.folders.iter().map(|(path, folder)| {
            let names = folder.visible.clone();
            (path.clone(), Folder { durable: names.clone(), visible: names, ..Folder::default() })
        });
        Self { inodes: inodes.collect(), folders: folders.collect(), next_inode: self.next_inode }
    }

    fn unsynced(&self) -> Vec<Unsynced> {
        let entries = self.folders.iter().flat_map(|(path, folder)| {
            folder
                .lost
                .iter()
                .chain(&folder.pending)
                .map(|change| Unsynced::Entry { folder: path.clone(), change: change.clone() })
        });
        let contents = self
            .inodes
            .iter()
            .filter(|(_, file)| file.visible != file.durable)
            .map(|(inode, _)| Unsynced::Contents { inode: *inode });
        entries.chain(contents).collect()
    }

    fn after_power_loss(&self, unsynced: &[Unsynced], fates: &[usize]) -> Self {
        let mut inodes: BTreeMap<_, _> =
            self.inodes.iter().map(|(id, file)| (*id, durable_file(&file.durable))).collect();
        let mut names: BTreeMap<_, _> = self
            .folders
            .iter()
            .map(|(path, folder)| (path.clone(), folder.durable.clone()))
            .collect();
        for (one, fate) in unsynced.iter().zip(fates) {
            match one {
                Unsynced::Entry { folder, change } if *fate == 1 => {
                    apply(names.entry(folder.clone()).or_default(), change);
                }
                Unsynced::Contents { inode } if *fate > 0 => {
                    let Some(file) = self.inodes.get(inode) else { continue };
                    let kept = if *fate == 1 {
                        Arc::clone(&file.visible)
                    } else {
                        // Torn: the first half, then what the disk held there before.
                        let half = file.visible.len() / 2;
                        let mut torn = file.visible.get(..half).unwrap_or_default().to_vec();
                        torn.resize(file.visible.len(), 0);
                        Arc::new(torn)
                    };
                    inodes.insert(*inode, durable_file(&kept));
                }
                _ => {}
            }
        }
        let folders = names.into_iter().map(|(path, names)| {
            (path, Folder { durable: names.clone(), visible: names, ..Folder::default() })
        });
        let mut disk = Self { inodes, folders: folders.collect(), next_inode: self.next_inode };
        disk.forget_unreachable_folders();
        disk
    }

    /// A folder whose own entry was lost is gone with what it held.
    fn forget_unreachable_folders(&mut self) {
        let mut reachable = BTreeMap::new();
        let mut open = vec![String::new()];
        while let Some(path) = open.pop() {
            let folder = self.folders.remove(&path).unwrap_or_default();
            for (name, node) in &folder.visible {
                if *node == super::disk::Node::Folder {
                    open.push(crate::storage::layout::child(&path, name));
                }
            }
            reachable.insert(path, folder);
        }
        self.folders = reachable;
    }
}

fn durable_file(bytes: &Arc<Vec<u8>>) -> Inode {
    Inode { visible: Arc::clone(bytes), durable: Arc::clone(bytes), lost: false }
}
