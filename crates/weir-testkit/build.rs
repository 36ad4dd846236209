//! Compiles the messages of the Container Runtime Interface, by which a kubelet has containers run, for the tests over a cluster.
//!
//! The `.proto` file comes with the package `k8s-cri`, which Cargo fetches but never compiles: Cargo tells where it lies.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "kubernetes")]
    kubernetes::compile()?;
    Ok(())
}

#[cfg(feature = "kubernetes")]
mod kubernetes {
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::{env, error};

    use prost_types::field_descriptor_proto::Type;

    const PACKAGE: &str = "k8s-cri";

    type Error = Box<dyn error::Error>;

    pub fn compile() -> Result<(), Error> {
        let mut set = protox::compile(["v1.proto"], [folder()?.join("proto")])?;
        for message in set.file.iter_mut().flat_map(|file| &mut file.message_type).filter(|message| message.name() == "KeyValue") {
            // As Kubernetes 1.36 has it: a variable of an environment may have any bytes.
            let value = message.field.iter_mut().find(|field| field.name() == "value").ok_or("a KeyValue has a value")?;
            value.set_type(Type::Bytes);
        }
        prost_build::Config::new().disable_comments(["."]).compile_fds(set)?;
        Ok(())
    }

    /// Where Cargo keeps the package's sources.
    fn folder() -> Result<PathBuf, Error> {
        let output = Command::new(env::var("CARGO")?).args(["metadata", "--format-version=1", "--locked"]).output()?;
        if !output.status.success() {
            return Err(format!("cargo metadata failed: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
        let packages = metadata["packages"].as_array().ok_or("cargo metadata names no packages")?;
        let ours = packages.iter().find(|package| package["name"] == PACKAGE);
        let manifest = ours.and_then(|package| package["manifest_path"].as_str());
        let manifest = manifest.ok_or("cargo metadata does not name the package k8s-cri")?;
        Ok(Path::new(manifest).parent().ok_or("a manifest without a folder")?.to_owned())
    }
}
