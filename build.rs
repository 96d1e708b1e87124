//! Generates the gRPC code from `proto/`, with a protobuf compiler written in Rust: a fresh machine needs no `protoc`.
//!
//! Leaves in `OUT_DIR` the messages with client and server (`externalscaler.rs`) and the encoded file descriptor set
//! (`externalscaler.bin`) that server reflection hands out. `src/proto.rs` includes both.

use std::env;
use std::error::Error;
use std::fs;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    emit("cargo::rerun-if-changed=proto/externalscaler.proto");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_file("externalscaler.proto")?;

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run through cargo")?);
    fs::write(out.join("externalscaler.bin"), compiler.encode_file_descriptor_set())?;

    // The client is KEDA's side: tests, benchmarks and the rehearsal call us as KEDA does.
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .build_transport(true)
        // `src/proto.rs` says why.
        .codec_path("crate::proto::SmallCodec")
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}

/// How a build script speaks to cargo.
fn emit(line: &str) {
    println!("{line}");
}
