use weir_http1::header::HOST;
use weir_xds::core::header_value_option::HeaderAppendAction::{
    self, AddIfAbsent, AppendIfExistsOrAdd, OverwriteIfExists, OverwriteIfExistsOrAdd,
};
use weir_xds::core::{HeaderValue as XdsValue, HeaderValueOption};
use weir_xds::matcher::StringMatcher;
use weir_xds::matcher::string_matcher::MatchPattern;

use super::*;
use crate::inline_headers::REQUEST;
use crate::template::{Field, Message, Operator, Values};

/// `%REQ(x-h)%`, and nothing else.
pub(super) struct Said;

impl Values for Said {
    fn append(&self, operator: &Operator, out: &mut Vec<u8>) -> bool {
        let Operator::Header(Message::Request, Field::Header(name), _) = operator else { return false };
        if name == "x-h" {
            out.extend_from_slice(b"p&q=%41 #");
        }
        name == "x-h"
    }
}

fn write(key: &str, value: &str, action: HeaderAppendAction) -> XdsMutation {
    let header = Some(XdsValue { key: key.into(), value: value.into(), ..Default::default() });
    XdsMutation { action: Some(XdsAction::Append(HeaderValueOption { header, append_action: action.into(), ..Default::default() })) }
}

fn keep_empty(mut mutation: XdsMutation) -> XdsMutation {
    if let Some(XdsAction::Append(option)) = &mut mutation.action {
        option.keep_empty_value = true;
    }
    mutation
}

fn remove(name: &str) -> XdsMutation {
    XdsMutation { action: Some(XdsAction::Remove(name.into())) }
}

fn remove_matching(pattern: MatchPattern) -> XdsMutation {
    let key_matcher = Some(StringMatcher { match_pattern: Some(pattern), ..Default::default() });
    XdsMutation { action: Some(XdsAction::RemoveOnMatch(RemoveOnMatch { key_matcher })) }
}

fn request(mutations: Vec<XdsMutation>) -> Result<Mutations, CompileError> {
    Mutations::of(Some(&XdsMutations { request_mutations: mutations, ..Default::default() }))
}

#[test]
fn what_is_appended_to_a_header_that_is_there_once_is_joined() {
    let append = |key, value| keep_empty(write(key, value, AppendIfExistsOrAdd));
    let mutations = request(vec![append("x-request-id", ""), append("referer", "b"), append("x-own", "b")]).expect("valid");
    let mut headers = Headers::new();
    for name in ["x-request-id", "referer", "x-own"] {
        headers.append(name, HeaderValue::from_static("a"));
    }
    apply(&mutations.request, &mut headers);
    let values = |name: &str| headers.get_all(name).iter().map(HeaderValue::as_bytes).collect::<Vec<_>>();
    assert_eq!(values("x-request-id"), [b"a"]);
    assert_eq!(values("referer"), [b"a,b"]);
    assert_eq!(values("x-own"), [b"a", b"b"]);
}

fn apply(mutations: &[Mutation], headers: &mut Headers) {
    for mutation in mutations {
        let rendered = mutation.template().and_then(|template| {
            let mut text = vec![];
            template.render(&Said, b"", &mut text);
            HeaderValue::from_bytes(&text).ok()
        });
        mutation.apply(rendered, headers, &REQUEST);
    }
}

/// As Envoy 1.40 sent this request on.
#[test]
fn headers_are_changed_one_after_the_other() {
    let mutations = request(vec![
        write("x-a", "1", AppendIfExistsOrAdd),
        write("x-h2", "%REQ(x-h)%", AppendIfExistsOrAdd),
        write("x-e", "", AppendIfExistsOrAdd),
        keep_empty(write("x-e2", "", AppendIfExistsOrAdd)),
        write("x-new", "n", OverwriteIfExists),
        write("X-Old", "n", OverwriteIfExists),
        write("x-old2", "n", AddIfAbsent),
        write("x-old", "m", AppendIfExistsOrAdd),
        remove("X-Rem"),
        remove_matching(MatchPattern::Prefix("x-m-".into())),
        remove("a b"),
        write("x-none", "%REQ(nope)%", AppendIfExistsOrAdd),
        write("x-old3", "%REQ(nope)%", OverwriteIfExistsOrAdd),
    ]);
    let mut headers = Headers::new();
    for (name, value) in
        [("host", "a"), ("x-old", "1"), ("x-old", "2"), ("x-old2", "1"), ("x-old3", "keep"), ("x-rem", "1"), ("x-m-a", "1"), ("x-m-b", "1")]
    {
        headers.append(name, HeaderValue::from_static(value));
    }
    apply(&mutations.expect("valid").request, &mut headers);
    let mut found: Vec<_> = headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("ASCII"))).collect();
    found.sort_unstable();
    let expected = ["host: a", "x-a: 1", "x-e2: ", "x-h2: p&q=%41 #", "x-old2: 1", "x-old3: keep", "x-old: m", "x-old: n"];
    assert_eq!(found, expected);
}

