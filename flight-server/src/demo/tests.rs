//! C2: a demo whose server does not know whether a change is durable ends as any command does that changes something.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use table_core::clock::SystemClock;
use table_core::storage::faults::{FlakyStore, PutFault, SimDisk};
use table_core::{Catalog, CatalogOptions};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::server::TcpIncoming;

use super::*;
use crate::server;

/// What a step of the demo says when the puts it makes go so.
async fn said(
    puts: impl IntoIterator<Item = PutFault>,
    step: impl AsyncFnOnce(&Client) -> Result<(), CliError>,
) -> CliError {
    let folder = tempfile::tempdir().unwrap();
    let store = FlakyStore::over(Arc::new(SimDisk::new().store(SystemClock::shared())));
    let options = CatalogOptions { disk_floor_bytes: Some(0), ..CatalogOptions::default() };
    let catalog = Catalog::over(store.clone(), options).await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("grpc://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let config = ServerConfig::new(folder.path());
    let serving = tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        server::serve_catalog(TcpIncoming::from(listener), catalog, &config, shutdown).await
    });
    let client = Client::connect(&url).await.unwrap();
    store.next_puts(puts);
    let error = step(&client).await.unwrap_err();
    drop((client, stop));
    let _ = serving.await.unwrap();
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_unknown_outcome_is_told_from_one_that_failed() {
    use PutFault::{None, NotDurable, NotStored};
    let daily = tempfile::tempdir().unwrap();
    let days = data::write_days(daily.path()).unwrap();
    let create = async |client: &Client| create_weather(client).await;
    let append = async |client: &Client| {
        create_weather(client).await?;
        load(client, &days[..1]).await.map(drop)
    };
    // A creation makes two objects, the table's first record and the one that names it; an append of a day one.
    for (puts, is_unknown) in [
        (vec![NotStored], false),
        (vec![None, NotDurable], true),
        (vec![None, None, NotStored], false),
        (vec![None, None, NotDurable], true),
    ] {
        let error = match puts.len() {
            3 => said(puts.clone(), append).await,
            _ => said(puts.clone(), create).await,
        };
        assert_eq!(error.is_outcome_unknown(), is_unknown, "{puts:?}: {error}");
        let shown = error.to_string();
        assert_eq!(shown.contains("may or may not be committed"), is_unknown, "{shown}");
        assert_eq!(shown.contains("coverline log show"), is_unknown, "{shown}");
    }
}
