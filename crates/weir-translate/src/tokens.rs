//! The filter that checks tokens, as RequestAuthentications ask for it.
//!
//! Facts: `convertToEnvoyJwtConfig` in pilot/pkg/security/authn/policy_applier.go of Istio.

use std::collections::BTreeSet;

use weir_api::FieldPath;
use weir_api::resources::request_authentication::{ClaimToHeader, JwtHeader as Header, JwtRule};
use weir_model::{KeyAddress, MeshSnapshot, Origin, Proxy, RequestAuthentication};
use weir_xds::core::{DataSource, data_source};
use weir_xds::jwt_authn::jwt_provider::{JwksSourceSpecifier, NormalizePayload};
use weir_xds::jwt_authn::jwt_requirement::RequiresType;
use weir_xds::jwt_authn::requirement_rule::RequirementType;
use weir_xds::jwt_authn::{
    JwtAuthentication, JwtClaimToHeader, JwtHeader, JwtProvider, JwtRequirement, JwtRequirementAndList, JwtRequirementOrList,
    RequirementRule,
};

use crate::route::condition::{self, TOKEN_PAYLOAD};

/// Claims that always are lists written as one text.
const LISTS: [&str; 2] = ["permission", "scope"];

/// The keys of an issuer whose keys nobody knows: a token of it is refused then, and not let in. Nobody has the other half of this
/// one: its first coordinate is the SHA-256 of the text `no key of this issuer is known 0`.
const NO_KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"no-key-is-known","x":"R-nigdk1CMcJxK61n3j5vdz-aAkKqFEKZla2S__qaPQ","y":"dYg8-jHwmt7oudmgAIkERAfMJ2iZ8zqgBWX_CQCuOdI"}]}"#;

/// What the provider is called that accepts no token, because a policy is refused.
const REFUSED: &str = "a-refused-policy";

/// A rule about tokens, as a proxy carries it out.
#[derive(Debug, Clone)]
pub struct TokenRule {
    /// What its provider is called.
    pub provider: String,
    /// Whose tokens it is about; empty for one that is refused, and refuses those of everybody.
    pub issuer: String,
    /// Where it stands.
    pub origin: Origin,
    /// Where its keys are fetched from, if nobody has done so yet.
    pub unfetched: Option<String>,
}

/// The rules about tokens that are for a proxy, in the order of their providers.
pub fn token_rules(mesh: &MeshSnapshot, proxy: &Proxy) -> Vec<TokenRule> {
    let unfetched = |rule: &JwtRule| KeyAddress::of(rule).filter(|address| !mesh.fetched_keys.contains_key(address));
    let of_rule = |(i, (origin, rule)): (usize, (Origin, &JwtRule))| TokenRule {
        provider: provider_name(i),
        issuer: rule.issuer.clone(),
        unfetched: unfetched(rule).map(|address| address.address()),
        origin,
    };
    let of_refused = |policy: &RequestAuthentication| TokenRule {
        provider: REFUSED.to_owned(),
        issuer: String::new(),
        unfetched: None,
        origin: Origin { object: policy.object.clone(), path: FieldPath::default() },
    };
    let closed: Vec<TokenRule> = refused(mesh, proxy).map(of_refused).collect();
    if !closed.is_empty() {
        return closed;
    }
    rules(mesh, proxy).into_iter().enumerate().map(of_rule).collect()
}

fn provider_name(index: usize) -> String {
    format!("origins-{index}")
}

/// All rules that are for a proxy, by their issuers.
fn rules<'m>(mesh: &'m MeshSnapshot, proxy: &Proxy) -> Vec<(Origin, &'m JwtRule)> {
    let mut rules = vec![];
    for policy in mesh.request_authentications_of(proxy) {
        for (i, rule) in policy.spec().into_iter().flat_map(|spec| &spec.jwt_rules).enumerate() {
            let path = FieldPath::default().key("spec").key("jwtRules").index(i);
            rules.push((Origin { object: policy.object.clone(), path }, rule));
        }
    }
    rules.sort_by(|(_, a), (_, b)| a.issuer.cmp(&b.issuer));
    rules
}

