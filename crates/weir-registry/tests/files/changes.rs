//! A change of a folder is told object by object, and what did not change is the same.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use weir_api::{Object, ObjectChange};
use weir_registry::Catalog;
use weir_registry::files::Folder;

use crate::support::{Dir, entry};

fn folder(dir: &Dir) -> Folder {
    let mut folder = Folder::new(dir.root());
    assert!(folder.refresh());
    folder
}

fn object(catalog: &Catalog, name: &str) -> Arc<Object> {
    catalog.objects().find(|object| object.meta.name == name).unwrap().clone()
}

/// What changed, as `+a ~b -c`.
fn changed(from: &Catalog, to: &Catalog) -> String {
    let sign = |change: &ObjectChange| match (&change.old, &change.new) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    };
    let changes = to.changes_since(from, []);
    let words = changes.objects.iter().map(|change| format!("{}{}", sign(change), change.key().unwrap().name));
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn an_object_that_says_the_same_at_the_same_place_is_the_same() {
    let dir = Dir::of(&[("x.yaml", &(entry("a", "10.0.0.1") + &entry("b", "10.0.0.2"))), ("y.yaml", &entry("c", "10.0.0.3"))]);
    let mut folder = folder(&dir);
    let first = folder.catalog();
    dir.put("x.yaml", entry("a", "10.0.0.1") + &entry("b", "10.0.0.9"));
    assert!(folder.refresh());
    let second = folder.catalog();
    assert_eq!(changed(&first, &second), "~b");
    for name in ["a", "c"] {
        assert!(Arc::ptr_eq(&object(&first, name), &object(&second, name)), "{name}");
    }
    // Its place is another one now, which people are shown.
    dir.put("x.yaml", format!("# First.\n{}{}", entry("a", "10.0.0.1"), entry("b", "10.0.0.9")));
    assert!(folder.refresh());
    assert_eq!(changed(&second, &folder.catalog()), "~a ~b");
    dir.put("x.yaml", "");
    assert!(folder.refresh());
    assert_eq!(changed(&first, &folder.catalog()), "-a -b");
}

#[test]
fn a_file_that_is_written_anew_with_the_same_text_changes_no_object() {
    let dir = Dir::of(&[("x.yaml", &entry("a", "10.0.0.1"))]);
    let mut folder = folder(&dir);
    let first = folder.catalog();
    dir.put("x.yaml", entry("a", "10.0.0.1"));
    assert!(folder.refresh(), "its time is another one");
    assert_eq!(changed(&first, &folder.catalog()), "");
    assert!(Arc::ptr_eq(&object(&first, "a"), &object(&folder.catalog(), "a")));
}

#[test]
fn only_where_something_happened_is_looked_at() {
    let dir = Dir::of(&[("x.yaml", &entry("a", "10.0.0.1")), ("sub/y.yaml", &entry("b", "10.0.0.2"))]);
    let mut folder = folder(&dir);
    let first = folder.catalog();
    dir.put("x.yaml", entry("a", "10.0.0.8"));
    dir.put("sub/y.yaml", entry("b", "10.0.0.9"));
    let at = |paths: &[&str]| paths.iter().map(|path| dir.path(path)).collect::<BTreeSet<_>>();
    assert!(folder.refresh_at(&at(&["x.yaml", "README.md", ".new", ".git/z.yaml"])));
    assert_eq!(changed(&first, &folder.catalog()), "~a");
    assert!(!folder.refresh_at(&at(&[".new"])));
    // What happens to a folder may happen to all that is in it.
    assert!(folder.refresh_at(&at(&["sub"])));
    assert_eq!(changed(&first, &folder.catalog()), "~a ~b");
    fs::remove_dir_all(dir.path("sub")).unwrap();
    assert!(folder.refresh_at(&at(&["sub"])));
    assert_eq!(changed(&first, &folder.catalog()), "~a -b");
}

#[test]
fn behind_links_all_is_looked_at() {
    let dir = Dir::of(&[("..1/a.yaml", &entry("a", "10.0.0.1")), ("b.yaml", &entry("b", "10.0.0.1"))]);
    std::os::unix::fs::symlink("..1/a.yaml", dir.path("a.yaml")).unwrap();
    let mut folder = folder(&dir);
    let first = folder.catalog();
    dir.put("..1/a.yaml", entry("a", "10.0.0.2"));
    assert!(folder.refresh_at(&[dir.path("..1/a.yaml")].into()));
    assert_eq!(changed(&first, &folder.catalog()), "~a");
}

#[test]
fn of_two_that_are_of_one_name_the_next_takes_the_place_of_the_first() {
    let dir = Dir::of(&[("x.yaml", &entry("a", "10.0.0.1")), ("y.yaml", &entry("a", "10.0.0.2"))]);
    let mut folder = folder(&dir);
    let first = folder.catalog();
    assert_eq!(first.diagnostics().count(), 1);
    dir.remove("x.yaml");
    assert!(folder.refresh());
    let second = folder.catalog();
    assert_eq!((changed(&first, &second), second.diagnostics().count(), second.len()), ("~a".to_owned(), 0, 1));
    let texts = second.changes_since(&first, []).texts;
    assert!(texts.iter().any(|text| text.path == dir.path("y.yaml")), "no more is said of it: {texts:?}");
    dir.put("x.yaml", entry("a", "10.0.0.1"));
    assert!(folder.refresh());
    assert_eq!((changed(&second, &folder.catalog()), folder.catalog().diagnostics().count()), ("~a".to_owned(), 1));
}
