//! Rules for TLS as a server, in Gateway and Sidecar.

use super::checker::Checker;
use crate::resources::gateway::{ServerTlsMode, ServerTlsSettings, TlsProtocol};

const CIPHER_SUITES: &[&str] = &[
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-PSK-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES128-SHA",
    "ECDHE-RSA-AES128-SHA",
    "ECDHE-PSK-AES128-CBC-SHA",
    "ECDHE-ECDSA-AES256-SHA",
    "ECDHE-RSA-AES256-SHA",
    "ECDHE-PSK-AES256-CBC-SHA",
    "AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-SHA",
    "PSK-AES128-CBC-SHA",
    "AES256-SHA",
    "PSK-AES256-CBC-SHA",
    "DES-CBC3-SHA",
];

const CURVES: &[&str] = &["X25519MLKEM768", "X25519", "P-256", "P-384", "P-521", "P-224"];

/// Checks TLS as a server.
pub(super) fn check(c: &mut Checker<'_>, tls: &ServerTlsSettings) {
    check_versions(c, tls);
    check_ciphers(c, &tls.cipher_suites);
    check_curves(c, &tls.ecdh_curves);
    check_skipped(c, tls);
    match tls.mode {
        ServerTlsMode::IstioMutual => no_certificates(c, tls),
        ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough => unused_certificates(c, tls),
        ServerTlsMode::Simple | ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual => check_certificates(c, tls),
    }
}

