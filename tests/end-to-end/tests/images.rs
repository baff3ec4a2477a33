//! C1, C8: power loss on a real ext4. The file system lives in a file, which is copied after every system call of a change; every
//! copy is mounted, and must hold whatever had been acknowledged, the rest whole or not at all, and take the next append.
//!
//! Needs root, loop devices, strace and the right to trace; without them the test says so and proves nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;

use end_to_end::image::DiskImage;
use end_to_end::ledger::Size;
use end_to_end::operations::{Appends, Create, Drop, FirstAppend, Operation};
use end_to_end::trace::{self, CHANGING_CALLS, Tracer};
use end_to_end::{Site, SoakTime, TestResult, reached, skipped};

/// Smallest size at which ext4 has a journal, and room for some appends.
const IMAGE_BYTES: u64 = 24 << 20;
/// Changes on one image: then it is full.
const CHANGES_MAX: usize = 12;
/// Appends that are under way together.
const TOGETHER: usize = 3;

/// How many copies were checked.
#[derive(Debug, Default)]
struct Copies {
    all: usize,
    /// Those that held a change which nobody had been told of yet.
    rolled_forward: usize,
}

/// Mounts a copy and holds it against what was known when it was made. Twice, since the first start recovers.
async fn check_copy<O: Operation>(
    copy: &Path,
    mut operation: O,
    copies: &mut Copies,
) -> TestResult {
    let image = DiskImage::mount(copy)?;
    let mut site = Site::at(&image.path().join("data")).await?;
    let client = site.client().await?;
    let found = operation.found(&client).await?;
    copies.all += 1;
    copies.rolled_forward += usize::from(!found.is_empty());
    // Every other copy is changed before its second start, which then finds what was changed.
    if copies.all.is_multiple_of(2) {
        operation.settles(&client).await?;
        site.restart().await?;
        let left = operation.found(&site.client().await?).await?;
        if !left.is_empty() {
            return Err(format!("settled, and found unknown: {left:?}").into());
        }
    } else {
        site.restart().await?;
        let client = site.client().await?;
        if operation.found(&client).await? != found {
            return Err("the second start finds something else".into());
        }
        operation.settles(&client).await?;
    }
    site.server.kill().await
}

/// One change; after each of its calls, and after its answer, a copy is checked.
async fn change_with_copies<O: Operation>(
    image: &DiskImage,
    copy: &Path,
    site: &mut Site,
    operation: &mut O,
    copies: &mut Copies,
) -> TestResult {
    operation.prepare(site).await?;
    let client = site.client().await?;
    let before = operation.clone();
    let mut tracer = Tracer::attach(site.server.id()?, site.data_dir(), CHANGING_CALLS).await?;
    let answer = {
        let mut running = std::pin::pin!(before.run(&client));
        loop {
            tokio::select! {
                stopped = tracer.stopped() => {
                    let calls = stopped?.ok_or("the server ended by itself")?;
                    image.copy_to(copy)?;
                    check_copy(copy, before.clone(), copies)
                        .await
                        .map_err(|error| format!("power loss after {calls:?}: {error}"))?;
                    tracer.resume().await?;
                }
                answer = &mut running => break answer,
            }
        }
    };
    tracer.release().await?;
    operation.record(&answer)?;
    image.copy_to(copy)?;
    check_copy(copy, operation.clone(), copies)
        .await
        .map_err(|error| format!("power loss after the answer {answer:?}: {error}").into())
}

async fn power_loss_at_every_call<O: Operation>(name: &str, operation: impl Fn() -> O) {
    let name = format!("power loss on ext4 in {name}");
    if let Some(why) = trace::unavailable().await {
        return skipped(&name, &why);
    }
    let soak = SoakTime::start().unwrap();
    let (mut images, mut copies) = (0, Copies::default());
    while images == 0 || soak.is_left() {
        let folder = tempfile::tempdir().unwrap();
        let image = match DiskImage::create(&folder.path().join("disk"), IMAGE_BYTES) {
            Ok(image) => image,
            Err(error) => return skipped(&name, &error.to_string()),
        };
        let mut site = Site::at(&image.path().join("data")).await.unwrap();
        let mut operation = operation();
        let copy = folder.path().join("copy");
        for _ in 0..if soak.is_set() { CHANGES_MAX } else { 1 } {
            let done =
                change_with_copies(&image, &copy, &mut site, &mut operation, &mut copies).await;
            if let Err(error) = done {
                panic!("{name}: {error}");
            }
            if soak.is_over() {
                break;
            }
        }
        site.server.kill().await.unwrap();
        images += 1;
    }
    reached(&name, &format!("{copies:?}"));
}

#[tokio::test]
async fn small_append() {
    power_loss_at_every_call("a small append", || Appends::new(Size::SMALL, 1)).await;
}

#[tokio::test]
async fn large_append() {
    power_loss_at_every_call("a large append", || Appends::new(Size::LARGE, 1)).await;
}

#[tokio::test]
async fn appends_together() {
    power_loss_at_every_call("appends together", || Appends::new(Size::SMALL, TOGETHER)).await;
}

#[tokio::test]
async fn first_append() {
    power_loss_at_every_call("a large first append", || FirstAppend::new(Size::LARGE)).await;
}

#[tokio::test]
async fn create_table() {
    power_loss_at_every_call("the creation of a table", Create::default).await;
}

#[tokio::test]
async fn drop_table() {
    power_loss_at_every_call("the drop of a table", Drop::default).await;
}
