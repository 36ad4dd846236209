//! Documents that are refused, each among good ones: it alone is, and what is said of it names the place and what would be right.

use std::fs;
use std::path::Path;

use weir_api::Severity;
use weir_api::parse;
use weir_api::source::Source;

const GOOD: &str = "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME}
spec: {hosts: [NAME], http: [{route: [{destination: {host: NAME}}]}]}
";

#[test]
fn a_bad_document_is_refused_alone_with_its_place_and_a_remedy() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rejected");
    let mut files: Vec<_> =
        fs::read_dir(&folder).expect("the folder of bad documents").map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 30, "only {} documents", files.len());
    let mut wrong = vec![];
    for file in files {
        let name = file.file_stem().expect("a name").to_string_lossy().into_owned();
        let bad = fs::read_to_string(&file).expect("a text");
        let text = format!("{bad}---\n{}---\n{}", GOOD.replace("NAME", "one"), GOOD.replace("NAME", "two"));
        let parsed = parse::parse(&Source::new(format!("{name}.yaml"), text));
        let kept: Vec<&str> = parsed.objects.iter().map(|object| object.meta.name.as_str()).collect();
        if kept != ["one", "two"] {
            wrong.push(format!("{name}: {kept:?} are kept"));
        }
        for error in parsed.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error) {
            if error.place.as_ref().is_none_or(|place| !place.line().starts_with(&name)) {
                wrong.push(format!("{name}: no place: {}", error.message));
            }
            if error.help.is_none() {
                wrong.push(format!("{name}: no remedy: {}", error.message));
            }
        }
        let said = parsed.diagnostics.iter().map(|diagnostic| diagnostic.render(false)).collect::<Vec<_>>().join("\n");
        insta::assert_snapshot!(name, said);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
