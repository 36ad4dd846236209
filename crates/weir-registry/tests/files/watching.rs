//! Changes arrive by themselves, each as a whole.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use weir_registry::Catalog;
use weir_registry::files::{self, Watched};

use crate::support::{Dir, entry, kept, objects};

/// No change may take longer to arrive.
const SOON: Duration = Duration::from_secs(10);
/// Changes that follow each other this fast are one; somewhat less than what the watch allows.
const AT_ONCE: Duration = Duration::from_millis(5);
/// Longer than a change may take that never comes to rest.
const STILL_WRITTEN: Duration = Duration::from_millis(200);

fn watch(dir: &Dir) -> Watched {
    files::watch(dir.root()).unwrap()
}

/// The next catalog.
async fn next(watched: &mut Watched) -> Catalog {
    timeout(SOON, watched.catalog.changed()).await.expect("a change arrives").unwrap();
    Catalog::clone(&watched.catalog.borrow_and_update())
}

/// Waits for a catalog with these objects.
async fn until(watched: &mut Watched, expected: &[&str]) {
    let found = timeout(SOON, watched.catalog.wait_for(|catalog| objects(catalog) == expected)).await;
    found.unwrap_or_else(|_| panic!("never: {expected:?}")).unwrap();
}

#[tokio::test]
async fn a_watch_begins_with_what_is_there() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1")), ("sub/b.yaml", &entry("b", "10.0.0.2"))]);
    assert_eq!(objects(&watch(&dir).catalog.borrow()), ["a 10.0.0.1", "b 10.0.0.2"]);
    assert!(files::watch(&dir.path("missing")).is_err());
}

#[tokio::test]
async fn a_file_that_is_renamed_over_another_takes_its_place() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]);
    let mut watched = watch(&dir);
    dir.put("a.yaml", entry("a", "10.0.0.2"));
    assert_eq!(objects(&next(&mut watched).await), ["a 10.0.0.2"]);
}

/// As vim does it with a backup: the file goes away, and a new one of its name is written.
#[tokio::test]
async fn a_file_that_is_moved_away_and_written_anew_is_the_same_file() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]);
    let mut watched = watch(&dir);
    fs::rename(dir.path("a.yaml"), dir.path("a.yaml~")).unwrap();
    fs::write(dir.path("a.yaml"), entry("a", "10.0.0.2")).unwrap();
    dir.remove("a.yaml~");
    until(&mut watched, &["a 10.0.0.2"]).await;
}

#[tokio::test]
async fn a_file_may_be_written_in_place() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]);
    let mut watched = watch(&dir);
    for address in ["10.0.0.2", "10.0.0.3"] {
        fs::write(dir.path("a.yaml"), entry("a", address)).unwrap();
        until(&mut watched, &[&format!("a {address}")]).await;
    }
}

#[tokio::test]
async fn a_file_that_is_written_piece_by_piece_arrives_as_a_whole() {
    let text = entry("a", "10.0.0.2") + &entry("b", "10.0.0.3");
    loop {
        let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]);
        let mut watched = watch(&dir);
        let begun = Instant::now();
        let mut file = File::create(dir.path("a.yaml")).unwrap();
        text.as_bytes().chunks(16).for_each(|piece| file.write_all(piece).unwrap());
        drop(file);
        if begun.elapsed() < AT_ONCE {
            assert_eq!(objects(&next(&mut watched).await), ["a 10.0.0.2", "b 10.0.0.3"]);
            return;
        }
    }
}

