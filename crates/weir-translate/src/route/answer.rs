//! Rules that answer requests themselves: redirects and direct responses.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use weir_api::resources::http_policy::{HttpDirectResponse, HttpRedirect, RedirectPortSelection};
use weir_xds::core::{DataSource, data_source::Specifier};
use weir_xds::route::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use weir_xds::route::{DirectResponseAction, RedirectAction};

/// A redirect of requests to a port; none for a status that is no redirect's.
pub(super) fn redirect(written: &HttpRedirect, port: u16, is_tls: bool) -> Option<RedirectAction> {
    let path = match &written.prefix_rewrite {
        Some(prefix) => Some(PathRewriteSpecifier::PrefixRewrite(prefix.clone())),
        None => (!written.uri.is_empty()).then(|| PathRewriteSpecifier::PathRedirect(written.uri.clone())),
    };
    let scheme = (!written.scheme.is_empty()).then(|| SchemeRewriteSpecifier::SchemeRedirect(written.scheme.clone()));
    Some(RedirectAction {
        host_redirect: written.authority.clone(),
        port_redirect: redirect_port(written, port, is_tls),
        response_code: response_code(written.redirect_code)?.into(),
        scheme_rewrite_specifier: scheme,
        path_rewrite_specifier: path,
        ..Default::default()
    })
}

/// The port that is named; 0 where there is none to name: the scheme's own port goes without saying.
fn redirect_port(written: &HttpRedirect, port: u16, is_tls: bool) -> u32 {
    let named = match (written.port, written.derive_port) {
        (Some(number), _) => number,
        (None, Some(RedirectPortSelection::FromRequestPort)) => port.into(),
        (None, _) => return 0,
    };
    let scheme = match written.scheme.as_str() {
        "" if is_tls => "https",
        "" => "http",
        scheme => scheme,
    };
    if matches!((scheme, named), ("http", 80) | ("https", 443)) { 0 } else { named }
}

fn response_code(code: u32) -> Option<RedirectResponseCode> {
    match code {
        0 | 301 => Some(RedirectResponseCode::MovedPermanently),
        302 => Some(RedirectResponseCode::Found),
        303 => Some(RedirectResponseCode::SeeOther),
        307 => Some(RedirectResponseCode::TemporaryRedirect),
        308 => Some(RedirectResponseCode::PermanentRedirect),
        _ => None,
    }
}

/// A response that needs no backend.
pub(super) fn direct_response(written: &HttpDirectResponse) -> DirectResponseAction {
    let body = written.body.as_ref().and_then(|body| {
        let text = body.string.clone().map(Specifier::InlineString);
        let bytes = || STANDARD.decode(body.bytes.as_ref()?).ok().map(|bytes| Specifier::InlineBytes(bytes.into()));
        text.or_else(bytes)
    });
    let body = body.map(|specifier| DataSource { specifier: Some(specifier), ..Default::default() });
    DirectResponseAction { status: written.status, body, ..Default::default() }
}
