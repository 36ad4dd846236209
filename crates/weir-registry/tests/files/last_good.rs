//! What is broken stays in force as it last was, until it is mended or taken away.

use weir_api::Spec;
use weir_registry::Catalog;
use weir_registry::files::Folder;

use crate::support::{Dir, entry, errors, kept, objects};

/// A folder that is looked at after each of its changes.
struct Seen {
    dir: Dir,
    folder: Folder,
}

impl Seen {
    fn new(files: &[(&str, &str)]) -> Self {
        let dir = Dir::of(files);
        let mut folder = Folder::new(dir.root());
        folder.refresh();
        Self { dir, folder }
    }

    fn put(&mut self, path: &str, text: impl AsRef<[u8]>) -> Catalog {
        self.dir.put(path, text);
        self.look()
    }

    fn look(&mut self) -> Catalog {
        assert!(self.folder.refresh(), "something has changed");
        self.folder.catalog()
    }
}

fn broken(name: &str) -> String {
    entry(name, "10.9.9.9").replace("address", "adress")
}

#[test]
fn a_resource_that_breaks_stays_as_it_last_was_and_is_told() {
    let mut seen = Seen::new(&[("a.yaml", &entry("a", "10.0.0.1")), ("b.yaml", &entry("b", "10.0.0.2"))]);
    let catalog = seen.put("a.yaml", broken("a"));
    assert_eq!(objects(&catalog), ["b 10.0.0.2", "a 10.0.0.1"]);
    let second = catalog.objects().nth(1).unwrap();
    assert_eq!(catalog.kept().collect::<Vec<_>>(), [second.name()]);
    let said = seen.dir.said(&catalog);
    assert!(said.len() == 1 && said[0].starts_with("a.yaml:5:8: error: WorkloadEntry default/a: spec.adress: "), "{said:?}");
    // It is still shown as it was written when it was good.
    assert!(second.source.text.contains("10.0.0.1"));
}

#[test]
fn however_a_text_breaks_its_resource_stays() {
    let good = entry("a", "10.0.0.1");
    for text in [
        "kind: [\n".to_owned(),
        good.replace("name: a", "name: a\n\t"),
        good.replace("address", "adress"),
        good.replace("10.0.0.1", "[1]"),
        good.replace("10.0.0.1", "unix:relative"),
        good.replace("istio.io/v1", "istio.io/v9"),
        good.replace("kind: WorkloadEntry\n", ""),
        good.replace("apiVersion: networking.istio.io/v1\n", ""),
        "oops\n".to_owned(),
        format!("<<<<<<< HEAD\n{good}"),
    ] {
        let mut seen = Seen::new(&[("a.yaml", &good)]);
        let catalog = seen.put("a.yaml", &text);
        assert!(errors(&catalog) > 0, "{text}");
        assert_eq!(objects(&catalog).len(), 1, "{text}");
        assert!(objects(&catalog)[0] == "a 10.0.0.1", "{text}");
    }
    let mut seen = Seen::new(&[("a.yaml", &good)]);
    let catalog = seen.put("a.yaml", b"\xff");
    assert_eq!((objects(&catalog), kept(&catalog)), (vec!["a 10.0.0.1".to_owned()], vec!["a".to_owned()]));
}

#[test]
fn a_resource_whose_metadata_break_stays() {
    let good = entry("a", "10.0.0.1");
    let mut seen = Seen::new(&[("a.yaml", &good)]);
    let catalog = seen.put("a.yaml", good.replace("name: a", "name: a, labels: [x]"));
    assert_eq!((errors(&catalog), objects(&catalog)), (1, vec!["a 10.0.0.1".to_owned()]));
}

#[test]
fn a_namespace_whose_version_breaks_stays() {
    let good = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let mut seen = Seen::new(&[("a.yaml", good)]);
    let catalog = seen.put("a.yaml", good.replace("apiVersion: v1\n", ""));
    assert_eq!((errors(&catalog), objects(&catalog)), (1, vec!["Namespace shop".to_owned()]));
}

#[test]
fn the_neighbours_of_a_broken_document_are_as_they_are_written() {
    let mut seen = Seen::new(&[("x.yaml", &(entry("a", "10.0.0.1") + &entry("b", "10.0.0.2") + &entry("c", "10.0.0.3")))]);
    let catalog = seen.put("x.yaml", entry("a", "10.0.1.1") + &broken("b") + &entry("d", "10.0.1.4"));
    assert_eq!(objects(&catalog), ["a 10.0.1.1", "d 10.0.1.4", "b 10.0.0.2"]);
    assert_eq!(kept(&catalog), ["b"]);
}

