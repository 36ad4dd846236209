//! One way to an instance, for requests and connections of every kind: choose it ([`cluster`]), keep within the limits, connect
//! ([`connect`], [`transport`]), keep and share connections ([`host`], [`lane`], [`pool`], [`http1`], [`http2`]), send ([`send`]), and report
//! how it went.

pub mod aggregate;
pub mod body;
mod choice;
pub mod cluster;
pub mod clusters;
pub mod connect;
pub mod counted;
mod destinations;
mod framing;
pub mod host;
mod http1;
mod http2;
mod interim;
mod lane;
pub mod limits;
mod names;
mod opening;
mod pool;
pub mod send;
mod socket;
pub mod transport;
pub mod tunnel;
mod websocket;
