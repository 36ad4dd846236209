//! The check of a request's tokens.

use weir_config::http::HttpConfig;
use weir_http1::Headers;
use weir_routing::RequestHead;
use weir_routing::dynamic_metadata::DynamicMetadata;
use weir_routing::filters::FilterPolicy;
use weir_routing::filters::jwt_authn::{Held, JwtPolicy, NAMESPACE, Outcome, Passed, Refusal};
use weir_translate::TokenRule;

use super::Explainer;
use super::answer::Answer;

/// What comes of the check.
pub(super) enum Checked {
    /// The request goes on, with these headers if they are others now.
    Passed(Option<Headers>),
    /// It has been answered.
    Refused,
}

/// Checks a request's tokens as the filters of a connection manager do. What they learn of it is left in `known`.
pub(super) fn check(
    explainer: &Explainer<'_>,
    manager: &HttpConfig,
    head: &RequestHead<'_>,
    known: &mut DynamicMetadata,
    answer: &mut Answer,
) -> Checked {
    let mut changed: Option<Headers> = None;
    for filter in manager.filters.iter().filter(|filter| !filter.disabled) {
        let FilterPolicy::JwtAuthn(policy) = &filter.policy else { continue };
        let head = RequestHead { headers: changed.as_ref().unwrap_or(head.headers), ..*head };
        // What a route says of the filter is not looked at: the route may depend on the token.
        match policy.judge(&head, known, None, explainer.now, &|_| Held::Nowhere) {
            Outcome::Fetch(provider) => {
                answer.step("a token is not checked here", format!("the proxy fetches the keys of {}", name(policy, Some(provider))));
            }
            Outcome::Refuse(refusal) => {
                refused(explainer, policy, &refusal, answer);
                return Checked::Refused;
            }
            Outcome::Pass(passed) => changed = self::passed(explainer, policy, &head, *passed, known, answer).or(changed),
        }
    }
    Checked::Passed(changed)
}

fn refused(explainer: &Explainer<'_>, policy: &JwtPolicy, refusal: &Refusal, answer: &mut Answer) {
    let Refusal { status, body, challenge: _, details, provider, data: _ } = refusal;
    let why = if body.is_empty() { details } else { body };
    let rules = explainer.token_rules;
    let rule = provider.and_then(|index| policy.providers().get(index)).and_then(|provider| of_provider(rules, &provider.name));
    let Some(rule) = rule else {
        let policies: Vec<String> = rules.iter().map(named).collect();
        let by = if policies.is_empty() { String::new() } else { format!("; tokens are checked by {}", policies.join(", ")) };
        return answer.step(format!("answers {status}"), format!("{why}{by}"));
    };
    let place = rule.origin.place().map(|place| place.line());
    answer.step_at(format!("answers {status}"), format!("{why}, says {}", named(rule)), place.as_deref());
    if let Some(address) = &rule.unfetched {
        answer.step(
            "the keys are not known here",
            format!("the control plane fetches them from {address}: until then every token is refused"),
        );
    }
}

fn passed(
    explainer: &Explainer<'_>,
    policy: &JwtPolicy,
    head: &RequestHead<'_>,
    passed: Passed,
    known: &mut DynamicMetadata,
    answer: &mut Answer,
) -> Option<Headers> {
    let Passed { changes, data, clears_route: _, accepted } = passed;
    for index in accepted {
        let rule = policy.providers().get(index).and_then(|provider| of_provider(explainer.token_rules, &provider.name));
        let place = rule.and_then(|rule| rule.origin.place()).map(|place| place.line());
        let by = rule.map_or_else(|| name(policy, Some(index)), named);
        answer.step_at("the token is accepted", format!("by {by}"), place.as_deref());
    }
    known.entry(NAMESPACE.to_owned()).or_default().fields.extend(data);
    if changes.removed.is_empty() && changes.added.is_empty() {
        return None;
    }
    let mut headers = head.headers.clone();
    changes.removed.iter().for_each(|name| drop(headers.remove(name)));
    changes.added.into_iter().for_each(|(name, value)| {
        headers.append(name, value);
    });
    Some(headers)
}

fn of_provider<'r>(rules: &'r [TokenRule], provider: &str) -> Option<&'r TokenRule> {
    rules.iter().find(|rule| rule.provider == provider)
}

fn named(rule: &TokenRule) -> String {
    let policy = rule.origin.object.name();
    match rule.issuer.as_str() {
        "" => format!("{policy}, which has an error and lets nobody in until that is mended"),
        issuer => format!("{policy} for the issuer {issuer}"),
    }
}

fn name(policy: &JwtPolicy, provider: Option<usize>) -> String {
    provider.and_then(|index| policy.providers().get(index)).map_or_else(|| "a provider".to_owned(), |provider| provider.name.to_string())
}
