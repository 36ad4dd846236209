//! The samples: which instances each consists of, its files, its entrance, and what to try with it.

use std::net::{Ipv4Addr, SocketAddr};

use crate::bookinfo::Stars;
use crate::instance::{Instance, Program};
use crate::suggestion::{Suggestion, suggest};

/// A demo: applications and the configuration of their mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sample {
    /// A page about a book, made by four services, one of them in three versions.
    Bookinfo,
    /// One service that answers with what it was asked, or misbehaves as told.
    Httpbin,
    /// Two versions of a TCP service that echoes lines.
    TcpEcho,
}

/// The text of one of the sample's files, with its name.
macro_rules! files {
    ($folder:literal: $($name:literal),+) => {
        &[$(($name, include_str!(concat!("../", $folder, "/", $name)))),+]
    };
}

/// The text of a command in this crate.
macro_rules! command {
    ($name:literal) => {
        include_str!(concat!("commands/", $name, ".sh"))
    };
}

impl Sample {
    /// All samples.
    pub const ALL: [Sample; 3] = [Sample::Bookinfo, Sample::Httpbin, Sample::TcpEcho];

    /// The name that people type.
    pub fn name(self) -> &'static str {
        match self {
            Sample::Bookinfo => "bookinfo",
            Sample::Httpbin => "httpbin",
            Sample::TcpEcho => "tcp-echo",
        }
    }

    /// The sample of that name.
    pub fn from_name(name: &str) -> Option<Sample> {
        Sample::ALL.into_iter().find(|sample| sample.name() == name)
    }

    /// The configuration as a user of Istio would write it: names of files and their texts.
    pub fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Sample::Bookinfo => files!("bookinfo": "services.yaml", "sidecars.yaml", "gateway.yaml", "destination-rules.yaml"),
            Sample::Httpbin => files!("httpbin": "services.yaml", "sidecars.yaml", "gateway.yaml", "virtual-service.yaml"),
            Sample::TcpEcho => {
                files!("tcp-echo": "services.yaml", "sidecars.yaml", "gateway.yaml", "destination-rules.yaml", "virtual-service.yaml")
            }
        }
    }

    /// The same where each instance is [alone](Instance::alone) on a machine, and its traffic is captured. Only bookinfo knows that.
    pub fn files_for_machines(self) -> Option<Vec<(&'static str, &'static str)>> {
        const OWN: &[(&str, &str)] = files!("bookinfo-namespaces": "services.yaml", "peer-authentication.yaml");
        // Nobody needs to be told where a sidecar listens.
        let replaced = |name: &str| name == "sidecars.yaml" || OWN.iter().any(|(own, _)| *own == name);
        let shared = self.files().iter().filter(|(name, _)| !replaced(name));
        (self == Sample::Bookinfo).then(|| OWN.iter().chain(shared).copied().collect())
    }

    /// The applications. Their addresses are those that the files name.
    pub fn instances(self) -> Vec<Instance> {
        match self {
            Sample::Bookinfo => {
                let bookinfo = |program, names, number: u8| Instance::new(program, names, 9080, 19080 + u16::from(number), number);
                vec![
                    bookinfo(Program::ProductPage, ("productpage", "v1"), 1),
                    bookinfo(Program::Details, ("details", "v1"), 2),
                    bookinfo(Program::Reviews(None), ("reviews", "v1"), 3),
                    bookinfo(Program::Reviews(Some(Stars::Black)), ("reviews", "v2"), 4),
                    bookinfo(Program::Reviews(Some(Stars::Red)), ("reviews", "v3"), 5),
                    bookinfo(Program::Ratings, ("ratings", "v1"), 6),
                ]
            }
            Sample::Httpbin => vec![Instance::new(Program::Httpbin, ("httpbin", "v1"), 8000, 18001, 11)],
            Sample::TcpEcho => vec![
                Instance::new(Program::TcpEcho("one"), ("tcp-echo", "v1"), 9000, 19001, 21),
                Instance::new(Program::TcpEcho("two"), ("tcp-echo", "v2"), 9000, 19002, 22),
            ],
        }
    }

    /// Where the gateway listens.
    pub fn gateway(self) -> SocketAddr {
        let port = match self {
            Sample::Bookinfo | Sample::Httpbin => 8080,
            Sample::TcpEcho => 31400,
        };
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    }

    /// The same for people: what to open, or to connect to.
    pub fn entrance(self) -> &'static str {
        match self {
            Sample::Bookinfo => "http://localhost:8080/productpage",
            Sample::Httpbin => "http://localhost:8080/",
            Sample::TcpEcho => "localhost:31400",
        }
    }

    /// Three things to try, in this order, while the sample runs from the files in `dir`.
    pub fn things_to_try(self, dir: &str) -> [Suggestion; 3] {
        let texts = match self {
            Sample::Bookinfo => [
                (
                    "Open http://localhost:8080/productpage and reload it, or ask in a shell: three versions of reviews take turns.",
                    command!("bookinfo-1"),
                ),
                (
                    "Send jason to v2 (black stars) and everybody else to v3 (red stars); it is in force as soon as the file is there.",
                    command!("bookinfo-2"),
                ),
                (
                    "Break that file: Weir shows you the place, and the last good version stays in force; then mend it.",
                    command!("bookinfo-3"),
                ),
            ],
            Sample::Httpbin => [
                ("See a request as it arrives behind the gateway and the sidecar.", command!("httpbin-1")),
                ("Give the service one second, then ask it for an answer that takes three: 504 after one.", command!("httpbin-2")),
                (
                    "Let failed requests be tried again: of ten answers, each of which fails every second time, hardly one does now.",
                    command!("httpbin-3"),
                ),
            ],
            Sample::TcpEcho => [
                (
                    "Send a line over each of ten connections: about eight go to v1 (\"one\"), about two to v2 (\"two\").",
                    command!("tcp-echo-1"),
                ),
                ("Send all new connections to v2.", command!("tcp-echo-2")),
                (
                    "Break that file: Weir shows you the place, and the last good version stays in force; then mend it.",
                    command!("tcp-echo-3"),
                ),
            ],
        };
        texts.map(|(sentence, command)| suggest(dir, sentence, command))
    }
}
