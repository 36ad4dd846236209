//! What is read, from which files, and what is said of the rest.

use std::path::Path;

use weir_registry::Catalog;
use weir_registry::files::{Input, read};

use crate::support::{Dir, entry, objects};

fn folder(dir: &Dir) -> Catalog {
    read(&[Input::from(dir.root())])
}

#[test]
fn all_files_of_a_folder_are_read_in_the_order_of_their_paths() {
    let (a, b, c) =
        (entry("a", "10.0.0.1"), entry("b", "10.0.0.2"), r#"{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "c"}}"#);
    let catalog = folder(&Dir::of(&[("2.yml", &b), ("3.json", c), ("1.yaml", &a)]));
    assert_eq!(objects(&catalog), ["a 10.0.0.1", "b 10.0.0.2", "Namespace c"]);
    assert!(catalog.diagnostics().next().is_none() && catalog.kept().next().is_none());
}

#[test]
fn inputs_are_read_in_the_order_in_which_they_are_given() {
    let dir = Dir::of(&[("1.yaml", &entry("a", "10.0.0.1")), ("2/x.yaml", &entry("b", "10.0.0.2"))]);
    let input = |path: &str| Input::from(&*dir.path(path));
    assert_eq!(objects(&read(&[input("2"), input("1.yaml")])), ["b 10.0.0.2", "a 10.0.0.1"]);
}

#[test]
fn folders_of_folders_are_read_too() {
    let (a, b, c) = (entry("a", "10.0.0.1"), entry("b", "10.0.0.2"), entry("c", "10.0.0.3"));
    let catalog = folder(&Dir::of(&[("z.yaml", &c), ("one/two/three/b.yaml", &b), ("one/a.yaml", &a)]));
    assert_eq!(objects(&catalog), ["a 10.0.0.1", "b 10.0.0.2", "c 10.0.0.3"]);
}

#[test]
fn hidden_files_and_folders_are_not_read() {
    let broken = "a: [";
    let catalog = folder(&Dir::of(&[(".a.yaml", broken), (".git/a.yaml", broken), ("a.yaml", &entry("a", "10.0.0.1"))]));
    assert_eq!(objects(&catalog), ["a 10.0.0.1"]);
    assert!(catalog.diagnostics().next().is_none());
}

#[test]
fn what_is_no_yaml_by_its_name_is_not_read() {
    let broken = "a: [";
    for name in ["README.md", "a.yaml~", "a.yaml.bak", "#a.yaml#", "yaml", "a.yaml.swp", "4913"] {
        let catalog = folder(&Dir::of(&[(name, broken)]));
        assert!(catalog.is_empty() && catalog.diagnostics().next().is_none(), "{name}");
    }
}

#[test]
fn a_file_that_is_named_is_read_whatever_its_name() {
    for name in ["mesh.txt", "mesh", ".hidden.yaml"] {
        let dir = Dir::of(&[(name, &entry("a", "10.0.0.1"))]);
        assert_eq!(objects(&read(&[Input::from(&*dir.path(name))])), ["a 10.0.0.1"], "{name}");
    }
    assert_eq!(Input::from(Path::new("-")), Input::Stdin);
}

#[test]
fn a_list_is_its_items() {
    let item = |name: &str| {
        format!("{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: {name}}}, spec: {{address: 10.0.0.1}}}}")
    };
    for (version, kind) in [("v1", "List"), ("networking.istio.io/v1", "WorkloadEntryList")] {
        let list = format!("apiVersion: {version}\nkind: {kind}\nitems:\n- {}\n- {}\n", item("a"), item("b"));
        let catalog = folder(&Dir::of(&[("x.yaml", &list)]));
        assert_eq!(objects(&catalog), ["a 10.0.0.1", "b 10.0.0.1"], "{kind}");
        assert!(catalog.diagnostics().next().is_none(), "{kind}");
    }
    let empty = folder(&Dir::of(&[("x.yaml", "apiVersion: v1\nkind: List\nitems: []\n")]));
    assert!(empty.is_empty() && empty.diagnostics().next().is_none());
}

#[test]
fn a_broken_item_of_a_list_loses_only_itself() {
    let list = "\
apiVersion: v1
kind: List
items:
- {apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: a}, spec: {address: 10.0.0.1}}
- {apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: b}, spec: {adress: 10.0.0.2}}
- {apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {name: c}, spec: {address: 10.0.0.3}}
";
    let dir = Dir::of(&[("x.yaml", list)]);
    let catalog = folder(&dir);
    assert_eq!(objects(&catalog), ["a 10.0.0.1", "c 10.0.0.3"]);
    assert!(dir.said(&catalog)[0].starts_with("x.yaml:5:89: error: WorkloadEntry default/b: "), "{:?}", dir.said(&catalog));
}

#[test]
fn a_file_holds_many_documents() {
    let text = format!("# All of them.\n---\n{}---\n# Nothing here.\n{}...\n", entry("a", "10.0.0.1"), entry("b", "10.0.0.2"));
    let catalog = folder(&Dir::of(&[("x.yaml", &text)]));
    assert_eq!(objects(&catalog), ["a 10.0.0.1", "b 10.0.0.2"]);
    assert!(catalog.diagnostics().next().is_none(), "{catalog:?}");
}

#[test]
fn a_file_without_any_document_is_nothing_to_speak_of() {
    for text in ["", "\n", "# Later.\n", "---\n---\n"] {
        let catalog = folder(&Dir::of(&[("x.yaml", text)]));
        assert!(catalog.is_empty() && catalog.diagnostics().next().is_none(), "{text:?}");
    }
}

