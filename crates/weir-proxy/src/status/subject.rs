//! Whose status it is: a proxy of this process, or an Envoy beside it, which is asked at its administration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::HOST;
use http_body_util::Empty;
use tokio::net::TcpStream;

use super::fetch::{Fetched, fetch};
use crate::{DataPlane, admin};

/// An Envoy of the same pod answers in that time, or has a fault.
const PATIENCE: Duration = Duration::from_secs(5);
/// Its metrics are no longer than that.
const LARGEST: usize = 64 << 20;

/// A proxy that can be asked how it is.
#[derive(Clone)]
pub enum Subject {
    /// Of this process.
    Hosted(Arc<DataPlane>),
    /// An Envoy, by the address of its administration.
    Envoy(SocketAddr),
}

impl Subject {
    /// Whether connections would be served.
    ///
    /// # Errors
    /// What it is instead, in words.
    pub(super) async fn readiness(&self) -> Result<(), String> {
        match self {
            Self::Hosted(plane) => admin::readiness(plane).map_err(str::to_owned),
            Self::Envoy(address) => ask(*address, "/ready").await.map(drop),
        }
    }

    /// Its metrics, as Prometheus reads them.
    ///
    /// # Errors
    /// If an Envoy does not tell them; in words.
    pub(super) async fn metrics(&self) -> Result<Bytes, String> {
        match self {
            Self::Hosted(plane) => Ok(admin::statistics(plane).into()),
            Self::Envoy(address) => ask(*address, "/stats/prometheus").await,
        }
    }
}

async fn ask(address: SocketAddr, path: &str) -> Result<Bytes, String> {
    let asked = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let request = Request::get(path).header(HOST, address.to_string()).body(Empty::new()).map_err(|error| error.to_string())?;
        match fetch(stream, request, LARGEST).await? {
            Fetched { status, body, .. } if status.is_success() => body,
            Fetched { body, .. } => Err(String::from_utf8_lossy(&body?).trim_end().to_owned()),
        }
    };
    let answer = tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("no answer".to_owned()));
    answer.map_err(|problem| format!("Envoy at {address}: {problem}"))
}
