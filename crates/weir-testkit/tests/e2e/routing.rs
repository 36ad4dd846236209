//! Which rule a request follows.

use weir_testkit::{DataPlane, Layout, Mesh, Peer, Protocol};

use crate::support::{ROUTES, over_each_data_plane, until_from};

over_each_data_plane!(a_header_chooses_the_version, proxies_with_nothing_to_serve_are_ready);

/// The VirtualService of Istio's documentation, as written there.
const REVIEWS: &str = "apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts:
  - reviews
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    route:
    - destination:
        host: reviews
        subset: v2
  - route:
    - destination:
        host: reviews
        subset: v3
";

async fn a_header_chooses_the_version(plane: DataPlane) {
    let (layout, one) = (Layout::new(), Peer::http("v1").await);
    let (two, three) = (Peer::http("v2").await, Peer::http("v3").await);
    let service = layout.service("reviews", &[&one, &two, &three], Protocol::Http);
    let mesh = Mesh::start(plane, layout, &[("reviews.yaml", &service), (ROUTES, REVIEWS)]).await;
    let mut client = mesh.inside("reviews");
    until_from(&mut client, "v3").await;

    for _ in 0..20 {
        for (user, expected) in [("jason", "v2"), ("Jason", "v3"), ("jasonx", "v3"), ("", "v3"), ("jane", "v3")] {
            let answer = client.get("/", &[("end-user", user)]).await.unwrap();
            assert!(answer.is_from(expected), "{user:?} got {answer:?} instead of {expected}");
        }
        let answer = client.get("/", &[]).await.unwrap();
        assert!(answer.is_from("v3"), "nobody got {answer:?}");
    }
}

/// A proxy waits for the answer to each of its first questions, also if there is nothing to tell.
async fn proxies_with_nothing_to_serve_are_ready(plane: DataPlane) {
    Mesh::start(plane, Layout::new(), &[("prelude.yaml", "")]).await;
}
