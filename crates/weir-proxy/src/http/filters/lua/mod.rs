//! Scripts in Lua that see requests and answers, and may change or answer them
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/lua_filter>).
//!
//! A script runs in a state of its own on each worker ([`state`]), in a sandbox ([`sandbox`]) and within [`limits`]; for each request
//! and answer as a coroutine ([`run`]), which may wait. What it sees is a [`stream`]. A script that fails is reported and counted,
//! and its request goes on, as with Envoy. One that takes too much, which Envoy would let it, ends its request: a client could
//! otherwise have its request pass unseen.

mod bits;
mod body;
mod call;
mod certificates;
mod crypto;
mod headers;
mod info;
mod limits;
mod metadata;
mod natives;
mod pattern;
mod run;
mod sandbox;
mod state;
mod steps;
mod stream;

use bytes::Bytes;
use http::{Method, StatusCode};
use mlua::{Error, IntoLua, MultiValue};
use weir_http1::header::{self, HeaderValue, Headers};
use weir_routing::filters::Filter as Configured;
use weir_routing::filters::lua::{Counted, LuaOverride, LuaPolicy, scripts_of_filters};
use weir_routing::inline_headers::{RESPONSE, append};
use weir_routing::{CompileError, RouteTable};

use super::{Back, Flow, HttpFilter, Place, whole};
use crate::http::body::ResponseBody;
use crate::http::call::Call;
use crate::http::local_reply::LocalReply;
use crate::io::response::Parts;
use crate::upstream::body::Inbound;
use run::{Outcome, Run};
use state::States;
use steps::Passing;
use stream::{Side, Stream, Waiting};

/// The log's word for a script that was ended.
const ENDED: &str = "lua_script_ended";

/// The filter.
pub(super) struct Lua {
    policy: LuaPolicy,
    states: States,
}

/// What there is to run.
enum Start {
    /// Nothing.
    Nothing,
    /// A script that could not be loaded: it may be there to let nobody in.
    Broken,
    /// There is no room for it.
    Exceeded,
    /// A script.
    Run(Box<Run>),
}

impl Lua {
    /// What there is for one side of a call.
    fn start(&self, call: &mut Call, place: &Place, side: Side, ended: bool) -> Start {
        let (script, context) = {
            let levels = call.found().map(|found| found.levels());
            let of_route = levels.and_then(|levels| levels.most_specific::<LuaOverride>(&place.name));
            let Some(script) = self.policy.script(of_route) else { return Start::Nothing };
            (script.clone(), self.policy.context(of_route).cloned())
        };
        let Some(state) = self.states.get(&script) else { return Start::Broken };
        if state.function(side).is_none() {
            return Start::Nothing;
        }
        let stream = Stream::new(stream::Passing {
            side,
            http: call.http.clone(),
            exchange: call.exchange.clone(),
            control: call.control.clone(),
            filter: place.name.clone(),
            context,
            clear_route_cache: self.policy.clear_route_cache,
            ended,
        });
        self.policy.counted.execution();
        match Run::new(state, stream) {
            Ok(Some(run)) => Start::Run(Box::new(run)),
            Ok(None) => Start::Nothing,
            Err(error) => {
                report(&place.name, &error, &self.policy.counted);
                Start::Exceeded
            }
        }
    }

    /// What becomes of a request whose script has run.
    fn settle_request(&self, call: &mut Call, place: &Place, run: Box<Run>, outcome: Outcome) -> Flow {
        match outcome {
            Outcome::Done => {}
            Outcome::Failed(error) => report(&place.name, &error, &self.policy.counted),
            Outcome::Exceeded(error) => {
                report(&place.name, &error, &self.policy.counted);
                return Flow::Answer(stopped(call));
            }
            Outcome::Responded => {
                let reply = run.stream.reply.take();
                return reply.map_or(Flow::Continue, |reply| Flow::Answer(answer(call, reply)));
            }
            Outcome::Waits if run.stream.waits_for_all() => {
                keep(call, place, run);
                return Flow::Wait;
            }
            Outcome::Waits => {
                give_back(call, &run);
                run.stream.go_on();
                // What it sees of the route from now on is what it was.
                run.stream.route.replace(call.route_apart());
                if let Some(body) = call.body.as_mut().filter(|body| !body.is_end_stream()) {
                    body.push_step(Box::new(Passing::new(*run, self.policy.counted.clone())));
                }
                return Flow::Continue;
            }
        }
        give_back(call, &run);
        Flow::Continue
    }

