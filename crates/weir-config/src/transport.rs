//! How the instances of a cluster are spoken to, in plaintext or by TLS: `transport_socket` and `transport_socket_matches`.
//!
//! What cannot be carried out refuses the cluster: plaintext must never go where something else was asked for.

use std::sync::Arc;

use weir_routing::CompileError;
use weir_xds::cluster::Cluster as XdsCluster;
use weir_xds::cluster::cluster::TransportSocketMatch;
use weir_xds::core::transport_socket::ConfigType;
use weir_xds::core::{Metadata, TransportSocket};
use weir_xds::prost_types::Struct;
use weir_xds::proxy_protocol_socket::ProxyProtocolUpstreamTransport;
use weir_xds::tls::UpstreamTlsContext;

use super::proxy_protocol::ProxyVersion;
use super::tls::ClientTls;

/// The metadata of endpoints that matches are looked for in.
const MATCH: &str = "envoy.transport_socket_match";
const RAW_BUFFER: &str = "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/// How an instance is spoken to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TransportPolicy {
    /// Whether connections begin with who the client is, and how that is told.
    pub proxy_protocol: Option<ProxyVersion>,
    /// By TLS; none is plaintext.
    pub tls: Option<Arc<ClientTls>>,
}

/// How each instance of a cluster is spoken to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TransportPolicies {
    /// The first that matches an endpoint is its own.
    pub matches: Vec<(Criteria, TransportPolicy)>,
    /// For all others.
    pub otherwise: TransportPolicy,
}

/// What an endpoint says of its transport, or what is asked of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Criteria(Option<Box<Struct>>);

impl Criteria {
    /// What an endpoint's metadata says.
    pub fn of(metadata: Option<&Metadata>) -> Self {
        Self(metadata.and_then(|metadata| metadata.filter_metadata.get(MATCH)).cloned().map(Box::new))
    }

    /// What is written.
    pub(crate) fn written(criteria: Option<&Struct>) -> Self {
        Self(criteria.cloned().map(Box::new))
    }

    /// Whether an endpoint says all that is asked here.
    fn hold_for(&self, endpoint: &Self) -> bool {
        let Some(wanted) = &self.0 else { return true };
        wanted.fields.iter().all(|(key, value)| endpoint.0.as_ref().and_then(|said| said.fields.get(key)) == Some(value))
    }
}

