//! What the tests have in common.

use weir_testkit::{Client, Mesh, until};

/// Makes a test for each data plane of functions that take one.
macro_rules! over_each_data_plane {
    ($($name:ident),+ $(,)?) => { $(
        mod $name {
            use weir_testkit::DataPlane;

            #[tokio::test]
            async fn over_weir() {
                super::$name(DataPlane::Weir).await;
            }

            #[tokio::test]
            async fn over_envoy() {
                if DataPlane::Envoy.is_available() {
                    super::$name(DataPlane::Envoy).await;
                }
            }
        }
    )+ };
}
pub(crate) use over_each_data_plane;

/// The file with the VirtualService that a test rewrites.
pub(crate) const ROUTES: &str = "routes.yaml";
/// The host that clients ask the gateway for.
pub(crate) const HOST: &str = "shop.test";

/// A VirtualService `shop` at the gateway; `routes` is the content of its only HTTP rule's `route`.
pub(crate) fn gateway_routes(routes: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: default}}
spec:
  hosts: [{HOST}]
  gateways: [gw]
  http:
  - route:
{routes}"
    )
}

/// One destination of a route: a subset of the service `shop`.
pub(crate) fn to(subset: &str, weight: u32) -> String {
    format!("    - {{destination: {{host: shop, subset: {subset}}}, weight: {weight}}}\n")
}

/// Everything goes to one subset.
pub(crate) fn all_to(subset: &str) -> String {
    gateway_routes(&to(subset, 100))
}

/// So many random policies are held against so many requests each; `.ci/long` says 200, which then meet 50.
pub(crate) fn random_policies() -> (usize, usize) {
    let count = std::env::var("WEIR_RBAC_POLICIES").ok().and_then(|count| count.parse().ok());
    count.map_or((40, 25), |count| (count, 50))
}

/// How often certificates change while requests are sent; `.ci/long` says 24 times, which takes two minutes.
pub(crate) fn rotations() -> usize {
    std::env::var("WEIR_ROTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

/// Waits until the client's requests reach this instance: a configuration is in force when traffic follows it.
pub(crate) async fn until_from(client: &mut Client, instance: &str) {
    let what = format!("{instance} answers");
    until(&what, async || client.get("/", &[]).await.is_ok_and(|answer| answer.is_from(instance))).await;
}

/// A client of the gateway, when requests reach any instance.
pub(crate) async fn client_of_gateway(mesh: &Mesh) -> Client {
    let mut client = mesh.outside(HOST);
    until("the gateway's route is in force", async || client.get("/", &[]).await.is_ok_and(|answer| answer.status == 200)).await;
    client
}
