//! Instances that misbehave: what the client sees of it, what the access log says, and what is counted, all as with Envoy.

mod flow;
mod http1;
mod http2;
mod http2_pool;
mod retries;

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use weir_testkit::{Client, DataPlane, Heard, Layout, Mesh, service_of, until};

use crate::support::{HOST, ROUTES};

/// What the tests read of the access log.
const FORMAT: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%";

/// The statistics that are compared.
const COMPARED: &[&str] = &[
    "upstream_cx_total",
    "upstream_cx_connect_fail",
    "upstream_cx_connect_timeout",
    "upstream_cx_destroy_remote_with_active_rq",
    "upstream_cx_destroy_local_with_active_rq",
    "upstream_cx_protocol_error",
    "upstream_cx_overflow",
    "upstream_cx_max_requests",
    "upstream_rq_total",
    "upstream_rq_completed",
    "upstream_rq_200",
    "upstream_rq_429",
    "upstream_rq_500",
    "upstream_rq_502",
    "upstream_rq_503",
    "upstream_rq_504",
    "upstream_rq_timeout",
    "upstream_rq_per_try_timeout",
    "upstream_rq_per_try_idle_timeout",
    "upstream_rq_pending_overflow",
    "upstream_rq_pending_failure_eject",
    "upstream_rq_rx_reset",
    "upstream_rq_tx_reset",
    "upstream_rq_retry",
    "upstream_rq_retry_success",
    "upstream_rq_retry_limit_exceeded",
    "upstream_rq_retry_overflow",
    "upstream_rq_retry_backoff_exponential",
    "upstream_rq_retry_backoff_ratelimited",
];

/// A mesh whose gateway has one rule, for a service whose instances misbehave.
pub(crate) struct Bad {
    pub mesh: Mesh,
    pub client: Client,
}

/// What instances speak, and how the rule and the service's policy are.
pub(crate) struct Setup<'s> {
    pub protocol: &'s str,
    /// What the rule has beside its route, such as `timeout: 1s`.
    pub rule: &'s str,
    /// The `trafficPolicy` of a DestinationRule, if there is one.
    pub policy: &'s str,
}

pub(crate) const HTTP1: Setup<'static> = Setup { protocol: "HTTP", rule: "", policy: "" };
pub(crate) const HTTP2: Setup<'static> = Setup { protocol: "HTTP2", rule: "", policy: "" };

impl Setup<'_> {
    /// Starts the mesh, and waits until the rule is in force, without a request to the service.
    pub(crate) async fn start(&self, plane: DataPlane, instances: &[SocketAddr]) -> Bad {
        let layout = Layout::new();
        let named: Vec<(SocketAddr, &str)> = instances.iter().map(|address| (*address, "v1")).collect();
        let mut service = service_of("shop", layout.http, &named, self.protocol);
        if !self.policy.is_empty() {
            service += &format!(
                "---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: shop, namespace: default}}
spec: {{host: shop, trafficPolicy: {}}}
",
                self.policy
            );
        }
        let rule = if self.rule.is_empty() { String::new() } else { format!("    {}\n", self.rule) };
        let rules = format!(
            "apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: shop, namespace: default}}
spec:
  hosts: [{HOST}]
  gateways: [gw]
  http:
  - match: [{{uri: {{exact: /ready}}}}]
    directResponse: {{status: 200}}
  - route: [{{destination: {{host: shop}}}}]
{rule}"
        );
        let mesh = Mesh::start_with_log(plane, layout, FORMAT, &[("shop.yaml", &service), (ROUTES, &rules)]).await;
        let mut client = mesh.outside(HOST);
        until("the rule is in force", async || client.get("/ready", &[]).await.is_ok_and(|answer| answer.status == 200)).await;
        Bad { mesh, client }
    }
}

impl Bad {
    /// Asks the service.
    pub(crate) async fn get(&mut self) -> Heard {
        self.client.hear(hyper::Method::GET, "/", &[], 0).await
    }

    /// The lines of the access log, once there are so many of requests to the service.
    pub(crate) async fn log(&self, lines: usize) -> Vec<String> {
        let read = || -> Vec<String> { self.mesh.log().into_iter().filter(|line| !line.contains("direct_response")).collect() };
        until(&format!("{lines} lines in the log"), async || read().len() >= lines).await;
        read()
    }

    /// The compared statistics that are not zero, as soon as they are as expected, else as they are at last.
    pub(crate) async fn counted(&self, expected: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(5);
        loop {
            let statistics = self.mesh.statistics("shop").await;
            let counted = COMPARED.iter().filter_map(|name| {
                let value = statistics.get(*name).filter(|value| **value > 0)?;
                Some(format!("{} {value}", name.trim_start_matches("upstream_")))
            });
            let counted = counted.collect::<Vec<_>>().join(", ");
            // What another process counts can only be asked for.
            if counted == expected || Instant::now() > deadline {
                return counted;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Asks once, and compares the answer, the line of the log and what is counted.
    pub(crate) async fn expect(mut self, answer: (u16, &str, bool), log: &str, counted: &str) {
        let heard = self.get().await;
        let seen = ((heard.status, heard.body.as_str(), heard.whole), self.log(1).await.join("; "), self.counted(counted).await);
        assert_eq!(seen, (answer, log.to_owned(), counted.to_owned()));
    }
}
