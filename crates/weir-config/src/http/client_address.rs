//! Whom requests come from, where `original_ip_detection_extensions` and not the connection say it
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_conn_man/headers#x-forwarded-for>).

use std::net::IpAddr;

use http::StatusCode;
use ipnet::IpNet;
use weir_http1::header::{HeaderName, Headers};
use weir_routing::CompileError;
use weir_xds::core::{CidrRange, TypedExtensionConfig};
use weir_xds::envoy::extensions::http::original_ip_detection::custom_header::v3::CustomHeaderConfig;
use weir_xds::envoy::extensions::http::original_ip_detection::xff::v3::{XffConfig, XffTrustedCidrs};
use weir_xds::hcm::HttpConnectionManager;
use weir_xds::types::HttpStatus;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// One way to find the client's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Detection {
    place: Place,
    /// Whether the peer is added to `x-forwarded-for`.
    appends: bool,
}

/// What came of looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// The client's address, if it is there.
    pub address: Option<IpAddr>,
    /// Whether the peer is added to `x-forwarded-for`, also if it is not.
    pub appends: bool,
}

/// Where the address is told.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    /// In `x-forwarded-for`, before so many others.
    Forwarded(u32),
    /// There: the last that is in none of these ranges. It is believed of who is in one of them.
    ForwardedBy(Box<[IpNet]>),
    /// In a header of its own; the status of the answer to who does not tell it, if it is to be told.
    Header(HeaderName, Option<StatusCode>),
}

impl Detection {
    /// Those of a connection manager, in their order.
    ///
    /// # Errors
    /// If one is not valid or not known, or stands beside another rule that says the same otherwise.
    pub(super) fn compile_all(manager: &HttpConnectionManager) -> Result<Box<[Self]>, CompileError> {
        const FIELD: &str = "original_ip_detection_extensions";
        let all = &manager.original_ip_detection_extensions;
        if !all.is_empty() && (manager.use_remote_address == Some(true) || manager.xff_num_trusted_hops > 0) {
            return Err(CompileError::new(FIELD, "excludes `use_remote_address` and `xff_num_trusted_hops`"));
        }
        let compile = |(i, extension)| Self::compile(extension).map_err(|error| error.within(&format!("{FIELD}[{i}]")));
        all.iter().enumerate().map(compile).collect()
    }

    fn compile(extension: &TypedExtensionConfig) -> Result<Self, CompileError> {
        let TypedExtensionConfig { name: _, typed_config } = extension;
        let config = typed_config.as_ref().ok_or_else(|| CompileError::missing("typed_config"))?;
        let wrong = |error: weir_xds::AnyError| CompileError::new("typed_config", error.to_string());
        if config.is::<XffConfig>() {
            return Self::forwarded(&config.unpack().map_err(wrong)?);
        }
        if config.is::<CustomHeaderConfig>() {
            return Self::header(&config.unpack().map_err(wrong)?);
        }
        Err(CompileError::new("typed_config", format!("the type `{}` is not supported", config.type_name())))
    }

    fn forwarded(config: &XffConfig) -> Result<Self, CompileError> {
        let XffConfig { xff_num_trusted_hops, xff_trusted_cidrs, skip_xff_append } = config;
        let appends = !skip_xff_append.unwrap_or(true);
        let place = match xff_trusted_cidrs {
            Some(_) if *xff_num_trusted_hops > 0 => {
                return Err(CompileError::new("xff_trusted_cidrs", "excludes `xff_num_trusted_hops`"));
            }
            Some(XffTrustedCidrs { cidrs }) if !cidrs.is_empty() => {
                let range = |(i, one)| range(one).map_err(|error: CompileError| error.within(&format!("xff_trusted_cidrs.cidrs[{i}]")));
                Place::ForwardedBy(cidrs.iter().enumerate().map(range).collect::<Result<_, _>>()?)
            }
            _ => Place::Forwarded(*xff_num_trusted_hops),
        };
        Ok(Self { place, appends })
    }

