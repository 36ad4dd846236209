//! Statistics: cells that one worker writes and the admin interface sums up.

pub mod cells;
pub mod cluster;
pub mod http2;
pub mod listener;
pub mod principals;
pub mod requests;
pub mod verdicts;
