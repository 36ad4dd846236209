//! How a case is written: rules or whole resources, calls, and what each must lead to.

/// The cases that share one configuration.
pub(super) struct Group {
    /// The mesh's configuration beside the usual one.
    pub mesh_config: &'static str,
    /// The host of a certificate, which the Secret `certificate` has.
    pub certificate: Option<&'static str>,
    /// Whole resources.
    pub resources: Vec<String>,
    /// The cases, in the order in which they are tried.
    pub cases: Vec<Case>,
}

/// Calls about one thing.
pub(super) struct Case {
    /// What it is about. With rules of its own that is their host, which its calls ask for if they say nothing else.
    pub name: &'static str,
    /// The `http` rules of a VirtualService for that host, at the gateway and in the mesh.
    pub rules: Option<&'static str>,
    pub calls: Vec<Call>,
}

/// Where a call is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// A port of the gateway.
    Gateway(&'static str),
    /// A port of the client's sidecar.
    Sidecar(&'static str),
}

/// What is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speech {
    Http,
    Tcp,
    /// HTTP within TLS that a gateway terminates; the server name is that of the group's certificate.
    Https,
    /// TLS that nobody terminates, with this server name.
    Tls(Option<&'static str>),
}

/// A request, or a connection.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub doors: Vec<Door>,
    pub speech: Speech,
    /// The address that a connection goes to.
    pub address: &'static str,
    pub method: &'static str,
    pub path: &'static str,
    /// The host that it asks for; the case's own if it says nothing.
    pub host: Option<&'static str>,
    pub headers: Vec<(&'static str, &'static str)>,
    pub outcome: Outcome,
    /// The name of the route, if it matters: only an explanation tells it.
    pub route: Option<&'static str>,
    /// What the instance must see: the values of a header, or of `:path` or `:method`.
    pub seen: Vec<(&'static str, &'static [&'static str])>,
    /// The values of headers that the client must see.
    pub answered: Vec<(&'static str, &'static [&'static str])>,
}

/// What a call leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This instance answers, with 200.
    Reaches(&'static str),
    /// These instances answer, each in proportion to its weight.
    Shares(&'static [(&'static str, u32)]),
    /// The client is sent elsewhere.
    Redirects(u16, &'static str),
    /// The rule answers itself, with this body.
    Answers(u16, &'static str),
    /// The client is sent to the same place by https, because the gateway's server asks for it.
    RedirectsToHttps(&'static str),
    /// A filter before the router answers: what the route says does not matter.
    Filtered(u16),
    /// No virtual host is for it: 404.
    NoHost,
    /// No route of its virtual host is for it: 404.
    NoRoute,
    /// Its cluster has nobody, or is none: the proxy answers with this status.
    Fails(u16, &'static str),
    /// The connection reaches nobody: the error, or the cluster, that `weir explain` names.
    Nobody(&'static str),
}

impl Group {
    pub fn new() -> Self {
        Self { mesh_config: "", certificate: None, resources: vec![], cases: vec![] }
    }

    pub fn mesh_config(mut self, text: &'static str) -> Self {
        self.mesh_config = text;
        self
    }

    pub fn certificate(mut self, host: &'static str) -> Self {
        self.certificate = Some(host);
        self
    }

    /// A resource of Istio: `Kind namespace/name`, and its `spec`.
    pub fn resource(mut self, what: &str, spec: &str) -> Self {
        let (kind, name) = what.split_once(' ').unwrap();
        let (namespace, name) = name.split_once('/').unwrap();
        let spec: String = spec.trim_matches('\n').lines().map(|line| format!("  {line}\n")).collect();
        let head = format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n");
        self.resources.push(head + &spec);
        self
    }

    /// A resource that says how old it is: the year in which it was made.
    pub fn resource_of(mut self, year: u16, what: &str, spec: &str) -> Self {
        self = self.resource(what, spec);
        let resource = self.resources.last_mut().unwrap();
        *resource = resource.replacen("}\nspec:", &format!(", creationTimestamp: \"{year}-01-01T00:00:00Z\"}}\nspec:"), 1);
        self
    }

    /// A service: `namespace/name`, its host, its protocol and port, and its only instance.
    pub fn service(self, what: &str, host: &str, port: &str, instance: &str) -> Self {
        let (protocol, number) = port.split_once(' ').unwrap();
        let ports = format!("ports: [{{number: {number}, name: main, protocol: {protocol}}}]");
        let spec = format!("hosts: ['{host}']\nlocation: MESH_INTERNAL\nresolution: STATIC\n{ports}\nendpoints: [<{instance}>]");
        self.resource(&format!("ServiceEntry {what}"), &spec)
    }

    /// Calls about the group's resources.
    pub fn case<const N: usize>(mut self, name: &'static str, calls: [Call; N]) -> Self {
        self.cases.push(Case { name, rules: None, calls: calls.into() });
        self
    }

    /// Calls about these `http` rules for a host.
    pub fn rules<const N: usize>(mut self, host: &'static str, rules: &'static str, calls: [Call; N]) -> Self {
        self.cases.push(Case { name: host, rules: Some(rules), calls: calls.into() });
        self
    }
}

/// A request at the gateway and at the sidecar.
pub(super) fn get(path: &'static str) -> Call {
    Call {
        doors: vec![Door::Gateway("gateway"), Door::Sidecar("http")],
        speech: Speech::Http,
        address: "127.0.0.1",
        method: "GET",
        path,
        host: None,
        headers: vec![],
        outcome: Outcome::NoHost,
        route: None,
        seen: vec![],
        answered: vec![],
    }
}

/// A request within TLS to the gateway's port `secure`.
pub(super) fn get_securely(path: &'static str) -> Call {
    Call { speech: Speech::Https, ..get(path).at(Door::Gateway("secure")) }
}

/// A connection to the sidecar's port for TCP.
pub(super) fn tcp() -> Call {
    Call { doors: vec![Door::Sidecar("tcp")], speech: Speech::Tcp, ..get("") }
}

/// A connection that speaks TLS with a server name.
pub(super) fn tls(server_name: &'static str) -> Call {
    Call { speech: Speech::Tls(Some(server_name)), ..tcp() }
}

impl Call {
    pub fn at_gateway(self) -> Self {
        self.at(Door::Gateway("gateway"))
    }

    pub fn at_sidecar(self) -> Self {
        self.at(Door::Sidecar("http"))
    }

    pub fn at(mut self, door: Door) -> Self {
        self.doors = vec![door];
        self
    }

    pub fn address(mut self, address: &'static str) -> Self {
        self.address = address;
        self
    }

    pub fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    pub fn host(mut self, host: &'static str) -> Self {
        self.host = Some(host);
        self
    }

    /// Adds a header; one that is added twice is sent twice.
    pub fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn leads_to(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    pub fn reaches(self, instance: &'static str) -> Self {
        self.leads_to(Outcome::Reaches(instance))
    }

    pub fn shares(self, shares: &'static [(&'static str, u32)]) -> Self {
        self.leads_to(Outcome::Shares(shares))
    }

    pub fn redirects(self, status: u16, location: &'static str) -> Self {
        self.leads_to(Outcome::Redirects(status, location))
    }

    pub fn redirects_to_https(self, location: &'static str) -> Self {
        self.leads_to(Outcome::RedirectsToHttps(location))
    }

    pub fn answers(self, status: u16, body: &'static str) -> Self {
        self.leads_to(Outcome::Answers(status, body))
    }

    pub fn filtered(self, status: u16) -> Self {
        self.leads_to(Outcome::Filtered(status))
    }

    pub fn finds_no_host(self) -> Self {
        self.leads_to(Outcome::NoHost)
    }

    pub fn finds_no_route(self) -> Self {
        self.leads_to(Outcome::NoRoute)
    }

    pub fn fails(self, status: u16, cluster: &'static str) -> Self {
        self.leads_to(Outcome::Fails(status, cluster))
    }

    pub fn reaches_nobody(self, why: &'static str) -> Self {
        self.leads_to(Outcome::Nobody(why))
    }

    pub fn by_route(mut self, name: &'static str) -> Self {
        self.route = Some(name);
        self
    }

    /// The instance sees these values of a header; none if there are none.
    pub fn sees(mut self, name: &'static str, values: &'static [&'static str]) -> Self {
        self.seen.push((name, values));
        self
    }

    /// The client sees these values of a header; none if there are none.
    pub fn gets(mut self, name: &'static str, values: &'static [&'static str]) -> Self {
        self.answered.push((name, values));
        self
    }
}
