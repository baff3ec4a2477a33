//! [`SimDisk`]: a file system in memory with a durable half. `crash` makes the states that a crash leaves of it, `reads` shows it
//! to DataFusion.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::operation::{Fault, FaultKind, FaultTime, Operation};
use super::reads::SimObjectStore;
use crate::clock::Clock;
use crate::storage::{DiskSpace, LocalStore, Vfs, VfsFile, VfsFolder, layout};

const SEGMENT_SUFFIX: &str = ".parquet";

const TABLE_LOG_SUFFIX: &str = "/_log";

/// What a directory entry points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Folder,
}

/// A change of a directory that no fsync has made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: Arc<str>,
    /// `None` when the name was taken away.
    pub(super) node: Option<Node>,
}

/// What a directory holds, by name.
pub(super) type Names = BTreeMap<Arc<str>, Node>;

/// A directory: what programs see, what is durable, and the changes between the two in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Folder {
    pub(super) visible: Names,
    pub(super) durable: Names,
    pub(super) pending: Vec<Change>,
    /// Changes whose fsync failed: a crash may keep or drop them, and no later fsync can help.
    pub(super) lost: Vec<Change>,
}

/// Bytes that many disks share, with their digest once somebody asked for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Contents {
    bytes: Arc<Vec<u8>>,
    digest: Arc<OnceLock<blake3::Hash>>,
}

impl Contents {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self { bytes: Arc::new(bytes), digest: Arc::default() }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes) || self.bytes == other.bytes
    }

    fn append(&mut self, more: &[u8]) {
        Arc::make_mut(&mut self.bytes).extend_from_slice(more);
        self.digest = Arc::default();
    }

    fn digest(&self) -> &blake3::Hash {
        self.digest.get_or_init(|| blake3::hash(&self.bytes))
    }
}

/// A file's contents: what programs see and what is durable.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) visible: Contents,
    pub(super) durable: Contents,
    /// An fsync of it failed: the pages are marked clean, and no later fsync writes them.
    pub(super) lost: bool,
}

impl Inode {
    pub(super) fn durable(contents: Contents) -> Self {
        Self { visible: contents.clone(), durable: contents, lost: false }
    }
}

/// All of a disk's state.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) inodes: BTreeMap<u64, Inode>,
    /// By path; the root is the empty path and always durable.
    pub(super) folders: BTreeMap<Arc<str>, Arc<Folder>>,
    pub(super) next_inode: u64,
    pub(super) omission: Option<Omission>,
    /// Names of segments that wait for the record, under [`Omission::SegmentBeforeRecord`].
    pub(super) postponed: Vec<(String, u64)>,
    /// The next fsync of a folder belongs to a recovery, under [`Omission::RecoverySync`].
    pub(super) recovers: bool,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            inodes: BTreeMap::new(),
            folders: BTreeMap::from([(Arc::from(""), Arc::default())]),
            next_inode: 1,
            omission: None,
            postponed: Vec::new(),
            recovers: false,
        }
    }
}

/// A guard of the commit protocol that a disk leaves out, as code with that bug would. Whoever looks for crashes that lose
/// something must find each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Omission {
    /// Names are not made durable.
    FolderSync,
    /// Contents are not durable before the file gets its name.
    FileSync,
    /// A file takes a name that another has: rename instead of link.
    LinkNotRename,
    /// A segment gets its name after the record that names it is durable.
    SegmentBeforeRecord,
    /// Recovery serves what it finds without making it durable.
    RecoverySync,
}

impl Omission {
    /// Each of them.
    pub const ALL: [Self; 5] = [
        Self::FolderSync,
        Self::FileSync,
        Self::LinkNotRename,
        Self::SegmentBeforeRecord,
        Self::RecoverySync,
    ];
}

/// One operation that was done.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number.
    pub number: u64,
    /// What it was.
    pub operation: Operation,
    /// On what.
    pub path: Arc<str>,
    /// The disk after it.
    pub(super) disk: Disk,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {} {:?} {:?}", self.number, self.operation, self.path)
    }
}

/// A failure of a later operation of one kind.
#[derive(Debug, Clone, Copy)]
struct NextFault {
    operation: Operation,
    /// How many operations of that kind are spared before.
    spared: u64,
    when: FaultTime,
    kind: FaultKind,
}

#[derive(Debug, Default)]
struct State {
    disk: Disk,
    operations: u64,
    faults: Vec<Fault>,
    next_faults: Vec<NextFault>,
    /// How everything fails that makes or takes away a file.
    refuses_writes: Option<FaultKind>,
    steps: Vec<Step>,
    forgets_steps: bool,
    capacity_bytes: Option<u64>,
}

