//! [`ServerConfig`]: valid settings with every default filled in. Where they come from is `cli`'s business.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use table_core::Access;
use table_core::storage::Root;

use crate::limits;
use crate::tls::TlsIdentity;

/// Port served when none is given.
pub const DEFAULT_PORT: u16 = 50051;

/// How to serve one root.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen. Port 0 takes any free port.
    pub listen: SocketAddr,
    /// How the server shows who it is; `None` to listen unencrypted.
    pub tls: Option<TlsIdentity>,
    /// What to serve: a folder, or a prefix in an object store.
    pub root: Root,
    /// Whether to write at all.
    pub access: Access,
    /// What to write into the root's lock file for people; empty for the address served.
    pub owner_note: String,
    /// How old what a query sees may be where other servers write; zero to look at every plan.
    pub max_staleness: Duration,
    /// Whether SQL that is the command of a descriptor, or a ticket, with no message around it, is run.
    pub raw_sql: bool,
    /// Memory of all queries together, bytes; beyond it they spill, then fail.
    pub query_memory_bytes: usize,
    /// Disk that queries may spill to, bytes.
    pub query_spill_bytes: u64,
    /// Folder for spilled data; a fresh folder below the system's temporary one when `None`.
    pub spill_dir: Option<PathBuf>,
    /// Free disk below which appends are refused, bytes; the table engine's own floor when `None`.
    pub disk_floor_bytes: Option<u64>,
    /// How long calls in flight may take to finish at shutdown.
    pub drain_time: Duration,
}

impl ServerConfig {
    /// A URL for clients of a server that listens there.
    pub fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.tls.is_some() { "grpc+tls" } else { "grpc" };
        format!("{scheme}://{address}")
    }

    /// The defaults for a root: loopback, default port.
    pub fn new(root: impl Into<Root>) -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT)),
            tls: None,
            root: root.into(),
            access: Access::default(),
            owner_note: String::new(),
            max_staleness: Duration::ZERO,
            raw_sql: true,
            query_memory_bytes: limits::QUERY_MEMORY_BYTES,
            query_spill_bytes: limits::QUERY_SPILL_BYTES,
            spill_dir: None,
            disk_floor_bytes: None,
            drain_time: limits::DRAIN_TIME,
        }
    }
}