#[test]
fn where_it_cannot_be_told_what_is_broken_all_that_is_missing_stays() {
    let mut seen = Seen::new(&[("x.yaml", &(entry("a", "10.0.0.1") + &entry("b", "10.0.0.2") + &entry("c", "10.0.0.3")))]);
    let catalog = seen.put("x.yaml", entry("a", "10.0.1.1") + "---\nkind: [\n");
    assert_eq!(objects(&catalog), ["a 10.0.1.1", "b 10.0.0.2", "c 10.0.0.3"]);
    assert_eq!(kept(&catalog), ["b", "c"]);
}

#[test]
fn what_was_never_good_is_not_there() {
    let mut seen = Seen::new(&[("x.yaml", &broken("a"))]);
    assert!(seen.folder.catalog().is_empty() && seen.folder.catalog().kept().next().is_none());
    let catalog = seen.put("x.yaml", broken("a") + &broken("b"));
    assert!(catalog.is_empty() && catalog.kept().next().is_none());
    assert_eq!(errors(&catalog), 2);
}

#[test]
fn a_resource_that_is_broken_again_and_again_stays_as_it_was_when_it_was_last_good() {
    let mut seen = Seen::new(&[("x.yaml", &entry("a", "10.0.0.1"))]);
    for text in [broken("a"), "kind: [\n".to_owned(), entry("a", "unix:relative"), broken("a")] {
        let catalog = seen.put("x.yaml", &text);
        assert_eq!((objects(&catalog), kept(&catalog)), (vec!["a 10.0.0.1".to_owned()], vec!["a".to_owned()]), "{text}");
    }
    seen.put("x.yaml", entry("a", "10.0.0.2"));
    assert_eq!(objects(&seen.put("x.yaml", broken("a"))), ["a 10.0.0.2"]);
}

#[test]
fn a_mended_resource_has_its_new_version() {
    let mut seen = Seen::new(&[("x.yaml", &entry("a", "10.0.0.1"))]);
    seen.put("x.yaml", broken("a"));
    let catalog = seen.put("x.yaml", entry("a", "10.0.0.2"));
    assert_eq!(objects(&catalog), ["a 10.0.0.2"]);
    assert!(catalog.kept().next().is_none() && catalog.diagnostics().next().is_none());
}

#[test]
fn a_resource_that_is_taken_out_of_a_good_file_is_gone() {
    let mut seen = Seen::new(&[("x.yaml", &(entry("a", "10.0.0.1") + &entry("b", "10.0.0.2")))]);
    seen.put("x.yaml", entry("a", "10.0.0.1") + &broken("b"));
    let catalog = seen.put("x.yaml", entry("a", "10.0.0.1"));
    assert_eq!(objects(&catalog), ["a 10.0.0.1"]);
    assert!(catalog.kept().next().is_none());
    assert!(seen.put("x.yaml", "").is_empty());
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: {name}, namespace: default}}\nspec: {spec}\n"
    )
}

/// What each policy does: those that stand in for others deny all.
fn actions(catalog: &Catalog) -> Vec<String> {
    let text = |object: &weir_api::Object| match &object.spec {
        Spec::AuthorizationPolicy(policy) => format!("{} {:?}", object.meta.name, policy.action),
        _ => object.name().to_string(),
    };
    catalog.objects().map(|object| text(object)).collect()
}

#[test]
fn a_policy_that_was_never_good_lets_nobody_in() {
    let bad = "{rules: [{to: [{operation: {paths: /a}}]}]}";
    let mut seen = Seen::new(&[("a.yaml", &policy("a", bad)), ("b.yaml", &policy("b", "{rules: [{}]}"))]);
    let catalog = seen.folder.catalog();
    assert_eq!((actions(&catalog), errors(&catalog)), (vec!["a Deny".to_owned(), "b Allow".to_owned()], 1));
    // One that was good stays as it was.
    let catalog = seen.put("b.yaml", policy("b", bad));
    assert_eq!((actions(&catalog), kept(&catalog)), (vec!["a Deny".to_owned(), "b Allow".to_owned()], vec!["b".to_owned()]));
    assert_eq!(actions(&seen.put("a.yaml", policy("a", "{}"))), ["a Allow", "b Allow"]);
    // What stood in was never good: what breaks now stays as it was mended.
    assert_eq!(actions(&seen.put("a.yaml", policy("a", bad))), ["a Allow", "b Allow"]);
    assert_eq!(actions(&seen.put("a.yaml", "")), ["b Allow"]);
}

