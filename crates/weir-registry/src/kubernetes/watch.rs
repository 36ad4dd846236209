//! Follows one kind: a list, then what changes, for ever. Whatever breaks is tried again, later each time; until it works the
//! last state stays.

use std::time::Duration;

use kube::api::Api;
use kube::core::ApiResource;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Error};
use tokio::sync::mpsc::Sender;
use tokio_stream::StreamExt;
use weir_api::Kind;

use super::back_off::BackOff;
use super::received::Received;
use super::store::News;

/// How often a kind that is not there is looked for.
const MISSING: Duration = Duration::from_secs(5);
/// So many times in a row a kind must not be there before its objects are gone with it: while an API server starts, kinds may be
/// missing that are not gone.
const LOOKS: u32 = 3;

/// So many seconds a watch lasts before it goes on by another one. A server that has gone without a word is noticed a little later.
pub(super) const WATCH: u32 = 60;

/// So many objects are read at once.
const PAGE: u32 = 500;
/// And so many Secrets, which may be of 1 MiB each.
const SECRETS_PAGE: u32 = 32;

/// A kind that is followed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Followed {
    pub kind: Kind,
    /// Which of its objects count at all, as a field selector.
    pub fields: Option<&'static str>,
}

/// The kinds that a mesh is made of. EndpointSlices say what Endpoints do, and nothing is read of ConfigMaps.
pub(super) fn all() -> impl Iterator<Item = Followed> {
    let fields = |kind| match kind {
        // A Pod that has ended has no address any more, though it says so.
        Kind::Pod => Some("status.phase!=Failed,status.phase!=Succeeded"),
        Kind::Secret => Some("type!=helm.sh/release.v1,type!=kubernetes.io/service-account-token"),
        _ => None,
    };
    let is_read = |kind: &Kind| !matches!(kind, Kind::Endpoints | Kind::ConfigMap);
    Kind::all().filter(is_read).map(move |kind| Followed { kind, fields: fields(kind) })
}

/// Why a list or watch ended.
enum End {
    /// The kind is not there in this version.
    Missing,
    /// It is to be listed anew.
    Outdated,
    /// Nobody wants to know any more.
    Unwanted,
}

/// Tells all news of a kind, until nobody wants to know any more.
pub(super) async fn follow(client: Client, followed: Followed, news: Sender<(Kind, News)>) {
    let kind = followed.kind;
    let mut follower = Follower { client, followed, news, reporter: Reporter { kind, said: None }, back_off: BackOff::new(), found: false };
    let (mut looks, mut has_been_read, mut is_missing) = (0, false, false);
    loop {
        follower.found = false;
        if let End::Unwanted = follower.follow_newest().await {
            return;
        }
        has_been_read |= follower.found;
        is_missing &= !follower.found;
        looks = if follower.found { 0 } else { looks + 1 };
        let seems_missing = looks >= LOOKS || (looks > 0 && !has_been_read);
        if seems_missing && !is_missing && follower.is_answered_by_an_api_server().await {
            (has_been_read, is_missing) = (true, true);
            follower.reporter.missing();
            if follower.news.send((kind, News::Missing)).await.is_err() {
                return;
            }
        }
        match follower.found {
            true => follower.back_off.wait().await,
            false => tokio::time::sleep(MISSING).await,
        }
    }
}

/// Follows one kind.
struct Follower {
    client: Client,
    followed: Followed,
    news: Sender<(Kind, News)>,
    reporter: Reporter,
    back_off: BackOff,
    /// Whether a list was complete since it was last looked for.
    found: bool,
}

impl Follower {
    /// Follows the newest version that there is, until something of it is to be done from the beginning.
    async fn follow_newest(&mut self) -> End {
        for version in self.followed.kind.versions() {
            match self.follow_version(version).await {
                End::Missing if !self.found => {}
                end => return end,
            }
        }
        End::Missing
    }