#[tokio::test]
async fn a_file_that_is_being_written_stays_as_it_was_while_others_go_on() {
    let dir = Dir::of(&[("a.yaml", &(entry("a", "10.0.0.1") + &entry("b", "10.0.0.1")))]);
    let mut watched = watch(&dir);
    // A shell empties it before the program begins that writes it.
    let mut file = File::create(dir.path("a.yaml")).unwrap();
    tokio::time::sleep(STILL_WRITTEN).await;
    dir.put("c.yaml", entry("c", "10.0.0.1"));
    let others = next(&mut watched).await;
    assert_eq!(objects(&others), ["a 10.0.0.1", "b 10.0.0.1", "c 10.0.0.1"]);
    // It is half there.
    file.write_all(entry("a", "10.0.0.2").as_bytes()).unwrap();
    tokio::time::sleep(STILL_WRITTEN).await;
    assert!(!watched.catalog.has_changed().unwrap() && others.diagnostics().next().is_none());
    file.write_all(entry("b", "10.0.0.2").as_bytes()).unwrap();
    drop(file);
    assert_eq!(objects(&next(&mut watched).await), ["a 10.0.0.2", "b 10.0.0.2", "c 10.0.0.1"]);
}

#[tokio::test]
async fn the_look_without_an_event_passes_over_a_file_that_is_being_written() {
    let (dir, elsewhere) = (Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]), Dir::of(&[("c.yaml", &entry("c", "10.0.0.1"))]));
    std::os::unix::fs::symlink(elsewhere.path("c.yaml"), dir.path("c.yaml")).unwrap();
    let mut watched = watch(&dir);
    let file = File::create(dir.path("a.yaml")).unwrap();
    // Nobody tells of this: all is looked at.
    elsewhere.put("c.yaml", entry("c", "10.0.0.2"));
    assert_eq!(objects(&next(&mut watched).await), ["a 10.0.0.1", "c 10.0.0.2"]);
    drop(file);
}

/// The system tells of each read as well.
#[tokio::test]
async fn who_reads_the_folder_does_not_keep_it_from_being_looked_at() {
    let (dir, elsewhere) = (Dir::of(&[("b.yaml", &entry("b", "10.0.0.1"))]), Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]));
    std::os::unix::fs::symlink(elsewhere.path("a.yaml"), dir.path("a.yaml")).unwrap();
    let mut watched = watch(&dir);
    elsewhere.put("a.yaml", entry("a", "10.0.0.2"));
    let reads = async {
        loop {
            fs::read(dir.path("b.yaml")).unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        catalog = next(&mut watched) => assert_eq!(objects(&catalog), ["a 10.0.0.2", "b 10.0.0.1"]),
        () = reads => {}
    }
}

#[tokio::test]
async fn several_files_that_change_at_once_are_one_change() {
    let names = ["a", "b", "c", "d"];
    // The machine may be so busy that the changes are not made at once.
    loop {
        let dir = Dir::of(&[]);
        names.iter().for_each(|name| dir.put(&format!("{name}.yaml"), entry(name, "10.0.0.1")));
        let mut watched = watch(&dir);
        let begun = Instant::now();
        names.iter().for_each(|name| fs::write(dir.path(&format!("{name}.yaml")), entry(name, "10.0.0.22")).unwrap());
        dir.put("e.yaml", entry("e", "10.0.0.22"));
        if begun.elapsed() < AT_ONCE {
            assert_eq!(objects(&next(&mut watched).await), ["a", "b", "c", "d", "e"].map(|name| format!("{name} 10.0.0.22")));
            return;
        }
    }
}

#[tokio::test]
async fn a_resource_that_moves_to_another_file_is_never_missing_nor_there_twice() {
    loop {
        let dir = Dir::of(&[("a.yaml", &entry("m", "10.0.0.1")), ("b.yaml", "")]);
        let mut watched = watch(&dir);
        let begun = Instant::now();
        dir.put("a.yaml", "");
        dir.put("b.yaml", entry("m", "10.0.0.2"));
        if begun.elapsed() < AT_ONCE {
            let catalog = next(&mut watched).await;
            assert_eq!((objects(&catalog), catalog.diagnostics().count()), (vec!["m 10.0.0.2".to_owned()], 0));
            return;
        }
    }
}

#[tokio::test]
async fn a_new_folder_is_followed_too() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]);
    let mut watched = watch(&dir);
    dir.put("new/deep/b.yaml", entry("b", "10.0.0.2"));
    until(&mut watched, &["a 10.0.0.1", "b 10.0.0.2"]).await;
    dir.put("new/deep/b.yaml", entry("b", "10.0.0.3"));
    until(&mut watched, &["a 10.0.0.1", "b 10.0.0.3"]).await;
    dir.put("new/c.yaml", entry("c", "10.0.0.4"));
    until(&mut watched, &["a 10.0.0.1", "c 10.0.0.4", "b 10.0.0.3"]).await;
}

