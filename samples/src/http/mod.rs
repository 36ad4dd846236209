//! The little of a web framework that the applications need, on hyper.

mod body;
mod parse;
mod reply;
mod server;

pub(crate) use body::{Body, Chunks, whole};
pub(crate) use parse::{cookies, pairs, percent_encode};
pub(crate) use reply::{Refusal, html, json, redirect, text, typed};
pub(crate) use server::{Application, INSTANCE_HEADER, serve};