#[test]
fn a_broken_document_among_good_ones_loses_only_itself() {
    let good = entry("b", "10.0.0.2");
    for (broken, place) in [
        ("---\nkind: [\n".to_owned(), "x.yaml:"),
        ("---\nkind: x\n\tspec: {}\n".to_owned(), "x.yaml:8:1: "),
        ("---\njust a text\n".to_owned(), "x.yaml:7:1: "),
        (good.replace("address", "adress"), "x.yaml:10:8: "),
        (good.replace("10.0.0.2", "unix:relative"), "x.yaml:10:17: "),
        (good.replace("WorkloadEntry", "WorkloadEntri"), "x.yaml:8:7: "),
        (good.replace("name: b", "labels: {}"), "x.yaml:"),
    ] {
        let text = format!("{}{broken}{}", entry("a", "10.0.0.1"), entry("c", "10.0.0.3"));
        let dir = Dir::of(&[("w.yaml", &entry("w", "10.0.0.4")), ("x.yaml", &text), ("y.yaml", &entry("y", "10.0.0.5"))]);
        let catalog = folder(&dir);
        assert_eq!(objects(&catalog), ["w 10.0.0.4", "a 10.0.0.1", "c 10.0.0.3", "y 10.0.0.5"], "{broken}");
        let said = dir.said(&catalog);
        assert!(said.len() == 1 && said[0].starts_with(place) && said[0].contains(" error: "), "{broken}{said:?}");
    }
}

#[test]
fn a_resource_that_stands_in_two_files_is_refused_the_second_time_and_both_places_are_told() {
    let second = format!("# Again.\n{}", entry("a", "10.0.0.2"));
    let dir = Dir::of(&[("one.yaml", &entry("a", "10.0.0.1")), ("two.yaml", &second)]);
    let catalog = folder(&dir);
    assert_eq!(objects(&catalog), ["a 10.0.0.1"]);
    assert_eq!(
        dir.said(&catalog),
        ["two.yaml:5:18: error: WorkloadEntry default/a: metadata.name: WorkloadEntry default/a is defined a second time; \
          the first is at one.yaml:4:18 (rename one of them, or remove it)"]
    );
}

#[test]
fn a_resource_that_stands_twice_in_one_file_is_refused_the_second_time() {
    let dir = Dir::of(&[("x.yaml", &(entry("a", "10.0.0.1") + &entry("a, namespace: default", "10.0.0.2")))]);
    let catalog = folder(&dir);
    assert_eq!(objects(&catalog), ["a 10.0.0.1"]);
    assert!(dir.said(&catalog)[0].contains("x.yaml:9:18: error") && dir.said(&catalog)[0].contains("the first is at x.yaml:4:18"));
}

#[test]
fn a_name_may_stand_once_in_each_namespace_and_kind() {
    let service = "---\napiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n";
    let dir = Dir::of(&[("x.yaml", &(entry("a", "10.0.0.1") + &entry("a, namespace: shop", "10.0.0.1") + service))]);
    let catalog = folder(&dir);
    assert_eq!(objects(&catalog), ["a 10.0.0.1", "WorkloadEntry shop/a", "Service default/a"]);
    assert!(catalog.diagnostics().next().is_none(), "{:?}", dir.said(&catalog));
}

#[test]
fn a_broken_resource_does_not_stand_in_the_way_of_a_good_one_of_its_name() {
    let broken = entry("a", "10.0.0.1").replace("address", "adress");
    let dir = Dir::of(&[("one.yaml", &broken), ("two.yaml", &entry("a", "10.0.0.2"))]);
    let catalog = folder(&dir);
    assert_eq!(objects(&catalog), ["a 10.0.0.2"]);
    assert_eq!(dir.said(&catalog).len(), 1, "{:?}", dir.said(&catalog));
}

#[test]
fn what_cannot_be_read_is_said_and_the_rest_is_read() {
    let dir = Dir::of(&[("good.yaml", &entry("a", "10.0.0.1"))]);
    dir.put("bad.yaml", b"# one\n# \xff\n");
    let catalog = read(&[Input::from(&*dir.path("missing.yaml")), Input::from(dir.root())]);
    assert_eq!(objects(&catalog), ["a 10.0.0.1"]);
    let said = dir.said(&catalog);
    assert_eq!(said[0], "error: missing.yaml cannot be read: No such file or directory (os error 2)");
    assert_eq!(said[1], "error: bad.yaml cannot be read: it is no text in UTF-8: the byte at offset 8, in line 2, is not");
}

#[test]
fn each_text_has_the_time_of_its_last_change() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1")), ("sub/b.yaml", "# Nothing.")]);
    let catalog = folder(&dir);
    for path in ["a.yaml", "sub/b.yaml"] {
        let path = dir.path(path);
        assert_eq!(catalog.changed(path.to_str().unwrap()), path.metadata().unwrap().modified().ok());
    }
    assert!(catalog.changed(&catalog.objects().next().unwrap().source.path).is_some());
}

#[test]
fn a_link_to_a_folder_above_is_not_followed() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]);
    for name in ["one", "two"] {
        std::os::unix::fs::symlink(".", dir.path(name)).unwrap();
    }
    let catalog = folder(&dir);
    assert_eq!((objects(&catalog), catalog.diagnostics().count()), (vec!["a 10.0.0.1".to_owned()], 0));
}

#[test]
fn a_pipe_in_a_folder_is_not_read() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]);
    assert!(std::process::Command::new("mkfifo").arg(dir.path("b.yaml")).status().unwrap().success());
    assert_eq!(objects(&folder(&dir)), ["a 10.0.0.1"]);
}
