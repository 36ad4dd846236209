//! Compiles those of Envoy's `.proto` files that a mesh needs into Rust types and one descriptor set.
//!
//! The files come with the `envoy-types` package, which Cargo fetches but never compiles: Cargo tells
//! where it lies. `protox` is a protobuf compiler in Rust, so that no `protoc` is needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use prost::Message;

/// The roots of the API that we speak; what they import comes with them.
const ROOTS: &[&str] = &[
    "envoy/admin/v3/clusters.proto",
    "envoy/admin/v3/config_dump.proto",
    "envoy/admin/v3/listeners.proto",
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_stats/v3/config.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.proto",
    "envoy/extensions/request_id/uuid/v3/uuid.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/discovery/v3/discovery.proto",
];

/// The folders of `envoy-types/proto` that hold what the roots import.
const INCLUDES: &[&str] =
    &["data-plane-api", "xds", "protoc-gen-validate", "googleapis", "cel-spec/proto", "opentelemetry-proto", "client_model"];

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=Cargo.toml");
    let protos = envoy_types_folder()?.join("proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let mut includes = vec![mended(&protos, &out)?];
    includes.extend(INCLUDES.iter().map(|folder| protos.join(folder)));

    let descriptors =
        protox::Compiler::new(&includes)?.include_imports(true).include_source_info(false).open_files(ROOTS)?.file_descriptor_set();
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    prost_build::Config::new()
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        // `Any` carries bytes that are encoded once and shared by all who get them.
        .extern_path(".google.protobuf.Any", "crate::Any")
        // Equal messages must have equal bytes: what is sent is told apart by its bytes.
        .btree_map(["."])
        .bytes(["."])
        .disable_comments(["."])
        .include_file("messages.rs")
        .compile_fds(descriptors)?;
    Ok(())
}

/// A folder with the one file that `protox` reads otherwise than `protoc` does: a name that begins with `common` it looks for in
/// packages too that are imported only indirectly. There the name is written in full.
fn mended(protos: &Path, out: &Path) -> Result<PathBuf, Error> {
    const FILE: &str = "envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.proto";
    const NAME: &str = "common.dynamic_forward_proxy.v3.DnsCacheConfig";
    let text = fs::read_to_string(protos.join("data-plane-api").join(FILE))?;
    let folder = out.join("mended");
    let file = folder.join(FILE);
    fs::create_dir_all(file.parent().ok_or("a file without a folder")?)?;
    fs::write(file, text.replace(NAME, &format!(".envoy.extensions.{NAME}")))?;
    Ok(folder)
}

/// Where Cargo keeps the sources of the package `envoy-types`.
fn envoy_types_folder() -> Result<PathBuf, Error> {
    let output = Command::new(env::var("CARGO")?).args(["metadata", "--format-version=1", "--locked"]).output()?;
    if !output.status.success() {
        return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
    let manifest = packages
        .iter()
        .find(|package| package["name"] == "envoy-types")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or("cargo metadata does not name the package envoy-types")?;
    Ok(Path::new(manifest).parent().ok_or("a manifest without a folder")?.to_owned())
}
