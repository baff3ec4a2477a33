//! Holding a running server at its system calls, with strace.
//!
//! [`Tracer`] stops the whole process after every call that touches its data folder. So calls are counted across threads (the
//! counters of strace's own injections are kept per thread), and at each of them a test decides: go on, kill, look at the
//! disk, or let later calls fail ([`Faults`]). Ptrace and strace are not everywhere: ask [`unavailable`] first.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

use crate::TestResult;

/// Calls that change a file system or make a change durable, and those that open a file.
pub const CHANGING_CALLS: &str = "openat,creat,mkdir,mkdirat,write,writev,pwrite64,pwritev,pwritev2,ftruncate,truncate,fallocate,\
    copy_file_range,sendfile,fsync,fdatasync,sync_file_range,syncfs,link,linkat,symlinkat,rename,renameat,renameat2,unlink,\
    unlinkat,rmdir";

/// Calls that read from a file that is open.
pub const READING_CALLS: &str = "read,readv,pread64,preadv,preadv2,getdents64";

/// Longest wait for the last thread to say that it stands still.
const STOP_TIME: Duration = Duration::from_secs(2);

/// Why strace cannot be used here; `None` when it can.
pub async fn unavailable() -> Option<String> {
    let tried = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "inject=fsync:signal=SIGSTOP:when=1", "true"])
        .stdin(Stdio::null())
        .output()
        .await;
    match tried {
        Err(error) => Some(format!("strace cannot be run ({error}); install it")),
        Ok(output) if !output.status.success() => Some(format!(
            "strace may not trace here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
        Ok(_) => None,
    }
}

/// One call that touched the data folder. Ids and numbers are left out, so that the same step of two runs is equal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// Name of the system call.
    pub name: String,
    /// Path below the data folder, generalised; empty for the folder itself.
    pub path: String,
}

/// A call as it was made.
#[derive(Debug, Clone)]
pub struct Made {
    /// What it is in every run.
    pub call: Call,
    /// The very file.
    pub file: PathBuf,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.name, self.path)
    }
}

/// A server that stops after every call on its data folder.
#[derive(Debug)]
pub struct Tracer {
    output: Output,
    /// Threads that stand still.
    standing: HashSet<u32>,
    server: u32,
}

impl Tracer {
    /// Attaches to a running server.
    ///
    /// # Errors
    /// When strace does not start.
    pub async fn attach(server: u32, data_dir: &Path, calls: &str) -> TestResult<Self> {
        let mut command = strace(calls, &format!("{calls}:signal=SIGSTOP"));
        command.arg("-p").arg(server.to_string());
        let output = Output::of(command, data_dir).await?;
        Ok(Self { output, standing: HashSet::new(), server })
    }

    /// Waits until the server stands still, and says what it has called since it stood still before: nearly always one call,
    /// more when two threads met. `None` when the server is gone.
    ///
    /// # Errors
    /// Of the pipe.
    ///
    /// # Cancel safety
    /// What was read before is kept.
    pub async fn stopped(&mut self) -> TestResult<Option<Vec<Made>>> {
        loop {
            // The first thread that stands still brings the others with it; one that was just started may not say so.
            let line = match self.standing.is_empty() {
                true => self.output.next().await?,
                false => match tokio::time::timeout(STOP_TIME, self.output.next()).await {
                    Ok(line) => line?,
                    Err(_) => Some(Line::AllStopped),
                },
            };
            let all_stopped = match line {
                None => return Ok(None),
                Some(Line::Stopped { thread }) => {
                    self.standing.insert(thread);
                    self.is_standing()
                }
                Some(Line::AllStopped) => true,
                Some(Line::Other) => false,
            };
            // Only then, and once: a signal to go on that comes too late takes the next stop away.
            if all_stopped {
                self.standing.clear();
                if self.output.calls.is_empty() {
                    self.resume().await?;
                } else {
                    return Ok(Some(std::mem::take(&mut self.output.calls)));
                }
            }
        }
    }

