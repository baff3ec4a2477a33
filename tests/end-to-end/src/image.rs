//! Small real file systems: [`SmallDisk`] in memory, [`DiskImage`] as ext4 in a file that can be copied at any moment, which is what
//! a power loss at that moment leaves. Mounting needs root and is not possible everywhere.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::TestResult;

/// A tmpfs that is unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    mounted: Mounted,
}

impl SmallDisk {
    /// Of this size, as `mount` reads it.
    ///
    /// # Errors
    /// When mounting is not permitted here.
    pub fn mount(size: &str) -> TestResult<Self> {
        let options = format!("size={size}");
        let mounted = Mounted::mount(&["-t", "tmpfs", "-o", &options], Path::new("tmpfs"))?;
        Ok(Self { mounted })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted.path
    }
}

/// An ext4 file system in a file, mounted; unmounted when dropped.
#[derive(Debug)]
pub struct DiskImage {
    mounted: Mounted,
    file: PathBuf,
}

impl DiskImage {
    /// Makes and mounts a fresh file system of this many bytes in a new file.
    ///
    /// # Errors
    /// When there is no mkfs.ext4, no loop device, or no right to mount.
    pub fn create(file: &Path, bytes: u64) -> TestResult<Self> {
        std::fs::File::create_new(file)?.set_len(bytes)?;
        // No blocks are kept back for root, who would never find the disk full.
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(file))?;
        Self::mount(file)
    }

    /// Mounts what is in a file, as the first start after a power loss does.
    ///
    /// # Errors
    /// When there is no loop device, or no right to mount.
    pub fn mount(file: &Path) -> TestResult<Self> {
        let mounted = Mounted::mount(&["-t", "ext4", "-o", "loop"], file)?;
        Ok(Self { mounted, file: file.to_owned() })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted.path
    }

    /// Copies what has reached the disk, and nothing of what is only in memory.
    ///
    /// # Errors
    /// Of the file system around it.
    pub fn copy_to(&self, file: &Path) -> TestResult {
        run(Command::new("cp").arg("--sparse=always").arg(&self.file).arg(file)).map(|_| ())
    }
}

#[derive(Debug)]
struct Mounted {
    path: PathBuf,
    _folder: TempDir,
}

impl Mounted {
    fn mount(options: &[&str], what: &Path) -> TestResult<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("disk");
        std::fs::create_dir(&path)?;
        run(Command::new("mount").args(options).arg(what).arg(&path))?;
        Ok(Self { path, _folder: folder })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily, since a server may still hold it.
        let _ = Command::new("umount").arg("-l").arg(&self.path).status();
    }
}

fn run(command: &mut Command) -> TestResult<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| format!("{name} cannot be run: {error}"))?;
    if output.status.success() {
        Ok(output)
    } else {
        let text = String::from_utf8_lossy(&output.stderr);
        Err(format!("{name}: {}", text.trim()).into())
    }
}
