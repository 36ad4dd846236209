//! The upstream: as cheap as can be, so that core 1 has time for wrk.

use std::fs;
use std::path::Path;

use anyhow::Context;

use super::HELPER_DEADLINE;
use crate::process::{Core, Process, find};
use crate::{load, ports};

/// The ports of v1, v2 and v3: one process serves them all.
pub type Upstreams = [u16; 3];

/// The body of an answer.
pub const BODY: &str = "ok";
/// Where an answer has a body of 128 bytes; elsewhere it is as short as can be.
pub const LONGER_PATH: &str = "/longer";
const LONGER: usize = 128;

/// nginx, serving until it is dropped.
#[derive(Debug)]
pub struct Nginx {
    /// Where it listens.
    pub ports: Upstreams,
    process: Process,
}

impl Nginx {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn start(work: &Path) -> anyhow::Result<Self> {
        let ports: Upstreams = ports::free()?;
        let config = work.join("nginx.conf");
        fs::write(&config, configuration(work, ports))?;
        let binary = find("nginx").context("nginx is not on the PATH")?;
        let arguments = ["-e".as_ref(), "stderr".as_ref(), "-p".as_ref(), work.as_os_str(), "-c".as_ref(), config.as_os_str()];
        let mut process = Process::start(Core::Others, &binary, arguments, work.join("nginx.log"))?;
        load::wait(&mut process, ports[0], "/", HELPER_DEADLINE).context("nginx")?;
        Ok(Self { ports, process })
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

fn configuration(work: &Path, ports: Upstreams) -> String {
    let listen: String = ports.iter().map(|port| format!("    listen 127.0.0.1:{port};\n")).collect();
    let (work, longer) = (work.display(), "x".repeat(LONGER));
    format!(
        "daemon off;
master_process off;
error_log stderr error;
pid {work}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 600s;
  client_body_temp_path {work}/body;
  proxy_temp_path {work}/proxy;
  fastcgi_temp_path {work}/fastcgi;
  uwsgi_temp_path {work}/uwsgi;
  scgi_temp_path {work}/scgi;
  server {{
{listen}    default_type text/plain;
    location / {{ return 200 \"{BODY}\"; }}
    location = {LONGER_PATH} {{ return 200 \"{longer}\"; }}
  }}
}}
"
    )
}
