//! Answers of the proxy's own that look otherwise than usual.

use serde_json::json;

use crate::support::{Proxy, routes};

#[tokio::test]
async fn the_first_mapper_that_takes_an_answer_changes_it() {
    let status = |code: u32| json!({"statusCodeFilter": {"comparison": {"op": "EQ", "value": {"defaultValue": code, "runtimeKey": "k"}}}});
    let manager = json!({"localReplyConfig": {
        "mappers": [
            {"filter": status(500), "statusCode": 418},
            {"filter": status(404), "statusCode": 410, "body": {"inlineString": "gone"},
             "headersToAdd": [{"header": {"key": "x-why", "value": "%RESPONSE_CODE_DETAILS%"}}]},
            {"filter": status(404), "statusCode": 411},
        ],
        "bodyFormat": {"jsonFormat": {"code": "%RESPONSE_CODE%", "text": "%LOCAL_REPLY_BODY%"}},
    }});
    let proxy = Proxy::with_manager(manager, routes(json!([])), &[]).await;
    let mut client = proxy.connect().await;
    client.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let (status, headers) = client.answer().await;
    assert_eq!(status, "HTTP/1.1 410 Gone");
    for line in ["content-type: application/json", "x-why: route_not_found"] {
        assert!(headers.contains(&line.to_owned()), "no {line} in {headers:?}");
    }
    client.hears("{\"code\":410,\"text\":\"gone\"}\n").await;
    assert_eq!(proxy.stop().await, ["410 NR route_not_found"]);
}
