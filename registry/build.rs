//! Compiles the .proto file with a compiler written in Rust: no `protoc` needs to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    const FILE: &str = "proto/framelane/registry/v1/registry.proto";
    println!("cargo:rerun-if-changed={FILE}");
    let descriptors = protox::compile([FILE], ["proto"])?;
    tonic_prost_build::configure()
        .btree_map(".framelane.registry.v1") // the same message always has the same bytes
        .compile_fds(descriptors)?;
    Ok(())
}
