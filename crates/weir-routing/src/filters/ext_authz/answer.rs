//! What a service has answered.

use bytes::Bytes;
use http::StatusCode;
use weir_http1::header::{CONTENT_LENGTH, HOST, LOCATION, WWW_AUTHENTICATE};
use weir_http1::{HeaderName, Headers};
use weir_xds::auth::check_response::HttpResponse;
use weir_xds::auth::{CheckResponse, DeniedHttpResponse, OkHttpResponse};
use weir_xds::core::{HeaderValueOption, QueryParameter};
use weir_xds::prost_types::Struct;
use weir_xds::values::text;

use super::mutation::{Action, Message, Mutation, QueryChanges};
use super::{ExtAuthzPolicy, HttpService};

/// The namespace of what a service tells of a request.
pub const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// By which a service of HTTP says what is to be removed.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It goes on, changed.
    Allow(Box<Changes>),
    /// It is refused.
    Deny(Box<Denial>),
    /// The service has failed; it may say itself what is answered then.
    Error(Option<Box<Denial>>),
    /// It has answered what cannot be carried out.
    Invalid,
}

/// What a service changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Headers of the request.
    pub request: Vec<Mutation>,
    /// Headers that are taken from it then.
    pub remove: Vec<String>,
    /// Its query.
    pub query: QueryChanges,
    /// Headers of its answer.
    pub answer: Vec<Mutation>,
}

/// An answer that refuses a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The status; that of the policy where the service does not say.
    pub status: Option<StatusCode>,
    /// Its headers.
    pub headers: Vec<Mutation>,
    /// Its body.
    pub body: Bytes,
}

impl Changes {
    /// Whether the request is changed.
    pub fn change_request(&self) -> bool {
        !self.request.is_empty() || !self.remove.is_empty() || !self.query.is_empty()
    }

    /// Whether all of it can be carried out. What is to be removed and cannot be there does no harm.
    fn are_valid(&self) -> bool {
        self.request.iter().chain(&self.answer).all(Mutation::is_valid) && self.query.are_valid()
    }

    /// What may be removed: no request is without a host.
    pub fn removable(&self) -> impl Iterator<Item = HeaderName> {
        self.remove.iter().filter_map(|name| HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).ok()).filter(|name| *name != HOST)
    }
}

/// What a service of gRPC tells of a request, for other filters and logs.
pub fn told_by_grpc(message: &CheckResponse) -> Struct {
    #[allow(deprecated)] // Where it is there, it counts.
    let of_ok = match &message.http_response {
        Some(HttpResponse::OkResponse(ok)) => ok.dynamic_metadata.as_ref(),
        _ => None,
    };
    of_ok.or(message.dynamic_metadata.as_ref()).cloned().unwrap_or_default()
}

impl HttpService {
    /// What the service tells of a request by headers of its answer, for other filters and logs.
    pub fn told_by(&self, headers: &Headers) -> Struct {
        let told = headers.iter().filter(|(name, _)| self.to_metadata.has(name));
        Struct { fields: told.map(|(name, value)| (name.as_str().to_owned(), text(String::from_utf8_lossy(value.as_bytes())))).collect() }
    }
}

impl ExtAuthzPolicy {
    /// What the answer of a service of HTTP means. Only 200 lets a request pass.
    pub fn heard_http(&self, service: &HttpService, status: StatusCode, headers: &Headers, body: Bytes) -> Decision {
        if status.is_server_error() {
            return Decision::Error(None);
        }
        let told = |action: Action, wanted: &dyn Fn(&HeaderName) -> bool| -> Vec<Mutation> {
            let wanted = headers.iter().filter(|(name, _)| **name != TO_REMOVE && wanted(name));
            let mutation = |(name, value): (&HeaderName, &weir_http1::HeaderValue)| Mutation {
                name: name.as_str().to_owned(),
                value: value.as_bytes().to_vec(),
                action,
            };
            wanted.map(mutation).collect()
        };
        if status != StatusCode::OK {
            let to_client = |name: &HeaderName| match &service.to_client {
                None => *name != HOST,
                Some(names) => names.has(name) || [CONTENT_LENGTH, LOCATION, WWW_AUTHENTICATE].contains(name),
            };
            let headers = told(Action::Add, &to_client);
            return self.checked(Decision::Deny(Box::new(Denial { status: Some(status), headers, body })));
        }
        let mut request = told(Action::Set, &|name| service.to_instance.has(name));
        request.extend(told(Action::Add, &|name| service.added_to_instance.has(name)));
        let lists = headers.get_all(TO_REMOVE).iter().filter_map(|list| list.to_str().ok());
        let remove = lists.flat_map(|list| list.split(',')).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
        self.checked(Decision::Allow(Box::new(Changes {
            request,
            remove: remove.collect(),
            query: QueryChanges::default(),
            answer: told(Action::Add, &|name| service.to_client_on_success.has(name)),
        })))
    }

