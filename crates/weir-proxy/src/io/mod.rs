//! What lies below HTTP and TCP: streams, and what runs on one worker's thread.

pub mod executor;
pub mod flood;
pub mod frames;
pub mod heard;
pub mod line;
pub mod open;
pub mod own_address;
pub mod prefixed;
pub mod watched;
