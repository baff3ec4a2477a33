//! [`SimDisk`]: a file system in memory with a durable half.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::storage::{DiskSpace, LocalStore, Vfs, VfsFile, layout};

/// What a directory entry points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    File(u64),
    Folder,
}

/// A change of a directory that no fsync has made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) name: String,
    /// `None` when the name was taken away.
    pub(super) node: Option<Node>,
}

/// A directory: what programs see, what is durable, and the changes between the two in order.
#[derive(Debug, Clone, Default)]
pub(super) struct Folder {
    pub(super) visible: BTreeMap<String, Node>,
    pub(super) durable: BTreeMap<String, Node>,
    pub(super) pending: Vec<Change>,
    /// Changes whose fsync failed: a crash may keep or drop them, and no later fsync can help.
    pub(super) lost: Vec<Change>,
}

/// A file's contents: what programs see and what is durable.
#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) visible: Arc<Vec<u8>>,
    pub(super) durable: Arc<Vec<u8>>,
    /// An fsync of it failed: the pages are marked clean, and no later fsync writes them.
    pub(super) lost: bool,
}

/// All of a disk's state.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    pub(super) inodes: BTreeMap<u64, Inode>,
    /// By path; the root is the empty path and always durable.
    pub(super) folders: BTreeMap<String, Folder>,
    pub(super) next_inode: u64,
}

impl Default for Disk {
    fn default() -> Self {
        let folders = BTreeMap::from([(String::new(), Folder::default())]);
        Self { inodes: BTreeMap::new(), folders, next_inode: 1 }
    }
}

/// A kind of file system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// mkdir.
    CreateDir,
    /// open with O_CREAT and O_EXCL.
    OpenStaged,
    /// write.
    Write,
    /// fsync of a file being written.
    FsyncStaged,
    /// link.
    LinkNew,
    /// unlink.
    Unlink,
    /// fsync of a file by name.
    FsyncFile,
    /// fsync of a folder.
    FsyncDir,
    /// Reading a file.
    Read,
    /// Reading a folder.
    List,
}

impl Operation {
    /// Whether it changes what is on the disk, or what is durable of it.
    pub fn changes_disk(self) -> bool {
        !matches!(self, Self::Read | Self::List)
    }
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultTime {
    /// Instead of the effect.
    Before,
    /// After the effect, which stands.
    After,
}

/// What a fault looks like to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// EIO.
    Io,
    /// ENOSPC.
    Full,
}

impl FaultKind {
    fn error(self) -> io::Error {
        match self {
            // EIO has no kind of its own in std.
            Self::Io => io::Error::from_raw_os_error(5),
            Self::Full => io::ErrorKind::StorageFull.into(),
        }
    }
}

/// Failures of the operations with these numbers, counted from 0 since the disk was made.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Which operations.
    pub at: Range<u64>,
    /// Before or after their effect.
    pub when: FaultTime,
    /// What the caller sees.
    pub kind: FaultKind,
}

/// One operation that was done.
#[derive(Debug, Clone)]
pub struct Step {
    /// Its number.
    pub number: u64,
    /// What it was.
    pub operation: Operation,
    /// On what.
    pub path: String,
    /// The disk after it.
    pub(super) disk: Disk,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "operation {} {:?} {:?}", self.number, self.operation, self.path)
    }
}

