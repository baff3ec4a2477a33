//! `coverline.DropTable`: the name is free at once; files are left for vacuum.

use std::sync::Arc;

use serde_json::json;
use table_core::{Catalog, ErrorKind};
use tonic::Status;

use super::json::{Body, encode};
use crate::status;

pub(super) const NAME: &str = "coverline.DropTable";
pub(super) const TEXT: &str =
    "Drops a table. Body: JSON {table, if_exists}. Result: {table, dropped}.";

pub(super) async fn run(catalog: &Arc<Catalog>, body: &[u8]) -> Result<Vec<u8>, Status> {
    let mut body = Body::parse(NAME, body)?;
    let table = body.required("table")?;
    let if_exists = body.flag("if_exists")?;
    body.finish()?;
    let dropped = match catalog.drop_table(&table, "").await {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::NotFound && if_exists => false,
        Err(error) => return Err(status::core(&error)),
    };
    Ok(encode(&json!({ "table": table, "dropped": dropped })))
}
