//! Keeps the objects of a mesh up to date from where they are kept: from files ([`files`]), or
//! from Kubernetes' API server (`kubernetes`, if built with the feature of that name).
//!
//! Whoever needs them sees a [`Catalog`]: all objects as they are now, and what is to be said of them. A catalog is
//! state and not an event: the newest one is all that counts. What changed since another one, it can tell
//! ([`Catalog::changes_since`]).

mod catalog;
pub mod files;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;

pub use catalog::{Catalog, CatalogChanges, TextKey, Written};
