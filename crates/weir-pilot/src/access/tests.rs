use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::SystemTime;

use tokio::time::timeout;
use weir_ads::{Certified, Client, ClientStream, Peer, Protocol, Shown, stream as ads};
use weir_api::{Source, parse};
use weir_registry::Catalog;
use weir_xds::core::Node;
use weir_xds::resource::ResourceType;

use super::*;
use crate::shared::{Options, Shared};
use crate::stream::serve;

/// Answers in this order, and counts.
#[derive(Default)]
struct Answers(Mutex<Vec<Result<bool, String>>>);

const KEPT: Duration = Duration::from_secs(60);

impl KeyAccess for Answers {
    fn judge(&self, _: &Identity) -> Judging {
        let answer = self.0.lock().unwrap().pop().unwrap();
        Box::pin(async move { answer.map(|is_allowed| Verdict { is_allowed, until: Instant::now() + KEPT }) })
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_asked_again_when_it_may_be_otherwise_and_only_where_it_matters() {
    let answers = vec![Ok(false), Ok(false), Err("away".to_owned()), Ok(true), Ok(true), Err("away".to_owned())];
    let answers = Arc::new(Answers(Mutex::new(answers)));
    let mut permission = Permission::new(answers.clone(), Identity::new("shop", "gateway"));
    let long = Duration::from_secs(86400);
    assert!(timeout(long, permission.changed()).await.is_err(), "there are no keys");
    permission.is_needed = true;
    let begin = Instant::now();
    permission.changed().await;
    assert!(permission.is_given() && begin.elapsed() >= AGAIN && begin.elapsed() < KEPT, "who does not answer gives nothing");
    permission.changed().await;
    let took = begin.elapsed();
    assert!(!permission.is_given() && took >= AGAIN + 2 * KEPT + AGAIN, "it holds while nobody answers: {took:?}");
    assert_eq!(answers.0.lock().unwrap().len(), 1);
}

/// A gateway whose only server asks for its clients' certificates.
const MESH: &str = "apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: edge, namespace: shop}
spec: {address: 10.0.0.1, serviceAccount: edge, labels: {istio: edge, weir.dev/proxy-type: router}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec:
  selector: {istio: edge}
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: [example.com]
    tls: {mode: MUTUAL, credentialName: SECRET}
---
apiVersion: v1
kind: Secret
metadata: {name: web-cacert, namespace: shop}
stringData: {tls.crt: c, tls.key: k, ca.crt: a}
---
apiVersion: v1
kind: Secret
metadata: {name: web-cacert-cacert, namespace: shop}
stringData: {ca.crt: a}
";

/// A pilot of that mesh.
fn mesh(access: Arc<dyn KeyAccess>) -> Arc<Shared> {
    let options = Options { mesh: Arc::default(), domain: "cluster.local".to_owned(), say: Box::new(|_| {}) };
    let shared = Arc::new(Shared::new(options));
    shared.key_access.get_or_init(|| access);
    shared.read(&Arc::new(Catalog::of(parse(&Source::new("mesh.yaml", MESH.replace("SECRET", "web-cacert"))).objects)));
    shared
}

/// The gateway's proxy, by its certificate.
fn gateway(shared: &Arc<Shared>) -> (Client, ClientStream) {
    let (client, mut stream) = ads::pair(Protocol::Delta);
    let ends = SystemTime::now() + Duration::from_secs(36000);
    let certificate = Ok(Some(Certified { id: "spiffe://cluster.local/ns/shop/sa/edge".to_owned(), ends }));
    stream.peer = Peer::Tls(Arc::new(Shown { peer: "192.0.2.1:7".parse().unwrap(), certificate, token: None }));
    tokio::spawn(serve(stream, shared.clone()));
    let node = Node { id: "router~10.0.0.1~edge.shop~shop.svc.cluster.local".to_owned(), ..Node::default() };
    let mut state = Client::new(Protocol::Delta, node);
    state.want_all(ResourceType::Listener);
    state.want(ResourceType::Secret, NAMES.map(Into::into).into());
    (state, client)
}

/// One is a key though its name is that of authorities.
const NAMES: [&str; 2] = ["kubernetes://web-cacert", "kubernetes://web-cacert-cacert"];

#[tokio::test(start_paused = true)]
async fn keys_come_and_go_with_the_permission_and_nothing_else_does() {
    let shared = mesh(Arc::new(Answers(Mutex::new(vec![Ok(true), Ok(false), Ok(true), Ok(false)]))));
    let (mut client, mut stream) = gateway(&shared);
    for request in client.connect() {
        stream.requests.send(request).await.unwrap();
    }
    let (mut has, mut listeners, mut turns) = (BTreeSet::<Arc<str>>::new(), 0, vec![]);
    while turns.last() != Some(&2) || turns.len() < 4 {
        let response = timeout(KEPT * 4, stream.responses.recv()).await.unwrap().unwrap();
        let update = client.receive(response).unwrap();
        match update.kind {
            ResourceType::Secret => {
                has.retain(|name| !update.removals.contains(name));
                has.extend(update.upserts.iter().map(|(name, _)| name.clone()));
                assert!(has.contains(NAMES[1]) || has.is_empty(), "{has:?}");
                if turns.last() != Some(&has.len()) && !has.is_empty() {
                    turns.push(has.len());
                }
            }
            _ => listeners += update.upserts.len() + update.removals.len(),
        }
        stream.requests.send(client.answer(&update, &[])).await.unwrap();
    }
    assert_eq!(turns, [1, 2, 1, 2]);
    assert_eq!(listeners, 1, "it listens all the time");
}

/// Does not answer.
struct Silent;

impl KeyAccess for Silent {
    fn judge(&self, _: &Identity) -> Judging {
        Box::pin(std::future::pending())
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_an_answer_keeps_nobody_else_from_coming() {
    let shared = mesh(Arc::new(Silent));
    let (begin, mut streams) = (Instant::now(), vec![]);
    for _ in 0..12 {
        let (mut client, stream) = gateway(&shared);
        for request in client.connect() {
            stream.requests.send(request).await.unwrap();
        }
        streams.push(stream);
    }
    for stream in &mut streams {
        timeout(KEPT, stream.responses.recv()).await.unwrap().unwrap();
    }
    let took = begin.elapsed();
    assert!(took >= FIRST && took < 2 * FIRST, "they wait at the same time: {took:?}");
}
