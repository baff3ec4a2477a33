#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
//! The contract of [`DurableStore`], clause by clause, over every store.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::{DurableStore, LocalStore, PutOutcome, RemoteStore, Staged};
use crate::clock::SystemClock;

/// A store, and what must live as long.
struct Subject {
    name: &'static str,
    store: Arc<dyn DurableStore>,
    _folder: Option<tempfile::TempDir>,
}

fn subjects() -> Vec<Subject> {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalStore::open(folder.path(), SystemClock::shared()).unwrap();
    let remote = |prefix| -> Arc<dyn DurableStore> {
        Arc::new(RemoteStore::over(Arc::new(InMemory::new()), &Path::from(prefix)))
    };
    vec![
        Subject { name: "local", store: Arc::new(local), _folder: Some(folder) },
        Subject { name: "remote", store: remote(""), _folder: None },
        Subject { name: "remote below a prefix", store: remote("lake/a"), _folder: None },
    ]
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

/// An object of several writes of odd sizes, staged and not published.
async fn staged(
    store: &Arc<dyn DurableStore>,
    path: &'static str,
    bytes: Bytes,
) -> Box<dyn Staged> {
    let store = Arc::clone(store);
    blocking(move || {
        let mut staged = store.stage(path).unwrap();
        for piece in bytes.chunks(1_234_567) {
            staged.write_all(piece).unwrap();
        }
        staged.flush().unwrap();
        staged
    })
    .await
}

fn pattern(length: usize) -> Bytes {
    (0..length).map(|at| (at / 251 + at) as u8).collect::<Vec<_>>().into()
}

#[tokio::test]
async fn a_name_is_taken_once_and_keeps_its_bytes() {
    for Subject { name, store, .. } in subjects() {
        let put = |bytes: &'static str| store.put_if_absent("a/log/1", Bytes::from(bytes));
        assert_eq!(put("first").await.unwrap(), PutOutcome::Created, "{name}");
        assert_eq!(put("second").await.unwrap(), PutOutcome::Exists, "{name}");
        assert_eq!(put("first").await.unwrap(), PutOutcome::Exists, "{name}: the same bytes");
        assert_eq!(store.read("a/log/1").await.unwrap(), "first", "{name}");
        store.sync("a/log/1").await.unwrap();
    }
}

#[tokio::test]
async fn of_many_at_once_one_wins_and_its_bytes_stay() {
    for Subject { name, store, .. } in subjects() {
        for round in 0..20 {
            let path = format!("log/{round}");
            let puts = (0..16).map(|writer: u8| {
                let (store, path) = (Arc::clone(&store), path.clone());
                async move { store.put_if_absent(&path, Bytes::from(vec![writer; 100])).await }
            });
            let outcomes: Vec<_> = join_all(puts).await.into_iter().map(Result::unwrap).collect();
            let won = |outcome: &&PutOutcome| **outcome == PutOutcome::Created;
            assert_eq!(outcomes.iter().filter(won).count(), 1, "{name}");
            let winner = outcomes.iter().position(|outcome| *outcome == PutOutcome::Created);
            let kept = store.read(&path).await.unwrap();
            assert_eq!(kept, vec![winner.unwrap() as u8; 100], "{name}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    for Subject { name, store, .. } in subjects() {
        store.put_if_absent("a/b", Bytes::new()).await.unwrap();
        for path in ["absent", "absent/b", "a/absent", "a"] {
            // A folder is no object; a file system has other words for that.
            let error = store.read(path).await.expect_err(name);
            if path != "a" {
                assert_eq!(error.kind(), io::ErrorKind::NotFound, "{name}: read {path}");
                // Where what can be read is durable there is nothing to sync.
                let synced = store.sync(path).await.map_err(|error| error.kind());
                let expected =
                    if store.settles_unknown() { Ok(()) } else { Err(io::ErrorKind::NotFound) };
                assert_eq!(synced, expected, "{name}: sync {path}");
            }
        }
        assert_eq!(store.read("a/b").await.unwrap(), "", "{name}: an empty object is one");
    }
}

#[tokio::test]
async fn a_list_has_the_names_directly_below_sorted() {
    for Subject { name, store, .. } in subjects() {
        assert!(store.list("t").await.unwrap().is_empty(), "{name}");
        assert!(store.list("").await.unwrap().is_empty(), "{name}");
        for path in ["t/log/2", "t/log/10", "t/log/1.checkpoint", "t/data/x.parquet", "top", "tt/1"]
        {
            store.put_if_absent(path, Bytes::from_static(b"x")).await.unwrap();
        }
        let unfinished = staged(&store, "t/log/unfinished", Bytes::from_static(b"x")).await;
        assert_eq!(store.list("t/log").await.unwrap(), ["1.checkpoint", "10", "2"], "{name}");
        assert_eq!(store.list("t").await.unwrap(), ["data", "log"], "{name}");
        assert_eq!(store.list("").await.unwrap(), ["t", "top", "tt"], "{name}");
        drop(unfinished);
    }
}

#[tokio::test]
async fn many_are_read_in_order_and_one_fails_alone() {
    for Subject { name, store, .. } in subjects() {
        for number in 0..100 {
            let bytes = Bytes::from(number.to_string());
            store.put_if_absent(&format!("log/{number}"), bytes).await.unwrap();
        }
        let paths = (0..101).rev().map(|number| format!("log/{number}")).collect();
        let mut read = store.read_many(paths).await.into_iter();
        let absent = read.next().unwrap().unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound, "{name}");
        for (number, bytes) in (0..100).rev().zip(read) {
            assert_eq!(bytes.unwrap(), number.to_string(), "{name}");
        }
        assert!(store.read_many(Vec::new()).await.is_empty(), "{name}");
    }
}

#[tokio::test]
async fn a_staged_object_appears_whole_when_it_is_published() {
    // Below a part of an upload, exactly one, a byte more, and several.
    const PART: usize = 8 << 20;
    for Subject { name, store, .. } in subjects() {
        let sizes: BTreeMap<&'static str, usize> = [
            ("data/0", 0),
            ("data/1", 1),
            ("data/2", PART - 1),
            ("data/3", PART),
            ("data/4", PART + 1),
            ("data/5", 3 * PART + 17),
        ]
        .into();
        for (path, size) in sizes {
            let bytes = pattern(size);
            let object = staged(&store, path, bytes.clone()).await;
            let absent = store.read(path).await.unwrap_err();
            assert_eq!(absent.kind(), io::ErrorKind::NotFound, "{name}: {path} before");
            blocking(move || object.publish()).await.unwrap();
            assert!(store.read(path).await.unwrap() == bytes, "{name}: {path} after");
            store.sync(path).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_staged_object_that_is_dropped_or_discarded_leaves_nothing() {
    for Subject { name, store, .. } in subjects() {
        for size in [10, 20 << 20] {
            let dropped = staged(&store, "data/dropped", pattern(size)).await;
            // Also on a thread that must not block.
            drop(dropped);
            let discarded = staged(&store, "data/discarded", pattern(size)).await;
            blocking(move || discarded.discard()).await;
        }
        assert!(store.list("data").await.unwrap().is_empty(), "{name}");
    }
}

#[tokio::test]
async fn datafusion_sees_the_same_paths() {
    for Subject { name, store, .. } in subjects() {
        store.put_if_absent("t/data/a.parquet", Bytes::from_static(b"0123456789")).await.unwrap();
        let objects = store.object_store();
        let path = Path::from("t/data/a.parquet");
        assert_eq!(objects.head(&path).await.unwrap().size, 10, "{name}");
        let ranges = objects.get_ranges(&path, &[2..4, 8..10]).await.unwrap();
        assert_eq!(ranges, ["23", "89"].map(Bytes::from), "{name}");
        let listed: Vec<_> =
            objects.list(None).map_ok(|meta| meta.location).try_collect().await.unwrap();
        assert_eq!(listed, [path], "{name}");
        assert!(objects.list(Some(&Path::from("u"))).next().await.is_none(), "{name}");
    }
}

#[test]
fn only_a_store_whose_names_can_be_asked_again_settles_what_is_unknown() {
    let settles: Vec<bool> = {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _inside = runtime.enter();
        subjects().iter().map(|subject| subject.store.settles_unknown()).collect()
    };
    assert_eq!(settles, [false, true, true]);
}
