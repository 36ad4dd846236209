//! One look at a cluster, for the tools that a person runs. Whatever is asked is answered within a bounded time, or an error says who did
//! not answer, or refused what.

use std::fmt;
use std::time::Duration;

use http::Request;
use kube::{Client, Error};
use serde::Deserialize;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::timeout;
use weir_api::{Kind, dns};

use super::access::{Access, AccessError, reach};
use super::received::Received;
use super::store::{News, Store};
use super::watch::{Followed, all, chain};
use super::{Options, store};
use crate::Catalog;

/// An API server that does not answer for so long will not. A list comes in pages, each of which has this time.
const PATIENCE: Duration = Duration::from_secs(20);
/// So many objects are asked for at once, as kubectl does.
const PAGE: usize = 500;
/// What kubectl asks for, too: the columns and cells that it prints.
const AS_TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
const AS_OBJECTS: &str = "application/json";

/// A cluster to look at.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    server: String,
}

/// Why something was not seen.
#[derive(Debug)]
pub struct LookError {
    message: String,
    /// Whether the API server let nobody of this name see it.
    is_refused: bool,
}

impl fmt::Display for LookError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LookError {}

/// Which objects of a kind are meant.
#[derive(Debug, Clone, Copy, Default)]
pub struct Which<'w> {
    /// Those of this namespace; of kinds that live in none, it says nothing.
    pub namespace: Option<&'w str>,
    /// That of this name.
    pub name: Option<&'w str>,
}

/// A mesh's objects as they were at a moment.
pub struct Seen {
    /// All that was seen.
    pub catalog: Catalog,
    /// What was not, since who asked may not see it: a sentence each.
    pub unseen: Vec<String>,
}

/// A page of a list, or of a table.
#[derive(Deserialize)]
struct Page {
    #[serde(default)]
    metadata: PageMetadata,
    #[serde(flatten)]
    rest: serde_json::Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageMetadata {
    r#continue: Option<String>,
}

impl Cluster {
    /// One that is reached as `access` says. It need not be there yet.
    ///
    /// # Errors
    /// As those of [`connect`](super::connect).
    pub async fn reach(access: &Access) -> Result<Self, AccessError> {
        let (client, server) = reach(access).await?;
        Ok(Self { client, server })
    }

    /// The namespace that is meant where none is named: that of the kubeconfig's context, or of the pod.
    pub fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// The objects of a kind, as the API server has them.
    ///
    /// # Errors
    /// If the API server does not answer, refuses, or knows no such kind.
    pub async fn objects(&self, kind: Kind, which: Which<'_>) -> Result<Vec<Value>, LookError> {
        let pages = self.pages(kind, which, AS_OBJECTS, None).await?;
        let pages = pages.ok_or_else(|| self.unknown(kind))?;
        Ok(pages.into_iter().flat_map(|mut page| items(&mut page)).map(|object| typed(kind, object)).collect())
    }

    /// The objects of a kind as kubectl's table, a page each: `columnDefinitions`, and `rows` of `cells`.
    ///
    /// # Errors
    /// As those of [`objects`](Self::objects).
    pub async fn tables(&self, kind: Kind, which: Which<'_>) -> Result<Vec<Value>, LookError> {
        self.pages(kind, which, AS_TABLE, None).await?.ok_or_else(|| self.unknown(kind))
    }

    /// What stands at a path of the API, such as `/apis/apps/v1/namespaces/shop/deployments/web`; none if nothing does.
    ///
    /// # Errors
    /// If the API server does not answer, or refuses.
    pub async fn at(&self, path: &str) -> Result<Option<Value>, LookError> {
        match self.ask::<Value>(path, AS_OBJECTS).await {
            Ok(value) => Ok(Some(value)),
            Err(Refusal::Missing) => Ok(None),
            Err(Refusal::Other(error)) => Err(error),
        }
    }

    /// What a mesh is made of, as a pilot with these options sees it. What who asks may not see is left out, and said.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn mesh(&self, options: &Options) -> Result<Seen, LookError> {
        let mut store = Store::new(all().map(|followed| followed.kind), options);
        let (lists, unseen) = self.lists(all().collect(), None).await?;
        for (kind, objects) in lists {
            store.take(list_of(kind, objects));
        }
        Ok(Seen { catalog: store.catalog(), unseen })
    }

    /// What people write for a mesh, of all revisions, in a namespace or in all. What who asks may not see is left out, and said.
    ///
    /// # Errors
    /// If the API server does not answer.
    pub async fn written(&self, namespace: Option<&str>) -> Result<Seen, LookError> {
        let kinds = all().filter(|followed| store::is_written_by_people(followed.kind)).collect();
        let (lists, unseen) = self.lists(kinds, namespace).await?;
        let objects = lists.into_iter().flat_map(|(kind, objects)| objects.into_iter().map(move |object| (kind, object)));
        Ok(Seen { catalog: store::all_of(objects), unseen })
    }

    /// Lists kinds beside each other, as far as who asks may see them.
    async fn lists(&self, kinds: Vec<Followed>, namespace: Option<&str>) -> Result<(Vec<(Kind, Vec<Received>)>, Vec<String>), LookError> {
        let mut tasks = JoinSet::new();
        for followed in kinds {
            let (cluster, namespace) = (self.clone(), namespace.map(str::to_owned));
            tasks.spawn(async move { (followed.kind, cluster.list(followed, namespace.as_deref()).await) });
        }
        let (mut lists, mut unseen) = (vec![], vec![]);
        while let Some(done) = tasks.join_next().await {
            let Ok((kind, list)) = done else { continue };
            match list {
                Ok(objects) => lists.push((kind, objects)),
                Err(error) if error.is_refused => unseen.push(error.message),
                Err(error) => return Err(error),
            }
        }
        lists.sort_by_key(|(kind, _)| *kind);
        unseen.sort();
        Ok((lists, unseen))
    }

