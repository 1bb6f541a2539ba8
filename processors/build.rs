//! Compiles the inference protocol, as `processor-proto` compiles ours.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = "proto/inference.proto";
    println!("cargo:rerun-if-changed={file}");
    let descriptors = protox::compile([file], ["proto"])?;
    tonic_prost_build::configure()
        .bytes(".inference")
        .compile_fds(descriptors)?;
    Ok(())
}
