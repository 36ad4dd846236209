//! Who is who in a cluster: its authority, the API server's certificate, and kubeconfigs with the certificates of its users.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, SerialNumber};
use serde_json::json;

use crate::certificate::Authority;

/// The folder of what makes a cluster's members known to each other.
pub(super) struct Identities {
    folder: PathBuf,
    authority: Authority,
}

impl Identities {
    /// Writes the authority (`ca.pem`, `ca.key`), the API server's certificate for these hosts (`server.pem`, `server.key`), and the key
    /// that service accounts' tokens are signed with (`tokens.key`, `tokens.pub`).
    pub fn write(folder: &Path, hosts: &[&str]) -> Self {
        let written = Self { folder: folder.to_owned(), authority: Authority::new() };
        written.put("ca.pem", &written.authority.pem());
        written.put("ca.key", &written.authority.key_pem());
        written.authority.certify(hosts).write_with_key(folder, "server");
        let tokens = KeyPair::generate().expect("a key can be made");
        written.put("tokens.key", &tokens.serialize_pem());
        written.put("tokens.pub", &tokens.public_key_pem());
        written
    }

    /// The path of one of them.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Writes a kubeconfig for a user, who may be of a group: by certificate, as an API server knows both.
    pub fn kubeconfig(&self, server: &str, user: &str, group: Option<&str>) -> PathBuf {
        let (certificate, key) = self.user(user, group);
        let name = user.replace(':', "-");
        self.put(&format!("{name}.pem"), &certificate);
        self.put(&format!("{name}.key"), &key);
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "cluster",
            "clusters": [{"name": "cluster", "cluster": {"server": server, "certificate-authority": self.path("ca.pem")}}],
            "users": [{"name": user, "user": {
                "client-certificate": self.path(&format!("{name}.pem")),
                "client-key": self.path(&format!("{name}.key")),
            }}],
            "contexts": [{"name": "cluster", "context": {"cluster": "cluster", "user": user}}],
        });
        self.put(&format!("{name}.kubeconfig"), &config.to_string())
    }

    fn user(&self, user: &str, group: Option<&str>) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(fastrand::u64(1 << 32..1 << 62)));
        let key = KeyPair::generate().expect("a key can be made");
        (self.authority.sign(&params, &key), key.serialize_pem())
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }
}
