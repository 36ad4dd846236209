//! The samples that a newcomer runs first.

use weir_model::MeshSnapshot;

use crate::support::{gateway, mesh, sidecar, whole};

fn bookinfo() -> MeshSnapshot {
    mesh(&[
        ("services.yaml", include_str!("../../../../samples/bookinfo/services.yaml")),
        ("gateway.yaml", include_str!("../../../../samples/bookinfo/gateway.yaml")),
        ("destination-rules.yaml", include_str!("../../../../samples/bookinfo/destination-rules.yaml")),
        ("sidecars.yaml", include_str!("../../../../samples/bookinfo/sidecars.yaml")),
    ])
}

#[test]
fn the_gateway_of_bookinfo() {
    insta::assert_snapshot!(whole(&bookinfo(), &gateway()));
}

#[test]
fn a_sidecar_of_bookinfo() {
    insta::assert_snapshot!(whole(&bookinfo(), &sidecar("127.0.1.1", &[("app", "productpage"), ("version", "v1")])));
}

#[test]
fn the_gateway_of_tcp_echo() {
    let mesh = mesh(&[
        ("services.yaml", include_str!("../../../../samples/tcp-echo/services.yaml")),
        ("gateway.yaml", include_str!("../../../../samples/tcp-echo/gateway.yaml")),
        ("destination-rules.yaml", include_str!("../../../../samples/tcp-echo/destination-rules.yaml")),
        ("virtual-service.yaml", include_str!("../../../../samples/tcp-echo/virtual-service.yaml")),
    ]);
    insta::assert_snapshot!(whole(&mesh, &gateway()));
}

#[test]
fn the_gateway_of_httpbin() {
    let mesh = mesh(&[
        ("services.yaml", include_str!("../../../../samples/httpbin/services.yaml")),
        ("gateway.yaml", include_str!("../../../../samples/httpbin/gateway.yaml")),
        ("virtual-service.yaml", include_str!("../../../../samples/httpbin/virtual-service.yaml")),
    ]);
    insta::assert_snapshot!(whole(&mesh, &gateway()));
}
