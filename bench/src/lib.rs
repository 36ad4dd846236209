//! What the measurements have in common: the cases, the proxies and their upstream, processes, and the tables that are printed.

#![allow(clippy::print_stderr, reason = "for tools of the command line: they say there what they leave out")]

pub mod cases;
pub mod h2load;
pub mod handshakes;
pub mod helpers;
pub mod load;
pub mod open_loop;
pub mod origin;
pub mod peers;
pub mod ports;
pub mod process;
mod relay;
pub mod table;
pub mod used;
