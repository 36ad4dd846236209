//! A proxy that does nothing but take what a pilot tells it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value;
use tokio::time::{Instant, timeout, timeout_at};
use weir_ads::{Client, ClientStream, Protocol, grpc};
use weir_testkit::{DEADLINE, until};
use weir_xds::core::Node;
use weir_xds::endpoint::ClusterLoadAssignment;
use weir_xds::prost_types::Struct;
use weir_xds::resource::ResourceType;
use weir_xds::route::RouteConfiguration;
use weir_xds::values::text;
use weir_xds::{Any, json};

/// A sidecar of the namespace `shop`.
pub struct Follower {
    client: Client,
    stream: ClientStream,
    resources: BTreeMap<(ResourceType, Arc<str>), Any>,
}

impl Follower {
    /// Comes to a pilot as soon as that is there, and asks for all clusters, the endpoints of one and the routes of a port.
    pub async fn connect(server: &str, cluster: &str, port: &str) -> Self {
        let mut client = Client::new(Protocol::Delta, node());
        client.want_all(ResourceType::Cluster);
        client.want(ResourceType::Endpoint, [cluster.into()].into());
        client.want(ResourceType::Route, [port.into()].into());
        let mut stream = None;
        until("the pilot is there", async || {
            stream = grpc::client::connect(server, Protocol::Delta).await.ok();
            stream.is_some()
        })
        .await;
        let stream = stream.unwrap();
        for request in client.connect() {
            stream.requests.send(request).await.unwrap();
        }
        Self { client, stream, resources: BTreeMap::new() }
    }

    /// Takes whatever comes, until the pilot is gone.
    pub async fn take_all(mut self) {
        while let Some(response) = self.stream.responses.recv().await {
            let Some(update) = self.client.receive(response) else { continue };
            if self.stream.requests.send(self.client.answer(&update, &[])).await.is_err() {
                return;
            }
        }
    }

    /// Takes what comes until it is so.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + DEADLINE;
        while !holds(self) {
            let response = timeout_at(end, self.stream.responses.recv()).await;
            let response = response.unwrap_or_else(|_| panic!("not within {DEADLINE:?}: {what}")).expect("the pilot goes on");
            let Some(update) = self.client.receive(response) else { continue };
            for name in &update.removals {
                self.resources.remove(&(update.kind, name.clone()));
            }
            self.resources.extend(update.upserts.iter().map(|(name, body)| ((update.kind, name.clone()), body.clone())));
            let answer = self.client.answer(&update, &[]);
            timeout(DEADLINE, self.stream.requests.send(answer)).await.unwrap().unwrap();
        }
    }

    /// The names of all clusters.
    pub fn clusters(&self) -> BTreeSet<&str> {
        self.resources.keys().filter(|(kind, _)| *kind == ResourceType::Cluster).map(|(_, name)| &**name).collect()
    }

    /// The endpoints of a cluster that take requests, with their zones: `10.0.0.1:80 zone`.
    pub fn endpoints(&self, cluster: &str) -> BTreeSet<String> {
        let healthy = self.told(cluster).into_iter().filter(|[_, _, health]| ["HEALTHY", "UNKNOWN"].contains(&health.as_str()));
        healthy.map(|[address, zone, _]| format!("{address} {zone}")).collect()
    }

    /// All endpoints of a cluster, with as what they are told: `10.0.0.1:80 HEALTHY`.
    pub fn statuses(&self, cluster: &str) -> BTreeSet<String> {
        self.told(cluster).into_iter().map(|[address, _, health]| format!("{address} {health}")).collect()
    }

    /// Address, zone and health of each endpoint.
    fn told(&self, cluster: &str) -> Vec<[String; 3]> {
        let Some(body) = self.resources.get(&(ResourceType::Endpoint, cluster.into())) else { return vec![] };
        let told: Value = json::to_value(&body.unpack::<ClusterLoadAssignment>().unwrap(), json::Names::Camel).unwrap();
        let mut found = vec![];
        for locality in told["endpoints"].as_array().into_iter().flatten() {
            let zone = locality["locality"]["zone"].as_str().unwrap_or("-");
            for endpoint in locality["lbEndpoints"].as_array().into_iter().flatten() {
                let address = &endpoint["endpoint"]["address"]["socketAddress"];
                let address = format!("{}:{}", address["address"].as_str().unwrap(), address["portValue"]);
                found.push([address, zone.to_owned(), endpoint["healthStatus"].as_str().unwrap_or("UNKNOWN").to_owned()]);
            }
        }
        found
    }

    /// The names of the routes of a port.
    pub fn routes(&self, port: &str) -> BTreeSet<String> {
        let Some(body) = self.resources.get(&(ResourceType::Route, port.into())) else { return BTreeSet::new() };
        let table = body.unpack::<RouteConfiguration>().unwrap();
        table.virtual_hosts.into_iter().flat_map(|host| host.routes).map(|route| route.name).collect()
    }
}

fn node() -> Node {
    let fields = [("NAMESPACE", "shop"), ("INSTANCE_IPS", "10.244.9.9"), ("INTERCEPTION_MODE", "REDIRECT")];
    let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), text(value))).collect();
    Node { id: "sidecar~10.244.9.9~client.shop~shop.svc.cluster.local".to_owned(), metadata: Some(Struct { fields }), ..Default::default() }
}
