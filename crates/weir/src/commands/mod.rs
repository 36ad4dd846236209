//! What each command does.

pub(crate) mod demo;
pub(crate) mod explain;
pub(crate) mod get;
mod offline;
pub(crate) mod pilot;
pub(crate) mod proxy;
pub(crate) mod run;
pub(crate) mod translate;
pub(crate) mod validate;
