//! Virtual time: it stands still while anything can run and jumps to the next timer when nothing can.
//!
//! The runtime says when its one thread is about to sleep; that is when the clock moves. So every order of events follows from
//! the delays that were drawn, and a minute takes no longer than the work in it. Tokio's own timers go by real time: they are
//! those of the transport, far longer than any run, and never fire.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

/// A run that takes longer than this is stuck: a day, in microseconds.
const LONGEST_RUN_US: u64 = 24 * 60 * 60 * 1_000_000;

/// The clock of one run. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct VirtualTime(Arc<Mutex<Timers>>);

#[derive(Debug, Default)]
struct Timers {
    now_us: u64,
    next_number: u64,
    /// By moment, then in the order in which they were set.
    waiting: BTreeMap<(u64, u64), Option<Waker>>,
    /// Nothing is left that could ever happen.
    stuck: bool,
    root: Option<Waker>,
}

impl VirtualTime {
    /// Microseconds since the run began.
    pub fn now_us(&self) -> u64 {
        self.0.lock().now_us
    }

    /// Waits.
    pub fn sleep_us(&self, delay_us: u64) -> Sleep {
        let mut timers = self.0.lock();
        timers.next_number += 1;
        let key = (timers.now_us + delay_us, timers.next_number);
        timers.waiting.insert(key, None);
        Sleep { time: self.clone(), key }
    }

    /// Goes to the next moment at which somebody wants to be woken.
    fn advance(&self) {
        let mut timers = self.0.lock();
        while let Some(((moment, _), waker)) = timers.waiting.pop_first() {
            timers.now_us = moment;
            if moment > LONGEST_RUN_US {
                break;
            }
            // One that was never polled looks at the clock when it is.
            if let Some(waker) = waker {
                drop(timers);
                waker.wake();
                return;
            }
        }
        timers.stuck = true;
        let root = timers.root.take();
        drop(timers);
        if let Some(root) = root {
            root.wake();
        }
    }
}

/// See [`VirtualTime::sleep_us`].
#[derive(Debug)]
pub struct Sleep {
    time: VirtualTime,
    key: (u64, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut timers = self.time.0.lock();
        let now_us = timers.now_us;
        match timers.waiting.get_mut(&self.key) {
            Some(waker) if now_us < self.key.0 => {
                *waker = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.time.0.lock().waiting.remove(&self.key);
    }
}

/// Runs a simulation to its end.
///
/// # Panics
/// When nothing is left that could happen and `work` has not ended: something waits for ever.
pub fn run<T, F: Future<Output = T>>(work: impl FnOnce(VirtualTime) -> F) -> T {
    let time = VirtualTime::default();
    let parking = time.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .on_thread_park(move || parking.advance())
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut work = std::pin::pin!(work(time.clone()));
        std::future::poll_fn(|context| {
            let stuck = {
                let mut timers = time.0.lock();
                timers.root = Some(context.waker().clone());
                timers.stuck
            };
            match work.as_mut().poll(context) {
                Poll::Pending if stuck => panic!("wedged: nothing is left that could happen"),
                polled => polled,
            }
        })
        .await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleepers_wake_in_order_and_time_jumps() {
        let order = run(|time| async move {
            let order = Arc::new(Mutex::new(Vec::new()));
            let tasks: Vec<_> = [3_600_000_000, 5, 5, 1]
                .into_iter()
                .enumerate()
                .map(|(index, delay_us)| {
                    let (time, order) = (time.clone(), Arc::clone(&order));
                    tokio::spawn(async move {
                        time.sleep_us(delay_us).await;
                        order.lock().push((index, time.now_us()));
                    })
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            Arc::try_unwrap(order).unwrap().into_inner()
        });
        assert_eq!(order, [(3, 1), (1, 5), (2, 5), (0, 3_600_000_000)]);
    }

    #[test]
    #[should_panic(expected = "wedged")]
    fn waiting_for_ever_is_noticed() {
        run(|_| std::future::pending::<()>());
    }
}