    fn header(config: &CustomHeaderConfig) -> Result<Self, CompileError> {
        // Whether the client counts as internal nobody asks.
        let CustomHeaderConfig { header_name, allow_extension_to_set_address_as_trusted: _, reject_with_status } = config;
        let wrong = || CompileError::new("header_name", format!("`{header_name}` is no name of a header"));
        let name = HeaderName::try_from(header_name.as_str()).map_err(|_| wrong())?;
        Ok(Self { place: Place::Header(name, reject_with_status.as_ref().map(status)), appends: false })
    }

    /// Looks for the client's address; `peer` is who has connected.
    ///
    /// # Errors
    /// The status of the answer to a request that should tell it, and does not.
    pub(crate) fn find(&self, headers: &Headers, peer: IpAddr) -> Result<Found, StatusCode> {
        let address = match &self.place {
            Place::Forwarded(skip) => forwarded(headers).nth(*skip as usize).flatten(),
            Place::ForwardedBy(ranges) => {
                let is_trusted = |address: &IpAddr| ranges.iter().any(|range| range.contains(address));
                if !is_trusted(&peer.to_canonical()) {
                    // Who is behind it is told the truth, whatever is said of others.
                    return Ok(Found { address: None, appends: true });
                }
                last_other(forwarded(headers), is_trusted)
            }
            Place::Header(name, refusal) => {
                let found = headers.get(name).and_then(|value| value.to_str().ok()?.parse().ok());
                if let Some(status) = refusal.filter(|_| found.is_none()) {
                    return Err(status);
                }
                found
            }
        };
        Ok(Found { address, appends: self.appends })
    }
}

/// The addresses in `x-forwarded-for`, the last one first; none for what is no address.
fn forwarded(headers: &Headers) -> impl Iterator<Item = Option<IpAddr>> {
    let list = headers.get_all(FORWARDED_FOR).iter().next_back().and_then(|list| list.to_str().ok());
    list.into_iter().flat_map(|list| list.rsplit(',')).map(|address| address.trim().parse().ok())
}

/// The first that is not trusted, or the last if all are. What is no address ends the list, and nobody is found.
fn last_other(addresses: impl Iterator<Item = Option<IpAddr>>, is_trusted: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    let mut last = None;
    for address in addresses {
        last = Some(address?);
        if !address.is_some_and(|address| is_trusted(&address)) {
            break;
        }
    }
    last
}

fn range(range: &CidrRange) -> Result<IpNet, CompileError> {
    let CidrRange { address_prefix, prefix_len } = range;
    let wrong = || CompileError::new("", format!("`{address_prefix}` and its length are no range of addresses"));
    let address: IpAddr = address_prefix.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = u8::try_from(prefix_len.unwrap_or(0).min(most)).map_err(|_| wrong())?;
    IpNet::new(address, length).map(|range| range.trunc()).map_err(|_| wrong())
}

/// What is no error is 403.
fn status(status: &HttpStatus) -> StatusCode {
    let HttpStatus { code } = status;
    let code = u16::try_from(*code).ok().filter(|code| (400..=511).contains(code));
    code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::FORBIDDEN)
}

#[cfg(test)]
mod tests {
    use weir_http1::HeaderValue;
    use weir_xds::Any;

    use super::*;

    const PEER: &str = "127.0.0.1";

    fn compile(configs: Vec<Any>) -> Result<Box<[Detection]>, CompileError> {
        let extension = |config| TypedExtensionConfig { name: "x".into(), typed_config: Some(config) };
        let extensions = configs.into_iter().map(extension).collect();
        Detection::compile_all(&HttpConnectionManager { original_ip_detection_extensions: extensions, ..Default::default() })
    }

