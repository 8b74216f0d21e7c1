//! Compiles what is spoken with rivals, without protoc.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR")?).join("src/submits");
    println!("cargo:rerun-if-changed={}", root.join("kv.proto").display());
    let descriptors = protox::compile(["kv.proto"], [&root])?;
    tonic_prost_build::configure().build_server(false).compile_fds(descriptors)?;
    Ok(())
}