    /// What becomes of an answer whose script has run.
    fn settle_response(
        &self,
        call: &mut Call,
        place: &Place,
        run: Box<Run>,
        outcome: Outcome,
        (head, body): (&mut Parts, &mut ResponseBody),
    ) -> Back {
        match outcome {
            Outcome::Done | Outcome::Responded => {}
            Outcome::Failed(error) => report(&place.name, &error, &self.policy.counted),
            Outcome::Exceeded(error) => {
                report(&place.name, &error, &self.policy.counted);
                call.replace_answer(stopped(call), head, body);
                return Back::Continue;
            }
            Outcome::Waits if run.stream.waits_for_all() => {
                keep(call, place, run);
                return Back::Wait;
            }
            Outcome::Waits => {
                put_back(body, &run);
                settle_length(call, head, body);
                run.stream.head.replace(Parts { status: head.status, headers: head.headers.clone(), ..Parts::default() });
                run.stream.go_on();
                run.stream.route.replace(call.route_apart());
                if !body.is_empty() {
                    body.push_step(Box::new(Passing::new(*run, self.policy.counted.clone())));
                }
                return Back::Continue;
            }
        }
        put_back(body, &run);
        settle_length(call, head, body);
        Back::Continue
    }
}

/// A length that a script has set is not told if it is not true, or nobody knows whether it is.
fn settle_length(call: &Call, head: &mut Parts, body: &ResponseBody) {
    let tells_of_another = call.method == Method::HEAD || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if tells_of_another || !head.headers.contains_key(header::CONTENT_LENGTH) {
        return;
    }
    let length = if body.is_empty() { Some(0) } else { body.exact_length() };
    match length {
        Some(length) => drop(head.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length))),
        None => drop(head.headers.remove(header::CONTENT_LENGTH)),
    }
}

/// Lets a script run that sees a request.
fn advance(call: &mut Call, run: &mut Run) -> Outcome {
    run.stream.route.replace(call.take_route());
    let outcome = run.resume();
    call.put_route(run.stream.route.take());
    // Filters behind this one look at what was found.
    call.route();
    outcome
}

/// Lets a script run that sees an answer.
fn advance_back(call: &mut Call, run: &mut Run, head: &mut Parts) -> Outcome {
    let before = head.status;
    run.stream.head.replace(std::mem::take(head));
    run.stream.route.replace(call.take_route());
    let outcome = run.resume();
    call.put_route(run.stream.route.take());
    *head = run.stream.head.take();
    if head.status != before {
        call.exchange.code.set(head.status.as_u16());
    }
    outcome
}

/// Keeps what waits.
fn keep(call: &mut Call, place: &Place, run: Box<Run>) {
    match call.states.get::<Lua>(place) {
        Some(kept) => *kept = Some(run),
        None => call.states.put::<Lua>(place, Some(run)),
    }
}

/// The body of a request that a script has had as a whole goes on as it has left it.
fn give_back(call: &mut Call, run: &Run) {
    if let Some(data) = run.stream.body.take() {
        let body = call.body.get_or_insert_with(Inbound::nothing);
        body.refill(data, run.stream.trailers.take());
    }
}

/// The same of an answer.
fn put_back(body: &mut ResponseBody, run: &Run) {
    if let Some(data) = run.stream.body.take() {
        body.refill(data, run.stream.trailers.take());
    }
}

/// An answer of a script's. Unlike others of ours its headers come after those of the route.
fn answer(call: &mut Call, reply: LocalReply) -> LocalReply {
    call.exchange.detail("lua_response");
    let mut headers = Headers::new();
    call.change_response_headers(&mut headers);
    for (name, value) in &reply.headers {
        append(&mut headers, name, value.clone(), &RESPONSE);
    }
    LocalReply { headers, changes_headers: false, ..reply }
}

/// The answer where a script should be and none can be loaded.
fn broken(call: &Call) -> LocalReply {
    call.exchange.detail("lua_script_not_loaded");
    LocalReply::new(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new())
}

/// The answer where a script was ended before it had seen all.
fn stopped(call: &Call) -> LocalReply {
    call.exchange.detail(ENDED);
    LocalReply::new(StatusCode::INTERNAL_SERVER_ERROR, Bytes::new())
}

/// Waits for the whole body of a request.
async fn take_body(call: &mut Call, stream: &Stream) -> Result<(), Flow> {
    match whole::of_request(call).await? {
        Some((data, trailers)) => stream.take_in(data, trailers),
        None => stream.ended.set(true),
    }
    Ok(())
}

impl HttpFilter for Lua {
    type Policy = LuaPolicy;
    /// What waits.
    type State = Option<Box<Run>>;

    fn new(policy: &LuaPolicy) -> Self {
        Self { policy: policy.clone(), states: States::default() }
    }

