//! Running the `coverline` binary, on a folder or against a server of its own.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use tempfile::TempDir;

use crate::cutter::Cutter;

pub(crate) fn coverline() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coverline"));
    for name in [
        "SERVER",
        "ROOT",
        "DATA_DIR",
        "LISTEN",
        "LOG",
        "LOG_FORMAT",
        "DISK_FLOOR_BYTES",
        "TLS_CA",
        "TLS_CERT",
        "TLS_KEY",
        "TLS_CLIENT_CA",
        "TLS_CLIENT_CERT",
        "TLS_CLIENT_KEY",
    ] {
        command.env_remove(format!("COVERLINE_{name}"));
    }
    // A test's temporary folder may be on a nearly full disk.
    command.env("COVERLINE_DISK_FLOOR_BYTES", "0").stdin(Stdio::null());
    command
}

/// What a command that ended said.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).unwrap()
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code,
            Some(code),
            "stdout: {}\nstderr: {}",
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        );
        self
    }

    #[track_caller]
    pub(crate) fn expect_error(self, code: i32, parts: &[&str]) -> Self {
        let ended = self.expect(code);
        for part in parts {
            assert!(ended.stderr.contains(part), "no {part:?} in: {}", ended.stderr);
        }
        assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
        ended
    }
}

pub(crate) fn run(arguments: &[&str]) -> Ended {
    Ended::of(coverline().args(arguments))
}

/// Where the tables are: `--data-dir DIR` or `--server URL`.
pub(crate) struct Place {
    pub(crate) arguments: [String; 2],
    pub(crate) server: Option<Server>,
    pub(crate) folder: TempDir,
}

impl Place {
    pub(crate) fn folder() -> Self {
        let folder = TempDir::new().unwrap();
        let data_dir = folder.path().join("data").display().to_string();
        Self { arguments: ["--data-dir".to_owned(), data_dir], server: None, folder }
    }

    pub(crate) fn server() -> Self {
        let folder = TempDir::new().unwrap();
        let server = Server::start(&folder.path().join("data"));
        let arguments = ["--server".to_owned(), server.url.clone()];
        Self { arguments, server: Some(server), folder }
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Ended {
        run(&[arguments, &self.arguments.each_ref().map(String::as_str)].concat())
    }

    /// The same through a proxy before its server.
    pub(crate) fn run_through(proxy: &Cutter, arguments: &[&str]) -> Ended {
        run(&[arguments, &["--server", &proxy.url]].concat())
    }

    pub(crate) fn query(&self, sql: &str) -> String {
        self.run(&["query", sql, "--format", "csv"]).expect(0).text()
    }

    pub(crate) fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    pub(crate) fn create_prices(&self) {
        self.run(&["create", "prices", "--index", "ts", "--bucket", "1h", "--entity", "symbol"])
            .expect(0);
    }

    pub(crate) fn append(&self, files: &[&str]) -> Ended {
        self.run(&[&["append", "prices", "--null", "NA"], files].concat())
    }

    /// Ends the server, if there is one, and checks that it went cleanly.
    pub(crate) fn close(self) {
        if let Some(server) = self.server {
            server.stop();
        }
    }
}

pub(crate) struct Server {
    child: Child,
    stdout: BufReader<ChildStdout>,
    pub(crate) url: String,
}

impl Server {
    pub(crate) fn start(data_dir: &Path) -> Self {
        Self::start_with(data_dir, &[])
    }

    pub(crate) fn start_with(data_dir: &Path, arguments: &[&Path]) -> Self {
        let mut child = coverline()
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(data_dir)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let url = line.strip_prefix("listening on ").expect("the line that says ready").trim();
        assert!(url.contains("://127.0.0.1:") && !url.ends_with(":0"), "{line}");
        Self { url: url.to_owned(), child, stdout }
    }

    pub(crate) fn stop(mut self) {
        terminate(&self.child);
        assert!(self.child.wait().unwrap().success());
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "serve says one line on stdout and nothing else");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Of a test that failed; after `stop` there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn terminate(child: &Child) {
    let sent = Command::new("kill").arg("-TERM").arg(child.id().to_string()).status().unwrap();
    assert!(sent.success());
}