#[test]
fn with_a_file_all_that_it_held_and_kept_is_gone() {
    let mut seen = Seen::new(&[("x.yaml", &(entry("a", "10.0.0.1") + &entry("b", "10.0.0.2"))), ("y.yaml", &entry("c", "10.0.0.3"))]);
    seen.put("x.yaml", entry("a", "10.0.0.1") + &broken("b"));
    seen.dir.remove("x.yaml");
    let catalog = seen.look();
    assert_eq!(objects(&catalog), ["c 10.0.0.3"]);
    assert!(catalog.kept().next().is_none() && catalog.diagnostics().next().is_none());
    let time = |path: &str| catalog.changed(seen.dir.path(path).to_str().unwrap());
    assert!(time("x.yaml").is_none() && time("y.yaml").is_some());
    // A file of the same name is a new one.
    assert_eq!(objects(&seen.put("x.yaml", broken("a"))), ["c 10.0.0.3"]);
}

#[test]
fn with_a_folder_all_that_it_held_is_gone() {
    let mut seen = Seen::new(&[("sub/x.yaml", &entry("a", "10.0.0.1")), ("y.yaml", &entry("b", "10.0.0.2"))]);
    std::fs::remove_dir_all(seen.dir.path("sub")).unwrap();
    assert_eq!(objects(&seen.look()), ["b 10.0.0.2"]);
}

#[test]
fn if_the_folder_itself_goes_all_stays_and_it_is_told() {
    let mut seen = Seen::new(&[("mesh/x.yaml", &entry("a", "10.0.0.1"))]);
    seen.folder = Folder::new(seen.dir.path("mesh"));
    seen.look();
    std::fs::rename(seen.dir.path("mesh"), seen.dir.path("away")).unwrap();
    let catalog = seen.look();
    assert_eq!(objects(&catalog), ["a 10.0.0.1"]);
    assert_eq!(seen.dir.said(&catalog), ["error: mesh cannot be read: No such file or directory (os error 2)"]);
    std::fs::rename(seen.dir.path("away"), seen.dir.path("mesh")).unwrap();
    assert!(seen.look().diagnostics().next().is_none());
}

#[test]
fn a_resource_may_move_to_another_file() {
    for (from, to) in [("a.yaml", "z.yaml"), ("z.yaml", "a.yaml")] {
        let mut seen = Seen::new(&[(from, &entry("m", "10.0.0.1")), (to, "# Not yet.")]);
        seen.dir.put(from, "");
        let catalog = seen.put(to, entry("m", "10.0.0.2"));
        assert_eq!(objects(&catalog), ["m 10.0.0.2"], "{from} to {to}");
        assert!(catalog.kept().next().is_none() && catalog.diagnostics().next().is_none(), "{from} to {to}");
    }
}

#[test]
fn a_file_may_get_another_name() {
    let mut seen = Seen::new(&[("a.yaml", &entry("m", "10.0.0.1"))]);
    std::fs::rename(seen.dir.path("a.yaml"), seen.dir.path("b.yaml")).unwrap();
    let catalog = seen.look();
    assert_eq!(objects(&catalog), ["m 10.0.0.1"]);
    assert!(catalog.objects().next().unwrap().source.path.ends_with("/b.yaml") && catalog.diagnostics().next().is_none());
}

#[test]
fn a_resource_that_is_written_elsewhere_by_now_is_not_kept() {
    for (from, to) in [("a.yaml", "z.yaml"), ("z.yaml", "a.yaml")] {
        let mut seen = Seen::new(&[(from, &(entry("m", "10.0.0.1") + &entry("n", "10.0.0.3")))]);
        seen.dir.put(from, "kind: [\n");
        let catalog = seen.put(to, entry("m", "10.0.0.2"));
        assert_eq!(objects(&catalog), ["m 10.0.0.2", "n 10.0.0.3"], "{from} to {to}");
        assert_eq!((kept(&catalog), errors(&catalog)), (vec!["n".to_owned()], 1), "{from} to {to}");
    }
}

#[test]
fn a_resource_that_moved_out_of_a_broken_file_does_not_come_back_as_it_was_there() {
    let mut seen = Seen::new(&[("a.yaml", &entry("m", "10.0.0.1"))]);
    seen.put("a.yaml", "kind: [\n");
    seen.put("b.yaml", entry("m", "10.0.0.2"));
    assert_eq!(objects(&seen.put("b.yaml", "kind: [\n")), ["m 10.0.0.2"]);
    seen.dir.remove("b.yaml");
    assert_eq!(objects(&seen.look()), Vec::<String>::new());
}

