//! The Secrets that Gateways name: they are there, and hold a certificate that is valid now.

use std::time::SystemTime;

use weir_api::resources::Gateway;
use weir_api::resources::kubernetes::Secret;
use weir_api::{Document, Spec};
use weir_translate::{certificate_of, secret_of};

use super::codes::{INVALID_CREDENTIAL, NOT_FOUND};
use super::finding::{Report, path};
use super::index::Index;
use super::validity::Validity;

/// Looks at the credentials of a Gateway, whose pods are in a namespace.
pub(super) fn check(
    index: &Index<'_>,
    document: &Document,
    gateway: &Gateway,
    namespace: &str,
    now: Option<SystemTime>,
    report: &mut Report,
) {
    for (number, server) in gateway.servers.iter().enumerate() {
        let Some(tls) = &server.tls else { continue };
        let at = path("spec.servers").index(number).key("tls");
        let several = tls.credential_names.iter().enumerate().map(|(i, name)| (name, at.key("credentialNames").index(i)));
        let one = std::iter::once((&tls.credential_name, at.key("credentialName"))).filter(|(name, _)| !name.is_empty());
        for (name, at) in one.chain(several) {
            let name = match secret_of(name, namespace) {
                Ok(name) => name,
                Err(reason) => {
                    report.say(NOT_FOUND, document, at, reason);
                    continue;
                }
            };
            let Some(secret) = index.find("", "Secret", namespace, name) else {
                let message = format!("there is no Secret {namespace}/{name}, where the gateway's pods are");
                report.say(NOT_FOUND, document, at, message);
                continue;
            };
            let Some(Spec::Secret(secret)) = secret.spec() else { continue };
            if let Err(reason) = check_secret(secret, now) {
                report.say(INVALID_CREDENTIAL, document, at, format!("the Secret {namespace}/{name} cannot be used: {reason}"));
            }
        }
    }
}

fn check_secret(secret: &Secret, now: Option<SystemTime>) -> Result<(), String> {
    let certificate = certificate_of(secret)?;
    let validity = Validity::of(&certificate).ok_or("its certificate cannot be read")?;
    match now {
        Some(now) if now > validity.until => Err("its certificate has expired".to_owned()),
        Some(now) if now < validity.from => Err("its certificate is not valid yet".to_owned()),
        _ => Ok(()),
    }
}
