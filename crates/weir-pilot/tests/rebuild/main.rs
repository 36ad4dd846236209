//! A change equals a rebuild: whatever the changes of a mesh were, each proxy ends up with what a pilot would give it that has just
//! been started on the mesh as it is now.
//!
//! Objects of all kinds come, change and go, one or several at a time; proxies of different kinds, by both protocols, subscribe as
//! they go, refuse now and then, lose their streams and come back. `WEIR_CHANGES` is the number of steps, `WEIR_CHANGES_SEED` where
//! chance begins.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking, and tells what it did")]

mod mesh;
mod proxy;

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::{Notify, watch};
use weir_api::Source;
use weir_api::resources::MeshConfig;
use weir_pilot::{Options, Pilot};
use weir_registry::Catalog;

use mesh::Mesh;
use proxy::{Follower, Held, nodes};

/// As many as take half a minute in a build without optimisation; `.ci/run` has 10,000, `.ci/long` as many by another seed.
const STEPS: usize = 500;
/// No proxy needs so long for anything.
const PATIENCE: Duration = Duration::from_secs(20);
/// A look is taken at least so often: nobody tells of what does not come.
const LOOK: Duration = Duration::from_millis(5);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// A service that policies ask, which comes and goes.
const ASKED: &str = "extensionProviders: [{name: asked, envoyExtAuthzHttp: {service: s0.one.svc.cluster.local, port: 80}}]\n";
/// What may hold for the whole mesh, besides.
const CONFIGS: [&str; 5] = [
    "",
    "outboundTrafficPolicy: {mode: REGISTRY_ONLY}\n",
    "rootNamespace: one\ntrustDomain: other\n",
    "accessLogFile: /dev/stdout\nenableAutoMtls: false\n",
    "defaultServiceExportTo: ['.']\ndefaultVirtualServiceExportTo: ['.']\nconnectTimeout: 3s\n",
];

fn config(index: usize) -> Arc<MeshConfig> {
    let (mesh, said) = MeshConfig::parse(&Source::new("mesh.yaml", format!("{ASKED}{}", CONFIGS[index])));
    assert!(said.is_empty(), "{said:?}");
    Arc::new(mesh)
}

fn start(catalog: watch::Receiver<Arc<Catalog>>, mesh: Arc<MeshConfig>) -> Pilot {
    Pilot::start(catalog, Options { mesh, domain: "cluster.local".to_owned(), say: Box::new(|_| {}) })
}

/// What a pilot that has just been started gives to each proxy.
async fn from_scratch(catalog: Arc<Catalog>, mesh: Arc<MeshConfig>) -> Vec<Held> {
    let (_sender, receiver) = watch::channel(catalog);
    let pilot = start(receiver, mesh);
    let heard = Arc::new(Notify::new());
    let mut all = vec![];
    for (node, protocol) in nodes() {
        let mut follower = Follower::new(node, protocol, heard.clone());
        follower.connect(&pilot).await;
        all.push(follower);
    }
    let begun = Instant::now();
    loop {
        let held: Vec<Held> = all.iter().filter_map(Follower::complete).collect();
        if held.len() == all.len() {
            return held;
        }
        assert!(begun.elapsed() < PATIENCE, "a new pilot does not give its proxies all that they ask for");
        let _ = tokio::time::timeout(LOOK, heard.notified()).await;
    }
}

/// The pilot that lives through all changes, and its proxies.
struct Live {
    mesh: Mesh,
    config: usize,
    catalog: watch::Sender<Arc<Catalog>>,
    pilot: Pilot,
    followers: Vec<Follower>,
    heard: Arc<Notify>,
    /// What was done last.
    done: Vec<String>,
}

impl Live {
    async fn start(rng: &mut Rng) -> Self {
        let mesh = Mesh::new(rng);
        let (catalog, receiver) = watch::channel(mesh.catalog());
        let (pilot, heard) = (start(receiver, config(0)), Arc::new(Notify::new()));
        let mut followers = vec![];
        for (node, protocol) in nodes() {
            let mut follower = Follower::new(node, protocol, heard.clone());
            follower.connect(&pilot).await;
            followers.push(follower);
        }
        Self { mesh, config: 0, catalog, pilot, followers, heard, done: vec![] }
    }

    /// Does something by chance.
    async fn step(&mut self, rng: &mut Rng) {
        let one = rng.usize(..self.followers.len());
        match rng.u8(..100) {
            0..2 => {
                self.followers[one].disconnect();
                self.done.push(format!("{} leaves", self.followers[one].id));
            }
            2..5 => {
                self.followers[one].refuse_one();
                self.done.push(format!("{} is to refuse", self.followers[one].id));
            }
            5..8 => {
                self.config = rng.usize(..CONFIGS.len());
                self.pilot.configure(config(self.config));
                self.done.push(format!("{:?} holds for the whole mesh", CONFIGS[self.config]));
            }
            8..18 => self.change(rng, 4),
            _ => self.change(rng, 1),
        }
        for follower in self.followers.iter_mut().filter(|follower| !follower.is_connected()) {
            // Changes go on while it is away.
            if rng.u8(..3) == 0 {
                follower.connect(&self.pilot).await;
                self.done.push(format!("{} comes back", follower.id));
            }
        }
    }

    /// Changes several objects, which the pilot sees at once or one after the other.
    fn change(&mut self, rng: &mut Rng, most: usize) {
        let at_once = rng.bool();
        for _ in 0..rng.usize(1..=most) {
            let change = self.mesh.change(rng);
            self.done.push(change);
            if !at_once {
                self.catalog.send_replace(self.mesh.catalog());
            }
        }
        self.catalog.send_replace(self.mesh.catalog());
    }

    /// Waits until each proxy that is connected has just what it should have.
    async fn settle(&self, expected: &[Held]) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let connected = self.followers.iter().zip(expected).filter(|(follower, _)| follower.is_connected());
            let Some((wrong, held)) = connected.clone().find(|(follower, held)| !follower.differs(held).is_empty()) else { return Ok(()) };
            if begun.elapsed() > PATIENCE {
                return Err(format!("{}: {:#?}\n{}", wrong.id, wrong.differs(held), wrong.show(held).join("\n")));
            }
            let _ = tokio::time::timeout(LOOK, self.heard.notified()).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_any_changes_each_proxy_has_what_a_new_pilot_would_give_it() {
    let (steps, seed) = (number("WEIR_CHANGES", STEPS as u64), number("WEIR_CHANGES_SEED", 1));
    let mut rng = Rng::with_seed(seed);
    let mut live = Live::start(&mut rng).await;
    let (begun, mut rebuilding) = (Instant::now(), Duration::ZERO);
    for step in 0..steps {
        live.step(&mut rng).await;
        let rebuild = Instant::now();
        let expected = from_scratch(live.mesh.catalog(), config(live.config)).await;
        rebuilding += rebuild.elapsed();
        if let Err(wrong) = live.settle(&expected).await {
            let last = live.done.iter().rev().take(12).rev().map(String::as_str).collect::<Vec<_>>().join("\n");
            panic!("step {step} of seed {seed}: {wrong}\nafter\n{last}");
        }
    }
    eprintln!("{steps} steps in {:.1?}, of which the rebuilds took {rebuilding:.1?}", begun.elapsed());
}