#[test]
fn of_two_that_have_one_name_the_second_takes_the_place_of_a_broken_first() {
    let mut seen = Seen::new(&[("a.yaml", &entry("m", "10.0.0.1")), ("b.yaml", &entry("m", "10.0.0.2"))]);
    assert_eq!(objects(&seen.folder.catalog()), ["m 10.0.0.1"]);
    let catalog = seen.put("a.yaml", broken("m"));
    assert_eq!(objects(&catalog), ["m 10.0.0.2"]);
    assert!(catalog.kept().next().is_none());
}

#[test]
fn where_nothing_changes_nothing_is_said_to_have_changed() {
    let mut seen = Seen::new(&[("a.yaml", &entry("a", "10.0.0.1")), ("b.yaml", "kind: [\n")]);
    assert!(!seen.folder.refresh());
    seen.dir.put("README.md", "Not of interest.");
    assert!(!seen.folder.refresh());
}

#[test]
fn a_resource_whose_kind_breaks_stays() {
    let good = entry("a", "10.0.0.1");
    let mut seen = Seen::new(&[("a.yaml", &good)]);
    let catalog = seen.put("a.yaml", good.replace("WorkloadEntry", "WorkloadEntri"));
    assert_eq!((errors(&catalog), objects(&catalog)), (1, vec!["a 10.0.0.1".to_owned()]));
}

#[test]
fn a_resource_that_loses_its_name_stays() {
    let good = entry("a", "10.0.0.1");
    let mut seen = Seen::new(&[("a.yaml", &good)]);
    let catalog = seen.put("a.yaml", good.replace("name: a", ""));
    assert_eq!((errors(&catalog), objects(&catalog)), (1, vec!["a 10.0.0.1".to_owned()]));
}

/// As `> a.yaml` does it, and a disk that is full.
#[test]
fn a_file_that_is_emptied_keeps_what_it_held_for_a_while_and_is_told() {
    let mut seen = Seen::new(&[("a.yaml", &(entry("a", "10.0.0.1") + &entry("b", "10.0.0.1")))]);
    let empty = |seen: &mut Seen, text: &str| {
        std::fs::write(seen.dir.path("a.yaml"), text).unwrap();
        let catalog = seen.look();
        assert_eq!(
            (objects(&catalog), kept(&catalog)),
            (vec!["a 10.0.0.1".to_owned(), "b 10.0.0.1".to_owned()], vec!["a".to_owned(), "b".to_owned()])
        );
        let said = seen.dir.said(&catalog);
        assert!(said.len() == 1 && said[0].starts_with("warning: a.yaml is empty: what it held stays in force for "), "{said:?}");
    };
    empty(&mut seen, "");
    assert!(!seen.folder.refresh());
    empty(&mut seen, "\n");
    std::fs::write(seen.dir.path("a.yaml"), entry("b", "10.0.0.2")).unwrap();
    let catalog = seen.look();
    assert_eq!((objects(&catalog), catalog.diagnostics().count()), (vec!["b 10.0.0.2".to_owned()], 0));
    // Who deletes it means it.
    std::fs::write(seen.dir.path("a.yaml"), "").unwrap();
    assert_eq!(objects(&seen.look()), ["b 10.0.0.2"]);
    seen.dir.remove("a.yaml");
    assert!(seen.look().is_empty());
}

/// Only what is not there is gone: an error may pass, and says nothing of what is there.
#[test]
fn a_file_or_folder_that_cannot_be_looked_at_stays_as_it_was_and_is_told() {
    let mut seen =
        Seen::new(&[("a.yaml", &entry("a", "10.0.0.1")), ("sub/b.yaml", &entry("b", "10.0.0.2")), ("c.yaml", &entry("c", "10.0.0.3"))]);
    // A link to itself leads to an error that is not that there is nothing, whoever looks.
    for name in ["a.yaml", "sub"] {
        std::fs::rename(seen.dir.path(name), seen.dir.path(&format!(".{name}"))).unwrap();
        std::os::unix::fs::symlink(name, seen.dir.path(name)).unwrap();
    }
    let catalog = seen.look();
    assert_eq!(objects(&catalog), ["a 10.0.0.1", "c 10.0.0.3", "b 10.0.0.2"]);
    let said = seen.dir.said(&catalog);
    assert!(said.len() == 2 && said.iter().all(|said| said.contains(" cannot be read: ")), "{said:?}");
    assert!(!seen.folder.refresh_at(&[seen.dir.path("a.yaml")].into()));
    for name in ["a.yaml", "sub"] {
        seen.dir.remove(name);
        std::fs::rename(seen.dir.path(&format!(".{name}")), seen.dir.path(name)).unwrap();
    }
    let catalog = seen.look();
    assert_eq!((objects(&catalog).len(), catalog.diagnostics().count()), (3, 0));
}

