#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
//! What a conditional PUT reports of a store that fails, and what the probe makes of stores good and bad (C5, C12).

use std::fmt;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::{BoxStream, StreamExt};
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    PutMultipartOptions, PutResult, Result,
};

use super::*;
use crate::clock::{Clock, SeededClock};
use crate::storage::faults::FaultTime::{After, Before};
use crate::storage::faults::{FaultTime, FaultyObjects, RemoteFault};

/// The first request that fails, how many do, when and how.
type Fault = (u64, u64, FaultTime, RemoteFault);

/// What a put said, short.
async fn put(faults: &[Fault]) -> (&'static str, bool) {
    let objects = FaultyObjects::new();
    for (first, count, when, fault) in faults {
        objects.fail(*first..first + count, *when, *fault);
    }
    let store = RemoteStore::over(Arc::new(objects.clone()), &Path::from("a"));
    let said = match store.put_if_absent("x", Bytes::from_static(b"mine")).await {
        Ok(PutOutcome::Created) => "created",
        Ok(PutOutcome::Exists) => "exists",
        Err(PutError::NotStored(_)) => "not stored",
        Err(PutError::Unknown(_)) => "unknown",
        Err(PutError::NotDurable(_)) => "not durable",
    };
    objects.calm();
    (said, store.read("x").await.is_ok())
}

#[tokio::test]
async fn a_put_says_what_is_known_of_the_object() {
    use RemoteFault::{Busy, Forbidden, InternalError, Precondition, Reset, SlowDown, Timeout};
    let all = u64::from(PUT_TRIES_MAX);
    let cases: [(&[Fault], _, _); 12] = [
        (&[], "created", true),
        // Repeated: done, or met by itself.
        (&[(0, 1, Before, Timeout)], "created", true),
        (&[(0, 1, After, Timeout)], "exists", true),
        (&[(0, 1, After, Precondition)], "exists", true),
        (&[(0, 1, Before, Busy)], "created", true),
        (&[(0, all, Before, Busy)], "exists", false),
        // No answer at all.
        (&[(0, all, Before, SlowDown)], "unknown", false),
        (&[(0, all, After, Reset)], "unknown", true),
        (&[(0, all, After, InternalError)], "unknown", true),
        // Refused before anything could be stored.
        (&[(0, 1, Before, Forbidden)], "not stored", false),
        // Refused when it was sent again: the first may have been stored all the same.
        (&[(0, 1, After, Timeout), (1, 1, Before, Forbidden)], "unknown", true),
        (&[(0, 1, Before, Timeout), (1, 1, Before, Forbidden)], "unknown", false),
    ];
    for (faults, said, is_there) in cases {
        assert_eq!(put(faults).await, (said, is_there), "{faults:?}");
    }
}

#[tokio::test]
async fn a_read_that_is_cut_is_an_error() {
    let objects = FaultyObjects::new();
    let store = RemoteStore::over(Arc::new(objects.clone()), &Path::default());
    store.put_if_absent("x", Bytes::from_static(b"whole")).await.unwrap();
    objects.fail(1..2, After, RemoteFault::Truncated);
    assert_eq!(store.read("x").await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(store.read("x").await.unwrap(), "whole");
}

#[tokio::test]
async fn an_error_is_told_in_one_line_without_what_the_client_did() {
    let objects = FaultyObjects::new();
    let store = RemoteStore::over(Arc::new(objects.clone()), &Path::default());
    for (number, (fault, kind, text)) in [
        (
            RemoteFault::Forbidden,
            io::ErrorKind::PermissionDenied,
            "the store answered 403 Forbidden",
        ),
        (RemoteFault::SlowDown, io::ErrorKind::Other, "the store answered 503 Service Unavailable"),
        (RemoteFault::Timeout, io::ErrorKind::TimedOut, "no answer from the store in time"),
        (RemoteFault::Reset, io::ErrorKind::ConnectionReset, "the connection to the store broke"),
    ]
    .into_iter()
    .enumerate()
    {
        let number = number as u64;
        objects.fail(number..number + 1, Before, fault);
        let error = store.list("a").await.unwrap_err();
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().starts_with(text), "{error}");
    }
}