#[tokio::test]
async fn a_folder_that_is_moved_in_arrives_as_a_whole() {
    let (dir, other) = (Dir::of(&[]), Dir::of(&[("new/a.yaml", &entry("a", "10.0.0.1")), ("new/b.yaml", &entry("b", "10.0.0.2"))]));
    let mut watched = watch(&dir);
    fs::rename(other.path("new"), dir.path("new")).unwrap();
    assert_eq!(objects(&next(&mut watched).await), ["a 10.0.0.1", "b 10.0.0.2"]);
    fs::remove_dir_all(dir.path("new")).unwrap();
    until(&mut watched, &[]).await;
}

/// As Kubernetes mounts a ConfigMap: links into a hidden folder, which is a link that is renamed over the last one.
#[tokio::test]
async fn a_mounted_config_map_changes_as_a_whole() {
    use std::os::unix::fs::symlink;
    let dir = Dir::of(&[("..1/a.yaml", &entry("a", "10.0.0.1")), ("..1/b.yaml", &entry("b", "10.0.0.1"))]);
    symlink("..1", dir.path("..data")).unwrap();
    ["a.yaml", "b.yaml"].iter().for_each(|name| symlink(format!("..data/{name}"), dir.path(name)).unwrap());
    dir.put("..2/a.yaml", entry("a", "10.0.0.2"));
    dir.put("..2/b.yaml", entry("b", "10.0.0.2"));
    let mut watched = watch(&dir);
    assert_eq!(objects(&watched.catalog.borrow()), ["a 10.0.0.1", "b 10.0.0.1"]);
    symlink("..2", dir.path("..data_tmp")).unwrap();
    fs::rename(dir.path("..data_tmp"), dir.path("..data")).unwrap();
    assert_eq!(objects(&next(&mut watched).await), ["a 10.0.0.2", "b 10.0.0.2"]);
}

#[tokio::test]
async fn with_a_deleted_file_its_resources_are_gone() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1")), ("b.yaml", &entry("b", "10.0.0.2"))]);
    let mut watched = watch(&dir);
    dir.remove("a.yaml");
    assert_eq!(objects(&next(&mut watched).await), ["b 10.0.0.2"]);
}

#[tokio::test]
async fn a_file_that_breaks_is_told_and_stays_as_it_was() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]);
    let mut watched = watch(&dir);
    dir.put("a.yaml", "kind: [\n");
    let catalog = next(&mut watched).await;
    assert_eq!((objects(&catalog), kept(&catalog)), (vec!["a 10.0.0.1".to_owned()], vec!["a".to_owned()]));
    assert!(dir.said(&catalog)[0].starts_with("a.yaml:"));
    dir.put("a.yaml", entry("a", "10.0.0.2"));
    assert!(next(&mut watched).await.diagnostics().next().is_none());
}

#[tokio::test]
async fn what_is_not_read_is_no_change() {
    let dir = Dir::of(&[("a.yaml", &entry("a", "10.0.0.1"))]);
    let mut watched = watch(&dir);
    dir.put("README.md", "Not of interest.");
    dir.put(".hidden.yaml", entry("h", "10.0.0.9"));
    fs::read(dir.path("a.yaml")).unwrap();
    dir.put("b.yaml", entry("b", "10.0.0.2"));
    // The first catalog that arrives is the one with the file that is read.
    assert_eq!(objects(&next(&mut watched).await), ["a 10.0.0.1", "b 10.0.0.2"]);
}

#[tokio::test]
async fn a_watch_ends_when_it_is_dropped() {
    let dir = Dir::of(&[]);
    let Watched { mut catalog, .. } = watch(&dir);
    let ended = timeout(SOON, catalog.changed()).await.expect("it ends");
    assert!(ended.is_err());
}
