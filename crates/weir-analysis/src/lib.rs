//! Tools that answer questions about a mesh without running it. They stand on the real pipeline: what a proxy would get is
//! translated as for a proxy, compiled as by a proxy, and asked as a proxy asks it. Nothing here reads a rule a second time.
//!
//! [`explain`]: where does this request go, and why. [`preview`]: what will a proxy refuse, and what will it pass over. [`analyze`]: what is
//! wrong with documents as they stand together.

pub mod analyze;
pub mod explain;
pub mod preview;