impl TransportPolicies {
    /// Compiles what a cluster says.
    ///
    /// # Errors
    /// If one of its transports is not valid, or not carried out.
    pub fn compile(cluster: &XdsCluster) -> Result<Self, CompileError> {
        if cluster.transport_socket_matcher.is_some() {
            return Err(CompileError::unsupported("transport_socket_matcher"));
        }
        let mut matches = vec![];
        for (i, TransportSocketMatch { name: _, r#match, transport_socket }) in cluster.transport_socket_matches.iter().enumerate() {
            let transport = TransportPolicy::compile(transport_socket.as_ref());
            let transport = transport.map_err(|error| error.within(&format!("transport_socket_matches[{i}].transport_socket")))?;
            matches.push((Criteria::written(r#match.as_ref()), transport));
        }
        let otherwise = TransportPolicy::compile(cluster.transport_socket.as_ref()).map_err(|error| error.within("transport_socket"))?;
        Ok(Self { matches, otherwise })
    }

    /// The position of an endpoint's transport among [`Self::all`]. What the endpoint says of itself comes before what its
    /// locality says.
    pub fn choose(&self, endpoint: &Criteria, locality: &Criteria) -> usize {
        let matching = |said: &Criteria| self.matches.iter().position(|(wanted, _)| wanted.hold_for(said));
        matching(endpoint).or_else(|| matching(locality)).unwrap_or(self.matches.len())
    }

    /// All transports; the one for endpoints that nothing matches comes last.
    pub fn all(&self) -> impl Iterator<Item = &TransportPolicy> {
        self.matches.iter().map(|(_, transport)| transport).chain([&self.otherwise])
    }

    /// The TLS among them.
    pub fn tls(&self) -> impl Iterator<Item = &Arc<ClientTls>> {
        self.all().filter_map(|transport| transport.tls.as_ref())
    }
}

impl TransportPolicy {
    fn compile(socket: Option<&TransportSocket>) -> Result<Self, CompileError> {
        let Some(TransportSocket { name, config_type }) = socket else { return Ok(Self::default()) };
        let Some(ConfigType::TypedConfig(config)) = config_type else {
            let is_plain = name == "envoy.transport_sockets.raw_buffer";
            return if is_plain { Ok(Self::default()) } else { Err(CompileError::missing("typed_config")) };
        };
        if config.type_name() == RAW_BUFFER {
            return Ok(Self::default());
        }
        let unreadable = |error: weir_xds::AnyError| CompileError::new("typed_config", error.to_string());
        if config.is::<ProxyProtocolUpstreamTransport>() {
            return Self::announcing(&config.unpack().map_err(unreadable)?);
        }
        if !config.is::<UpstreamTlsContext>() {
            return Err(CompileError::new("typed_config", format!("`{}` is not supported", config.type_name())));
        }
        let tls = ClientTls::compile(&config.unpack().map_err(unreadable)?)?;
        Ok(Self { tls: Some(Arc::new(tls)), proxy_protocol: None })
    }

    /// Another transport behind a header of the PROXY protocol.
    fn announcing(announced: &ProxyProtocolUpstreamTransport) -> Result<Self, CompileError> {
        let ProxyProtocolUpstreamTransport {
            config,
            transport_socket,
            // Whose address is not known is not told of in either case; there are no TLVs.
            allow_unspecified_address: _,
            tlv_as_pool_key: _,
        } = announced;
        let within = |error: CompileError, field: &str| error.within(&format!("typed_config.{field}"));
        let version = ProxyVersion::compile(config.as_ref()).map_err(|error| within(error, "config"))?;
        let socket = transport_socket.as_ref().ok_or_else(|| CompileError::missing("typed_config.transport_socket"))?;
        let inner = Self::compile(Some(socket)).map_err(|error| within(error, "transport_socket"))?;
        if inner.proxy_protocol.is_some() {
            return Err(CompileError::new("typed_config.transport_socket", "is of the PROXY protocol again, which is not supported"));
        }
        Ok(Self { proxy_protocol: Some(version), ..inner })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn compile(cluster: Value) -> Result<TransportPolicies, String> {
        let cluster: XdsCluster = weir_xds::json::from_value(cluster).unwrap();
        TransportPolicies::compile(&cluster).map_err(|error| error.to_string())
    }

    fn tls(sni: &str) -> Value {
        json!({"name": "envoy.transport_sockets.tls", "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            "commonTlsContext": {}, "sni": sni,
        }})
    }

    fn raw() -> Value {
        json!({"name": "raw", "typedConfig": {"@type": format!("type.googleapis.com/{RAW_BUFFER}")}})
    }

    fn said(fields: Value) -> Criteria {
        let metadata: Metadata = weir_xds::json::from_value(json!({"filterMetadata": {MATCH: fields}})).unwrap();
        Criteria::of(Some(&metadata))
    }

    #[test]
    fn the_first_match_decides_and_the_endpoint_before_its_locality() {
        let transports = compile(json!({"transportSocket": raw(), "transportSocketMatches": [
            {"name": "mesh", "match": {"tlsMode": "istio", "v": 2}, "transportSocket": tls("mesh")},
            {"name": "old", "match": {"tlsMode": "istio"}, "transportSocket": tls("old")},
        ]}))
        .unwrap();
        let name = |endpoint: &Criteria, locality: &Criteria| {
            let chosen = transports.all().nth(transports.choose(endpoint, locality)).unwrap();
            chosen.tls.as_ref().map_or("plain".to_owned(), |tls| tls.sni.as_deref().unwrap().to_owned())
        };
        let nothing = Criteria::default();
        assert_eq!(name(&nothing, &nothing), "plain");
        assert_eq!(name(&said(json!({"tlsMode": "istio"})), &nothing), "old");
        assert_eq!(name(&said(json!({"tlsMode": "istio", "v": 2, "more": true})), &nothing), "mesh");
        assert_eq!(name(&said(json!({"tlsMode": "disabled"})), &nothing), "plain");
        assert_eq!(name(&said(json!({"tlsMode": "disabled"})), &said(json!({"tlsMode": "istio"}))), "old");
    }

    fn announced(version: &str, inner: &Value) -> Value {
        json!({"name": "proxy", "typedConfig": {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport",
            "config": {"version": version}, "transportSocket": inner,
        }})
    }

    #[test]
    fn who_the_client_is_may_be_told_before_anything_else() {
        let told = |inner: &Value| {
            let transports = compile(json!({"transportSocket": announced("V2", inner)})).unwrap();
            (transports.otherwise.proxy_protocol, transports.otherwise.tls.is_some())
        };
        assert_eq!(told(&raw()), (Some(ProxyVersion::V2), false));
        assert_eq!(told(&tls("a")), (Some(ProxyVersion::V2), true));
    }

    #[test]
    fn a_match_for_everybody_matches_endpoints_that_say_nothing() {
        let transports = compile(json!({"transportSocketMatches": [{"name": "all", "match": {}, "transportSocket": tls("all")}]})).unwrap();
        assert_eq!(transports.choose(&Criteria::default(), &Criteria::default()), 0);
    }

    #[test]
    fn plaintext_never_takes_the_place_of_what_cannot_be_carried_out() {
        let other = json!({"name": "a", "typedConfig": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}});
        let cases = [
            (
                json!({"transportSocket": other}),
                "transport_socket.typed_config: `envoy.extensions.filters.http.router.v3.Router` is not supported",
            ),
            (json!({"transportSocket": {"name": "envoy.transport_sockets.tls"}}), "transport_socket.typed_config: is missing"),
            (
                json!({"transportSocketMatches": [{"name": "a", "transportSocket": other}]}),
                "transport_socket_matches[0].transport_socket.typed_config: `envoy.extensions.filters.http.router.v3.Router` is not supported",
            ),
            (json!({"transportSocketMatcher": {}}), "transport_socket_matcher: is not supported"),
            (json!({"transportSocket": announced("V1", &Value::Null)}), "transport_socket.typed_config.transport_socket: is missing"),
            (
                json!({"transportSocket": announced("V1", &announced("V2", &raw()))}),
                "transport_socket.typed_config.transport_socket: is of the PROXY protocol again, which is not supported",
            ),
        ];
        for (cluster, error) in cases {
            assert_eq!(compile(cluster).unwrap_err(), error);
        }
    }
}