/// As after `chmod 444`: its names can be listed, and nothing else. Who may do anything sees no difference.
#[test]
fn in_a_folder_that_may_only_be_listed_all_stays() {
    use std::os::unix::fs::PermissionsExt;
    let mut seen = Seen::new(&[("mesh/a.yaml", &entry("a", "10.0.0.1")), ("mesh/sub/b.yaml", &entry("b", "10.0.0.2"))]);
    let mode = |mode| std::fs::set_permissions(seen.dir.path("mesh"), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o444);
    seen.folder.refresh();
    let (found, said) = (objects(&seen.folder.catalog()), seen.dir.said(&seen.folder.catalog()));
    let count = if seen.dir.path("mesh/a.yaml").metadata().is_ok() { 0 } else { 2 };
    mode(0o755);
    assert_eq!(found, ["a 10.0.0.1", "b 10.0.0.2"]);
    assert!(said.len() == count && said.iter().all(|said| said.contains(" cannot be read: ")), "{said:?}");
}

#[test]
fn a_policy_about_tokens_lets_nobody_in_unless_a_good_version_of_it_is_known() {
    let policy = |audience: &str| {
        format!(
            "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {{name: p}}\nspec: {{jwtRules: [{{issuer: 'https://a.test', audiences: ['{audience}']}}]}}\n"
        )
    };
    let mut seen = Seen::new(&[("a.yaml", &policy(""))]);
    let closed = |catalog: &Catalog| catalog.objects().map(|object| object.stands_in()).collect::<Vec<_>>();
    assert_eq!((closed(&seen.folder.catalog()), errors(&seen.folder.catalog())), (vec![true], 1));
    // Broken in another way it is no better.
    assert_eq!(closed(&seen.put("a.yaml", policy("").replace("audiences", "audience"))), [true]);
    assert_eq!(closed(&seen.put("a.yaml", policy("shop"))), [false]);
    let catalog = seen.put("a.yaml", policy(""));
    assert_eq!((closed(&catalog), catalog.kept().count()), (vec![false], 1));
}

fn access(action: &str) -> String {
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {{name: p, namespace: shop}}\nspec: {{action: {action}, rules: [{{}}]}}\n"
    )
}

/// Which policies are in force, and whether each stands in for one that is refused.
fn policies(catalog: &Catalog) -> Vec<(String, bool)> {
    catalog.objects().map(|object| (object.meta.namespace.clone(), object.stands_in())).collect()
}

#[test]
fn what_stands_in_for_a_refused_policy_stays_while_nothing_better_can_be_read() {
    let denied = [("shop".to_owned(), true)];
    let mut seen = Seen::new(&[("x.yaml", &access("DENNY"))]);
    assert_eq!(policies(&seen.folder.catalog()), denied);
    for broken in ["kind: [\n".to_owned(), access("ALLOW").replace("kind: AuthorizationPolicy\n", ""), access("DENNYY")] {
        assert_eq!(policies(&seen.put("x.yaml", &broken)), denied, "{broken}");
    }
    assert_eq!(policies(&seen.put("x.yaml", access("ALLOW"))), [("shop".to_owned(), false)]);
    // What was good stays, and nobody else is kept out.
    assert_eq!(policies(&seen.put("x.yaml", access("ALLOW").replace("rules: [{}]", "rules: ["))), [("shop".to_owned(), false)]);
}

#[test]
fn a_policy_that_cannot_be_read_at_first_lets_nobody_in() {
    for text in [
        access("ALLOW").replace("rules: [{}]", "rules: ["),
        access("ALLOW").replace("AuthorizationPolicy", "AuthorisationPolicy"),
        access("ALLOW").replace("security.istio.io", "security.itsio.io"),
    ] {
        let mut seen = Seen::new(&[("x.yaml", &text)]);
        assert_eq!(policies(&seen.folder.catalog()), [("shop".to_owned(), true)], "{text}");
        assert_eq!(policies(&seen.put("x.yaml", access("ALLOW"))), [("shop".to_owned(), false)], "{text}");
    }
}

