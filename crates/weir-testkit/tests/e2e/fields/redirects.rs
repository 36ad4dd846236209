//! `redirect`: where a client is sent, and with which status.

use super::checked;
use super::table::{Group, get};

checked!(of_http_rules);

fn of_http_rules() -> Group {
    Group::new()
        .rules(
            "codes.test",
            "
- {match: [{uri: {exact: /none}}], redirect: {uri: /to}}
- {match: [{uri: {exact: /301}}], redirect: {uri: /to, redirectCode: 301}}
- {match: [{uri: {exact: /302}}], redirect: {uri: /to, redirectCode: 302}}
- {match: [{uri: {exact: /303}}], redirect: {uri: /to, redirectCode: 303}}
- {match: [{uri: {exact: /307}}], redirect: {uri: /to, redirectCode: 307}}
- {match: [{uri: {exact: /308}}], redirect: {uri: /to, redirectCode: 308}}
",
            [
                get("/none").redirects(301, "http://codes.test/to"),
                get("/301").redirects(301, "http://codes.test/to"),
                get("/302").redirects(302, "http://codes.test/to"),
                get("/303").redirects(303, "http://codes.test/to"),
                get("/307").method("POST").redirects(307, "http://codes.test/to"),
                get("/308").redirects(308, "http://codes.test/to"),
            ],
        )
        .rules(
            "path.test",
            "
- {match: [{uri: {prefix: /whole}}], redirect: {uri: /new}}
- {match: [{uri: {prefix: /query}}], redirect: {uri: '/new?own=1'}}
- {match: [{uri: {prefix: /old}}], redirect: {prefixRewrite: /new}}
- {match: [{uri: {prefix: /literal}}], redirect: {uri: '%PREFIX()%/x'}}
- {match: [{uri: {prefix: /same}}], redirect: {authority: new.test}}
",
            [
                get("/whole/rest?x=1").redirects(301, "http://path.test/new?x=1"),
                get("/query/rest?x=1").redirects(301, "http://path.test/new?own=1"),
                get("/old/rest?x=1").redirects(301, "http://path.test/new/rest?x=1"),
                get("/literal").redirects(301, "http://path.test/%PREFIX()%/x"),
                get("/same/rest?x=1").redirects(301, "http://new.test/same/rest?x=1"),
            ],
        )
        .rules(
            "to.test",
            "
- {match: [{uri: {exact: /authority}}], redirect: {authority: new.test}}
- {match: [{uri: {exact: /authority-port}}], redirect: {authority: 'new.test:82'}}
- {match: [{uri: {exact: /scheme}}], redirect: {scheme: https}}
- {match: [{uri: {exact: /port}}], redirect: {port: 8443}}
- {match: [{uri: {exact: /all}}], redirect: {uri: /new, authority: new.test, scheme: https, port: 8443}}
- {match: [{uri: {exact: /https}}], redirect: {scheme: https, port: 443}}
- {match: [{uri: {exact: /default}}], redirect: {scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}}
- {match: [{uri: {exact: /request}}], redirect: {derivePort: FROM_REQUEST_PORT}}
",
            [
                get("/authority").host("to.test:81").redirects(301, "http://new.test/authority"),
                get("/authority-port").redirects(301, "http://new.test:82/authority-port"),
                get("/scheme").host("to.test:8081").redirects(301, "https://to.test:8081/scheme"),
                get("/scheme").host("to.test:80").redirects(301, "https://to.test/scheme"),
                get("/scheme").redirects(301, "https://to.test/scheme"),
                get("/port").host("to.test:81").redirects(301, "http://to.test:8443/port"),
                get("/all").redirects(301, "https://new.test:8443/new"),
                get("/https").redirects(301, "https://to.test/https"),
                get("/https").host("to.test:8081").redirects(301, "https://to.test:8081/https"),
                get("/default").host("to.test:8081").redirects(301, "https://to.test:8081/default"),
                get("/request").host("to.test:81").at_gateway().redirects(301, "http://to.test:$gateway/request"),
                get("/request").host("to.test").at_sidecar().redirects(301, "http://to.test:$http/request"),
            ],
        )
        .rules(
            "headers.test",
            "
- {match: [{uri: {exact: /set}}], redirect: {uri: /new}, headers: {response: {set: {x-a: '1'}, add: {x-a: '2'}}}}
",
            [get("/set").redirects(301, "http://headers.test/new").gets("x-a", &["1", "2"])],
        )
}
