//! C1, C8: power loss on a real ext4. The file system lives in a file, which is copied after every system call of an append; every
//! copy is mounted, and must hold whatever had been acknowledged, the rest whole or not at all, and take the next append.
//!
//! Needs root, loop devices, strace and the right to trace; without them the test says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use end_to_end::image::DiskImage;
use end_to_end::ledger::{Ledger, Size};
use end_to_end::trace::{self, CHANGING_CALLS, Tracer};
use end_to_end::{Site, SoakTime, TestResult, reached, skipped};

/// Smallest size at which ext4 has a journal, and room for some appends.
const IMAGE_BYTES: u64 = 24 << 20;
/// Appends whose calls are gone through on an ordinary day.
const APPENDS: usize = 1;
/// Appends on one image: then it is full.
const APPENDS_MAX: usize = 12;

/// Mounts a copy and holds it against what was known when it was made. Twice, since the first start recovers.
async fn check_copy(copy: &Path, ledger: &Ledger) -> TestResult {
    let image = DiskImage::mount(copy)?;
    let mut site = Site::at(&image.path().join("data")).await?;
    let mut ledger = ledger.clone();
    let found = ledger.check(&site.client().await?).await?;
    site.restart().await?;
    let client = site.client().await?;
    if ledger.check(&client).await? != found {
        return Err("the second start finds something else".into());
    }
    ledger.settle(&client, &found).await?;
    ledger.append(&client).await?;
    ledger.check(&client).await?;
    site.server.kill().await
}

/// One append; after each of its calls, and after its answer, a copy is checked. Returns how many.
async fn append_with_copies(
    image: &DiskImage,
    copy: &Path,
    site: &Site,
    ledger: &mut Ledger,
) -> TestResult<usize> {
    let client = site.client().await?;
    let hour = ledger.next_hour();
    let before = ledger.clone();
    let mut tracer = Tracer::attach(site.server.id()?, site.data_dir(), CHANGING_CALLS).await?;
    let mut copies = 0;
    let answer = {
        let mut running = std::pin::pin!(before.send(&client, hour));
        loop {
            tokio::select! {
                stopped = tracer.stopped() => {
                    let calls = stopped?.ok_or("the server ended by itself")?;
                    image.copy_to(copy)?;
                    check_copy(copy, &before)
                        .await
                        .map_err(|error| format!("power loss after {calls:?}: {error}"))?;
                    copies += 1;
                    tracer.resume().await?;
                }
                answer = &mut running => break answer,
            }
        }
    };
    tracer.release().await?;
    ledger.record(hour, &answer)?;
    image.copy_to(copy)?;
    check_copy(copy, ledger)
        .await
        .map_err(|error| format!("power loss after the answer {answer:?}: {error}"))?;
    Ok(copies + 1)
}

async fn power_loss_at_every_call(name: &str, size: Size) {
    let name = format!("power loss on ext4 in {name}");
    if let Some(why) = trace::unavailable().await {
        return skipped(&name, &why);
    }
    let soak = SoakTime::start().unwrap();
    let (mut images, mut copies) = (0, 0);
    while images == 0 || soak.is_left() {
        let folder = tempfile::tempdir().unwrap();
        let image = match DiskImage::create(&folder.path().join("disk"), IMAGE_BYTES) {
            Ok(image) => image,
            Err(error) => return skipped(&name, &error.to_string()),
        };
        let site = Site::at(&image.path().join("data")).await.unwrap();
        let client = site.client().await.unwrap();
        let mut ledger = Ledger::new("t", size);
        ledger.create(&client).await.unwrap();
        ledger.append(&client).await.unwrap();
        let copy = folder.path().join("copy");
        for _ in 0..if soak.is_set() { APPENDS_MAX } else { APPENDS } {
            match append_with_copies(&image, &copy, &site, &mut ledger).await {
                Ok(more) => copies += more,
                Err(error) => panic!("{name}: {error}"),
            }
            if soak.is_over() {
                break;
            }
        }
        site.server.kill().await.unwrap();
        images += 1;
    }
    reached(&name, &format!("{copies} images"));
}

#[tokio::test]
async fn small_append() {
    power_loss_at_every_call("a small append", Size::SMALL).await;
}

#[tokio::test]
async fn large_append() {
    power_loss_at_every_call("a large append", Size::LARGE).await;
}