/// How a store treats a conditional PUT.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manners {
    Ignores,
    /// Looks, waits, and stores.
    LooksFirst,
    /// Says that it stored, and did not.
    Forgets,
    /// Keeps the bytes of a PUT that it refuses.
    OverwritesAndRefuses,
    Unimplemented,
}

#[derive(Debug)]
struct BadStore {
    inner: InMemory,
    manners: Manners,
}

impl fmt::Display for BadStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BadStore")
    }
}

#[async_trait]
impl ObjectStore for BadStore {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        let overwrite = PutOptions::default();
        match self.manners {
            Manners::Ignores => self.inner.put_opts(at, payload, overwrite).await,
            Manners::LooksFirst => {
                if self.inner.head(at).await.is_ok() {
                    return self.inner.put_opts(at, payload, options).await;
                }
                tokio::task::yield_now().await;
                self.inner.put_opts(at, payload, overwrite).await
            }
            Manners::Forgets => Ok(PutResult { e_tag: None, version: None }),
            Manners::OverwritesAndRefuses => {
                let outcome = self.inner.put_opts(at, payload.clone(), options).await;
                self.inner.put_opts(at, payload, overwrite).await?;
                outcome
            }
            Manners::Unimplemented => Err(object_store::Error::NotImplemented {
                operation: "conditional put".to_owned(),
                implementer: "BadStore".to_owned(),
            }),
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        at: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(at)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SeededClock::new(1))
}

#[tokio::test]
async fn the_probe_passes_a_sound_store_and_leaves_nothing() {
    let objects = FaultyObjects::new();
    let store = RemoteStore::over(Arc::new(objects.clone()), &Path::from("a"));
    assert!(matches!(probe(&store, &clock()).await, Ok(Verdict::Sound)));
    assert!(objects.behaved().list(None).next().await.is_none());
    assert_eq!(objects.conflicts(), 8 * 32, "31 of 32 lose, and one that comes later");
}

#[tokio::test]
async fn the_probe_finds_every_kind_of_bad_store() {
    for (manners, expected) in [
        (Manners::Ignores, "32 succeeded where only one may"),
        (Manners::LooksFirst, "succeeded where only one may"),
        (Manners::Forgets, "32 succeeded where only one may"),
        (Manners::OverwritesAndRefuses, "was overwritten"),
        (Manners::Unimplemented, "refuses a PUT with If-None-Match"),
    ] {
        let objects = Arc::new(BadStore { inner: InMemory::new(), manners });
        let store = RemoteStore::over(Arc::clone(&objects) as _, &Path::from("a"));
        match probe(&store, &clock()).await {
            Ok(Verdict::Unsound(seen)) => assert!(seen.contains(expected), "{manners:?}: {seen}"),
            other => panic!("{manners:?}: {other:?}"),
        }
        assert!(objects.list(None).next().await.is_none(), "{manners:?}");
    }
}

/// Lost answers are no proof against a store.
#[tokio::test]
async fn the_probe_does_not_blame_a_sound_store_for_bad_weather() {
    let probes = (0..40).map(|seed| async move {
        let objects = FaultyObjects::new();
        objects.storm(seed, 0.05, 4);
        let store = RemoteStore::over(Arc::new(objects), &Path::default());
        match probe(&store, &clock()).await {
            Ok(Verdict::Unsound(seen)) => panic!("seed {seed}: {seen}"),
            Ok(Verdict::Sound) => [1, 0],
            Ok(Verdict::Forbidden(_)) | Err(_) => [0, 1],
        }
    });
    let outcomes = futures::future::join_all(probes).await;
    let failed: u32 = outcomes.iter().map(|[_, failed]| failed).sum();
    assert!(failed >= 1, "the weather was good");
}
