//! Compiles those of Envoy's `.proto` files that a mesh needs into Rust types and one descriptor set.
//!
//! The files come with the `envoy-types` package, which Cargo fetches but never compiles: Cargo tells
//! where it lies. `protox` is a protobuf compiler in Rust, so that no `protoc` is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use prost::Message;
use prost_types::FileDescriptorSet;
use protox::prost_reflect::DescriptorPool;

#[path = "build/prune.rs"]
mod prune;
#[path = "src/rule.rs"]
mod rule;
#[path = "build/rules.rs"]
mod rules;
#[path = "build/table.rs"]
mod table;

/// The roots of the API that we speak: their messages, and those that these hold, become Rust types.
const ROOTS: &[&str] = &[
    "envoy/config/bootstrap/v3/bootstrap.proto",
    "envoy/config/cluster/v3/cluster.proto",
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/config/route/v3/route.proto",
    // For `FilterConfig`, which only travels packed.
    "envoy/config/route/v3/route_components.proto",
    "envoy/extensions/access_loggers/file/v3/file.proto",
    "envoy/extensions/clusters/aggregate/v3/cluster.proto",
    "envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.proto",
    "envoy/extensions/compression/brotli/compressor/v3/brotli.proto",
    "envoy/extensions/compression/brotli/decompressor/v3/brotli.proto",
    "envoy/extensions/compression/gzip/compressor/v3/gzip.proto",
    "envoy/extensions/compression/gzip/decompressor/v3/gzip.proto",
    "envoy/extensions/compression/zstd/compressor/v3/zstd.proto",
    "envoy/extensions/compression/zstd/decompressor/v3/zstd.proto",
    "envoy/extensions/filters/http/admission_control/v3/admission_control.proto",
    "envoy/extensions/filters/http/bandwidth_limit/v3/bandwidth_limit.proto",
    "envoy/extensions/filters/http/basic_auth/v3/basic_auth.proto",
    "envoy/extensions/filters/http/buffer/v3/buffer.proto",
    "envoy/extensions/filters/http/cdn_loop/v3/cdn_loop.proto",
    "envoy/extensions/filters/http/compressor/v3/compressor.proto",
    "envoy/extensions/filters/http/cors/v3/cors.proto",
    "envoy/extensions/filters/http/csrf/v3/csrf.proto",
    "envoy/extensions/filters/http/custom_response/v3/custom_response.proto",
    "envoy/extensions/filters/http/decompressor/v3/decompressor.proto",
    "envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy.proto",
    "envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/http/fault/v3/fault.proto",
    "envoy/extensions/filters/http/grpc_http1_bridge/v3/config.proto",
    "envoy/extensions/filters/http/grpc_stats/v3/config.proto",
    "envoy/extensions/filters/http/grpc_web/v3/grpc_web.proto",
    "envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto",
    "envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata.proto",
    "envoy/extensions/filters/http/health_check/v3/health_check.proto",
    "envoy/extensions/filters/http/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
    "envoy/extensions/filters/http/lua/v3/lua.proto",
    "envoy/extensions/filters/http/ratelimit/v3/rate_limit.proto",
    "envoy/extensions/filters/http/rbac/v3/rbac.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/http/set_metadata/v3/set_metadata.proto",
    "envoy/extensions/filters/http/stateful_session/v3/stateful_session.proto",
    "envoy/extensions/filters/listener/http_inspector/v3/http_inspector.proto",
    "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
    "envoy/extensions/filters/listener/original_src/v3/original_src.proto",
    "envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.proto",
    "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
    "envoy/extensions/filters/network/connection_limit/v3/connection_limit.proto",
    "envoy/extensions/filters/network/direct_response/v3/config.proto",
    "envoy/extensions/filters/network/ext_authz/v3/ext_authz.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/filters/network/local_ratelimit/v3/local_rate_limit.proto",
    "envoy/extensions/filters/network/rbac/v3/rbac.proto",
    "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
    "envoy/extensions/http/custom_response/local_response_policy/v3/local_response_policy.proto",
    "envoy/extensions/http/header_formatters/preserve_case/v3/preserve_case.proto",
    "envoy/extensions/http/original_ip_detection/custom_header/v3/custom_header.proto",
    "envoy/extensions/http/original_ip_detection/xff/v3/xff.proto",
    "envoy/extensions/http/stateful_session/cookie/v3/cookie.proto",
    "envoy/extensions/http/stateful_session/header/v3/header.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/maglev/v3/maglev.proto",
    "envoy/extensions/load_balancing_policies/pick_first/v3/pick_first.proto",
    "envoy/extensions/load_balancing_policies/random/v3/random.proto",
    "envoy/extensions/load_balancing_policies/ring_hash/v3/ring_hash.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.proto",
    "envoy/extensions/path/match/uri_template/v3/uri_template_match.proto",
    "envoy/extensions/path/rewrite/uri_template/v3/uri_template_rewrite.proto",
    "envoy/extensions/request_id/uuid/v3/uuid.proto",
    "envoy/extensions/resource_monitors/downstream_connections/v3/downstream_connections.proto",
    "envoy/extensions/resource_monitors/fixed_heap/v3/fixed_heap.proto",
    "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
    "envoy/extensions/retry/priority/previous_priorities/v3/previous_priorities_config.proto",
    "envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.proto",
    "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
    "envoy/extensions/transport_sockets/tls/v3/secret.proto",
    "envoy/extensions/transport_sockets/tls/v3/tls.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/auth/v3/external_auth.proto",
    "envoy/service/discovery/v3/ads.proto",
    "envoy/service/discovery/v3/discovery.proto",
    "envoy/service/ratelimit/v3/rls.proto",
    "envoy/type/matcher/v3/http_inputs.proto",
    "envoy/type/matcher/v3/status_code_input.proto",
    "io/istio/http/peer_metadata/config.proto",
];

