//! Running an operation while the server stands still after each of its calls, so that a test can cut it short at any of them.

use std::time::Duration;

use crate::operations::Operation;
use crate::trace::{CHANGING_CALLS, Call, Made, Tracer};
use crate::{Site, TestResult};

/// A server that has nothing left to call by then never gets to what the operation waits for. Generous, since machines that
/// run tests are busy.
const OVER_TIME: Duration = Duration::from_secs(300);

/// A run of an operation.
#[derive(Debug)]
pub struct Run<A> {
    /// What the client was told.
    pub answer: A,
    /// What the server called.
    pub made: Vec<Made>,
    /// Whether it came to its end; the server was killed otherwise.
    pub is_whole: bool,
}

impl<A> Run<A> {
    /// The last call, for messages.
    pub fn last(&self) -> String {
        self.made.last().map(|made| made.call.to_string()).unwrap_or_default()
    }
}

/// The calls, without the files of this very run.
pub fn calls(made: &[Made]) -> impl Iterator<Item = &Call> {
    made.iter().map(|made| &made.call)
}

/// Runs the operation, and kills the server as soon as `enough` says so of the calls made, if the operation is not over before.
///
/// # Errors
/// When the server ends by itself, or does not get to the end.
pub async fn run_until<O: Operation>(
    site: &mut Site,
    operation: &O,
    enough: impl Fn(&[Made]) -> bool,
) -> TestResult<Run<O::Answer>> {
    let client = site.client().await?;
    let mut tracer = Tracer::attach(site.server.id()?, site.data_dir(), CHANGING_CALLS).await?;
    let mut made: Vec<Made> = Vec::new();
    let mut running = std::pin::pin!(operation.run(&client));
    let mut answer = None;
    loop {
        tokio::select! {
            stopped = tracer.stopped() => {
                made.extend(stopped?.ok_or("the server ended by itself")?);
                if enough(&made) {
                    site.server.end().await?;
                    let answer = match answer {
                        Some(answer) => answer,
                        None => running.await,
                    };
                    return Ok(Run { answer, made, is_whole: false });
                }
                tracer.resume().await?;
            }
            told = &mut running, if answer.is_none() => answer = Some(told),
            () = tokio::time::sleep(OVER_TIME) => {
                return Err(format!("no call and no answer for {OVER_TIME:?}, after {made:?}").into());
            }
        }
        if let Some(told) = answer {
            if operation.is_over(&made) {
                tracer.release().await?;
                return Ok(Run { answer: told, made, is_whole: true });
            }
            answer = Some(told);
        }
    }
}
