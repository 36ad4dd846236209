//! The compiled tables against a naive walk of the same xDS: one reads Envoy's documentation word by word and tries
//! everything in order, the other finds its answer by index. On random tables and requests they must not differ.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod chains;
mod divided;
mod generate;
mod naive;
mod tables;