    /// What the message of a service of gRPC means.
    pub fn heard_grpc(&self, message: CheckResponse) -> Decision {
        // What is left for other filters was looked at before.
        let CheckResponse { status, http_response, dynamic_metadata: _ } = message;
        // A status that is not there is 0.
        let is_allowed = status.is_none_or(|status| status.code == 0);
        let decision = match (is_allowed, http_response) {
            (true, Some(HttpResponse::OkResponse(ok))) => allowed(ok, self.validates).map(|changes| Decision::Allow(Box::new(changes))),
            (true, _) => Ok(Decision::Allow(Box::default())),
            (false, Some(HttpResponse::DeniedResponse(denied))) => {
                denial(denied, self.validates).map(|denial| Decision::Deny(Box::new(denial)))
            }
            (false, Some(HttpResponse::ErrorResponse(error))) => {
                denial(error, self.validates).map(|denial| Decision::Error(Some(Box::new(denial))))
            }
            (false, Some(HttpResponse::OkResponse(_)) | None) => {
                Ok(Decision::Deny(Box::new(Denial { status: None, headers: vec![], body: Bytes::new() })))
            }
        };
        self.checked(decision.unwrap_or(Decision::Invalid))
    }

    /// A decision, if all of it can be carried out or nobody minds. A refusal of which that is not so still is one.
    fn checked(&self, decision: Decision) -> Decision {
        let is_valid = match &decision {
            Decision::Allow(changes) => changes.are_valid(),
            Decision::Deny(denial) | Decision::Error(Some(denial)) => denial.headers.iter().all(Mutation::is_valid),
            Decision::Error(None) | Decision::Invalid => true,
        };
        match decision {
            _ if !is_valid && self.validates => Decision::Invalid,
            Decision::Allow(changes) => self.ruled(*changes),
            decision => self.shortened(decision),
        }
    }

    /// What may be changed of a request.
    fn ruled(&self, changes: Changes) -> Decision {
        let changes = match &self.rules {
            Some(rules) => rules.apply(changes),
            None => Some(changes),
        };
        changes.map_or(Decision::Invalid, |changes| Decision::Allow(Box::new(changes)))
    }

    /// The same, with no more of a body than the client gets.
    fn shortened(&self, mut decision: Decision) -> Decision {
        if let (Decision::Deny(denial) | Decision::Error(Some(denial)), Some(most)) = (&mut decision, self.most_denied) {
            denial.body.truncate(most);
        }
        decision
    }
}

/// Nobody knows what is asked for.
struct Unknown;

/// Changes that a service asks for. One that nobody knows is passed over, unless they are to be valid.
fn mutations(options: &[HeaderValueOption], message: Message, validates: bool) -> Result<Vec<Mutation>, Unknown> {
    let known = options.iter().map(|option| Mutation::of(option, message)).filter(|known| known.is_some() || validates);
    known.map(|known| known.ok_or(Unknown)).collect()
}

fn allowed(ok: OkHttpResponse, validates: bool) -> Result<Changes, Unknown> {
    #[allow(deprecated)] // It is for other filters, as what took its place.
    let OkHttpResponse {
        headers,
        headers_to_remove,
        dynamic_metadata: _,
        response_headers_to_add,
        query_parameters_to_set,
        query_parameters_to_remove,
    } = ok;
    let set = query_parameters_to_set.into_iter().map(|QueryParameter { key, value }| (key, value));
    Ok(Changes {
        request: mutations(&headers, Message::Request, validates)?,
        remove: headers_to_remove,
        query: QueryChanges { set: set.collect(), remove: query_parameters_to_remove },
        answer: mutations(&response_headers_to_add, Message::Answer, validates)?,
    })
}

fn denial(denied: DeniedHttpResponse, validates: bool) -> Result<Denial, Unknown> {
    let DeniedHttpResponse { status, headers, body } = denied;
    let status = status.and_then(|status| u16::try_from(status.code).ok()).and_then(|code| StatusCode::from_u16(code).ok());
    Ok(Denial { status, headers: mutations(&headers, Message::Refusal, validates)?, body: body.into() })
}
