//! Connections to instances: made ([`connect`]), kept and shared ([`http1`], [`http2`]), and how
//! many there may be ([`resources`]).

pub mod budget;
pub mod connect;
pub mod counted;
pub mod http1;
pub mod http2;
pub mod resources;
pub mod socket;