const POLICY: &str = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: shop}\nspec: {}\n";

/// What stands in for others, by kind and namespace.
fn stand_ins(catalog: &Catalog) -> Vec<(&'static str, String)> {
    let all = catalog.objects().filter(|object| object.stands_in());
    all.map(|object| (object.kind.name(), object.meta.namespace.clone())).collect()
}

#[test]
fn what_was_never_read_lets_nobody_in_until_it_is() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]);
    // What leads to itself nobody can open, whoever it is.
    std::os::unix::fs::symlink("p.yaml", dir.path("p.yaml")).unwrap();
    let mut seen = Seen { folder: Folder::new(dir.root()), dir };
    let catalog = seen.look();
    assert_eq!(stand_ins(&catalog), [("AuthorizationPolicy", String::new())]);
    let said = seen.dir.said(&catalog);
    assert!(said.iter().any(|said| said.starts_with("error: p.yaml cannot be read: ")), "{said:?}");
    assert!(said.iter().any(|said| said.contains("p.yaml cannot be read, and may hold policies")), "{said:?}");
    let catalog = seen.put("p.yaml", POLICY);
    assert_eq!((stand_ins(&catalog), objects(&catalog).len()), (vec![], 2));
    // What is known stays, and nothing stands in for it.
    seen.dir.remove("p.yaml");
    std::os::unix::fs::symlink("p.yaml", seen.dir.path("p.yaml")).unwrap();
    let catalog = seen.look();
    assert_eq!((stand_ins(&catalog), objects(&catalog).len()), (vec![], 2));
}

#[test]
fn of_what_is_no_text_those_namespaces_are_closed_whose_policies_it_speaks_of() {
    let closed = |text: &str| {
        let dir = Dir::of(&[]);
        dir.put("p.yaml", [text.as_bytes(), b"# \xff\n"].concat());
        let mut folder = Folder::new(dir.root());
        folder.refresh();
        assert_eq!(errors(&folder.catalog()), 1);
        stand_ins(&folder.catalog())
    };
    let of = |kind: &'static str| vec![(kind, "shop".to_owned())];
    assert_eq!(closed(POLICY), of("AuthorizationPolicy"));
    assert_eq!(closed(&POLICY.replace("AuthorizationPolicy", "PeerAuthentication")), of("PeerAuthentication"));
    assert_eq!(closed(&POLICY.replace("AuthorizationPolicy", "RequestAuthentication")), of("RequestAuthentication"));
    assert_eq!(closed(&entry("a", "10.0.0.1")), []);
}

#[test]
fn of_utf_16_those_namespaces_are_closed_whose_policies_it_speaks_of() {
    let wide = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for bytes in [wide(POLICY), [&b"\xff\xfe"[..], &wide(POLICY)].concat()] {
        let dir = Dir::of(&[]);
        dir.put("p.yaml", bytes);
        let mut folder = Folder::new(dir.root());
        folder.refresh();
        assert_eq!(stand_ins(&folder.catalog()), [("AuthorizationPolicy", "shop".to_owned())]);
    }
}

#[test]
fn a_policy_that_came_with_what_is_no_text_is_closed_and_what_was_good_stays() {
    let mut seen = Seen::new(&[("x.yaml", &entry("a", "10.0.0.1"))]);
    let broken = [entry("a", "10.0.0.1").as_bytes(), b"---\n", POLICY.as_bytes(), b"# \xff\n"].concat();
    seen.dir.put("x.yaml", broken);
    let catalog = seen.look();
    assert_eq!((stand_ins(&catalog), kept(&catalog)), (vec![("AuthorizationPolicy", "shop".to_owned())], vec!["a".to_owned()]));
}

#[test]
fn a_policy_of_any_kind_that_was_never_good_is_closed_and_one_that_was_stays() {
    for kind in ["AuthorizationPolicy", "RequestAuthentication", "PeerAuthentication"] {
        let good = POLICY.replace("AuthorizationPolicy", kind);
        let broken = good.replace("spec: {}", "spec: [");
        let mut seen = Seen::new(&[("p.yaml", &broken)]);
        assert_eq!(stand_ins(&seen.folder.catalog()), [(kind, "shop".to_owned())]);
        assert!(stand_ins(&seen.put("p.yaml", &good)).is_empty());
        let catalog = seen.put("p.yaml", &broken);
        assert_eq!((stand_ins(&catalog), kept(&catalog)), (vec![], vec!["p".to_owned()]), "{kind}");
    }
}
