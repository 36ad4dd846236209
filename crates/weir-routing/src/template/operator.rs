//! The operators, by what they stand for.

use weir_http1::HeaderName;

/// Which message of an exchange a header belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message {
    /// The request as it arrived, after the changes of the route.
    Request,
    /// The response.
    Response,
    /// The trailers behind the response.
    Trailers,
}

/// The name of a header in an operator, or of a part of the request line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `:method`.
    Method,
    /// `:path`.
    Path,
    /// `:authority` or `host`.
    Authority,
    /// `:scheme`.
    Scheme,
    /// `:status`.
    Status,
    /// Any other header.
    Header(HeaderName),
}

/// What is told of the certificates of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificatePart {
    /// The names of the other side's that are URIs, `,` between them.
    PeerUris,
    /// Its names of DNS.
    PeerDnsNames,
    /// Whose it is.
    PeerSubject,
    /// Its SHA-256, in hexadecimal digits.
    PeerFingerprint,
    /// The names of our own that are URIs.
    OwnUris,
}

/// The other side of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerSide {
    /// The client's.
    Client,
    /// That of the instance.
    Instance,
}

/// Which part of what a workload tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerPart {
    /// All of it, as an object of JSON.
    Object,
    /// All of it, as `workload=web,namespace=shop`.
    Plain,
    /// One of its fields.
    Field(PeerField),
}

/// A thing that a workload tells of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerField {
    /// `deployment`, `pod` and the like.
    Kind,
    /// Its name.
    Workload,
    /// The name of the instance.
    Instance,
    /// The cluster that it runs in.
    Cluster,
    /// Its namespace.
    Namespace,
    /// Its canonical service.
    Service,
    /// Its canonical revision.
    Revision,
    /// Its label `app`.
    App,
    /// Its label `version`.
    Version,
}

impl PeerField {
    /// All of them and their names, in the order in which they are written.
    pub const ALL: [(Self, &str); 9] = [
        (Self::Kind, "type"),
        (Self::Workload, "workload"),
        (Self::Instance, "name"),
        (Self::Cluster, "cluster"),
        (Self::Namespace, "namespace"),
        (Self::Service, "service"),
        (Self::Revision, "revision"),
        (Self::App, "app"),
        (Self::Version, "version"),
    ];
}

/// Which part of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressPart {
    /// `ip:port`.
    Whole,
    /// `ip`.
    WithoutPort,
    /// `port`.
    Port,
}

/// Which path of a request, where a route changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathSource {
    /// As it is now.
    Current,
    /// As it was, if it was changed.
    Original,
    /// As it was, or else as it is.
    OriginalOrCurrent,
}

/// How a gRPC status is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcStatusForm {
    /// `NotFound`.
    Camel,
    /// `NOT_FOUND`.
    Snake,
    /// `5`.
    Number,
}

/// One of Envoy's command operators.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)] // Each is Envoy's operator of that name.
pub enum Operator {
    /// A header, or else another.
    Header(Message, Field, Option<Field>),
    /// `strftime` format; none is ISO 8601 with milliseconds.
    StartTime(Option<String>),
    BytesReceived,
    BytesSent,
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ConnectionTerminationDetails,
    ResponseFlags,
    ResponseFlagsLong,
    Duration,
    RequestDuration,
    ResponseDuration,
    ResponseTxDuration,
    UpstreamHost,
    UpstreamAddress(AddressPart),
    UpstreamCluster,
    UpstreamClusterRaw,
    UpstreamLocalAddress(AddressPart),
    UpstreamTransportFailureReason,
    UpstreamRequestAttemptCount,
    LocalReplyBody,
    DownstreamLocalAddress(AddressPart),
    DownstreamRemoteAddress(AddressPart),
    DownstreamDirectRemoteAddress(AddressPart),
    RequestedServerName,
    /// The same, or else the host that the request names.
    RequestedServerNameOrHost,
    RouteName,
    Hostname,
    StreamId,
    ConnectionId,
    /// Something that a client's connection has of certificates.
    DownstreamCertificate(CertificatePart),
    /// The same of the connection to the instance.
    UpstreamCertificate(CertificatePart),
    DownstreamTlsVersion,
    /// The path of the request, with its query or without.
    Path {
        query: bool,
        source: PathSource,
    },
    /// A query parameter, decoded.
    QueryParameter(String),
    /// The whole query, decoded or as it was sent.
    Query {
        decoded: bool,
    },
    /// A variable of the proxy's environment; `-` where there is none.
    Environment(String),
    /// The gRPC status of the answer to a gRPC call.
    GrpcStatus(GrpcStatusForm),
    /// `%METADATA(ROUTE:namespace:key)%`.
    RouteMetadata(String, String),
    /// `%METADATA(CLUSTER:namespace:key)%`.
    ClusterMetadata(String, String),
    /// `%DYNAMIC_METADATA(namespace:key:key)%`: a namespace, and the keys below it.
    DynamicMetadata(Box<[String]>),
    /// What the workload at the other side tells of itself: Istio's filter leaves it as `downstream_peer` and `upstream_peer`.
    Peer(PeerSide, PeerPart),
    /// Something that no request of ours ever has: another filter's state.
    Never,
}