/// The filter of a proxy; none if no rule is for it. At gateways claims may decide about the route, which is found once more then.
pub(crate) fn filter(mesh: &MeshSnapshot, proxy: &Proxy, clears_route: bool) -> Option<JwtAuthentication> {
    if refused(mesh, proxy).next().is_some() {
        return Some(closed());
    }
    let rules = rules(mesh, proxy);
    let providers = rules.iter().enumerate().map(|(i, (_, rule))| (provider_name(i), provider(mesh, rule, clears_route)));
    let names: Vec<String> = (0..rules.len()).map(provider_name).collect();
    let requirement = match names.as_slice() {
        [] => return None,
        [only] => or_missing(only),
        // Where several look at the same place, only one can accept what is there; else all that is there must be good.
        all => {
            let each = all.iter().map(|name| or_missing(name)).collect();
            let every = RequiresType::RequiresAll(JwtRequirementAndList { requirements: each });
            any(all.iter().map(|name| RequiresType::ProviderName(name.clone())).chain([every]))
        }
    };
    let rule = RequirementRule { r#match: Some(condition::everything()), requirement_type: Some(RequirementType::Requires(requirement)) };
    Some(JwtAuthentication { providers: providers.collect(), rules: vec![rule], bypass_cors_preflight: true, ..Default::default() })
}

/// The policies for a proxy that are refused. Which tokens they would have accepted, and which headers they would have taken out of
/// requests, is not known.
fn refused<'m>(mesh: &'m MeshSnapshot, proxy: &Proxy) -> impl Iterator<Item = &'m RequestAuthentication> {
    mesh.request_authentications_of(proxy).into_iter().filter(|policy| policy.object.stands_in())
}

/// A filter that lets no request pass, with whatever token or without one.
fn closed() -> JwtAuthentication {
    let provider = JwtProvider { jwks_source_specifier: Some(JwksSourceSpecifier::LocalJwks(inline(NO_KEYS))), ..Default::default() };
    let requirement = JwtRequirement { requires_type: Some(RequiresType::ProviderName(REFUSED.to_owned())) };
    let rule = RequirementRule { r#match: Some(condition::everything()), requirement_type: Some(RequirementType::Requires(requirement)) };
    JwtAuthentication { providers: [(REFUSED.to_owned(), provider)].into(), rules: vec![rule], ..Default::default() }
}

fn any(of: impl IntoIterator<Item = RequiresType>) -> JwtRequirement {
    let requirements = of.into_iter().map(|one| JwtRequirement { requires_type: Some(one) }).collect();
    JwtRequirement { requires_type: Some(RequiresType::RequiresAny(JwtRequirementOrList { requirements })) }
}

fn or_missing(provider: &str) -> JwtRequirement {
    any([RequiresType::ProviderName(provider.to_owned()), RequiresType::AllowMissing(())])
}

fn provider(mesh: &MeshSnapshot, rule: &JwtRule, clears_route: bool) -> JwtProvider {
    let JwtRule {
        issuer,
        audiences,
        // The keys are found below.
        jwks_uri: _,
        jwks: _,
        from_headers,
        from_params,
        from_cookies,
        output_payload_to_header,
        forward_original_token,
        output_claim_to_headers,
        // How long to wait for keys is for who fetches them.
        timeout: _,
        space_delimited_claims,
    } = rule;
    let header = |Header { name, prefix }: &Header| JwtHeader { name: name.clone(), value_prefix: prefix.clone() };
    let claim = |ClaimToHeader { header, claim }: &ClaimToHeader| JwtClaimToHeader {
        header_name: header.clone(),
        claim_name: claim.clone(),
        ..Default::default()
    };
    let lists: BTreeSet<&str> = LISTS.into_iter().chain(space_delimited_claims.iter().map(String::as_str)).collect();
    JwtProvider {
        issuer: issuer.clone(),
        audiences: audiences.clone(),
        forward: *forward_original_token,
        from_headers: from_headers.iter().map(header).collect(),
        from_params: from_params.clone(),
        from_cookies: from_cookies.clone(),
        forward_payload_header: output_payload_to_header.clone(),
        payload_in_metadata: TOKEN_PAYLOAD.to_owned(),
        normalize_payload_in_metadata: Some(NormalizePayload { space_delimited_claims: lists.into_iter().map(str::to_owned).collect() }),
        claim_to_headers: output_claim_to_headers.iter().map(claim).collect(),
        clear_route_cache: clears_route,
        jwks_source_specifier: Some(JwksSourceSpecifier::LocalJwks(keys(mesh, rule))),
        ..Default::default()
    }
}

fn keys(mesh: &MeshSnapshot, rule: &JwtRule) -> DataSource {
    let text = match KeyAddress::of(rule) {
        None => rule.jwks.clone(),
        Some(address) => mesh.fetched_keys.get(&address).map_or(NO_KEYS, |keys| &**keys).to_owned(),
    };
    inline(&text)
}

fn inline(text: &str) -> DataSource {
    DataSource { specifier: Some(data_source::Specifier::InlineString(text.to_owned())), ..Default::default() }
}
