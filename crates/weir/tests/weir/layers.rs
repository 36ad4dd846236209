//! The structure of the workspace holds: crates import what `docs/architecture.md` says, the rooms of a crate (the modules of
//! its root) do not import each other in rings, and those of the proxy import only from below themselves.
//!
//! What a file imports is read from its tokens: every path that begins with `crate` or `super`, in `use` declarations and
//! elsewhere, in macros too. Tests may import whatever they like.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What the libraries of each crate may import; of those that stand here without a list nothing.
const CRATES: &[(&str, &[&str])] = &[
    ("weir-allocator", &[]),
    ("weir-api", &[]),
    ("weir-xds", &[]),
    ("weir-model", &["weir-api"]),
    ("weir-registry", &["weir-api"]),
    ("weir-ads", &["weir-xds"]),
    ("weir-routing", &["weir-xds", "weir-http1"]),
    ("weir-http1", &[]),
    ("weir-capture", &[]),
    ("weir-inject", &["weir-api"]),
    ("weir-kubernetes", &["weir-api", "weir-inject", "weir-model", "weir-pilot", "weir-registry", "weir-translate"]),
    ("weir-config", &["weir-xds", "weir-routing", "weir-http1"]),
    ("weir-translate", &["weir-api", "weir-model", "weir-xds"]),
    ("weir-proxy", &["weir-xds", "weir-ads", "weir-routing", "weir-config", "weir-http1"]),
    ("weir-pilot", &["weir-api", "weir-model", "weir-registry", "weir-xds", "weir-routing", "weir-translate", "weir-ads"]),
    ("weir-analysis", &["weir-api", "weir-model", "weir-xds", "weir-translate", "weir-routing", "weir-http1", "weir-config"]),
];
/// They import whatever they need.
const FREE: &[&str] = &["weir", "weir-testkit"];
/// They do no IO, spawn nothing and read no clock.
const PURE: &[&str] =
    &["weir-api", "weir-model", "weir-xds", "weir-translate", "weir-routing", "weir-http1", "weir-config", "weir-analysis", "weir-inject"];
/// What a pure crate has no use for.
const IMPURE: &[&str] = &["tokio", "hyper", "hyper-util", "rustls", "tokio-rustls", "socket2", "notify", "tracing-subscriber"];

/// The proxy's rooms, from the top: each imports only from those that follow it.
const PROXY: &[&str] = &[
    "status",
    "admin",
    "data_plane",
    "name_server",
    "control",
    "worker",
    "listener",
    "http",
    "tcp",
    "checks",
    "upstream",
    "cluster",
    "exchange",
    "stats",
    "tls",
    "io",
];

type Rooms = BTreeMap<String, BTreeSet<String>>;

fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn names_of_crates() -> BTreeSet<String> {
    let folders = fs::read_dir(crates()).unwrap().map(|entry| entry.unwrap());
    folders.filter(|entry| entry.path().join("Cargo.toml").exists()).map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// The names that stand in a section of a manifest.
fn dependencies(name: &str, section: &str) -> BTreeSet<String> {
    let manifest = fs::read_to_string(crates().join(name).join("Cargo.toml")).unwrap();
    let lines = manifest.lines().skip_while(|line| *line != format!("[{section}]")).skip(1).take_while(|line| !line.starts_with('['));
    lines.filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

#[test]
fn crates_import_what_the_architecture_says() {
    let named: BTreeSet<String> = CRATES.iter().map(|(name, _)| *name).chain(FREE.iter().copied()).map(str::to_owned).collect();
    assert_eq!(names_of_crates(), named, "every crate has its place in the table");
    for (name, allowed) in CRATES {
        let found = dependencies(name, "dependencies");
        let wrong: Vec<&String> = found.iter().filter(|other| named.contains(*other) && !allowed.contains(&other.as_str())).collect();
        assert!(wrong.is_empty(), "{name} imports {wrong:?}");
    }
}

#[test]
fn pure_crates_import_pure_ones() {
    for name in PURE {
        let found = dependencies(name, "dependencies");
        let is_wrong = |other: &&String| IMPURE.contains(&other.as_str()) || (other.starts_with("weir") && !PURE.contains(&other.as_str()));
        let wrong: Vec<&String> = found.iter().filter(is_wrong).collect();
        assert!(wrong.is_empty(), "{name} is pure, and imports {wrong:?}");
    }
}

#[test]
fn rooms_do_not_import_each_other_in_rings() {
    for name in names_of_crates() {
        let rooms = rooms_of(&crates().join(&name).join("src"));
        assert_eq!(ring(&rooms), None, "in {name}");
    }
}

#[test]
fn rooms_of_the_proxy_import_from_below_themselves() {
    let rooms = rooms_of(&crates().join("weir-proxy/src"));
    let known: BTreeSet<&str> = PROXY.iter().copied().collect();
    assert_eq!(rooms.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "every room has its layer");
    assert_eq!(upward(&rooms, PROXY), Vec::<String>::new());
    let imports = |room: &str, other: &str| rooms[room].contains(other);
    assert!(imports("http", "upstream") && imports("upstream", "cluster"), "imports are seen: {rooms:?}");
}

/// Imports that do not go down.
fn upward(rooms: &Rooms, order: &[&str]) -> Vec<String> {
    let layer = |room: &str| order.iter().position(|known| *known == room);
    let all = rooms.iter().flat_map(|(room, imported)| imported.iter().map(move |other| (room, other)));
    all.filter(|(room, other)| layer(room) >= layer(other)).map(|(room, other)| format!("{room} imports {other}")).collect()
}

/// Some ring of rooms, each importing the next.
fn ring(rooms: &Rooms) -> Option<Vec<String>> {
    fn walk(rooms: &Rooms, path: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
        let room = path.last()?.clone();
        for next in rooms.get(&room).into_iter().flatten() {
            if let Some(start) = path.iter().position(|passed| passed == next) {
                return Some(path[start..].to_vec());
            }
            if !done.contains(next) {
                path.push(next.clone());
                let found = walk(rooms, path, done);
                if found.is_some() {
                    return found;
                }
                path.pop();
            }
        }
        done.insert(room);
        None
    }
    let mut done = BTreeSet::new();
    rooms.keys().find_map(|room| walk(rooms, &mut vec![room.clone()], &mut done))
}

/// The rooms of a crate, and what each imports of the others.
fn rooms_of(source: &Path) -> Rooms {
    let root = ["lib.rs", "main.rs"].iter().map(|name| source.join(name)).find(|path| path.exists()).unwrap();
    let root = tokens(&fs::read_to_string(&root).unwrap());
    let mut rooms: Rooms =
        modules(&root).into_iter().filter(|name| file_of(source, name).is_some()).map(|name| (name, BTreeSet::new())).collect();
    // What the root gives out again is its room's.
    let mut homes: BTreeMap<String, String> = rooms.keys().map(|name| (name.clone(), name.clone())).collect();
    for path in paths(&root) {
        if let ([room, .., name], true) = (path.as_slice(), path.len() > 1 && rooms.contains_key(&path[0])) {
            homes.insert(name.clone(), room.clone());
        }
    }
    for room in rooms.keys().cloned().collect::<Vec<_>>() {
        let mut imported = BTreeSet::new();
        read(source, std::slice::from_ref(&room), &mut imported);
        let others = imported.iter().filter_map(|name| homes.get(name)).filter(|other| **other != room);
        let others: BTreeSet<String> = others.cloned().collect();
        rooms.insert(room, others);
    }
    rooms
}

/// The file of a module.
fn file_of(source: &Path, module: &str) -> Option<PathBuf> {
    [source.join(module).with_extension("rs"), source.join(module).join("mod.rs")].into_iter().find(|path| path.exists())
}

/// Collects the first names of what a module, and the modules below it, import from the root of the crate.
fn read(source: &Path, module: &[String], imported: &mut BTreeSet<String>) {
    let Some(file) = file_of(source, &module.join("/")) else { return };
    let tokens = tokens(&fs::read_to_string(&file).unwrap());
    for path in paths(&tokens) {
        let up = path.iter().take_while(|name| *name == "super").count();
        let first = match path.first().map(String::as_str) {
            Some("crate") => path.get(1),
            // Only what leaves the room is of interest.
            Some("super") if up >= module.len() => path.get(up),
            _ => None,
        };
        imported.extend(first.cloned());
    }
    for below in modules(&tokens) {
        read(source, &[module, &[below]].concat(), imported);
    }
}

/// The tokens of a file but for what is compiled for tests only.
fn tokens(text: &str) -> Vec<TokenTree> {
    let stream: TokenStream = text.parse().unwrap();
    let mut kept: Vec<TokenTree> = vec![];
    let mut all = stream.into_iter().peekable();
    while let Some(token) = all.next() {
        let is_test = matches!((&token, all.peek()), (TokenTree::Punct(mark), Some(TokenTree::Group(group)))
            if mark.as_char() == '#' && group.stream().to_string().replace(' ', "") == "cfg(test)");
        if !is_test {
            kept.push(token);
            continue;
        }
        // The item ends with its braces, or with a semicolon.
        let is_end = |token: &TokenTree| match token {
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
            TokenTree::Punct(mark) => mark.as_char() == ';',
            _ => false,
        };
        all.by_ref().find(is_end);
    }
    kept
}

/// The modules that are declared and stand in files of their own.
fn modules(tokens: &[TokenTree]) -> Vec<String> {
    let declared = tokens.windows(3).filter_map(|window| match window {
        [TokenTree::Ident(word), TokenTree::Ident(name), TokenTree::Punct(end)] if word == "mod" && end.as_char() == ';' => {
            Some(name.to_string())
        }
        _ => None,
    });
    declared.collect()
}

/// All paths of several names, those in groups too; `use a::{b, c::d}` is `a::b` and `a::c::d`.
fn paths(tokens: &[TokenTree]) -> Vec<Vec<String>> {
    let mut found = vec![];
    let mut path: Vec<String> = vec![];
    // Whether the last token was `::`, after which a path goes on.
    let mut goes_on = false;
    let mut rest = tokens.iter().peekable();
    while let Some(token) = rest.next() {
        match token {
            TokenTree::Ident(name) => {
                if !goes_on {
                    found.extend((!path.is_empty()).then(|| std::mem::take(&mut path)));
                }
                path.push(name.to_string());
                goes_on = false;
            }
            TokenTree::Punct(mark)
                if mark.as_char() == ':' && matches!(rest.peek(), Some(TokenTree::Punct(next)) if next.as_char() == ':') =>
            {
                rest.next();
                goes_on = true;
            }
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                let prefix = if goes_on { std::mem::take(&mut path) } else { vec![] };
                found.extend(paths(&inner).into_iter().map(|inner| [prefix.clone(), inner].concat()));
                goes_on = false;
            }
            _ => {
                found.extend((!path.is_empty()).then(|| std::mem::take(&mut path)));
                goes_on = false;
            }
        }
    }
    found.extend((!path.is_empty()).then_some(path));
    found
}

#[test]
fn the_reader_of_imports_sees_what_there_is() {
    let text =
        "use crate::{a, b::{C, d::E}};\nuse super::f;\nfn g() { h!(crate::i::J) }\n#[cfg(test)]\nmod tests { use crate::k; }\nmod l;\n";
    let tokens = tokens(text);
    let found: Vec<String> = paths(&tokens).iter().filter(|path| path.len() > 1).map(|path| path.join("::")).collect();
    assert_eq!(found, ["crate::a", "crate::b::C", "crate::b::d::E", "super::f", "crate::i::J"]);
    assert_eq!(modules(&tokens), ["l"]);
}

#[test]
fn rings_and_imports_upward_are_found() {
    let rooms = |edges: &[(&str, &str)]| {
        let mut rooms = Rooms::new();
        for (room, other) in edges {
            rooms.entry((*room).to_owned()).or_default().insert((*other).to_owned());
        }
        rooms
    };
    assert_eq!(ring(&rooms(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(ring(&rooms(&[("a", "b"), ("b", "c"), ("c", "b")])), Some(vec!["b".to_owned(), "c".to_owned()]));
    assert_eq!(upward(&rooms(&[("a", "b"), ("b", "c"), ("c", "a")]), &["a", "b", "c"]), ["c imports a"]);
}