/// Where Envoy's own files lie.
const ENVOY: &str = "data-plane-api";

/// The folder of what Envoy can be extended by. People may configure any of it, so that all of it is known by its descriptors.
const EXTENSIONS: &str = "envoy/extensions";

/// Files whose messages are known by their descriptors only, for their JSON form.
const DESCRIBED: &[&str] = &[
    "envoy/admin/v3/clusters.proto",
    "envoy/admin/v3/config_dump.proto",
    "envoy/admin/v3/listeners.proto",
    // Says which fields hold secrets.
    "udpa/annotations/sensitive.proto",
    "udpa/type/v1/typed_struct.proto",
    "xds/type/v3/typed_struct.proto",
];

/// The folders of `envoy-types/proto` that hold what the roots import.
const INCLUDES: &[&str] = &[ENVOY, "xds", "protoc-gen-validate", "googleapis", "cel-spec/proto", "opentelemetry-proto", "client_model"];

type Error = Box<dyn std::error::Error>;

fn main() -> Result<(), Error> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=src/rule.rs");
    println!("cargo:rerun-if-changed=Cargo.toml");
    let protos = envoy_types_folder()?.join("proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // What `envoy-types` lacks is in our own folder.
    let mut includes = vec![mended(&protos, &out)?, PathBuf::from("proto")];
    includes.extend(INCLUDES.iter().map(|folder| protos.join(folder)));

    // Encoded, for only then are the extensions among the options kept, such as those that tell secrets.
    let descriptors = protox::Compiler::new(&includes)?
        .include_imports(true)
        .include_source_info(false)
        .open_files(ROOTS.iter().chain(DESCRIBED))?
        .open_files(files_below(&protos.join(ENVOY), EXTENSIONS)?)?
        .encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), &descriptors)?;

    let mut generated = FileDescriptorSet::decode(descriptors.as_slice())?;
    keep_imports(&mut generated, ROOTS.iter().chain(DESCRIBED));
    // Unlike the messages of `prost`, it keeps the extensions.
    let mut rules = rules::Rules::new(DescriptorPool::decode(descriptors.as_slice())?)?;
    fs::write(out.join("table.rs"), table::write(&generated, &mut rules)?)?;
    fs::write(out.join("rules.rs"), rules.write())?;
    prune::prune(&mut generated, ROOTS);
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
        .compile_fds(generated)?;
    compile_once(&out)?;
    Ok(())
}

