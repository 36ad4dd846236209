//! Requests that are refused because too many before them failed.

use hyper::{Response, Version};
use serde_json::{Value, json};
use weir_testkit::{Content, DataPlane, LoneProxy, Recorder, Xds, cluster, filter, packed};

use super::{get, route};
use crate::support::over_each_data_plane;

over_each_data_plane!(when_too_many_fail_requests_are_refused);

fn admission(criteria: Value) -> Value {
    let fields = json!({
        "successCriteria": criteria,
        "samplingWindow": "3600s",
        "aggression": {"defaultValue": 1000.0, "runtimeKey": "a"},
        "maxRejectionProbability": {"defaultValue": {"value": 100.0}, "runtimeKey": "m"},
    });
    filter("admission", packed("filters.http.admission_control.v3.AdmissionControl", fields))
}

async fn when_too_many_fail_requests_are_refused(plane: DataPlane) {
    let peer = Recorder::start(Version::HTTP_11).await;
    let xds = |criteria| Xds {
        filters: vec![admission(criteria)],
        routes: vec![route("/", json!({}))],
        clusters: vec![cluster("a", peer.address())],
        ..Xds::default()
    };
    // The first failure makes it all but certain that the next is refused.
    for (criteria, good, bad) in
        [(json!({}), 404, 500), (json!({"httpCriteria": {"httpSuccessStatus": [{"start": 200, "end": 300}]}}), 200, 404)]
    {
        let proxy = LoneProxy::start(plane, &xds(criteria)).await;
        let mut statuses = vec![];
        for status in [good, good, good, bad, bad, bad, bad, bad, bad] {
            peer.set_answer(Response::builder().status(status).body(Content::of("instance")).unwrap());
            let told = proxy.ask(get("/")).await.unwrap();
            statuses.push(if told.text() == "instance" { told.status } else { 0 });
        }
        assert_eq!(statuses[..4], [good, good, good, bad]);
        assert!(statuses[4..].iter().filter(|status| **status == 0).count() >= 4, "{statuses:?}");
        assert_eq!(proxy.log(9).await.last().unwrap(), "503 - denied_by_admission_control a");
    }
}