    /// Whether every thread stands still.
    fn is_standing(&self) -> bool {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{}/task", self.server)) else {
            return false;
        };
        tasks.flatten().all(|task| {
            let thread = task.file_name().to_str().and_then(|name| name.parse().ok());
            thread.is_none_or(|thread| self.standing.contains(&thread))
        })
    }

    /// Lets the server run on to its next call.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn resume(&self) -> TestResult {
        resume(self.server).await
    }

    /// Lets go of the server, which stays stopped when it is.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn detach(self) -> TestResult {
        self.output.end().await
    }

    /// Lets go of the server and lets it run.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn release(self) -> TestResult {
        let server = self.server;
        self.detach().await?;
        resume(server).await
    }
}

/// Calls of a running server that fail without being made.
#[derive(Debug)]
pub struct Faults {
    output: Output,
}

impl Faults {
    /// From now on, calls of this name fail with `errno`, in any file or in this one only: the first by each thread, or all.
    /// A server that stands still stays so until [`resume`].
    ///
    /// # Errors
    /// When strace does not start.
    pub async fn inject(
        server: u32,
        data_dir: &Path,
        fault: &Fault,
        file: Option<&Path>,
    ) -> TestResult<Self> {
        let Fault { call, errno, onwards } = fault;
        let times = if *onwards { "1+" } else { "1" };
        let mut command = strace(call, &format!("{call}:error={errno}:when={times}"));
        if let Some(file) = file {
            command.arg("-P").arg(file);
        }
        command.arg("-p").arg(server.to_string());
        Ok(Self { output: Output::of(command, data_dir).await? })
    }

    /// Waits until a call has failed, or for so long.
    ///
    /// # Errors
    /// Of the pipe.
    pub async fn wait_for_one(&mut self, time: Duration) -> TestResult {
        let output = &mut self.output;
        let waited = tokio::time::timeout(time, async {
            while output.injected.is_empty() && output.next().await?.is_some() {}
            TestResult::Ok(())
        });
        waited.await.unwrap_or(Ok(()))
    }

    /// Makes calls succeed again, and says which ones failed.
    ///
    /// # Errors
    /// Of the operating system.
    pub async fn stop(mut self) -> TestResult<BTreeSet<Call>> {
        self.output.interrupt().await?;
        while self.output.next().await?.is_some() {}
        Ok(self.output.injected.into_iter().collect())
    }
}

/// Which calls fail, and how.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Name of the system call.
    pub call: String,
    /// Such as "EIO".
    pub errno: &'static str,
    /// All from the first on, rather than one.
    pub onwards: bool,
}

/// Lets a server that stands still run on.
///
/// # Errors
/// Of the operating system.
pub async fn resume(server: u32) -> TestResult {
    signal("CONT", server).await
}

fn strace(traced: &str, injection: &str) -> Command {
    let mut command = Command::new("strace");
    // Output to a file carries the thread on every line; this file is the pipe that is read below.
    command.args(["-f", "-y", "-s", "0", "-o", "/dev/stderr"]).args([
        "-e",
        &format!("trace={traced}"),
        "-e",
        &format!("inject={injection}"),
    ]);
    command
}

async fn signal(name: &str, process: u32) -> TestResult {
    let sent =
        Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status().await?;
    if sent.success() { Ok(()) } else { Err(format!("kill -{name} {process} did not work").into()) }
}

/// What strace prints.
#[derive(Debug)]
struct Output {
    strace: Child,
    lines: Lines<BufReader<ChildStderr>>,
    root: PathBuf,
    /// The call that a thread has begun.
    begun: HashMap<u32, String>,
    /// Calls on the data folder that were made and not yet reported.
    calls: Vec<Made>,
    /// Calls on the data folder that were made to fail.
    injected: Vec<Call>,
}

/// A line that somebody waits for.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    /// A thread stands still.
    Stopped { thread: u32 },
    /// Nothing more is said, though some thread stands still.
    AllStopped,
    /// Anything else.
    Other,
}

