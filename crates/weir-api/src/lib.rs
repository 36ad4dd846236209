//! The resources that people write: Istio's networking API and those parts of Kubernetes that a mesh reads.
//!
//! A text becomes [`Object`]s in three steps. [`parse()`] turns YAML or JSON into trees whose every node knows
//! its place; [`resources`] gives the trees their types through serde; [`validate`] applies Istio's rules to
//! the typed resource. What goes wrong in any of them is a [`Diagnostic`]: what, where, and what would be
//! right. One bad document never affects its neighbours.

pub mod diagnostic;
pub mod dns;
pub mod document;
pub mod field_path;
pub mod keys;
pub mod kind;
mod likely;
pub mod node;
pub mod object;
pub mod object_change;
pub mod object_key;
pub mod object_name;
pub mod parse;
pub mod resources;
pub mod source;
mod stand_in;
pub mod syntax;
pub mod validate;

pub use diagnostic::{Diagnostic, Severity, Topic};
pub use document::{Document, documents};
pub use field_path::{FieldPath, Segment};
pub use kind::{Kind, is_policy};
pub use node::{Entry, Node, Value};
pub use object::Object;
pub use object_change::ObjectChange;
pub use object_key::ObjectKey;
pub use object_name::ObjectName;
pub use parse::{Parsed, parse, parse_json};
pub use resources::Spec;
pub use resources::meta::ObjectMeta;
pub use source::{Place, Source, Span};
