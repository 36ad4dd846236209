//! The pictures that broken documents are answered with, as a person sees them.

use insta::assert_snapshot;
use weir_api::parse;
use weir_api::source::Source;

/// All that is said of a text.
fn said(text: &str) -> String {
    let parsed = parse::parse(&Source::new("mesh.yaml", text));
    parsed.diagnostics.iter().map(|diagnostic| diagnostic.render(false)).collect::<Vec<_>>().join("\n")
}

/// A resource of Istio's.
fn resource(kind: &str, spec: &str) -> String {
    format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: reviews}}\nspec:\n{spec}")
}

#[test]
fn an_unknown_field() {
    let text = &resource(
        "VirtualService",
        "  hosts: [reviews]
  http:
  - route:
    - destinaton: {host: reviews}
",
    );
    assert_snapshot!(said(text), @r"
    error: VirtualService default/reviews: spec.http[0].route[0].destinaton: unknown field `destinaton`
     --> mesh.yaml:8:7
      |
    8 |     - destinaton: {host: reviews}
      |       ^^^^^^^^^^
      |
      = help: did you mean `destination`?
    ");
}

#[test]
fn fields_beside_the_spec() {
    let text = "apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
host: reviews
";
    assert_snapshot!(said(text), @r"
    error: DestinationRule default/reviews: host: unknown field `host`
     --> mesh.yaml:4:1
      |
    4 | host: reviews
      | ^^^^
      |
      = help: the fields of a resource stand below `spec`

    error: DestinationRule default/reviews: it has no `spec`
     --> mesh.yaml:1:1
      |
    1 | apiVersion: networking.istio.io/v1
      | ^
      |
      = help: the fields of a resource stand below `spec`
    ");
}

#[test]
fn a_value_of_the_wrong_type() {
    let text = &resource(
        "VirtualService",
        r#"  hosts: reviews
  http:
  - route: [{destination: {host: reviews, port: {number: "80"}}}]
"#,
    );
    assert_snapshot!(said(text), @r#"
    error: VirtualService default/reviews: spec.hosts: expected a list, found the text "reviews"
     --> mesh.yaml:5:10
      |
    5 |   hosts: reviews
      |          ^^^^^^^
      |
      = help: begin each entry of a list with `- `

    error: VirtualService default/reviews: spec.http[0].route[0].destination.port.number: expected a whole number, found the text "80"
     --> mesh.yaml:7:58
      |
    7 |   - route: [{destination: {host: reviews, port: {number: "80"}}}]
      |                                                          ^^^^
      |
      = help: leave the quotes away: 80
    "#);
}

#[test]
fn an_unknown_value() {
    let text = &resource(
        "ServiceEntry",
        "  hosts: [ext.example.com]
  ports: [{number: 443, name: https, protocol: HTTPS}]
  resolution: static
",
    );
    assert_snapshot!(said(text), @r#"
    error: ServiceEntry default/reviews: spec.resolution: unknown value "static", expected one of `NONE`, `STATIC`, `DNS`, `DNS_ROUND_ROBIN`, `DYNAMIC_DNS`
     --> mesh.yaml:7:15
      |
    7 |   resolution: static
      |               ^^^^^^
      |
      = help: did you mean `STATIC`?
    "#);
}

#[test]
fn an_unknown_kind() {
    let text = "apiVersion: networking.istio.io/v1
kind: VirtualServices
metadata: {name: reviews}
spec: {}
";
    assert_snapshot!(said(text), @r"
    error: VirtualServices default/reviews: kind: unknown kind `VirtualServices`
     --> mesh.yaml:2:7
      |
    2 | kind: VirtualServices
      |       ^^^^^^^^^^^^^^^
      |
      = help: did you mean `VirtualService`?
    ");
}

#[test]
fn an_unknown_version() {
    let text = r#"apiVersion: networking.istio.io/v2
kind: Gateway
metadata: {name: reviews}
spec:
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
"#;
    assert_snapshot!(said(text), @r"
    error: Gateway default/reviews: apiVersion: unknown version `networking.istio.io/v2`
     --> mesh.yaml:1:13
      |
    1 | apiVersion: networking.istio.io/v2
      |             ^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: known are `networking.istio.io/v1`, `networking.istio.io/v1beta1`, `networking.istio.io/v1alpha3`
    ");
}

#[test]
fn a_tab() {
    let text = &resource("VirtualService", "  hosts: [reviews]\n  http:\n  - route:\n  \t- destination: {host: reviews}\n");
    assert_snapshot!(said(text), @r"
    error: a tab in the indentation
     --> mesh.yaml:8:3
      |
    8 |       - destination: {host: reviews}
      |   ^^^^
      |
      = help: YAML indents with spaces only: put spaces in place of the tab
    ");
}

#[test]
fn a_key_twice() {
    let text = &resource(
        "DestinationRule",
        "  host: reviews
  trafficPolicy:
    tls: {mode: ISTIO_MUTUAL}
    tls: {mode: DISABLE}
",
    );
    assert_snapshot!(said(text), @r"
    error: the key `tls` stands twice in one map
     --> mesh.yaml:8:5
      |
    8 |     tls: {mode: DISABLE}
      |     ^^^
      |
      = help: keep one of the two
    ");
}

#[test]
fn quotes_that_do_not_end() {
    let text = &resource(
        "DestinationRule",
        r#"  host: "reviews
"#,
    );
    assert_snapshot!(said(text), @r#"
    error: not valid YAML: invalid indentation in multiline quoted scalar
     --> mesh.yaml:5:18
      |
    5 |   host: "reviews
      |                 ^
      |
      = help: is the closing quote missing?
    "#);
}

#[test]
fn no_rules() {
    let text = &resource(
        "VirtualService",
        "  hosts: [reviews]
  http: []
",
    );
    assert_snapshot!(said(text), @r"
    error: VirtualService default/reviews: spec.http: `http` has no rules
     --> mesh.yaml:6:3
      |
    6 |   http: []
      |   ^^^^
      |
      = help: add a rule, such as `- route: [{destination: {host: …}}]`
    ");
}

#[test]
fn a_rule_without_action() {
    let text = &resource(
        "VirtualService",
        "  hosts: [reviews]
  http:
  - name: for-jason
    match:
    - headers: {end-user: {exact: jason}}
  - route: [{destination: {host: reviews}}]
",
    );
    assert_snapshot!(said(text), @r"
    error: VirtualService default/reviews: spec.http[0]: the rule does nothing
     --> mesh.yaml:7:5
      |
    7 |   - name: for-jason
      |     ^
      |
      = help: add `route`, `redirect`, `directResponse` or `delegate`
    ");
}

#[test]
fn an_unreachable_rule() {
    let text = &resource(
        "VirtualService",
        "  hosts: [reviews]
  http:
  - name: all
    route: [{destination: {host: reviews, subset: v1}}]
  - match: [{uri: {prefix: /v2}}]
    route: [{destination: {host: reviews, subset: v2}}]
",
    );
    assert_snapshot!(said(text), @r"
    warning: VirtualService default/reviews: spec.http[1]: the rule is never used: `http[0]` (all) takes all requests
     --> mesh.yaml:9:5
      |
    9 |   - match: [{uri: {prefix: /v2}}]
      |     ^
      |
      = help: put the rule that matches everything last
    ");
}

#[test]
fn a_wrong_duration() {
    let text = &resource(
        "VirtualService",
        "  hosts: [reviews]
  http:
  - route: [{destination: {host: reviews}}]
    timeout: 5
    retries: {attempts: 3, perTryTimeout: 2 seconds}
",
    );
    assert_snapshot!(said(text), @r#"
    error: VirtualService default/reviews: spec.http[0].timeout: the duration 5 has no unit
     --> mesh.yaml:8:14
      |
    8 |     timeout: 5
      |              ^
      |
      = help: write 5s or 5ms

    error: VirtualService default/reviews: spec.http[0].retries.perTryTimeout: "2 seconds" is not a duration
     --> mesh.yaml:9:43
      |
    9 |     retries: {attempts: 3, perTryTimeout: 2 seconds}
      |                                           ^^^^^^^^^
      |
      = help: write a number with its unit, such as 1.5s, 30ms or 1h
    "#);
}

#[test]
fn a_wrong_regex() {
    let text = &resource(
        "VirtualService",
        r#"  hosts: [reviews]
  http:
  - match:
    - uri: {regex: "/v1/(.*"}
    route: [{destination: {host: reviews}}]
"#,
    );
    assert_snapshot!(said(text), @r#"
    error: VirtualService default/reviews: spec.http[0].match[0].uri.regex: `/v1/(.*` is not a regular expression: unclosed group
     --> mesh.yaml:8:20
      |
    8 |     - uri: {regex: "/v1/(.*"}
      |                    ^^^^^^^^^
      |
      = help: write it as RE2 does: https://github.com/google/re2/wiki/Syntax
    "#);
}

#[test]
fn a_negative_weight() {
    let text = &resource(
        "VirtualService",
        "  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews, subset: v1}
      weight: 110
    - destination: {host: reviews, subset: v2}
      weight: -10
",
    );
    assert_snapshot!(said(text), @r"
    error: VirtualService default/reviews: spec.http[0].route[1].weight: -10 is negative
      --> mesh.yaml:11:15
       |
    11 |       weight: -10
       |               ^^^
       |
       = help: 0 or more
    ");
}

#[test]
fn a_port_out_of_range() {
    let text = &resource(
        "Gateway",
        r#"  selector: {istio: ingressgateway}
  servers:
  - port: {number: 65537, name: http, protocol: HTTP}
    hosts: ["*"]
"#,
    );
    assert_snapshot!(said(text), @r"
    error: Gateway default/reviews: spec.servers[0].port.number: 65537 is not the number of a port
     --> mesh.yaml:7:20
      |
    7 |   - port: {number: 65537, name: http, protocol: HTTP}
      |                    ^^^^^
      |
      = help: 1 to 65535
    ");
}

#[test]
fn a_deprecated_field() {
    let text = &resource(
        "DestinationRule",
        "  host: reviews
  trafficPolicy:
    loadBalancer: {simple: LEAST_CONN}
",
    );
    assert_snapshot!(said(text), @r"
    warning: DestinationRule default/reviews: spec.trafficPolicy.loadBalancer.simple: `LEAST_CONN` is deprecated
     --> mesh.yaml:7:28
      |
    7 |     loadBalancer: {simple: LEAST_CONN}
      |                            ^^^^^^^^^^
      |
      = help: write `LEAST_REQUEST`
    ");
}

#[test]
fn several_mistakes_at_once() {
    let text = &resource(
        "Sidecar",
        r#"  egress:
  - hosts: [reviews]
  - port: {number: 0, protocol: HTTP}
    hosts: ["./*", "istio-system/*"]
"#,
    );
    assert_snapshot!(said(text), @r"
    error: Sidecar default/reviews: spec.egress[0].hosts[0]: `reviews` has no namespace
     --> mesh.yaml:6:13
      |
    6 |   - hosts: [reviews]
      |             ^^^^^^^
      |
      = help: write `NAMESPACE/reviews`, `./reviews` or `*/reviews`

    error: Sidecar default/reviews: spec.egress[1].port: the number of the port is missing
     --> mesh.yaml:7:5
      |
    7 |   - port: {number: 0, protocol: HTTP}
      |     ^^^^
      |
      = help: add `number`, or a `bind` of unix://PATH

    error: Sidecar default/reviews: spec.egress[0]: a listener without `port` is for all other ports, so it must be the last one
     --> mesh.yaml:6:5
      |
    6 |   - hosts: [reviews]
      |     ^
      |
      = help: put it last, or add `port`
    ");
}

#[test]
fn a_word_that_yaml_takes_for_a_truth_value_is_told_of() {
    let text = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http:
  - match: [{queryParams: {x: {exact: '1'}, y: {exact: '2'}, 'n': {exact: '3'}}}]
    directResponse: {status: 200}
";
    let parsed = weir_api::parse(&weir_api::Source::new("a.yaml", text));
    let [warning] = parsed.diagnostics.as_slice() else { panic!("{:?}", parsed.diagnostics) };
    assert_eq!(warning.message, "the key `y` is read as `true`, as Kubernetes reads it");
    let weir_api::Spec::VirtualService(service) = &parsed.objects[0].spec else { panic!("another kind") };
    let names: Vec<&String> = service.http[0].r#match[0].query_params.keys().collect();
    assert_eq!(names, ["n", "true", "x"]);
}
