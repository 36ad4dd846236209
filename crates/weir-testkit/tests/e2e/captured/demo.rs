//! `weir demo --namespaces`, in a network namespace of the test's own, which stands for the machine of whoever tries it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use tempfile::TempDir;
use weir_testkit::{Namespace, Process, Wire, until};

use super::{passes, text};

const PAGE: &str = "http://localhost:8080/productpage";
/// An instance of reviews, without a sidecar before it.
const REVIEWS: &str = "http://192.0.2.3:9080/reviews/0";
/// What only an answer of reviews says.
const SAID: &str = "Reviewer1";

/// A demo that runs.
struct Demo {
    machine: Namespace,
    process: Process,
    folder: TempDir,
}

impl Demo {
    async fn start() -> Option<Self> {
        Some(Self::start_on(Namespace::new().await?))
    }

    fn start_on(machine: Namespace) -> Self {
        let folder = TempDir::new().unwrap();
        let process = machine.start_weir(&["demo", "--namespaces"], folder.path());
        Self { machine, process, folder }
    }

    async fn is_up(&self) {
        until("the demo says what to try", async || self.process.said().contains("Ctrl-C ends it")).await;
    }

    /// The process by whose number a machine is known.
    fn id(&self, machine: &str) -> String {
        let said = self.process.said();
        let row = said.lines().find(|line| line.starts_with(machine)).unwrap();
        row.split_whitespace().last().unwrap().to_owned()
    }

    /// All networks of the demo, as the kernel calls them.
    fn networks(&self) -> BTreeSet<PathBuf> {
        let said = self.process.said();
        let ids = said.lines().filter_map(|line| line.split_once("  process ").map(|(_, id)| id.trim()));
        let networks: BTreeSet<PathBuf> = ids.map(|id| network(&Path::new("/proc").join(id)).unwrap()).collect();
        assert_eq!(networks.len(), 7, "six applications and the wire: {said}");
        networks
    }

    async fn curl(&self, url: &str) -> Output {
        self.machine.run(&["curl", "-sS", "--max-time", "10", url]).await
    }

    async fn serves(&self, url: &str, wanted: &str) -> bool {
        let output = self.curl(url).await;
        output.status.success() && text(&output.stdout).contains(wanted)
    }

    /// Neither an interface, a rule nor a mount stays, and nobody is in one of its networks.
    async fn leaves_nothing(&self, networks: &BTreeSet<PathBuf>) {
        let is_inhabited = || processes().any(|process| network(&process).is_some_and(|network| networks.contains(&network)));
        until("nobody is left in the demo's networks", async || !is_inhabited()).await;
        until("the cable is gone", async || !self.machine.must(&["ip", "-o", "link"]).await.contains("weir-demo")).await;
        assert_eq!(self.machine.must(&["ip", "-o", "link"]).await.lines().count(), 1, "loopback alone");
        assert_eq!(self.machine.must(&["nft", "list", "ruleset"]).await, "");
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(&self.folder.path().display().to_string()), "{mounts}");
    }

    /// What it has written is what a person may change, and nothing else.
    fn leaves_no_file(&self) {
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(names.collect::<BTreeSet<_>>(), ["log".to_owned(), "weir-demo".to_owned()].into());
    }
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit())))
}

/// The network of a process, if that is still there.
fn network(process: &Path) -> Option<PathBuf> {
    fs::read_link(process.join("ns/net")).ok()
}

#[tokio::test]
async fn bookinfo_runs_on_machines_of_its_own_and_leaves_nothing_behind() {
    let Some(mut demo) = Demo::start().await else { return };
    demo.is_up().await;
    let networks = demo.networks();

    // Applications call each other by plain names in plain text; whoever sits between them sees Istio handshakes, and cannot read.
    let wire = Wire::open(&Path::new("/proc").join(demo.id("the wire")).join("ns/net"));
    for version in ["reviews-v1", "reviews-v2", "reviews-v3"] {
        until(version, async || demo.serves(PAGE, version).await).await;
    }
    let named =
        ["nsenter", "-t", &demo.id("productpage-v1"), "-n", "-m", "curl", "-sS", "--max-time", "10", "http://reviews:9080/reviews/0"];
    assert!(demo.machine.must(&named).await.contains(SAID));
    let frames = wire.heard();
    assert!(passes(&frames, "istio") && !passes(&frames, SAID) && !passes(&frames, "HTTP/1."), "{} frames", frames.len());

    // Who has no certificate is refused, until that is permitted.
    assert!(!demo.serves(REVIEWS, SAID).await, "STRICT takes no plaintext");
    let policy = demo.folder.path().join("weir-demo/bookinfo-namespaces/peer-authentication.yaml");
    fs::write(&policy, fs::read_to_string(&policy).unwrap().replace("STRICT", "PERMISSIVE")).unwrap();
    until("plaintext is permitted", async || demo.serves(REVIEWS, SAID).await).await;

    demo.process.signal("INT").await;
    assert!(demo.process.ended().await.success());
    demo.leaves_nothing(&networks).await;
    demo.leaves_no_file();
}

#[tokio::test]
async fn a_demo_that_is_told_to_end_while_it_starts_leaves_nothing_behind() {
    let Some(mut demo) = Demo::start().await else { return };
    until("it has begun", async || demo.machine.must(&["ip", "-o", "link"]).await.contains("weir-demo")).await;
    demo.process.signal("TERM").await;
    assert!(demo.process.ended().await.success());
    demo.leaves_nothing(&BTreeSet::new()).await;
    demo.leaves_no_file();
}

#[tokio::test]
async fn a_demo_that_fails_says_why_and_leaves_nothing_behind() {
    let Some(machine) = Namespace::new().await else { return };
    machine.must(&["ip", "link", "add", "name", "weir-demo", "type", "veth", "peer", "name", "other"]).await;
    let mut demo = Demo::start_on(machine);
    assert_eq!(demo.process.ended().await.code(), Some(2));
    let said = demo.process.said();
    assert!(said.contains("if another demo runs, end that first") && said.contains("File exists"), "{said}");
    demo.machine.must(&["ip", "link", "delete", "weir-demo"]).await;
    demo.leaves_nothing(&BTreeSet::new()).await;
    demo.leaves_no_file();
}

/// Who is killed can remove nothing: the kernel does.
#[tokio::test]
async fn a_demo_that_is_killed_leaves_no_process_and_no_network_behind() {
    let Some(mut demo) = Demo::start().await else { return };
    demo.is_up().await;
    let networks = demo.networks();
    demo.process.signal("KILL").await;
    assert!(!demo.process.ended().await.success());
    demo.leaves_nothing(&networks).await;
}
