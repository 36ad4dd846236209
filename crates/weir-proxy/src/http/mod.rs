//! HTTP: from a client's connection ([`connection`]) through its filters, of which the last, the [`router`], sends the request
//! to an instance and brings back the answer.

mod body;
mod call;
pub mod connection;
pub mod control;
mod filters;
mod handle;
mod header_changes;
mod http1;
mod http2;
mod local_reply;
mod mapped_reply;
pub mod router;
mod side_call;

use std::rc::Rc;
use std::sync::Arc;

use weir_config::http::HttpConfig;

use crate::exchange::recorder::Recording;
use crate::upstream::clusters::Clusters;
pub use filters::lua::{check_filters, check_table};
pub use filters::{Chain, ask_about_connection};
use router::routes::RouteSlot;

/// A connection manager as one worker uses it.
pub struct HttpRuntime {
    /// What it is told to do.
    pub config: Arc<HttpConfig>,
    /// Its routes.
    pub routes: Rc<RouteSlot>,
    /// What requests and answers pass.
    pub filters: Chain,
    /// What it writes down.
    pub recording: Rc<Recording>,
    /// Where its routes lead.
    pub clusters: Rc<Clusters>,
    /// What may be held back of a body on a connection of HTTP/1.1.
    pub buffer_limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How large what a function of one argument gives is; of more, as one.
    fn size_of_result<A, R>(_: impl Fn(A) -> R) -> usize {
        size_of::<R>()
    }

    /// What is awaited is moved into who awaits it, and copied on the way: what every request passes is to be small.
    #[test]
    fn no_future_on_the_way_of_a_request_is_large() {
        type Stream = tokio::net::TcpStream;
        let sizes = [
            ("a connection", size_of_result(|(a, b, c, d, e): (Stream, _, _, _, _)| connection::serve(a, b, c, d, e))),
            ("a request", size_of_result(handle::pass)),
            ("its answer of ours", size_of_result(|(call, reply): (&'static mut call::Call, _)| call.reply(reply))),
            ("its route", size_of_result(|call: &'static mut call::Call| router::route(call))),
            ("its filters", size_of_result(|call: &'static mut call::Call| filters::on_request(call))),
            ("HTTP/1.1", size_of_result(|(a, b, c, d, e): (Stream, _, _, _, _)| http1::serve(a, b, c, d, e))),
            ("HTTP/2", size_of_result(|(a, b, c, d): (Stream, _, _, _)| http2::serve_http2(a, b, c, d))),
        ];
        for (what, size) in sizes {
            println!("{what} {size}");
        }
        for (what, size) in sizes {
            assert!(size <= 2048, "{what}: {size}");
        }
    }
    /// A connection takes this room as long as its client asks for nothing, too.
    #[test]
    fn a_connection_that_is_idle_takes_little_room() {
        type Stream = tokio::net::TcpStream;
        assert!(size_of_result(|(a, b, c, d, e): (Stream, _, _, _, _)| connection::serve(a, b, c, d, e)) <= 64);
        assert!(size_of_result(|(a, b, c, d, e): (Stream, _, _, _, _)| http1::serve(a, b, c, d, e)) <= 512);
    }
}
