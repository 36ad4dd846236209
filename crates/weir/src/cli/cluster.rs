//! Which cluster a tool looks at, and whether it looks at one.
//!
//! The rule: `-f` reads files; `--kubernetes`, `--kubeconfig` or `--context` look at a cluster. Without any of them a tool does what it
//! does without Kubernetes, unless it was called as kubectl's plugin: then it looks at the cluster that kubectl would.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::Args;
use weir_registry::files::Input;

/// Which cluster.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClusterArgs {
    /// Look at the Kubernetes cluster that kubectl would: that of $KUBECONFIG, else ~/.kube/config, else of the pod that this runs in
    #[arg(long, conflicts_with = "files")]
    pub kubernetes: bool,
    /// The same with this kubeconfig
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    pub kubeconfig: Option<PathBuf>,
    /// The same with this context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    pub context: Option<String>,
}

impl ClusterArgs {
    /// Whether a cluster is asked for.
    pub fn is_meant(&self) -> bool {
        self.kubernetes || self.kubeconfig.is_some() || self.context.is_some()
    }
}

/// Where a tool that needs no running mesh reads one.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct InputArgs {
    /// A file, a folder, or - for standard input; may be repeated
    #[arg(short = 'f', long = "filename", value_name = "PATH")]
    pub files: Vec<PathBuf>,
    #[command(flatten)]
    pub cluster: ClusterArgs,
}

/// What is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InputPlace {
    Files(Vec<Input>),
    Cluster,
}

impl InputArgs {
    /// Where to read.
    ///
    /// # Errors
    /// If nothing says it.
    pub fn place(&self) -> anyhow::Result<InputPlace> {
        match &self.files[..] {
            [] if self.cluster.is_meant() || runs_as_plugin() => Ok(InputPlace::Cluster),
            [] => bail!("name what is to be read: files with -f, or a cluster with --kubernetes"),
            files => Ok(InputPlace::Files(files.iter().map(|path| Input::from(path.as_path())).collect())),
        }
    }
}

/// Whether a program of this name is kubectl's plugin.
pub(crate) fn is_plugin(program: &OsStr) -> bool {
    Path::new(program).file_name().and_then(OsStr::to_str).is_some_and(|name| name.starts_with("kubectl-"))
}

/// Whether this process was called as kubectl's plugin.
pub(crate) fn runs_as_plugin() -> bool {
    std::env::args_os().next().is_some_and(|program| is_plugin(&program))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        input: InputArgs,
    }

    #[test]
    fn a_mesh_is_in_files_or_in_a_cluster() {
        let files = |path: &str| Ok(InputPlace::Files(vec![Input::from(Path::new(path))]));
        for (words, expected) in [
            (&["-f", "a"][..], files("a")),
            (&["--kubernetes"], Ok(InputPlace::Cluster)),
            (&["--kubeconfig", "f"], Ok(InputPlace::Cluster)),
            (&["--context", "c"], Ok(InputPlace::Cluster)),
            (&["--context", "c", "--kubeconfig", "f"], Ok(InputPlace::Cluster)),
            (&[], Err("name what is to be read")),
            (&["-f", "a", "--kubernetes"], Err("cannot be used with")),
            (&["-f", "a", "--context", "c"], Err("cannot be used with")),
            (&["-f", "a", "--kubeconfig", "f"], Err("cannot be used with")),
        ] {
            let parsed = Cli::try_parse_from([&["weir"], words].concat()).map_err(|error| error.to_string());
            let found = parsed.and_then(|cli| cli.input.place().map_err(|error| error.to_string()));
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected), "{words:?}"),
                Err(said) => assert!(found.as_ref().is_err_and(|error| error.contains(said)), "{words:?} {found:?}"),
            }
        }
    }

    #[test]
    fn kubectl_calls_its_plugins_by_their_names() {
        for (program, expected) in
            [("kubectl-weir", true), ("/usr/bin/kubectl-weir", true), ("weir", false), ("/kubectl-x/weir", false), ("", false)]
        {
            assert_eq!(is_plugin(OsStr::new(program)), expected, "{program}");
        }
    }
}
