//! [`GatedStore`]: puts that are held open, so that a test decides what happens in the meantime.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

use super::over::Over;
use crate::storage::{DurableStore, PutError, PutOutcome};

/// Where puts wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Nowhere.
    Open,
    /// Before anything is stored.
    BeforePut,
    /// After the object is stored, before anybody is told.
    AfterPut,
}

/// A store over another whose puts wait at a gate. Every read gives others their turn once.
#[derive(Debug)]
pub struct GatedStore {
    inner: Arc<dyn DurableStore>,
    gate: watch::Sender<Gate>,
    held: AtomicU64,
    reads: AtomicU64,
}

impl GatedStore {
    /// Over another store, with an open gate.
    pub fn over(inner: Arc<dyn DurableStore>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            gate: watch::Sender::new(Gate::Open),
            held: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        })
    }

    /// Moves the gate. Those who wait elsewhere go on.
    pub fn set(&self, gate: Gate) {
        self.gate.send_replace(gate);
    }

    /// Waits until so many puts have come to the gate since the store was made.
    pub async fn held(&self, count: u64) {
        while self.held.load(Ordering::SeqCst) < count {
            tokio::task::yield_now().await;
        }
    }

    /// Reads so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::SeqCst)
    }

    async fn pass(&self, place: Gate) {
        let mut gate = self.gate.subscribe();
        if *gate.borrow_and_update() == place {
            self.held.fetch_add(1, Ordering::SeqCst);
            // The sender lives as long as `self`.
            let _never = gate.wait_for(|gate| *gate != place).await;
        }
    }
}

#[async_trait]
impl Over for GatedStore {
    fn inner(&self) -> &Arc<dyn DurableStore> {
        &self.inner
    }

    async fn put_if_absent(&self, path: &str, bytes: Bytes) -> Result<PutOutcome, PutError> {
        self.pass(Gate::BeforePut).await;
        let outcome = self.inner.put_if_absent(path, bytes).await;
        self.pass(Gate::AfterPut).await;
        outcome
    }

    async fn read(&self, path: &str) -> io::Result<Bytes> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.inner.read(path).await
    }
}
