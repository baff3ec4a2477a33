//! C8, C13: a full disk refuses appends with RESOURCE_EXHAUSTED, keeps answering reads, uses up no version, and takes appends
//! again as soon as there is space, with and without a restart in between. A restart needs no free byte.
//!
//! Runs on a small tmpfs and a small ext4, which need the right to mount; without it the test says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use end_to_end::image::{DiskImage, SmallDisk};
use end_to_end::ledger::{Ledger, Outcome, Size};
use end_to_end::{Client, Site, TestResult, reached, skipped};
use tonic::Code;

/// Size of the disks.
const DISK_BYTES: u64 = 8 << 20;
/// Smallest unit in which a disk gives room.
const BLOCK_BYTES: u64 = 4 << 10;
/// Room that a small append and its folders take at most, blocks.
const SMALL_BLOCKS: u64 = 10;
/// Room that a large append takes at most, and the step in which it is tried, blocks.
const LARGE_BLOCKS: (u64, usize) = (240, 12);

/// A disk that fills up.
enum Disk {
    Tmpfs(SmallDisk),
    Ext4 { image: DiskImage, _folder: tempfile::TempDir },
}

impl Disk {
    fn tmpfs() -> TestResult<Self> {
        Ok(Self::Tmpfs(SmallDisk::mount(&DISK_BYTES.to_string())?))
    }

    fn ext4() -> TestResult<Self> {
        let folder = tempfile::tempdir()?;
        let image = DiskImage::create(&folder.path().join("disk"), DISK_BYTES)?;
        Ok(Self::Ext4 { image, _folder: folder })
    }

    fn path(&self) -> &Path {
        match self {
            Self::Tmpfs(disk) => disk.path(),
            Self::Ext4 { image, .. } => image.path(),
        }
    }

    /// Uses up every free byte; removing the file gives them back.
    fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
        let mut piece = vec![0_u8; 64 << 10];
        while !piece.is_empty() {
            match file.write(&piece) {
                Ok(written) if written == piece.len() => {}
                // Down to the last byte, so that not even a small record fits.
                _ => piece.truncate(piece.len() / 2),
            }
        }
        // A file system that assigns blocks late does so now.
        let _full = file.sync_all();
        path
    }

    /// Uses up all but so many blocks.
    fn leave(&self, blocks: u64) -> PathBuf {
        let path = self.fill();
        let file = File::options().write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        file.set_len(length.saturating_sub(blocks * BLOCK_BYTES)).unwrap();
        file.sync_all().unwrap();
        path
    }
}

/// An append on a full disk: refused as such, and nothing of it is there.
async fn refused(ledger: &mut Ledger, client: &Client) -> TestResult {
    let hour = ledger.next_hour();
    let answer = ledger.send(client, hour).await;
    match ledger.record(hour, &answer)? {
        Outcome::Refused(Code::ResourceExhausted) => Ok(()),
        _ => Err(format!("an append on a full disk: {answer:?}").into()),
    }
}

async fn full_disk(disk: &Disk) -> TestResult {
    let data = disk.path().join("data");
    let mut site = Site::at(&data).await?;
    let client = site.client().await?;
    let mut ledger = Ledger::new("t", Size::SMALL);
    ledger.create(&client).await?;
    ledger.append(&client).await?;
    let first = ledger.newest_version();

    let filler = disk.fill();
    for _ in 0..3 {
        refused(&mut ledger, &client).await?;
    }
    ledger.check(&client).await?;
    std::fs::remove_file(&filler)?;
    ledger.append(&client).await?;
    assert_eq!(ledger.newest_version(), first + 1, "no version was used up");

    let filler = disk.fill();
    // Opening needs no free byte.
    site.restart().await?;
    let client = site.client().await?;
    ledger.check(&client).await?;
    refused(&mut ledger, &client).await?;
    std::fs::remove_file(&filler)?;
    ledger.append(&client).await?;
    assert_eq!(ledger.newest_version(), first + 2);
    ledger.check(&client).await?;
    site.server.stop().await
}

/// Appends while there is room for so many blocks, with all room, and after a restart without any. Returns how many of the first
/// kind were committed and refused.
async fn little_room(disk: &Disk, size: Size, blocks: &[u64]) -> TestResult<(usize, usize)> {
    let data = disk.path().join("data");
    let (mut committed, mut refused) = (0, 0);
    for (index, blocks) in blocks.iter().enumerate() {
        let mut site = Site::at(&data).await?;
        let client = site.client().await?;
        let mut ledger = Ledger::new(format!("t{index}"), size);
        ledger.create(&client).await?;
        ledger.append(&client).await?;
        let filler = disk.leave(*blocks);
        let hour = ledger.next_hour();
        let answer = ledger.send(&client, hour).await;
        match ledger.record(hour, &answer)? {
            Outcome::Committed => committed += 1,
            Outcome::Refused(Code::ResourceExhausted) => refused += 1,
            _ => return Err(format!("{blocks} blocks left: {answer:?}").into()),
        }
        ledger.check(&client).await?;
        disk.fill();
        site.restart().await?;
        let client = site.client().await?;
        ledger.check(&client).await?;
        std::fs::remove_file(&filler)?;
        ledger.append(&client).await?;
        ledger.check(&client).await?;
        site.server.kill().await?;
        // The next round needs the room.
        std::fs::remove_dir_all(&data)?;
    }
    Ok((committed, refused))
}

async fn on(name: &str, disk: TestResult<Disk>) {
    let disk = match disk {
        Ok(disk) => disk,
        Err(error) => return skipped(&format!("full {name}"), &error.to_string()),
    };
    if let Err(error) = full_disk(&disk).await {
        panic!("full {name}: {error}");
    }
    std::fs::remove_dir_all(disk.path().join("data")).unwrap();
    let small: Vec<_> = (0..=SMALL_BLOCKS).collect();
    let large: Vec<_> = (0..=LARGE_BLOCKS.0).step_by(LARGE_BLOCKS.1).collect();
    for (what, size, blocks) in [("small", Size::SMALL, small), ("large", Size::LARGE, large)] {
        match little_room(&disk, size, &blocks).await {
            Ok((committed, refused)) => {
                reached(
                    &format!("{name} with little room, {what} appends"),
                    &format!("{refused} refused, {committed} committed"),
                );
                assert!(committed > 0 && refused > 0, "too tame");
            }
            Err(error) => panic!("{name} with little room, {what} append: {error}"),
        }
    }
}

#[tokio::test]
async fn tmpfs() {
    on("tmpfs", Disk::tmpfs()).await;
}

#[tokio::test]
async fn ext4() {
    on("ext4", Disk::ext4()).await;
}
