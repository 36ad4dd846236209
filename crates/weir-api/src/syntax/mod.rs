//! Texts as trees ([`yaml`]; JSON is YAML too) and trees as typed values ([`de`]).

pub mod de;
pub mod yaml;
