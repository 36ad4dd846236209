//! The Dockerfile, which cannot be carried out where there are no containers: what it names is there.

use std::fs;
use std::path::Path;

/// A file of the workspace.
fn file(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(name)).unwrap()
}

/// The instructions of this name, without it.
fn instructions<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).collect()
}

/// What stands behind a flag.
fn flag<'t>(line: &'t str, name: &str) -> &'t str {
    line.split(' ').skip_while(|word| *word != name).nth(1).unwrap()
}

#[test]
fn what_the_image_is_made_of_is_there() {
    let text = file("Dockerfile");
    let build = *instructions(&text, "RUN").iter().find(|line| line.starts_with("cargo build")).unwrap();
    let (profile, features) = (flag(build, "--profile"), flag(build, "--features"));
    let (workspace, package) = (file("Cargo.toml"), file("crates/weir/Cargo.toml"));
    assert!(workspace.contains(&format!("\n[profile.{profile}]\n")), "{profile}");
    assert!(package.lines().any(|line| line.starts_with(&format!("{features} = ["))), "{features}");
    assert_eq!(flag(build, "--package"), "weir");

    // What is built, where it was built, becomes the entrypoint, where PATH leads.
    let folder = instructions(&text, "WORKDIR")[0];
    let copies = instructions(&text, "COPY");
    assert_eq!(copies, [". .", &format!("--from=build {folder}/target/{profile}/weir /usr/local/bin/weir")]);
    assert_eq!(instructions(&text, "ENTRYPOINT"), [r#"["weir"]"#]);
    let rust = format!("rust:{}-slim-trixie AS build", workspace.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap());
    assert_eq!(instructions(&text, "FROM"), [rust.as_str(), "debian:trixie-slim"]);

    // Nothing that is built of is left out of what is copied.
    let ignored = file(".dockerignore");
    let members = workspace.split("members = [").nth(1).unwrap().split(']').next().unwrap();
    for member in members.split(", ").map(|member| member.trim_matches('"')) {
        let parts = || Path::new(member).ancestors().map(|part| part.to_str().unwrap());
        let is_left_out = |line: &str| parts().any(|part| part == line.trim_matches('/'));
        assert!(!ignored.lines().any(is_left_out), "{member}");
    }

    // As whom it runs is as whom the manifests run it.
    let user = instructions(&text, "USER")[0].split(':').next().unwrap().to_owned();
    assert!(file("charts/weir/templates/deployment.yaml").contains(&format!("runAsUser: {user}\n")), "{user}");
}
