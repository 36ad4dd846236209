//! Cases in HAProxy's language.

use std::fmt::Write;

use super::{Case, Protocol, Rules};

impl Case {
    /// HAProxy's file, for a frontend at the port.
    ///
    /// Its limits are soft: more connections than it has descriptors for are not opened here.
    pub(crate) fn haproxy(&self, port: u16) -> String {
        let bind = match (self.downstream, self.tls()) {
            (Protocol::Http2, _) => " proto h2".to_owned(),
            (_, None) => String::new(),
            (Protocol::Http2Tls, Some(tls)) => format!(" ssl crt {} alpn h2", tls.both.display()),
            (_, Some(tls)) => format!(" ssl crt {}", tls.both.display()),
        };
        let server = if self.upstream == Protocol::Http2 { " proto h2" } else { "" };
        let mode = if self.rules == Rules::Bytes { "tcp" } else { "http" };
        let mut file = format!(
            "global
  nbthread 1
  maxconn 11000
  no strict-limits
defaults
  mode {mode}
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
frontend gateway
  bind 0.0.0.0:{port}{bind}
"
        );
        match self.rules {
            Rules::Split => {
                let [v1, v2, v3] = self.upstreams;
                let _ = write!(
                    file,
                    "  use_backend jason if {{ req.hdr(end-user) -m str jason }}
  default_backend split
backend jason
  server v2 127.0.0.1:{v2}{server}
backend split
  balance roundrobin
  server v1 127.0.0.1:{v1} weight 50{server}
  server v3 127.0.0.1:{v3} weight 50{server}
"
                );
            }
            Rules::Sidecars => {}
            Rules::Bytes => {
                let [upstream, ..] = self.upstreams;
                let _ = writeln!(file, "  default_backend bytes\nbackend bytes\n  server only 127.0.0.1:{upstream}");
            }
            Rules::Prefixes(count) => {
                let [upstream, ..] = self.upstreams;
                // Writing to a String does not fail.
                for route in 0..count {
                    let _ = writeln!(file, "  use_backend r{route:05} if {{ path_beg /r{route:05}/ }}");
                }
                for route in 0..count {
                    let _ = writeln!(file, "backend r{route:05}\n  server only 127.0.0.1:{upstream}{server}");
                }
            }
        }
        file
    }
}
