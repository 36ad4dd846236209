//! What both sides of HTTP/2 need: bodies with their windows ([`receiving`], [`sending`]), streams that carry bytes ([`bytes`]),
//! what waits for a socket ([`queue`]), signs of life ([`keepalive`]), headers that only other versions have ([`fields`]), and what
//! passes on the connection ([`frames`], [`watched`]) with what a peer may waste of our time by it ([`flood`]).

pub mod bytes;
pub mod fields;
pub mod flood;
pub mod frames;
pub mod keepalive;
pub mod queue;
pub mod receiving;
pub mod sending;
pub mod watched;
