//! Whatever a text holds, reading it and telling what is wrong with it ends, and in order.

use proptest::prelude::*;
use weir_api::parse;
use weir_api::resources::MeshConfig;
use weir_api::source::Source;

/// Pieces of which resources are made, right and wrong ones.
const PIECES: &[&str] = &[
    "apiVersion: networking.istio.io/v1\n",
    "kind: VirtualService\n",
    "kind: DestinationRule\n",
    "kind: ServiceEntry\n",
    "kind: ConfigMap\n",
    "metadata: {name: a}\n",
    "spec:\n",
    "  hosts: [a.b, '*']\n",
    "  http:\n",
    "  - route: [{destination: {host: é}, weight: -1}]\n",
    "    match: [{uri: {regex: '[]\\\\Q('}}]\n",
    "    timeout: 1h2x\n",
    "    headers: {request: {set: {a: '%é(%'}}}\n",
    "    rewrite: {uriRegexRewrite: {match: '(é)', rewrite: '\\\\9'}}\n",
    "  trafficPolicy: {loadBalancer: {consistentHash: {maglev: {tableSize: 18446744073709551615}}}}\n",
    "data:\n",
    "  mesh: |\n",
    "    accessLogFile: é\n",
    "\u{feff}",
    "\r\n",
    "\t",
    "---\n",
    "...\n",
    "{",
    "]",
    "- ",
    ": ",
    "\"",
    "&a *a",
    "!!binary ",
    "\0",
    "🦀",
];

fn check(text: &str) {
    let source = Source::new("any.yaml", text);
    let parsed = parse::parse(&source);
    let (_, of_mesh) = MeshConfig::parse(&source);
    for diagnostic in parsed.diagnostics.iter().chain(&of_mesh) {
        assert!(diagnostic.render(false).ends_with('\n'));
        assert!(!diagnostic.to_string().is_empty());
    }
}

proptest! {
    #[test]
    fn pieces_in_any_order(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..20)) {
        check(&pieces.concat());
    }

    #[test]
    fn any_letters(text in ".{0,200}") {
        check(&text);
    }
}