impl State {
    /// Counts an operation, lets it happen, records it and fails it as planned.
    fn run<T>(
        &mut self,
        operation: Operation,
        path: &str,
        effect: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        let number = self.operations;
        self.operations += 1;
        let fault = self.faults.iter().find(|fault| fault.at.contains(&number));
        let mut fault = fault.map(|fault| (fault.when, fault.kind));
        if let Some(position) = self.next_faults.iter().position(|next| next.operation == operation)
            && let Some(next) = self.next_faults.get_mut(position)
        {
            if next.spared == 0 {
                fault = Some((next.when, next.kind));
                self.next_faults.remove(position);
            } else {
                next.spared -= 1;
            }
        }
        if let Some(kind) = self.refuses_writes.filter(|_| operation.writes()) {
            fault = Some((FaultTime::Before, kind));
        }
        let (when, kind) = fault.unzip();
        if let (Some(FaultTime::Before), Some(kind)) = (when, kind) {
            self.disk.lose(operation, path);
            return Err(kind.error());
        }
        let result = effect(&mut self.disk);
        if operation.changes_disk() && result.is_ok() && !self.forgets_steps {
            let (path, disk) = (Arc::from(path), self.disk.clone());
            self.steps.push(Step { number, operation, path, disk });
        }
        match (result, kind) {
            (Ok(_), Some(kind)) => Err(kind.error()),
            (result, _) => result,
        }
    }
}

