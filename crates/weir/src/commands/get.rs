//! `weir get`: resources as kubectl shows them, from files or from a running mesh.

mod columns;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use serde_json::{Value, json};
use weir_api::{Kind, Object, Spec};
use weir_model::{AutomaticAddresses, DEFAULT_DOMAIN, MeshSnapshot};
use weir_registry::files::Input;
use weir_registry::{Catalog, files};

use crate::cli::{GetArgs, Output};
use crate::print;

/// Where the admin interface answers these questions.
pub(crate) const PATH: &str = "/weir/resources";

/// What is asked.
pub(crate) struct Query {
    kind: Kind,
    name: Option<String>,
    /// All, if there is none.
    namespace: Option<String>,
    output: Output,
}

/// Reads, or asks, and prints.
///
/// # Errors
/// If the kind is unknown, or nobody answers.
pub(crate) fn run(args: &GetArgs) -> anyhow::Result<ExitCode> {
    let query = Query::new(args).map_err(|message| anyhow::anyhow!(message))?;
    let answer = if args.files.is_empty() {
        query.ask(args.admin)?
    } else {
        let inputs: Vec<Input> = args.files.iter().map(|path| Input::from(path.as_path())).collect();
        let catalog = files::read(&inputs);
        catalog.diagnostics().for_each(print::diagnostic);
        query.answer(&catalog, &query.mesh_of(&catalog))
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
    fn new(args: &GetArgs) -> Result<Self, String> {
        let namespace = (!args.all_namespaces).then(|| args.namespace.clone());
        Ok(Self { kind: kind(&args.kind)?, name: args.name.clone(), namespace, output: args.output })
    }

    /// A question that came to the admin interface.
    ///
    /// # Errors
    /// If it asks for an unknown kind.
    pub fn from_admin(parameter: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let output = match parameter("output").as_deref() {
            Some("json") => Output::Json,
            Some("yaml") => Output::Yaml,
            _ => Output::Table,
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
            return Err(format!("there is no {} {name:?}{}", self.kind.name(), self.place()));
        }
        match self.output {
            Output::Table if found.is_empty() => Ok(String::new()),
            Output::Table => Ok(columns::table(self.kind, &found, self.namespace.is_none(), catalog)),
            Output::Json => {
                serde_json::to_string_pretty(&self.document(&found, mesh)).map(|text| text + "\n").map_err(|error| error.to_string())
            }
            Output::Yaml => serde_saphyr::to_string(&self.document(&found, mesh)).map_err(|error| error.to_string()),
        }
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
    fn document(&self, found: &[&Arc<Object>], mesh: &MeshSnapshot) -> Value {
        let document = |object: &Arc<Object>| document(object, mesh);
        match (found, &self.name) {
            ([only], Some(_)) => document(only),
            _ => json!({ "apiVersion": "v1", "kind": "List", "items": found.iter().map(|object| document(object)).collect::<Vec<_>>() }),
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
            Output::Table => "table",
            Output::Json => "json",
            Output::Yaml => "yaml",
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
        for values in ["data", "stringData"] {
            for (_, value) in json.get_mut(values).and_then(Value::as_object_mut).into_iter().flatten() {
                *value = "[redacted]".into();
            }
        }
    }
    json
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
