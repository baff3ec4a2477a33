//! The states that a crash can leave on a [`SimDisk`].
//!
//! A kill keeps everything that programs saw, and what was not durable before it is not durable after it: a power loss may
//! still take it away from whoever comes next. A power loss keeps what was synced, and of every unsynced change (a directory
//! entry, a file's contents) any combination: kept, dropped, and for contents also torn or cut short. Real file systems keep
//! more order than that; a protocol that survives this survives them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::disk::{Change, Contents, Disk, Folder, Inode, Node, SimDisk, Step, apply};
use super::operation::Operation;
use crate::storage::layout;

/// Power-loss states built for one moment at most; beyond it they are drawn with a seed.
pub const CRASH_STATES_MAX: usize = 256;

/// What a crash left. Displays as which state it is, for a failing test's message.
#[derive(Debug)]
pub struct CrashState {
    /// The disk as the next process finds it.
    pub disk: SimDisk,
    number: u64,
    operation: Operation,
    path: Arc<str>,
    /// What became of each unsynced change; `None` when only the process ended.
    fates: Option<Vec<usize>>,
}

impl CrashState {
    /// Whether only the process ended.
    pub fn is_kill(&self) -> bool {
        self.fates.is_none()
    }

    /// Whether a file's contents are neither what was written nor what was there before.
    pub fn is_torn(&self) -> bool {
        self.fates.iter().flatten().any(|fate| *fate >= TORN)
    }
}

impl fmt::Display for CrashState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_kill() { "kill" } else { "power loss" };
        write!(f, "{what} after operation {} {:?} ", self.number, self.operation)?;
        write!(f, "{:?}", self.path)?;
        match &self.fates {
            None => Ok(()),
            Some(fates) => write!(f, ", fates of unsynced changes {fates:?}"),
        }
    }
}

/// Contents with a fate from here on are damaged: torn, or cut short.
const TORN: usize = 2;

/// An unsynced change and how many fates it can have.
enum Unsynced {
    Entry { folder: Arc<str>, change: Change },
    Contents { inode: u64 },
}

impl Unsynced {
    /// Dropped, kept, and for contents torn or cut short.
    fn fates(&self) -> usize {
        match self {
            Self::Entry { .. } => 2,
            Self::Contents { .. } => 4,
        }
    }
}

impl Step {
    /// Every state that a crash right after this operation can leave, without repetition of equal choices: a kill, and the
    /// power losses. `seed` draws when there are more than [`CRASH_STATES_MAX`].
    pub fn crash_states(&self, seed: u64) -> Vec<CrashState> {
        let state = |disk: Disk, fates: Option<Vec<usize>>| CrashState {
            disk: SimDisk::holding(disk),
            number: self.number,
            operation: self.operation,
            path: Arc::clone(&self.path),
            fates,
        };
        let mut states = vec![state(self.disk.after_kill(), None)];
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
        states.extend(
            choices
                .into_iter()
                .map(|fates| state(self.disk.after_power_loss(&unsynced, &fates), Some(fates))),
        );
        states
    }
}

impl Disk {
    /// Everything that programs saw, and no more durable than it was.
    fn after_kill(&self) -> Self {
        Self { postponed: Vec::new(), recovers: false, ..self.clone() }
    }

    fn unsynced(&self) -> Vec<Unsynced> {
        let entries = self.folders.iter().flat_map(|(path, folder)| {
            let changes = folder.lost.iter().chain(&folder.pending);
            changes
                .map(|change| Unsynced::Entry { folder: Arc::clone(path), change: change.clone() })
        });
        let contents = self
            .inodes
            .iter()
            .filter(|(_, file)| !file.visible.is_same(&file.durable))
            .map(|(inode, _)| Unsynced::Contents { inode: *inode });
        entries.chain(contents).collect()
    }

    fn after_power_loss(&self, unsynced: &[Unsynced], fates: &[usize]) -> Self {
        let mut inodes: BTreeMap<_, _> = self
            .inodes
            .iter()
            .map(|(id, file)| (*id, Inode::durable(file.durable.clone())))
            .collect();
        let mut folders = self.folders.clone();
        for folder in folders.values_mut() {
            if !folder.pending.is_empty() || !folder.lost.is_empty() {
                *folder = Arc::new(Folder {
                    durable: folder.durable.clone(),
                    visible: folder.durable.clone(),
                    ..Folder::default()
                });
            }
        }
        let mut has_lost_folder = false;
        for (one, fate) in unsynced.iter().zip(fates) {
            match one {
                Unsynced::Entry { folder, change } if *fate == 1 => {
                    let folder = Arc::make_mut(folders.entry(Arc::clone(folder)).or_default());
                    apply(&mut folder.visible, change);
                    apply(&mut folder.durable, change);
                }
                Unsynced::Entry { change, .. } => {
                    has_lost_folder |= change.node == Some(Node::Folder);
                }
                Unsynced::Contents { inode } if *fate > 0 => {
                    let Some(file) = self.inodes.get(inode) else { continue };
                    let kept = if *fate < TORN {
                        file.visible.clone()
                    } else {
                        // The first half, and for a torn file then what the disk held there before.
                        let written = file.visible.bytes();
                        let mut torn = written[..written.len() / 2].to_vec();
                        if *fate == TORN {
                            torn.resize(written.len(), 0);
                        }
                        Contents::new(torn)
                    };
                    inodes.insert(*inode, Inode::durable(kept));
                }
                Unsynced::Contents { .. } => {}
            }
        }
        let mut disk = Self {
            inodes,
            folders,
            next_inode: self.next_inode,
            omission: self.omission,
            ..Self::default()
        };
        if has_lost_folder {
            disk.forget_unreachable_folders();
        }
        disk
    }

    /// A folder whose own entry was lost is gone with what it held.
    fn forget_unreachable_folders(&mut self) {
        let mut reachable = BTreeMap::new();
        let mut open: Vec<Arc<str>> = vec![Arc::from("")];
        while let Some(path) = open.pop() {
            let folder = self.folders.remove(&path).unwrap_or_default();
            for (name, node) in &folder.visible {
                if *node == Node::Folder {
                    open.push(layout::child(&path, name).into());
                }
            }
            reachable.insert(path, folder);
        }
        self.folders = reachable;
    }
}
