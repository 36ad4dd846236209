//! Files of resources and mesh configurations: reading them, and telling what is wrong with them, ends, and in order.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_api::parse;
use weir_api::resources::MeshConfig;
use weir_api::source::Source;

fuzz_target!(|text: &str| {
    let source = Source::new("any.yaml", text);
    let parsed = parse::parse(&source);
    let (_, of_mesh) = MeshConfig::parse(&source);
    for diagnostic in parsed.diagnostics.iter().chain(&of_mesh) {
        assert!(diagnostic.render(false).ends_with('\n'));
    }
});
