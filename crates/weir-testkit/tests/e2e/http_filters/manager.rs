//! Options of the connection manager that clients or instances see, and no resource of Istio's asks for.

use hyper::Version;
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster};

use super::{request, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(answers_in_json_are_messages_without_the_end_of_their_line, instances_are_told_which_proxy_asks);

async fn proxy(plane: DataPlane, manager: Value, peer: &Recorder) -> LoneProxy {
    let direct = json!({"match": {"prefix": "/direct"}, "directResponse": {"status": 403, "body": {"inlineString": "no way"}}});
    let (routes, clusters) = (vec![direct, route("/", json!({}))], vec![cluster("a", peer.address())]);
    LoneProxy::start(plane, &Xds { routes, clusters, manager, ..Xds::default() }).await
}

async fn answers_in_json_are_messages_without_the_end_of_their_line(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let json = json!({"jsonFormat": {"body": "%LOCAL_REPLY_BODY%"}});
    let text = json!({"textFormatSource": {"inlineString": "%LOCAL_REPLY_BODY% \n"}});
    for (format, message, body) in [(json, r#"{"body":"no way"}"#, "{\"body\":\"no way\"}\n"), (text, "no way %0A", "no way \n")] {
        let proxy = proxy(plane, json!({"localReplyConfig": {"bodyFormat": format}}), &peer).await;
        let ask = async |content_type| {
            let request = request("POST", "/direct", &[("content-type", content_type)], Content::default());
            proxy.ask(request).await.unwrap()
        };
        assert_eq!(ask("application/grpc").await.header("grpc-message"), message);
        assert_eq!(ask("text/plain").await.text(), body);
    }
}

async fn instances_are_told_which_proxy_asks(plane: DataPlane) {
    let mut peer = Recorder::start(Version::HTTP_11).await;
    const NAMES: [&str; 2] = ["user-agent", "x-envoy-downstream-service-cluster"];
    let own = |agent: &str| [agent, "client.default"].map(str::to_owned);
    let proxy = proxy(plane, json!({"addUserAgent": true}), &peer).await;
    for (said, agent) in [(None, "client.default"), (Some(""), "client.default"), (Some("mine"), "mine")] {
        let fields: Vec<_> = said.map(|agent| ("user-agent", agent)).into_iter().collect();
        proxy.ask(request("GET", "/", &fields, Content::default())).await.unwrap();
        let asked = peer.asked().await;
        assert_eq!(NAMES.map(|name| asked.header(name)), own(agent), "{said:?}");
    }
}
