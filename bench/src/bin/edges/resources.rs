//! The documents of a large edge, in the folder that the pilot follows.

use std::fmt::Write;
use std::fs;
use std::ops::Range;
use std::path::PathBuf;

use crate::certificates::Authority;

/// So many hosts stand in one file.
const TOGETHER: usize = 1_000;

pub(crate) struct Resources {
    folder: PathBuf,
    port: u16,
}

/// The host of a certificate.
pub(crate) fn host(number: usize) -> String {
    format!("s{number}.edge.test")
}

impl Resources {
    /// Those of a gateway that ends TLS at a port.
    pub fn new(folder: PathBuf, port: u16) -> Self {
        Self { folder, port }
    }

    /// Hosts outside the mesh.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn hosts(&self, count: usize) -> anyhow::Result<()> {
        for first in (0..count).step_by(TOGETHER) {
            let mut text = String::new();
            for number in first..count.min(first + TOGETHER) {
                let (high, low) = (number / 256 % 256, number % 256);
                write!(
                    text,
                    "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: e{number}}}\nspec: {{hosts: \
                     [e{number}.far.test], location: MESH_EXTERNAL, resolution: STATIC, ports: [{{number: 443, name: tls, protocol: TLS}}], \
                     endpoints: [{{address: 198.18.{high}.{low}}}]}}\n"
                )?;
            }
            self.save(&format!("hosts-{first}"), &text)?;
        }
        Ok(())
    }

    /// New certificates, each with the server that shows it and its route.
    ///
    /// # Errors
    /// If they cannot be made, or written.
    pub fn certificates(&self, name: &str, authority: &Authority, numbers: Range<usize>) -> anyhow::Result<()> {
        let (mut servers, mut secrets) = (String::new(), String::new());
        for number in numbers {
            let host = host(number);
            let (certificate, key) = authority.certify(&host)?;
            let indent = |pem: String| pem.lines().fold(String::new(), |text, line| text + "    " + line + "\n");
            write!(
                servers,
                "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {{name: s{number}}}\nspec: {{selector: {{istio: \
                 ingressgateway}}, servers: [{{port: {{number: {}, name: s{number}, protocol: HTTPS}}, hosts: [{host}], tls: {{mode: SIMPLE, \
                 credentialName: s{number}}}}}]}}\n---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: \
                 s{number}}}\nspec: {{hosts: [{host}], gateways: [s{number}], http: [{{directResponse: {{status: 204}}}}]}}\n",
                self.port
            )?;
            write!(
                secrets,
                "---\napiVersion: v1\nkind: Secret\nmetadata: {{name: s{number}}}\nstringData:\n  tls.crt: |\n{}  tls.key: |\n{}",
                indent(certificate),
                indent(key)
            )?;
        }
        self.save(&format!("{name}-servers"), &servers)?;
        self.save(&format!("{name}-secrets"), &secrets)
    }

    /// The pilot sees the old file or the new one; one that says the same is left alone.
    fn save(&self, name: &str, text: &str) -> anyhow::Result<()> {
        let file = self.folder.join(format!("{name}.yaml"));
        if fs::read_to_string(&file).is_ok_and(|before| before == text) {
            return Ok(());
        }
        let draft = self.folder.join("draft");
        fs::write(&draft, text)?;
        Ok(fs::rename(draft, file)?)
    }
}