#[derive(Debug, Default)]
struct State {
    disk: Disk,
    operations: u64,
    faults: Vec<Fault>,
    steps: Vec<Step>,
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
        let (when, kind) = fault.map_or((None, None), |f| (Some(f.when), Some(f.kind)));
        if let (Some(FaultTime::Before), Some(kind)) = (when, kind) {
            self.disk.lose(operation, path);
            return Err(kind.error());
        }
        let result = effect(&mut self.disk);
        if operation.changes_disk() && result.is_ok() {
            let (path, disk) = (path.to_owned(), self.disk.clone());
            self.steps.push(Step { number, operation, path, disk });
        }
        match (result, kind) {
            (Ok(_), Some(kind)) => Err(kind.error()),
            (result, _) => result,
        }
    }
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

    pub(super) fn holding(disk: Disk) -> Self {
        let state = State { disk, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
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

    /// Forgets every planned failure.
    pub fn heal(&self) {
        self.state.lock().faults.clear();
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
        let bytes = disk.inodes.get(&inode).map(|file| file.visible.to_vec()).unwrap_or_default();
        match change(bytes) {
            Some(bytes) => {
                let bytes = Arc::new(bytes);
                let file = Inode { visible: Arc::clone(&bytes), durable: bytes, lost: false };
                disk.inodes.insert(inode, file);
            }
            None => {
                if let Some(folder) = disk.folders.get_mut(layout::parent(path)) {
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

    /// Puts a file in place, durably, with its folders, without counting as an operation.
    pub fn plant(&self, path: &str, bytes: Vec<u8>) {
        let disk = &mut self.state.lock().disk;
        let mut folder = String::new();
        for name in layout::parent(path).split('/').filter(|name| !name.is_empty()) {
            let inner = layout::child(&folder, name);
            let outer = disk.folders.entry(folder).or_default();
            outer.visible.insert(name.to_owned(), Node::Folder);
            outer.durable.insert(name.to_owned(), Node::Folder);
            folder = inner;
        }
        let inode = disk.next_inode;
        disk.next_inode += 1;
        let bytes = Arc::new(bytes);
        disk.inodes
            .insert(inode, Inode { visible: Arc::clone(&bytes), durable: bytes, lost: false });
        let folder = disk.folders.entry(folder).or_default();
        folder.visible.insert(file_name(path).to_owned(), Node::File(inode));
        folder.durable.insert(file_name(path).to_owned(), Node::File(inode));
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

impl Disk {
    fn folder(&self, path: &str) -> io::Result<&Folder> {
        self.folders.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
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
        Ok(self.inodes.get(&inode).map(|file| file.visible.to_vec()).unwrap_or_default())
    }

    fn enter(&mut self, path: &str, node: Node) -> io::Result<()> {
        let folder = self
            .folders
            .get_mut(layout::parent(path))
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let name = file_name(path).to_owned();
        if folder.visible.contains_key(&name) {
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
            file.durable = Arc::clone(&file.visible);
        }
    }

    fn sync_folder(&mut self, path: &str) -> io::Result<()> {
        let folder =
            self.folders.get_mut(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        for change in folder.pending.drain(..) {
            apply(&mut folder.durable, &change);
        }
        Ok(())
    }

    /// What a failed fsync leaves: pages marked clean that were never written.
    fn lose(&mut self, operation: Operation, path: &str) {
        match operation {
            Operation::FsyncStaged | Operation::FsyncFile => {
                if let Ok(inode) = self.file(path)
                    && let Some(file) = self.inodes.get_mut(&inode)
                    && file.durable != file.visible
                {
                    file.lost = true;
                }
            }
            Operation::FsyncDir => {
                if let Some(folder) = self.folders.get_mut(path) {
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
            .map(|file| file.visible.len() as u64)
            .sum()
    }
}

pub(super) fn apply(names: &mut BTreeMap<String, Node>, change: &Change) {
    match change.node {
        Some(node) => {
            names.insert(change.name.clone(), node);
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
            disk.folders.insert(path.to_owned(), Folder::default());
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
        self.state.lock().run(Operation::LinkNew, to, |disk| {
            let inode = disk.file(from)?;
            disk.enter(to, Node::File(inode))
        })
    }

    fn unlink(&self, path: &str) -> io::Result<()> {
        self.state.lock().run(Operation::Unlink, path, |disk| {
            disk.file(path)?;
            if let Some(folder) = disk.folders.get_mut(layout::parent(path)) {
                let name = file_name(path).to_owned();
                folder.visible.remove(&name);
                folder.pending.push(Change { name, node: None });
            }
            Ok(())
        })
    }

    fn fsync_file(&self, path: &str) -> io::Result<()> {
        self.state.lock().run(Operation::FsyncFile, path, |disk| {
            let inode = disk.file(path)?;
            disk.sync_inode(inode);
            Ok(())
        })
    }

    fn fsync_dir(&self, path: &str) -> io::Result<()> {
        self.state.lock().run(Operation::FsyncDir, path, |disk| disk.sync_folder(path))
    }

    fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        self.state.lock().run(Operation::Read, path, |disk| disk.read(path))
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.state.lock().run(Operation::List, path, |disk| {
            Ok(disk.folder(path)?.visible.keys().cloned().collect())
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
            Arc::make_mut(&mut file.visible).extend_from_slice(bytes);
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
            disk.sync_inode(inode);
            Ok(())
        })
    }
}

/// The same disk as DataFusion reads it. Reads only, and they do not count as operations.
#[derive(Debug)]
struct SimObjectStore(SimDisk);

impl SimObjectStore {
    /// One object in a store that knows every way of reading.
    async fn holding(&self, location: &Path) -> object_store::Result<InMemory> {
        let bytes =
            self.0.peek(location.as_ref()).ok_or_else(|| object_store::Error::NotFound {
                path: location.to_string(),
                source: "no such file on the simulated disk".into(),
            })?;
        let memory = InMemory::new();
        memory.put(location, bytes.into()).await?;
        Ok(memory)
    }
}

impl fmt::Display for SimObjectStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimDisk")
    }
}

fn read_only(operation: &str) -> object_store::Error {
    object_store::Error::NotImplemented {
        operation: operation.to_owned(),
        implementer: "SimDisk".to_owned(),
    }
}

#[async_trait]
impl ObjectStore for SimObjectStore {
    async fn put_opts(
        &self,
        _location: &Path,
        _payload: PutPayload,
        _options: PutOptions,
    ) -> object_store::Result<PutResult> {
        Err(read_only("put"))
    }

    async fn put_multipart_opts(
        &self,
        _location: &Path,
        _options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        Err(read_only("put_multipart"))
    }

    async fn get_opts(
        &self,
        location: &Path,
        options: GetOptions,
    ) -> object_store::Result<GetResult> {
        self.holding(location).await?.get_opts(location, options).await
    }

    fn delete_stream(
        &self,
        _locations: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        futures::stream::once(async { Err(read_only("delete")) }).boxed()
    }

    fn list(&self, _prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        futures::stream::once(async { Err(read_only("list")) }).boxed()
    }

    async fn list_with_delimiter(
        &self,
        _prefix: Option<&Path>,
    ) -> object_store::Result<ListResult> {
        Err(read_only("list"))
    }

    async fn copy_opts(
        &self,
        _from: &Path,
        _to: &Path,
        _options: CopyOptions,
    ) -> object_store::Result<()> {
        Err(read_only("copy"))
    }
}
