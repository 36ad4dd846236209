//! TLS on both sides of a proxy, as data: towards clients ([`server`]) and towards instances ([`client`]); what is asked of the
//! other side's certificate ([`validation`], [`names`]), and what a handshake may agree on ([`parameters`]).
//!
//! Certificates come by SDS under a name, or stand in the configuration, in full or as the name of a file ([`sources`]). The
//! proxy reads the files and keeps what they hold; here they are only named.

pub mod client;
mod common;
pub mod names;
pub mod parameters;
pub mod server;
pub mod sources;
pub mod validation;

pub use client::ClientTls;
pub use names::{AltName, NameKind, NameMatcher};
pub use parameters::{Parameters, Versions};
pub use server::{Resumption, ServerTls, Staples};
pub use sources::{Certificate, CertificateSource, Material, SecretSource};
pub use validation::{Validation, ValidationSource};
