//! Who is signed in: a name in a cookie. There are no passwords; any will do.

use hyper::header::{HeaderMap, HeaderValue, SET_COOKIE};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use crate::bookinfo::forwarded::{self, END_USER};
use crate::http::{Body, Refusal, cookies, pairs, percent_encode, redirect};

const COOKIE_NAME: &str = "user";
const LONGEST_NAME: usize = 64;

/// Signs in the `username` of the form or of the query, and goes back to the page.
pub(super) fn login(head: &Parts, form: &[u8]) -> Result<Response<Body>, Refusal> {
    let form = String::from_utf8_lossy(form);
    let given = pairs(&form).into_iter().chain(pairs(head.uri.query().unwrap_or_default()));
    let name = given.into_iter().find(|(key, _)| key == "username").map(|(_, name)| name.trim().to_owned()).unwrap_or_default();
    if name.chars().count() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err(Refusal::bad_request(format!("a name is one line of at most {LONGEST_NAME} characters")));
    }
    if name.is_empty() {
        return Ok(to_page());
    }
    Ok(with_cookie(to_page(), &format!("{COOKIE_NAME}={}; Path=/; HttpOnly; SameSite=Lax", percent_encode(&name))))
}

/// Signs out, and goes back to the page.
pub(super) fn logout() -> Response<Body> {
    with_cookie(to_page(), &format!("{COOKIE_NAME}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"))
}

fn to_page() -> Response<Body> {
    redirect(StatusCode::SEE_OTHER, HeaderValue::from_static("/productpage"))
}

fn with_cookie(mut response: Response<Body>, cookie: &str) -> Response<Body> {
    // Always possible: a name is percent-encoded.
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// Who the request is from: its `end-user` header (curl, or a proxy in front), else the cookie.
pub(super) fn user(headers: &HeaderMap) -> Option<String> {
    match headers.get(END_USER) {
        Some(user) => Some(String::from_utf8_lossy(user.as_bytes()).into_owned()),
        None => cookies(headers).into_iter().find(|(name, user)| name == COOKIE_NAME && !user.is_empty()).map(|(_, user)| user),
    }
}

/// The headers for the services that are called: the request's, and who is signed in.
pub(super) fn forwarded(incoming: &HeaderMap) -> HeaderMap {
    let mut headers = forwarded::forwarded(incoming);
    if !headers.contains_key(END_USER)
        && let Some(user) = user(incoming)
        && let Ok(user) = HeaderValue::try_from(user)
    {
        headers.insert(END_USER, user);
    }
    headers
}
