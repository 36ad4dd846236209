//! The codec beside others, on the same bytes: hyper in this process, a stock Envoy beside it. What differs must stand in a list with
//! its reason; and the attacks on the framing of HTTP/1.1 that were published, each by its name.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, in its helpers too")]
#![allow(clippy::print_stderr, reason = "what was compared is told")]

mod against_envoy;
mod against_hyper;
mod attacks;
mod attacks_on_answers;
mod codec;
mod envoy;
mod envoy_answers;
mod envoy_rules;
mod generate;
mod hyper_peer;
mod mutate;
mod properties;
mod rules;
mod seen;
mod shrink;