    fn trusting(prefixes: &[&str], skip_xff_append: Option<bool>) -> Any {
        let range = |prefix: &&str| CidrRange { address_prefix: (*prefix).to_owned(), prefix_len: Some(8) };
        let cidrs = XffTrustedCidrs { cidrs: prefixes.iter().map(range).collect() };
        Any::pack(&XffConfig { xff_trusted_cidrs: Some(cidrs), skip_xff_append, ..Default::default() })
    }

    fn hops(xff_num_trusted_hops: u32) -> Any {
        Any::pack(&XffConfig { xff_num_trusted_hops, ..Default::default() })
    }

    fn header(header_name: &str, code: Option<i32>) -> Any {
        let reject_with_status = code.map(|code| HttpStatus { code });
        Any::pack(&CustomHeaderConfig { header_name: header_name.into(), reject_with_status, ..Default::default() })
    }

    fn found(config: Any, said: &[(&'static str, &'static str)]) -> Result<Found, StatusCode> {
        let headers: Headers = said.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect();
        let detections = compile(vec![config]).expect("valid");
        detections.first().expect("there is one").find(&headers, PEER.parse().expect("an address"))
    }

    #[test]
    fn clients_are_found_where_they_are_told() {
        const LIST: &str = "1.1.1.1, 2.2.2.2, 10.1.1.1";
        let xff = |value| [("x-forwarded-for", value)];
        let trusted = || trusting(&["127.0.0.0", "10.0.0.0"], None);
        let cases = [
            (hops(0), xff(LIST), Some("10.1.1.1"), false),
            (hops(1), xff(LIST), Some("2.2.2.2"), false),
            (hops(3), xff(LIST), None, false),
            (hops(0), xff("1.1.1.1, junk"), None, false),
            (trusted(), xff(LIST), Some("2.2.2.2"), false),
            (trusted(), xff("10.0.0.1, 10.0.0.2"), Some("10.0.0.1"), false),
            (trusted(), xff("junk, 10.0.0.2"), None, false),
            (trusting(&["127.0.0.0"], Some(false)), xff(LIST), Some("10.1.1.1"), true),
            (trusting(&["10.0.0.0"], Some(true)), xff(LIST), None, true),
            (trusting(&[], None), xff(LIST), Some("10.1.1.1"), false),
            (header("x-real-ip", None), [("x-real-ip", "7.7.7.7")], Some("7.7.7.7"), false),
            (header("X-Real-IP", Some(401)), [("x-real-ip", "::1")], Some("::1"), false),
            (header("x-real-ip", None), [("x-real-ip", "7.7.7.7:80")], None, false),
        ];
        for (config, said, address, appends) in cases {
            let address = address.map(|address| address.parse().expect("an address"));
            assert_eq!(found(config, &said), Ok(Found { address, appends }), "{said:?}");
        }
        for (code, status) in [(401, 401), (200, 403), (600, 403)] {
            assert_eq!(found(header("x-real-ip", Some(code)), &[("x-real-ip", "me")]).map_err(|status| status.as_u16()), Err(status));
        }
    }

    #[test]
    fn what_envoy_refuses_is_refused() {
        let both = XffConfig { xff_num_trusted_hops: 1, xff_trusted_cidrs: Some(XffTrustedCidrs::default()), ..Default::default() };
        let wrong = [Any::pack(&both), trusting(&["ten"], None), header("", None), Any::pack(&HttpStatus::default()), Any::default()];
        for config in wrong {
            assert!(compile(vec![hops(0), config.clone()]).is_err(), "{config:?}");
        }
        let extension = TypedExtensionConfig { name: "x".into(), typed_config: Some(hops(0)) };
        for (use_remote_address, xff_num_trusted_hops) in [(Some(true), 0), (None, 1)] {
            let original_ip_detection_extensions = vec![extension.clone()];
            let manager =
                HttpConnectionManager { original_ip_detection_extensions, use_remote_address, xff_num_trusted_hops, ..Default::default() };
            assert!(Detection::compile_all(&manager).is_err());
        }
    }
}
