//! Cases in nginx's language.

use std::fmt::Write;
use std::path::Path;

use super::{Case, Protocol, Rules};

impl Case {
    /// nginx's file, for a server at the port; what it writes goes to the folder.
    pub(crate) fn nginx(&self, port: u16, work: &Path) -> String {
        if self.rules == Rules::Bytes {
            return self.nginx_stream(port, work);
        }
        let listen = match self.downstream {
            Protocol::Http1 => "",
            Protocol::Http2 => " http2",
            Protocol::Tls => " ssl",
            Protocol::Http2Tls => " ssl http2",
        };
        let tls = self
            .tls()
            .map(|tls| format!("    ssl_certificate {};\n    ssl_certificate_key {};\n", tls.certificate.display(), tls.key.display()));
        let (tls, work) = (tls.unwrap_or_default(), work.display());
        let (services, locations) = self.nginx_rules();
        // Buffers hold the large bodies, so that none goes through a file.
        format!(
            "daemon off;
master_process off;
error_log stderr error;
pid {work}/nginx.pid;
events {{ worker_connections 30000; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_buffer_size 128k;
  proxy_buffers 16 8k;
  proxy_http_version 1.1;
  proxy_set_header Connection '';
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
{services}  server {{
    listen 0.0.0.0:{port}{listen};
{tls}{locations}  }}
}}
"
        )
    }

    /// For what is built with the module for bytes; nginx without it does not start, and is left out.
    fn nginx_stream(&self, port: u16, work: &Path) -> String {
        let ([upstream, ..], work) = (self.upstreams, work.display());
        format!(
            "daemon off;
master_process off;
error_log stderr error;
pid {work}/nginx.pid;
events {{ worker_connections 30000; }}
stream {{
  server {{ listen 0.0.0.0:{port}; proxy_pass 127.0.0.1:{upstream}; }}
}}
"
        )
    }

    /// Its upstreams, and the server's locations.
    fn nginx_rules(&self) -> (String, String) {
        let pass = if self.upstream == Protocol::Http2 { "grpc_pass grpc://" } else { "proxy_pass http://" };
        let kept = "keepalive 128; keepalive_requests 1000000000;";
        let (mut services, mut locations) = (String::new(), String::new());
        // Writing to a String does not fail.
        match self.rules {
            Rules::Split => {
                let [v1, v2, v3] = self.upstreams;
                let _ = write!(
                    services,
                    "  upstream jason {{ server 127.0.0.1:{v2}; {kept} }}
  upstream split {{ server 127.0.0.1:{v1} weight=50; server 127.0.0.1:{v3} weight=50; {kept} }}
  map $http_end_user $service {{ default split; jason jason; }}
"
                );
                let _ = writeln!(locations, "    location / {{ {pass}$service; }}");
            }
            Rules::Bytes | Rules::Sidecars => {}
            Rules::Prefixes(count) => {
                let [upstream, ..] = self.upstreams;
                for route in 0..count {
                    let _ = writeln!(services, "  upstream r{route:05} {{ server 127.0.0.1:{upstream}; {kept} }}");
                    let _ = writeln!(locations, "    location /r{route:05}/ {{ {pass}r{route:05}; }}");
                }
            }
        }
        (services, locations)
    }
}
