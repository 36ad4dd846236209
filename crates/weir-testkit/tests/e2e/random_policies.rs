//! AuthorizationPolicies at random, of clients with certificates and without: Weir's proxy lets in whom Envoy lets in.

use fastrand::Rng;
use serde_json::{Map, Value, json};
use weir_testkit::{Certified, Client, DataPlane, Made, MeshAuthority, until};

use crate::mutual_tls::{Started, start};
use crate::support::random_policies;

const FILE: &str = "random.yaml";
/// Stands for the port of the application, which each mesh has its own.
const PORT: &str = "PORT";
/// Says which of the policies is about a request: so all of them are in force at once.
const CASE: &str = "x-case";

/// Who asks: by no certificate, or by that of an account.
const ASKERS: [Option<&str>; 4] = [
    None,
    Some("spiffe://cluster.local/ns/default/sa/app"),
    Some("spiffe://cluster.local/ns/other/sa/bob"),
    Some("spiffe://cluster.local/ns/shop/sa/web"),
];

const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/A", "/a/b/c", "/a/b.txt", "/a;b", "/a%2fb", "/b"];
const HOSTS: &[&str] = &["app.test", "APP.test", "other.test:80", "app"];
const VALUES: &[&str] = &["1", "12", "abc", "c"];
const FORWARDED: &[&str] = &["10.1.2.3", "192.0.2.1, 10.1.2.3"];

/// What rules may say: a field, the one of those that it is not about, and values.
type Field = (&'static str, &'static str, &'static [&'static str]);

const PRINCIPALS: &[&str] =
    &["cluster.local/ns/other/sa/bob", "cluster.local/ns/default/*", "*/sa/web", "cluster.local/*", "other.local/ns/other/sa/bob", "*"];
const NAMESPACES: &[&str] = &["other", "default", "sh*", "*er", "*"];
const DIRECT: &[&str] = &["127.0.0.1", "127.0.0.0/8", "10.0.0.0/8", "::/0"];
const REMOTE: &[&str] = &["127.0.0.0/8", "10.1.0.0/16", "192.0.2.1"];

const SOURCE: &[Field] = &[
    ("principals", "notPrincipals", PRINCIPALS),
    ("namespaces", "notNamespaces", NAMESPACES),
    ("ipBlocks", "notIpBlocks", DIRECT),
    ("remoteIpBlocks", "notRemoteIpBlocks", REMOTE),
    ("requestPrincipals", "notRequestPrincipals", &["*", "issuer/subject"]),
];
/// No other name of a client may stand beside them.
const ACCOUNTS: &[Field] =
    &[("serviceAccounts", "notServiceAccounts", &["app", "other/bob", "shop/web", "shop/other"]), ("ipBlocks", "notIpBlocks", DIRECT)];
const OPERATION: &[Field] = &[
    ("paths", "notPaths", &["/a", "/a/*", "*.txt", "/b", "/a/{*}", "/{**}", "/{*}/b", "*"]),
    ("methods", "notMethods", &["GET", "POST", "*"]),
    ("hosts", "notHosts", &["app.test", "*.test", "other.*", "app", "*"]),
    ("ports", "notPorts", &[PORT, "80"]),
];
const CONDITIONS: &[(&str, &[&str])] = &[
    ("request.headers[x-a]", &["1", "1*", "*c", "abc", "*"]),
    ("source.ip", DIRECT),
    ("remote.ip", REMOTE),
    ("source.namespace", NAMESPACES),
    ("source.principal", PRINCIPALS),
    ("request.auth.principal", &["*", "issuer/subject"]),
    ("request.auth.claims[group]", &["a", "*"]),
    ("destination.ip", &["127.0.0.20", "10.0.0.0/8"]),
    ("destination.port", &[PORT, "80"]),
    ("connection.sni", &["app", "*.test", "*"]),
];

fn pick(random: &mut Rng, all: &'static [&'static str]) -> &'static str {
    all[random.usize(..all.len())]
}

fn values(random: &mut Rng, all: &'static [&'static str]) -> Vec<&'static str> {
    (0..random.usize(1..3)).map(|_| pick(random, all)).collect()
}

/// Some of the fields, one at least.
fn some_of(random: &mut Rng, fields: &[Field]) -> Value {
    let mut some = Map::new();
    while some.is_empty() {
        for (field, not_field, all) in fields {
            let (is, is_not) = [(true, false), (false, true), (true, true), (false, false)][random.usize(..9).min(3)];
            for field in [(*field, is), (*not_field, is_not)].iter().filter_map(|(field, is_there)| is_there.then_some(*field)) {
                some.insert(field.to_owned(), json!(values(random, all)));
            }
        }
    }
    Value::Object(some)
}

fn condition(random: &mut Rng) -> Value {
    let (key, all) = CONDITIONS[random.usize(..CONDITIONS.len())];
    let mut condition = json!({"key": key});
    let (is, is_not) = [(true, false), (false, true), (true, true)][random.usize(..3)];
    for field in [("values", is), ("notValues", is_not)].iter().filter_map(|(field, is_there)| is_there.then_some(*field)) {
        condition[field] = json!(values(random, all));
    }
    condition
}

