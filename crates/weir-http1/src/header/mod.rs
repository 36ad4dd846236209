//! Header fields: their names, and the lines of a head.
//!
//! The names that HTTP, gRPC, Envoy and their like have given a meaning are known: each is a small number, found once, when a
//! head is read. After that a field is looked up by its number, and nothing hashes or compares text. Fields keep their order.

mod convert;
mod fields;
mod known;
mod name;
mod set;
mod value;

pub use convert::{from_map, to_map};
pub use fields::{AsName, GetAll, Headers, IntoName, Values};
pub use known::*;
pub use name::{HeaderName, InvalidHeaderName};
pub use set::NameSet;
pub use value::{HeaderValue, InvalidHeaderValue, NoText};
pub(crate) use value::{check, with_digits};
