//! `weir get`: resources as kubectl shows them, from files, from a cluster, or from a running mesh.

mod columns;
mod served;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::{Kind, Object, Spec};
use weir_model::{AutomaticAddresses, DEFAULT_DOMAIN, MeshSnapshot};
use weir_registry::files::Input;
use weir_registry::{Catalog, files};

use crate::cli::{ClusterArgs, GetArgs, ListOutput, USUAL_ADMIN, runs_as_plugin};
use crate::mesh::Cluster;
use crate::print;

/// The namespace that is meant where none is named.
const DEFAULT_NAMESPACE: &str = "default";

/// Where the admin interface answers these questions.
pub(crate) const PATH: &str = "/weir/resources";

/// What is asked.
pub(crate) struct Query {
    kind: Kind,
    name: Option<String>,
    /// All, if there is none.
    namespace: Option<String>,
    output: ListOutput,
}

/// Where resources are read.
enum Place<'p> {
    /// Files, or folders of files.
    Files(Vec<Input>),
    Cluster(&'p ClusterArgs),
    /// The mesh that answers there.
    Running(SocketAddr),
}

fn place(args: &GetArgs) -> Place<'_> {
    match (&args.files[..], args.admin) {
        ([], Some(admin)) => Place::Running(admin),
        ([], None) if args.cluster.is_meant() || runs_as_plugin() => Place::Cluster(&args.cluster),
        ([], None) => Place::Running(USUAL_ADMIN),
        (files, _) => Place::Files(files.iter().map(|path| Input::from(path.as_path())).collect()),
    }
}

