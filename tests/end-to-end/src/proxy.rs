//! [`CuttingProxy`]: a TCP proxy that resets every connection after a given number of bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::TestResult;

/// Bytes forwarded at once at most.
const PIECE_BYTES: u64 = 16 << 10;

/// Bytes of one connection that are let through; after that both sides are reset.
#[derive(Debug, Clone, Copy)]
pub struct Cut {
    /// From the client to the server.
    pub up: u64,
    /// From the server to the client.
    pub down: u64,
}

impl Cut {
    /// Lets everything through.
    pub const NEVER: Self = Self { up: u64::MAX, down: u64::MAX };
}

/// Forwards connections to one server.
#[derive(Debug)]
pub struct CuttingProxy {
    address: String,
    forwarded: Arc<Forwarded>,
}

#[derive(Debug, Default)]
struct Forwarded {
    up: AtomicU64,
    down: AtomicU64,
}

impl CuttingProxy {
    /// Listens on a free port.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start(server: &str, cut: Cut) -> TestResult<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?.to_string();
        let forwarded = Arc::new(Forwarded::default());
        let (server, counters) = (server.to_owned(), Arc::clone(&forwarded));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (server, counters) = (server.clone(), Arc::clone(&counters));
                tokio::spawn(async move {
                    // A connection that breaks is what this is for.
                    let _broken = forward(client, &server, cut, &counters).await;
                });
            }
        });
        Ok(Self { address, forwarded })
    }

    /// Where to connect to.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Bytes let through so far, from and to the client.
    pub fn forwarded(&self) -> Cut {
        Cut {
            up: self.forwarded.up.load(Ordering::SeqCst),
            down: self.forwarded.down.load(Ordering::SeqCst),
        }
    }
}

/// Until one direction ends or is used up. Dropping the sockets resets them.
async fn forward(
    mut client: TcpStream,
    server: &str,
    cut: Cut,
    counters: &Forwarded,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    for socket in [&client, &server] {
        socket.set_nodelay(true)?;
        socket.set_zero_linger()?;
    }
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    tokio::select! {
        up = pump(from_client, to_server, cut.up, &counters.up) => up,
        down = pump(from_server, to_client, cut.down, &counters.down) => down,
    }
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: u64,
    counter: &AtomicU64,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE_BYTES as usize];
    let mut left = bytes;
    while left > 0 {
        let most = left.min(PIECE_BYTES) as usize;
        let length = from.read(&mut piece[..most]).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length]).await?;
        counter.fetch_add(length as u64, Ordering::SeqCst);
        left -= length as u64;
    }
    Ok(())
}