/// The fields that name certificates, and whether each is given.
fn certificates(tls: &ServerTlsSettings) -> [(&'static str, bool); 6] {
    [
        ("serverCertificate", !tls.server_certificate.is_empty()),
        ("privateKey", !tls.private_key.is_empty()),
        ("caCertificates", !tls.ca_certificates.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
    ]
}

fn check_versions(c: &mut Checker<'_>, tls: &ServerTlsSettings) {
    let (min, max) = (tls.min_protocol_version, tls.max_protocol_version);
    if matches!(min, TlsProtocol::V1_0 | TlsProtocol::V1_1) && tls.cipher_suites.is_empty() {
        let message = "the cipher suites that are safe today do not exist before TLS 1.2";
        c.field("minProtocolVersion", |c| c.warn_help(message, "add `cipherSuites` that the old version knows"));
    }
    if max != TlsProtocol::Auto && min > max {
        c.field("minProtocolVersion", |c| c.error_help("the lowest version is above the highest", "exchange them"));
    }
}

fn check_ciphers(c: &mut Checker<'_>, suites: &[String]) {
    c.field("cipherSuites", |c| {
        for (index, suite) in suites.iter().enumerate() {
            // A list of BoringSSL's may hold operators such as `-` and `+`, of which we know nothing.
            let is_operation = suite.is_empty() || suite == "ALL" || !suite.starts_with(|letter: char| letter.is_alphanumeric());
            let known = is_operation || CIPHER_SUITES.contains(&suite.as_str());
            c.item(index, |c| {
                if !known {
                    c.warn_help(
                        format!("unknown cipher suite `{suite}`, which is ignored"),
                        format!("known are {}", CIPHER_SUITES.join(", ")),
                    );
                } else if !is_operation && suites[..index].contains(suite) {
                    c.warn(format!("the cipher suite `{suite}` stands twice"));
                }
            });
        }
    });
}

fn check_curves(c: &mut Checker<'_>, curves: &[String]) {
    c.each("ecdhCurves", curves, |c, curve| {
        if !CURVES.contains(&curve.as_str()) {
            c.warn_help(format!("unknown curve `{curve}`"), format!("known are {}", CURVES.join(", ")));
        }
    });
}

/// What is asked of clients' certificates that are let in whatever they are.
fn check_skipped(c: &mut Checker<'_>, tls: &ServerTlsSettings) {
    let asks = matches!(tls.mode, ServerTlsMode::Mutual | ServerTlsMode::OptionalMutual);
    if !asks || tls.insecure_skip_verify != Some(true) {
        return;
    }
    let asked = [
        ("subjectAltNames", !tls.subject_alt_names.is_empty()),
        ("verifyCertificateSpki", !tls.verify_certificate_spki.is_empty()),
        ("verifyCertificateHash", !tls.verify_certificate_hash.is_empty()),
        ("caCrl", !tls.ca_crl.is_empty()),
    ];
    for (key, _) in asked.into_iter().filter(|(_, given)| *given) {
        c.field(key, |c| {
            let message = format!("with `insecureSkipVerify`, clients are let in whatever `{key}` says of their certificates");
            c.warn_help(message, "leave one of the two away");
        });
    }
}

fn no_certificates(c: &mut Checker<'_>, tls: &ServerTlsSettings) {
    for (key, _) in certificates(tls).into_iter().filter(|(_, given)| *given) {
        c.field(key, |c| {
            c.error_help(format!("ISTIO_MUTUAL uses the mesh's own certificates, not `{key}`"), "leave it away, or choose MUTUAL")
        });
    }
}

fn unused_certificates(c: &mut Checker<'_>, tls: &ServerTlsSettings) {
    let given = certificates(tls).into_iter().chain([("caCrl", !tls.ca_crl.is_empty())]).filter(|(_, given)| *given);
    for (key, _) in given {
        c.field(key, |c| {
            c.warn_help(format!("`{key}` has no effect where TLS passes through"), "choose SIMPLE or MUTUAL, or leave it away")
        });
    }
}

fn check_certificates(c: &mut Checker<'_>, tls: &ServerTlsSettings) {
    let own_pair = !tls.server_certificate.is_empty() && !tls.private_key.is_empty();
    c.exclusive(&[
        ("serverCertificate", own_pair),
        ("credentialName", !tls.credential_name.is_empty()),
        ("credentialNames", !tls.credential_names.is_empty()),
        ("tlsCertificates", !tls.tls_certificates.is_empty()),
    ]);
    // A Secret holds all that is needed, and the list of revoked certificates as well.
    if !tls.credential_name.is_empty() || !tls.credential_names.is_empty() {
        return;
    }
    let asks_client = tls.mode != ServerTlsMode::Simple;
    if asks_client && tls.ca_certificates.is_empty() && tls.ca_cert_credential_name.is_empty() {
        c.error_help("the authorities for client certificates are missing", "add `caCertificates`, or `credentialName`");
    }
    if tls.tls_certificates.is_empty() {
        check_pair(c, &tls.server_certificate, &tls.private_key);
    }
    if tls.tls_certificates.len() > 2 {
        c.field("tlsCertificates", |c| c.warn_help("more than two certificates", "one of each kind, RSA and ECDSA"));
    }
    c.each("tlsCertificates", &tls.tls_certificates, |c, pair| check_pair(c, &pair.server_certificate, &pair.private_key));
    if !tls.ca_crl.is_empty() && !asks_client {
        c.field("caCrl", |c| {
            c.error_help("SIMPLE asks for no client certificate, so none can be revoked", "choose MUTUAL, or leave it away")
        });
    }
}

fn check_pair(c: &mut Checker<'_>, certificate: &str, key: &str) {
    for (field, what, file) in [("serverCertificate", "server certificate", certificate), ("privateKey", "private key", key)] {
        if file.is_empty() {
            c.error_help(format!("the {what} is missing"), format!("add `{field}`, or use `credentialName`"));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::validate::testing::check_within;

    #[test]
    fn certificates_fit_the_mode() {
        let spec = "servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {…}}]";
        check_within(
            "Gateway",
            spec,
            "servers[0].tls",
            &[
                ("mode: SIMPLE, serverCertificate: c, privateKey: k", &[]),
                ("mode: SIMPLE, credentialName: c", &[]),
                ("mode: SIMPLE, credentialNames: [c, d]", &[]),
                ("mode: SIMPLE, tlsCertificates: [{serverCertificate: c, privateKey: k}]", &[]),
                ("mode: MUTUAL, serverCertificate: c, privateKey: k, caCertificates: ca, caCrl: crl", &[]),
                ("mode: OPTIONAL_MUTUAL, credentialName: c", &[]),
                ("mode: PASSTHROUGH", &[]),
                ("mode: ISTIO_MUTUAL", &[]),
                ("mode: SIMPLE", &["error: ", "error: "]),
                ("mode: SIMPLE, serverCertificate: c", &["error: "]),
                ("mode: SIMPLE, serverCertificate: c, privateKey: k, caCrl: crl", &["error: .caCrl"]),
                ("mode: SIMPLE, credentialName: c, credentialNames: [d]", &["error: "]),
                ("mode: SIMPLE, tlsCertificates: [{privateKey: k}]", &["error: .tlsCertificates[0]"]),
                ("mode: MUTUAL, serverCertificate: c, privateKey: k", &["error: "]),
                ("mode: ISTIO_MUTUAL, caCertificates: c, credentialName: c", &["error: .caCertificates", "error: .credentialName"]),
                ("mode: PASSTHROUGH, credentialName: c", &["warning: .credentialName"]),
                ("mode: MUTUAL, credentialName: c, insecureSkipVerify: true", &[]),
                (
                    "mode: OPTIONAL_MUTUAL, credentialName: c, insecureSkipVerify: true, subjectAltNames: [a], caCrl: crl",
                    &["warning: .subjectAltNames", "warning: .caCrl"],
                ),
                ("mode: SIMPLE, credentialName: c, insecureSkipVerify: true, subjectAltNames: [a]", &[]),
            ],
        );
    }

    #[test]
    fn versions_and_ciphers_are_known() {
        let spec = "servers: [{port: {number: 443, name: a, protocol: TLS}, hosts: ['*'], tls: {mode: ISTIO_MUTUAL, …}}]";
        check_within(
            "Gateway",
            spec,
            "servers[0].tls",
            &[
                ("minProtocolVersion: TLSV1_2, maxProtocolVersion: TLSV1_3", &[]),
                ("minProtocolVersion: TLSV1_3, maxProtocolVersion: TLSV1_2", &["error: .minProtocolVersion"]),
                ("minProtocolVersion: TLSV1_3, maxProtocolVersion: TLS_AUTO", &[]),
                ("minProtocolVersion: TLSV1_0", &["warning: .minProtocolVersion"]),
                ("minProtocolVersion: TLSV1_0, cipherSuites: [AES128-SHA]", &[]),
                ("cipherSuites: [AES128-SHA, AES128-SHA]", &["warning: .cipherSuites[1]"]),
                ("cipherSuites: [ALL, -AES128-SHA, ROT13]", &["warning: .cipherSuites[2]"]),
                ("ecdhCurves: [P-256, P-1]", &["warning: .ecdhCurves[1]"]),
            ],
        );
    }
}
