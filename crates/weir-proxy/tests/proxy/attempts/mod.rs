//! Who tries to get in where he does not belong, each attempt by its name: refused, counted, and named in the log. What is tried
//! against the pilot stands in its own tests.

mod certificates;
mod log;
mod requests;
