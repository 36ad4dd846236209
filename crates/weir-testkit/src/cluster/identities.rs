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
    /// that service accounts' tokens are signed with (`tokens.key`, `tokens.pub`); and what the API server shows to kubelets
    /// (`api-server.pem`, `api-server.key`).
    pub fn write(folder: &Path, hosts: &[&str]) -> Self {
        let written = Self { folder: folder.to_owned(), authority: Authority::new() };
        written.put("ca.pem", &written.authority.pem());
        written.put("ca.key", &written.authority.key_pem());
        written.certify("server", hosts);
        let tokens = KeyPair::generate().expect("a key can be made");
        written.put("tokens.key", &tokens.serialize_pem());
        written.put("tokens.pub", &tokens.public_key_pem());
        written.certify_user("api-server", "kube-apiserver", None);
        written
    }

    /// Writes a server's certificate for these hosts: `NAME.pem`, `NAME.key`.
    pub fn certify(&self, name: &str, hosts: &[&str]) {
        self.authority.certify(hosts).write_with_key(&self.folder, name);
    }

    /// The path of one of them.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Writes a kubeconfig for a user, who may be of a group: by certificate, as an API server knows both.
    pub fn kubeconfig(&self, server: &str, user: &str, group: Option<&str>) -> PathBuf {
        let name = user.replace(':', "-");
        self.certify_user(&name, user, group);
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

    /// Writes a user's certificate: `NAME.pem`, `NAME.key`.
    fn certify_user(&self, name: &str, user: &str, group: Option<&str>) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(fastrand::u64(1 << 32..1 << 62)));
        let key = KeyPair::generate().expect("a key can be made");
        self.put(&format!("{name}.pem"), &self.authority.sign(&params, &key));
        self.put(&format!("{name}.key"), &key.serialize_pem());
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("a file can be written");
        path
    }
}
