//! Compiles the `.proto` files with protox, so that a build needs no system protoc.

use std::error::Error;
use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 2] = ["coverline/log/v1/log.proto", "coverline/flight/v1/flight.proto"];

/// What the server says of itself to clients that ask.
const WIRE_FILES: [&str; 2] =
    ["arrow/flight/protocol/flight.proto", "coverline/flight/v1/flight.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES.iter().chain(&WIRE_FILES) {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    prost_build::Config::new()
        .bytes(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .compile_fds(descriptors)?;
    let wire = protox::compile(WIRE_FILES, ["."])?;
    let folder = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(folder.join("wire.bin"), wire.encode_to_vec())?;
    Ok(())
}
