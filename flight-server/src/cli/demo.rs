//! `coverline demo`: where the demo runs and when it ends. What it does is in [`crate::demo`].

use std::io::{self, IsTerminal, Write};

use table_core::storage::Root;

use super::Outcome;
use super::error::CliError;
use super::root::parser;
use super::serve::{DEFAULT_LISTEN, resolve};
use crate::demo::{self, Options};
use crate::server;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// End when the demo is through instead of serving on.
    #[arg(long)]
    once: bool,
    /// Address to listen on [default: 127.0.0.1:50051, with --once any free port].
    #[arg(long, value_name = "HOST:PORT", env = "COVERLINE_LISTEN")]
    listen: Option<String>,
    /// Folder or URL for the tables [default: a temporary folder, removed at the end].
    #[arg(long, visible_alias = "data-dir", value_name = "DIR|URL", value_parser = parser())]
    root: Option<Root>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<Outcome, CliError> {
    let listen = match (&arguments.listen, arguments.once) {
        (Some(listen), _) => listen,
        (None, false) => DEFAULT_LISTEN,
        (None, true) => "127.0.0.1:0",
    };
    let listen = resolve(listen)?;
    // Removed when this function ends, after the server.
    let temporary = tempfile::Builder::new().prefix("coverline-demo-").tempdir()?;
    let root = arguments.root.unwrap_or_else(|| temporary.path().join("data").into());
    let mut out = io::stdout();
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let shutdown = server::shutdown_signal()?;
    tokio::pin!(shutdown);

    let options = Options { listen, root, colours };
    let embedded = tokio::select! {
        embedded = demo::run(&options, &mut out) => embedded?,
        () = &mut shutdown => return Err(CliError::new("stopped before the demo was through")),
    };
    if !arguments.once {
        writeln!(out, "Serving until Ctrl-C.")?;
        shutdown.await;
    }
    embedded.stop().await?;
    Ok(Outcome::Done)
}
