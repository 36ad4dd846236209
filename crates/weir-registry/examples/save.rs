//! How long a save takes to arrive as a change of the catalog, and what it costs.
//!
//! `save CONF FILE`: follows the folder CONF, and saves FILE in it again and again, each time with another last octet in the
//! place of `.1]` or `.2]`; `gen.py` of the load client makes such folders.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a tool for the developer")]

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{env, fs};

use weir_registry::files;

const TIMES: usize = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let paths: Vec<PathBuf> = env::args_os().skip(1).map(PathBuf::from).collect();
    let [folder, file] = paths.as_slice() else { return println!("save CONF FILE") };
    let begin = Instant::now();
    let mut watched = files::watch(folder).unwrap();
    println!("{} objects read in {:?}", watched.catalog.borrow().len(), begin.elapsed());
    let text = fs::read_to_string(file).unwrap();
    let mut took: Vec<Duration> = vec![];
    for turn in 0..TIMES {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let before = watched.catalog.borrow_and_update().clone();
        let other = if turn % 2 == 0 { ".251]" } else { ".252]" };
        let new = file.with_extension("new");
        fs::write(&new, text.replacen(".1]", other, 1)).unwrap();
        let saved = Instant::now();
        fs::rename(&new, file).unwrap();
        watched.catalog.changed().await.unwrap();
        took.push(saved.elapsed());
        let changes = watched.catalog.borrow().changes_since(&before, []);
        assert_eq!(changes.objects.len(), 1, "{:?}", changes.texts);
    }
    took.sort();
    println!("a save arrives after {:?} (median), {:?} at most", took[TIMES / 2], took[TIMES - 1]);
    fs::write(file, text).unwrap();
}
