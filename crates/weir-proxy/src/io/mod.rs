//! What lies below HTTP and TCP: streams, and what runs on one worker's thread.

pub mod client;
pub mod clock;
pub mod coding;
pub mod date;
pub mod fairness;
pub mod farewell;
pub mod http2;
pub mod open;
pub mod overload;
pub mod own_address;
pub mod prefixed;
pub mod proxy_protocol;
pub mod response;
pub mod spare;
pub mod transparent;
pub mod unix_socket;
pub mod wire;
