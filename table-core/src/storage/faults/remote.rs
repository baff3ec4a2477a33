//! [`FaultyObjects`]: an object store in memory with the bad days of a remote one. Any request can fail before its effect or
//! after it, with the errors that the real clients give, one by one or in storms drawn from a seed.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::client::{HttpError, HttpErrorKind};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, UploadPart,
};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::FaultTime;

/// Turns of the runtime that a delayed request waits for.
const DELAY_TURNS: usize = 32;

/// A kind of request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RemoteOperation {
    /// Storing a whole object, with a condition or without.
    Put,
    /// Beginning an upload in parts.
    BeginParts,
    /// One part.
    PutPart,
    /// Completing an upload in parts.
    Complete,
    /// Giving one up.
    Abort,
    /// Reading an object or some of it.
    Get,
    /// Listing.
    List,
}

impl RemoteOperation {
    /// Whether it changes what is stored.
    pub fn is_write(self) -> bool {
        !matches!(self, Self::Get | Self::List)
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemoteFault {
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Reset,
    /// Status 500.
    InternalError,
    /// Status 503.
    SlowDown,
    /// Status 409, as S3 answers a conditional PUT that met another.
    Busy,
    /// Status 412: there is such an object. After the effect it is the client's own, met by a repeated request.
    Precondition,
    /// Status 403.
    Forbidden,
    /// Half of the bytes; only of a GET, others pass.
    Truncated,
    /// Nothing but time.
    Delay,
}

impl RemoteFault {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Timeout,
        Self::Reset,
        Self::InternalError,
        Self::SlowDown,
        Self::Busy,
        Self::Precondition,
        Self::Forbidden,
        Self::Truncated,
        Self::Delay,
    ];

    /// The error that a client gives; `None` when the request is answered.
    fn error(self, path: &Path) -> Option<Error> {
        let lost = |kind| {
            let source = HttpError::new(kind, std::io::Error::other("injected fault"));
            Error::Generic { store: "faulty", source: Box::new(source) }
        };
        let status = |status: &'static str| Box::new(Status(status));
        let path = path.to_string();
        Some(match self {
            Self::Timeout => lost(HttpErrorKind::Timeout),
            Self::Reset => lost(HttpErrorKind::Interrupted),
            Self::InternalError => {
                Error::Generic { store: "faulty", source: status("500 Internal Server Error") }
            }
            Self::SlowDown => {
                Error::Generic { store: "faulty", source: status("503 Service Unavailable") }
            }
            Self::Busy => Error::AlreadyExists {
                path,
                source: status("409 Conflict: <Code>ConditionalRequestConflict</Code>"),
            },
            Self::Precondition => {
                Error::AlreadyExists { path, source: status("412 Precondition Failed") }
            }
            Self::Forbidden => Error::PermissionDenied { path, source: status("403 Forbidden") },
            Self::Truncated | Self::Delay => return None,
        })
    }

    /// Whether a store can give this answer to the request, after its effect or before.
    pub fn can_strike(self, operation: RemoteOperation, when: FaultTime) -> bool {
        let after = when == FaultTime::After;
        match self {
            Self::Timeout | Self::Reset | Self::InternalError | Self::SlowDown | Self::Delay => {
                true
            }
            // Definite answers are true: nothing was stored by this request.
            Self::Forbidden => !after,
            Self::Busy => operation == RemoteOperation::Put && !after,
            // A 412 without any object would be a lie.
            Self::Precondition => operation == RemoteOperation::Put && after,
            Self::Truncated => operation == RemoteOperation::Get && after,
        }
    }
}

/// An answer that is an error, as the clients word it.
#[derive(Debug)]
struct Status(&'static str);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server returned non-2xx status code: {}", self.0)
    }
}

impl std::error::Error for Status {}

/// A request, by its number since the store was made, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Its number.
    pub number: u64,
    /// What it was.
    pub operation: RemoteOperation,
    /// On which key.
    pub path: String,
    /// What went wrong with it, if anything.
    pub fault: Option<(FaultTime, RemoteFault)>,
}

/// A store in memory whose requests fail as told. Clones of the handle share everything.
#[derive(Debug, Clone)]
pub struct FaultyObjects {
    inner: Arc<InMemory>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Request>,
    planned: Vec<(Range<u64>, FaultTime, RemoteFault)>,
    storm: Option<Storm>,
    /// Conditional PUTs that met another object, without any fault.
    conflicts: u64,
}

/// Faults at random, in runs.
#[derive(Debug)]
struct Storm {
    random: StdRng,
    /// Chance that a request begins a run.
    begins: f64,
    /// Most requests that a run hits.
    run_max: u64,
    left: u64,
}

impl FaultyObjects {
    /// An empty store that behaves.
    pub fn new() -> Self {
        Self { inner: Arc::new(InMemory::new()), state: Arc::default() }
    }

    /// The same objects without the faults.
    pub fn behaved(&self) -> Arc<dyn ObjectStore> {
        Arc::clone(&self.inner) as _
    }

    /// Lets the requests with these numbers fail.
    pub fn fail(&self, at: Range<u64>, when: FaultTime, fault: RemoteFault) {
        self.state.lock().planned.push((at, when, fault));
    }

