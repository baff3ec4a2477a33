//! The probe of a store's conditional PUT (C12).
//!
//! Several stores that speak S3 let two conditional PUTs of one key both succeed, or ignore the condition. A table on such a
//! store would lose acknowledged appends, so it is found out before the first write.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;

use object_store::ObjectStore;
use object_store::path::Path;

use crate::clock::Clock;
use crate::storage::{DurableStore, PutError, PutOutcome, RemoteStore, layout};

/// PUTs of one key at the same time.
const PUTS_PER_ROUND: usize = 32;

/// Keys tried, one after the other.
const ROUNDS: usize = 8;

/// Whether a root can be written to.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The conditional PUT held in every round.
    Sound,
    /// It did not, or the store refuses it: what was seen.
    Unsound(String),
    /// We must not write there: what the store said.
    Forbidden(std::io::Error),
}

/// Sends [`PUTS_PER_ROUND`] conditional PUTs to one new key at the same time, [`ROUNDS`] times over: no more than one may
/// succeed, its bytes must be the ones that stay, and a later PUT must be refused. What was written is removed afterwards.
///
/// # Errors
/// When the store cannot be reached, which says nothing of it.
pub(crate) async fn probe(store: &RemoteStore, clock: &Arc<dyn Clock>) -> std::io::Result<Verdict> {
    let keys: Vec<String> = (0..ROUNDS).map(|_| layout::probe(clock.new_id())).collect();
    let mut verdict = Ok(Verdict::Sound);
    let mut used = 0;
    for key in &keys {
        used += 1;
        verdict = round(store, key, clock).await;
        if !matches!(verdict, Ok(Verdict::Sound)) {
            break;
        }
    }
    remove(&store.object_store(), keys.into_iter().take(used)).await;
    verdict
}

async fn round(store: &RemoteStore, key: &str, clock: &Arc<dyn Clock>) -> std::io::Result<Verdict> {
    let bodies: Vec<Bytes> =
        (0..PUTS_PER_ROUND).map(|_| Bytes::copy_from_slice(clock.new_id().as_bytes())).collect();
    let puts = bodies.iter().map(|body| store.put_if_absent(key, body.clone()));
    let mut winners = Vec::new();
    let mut in_doubt = None;
    for (body, outcome) in bodies.iter().zip(join_all(puts).await) {
        match outcome {
            Ok(PutOutcome::Created) => winners.push(body),
            Ok(PutOutcome::Exists) => {}
            Err(PutError::NotStored(error)) => match error.kind() {
                std::io::ErrorKind::PermissionDenied => return Ok(Verdict::Forbidden(error)),
                std::io::ErrorKind::Unsupported | std::io::ErrorKind::InvalidInput => {
                    let seen = format!("it refuses a PUT with If-None-Match: {error}");
                    return Ok(Verdict::Unsound(seen));
                }
                _ => return Err(error),
            },
            // A late answer proves nothing against the store; that too few PUTs had a clear one does not either.
            Err(PutError::Unknown(error) | PutError::NotDurable(error)) => in_doubt = Some(error),
        }
    }
    let unsound = |seen: String| Ok(Verdict::Unsound(seen));
    if winners.len() > 1 {
        return unsound(format!(
            "of {PUTS_PER_ROUND} PUTs of one new key with If-None-Match: *, {} succeeded where only one may",
            winners.len()
        ));
    }
    let kept = match (store.read(key).await, in_doubt) {
        (Ok(kept), _) => kept,
        (Err(_), Some(error)) => return Err(error),
        (Err(error), None) if error.kind() == std::io::ErrorKind::NotFound => {
            return unsound(format!(
                "of {PUTS_PER_ROUND} PUTs of one new key, {} succeeded, and the key cannot be found",
                winners.len()
            ));
        }
        (Err(error), None) => return Err(error),
    };
    if !bodies.contains(&kept) || winners.first().is_some_and(|winner| **winner != kept) {
        return unsound("a PUT that succeeded was overwritten by one that did not".to_owned());
    }
    match store.put_if_absent(key, Bytes::copy_from_slice(clock.new_id().as_bytes())).await {
        Ok(PutOutcome::Exists) => Ok(Verdict::Sound),
        Ok(PutOutcome::Created) => {
            unsound("a PUT with If-None-Match: * of a key that exists succeeded".to_owned())
        }
        Err(error) => Err(error.into_source()),
    }
}

/// What cannot be removed is only litter of a few bytes.
async fn remove(store: &Arc<dyn ObjectStore>, keys: impl Iterator<Item = String>) {
    let paths: Vec<_> = keys.map(|key| Ok(Path::from(key))).collect();
    let mut removed = store.delete_stream(futures::stream::iter(paths).boxed());
    while let Some(outcome) = removed.next().await {
        if let Err(error) = outcome {
            tracing::debug!(%error, "an object of the probe was not removed");
        }
    }
}
