//! Paths as rules and instances see them: `pathNormalization` of the mesh.

use super::checked;
use super::table::{Group, get};

checked!(as_usual, with_slashes_merged, with_slashes_decoded_and_merged, as_they_are);

const RULES: &str = "
- {match: [{uri: {exact: /a/b}}], route: [@a]}
- {match: [{uri: {exact: /a/B}}], route: [@b]}
- {match: [{uri: {exact: /b}}], route: [@c]}
";

fn as_usual() -> Group {
    Group::new().rules(
        "usual.test",
        RULES,
        [
            get("/a/./b").reaches("a").sees(":path", &["/a/b"]),
            get("/a/x/../b").reaches("a").sees(":path", &["/a/b"]),
            get("/a/%2e/b?x=/./y").reaches("a").sees(":path", &["/a/b?x=/./y"]),
            get("/x/%2E%2e/a/b").reaches("a"),
            get("/%61/b").reaches("a").sees(":path", &["/a/b"]),
            get(r"/a\b").reaches("a").sees(":path", &["/a/b"]),
            get("/x/..;y/a/b").reaches("a").sees(":path", &["/a/b"]),
            get("/a/.;x/b?y=/..;").reaches("a").sees(":path", &["/a/b?y=/..;"]),
            get("/x/%2e%2e;y/b").finds_no_route(),
            get("/../../b").reaches("c").sees(":path", &["/b"]),
            get("/a/b/.").finds_no_route(),
            get("/a/%42").reaches("b"),
            get("//b").finds_no_route(),
            get("/a//b").finds_no_route(),
            get("/a%2Fb").finds_no_route(),
            get("/a%5Cb").finds_no_route(),
            get("/a/b/").finds_no_route(),
        ],
    )
}

fn with_slashes_merged() -> Group {
    Group::new().mesh_config("pathNormalization: {normalization: MERGE_SLASHES}\n").rules(
        "merged.test",
        RULES,
        [
            get("/a//b").reaches("a").sees(":path", &["/a/b"]),
            get("//a///./b?x=//").reaches("a").sees(":path", &["/a/b?x=//"]),
            get("/a%2Fb").finds_no_route(),
        ],
    )
}

fn with_slashes_decoded_and_merged() -> Group {
    Group::new().mesh_config("pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}\n").rules(
        "decoded.test",
        RULES,
        [
            get("/a//b").reaches("a").sees(":path", &["/a/b"]),
            get("/a%2Fb").reaches("a").sees(":path", &["/a/b"]),
            get("/a%5cb").reaches("a").sees(":path", &["/a/b"]),
            get("/a%2F..%2fb").reaches("c").sees(":path", &["/b"]),
        ],
    )
}

fn as_they_are() -> Group {
    Group::new().mesh_config("pathNormalization: {normalization: NONE}\n").rules(
        "kept.test",
        "
- {match: [{uri: {exact: /a/./b}}], route: [@a]}
- {match: [{uri: {exact: /a//b}}], route: [@b]}
- {match: [{uri: {exact: /%61}}], route: [@c]}
",
        [
            get("/a/./b").reaches("a").sees(":path", &["/a/./b"]),
            get("/a//b").reaches("b").sees(":path", &["/a//b"]),
            get("/%61").reaches("c").sees(":path", &["/%61"]),
            get("/a").finds_no_route(),
        ],
    )
}
