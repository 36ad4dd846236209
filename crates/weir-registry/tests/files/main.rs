//! Files in, catalogs out: what is read, what stays in force when it breaks, and how changes arrive.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod changes;
mod last_good;
mod reading;
mod support;
mod watching;
