//! A proxy that cuts the connection instead of passing on an answer that it is told to look for.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Listens until the process ends.
pub(crate) struct Cutter {
    pub url: String,
    left: Arc<AtomicUsize>,
    before_cut: Arc<Mutex<Option<Action>>>,
}

/// What is to happen before the next cut.
type Action = Box<dyn FnOnce() + Send>;

impl Cutter {
    /// In front of `grpc://HOST:PORT`; looks for `mark` in what comes from there, at most one piece of it at a time.
    pub(crate) fn before(server: &str, mark: &[u8]) -> Self {
        let server = server.strip_prefix("grpc://").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mark: Arc<[u8]> = mark.into();
        let url = format!("grpc://{}", listener.local_addr().unwrap());
        let left = Arc::new(AtomicUsize::new(0));
        let budget = Arc::clone(&left);
        let before_cut = Arc::<Mutex<Option<Action>>>::default();
        let action = Arc::clone(&before_cut);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(&server) else { continue };
                let (to_server, to_client) =
                    (server.try_clone().unwrap(), client.try_clone().unwrap());
                let (budget, action) = (Arc::clone(&budget), Arc::clone(&action));
                let mark = Arc::clone(&mark);
                thread::spawn(move || pass_on(client, to_server, |_| true));
                thread::spawn(move || {
                    pass_on(server, to_client, |bytes| {
                        let is_marked = bytes.windows(mark.len()).any(|window| window == &*mark);
                        let fewer = |left: usize| left.checked_sub(1);
                        let cuts = || {
                            budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
                        };
                        if !(is_marked && cuts()) {
                            return true;
                        }
                        if let Some(action) = action.lock().unwrap().take() {
                            action();
                        }
                        false
                    });
                });
            }
        });
        Self { url, left, before_cut }
    }

    /// Cuts instead of passing on the next one, after `action`.
    pub(crate) fn cut_after(&self, action: impl FnOnce() + Send + 'static) {
        *self.before_cut.lock().unwrap() = Some(Box::new(action));
        self.cut_next(1);
    }

    /// Cuts instead of passing on the next so many.
    pub(crate) fn cut_next(&self, count: usize) {
        self.left.store(count, Ordering::Relaxed);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, passes: impl Fn(&[u8]) -> bool) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..count];
        if !passes(bytes) || to.write_all(bytes).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