#[test]
fn what_makes_a_message_one_stays() {
    let of_status = |mutation| {
        let message = XdsMutations { response_mutations: vec![mutation], ..Default::default() };
        Mutations::of(Some(&message)).err().map(|error| error.to_string())
    };
    let regex = |regex: &str| MatchPattern::SafeRegex(weir_xds::matcher::RegexMatcher { regex: regex.into(), ..Default::default() });
    for mutation in [
        write("host", "x", AppendIfExistsOrAdd),
        write("Host", "x", OverwriteIfExistsOrAdd),
        write(":path", "x", AppendIfExistsOrAdd),
        write(":authority", "x", AppendIfExistsOrAdd),
        write("a b", "x", AppendIfExistsOrAdd),
        remove(":path"),
        remove("host"),
        remove_matching(MatchPattern::Prefix(":".into())),
        remove_matching(regex(".*th.*")),
        XdsMutation::default(),
    ] {
        let error = request(vec![mutation]).expect_err("refused").to_string();
        assert!(error.starts_with("mutations.request_mutations[0]."), "{error}");
    }
    assert_eq!(
        of_status(remove_matching(MatchPattern::Prefix(":".into()))).as_deref(),
        Some("mutations.response_mutations[0].remove_on_match: `:status` may not be removed")
    );
    // The authority is no header, though it is kept among them.
    let mutations = request(vec![remove_matching(MatchPattern::Exact("host".into()))]).expect("valid");
    let mut headers = Headers::from_iter([(HOST, HeaderValue::from_static("a"))]);
    apply(&mutations.request, &mut headers);
    assert!(headers.contains_key(HOST));
}

#[test]
fn the_order_of_levels_is_as_the_filter_says() {
    use crate::action::Action as RouteAction;
    use crate::clusters::Clusters;
    use crate::table::RouteTable;
    use weir_xds::Any;
    use weir_xds::route::{Route, RouteConfiguration, VirtualHost};
    use weir_xds::route::{RouteAction as XdsRouteAction, RouteMatch, WeightedCluster, route, route_action, route_match, weighted_cluster};

    let level = |name: &str| {
        let mutations = XdsMutations { request_mutations: vec![write(name, "1", AppendIfExistsOrAdd)], ..Default::default() };
        [("hm".to_owned(), Any::pack(&HeaderMutationPerRoute { mutations: Some(mutations) }))].into()
    };
    let cluster =
        weighted_cluster::ClusterWeight { name: "c".into(), weight: Some(1), typed_per_filter_config: level("w"), ..Default::default() };
    let weighted = WeightedCluster { clusters: vec![cluster], ..Default::default() };
    let action =
        XdsRouteAction { cluster_specifier: Some(route_action::ClusterSpecifier::WeightedClusters(weighted)), ..Default::default() };
    let route = Route {
        r#match: Some(RouteMatch { path_specifier: Some(route_match::PathSpecifier::Prefix("/".into())), ..Default::default() }),
        action: Some(route::Action::Route(action)),
        typed_per_filter_config: level("r"),
        ..Default::default()
    };
    let host = VirtualHost {
        name: "v".into(),
        domains: vec!["*".into()],
        routes: vec![route],
        typed_per_filter_config: level("v"),
        ..Default::default()
    };
    let config = RouteConfiguration { virtual_hosts: vec![host], typed_per_filter_config: level("t"), ..Default::default() };
    let table = RouteTable::compile(&config, None).expect("valid");
    let host = &table.virtual_hosts[0];
    let RouteAction::Forward(forward) = &host.routes[0].action else { panic!("it is forwarded") };
    let Clusters::Weighted(weighted) = &forward.clusters else { panic!("it is weighted") };
    let levels = table.filter_levels(host, host.routes.first(), weighted.choices.first());
    for (most_specific_wins, expected) in [(false, ["f", "w", "r", "v", "t"]), (true, ["f", "t", "v", "r", "w"])] {
        let mutations = request(vec![write("f", "1", AppendIfExistsOrAdd)]).expect("valid");
        let policy = HeaderMutationPolicy { mutations, most_specific_wins };
        let names = policy.in_order(&levels, "hm").map(|mutations| match &mutations.request[..] {
            [Mutation::Write { name, .. }] => name.to_string(),
            other => panic!("{other:?}"),
        });
        assert_eq!(names.collect::<Vec<_>>(), expected, "{most_specific_wins}");
    }
    let policy = HeaderMutationPolicy { mutations: Mutations::default(), most_specific_wins: true };
    assert_eq!(policy.in_order(&levels, "another").count(), 1);
}