    /// Lets requests fail at random from now on: each begins a run of up to `run_max` faults with the chance `begins`.
    pub fn storm(&self, seed: u64, begins: f64, run_max: u64) {
        let random = StdRng::seed_from_u64(seed);
        self.state.lock().storm = Some(Storm { random, begins, run_max, left: 0 });
    }

    /// Lets nothing fail any more.
    pub fn calm(&self) {
        let mut state = self.state.lock();
        state.planned.clear();
        state.storm = None;
    }

    /// Requests so far.
    pub fn request_count(&self) -> u64 {
        self.state.lock().requests.len() as u64
    }

    /// The requests from a number on.
    pub fn requests_since(&self, first: u64) -> Vec<Request> {
        let state = self.state.lock();
        let first = usize::try_from(first).unwrap_or(usize::MAX);
        state.requests.get(first..).unwrap_or_default().to_vec()
    }

    /// Conditional PUTs that met another object, with no fault in it.
    pub fn conflicts(&self) -> u64 {
        self.state.lock().conflicts
    }

    /// Takes note of a request and decides on its fault.
    fn begin(&self, operation: RemoteOperation, path: &Path) -> Option<(FaultTime, RemoteFault)> {
        let mut state = self.state.lock();
        let number = state.requests.len() as u64;
        let planned = state.planned.iter().find(|(at, ..)| at.contains(&number));
        let planned = planned.map(|(_, when, fault)| (*when, *fault));
        let fault = planned.or_else(|| state.storm.as_mut().and_then(Storm::next));
        let fault = fault.filter(|(when, fault)| fault.can_strike(operation, *when));
        state.requests.push(Request { number, operation, path: path.to_string(), fault });
        fault
    }

    /// Runs a request with its fault.
    async fn request<T>(
        &self,
        operation: RemoteOperation,
        path: &Path,
        effect: impl Future<Output = Result<T>>,
    ) -> (Result<T>, Option<RemoteFault>) {
        let Some((when, fault)) = self.begin(operation, path) else {
            return (effect.await, None);
        };
        if fault == RemoteFault::Delay {
            for _ in 0..DELAY_TURNS {
                tokio::task::yield_now().await;
            }
        }
        let answered = match (when, fault.error(path)) {
            (FaultTime::Before, Some(error)) => Err(error),
            (FaultTime::After, Some(error)) => {
                let _lost = effect.await;
                Err(error)
            }
            (_, None) => effect.await,
        };
        (answered, Some(fault))
    }
}

impl Default for FaultyObjects {
    fn default() -> Self {
        Self::new()
    }
}

impl Storm {
    fn next(&mut self) -> Option<(FaultTime, RemoteFault)> {
        if self.left == 0 {
            if !self.random.random_bool(self.begins) {
                return None;
            }
            self.left = self.random.random_range(1..=self.run_max);
        }
        self.left -= 1;
        let when = if self.random.random_bool(0.5) { FaultTime::Before } else { FaultTime::After };
        let fault = RemoteFault::ALL[self.random.random_range(0..RemoteFault::ALL.len())];
        Some((when, fault))
    }
}

impl fmt::Display for FaultyObjects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyObjects")
    }
}

#[async_trait]
impl ObjectStore for FaultyObjects {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let conditional = options.mode == PutMode::Create;
        let effect = self.inner.put_opts(location, payload, options);
        let (done, fault) = self.request(RemoteOperation::Put, location, effect).await;
        if conditional && fault.is_none() && matches!(done, Err(Error::AlreadyExists { .. })) {
            self.state.lock().conflicts += 1;
        }
        done
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let effect = self.inner.put_multipart_opts(location, options);
        let (begun, _) = self.request(RemoteOperation::BeginParts, location, effect).await;
        let upload = FaultyUpload { store: self.clone(), path: location.clone(), inner: begun? };
        Ok(Box::new(upload))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_head = options.head;
        let effect = self.inner.get_opts(location, options);
        let (found, fault) = self.request(RemoteOperation::Get, location, effect).await;
        let mut found = found?;
        if fault == Some(RemoteFault::Truncated) && !is_head {
            let GetResult { payload, meta, range, attributes } = found;
            let whole = GetResult { payload, meta: meta.clone(), range: range.clone(), attributes };
            let attributes = whole.attributes.clone();
            let bytes = whole.bytes().await?;
            let half = bytes.slice(..bytes.len() / 2);
            let payload =
                GetResultPayload::Stream(futures::stream::once(async { Ok(half) }).boxed());
            found = GetResult { payload, meta, range, attributes };
        }
        Ok(found)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let path = prefix.cloned().unwrap_or_default();
        let effect = self.inner.list_with_delimiter(prefix);
        self.request(RemoteOperation::List, &path, effect).await.0
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    store: FaultyObjects,
    path: Path,
    inner: Box<dyn MultipartUpload>,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (store, path, part) =
            (self.store.clone(), self.path.clone(), self.inner.put_part(data));
        Box::pin(async move { store.request(RemoteOperation::PutPart, &path, part).await.0 })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let effect = self.inner.complete();
        self.store.request(RemoteOperation::Complete, &self.path, effect).await.0
    }

    async fn abort(&mut self) -> Result<()> {
        let effect = self.inner.abort();
        self.store.request(RemoteOperation::Abort, &self.path, effect).await.0
    }
}