    fn on_request(&self, call: &mut Call, place: &Place) -> Flow {
        let ended = call.body.as_ref().is_none_or(Inbound::is_end_stream);
        match self.start(call, place, Side::Request, ended) {
            Start::Nothing => Flow::Continue,
            Start::Broken => Flow::Answer(broken(call)),
            Start::Exceeded => Flow::Answer(stopped(call)),
            Start::Run(mut run) => {
                let outcome = advance(call, &mut run);
                self.settle_request(call, place, run, outcome)
            }
        }
    }

    async fn wait(&self, call: &mut Call, place: &Place) -> Flow {
        while let Some(mut run) = call.states.get::<Self>(place).and_then(Option::take) {
            let waiting = run.stream.waiting.take();
            if let Some(Waiting::Call(request)) = waiting {
                let answered = request.send(call.http.clusters.clone()).await;
                run.stream.answer.replace(Some(answered));
            } else if let Err(flow) = take_body(call, &run.stream).await {
                return flow;
            }
            let outcome = advance(call, &mut run);
            match self.settle_request(call, place, run, outcome) {
                Flow::Wait => {}
                flow => return flow,
            }
        }
        Flow::Continue
    }

    fn on_response(&self, call: &mut Call, place: &Place, head: &mut Parts, body: &mut ResponseBody) -> Back {
        match self.start(call, place, Side::Response, body.is_empty()) {
            Start::Nothing => Back::Continue,
            Start::Broken => {
                let reply = broken(call);
                call.replace_answer(reply, head, body);
                Back::Continue
            }
            Start::Exceeded => {
                call.replace_answer(stopped(call), head, body);
                Back::Continue
            }
            Start::Run(mut run) => {
                let outcome = advance_back(call, &mut run, head);
                self.settle_response(call, place, run, outcome, (head, body))
            }
        }
    }

    async fn wait_back(&self, call: &mut Call, place: &Place, head: &mut Parts, body: &mut ResponseBody) {
        while let Some(mut run) = call.states.get::<Self>(place).and_then(Option::take) {
            let waiting = run.stream.waiting.take();
            if let Some(Waiting::Call(request)) = waiting {
                let answered = request.send(call.http.clusters.clone()).await;
                run.stream.answer.replace(Some(answered));
            } else {
                let Some((data, trailers)) = whole::of_answer(call, head, body).await else { return };
                run.stream.take_in(data, trailers);
            }
            let outcome = advance_back(call, &mut run, head);
            if let Back::Continue = self.settle_response(call, place, run, outcome, (head, body)) {
                return;
            }
        }
    }
}

/// What is not there is no value at all, as with Envoy: `tostring` of it fails.
fn or_nothing(lua: &mlua::Lua, value: Option<impl IntoLua>) -> mlua::Result<MultiValue> {
    value.map(|value| value.into_lua(lua)).transpose().map(|value| value.into_iter().collect())
}

/// Reports and counts what a script has failed with.
fn report(filter: &str, error: &Error, counted: &Counted) {
    counted.error();
    tracing::error!(target: "lua", filter, "script log: {}", message_of(error));
}

/// What an error says, without the way that it has come.
fn message_of(error: &Error) -> String {
    let text = match error {
        Error::CallbackError { cause, .. } => return message_of(cause),
        Error::WithContext { cause, .. } => return message_of(cause),
        Error::BadArgument { to, pos, cause, .. } => {
            let to = to.as_deref().unwrap_or("?");
            return format!("bad argument #{pos} to '{to}' ({})", message_of(cause));
        }
        Error::RuntimeError(text) => text.clone(),
        other => other.to_string(),
    };
    printable(text.split("\nstack traceback:").next().unwrap_or_default().as_bytes())
}

/// A text that can be written into a line of a log, whatever a client has put into it.
fn printable(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    match text.contains(char::is_control) {
        false => text.into_owned(),
        true => text.chars().flat_map(|one| if one.is_control() { one.escape_default().collect::<Vec<_>>() } else { vec![one] }).collect(),
    }
}

/// Whether the scripts of a connection manager's filters can be loaded.
///
/// # Errors
/// If one cannot.
pub fn check_filters(filters: &[Configured]) -> Result<(), CompileError> {
    for (name, script) in scripts_of_filters(filters).filter(|(_, script)| script.text().is_none()) {
        state::load(script).map_err(|error| CompileError::new(format!("http_filters[{name}]"), error))?;
    }
    Ok(())
}

/// Whether the scripts that a table brings along can be loaded.
///
/// # Errors
/// If one cannot.
pub fn check_table(table: &RouteTable) -> Result<(), CompileError> {
    for (name, script) in table.scripts().filter(|(_, script)| script.text().is_none()) {
        state::load(script).map_err(|error| CompileError::new(format!("typed_per_filter_config[{name}].source_code"), error))?;
    }
    Ok(())
}
