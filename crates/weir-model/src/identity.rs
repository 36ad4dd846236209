//! Who a workload is, and whether it takes TLS with the certificates of the mesh.

use std::collections::BTreeMap;
use std::fmt;

use weir_api::dns;

/// By this label a workload says whether its proxy takes mutual TLS.
const TLS_MODE: &str = "security.istio.io/tlsMode";
/// The account of a workload that names none.
pub const DEFAULT_ACCOUNT: &str = "default";

/// Who a workload is: its service account.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// The namespace of the account.
    pub namespace: String,
    /// The account.
    pub account: String,
}

impl Identity {
    /// An account of a namespace; the default one if it is empty.
    pub fn new(namespace: &str, account: &str) -> Self {
        let account = if account.is_empty() { DEFAULT_ACCOUNT } else { account };
        Self { namespace: namespace.to_owned(), account: account.to_owned() }
    }

    /// Whether its names are such that it cannot be read as another one.
    pub fn is_valid(&self) -> bool {
        dns::is_label(&self.namespace) && dns::is_subdomain(&self.account)
    }

    /// As it stands in a certificate: `spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`.
    pub fn spiffe(&self, trust_domain: &str) -> String {
        format!("spiffe://{trust_domain}/ns/{}/sa/{}", self.namespace, self.account)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ns/{}/sa/{}", self.namespace, self.account)
    }
}

/// Whether a workload with these labels takes mutual TLS, where it does not say so: a WorkloadEntry does that names its account,
/// a Pod does not, since nobody put a proxy beside it.
pub(crate) fn takes_mutual_tls(labels: &BTreeMap<String, String>, otherwise: bool) -> bool {
    labels.get(TLS_MODE).map_or(otherwise, |mode| mode == "istio")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_written_as_spiffe_has_it() {
        assert_eq!(Identity::new("shop", "cart").spiffe("td"), "spiffe://td/ns/shop/sa/cart");
        assert_eq!(Identity::new("shop", "").to_string(), "ns/shop/sa/default");
    }

    #[test]
    fn an_identity_that_could_be_read_as_another_is_not_valid() {
        for (namespace, account, expected) in
            [("shop", "", true), ("shop", "a.b", true), ("a/sa/b", "", false), ("", "a", false), ("y", "x/ns/z/sa/admin", false)]
        {
            assert_eq!(Identity::new(namespace, account).is_valid(), expected, "{namespace} {account}");
        }
    }

    #[test]
    fn a_label_says_whether_mutual_tls_is_taken_else_the_account_does() {
        let labels = |mode: &str| BTreeMap::from([(TLS_MODE.to_owned(), mode.to_owned())]);
        for (labels, otherwise, expected) in [
            (BTreeMap::new(), true, true),
            (BTreeMap::new(), false, false),
            (labels("istio"), false, true),
            (labels("disabled"), true, false),
            (labels(""), true, false),
        ] {
            assert_eq!(takes_mutual_tls(&labels, otherwise), expected, "{labels:?}");
        }
    }
}
