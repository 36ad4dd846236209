//! `weir analyze` says by its exit code whether anything is wrong, and prints for people and for programs.

use std::fs;
use std::process::Command;

use serde_json::Value;

const GOOD: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: reviews}\nspec: {ports: [{name: http, port: 80}]}\n";
const RULE: &str = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: reviews}\n\
                    spec:\n  hosts: [reviews]\n  http:\n  - route:\n    - destination: {host: HOST}\n";

/// What it prints of documents, both ways together, and its exit code.
fn analyze(documents: &[&str], arguments: &[&str]) -> (String, Option<i32>) {
    let folder = tempfile::tempdir().unwrap();
    for (number, document) in documents.iter().enumerate() {
        fs::write(folder.path().join(format!("{number}.yaml")), document).unwrap();
    }
    let output =
        Command::new(env!("CARGO_BIN_EXE_weir")).current_dir(&folder).args(["analyze", "-f", "."]).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code())
}

#[test]
fn nothing_wrong_is_fine() {
    assert_eq!(
        analyze(&[GOOD, &RULE.replace("HOST", "reviews")], &[]),
        ("2 documents: 0 errors, 0 warnings, 0 notes\n".to_owned(), Some(0))
    );
    let note = GOOD.replace("name: http", "name: web");
    assert_eq!(analyze(&[&note], &["-o", "json"]).1, Some(0), "a note is no fault");
}

#[test]
fn a_finding_has_its_code_and_a_picture_of_its_place() {
    let (text, code) = analyze(&[GOOD, &RULE.replace("HOST", "ratings")], &[]);
    assert_eq!(code, Some(1));
    for part in ["error: [IST0101] VirtualService default/reviews: spec.http[0].route[0].destination.host: ", "1.yaml:8:27", "^^^^^^^"] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.starts_with("2 documents: 1 error, 0 warnings, 0 notes\n"), "{text}");
}

#[test]
fn programs_get_a_list() {
    let (text, _) = analyze(&[GOOD, &RULE.replace("HOST", "ratings")], &["-o", "json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(found[0]["code"], "IST0101");
    assert_eq!((found[0]["level"].as_str(), found[0]["origin"].as_str()), (Some("Error"), Some("VirtualService default/reviews")));
    assert!(found[0]["reference"].as_str().is_some_and(|place| place.ends_with("1.yaml:8")), "{text}");
}

#[test]
fn what_cannot_be_read_is_wrong_usage_or_a_finding() {
    assert_eq!(analyze(&["a: ["], &["-o", "json"]).1, Some(1));
    assert_eq!(analyze(&[GOOD], &["--mesh-config", "nowhere.yaml"]).1, Some(2));
}
