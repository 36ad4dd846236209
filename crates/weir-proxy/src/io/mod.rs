//! What lies below HTTP and TCP: streams, and what runs on one worker's thread.

pub mod executor;
pub mod open;
pub mod prefixed;
pub mod watched;