/// Numbers that two disks share when programs see the same on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    /// Names and contents, but for files under staging names, which no program looks at.
    pub named: u128,
    /// Those too.
    pub whole: u128,
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty disk that leaves a guard out.
    pub fn omitting(omission: Omission) -> Self {
        Self::holding(Disk { omission: Some(omission), ..Disk::default() })
    }

    pub(super) fn holding(disk: Disk) -> Self {
        let state = State { disk, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// A disk of its own that holds the same, with no operation recorded or planned to fail.
    pub fn copy(&self) -> Self {
        Self::holding(self.state.lock().disk.clone())
    }

    /// A local store on this disk.
    pub fn store(&self, clock: Arc<dyn Clock>) -> LocalStore {
        LocalStore::over(Arc::new(self.clone()), Arc::new(SimObjectStore(self.clone())), clock)
    }

    /// Operations so far; the number of the next one.
    pub fn operation_count(&self) -> u64 {
        self.state.lock().operations
    }

    /// Plans a failure.
    pub fn fail(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// Plans the failure of one operation of a kind, whenever it comes, after `spared` others of that kind.
    pub fn fail_later(&self, operation: Operation, spared: u64, when: FaultTime, kind: FaultKind) {
        self.state.lock().next_faults.push(NextFault { operation, spared, when, kind });
    }

    /// From now on nothing can be written: the file system is read-only, or full to the last byte.
    pub fn fail_writes(&self, kind: FaultKind) {
        self.state.lock().refuses_writes = Some(kind);
    }

    /// Forgets every planned failure, and says whether there was one left of [`Self::fail_later`].
    pub fn heal(&self) -> bool {
        let mut state = self.state.lock();
        state.faults.clear();
        state.refuses_writes = None;
        let left = !state.next_faults.is_empty();
        state.next_faults.clear();
        left
    }

    /// Records no more steps: for work whose crash points nobody asks for.
    pub fn forget_steps(&self) {
        let mut state = self.state.lock();
        state.forgets_steps = true;
        state.steps.clear();
    }

    /// What programs see of the disk.
    pub fn fingerprint(&self) -> Fingerprint {
        let state = self.state.lock();
        let (mut named, mut staged) = (blake3::Hasher::new(), blake3::Hasher::new());
        for (path, folder) in &state.disk.folders {
            named.update(path.as_bytes()).update(b"/");
            for (name, node) in &folder.visible {
                let hash = if layout::is_staging(name) { &mut staged } else { &mut named };
                hash.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes());
                if let Node::File(inode) = node
                    && let Some(file) = state.disk.inodes.get(inode)
                {
                    hash.update(file.visible.digest().as_bytes());
                }
            }
        }
        let named = named.finalize();
        staged.update(named.as_bytes());
        let first = |hash: blake3::Hash| {
            hash.as_bytes().first_chunk().map_or(0, |bytes| u128::from_le_bytes(*bytes))
        };
        Fingerprint { named: first(named), whole: first(staged.finalize()) }
    }

    /// Room for contents of files, in bytes; `None` for no end of it.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity_bytes = bytes;
    }

    /// Every operation that changed something, in order.
    pub fn steps(&self) -> Vec<Step> {
        self.state.lock().steps.clone()
    }

    /// Changes a file behind everybody's back, durably: `None` takes it away.
    pub fn tamper(&self, path: &str, change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
        let disk = &mut self.state.lock().disk;
        let Some(Node::File(inode)) = disk.node(path) else { return };
        let bytes = disk.inodes.get(&inode).map(|file| file.visible.bytes().to_vec());
        match change(bytes.unwrap_or_default()) {
            Some(bytes) => {
                disk.inodes.insert(inode, Inode::durable(Contents::new(bytes)));
            }
            None => {
                if let Some(folder) = disk.folder_mut(layout::parent(path)) {
                    folder.visible.remove(file_name(path));
                    folder.durable.remove(file_name(path));
                }
            }
        }
    }

    /// A file's contents, without counting as an operation.
    pub fn peek(&self, path: &str) -> Option<Vec<u8>> {
        let state = self.state.lock();
        state.disk.read(path).ok()
    }

    /// Paths of all files that programs see, sorted.
    pub fn files(&self) -> Vec<String> {
        let state = self.state.lock();
        let mut files: Vec<String> = state
            .disk
            .folders
            .iter()
            .flat_map(|(path, folder)| {
                let is_file = |node: &Node| matches!(node, Node::File(_));
                let names = folder.visible.iter().filter(move |(_, node)| is_file(node));
                names.map(|(name, _)| layout::child(path, name))
            })
            .collect();
        files.sort_unstable();
        files
    }

    /// Puts a file in place, durably, with its folders, without counting as an operation.
    pub fn plant(&self, path: &str, bytes: Vec<u8>) {
        let disk = &mut self.state.lock().disk;
        let mut enter = |folder: &str, name: &str, node: Node| {
            let folder = Arc::make_mut(disk.folders.entry(Arc::from(folder)).or_default());
            folder.visible.insert(Arc::from(name), node);
            folder.durable.insert(Arc::from(name), node);
        };
        let mut folder = String::new();
        for name in layout::parent(path).split('/').filter(|name| !name.is_empty()) {
            enter(&folder, name, Node::Folder);
            folder = layout::child(&folder, name);
        }
        enter(&folder, file_name(path), Node::File(disk.next_inode));
        disk.inodes.insert(disk.next_inode, Inode::durable(Contents::new(bytes)));
        disk.next_inode += 1;
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

impl Disk {
    fn folder(&self, path: &str) -> io::Result<&Folder> {
        self.folders.get(path).map(Arc::as_ref).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn folder_mut(&mut self, path: &str) -> Option<&mut Folder> {
        self.folders.get_mut(path).map(Arc::make_mut)
    }

    fn node(&self, path: &str) -> Option<Node> {
        self.folders.get(layout::parent(path))?.visible.get(file_name(path)).copied()
    }

    fn file(&self, path: &str) -> io::Result<u64> {
        self.folder(layout::parent(path))?;
        match self.node(path) {
            Some(Node::File(inode)) => Ok(inode),
            Some(Node::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        let inode = self.file(path)?;
        let file = self.inodes.get(&inode);
        Ok(file.map(|file| file.visible.bytes().to_vec()).unwrap_or_default())
    }

    fn enter(&mut self, path: &str, node: Node) -> io::Result<()> {
        let replaces = self.omission == Some(Omission::LinkNotRename) && node != Node::Folder;
        let folder = self
            .folder_mut(layout::parent(path))
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let name: Arc<str> = Arc::from(file_name(path));
        if folder.visible.contains_key(&name) && !replaces {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        folder.visible.insert(name.clone(), node);
        folder.pending.push(Change { name, node: Some(node) });
        Ok(())
    }

    fn sync_inode(&mut self, inode: u64) {
        if let Some(file) = self.inodes.get_mut(&inode)
            && !file.lost
        {
            file.durable = file.visible.clone();
        }
    }

    fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.file(from)?;
        if self.omission == Some(Omission::SegmentBeforeRecord) && to.ends_with(SEGMENT_SUFFIX) {
            self.postponed.push((to.to_owned(), inode));
            return Ok(());
        }
        self.enter(to, Node::File(inode))
    }

    fn sync_folder(&mut self, path: &str) -> io::Result<()> {
        let omitted =
            self.omission == Some(Omission::FolderSync) || std::mem::take(&mut self.recovers);
        let folder =
            self.folder_mut(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if !omitted {
            for change in folder.pending.drain(..) {
                apply(&mut folder.durable, &change);
            }
        }
        if path.ends_with(TABLE_LOG_SUFFIX) {
            for (path, inode) in std::mem::take(&mut self.postponed) {
                self.enter(&path, Node::File(inode))?;
            }
        }
        Ok(())
    }

    /// What a failed fsync leaves: pages marked clean that were never written.
    fn lose(&mut self, operation: Operation, path: &str) {
        match operation {
            Operation::FsyncStaged | Operation::FsyncFile => {
                if let Ok(inode) = self.file(path)
                    && let Some(file) = self.inodes.get_mut(&inode)
                    && !file.durable.is_same(&file.visible)
                {
                    file.lost = true;
                }
            }
            Operation::FsyncFolder => {
                if let Some(folder) = self.folder_mut(path) {
                    folder.lost.append(&mut folder.pending);
                }
            }
            _ => {}
        }
    }

    fn used_bytes(&self) -> u64 {
        let linked: std::collections::BTreeSet<u64> = self
            .folders
            .values()
            .flat_map(|folder| folder.visible.values())
            .filter_map(|node| match node {
                Node::File(inode) => Some(*inode),
                Node::Folder => None,
            })
            .collect();
        linked
            .iter()
            .filter_map(|inode| self.inodes.get(inode))
            .map(|file| file.visible.bytes().len() as u64)
            .sum()
    }
}

pub(super) fn apply(names: &mut Names, change: &Change) {
    match change.node {
        Some(node) => {
            names.insert(Arc::clone(&change.name), node);
        }
        None => {
            names.remove(&change.name);
        }
    }
}

impl Vfs for SimDisk {
    fn create_dir(&self, path: &str) -> io::Result<()> {
        self.state.lock().run(Operation::CreateDir, path, |disk| {
            disk.enter(path, Node::Folder)?;
            disk.folders.insert(Arc::from(path), Arc::default());
            Ok(())
        })
    }

    fn open_staged(&self, path: &str) -> io::Result<Box<dyn VfsFile>> {
        let inode = self.state.lock().run(Operation::OpenStaged, path, |disk| {
            let inode = disk.next_inode;
            disk.enter(path, Node::File(inode))?;
            disk.next_inode += 1;
            disk.inodes.insert(inode, Inode::default());
            Ok(inode)
        })?;
        Ok(Box::new(SimFile { disk: self.clone(), path: path.to_owned(), inode }))
    }

    fn link_new(&self, from: &str, to: &str) -> io::Result<()> {
        self.state.lock().run(Operation::LinkNew, to, |disk| disk.link(from, to))
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.state.lock().run(Operation::Unlink, path, |disk| {
            disk.file(path)?;
            if let Some(folder) = disk.folder_mut(layout::parent(path)) {
                let name: Arc<str> = Arc::from(file_name(path));
                folder.visible.remove(&name);
                folder.pending.push(Change { name, node: None });
            }
            Ok(())
        })
    }

    fn fsync_file(&self, path: &str) -> io::Result<()> {
        self.state.lock().run(Operation::FsyncFile, path, |disk| {
            let inode = disk.file(path)?;
            if disk.omission == Some(Omission::RecoverySync) {
                disk.recovers = true;
            } else {
                disk.sync_inode(inode);
            }
            Ok(())
        })
    }

    fn open_folder(&self, path: &str) -> io::Result<Box<dyn VfsFolder>> {
        self.state.lock().run(Operation::OpenFolder, path, |disk| disk.folder(path).map(|_| ()))?;
        Ok(Box::new(SimFolder { disk: self.clone(), path: path.to_owned() }))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.state.lock().run(Operation::Read, path, |disk| disk.read(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.state.lock().run(Operation::List, path, |disk| {
            Ok(disk.folder(path)?.visible.keys().map(|name| name.to_string()).collect())
        })
    }

    fn space(&self) -> Option<DiskSpace> {
        let state = self.state.lock();
        let total = state.capacity_bytes?;
        Some(DiskSpace { free: total.saturating_sub(state.disk.used_bytes()), total })
    }

    fn runs_inline(&self) -> bool {
        true
    }
}

/// A file being written on a [`SimDisk`].
#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    path: String,
    inode: u64,
}

impl io::Write for SimFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.state.lock();
        let room = state
            .capacity_bytes
            .map_or(u64::MAX, |total| total.saturating_sub(state.disk.used_bytes()));
        let inode = self.inode;
        state.run(Operation::Write, &self.path, |disk| {
            if room < bytes.len() as u64 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let file = disk.inodes.entry(inode).or_default();
            file.visible.append(bytes);
            Ok(bytes.len())
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl VfsFile for SimFile {
    fn fsync(&mut self) -> io::Result<()> {
        let inode = self.inode;
        self.disk.state.lock().run(Operation::FsyncStaged, &self.path, |disk| {
            if disk.omission != Some(Omission::FileSync) {
                disk.sync_inode(inode);
            }
            Ok(())
        })
    }
}

/// A folder opened on a [`SimDisk`].
#[derive(Debug)]
struct SimFolder {
    disk: SimDisk,
    path: String,
}

impl VfsFolder for SimFolder {
    fn fsync(&mut self) -> io::Result<()> {
        let path = &self.path;
        self.disk.state.lock().run(Operation::FsyncFolder, path, |disk| disk.sync_folder(path))
    }
}
