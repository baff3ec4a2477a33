//! Coverline's Flight SQL endpoint and the `coverline` command.
//!
//! A call enters at `service`, is parsed by `command` or `ticket`, and goes to `ingest` (DoPut), `query` (SQL),
//! `metadata` or `action`. Errors leave through `status`. Storage paths and log records are `table-core`'s business.

mod action;
mod auth;
mod cancellation;
mod catalog;
pub mod cli;
mod client;
mod command;
pub mod config;
mod demo;
mod engine;
mod frame;
#[cfg(feature = "testing")]
pub mod fuzzing;
mod ingest;
mod limits;
mod metadata;
mod pieces;
mod query;
mod reflection;
pub mod server;
mod service;
mod session;
mod spill;
mod status;
mod target;
pub mod telemetry;
mod ticket;
pub mod tls;