impl Output {
    /// Starts strace and waits until it is attached.
    async fn of(mut command: Command, data_dir: &Path) -> TestResult<Self> {
        let mut strace = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stderr = strace.stderr.take().ok_or("no stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let first = lines.next_line().await?.unwrap_or_default();
        if !first.contains("attached") {
            return Err(format!("strace does not attach: {first}").into());
        }
        Ok(Self {
            strace,
            lines,
            root: data_dir.canonicalize()?,
            begun: HashMap::new(),
            calls: Vec::new(),
            injected: Vec::new(),
        })
    }

    async fn next(&mut self) -> TestResult<Option<Line>> {
        Ok(self.lines.next_line().await?.map(|line| self.understand(&line)))
    }

    fn understand(&mut self, line: &str) -> Line {
        let Some((thread, text)) = line.split_once(' ') else { return Line::Other };
        let Ok(thread) = thread.parse() else { return Line::Other };
        let text = text.trim_start();
        if text.starts_with("--- stopped by SIGSTOP") {
            return Line::Stopped { thread };
        }
        if text.starts_with("---") || text.starts_with("+++") {
            return Line::Other;
        }
        if let Some(begun) = text.strip_suffix("<unfinished ...>") {
            self.begun.insert(thread, begun.to_owned());
            return Line::Other;
        }
        let whole = match text.strip_prefix("<... ") {
            Some(resumed) => self.begun.remove(&thread).unwrap_or_default() + resumed,
            None => text.to_owned(),
        };
        if let Some(made) = parse_call(&whole, &self.root) {
            if whole.ends_with("(INJECTED)") {
                self.injected.push(made.call.clone());
            }
            self.calls.push(made);
        }
        Line::Other
    }

    async fn interrupt(&mut self) -> TestResult {
        match self.strace.id() {
            Some(id) => signal("INT", id).await,
            None => Ok(()),
        }
    }

    async fn end(mut self) -> TestResult {
        self.interrupt().await?;
        while self.next().await?.is_some() {}
        self.strace.wait().await?;
        Ok(())
    }
}

/// The call in a line of strace; `None` when it does not touch anything below `root`.
fn parse_call(text: &str, root: &Path) -> Option<Made> {
    let (name, arguments) = text.split_once('(')?;
    let root = root.to_str()?;
    let mut paths = arguments.match_indices(root).filter_map(|(start, _)| {
        let rest = &arguments[start + root.len()..];
        let path = &rest[..rest.find(['"', '>'])?];
        (path.is_empty() || path.starts_with('/')).then_some(path)
    });
    // Of two names the one that comes to be is the interesting one.
    let path = match name {
        "link" | "linkat" | "rename" | "renameat" | "renameat2" => paths.last(),
        _ => paths.next(),
    }?;
    let call = Call { name: name.to_owned(), path: generalize(path) };
    Some(Made { call, file: PathBuf::from(format!("{root}{path}")) })
}

/// The path without what differs from run to run.
fn generalize(path: &str) -> String {
    let names = path.trim_start_matches('/').split('/').map(|name| {
        let stem = name.split('.').next().unwrap_or_default();
        let rest = &name[stem.len()..];
        if name.starts_with(".tmp-") {
            ".tmp".to_owned()
        } else if stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit()) {
            format!("N{rest}")
        } else if stem.len() == 36 && stem.matches('-').count() == 4 {
            format!("ID{rest}")
        } else {
            name.to_owned()
        }
    });
    names.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn call(text: &str) -> Option<String> {
        parse_call(text, Path::new("/r/data")).map(|made| made.call.to_string())
    }

    #[test]
    fn calls_below_the_root_are_told_from_others() {
        let id = "5b4a3aa1-93bb-4828-aa67-601a7f2f8399";
        let temporary = format!("/r/data/tables/{id}/_log/.tmp-{id}");
        assert_eq!(
            call(&format!("write(13<{temporary}>, \"\"..., 346) = 346")).unwrap(),
            "write tables/ID/_log/.tmp"
        );
        assert_eq!(
            call(&format!(
                "linkat(AT_FDCWD</r>, \"{temporary}\", AT_FDCWD</r>, \"/r/data/tables/{id}/_log/00000000000000000002\", 0) = 0"
            ))
            .unwrap(),
            "linkat tables/ID/_log/N"
        );
        assert_eq!(call("fsync(5</r/data>) = 0").unwrap(), "fsync ");
        assert_eq!(
            call(&format!(
                "openat(AT_FDCWD</r>, \"/r/data/tables/{id}/data/{id}.parquet\", O_RDONLY) = 3"
            ))
            .unwrap(),
            "openat tables/ID/data/ID.parquet"
        );
        assert_eq!(call("fsync(5</r/data-of-others>) = 0"), None);
        assert_eq!(call("write(4<anon_inode:[eventfd]>, \"\"..., 8) = 8"), None);
    }
}
