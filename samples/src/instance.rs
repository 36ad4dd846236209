//! One instance of a demo application: where it is in the mesh, and how it is started.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use hyper::header::HeaderValue;
use tokio::net::TcpListener;

use crate::bookinfo::{Details, ProductPage, Ratings, Reviews, Stars};
use crate::caller::Caller;
use crate::httpbin::Httpbin;
use crate::{http, tcp_echo};

/// The program that an instance runs.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Program {
    ProductPage,
    Details,
    Reviews(Option<Stars>),
    Ratings,
    Httpbin,
    /// With the word before each line.
    TcpEcho(&'static str),
}

/// How an instance calls others.
#[derive(Debug, Clone)]
enum Calls {
    /// Where its sidecar listens, but some services straight at an address.
    Sidecar(BTreeMap<String, SocketAddr>),
    /// By their names.
    Names,
}

/// One instance of an application, and its place in the mesh.
#[derive(Debug, Clone)]
pub struct Instance {
    /// The service that it belongs to (`reviews`).
    pub service: &'static str,
    /// Its version (`v2`).
    pub version: &'static str,
    /// Its name (`reviews-v2`), which is also its WorkloadEntry's and its Sidecar's.
    pub name: String,
    /// The service's port.
    pub port: u16,
    /// Where the application itself listens.
    pub listen: SocketAddr,
    /// The workload's address: its sidecar takes what comes in, here at [`Instance::port`].
    pub address: IpAddr,
    /// Where its sidecar listens for what the application calls, at the called service's port.
    pub outbound: IpAddr,
    program: Program,
    number: u8,
    calls: Calls,
}

impl Instance {
    /// The workload with that number, its application listening on that port of 127.0.0.1.
    pub(crate) fn new(program: Program, (service, version): (&'static str, &'static str), port: u16, listen: u16, number: u8) -> Self {
        Instance {
            service,
            version,
            name: format!("{service}-{version}"),
            port,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, listen)),
            address: Ipv4Addr::new(127, 0, 1, number).into(),
            outbound: Ipv4Addr::new(127, 0, 2, number).into(),
            program,
            number,
            calls: Calls::Sidecar(BTreeMap::new()),
        }
    }

    /// The same instance alone on a machine of its own, in the network 192.0.2.0/24, where it knows nothing of a mesh: it listens at its
    /// service's port and calls the others by their names.
    pub fn alone(self) -> Self {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, self.port));
        Instance { listen, address: Ipv4Addr::new(192, 0, 2, self.number).into(), calls: Calls::Names, ..self }
    }

    /// The same instance with its application listening elsewhere; port 0 takes a free one ([`Bound::address`] tells which).
    pub fn listening_on(self, listen: SocketAddr) -> Self {
        Instance { listen, ..self }
    }

    /// The same instance with its sidecar listening elsewhere for what the application calls.
    pub fn with_outbound(self, outbound: IpAddr) -> Self {
        Instance { outbound, ..self }
    }

    /// The same instance with its calls to one service going straight to an address: the service itself, or a sidecar on
    /// a port of its own. They name the service as their host as always.
    pub fn calling(mut self, service: &str, address: SocketAddr) -> Self {
        if let Calls::Sidecar(direct) = &mut self.calls {
            direct.insert(service.to_owned(), address);
        }
        self
    }

    /// Takes the address to listen on; from here on connections wait to be served. An error names instance and address.
    pub async fn bind(&self) -> io::Result<Bound> {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("{} cannot listen on {}: {error}", self.name, self.listen));
        let listener = TcpListener::bind(self.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let name = HeaderValue::try_from(&self.name).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Bound { listener, address, name, instance: self.clone() })
    }

    fn caller(&self) -> Caller {
        match &self.calls {
            Calls::Sidecar(direct) => Caller::new(self.outbound, self.port, direct.clone()),
            Calls::Names => Caller::by_names(self.port),
        }
    }
}

/// An application that has its address and is ready to serve, on the runtime on which it was bound.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    address: SocketAddr,
    name: HeaderValue,
    instance: Instance,
}

impl Bound {
    /// Where the application listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The instance that was bound.
    pub fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Serves until `shutdown` resolves, then finishes what is in flight: there is no limit on how long that takes, and
    /// dropping the future ends it at once.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) {
        let Bound { listener, name, instance, .. } = self;
        let caller = instance.caller();
        match instance.program {
            Program::ProductPage => http::serve(listener, name, ProductPage::new(instance.name, caller), shutdown).await,
            Program::Details => http::serve(listener, name, Details, shutdown).await,
            Program::Reviews(stars) => http::serve(listener, name, Reviews::new(instance.name, stars, caller), shutdown).await,
            Program::Ratings => http::serve(listener, name, Ratings, shutdown).await,
            Program::Httpbin => http::serve(listener, name, Httpbin, shutdown).await,
            Program::TcpEcho(prefix) => tcp_echo::serve(listener, prefix, shutdown).await,
        }
    }
}
