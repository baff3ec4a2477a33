//! Compiles the `.proto` files with protox, so that a build needs no system protoc.

use std::error::Error;

const FILES: [&str; 2] = ["coverline/log/v1/log.proto", "coverline/flight/v1/flight.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    prost_build::Config::new()
        .bytes(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .compile_fds(descriptors)?;
    Ok(())
}
