//! Compiles the .proto files with a compiler written in Rust: no `protoc` needs to be installed.

use prost::Message;
use std::{env, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "proto/framelane/v1/frame.proto",
        "proto/framelane/v1/processor.proto",
    ];
    for file in files {
        println!("cargo:rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Served by gRPC reflection, so that any gRPC client can call a processor without our files.
    fs::write(out.join("framelane.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .generate_default_stubs(true) // batches are optional: UNIMPLEMENTED
        .bytes(".framelane.v1") // payloads become slices of the receive buffer: no copy
        .btree_map(".framelane.v1") // the same message always has the same bytes
        .compile_fds(descriptors)?;
    Ok(())
}