    /// The objects of a kind as far as they count; none where there is no such kind.
    async fn list(&self, followed: Followed, namespace: Option<&str>) -> Result<Vec<Received>, LookError> {
        let kind = followed.kind;
        let pages = self.pages(kind, Which { namespace, name: None }, AS_OBJECTS, followed.fields).await?.unwrap_or_default();
        let objects = pages.into_iter().flat_map(|mut page| items(&mut page));
        Ok(objects.map(|object| Received::new(object).stripped(kind)).collect())
    }

    /// All pages of a list in the newest version that there is; none if there is no such kind.
    async fn pages(&self, kind: Kind, which: Which<'_>, form: &str, fields: Option<&str>) -> Result<Option<Vec<Value>>, LookError> {
        for version in kind.versions() {
            let path = list_path(kind, version, which)?;
            let selector = match which.name {
                Some(name) => format!("&fieldSelector=metadata.name%3D{}", checked("name", name)?),
                None => fields.map(|fields| format!("&fieldSelector={}", escaped(fields))).unwrap_or_default(),
            };
            match self.all_pages(&format!("{path}?limit={PAGE}{selector}"), form).await {
                Err(Refusal::Missing) => {}
                Err(Refusal::Other(error)) => return Err(error),
                Ok(pages) => return Ok(Some(pages)),
            }
        }
        Ok(None)
    }

    async fn all_pages(&self, first: &str, form: &str) -> Result<Vec<Value>, Refusal> {
        let (mut pages, mut path) = (vec![], first.to_owned());
        loop {
            let page: Page = self.ask(&path, form).await?;
            pages.push(Value::Object(page.rest));
            match page.metadata.r#continue.filter(|token| !token.is_empty()) {
                Some(token) => path = format!("{first}&continue={}", escaped(&token)),
                None => return Ok(pages),
            }
        }
    }

    async fn ask<T: for<'de> Deserialize<'de>>(&self, path: &str, form: &str) -> Result<T, Refusal> {
        let request = Request::get(path).header("accept", form).body(vec![]);
        let request = request.map_err(|error| self.failed(&format!("cannot be asked for {path}: {error}")))?;
        let answer = timeout(PATIENCE, self.client.request(request)).await;
        let answer = answer.map_err(|_| self.failed(&format!("does not answer within {PATIENCE:?}")))?;
        answer.map_err(|error| match &error {
            Error::Api(status) if status.code == 404 => Refusal::Missing,
            Error::Api(status) if status.code == 403 => Refusal::Other(LookError { message: status.message.clone(), is_refused: true }),
            Error::Api(status) if status.code == 401 => self.failed("does not know who asks: are the credentials out of date?"),
            Error::Api(status) => self.failed(&format!("answers {}: {}", status.code, status.message)),
            _ => self.failed(&format!("cannot be asked: {}", chain(&error))),
        })
    }

    fn failed(&self, what: &str) -> Refusal {
        Refusal::Other(self.error(what))
    }

    fn error(&self, what: &str) -> LookError {
        LookError { message: format!("the API server {} {what}", self.server), is_refused: false }
    }

    fn unknown(&self, kind: Kind) -> LookError {
        self.error(&format!("knows no {}: are their definitions installed?", kind.plural()))
    }
}

/// Why there is no answer.
enum Refusal {
    /// Nothing stands there.
    Missing,
    Other(LookError),
}

/// The path of a list.
fn list_path(kind: Kind, version: &str, which: Which<'_>) -> Result<String, LookError> {
    let group = kind.group();
    let root = if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
    Ok(match which.namespace.filter(|_| kind.is_namespaced()) {
        Some(namespace) => format!("{root}/namespaces/{}/{}", checked("namespace", namespace)?, kind.plural()),
        None => format!("{root}/{}", kind.plural()),
    })
}

/// A word that becomes a part of a path.
fn checked<'w>(what: &str, word: &'w str) -> Result<&'w str, LookError> {
    let error = || LookError { message: format!("{word:?} is no {what} that an object of Kubernetes can have"), is_refused: false };
    if dns::is_subdomain(word) { Ok(word) } else { Err(error()) }
}

/// As a value in a query.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn items(page: &mut Value) -> Vec<Value> {
    page.get_mut("items").and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default()
}

/// The items of a list do not repeat what they are.
fn typed(kind: Kind, mut object: Value) -> Value {
    store::add_type(kind, &mut object);
    object
}

fn list_of(kind: Kind, objects: Vec<Received>) -> impl Iterator<Item = (Kind, News)> {
    let listed = objects.into_iter().map(News::Listed);
    std::iter::once(News::Began).chain(listed).chain([News::Complete]).map(move |news| (kind, news))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_at_the_path_of_its_kind_and_namespace_and_nowhere_else() {
        let path = |kind, namespace| list_path(kind, "v1", Which { namespace, name: None }).map_err(|error| error.to_string());
        assert_eq!(path(Kind::Service, None).unwrap(), "/api/v1/services");
        assert_eq!(path(Kind::VirtualService, Some("shop")).unwrap(), "/apis/networking.istio.io/v1/namespaces/shop/virtualservices");
        assert_eq!(path(Kind::Node, Some("shop")).unwrap(), "/api/v1/nodes");
        for word in ["", "a/b", "..", "a?b", "a b", "A"] {
            assert!(path(Kind::Service, Some(word)).unwrap_err().contains("is no namespace"), "{word}");
        }
    }

    #[test]
    fn what_a_query_says_is_one_value() {
        assert_eq!(escaped("a!=b,c&d=ü"), "a%21%3Db%2Cc%26d%3D%C3%BC");
    }
}
