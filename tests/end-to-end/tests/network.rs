//! C2, C4, C16: the connection is reset after every so many bytes of an append, on its way there and of the answer on its way
//! back. The append is there whole or not at all, a retry with the same append id is told the truth, and a retry while the
//! first try may still be under way does no harm.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use end_to_end::ledger::{Ledger, Outcome, Size};
use end_to_end::proxy::{Cut, CuttingProxy};
use end_to_end::{Client, Site, SoakTime, TestResult, reached};

/// Cuts in each direction, on an ordinary day.
const CUTS: u64 = 50;
/// Distance of two cuts of a large append at night, bytes. Small ones, and answers, are cut at every byte.
const NIGHT_STEP: u64 = 1 << 10;
/// Appends up to this size are small, bytes.
const SMALL_BYTES: u64 = 4 << 10;

/// What became of the appends.
#[derive(Debug, Default)]
struct Reached {
    acknowledged: usize,
    lost_and_there: usize,
    lost_and_absent: usize,
}

/// Bytes of one append and of its answer, connection included.
async fn bytes_of(site: &Site, ledger: &mut Ledger) -> TestResult<Cut> {
    let proxy = CuttingProxy::start(site.server.address(), Cut::NEVER).await?;
    ledger.append(&Client::connect(proxy.address()).await?).await?;
    Ok(proxy.forwarded())
}

async fn try_cut(site: &Site, ledger: &mut Ledger, cut: Cut, reached: &mut Reached) -> TestResult {
    let hour = ledger.next_hour();
    let proxy = CuttingProxy::start(site.server.address(), cut).await?;
    // The connection itself may be cut, too.
    if let Ok(client) = Client::connect(proxy.address()).await {
        let answer = ledger.send(&client, hour).await;
        ledger.record(hour, &answer)?;
    }
    let client = site.client().await?;
    let answer = ledger.send(&client, hour).await;
    let known = ledger.unknown().is_empty();
    match (ledger.record(hour, &answer)?, &answer) {
        // The ledger has compared the receipts.
        (Outcome::Committed, _) if known => reached.acknowledged += 1,
        (Outcome::Committed, Ok(receipt)) if receipt.repeated => reached.lost_and_there += 1,
        (Outcome::Committed, _) => reached.lost_and_absent += 1,
        _ => return Err(format!("the retry gave {answer:?}").into()),
    }
    Ok(())
}

async fn cut_everywhere(name: &str, size: Size) {
    let site = Site::new().await.unwrap();
    let client = site.client().await.unwrap();
    let mut ledger = Ledger::new("t", size);
    ledger.create(&client).await.unwrap();
    ledger.append(&client).await.unwrap();
    let whole = bytes_of(&site, &mut ledger).await.unwrap();
    let soak = SoakTime::start().unwrap();
    let (step_up, step_down) = match soak.is_set() {
        false => ((whole.up / CUTS).max(1), (whole.down / CUTS).max(1)),
        true if whole.up <= SMALL_BYTES => (1, 1),
        true => (NIGHT_STEP, 1),
    };
    // Answers first, which are short. A little past the end of the append: what comes there belongs to closing the connection.
    let down = (0..=whole.down).step_by(step_down as usize).map(|down| Cut { down, ..Cut::NEVER });
    let up = (0..=whole.up + step_up).step_by(step_up as usize).map(|up| Cut { up, ..Cut::NEVER });
    let (mut counts, mut cuts) = (Reached::default(), 0);
    for cut in down.chain(up) {
        if soak.is_over() {
            break;
        }
        if let Err(error) = try_cut(&site, &mut ledger, cut, &mut counts).await {
            panic!("{name}, {cut:?} of {whole:?}: {error}");
        }
        cuts += 1;
    }
    let found = ledger.check(&client).await.unwrap();
    assert!(found.is_empty(), "nothing is left unknown: {found:?}");
    reached(&format!("cuts in {name} of {} bytes", whole.up), &format!("{cuts} cuts: {counts:?}"));
    assert!(
        soak.is_over() || counts.lost_and_there > 0 && counts.lost_and_absent > 0,
        "too tame: {counts:?}"
    );
}

#[tokio::test]
async fn small_append() {
    cut_everywhere("a small append", Size::SMALL).await;
}

#[tokio::test]
async fn large_append() {
    cut_everywhere("a large append", Size::LARGE).await;
}
