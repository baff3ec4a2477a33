//! Compiles the `.proto` files with protox, so that a build needs no system protoc.

use std::error::Error;

const FILES: [&str; 5] = [
    "substrait/algebra.proto",
    "substrait/extended_expression.proto",
    "substrait/extensions/extensions.proto",
    "substrait/plan.proto",
    "substrait/type.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    prost_build::Config::new()
        .compile_well_known_types()
        .extern_path(".google.protobuf", "::pbjson_types")
        .compile_fds(descriptors)?;
    Ok(())
}