/// A rule of a case's policy.
fn rule(random: &mut Rng, case: usize) -> Value {
    let mut rule = json!({"when": [{"key": format!("request.headers[{CASE}]"), "values": [case.to_string()]}]});
    let several = |random: &mut Rng, make: &dyn Fn(&mut Rng) -> Value| (0..random.usize(1..3)).map(|_| make(random)).collect::<Vec<_>>();
    if random.bool() {
        rule["from"] = several(random, &|random| {
            let fields = if random.u8(..4) == 0 { ACCOUNTS } else { SOURCE };
            json!({"source": some_of(random, fields)})
        })
        .into();
    }
    if random.bool() {
        rule["to"] = several(random, &|random| json!({"operation": some_of(random, OPERATION)})).into();
    }
    if let Some(when) = rule["when"].as_array_mut().filter(|_| random.bool()) {
        when.extend(several(random, &condition));
    }
    rule
}

/// A policy of an action for the application; of each case it has some rules.
fn policy(action: &str, rules: &[Vec<Value>]) -> String {
    let spec = json!({"selector": {"matchLabels": {"app": "app"}}, "action": action, "rules": rules.concat()});
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {}, namespace: default}}\nspec: {spec}\n",
        action.to_lowercase()
    )
}

/// Clients of one mesh, in the order of [`ASKERS`].
fn clients(authority: &MeshAuthority, mesh: &Started) -> Vec<Client> {
    let client = |id: &Option<&'static str>| {
        let plain = Client::to((Certified::APPLICATION, mesh.port), "app");
        match id {
            None => plain,
            Some(_) => plain.showing(authority.make(Made { id: *id, from: -1, until: 1, by_revoked: false })),
        }
    };
    ASKERS.iter().map(client).collect()
}

/// What is asked.
#[derive(Debug, Clone)]
struct Question {
    asker: usize,
    method: &'static str,
    path: &'static str,
    headers: Vec<(&'static str, String)>,
}

impl Question {
    fn at_random(random: &mut Rng, case: usize) -> Self {
        let mut headers = vec![(CASE, case.to_string()), ("host", pick(random, HOSTS).to_owned())];
        for _ in 0..random.usize(..3) {
            headers.push(("x-a", pick(random, VALUES).to_owned()));
        }
        if random.bool() {
            headers.push(("x-forwarded-for", pick(random, FORWARDED).to_owned()));
        }
        Self { asker: random.usize(..ASKERS.len()), method: pick(random, &["GET", "POST"]), path: pick(random, PATHS), headers }
    }

    async fn ask(&self, clients: &mut [Client]) -> u16 {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        clients[self.asker].ask(self.method, self.path, &headers).await.unwrap().status
    }
}

#[tokio::test]
async fn policies_at_random_mean_the_same_to_envoy() {
    if !DataPlane::Envoy.is_available() {
        return;
    }
    let ((cases, requests), mut random, authority) = (random_policies(), Rng::with_seed(17), MeshAuthority::new());
    let mut rules = |least: usize| -> Vec<Vec<Value>> {
        (0..cases).map(|case| (0..random.usize(least..4)).map(|_| rule(&mut random, case)).collect()).collect()
    };
    let (allow, deny) = (rules(1), rules(0));
    let text = policy("ALLOW", &allow) + &policy("DENY", &deny);
    let (weir, envoy) =
        tokio::join!(start(DataPlane::Weir, "PERMISSIVE", &authority, "1h"), start(DataPlane::Envoy, "PERMISSIVE", &authority, "1h"));
    let [mut of_weir, mut of_envoy] = [&weir, &envoy].map(|mesh| clients(&authority, mesh));
    for (mesh, clients) in [(&weir, &mut of_weir), (&envoy, &mut of_envoy)] {
        mesh.mesh.write(FILE, &text.replace(PORT, &mesh.port.to_string()));
        // They say nothing of a request of no case.
        until("the policies are in force", async || clients[0].get("/", &[]).await.is_ok_and(|answer| answer.status == 403)).await;
    }
    let (mut differences, mut let_in) = (vec![], 0);
    for case in 0..cases {
        for _ in 0..requests {
            let question = Question::at_random(&mut random, case);
            let (ours, theirs) = tokio::join!(question.ask(&mut of_weir), question.ask(&mut of_envoy));
            assert!(matches!(theirs, 200 | 403), "{theirs}: {question:?}");
            let_in += usize::from(theirs == 200);
            if ours != theirs {
                differences.push(format!("{ours}, Envoy {theirs}: {question:?}\nallow {:?}\ndeny {:?}", allow[case], deny[case]));
            }
        }
    }
    let all = cases * requests;
    assert!(differences.is_empty(), "{} of {all}\n{}", differences.len(), differences[..differences.len().min(5)].join("\n"));
    eprintln!("{cases} random policies, {all} requests, of which {let_in} were let in: no difference");
    assert!((all / 10..all - all / 10).contains(&let_in), "{let_in} of {all} are let in: that tells little");
}