    async fn follow_version(&mut self, version: &str) -> End {
        let kind = self.followed.kind;
        let api: Api<Received> = Api::all_with(self.client.clone(), &resource(kind, version));
        let fields = self.followed.fields.map(str::to_owned);
        let page_size = Some(if kind == Kind::Secret { SECRETS_PAGE } else { PAGE });
        let config = watcher::Config { field_selector: fields, timeout: Some(WATCH), page_size, ..watcher::Config::default() };
        let mut events = std::pin::pin!(watcher(api, config));
        while let Some(event) = events.next().await {
            let told = match event {
                Ok(Event::Init) => News::Began,
                Ok(Event::InitApply(object)) => News::Listed(object.stripped(kind)),
                Ok(Event::InitDone) => News::Complete,
                Ok(Event::Apply(object)) => News::Applied(object.stripped(kind)),
                Ok(Event::Delete(object)) => News::Deleted(object.stripped(kind)),
                Err(error) => match self.failed(&error).await {
                    Some(end) => return end,
                    None => continue,
                },
            };
            if matches!(told, News::Complete | News::Applied(_) | News::Deleted(_)) {
                self.found = true;
                self.reporter.works();
            }
            if self.news.send((kind, told)).await.is_err() {
                return End::Unwanted;
            }
        }
        End::Outdated
    }

    /// Whether it is an API server that knows no such kind, and nobody in front of it, who would know none of all.
    async fn is_answered_by_an_api_server(&mut self) -> bool {
        match self.client.list_api_groups().await {
            Ok(_) => true,
            Err(error) => {
                self.reporter
                    .say(format!("the API server's own kinds cannot be asked for, so that nothing is taken for gone: {}", chain(&error)));
                false
            }
        }
    }

    /// Waits until it is to be tried again; or there is no use in that.
    async fn failed(&mut self, error: &watcher::Error) -> Option<End> {
        match status(error) {
            // An API server always has its own.
            Some(404) if self.followed.kind.group().ends_with(".istio.io") => return Some(End::Missing),
            // Its place in history is forgotten, and the next list is where it begins again. The watcher sees that by itself but where a
            // watch does not even start.
            Some(410) if matches!(error, watcher::Error::WatchStartFailed(_)) => return Some(End::Outdated),
            Some(410) => {}
            _ => self.reporter.failed(error),
        }
        self.back_off.wait().await;
        None
    }
}

fn resource(kind: Kind, version: &str) -> ApiResource {
    let group = kind.group();
    let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version,
        kind: kind.name().to_owned(),
        plural: kind.plural().to_owned(),
    }
}

/// The HTTP status of what the API server refused.
fn status(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(Error::Api(status))
        | watcher::Error::WatchStartFailed(Error::Api(status))
        | watcher::Error::WatchFailed(Error::Api(status)) => Some(status.code),
        watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

/// Says what becomes of a kind, each thing once.
struct Reporter {
    kind: Kind,
    /// What was said last, if it was no good news.
    said: Option<String>,
}

impl Reporter {
    fn failed(&mut self, error: &watcher::Error) {
        let plural = self.kind.plural();
        let message = match status(error) {
            Some(403) => {
                format!("the API server does not let this account list and watch {plural}: its Role must; until then the last state stays")
            }
            Some(401) => {
                "the API server does not know who asks: are the credentials out of date? Until it does, the last state stays".to_owned()
            }
            _ => format!("{plural} cannot be followed, and stay as they were until they can: {}", chain(error)),
        };
        self.say(message);
    }

    fn missing(&mut self) {
        if self.said.take().is_some() || self.kind.group().ends_with(".istio.io") {
            tracing::info!("the API server knows no {}: they are followed once it does", self.kind.plural());
        }
    }

    fn works(&mut self) {
        if self.said.take().is_some() {
            tracing::info!("{} are followed again", self.kind.plural());
        }
    }

    fn say(&mut self, message: String) {
        if self.said.as_ref() != Some(&message) {
            tracing::warn!("{message}");
            self.said = Some(message);
        }
    }
}

/// An error with its causes, each said once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.contains(&text) {
            said += &format!(": {text}");
        }
        cause = error.source();
    }
    said
}