/// Reads, or asks, and prints.
///
/// # Errors
/// If the kind is unknown, or nobody answers.
pub(crate) fn run(args: &GetArgs) -> anyhow::Result<ExitCode> {
    let of_namespace = |usual: &str| Query::new(args, usual).map_err(|message| anyhow::anyhow!(message));
    let (query, answer) = match place(args) {
        Place::Running(admin) => {
            let query = of_namespace(DEFAULT_NAMESPACE)?;
            let answer = query.ask(admin)?;
            (query, answer)
        }
        Place::Cluster(cluster) => {
            // What is no kind is told without a cluster.
            of_namespace(DEFAULT_NAMESPACE)?;
            let cluster = Cluster::reach(cluster)?;
            let query = of_namespace(cluster.namespace())?;
            let answer = query.look(&cluster)?;
            (query, answer)
        }
        Place::Files(inputs) => {
            let query = of_namespace(DEFAULT_NAMESPACE)?;
            let catalog = files::read(&inputs);
            catalog.diagnostics().for_each(print::diagnostic);
            let answer = query.answer(&catalog, &query.mesh_of(&catalog));
            (query, answer)
        }
    };
    match answer {
        Ok(text) if text.is_empty() => print::say(&query.nothing()),
        Ok(text) => print::result(&text),
        Err(message) => {
            print::say(&message);
            return Ok(ExitCode::from(1));
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Query {
    /// What a command line asks, where this namespace is meant if it names none.
    fn new(args: &GetArgs, usual: &str) -> Result<Self, String> {
        let namespace = (!args.all_namespaces).then(|| args.namespace.as_deref().unwrap_or(usual).to_owned());
        let (kind_word, name) = match (args.kind.split_once('/'), &args.name) {
            (Some((kind, name)), None) => (kind, Some(name.to_owned())),
            (Some(_), Some(name)) => return Err(format!("{} names a resource, and so does {name:?}: one at a time", args.kind)),
            (None, name) => (args.kind.as_str(), name.clone()),
        };
        Ok(Self { kind: kind(kind_word)?, name, namespace, output: args.output })
    }

    /// A question that came to the admin interface.
    ///
    /// # Errors
    /// If it asks for an unknown kind.
    pub fn from_admin(parameter: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let output = match parameter("output").as_deref() {
            Some("json") => ListOutput::Json,
            Some("yaml") => ListOutput::Yaml,
            Some("wide") => ListOutput::Wide,
            Some("name") => ListOutput::Name,
            _ => ListOutput::Table,
        };
        let kind = kind(&parameter("kind").unwrap_or_else(|| "virtualservices".to_owned()))?;
        Ok(Self { kind, name: parameter("name"), namespace: parameter("namespace"), output })
    }

    /// The answer; empty if there is nothing of the kind.
    ///
    /// # Errors
    /// If the resource that is named is not there.
    pub fn answer(&self, catalog: &Catalog, mesh: &MeshSnapshot) -> Result<String, String> {
        let mut found: Vec<&Arc<Object>> = catalog.objects().filter(|object| self.wants(object)).collect();
        found.sort_by(|a, b| (&a.meta.namespace, &a.meta.name).cmp(&(&b.meta.namespace, &b.meta.name)));
        if let (Some(name), true) = (&self.name, found.is_empty()) {
            return Err(self.missing(name));
        }
        let table = |is_wide| match found.as_slice() {
            [] => String::new(),
            found => columns::table(self.kind, found, self.namespace.is_none(), is_wide, catalog),
        };
        match self.output {
            ListOutput::Table => Ok(table(false)),
            ListOutput::Wide => Ok(table(true)),
            ListOutput::Name => Ok(found.iter().map(|object| self.line(&object.meta.name)).collect()),
            ListOutput::Json | ListOutput::Yaml => {
                let documents = found.iter().map(|object| document(object, mesh)).collect();
                self.print(self.documents(documents))
            }
        }
    }

    /// The answer of a cluster; empty if there is nothing of the kind.
    fn look(&self, cluster: &Cluster) -> anyhow::Result<Result<String, String>> {
        let (namespace, name) = (self.namespace.as_deref(), self.name.as_deref());
        let answer = match self.output {
            ListOutput::Table | ListOutput::Wide => {
                let pages = cluster.tables(self.kind, namespace, name)?;
                Ok(served::table(&pages, self.namespace.is_none(), self.output == ListOutput::Wide))
            }
            ListOutput::Name => {
                let objects = cluster.objects(self.kind, namespace, name)?;
                let names = objects.iter().filter_map(|object| object.pointer("/metadata/name")?.as_str());
                Ok(names.map(|name| self.line(name)).collect())
            }
            ListOutput::Json | ListOutput::Yaml => match cluster.objects(self.kind, namespace, name)? {
                objects if objects.is_empty() && name.is_some() => Ok(String::new()),
                objects => self.print(self.documents(objects.into_iter().map(|object| self.shown(object)).collect())),
            },
        };
        Ok(answer.and_then(|text| match name {
            Some(name) if text.is_empty() => Err(self.missing(name)),
            _ => Ok(text),
        }))
    }

    /// An object of a cluster as kubectl shows it, but for what is secret.
    fn shown(&self, mut object: Value) -> Value {
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("managedFields");
        }
        if self.kind == Kind::Secret {
            redact(&mut object);
        }
        object
    }

    /// `kind.group/name`, as kubectl names resources.
    fn line(&self, name: &str) -> String {
        let kind = self.kind.name().to_lowercase();
        match self.kind.group() {
            "" => format!("{kind}/{name}\n"),
            group => format!("{kind}.{group}/{name}\n"),
        }
    }

    fn print(&self, document: Value) -> Result<String, String> {
        match self.output {
            ListOutput::Yaml => serde_saphyr::to_string(&document).map_err(|error| error.to_string()),
            _ => serde_json::to_string_pretty(&document).map(|text| text + "\n").map_err(|error| error.to_string()),
        }
    }

    fn missing(&self, name: &str) -> String {
        format!("there is no {} {name:?}{}", self.kind.name(), self.place())
    }

    /// As much of the mesh of these objects as the answer tells: what its ServiceEntries are given depends on all of them.
    fn mesh_of(&self, catalog: &Catalog) -> MeshSnapshot {
        let is_told = |object: &&Arc<Object>| self.kind == Kind::ServiceEntry && matches!(object.kind, Kind::ServiceEntry | Kind::Service);
        MeshSnapshot::new(&catalog.objects().filter(is_told).cloned().collect::<Vec<_>>(), Arc::default(), DEFAULT_DOMAIN)
    }

    fn wants(&self, object: &Object) -> bool {
        object.kind == self.kind
            && self.name.as_ref().is_none_or(|name| *name == object.meta.name)
            && self.namespace.as_ref().is_none_or(|namespace| object.meta.namespace.is_empty() || *namespace == object.meta.namespace)
    }

    /// One object if one is named, else a list.
    fn documents(&self, mut found: Vec<Value>) -> Value {
        match (found.len(), &self.name) {
            (1, Some(_)) => found.remove(0),
            _ => json!({ "apiVersion": "v1", "kind": "List", "items": found }),
        }
    }

    fn place(&self) -> String {
        self.namespace.as_ref().map(|namespace| format!(" in namespace {namespace}")).unwrap_or_default()
    }

    fn nothing(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("No resources found in {namespace} namespace."),
            None => "No resources found.".to_owned(),
        }
    }

    /// Asks a running mesh.
    fn ask(&self, admin: SocketAddr) -> anyhow::Result<Result<String, String>> {
        let output = match self.output {
            ListOutput::Table => "table",
            ListOutput::Wide => "wide",
            ListOutput::Name => "name",
            ListOutput::Json => "json",
            ListOutput::Yaml => "yaml",
        };
        let mut query = vec![("kind", self.kind.plural()), ("output", output)];
        query.extend(self.name.as_deref().map(|name| ("name", name)));
        query.extend(self.namespace.as_deref().map(|namespace| ("namespace", namespace)));
        crate::mesh::ask(admin, PATH, &query)
    }
}

fn kind(word: &str) -> Result<Kind, String> {
    Kind::from_word(word).map_err(|likely| {
        let hint = likely.map(|likely| format!("; did you mean {likely}?")).unwrap_or_default();
        let all: Vec<&str> = Kind::all().map(Kind::plural).collect();
        format!("{word:?} is no kind of resource{hint} There are {}", all.join(", "))
    })
}

/// An object as it is written, with its namespace, and what the mesh gives it; what is secret in it is not shown.
fn document(object: &Object, mesh: &MeshSnapshot) -> Value {
    let mut json = object.node.to_json();
    let given = given(object, mesh);
    if !given.is_empty() {
        // Whatever somebody wrote there, it is not his to say.
        if !json["status"].is_object() {
            json["status"] = json!({});
        }
        json["status"]["addresses"] = given.into();
    }
    if !object.meta.namespace.is_empty() {
        json["metadata"]["namespace"] = object.meta.namespace.clone().into();
    }
    if object.kind == Kind::Secret {
        redact(&mut json);
    }
    json
}

/// Hides the values of a Secret, and what kubectl applied of it last.
fn redact(json: &mut Value) {
    for values in ["data", "stringData"] {
        for (_, value) in json.get_mut(values).and_then(Value::as_object_mut).into_iter().flatten() {
            *value = "[redacted]".into();
        }
    }
    if let Some(applied) = json.pointer_mut("/metadata/annotations/kubectl.kubernetes.io~1last-applied-configuration") {
        *applied = "[redacted]".into();
    }
}

/// The addresses that the hosts of a ServiceEntry are given, as Istio writes them into its status.
fn given(object: &Object, mesh: &MeshSnapshot) -> Vec<Value> {
    let Spec::ServiceEntry(entry) = &object.spec else { return vec![] };
    let of_host = |host: &String| {
        let is_given = entry.is_given_addresses(&object.meta.labels, host);
        let service = mesh.services.of_host(&host.to_ascii_lowercase()).and_then(|named| named.get(object.meta.namespace.as_str()));
        let automatic = service.filter(|_| is_given).and_then(|service| service.automatic);
        let addresses = automatic.into_iter().flat_map(AutomaticAddresses::all);
        addresses.map(|address| json!({ "value": address.to_string(), "host": host })).collect::<Vec<_>>()
    };
    entry.hosts.iter().flat_map(of_host).collect()
}
