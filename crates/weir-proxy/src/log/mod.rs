//! Access logs: what is written of an exchange ([`exchange`]), how it looks ([`mod@format`]), and the files
//! ([`writer`]).

pub mod exchange;
pub mod flags;
pub mod format;
pub mod writer;