/// Adds to each generated message the implementation of `crate::Message`, so that its encoding is compiled in `weir-xds` alone.
fn compile_once(out: &Path) -> Result<(), Error> {
    let name = |line: &str| Some(line.trim().strip_prefix("impl ::prost::Name for ")?.strip_suffix(" {")?.to_owned());
    for entry in fs::read_dir(out)? {
        let file = entry?.path();
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let code = fs::read_to_string(&file)?;
        let with_it = |line| name(line).map(|name| format!("compiled_once!({name});\n{line}\n")).unwrap_or(format!("{line}\n"));
        fs::write(file, code.lines().map(with_it).collect::<String>())?;
    }
    Ok(())
}

/// The names of all `.proto` files below a folder, in order.
fn files_below(envoy: &Path, folder: &str) -> Result<Vec<PathBuf>, Error> {
    let (mut folders, mut files) = (vec![envoy.join(folder)], vec![]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path().strip_prefix(envoy)?.to_owned()),
            }
        }
    }
    files.retain(|file| file.extension().is_some_and(|extension| extension == "proto"));
    files.sort();
    Ok(files)
}

/// Leaves out the files that those of these names do not import.
fn keep_imports<'n>(set: &mut FileDescriptorSet, names: impl Iterator<Item = &'n &'n str>) {
    let imports: BTreeMap<&str, &[String]> = set.file.iter().map(|file| (file.name(), file.dependency.as_slice())).collect();
    let mut wanted: Vec<String> = names.map(ToString::to_string).collect();
    let mut kept = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        if !kept.contains(&name) {
            wanted.extend(imports.get(name.as_str()).copied().unwrap_or_default().iter().cloned());
            kept.insert(name);
        }
    }
    set.file.retain(|file| kept.contains(file.name()));
}

/// A folder with copies of those of Envoy's files that `protox` reads otherwise than `protoc` does: a name that begins with a
/// part of its package's name, as `config.core.v3.Address`, it looks for in packages too that are not imported. In the copies
/// such names are written in full.
fn mended(protos: &Path, out: &Path) -> Result<PathBuf, Error> {
    let (envoy, folder) = (protos.join(ENVOY), out.join("mended"));
    for name in files_below(&envoy, "envoy")? {
        let text = fs::read_to_string(envoy.join(&name))?;
        let mended = with_full_names(&name, &text);
        if mended != text {
            let file = folder.join(name);
            fs::create_dir_all(file.parent().ok_or("a file without a folder")?)?;
            fs::write(file, mended)?;
        }
    }
    Ok(folder)
}

/// The text of a file with the names of imported packages in full. A package is called as its folder is.
fn with_full_names(name: &Path, text: &str) -> String {
    let package = |file: &Path| -> Vec<String> {
        file.parent().into_iter().flat_map(Path::iter).map(|part| part.to_string_lossy().into_owned()).collect()
    };
    let own = package(name);
    let imports: BTreeSet<Vec<String>> =
        text.lines().filter_map(|line| line.strip_prefix("import \"")?.strip_suffix("\";")).map(|file| package(Path::new(file))).collect();
    let mut text = text.to_owned();
    for import in imports {
        let shared = own.iter().zip(&import).take_while(|(own, imported)| own == imported).count();
        for outer in 1..=shared.min(import.len().saturating_sub(1)) {
            let (full, short) = (import.join("."), import.get(outer..).unwrap_or_default().join("."));
            text = text.replace(&format!(" {short}."), &format!(" .{full}."));
        }
    }
    text
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
