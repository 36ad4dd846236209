//! Secrets that no server tells, while the proxy runs: they stand in files, or are its own.

use std::sync::Arc;

use super::State;
use crate::tls::secrets::OwnSecrets;

impl State {
    /// Says that the proxy has its certificate of the mesh by itself, sooner or later.
    pub fn expect_certificate(&mut self) {
        self.secrets.expect_own();
    }

    /// Takes the proxy's new certificate of the mesh.
    pub fn take_certificate(&mut self, own: OwnSecrets) {
        self.secrets.put_own(own);
        self.follow_checks();
    }

    /// Whether secrets stand in files, which are to be looked at from time to time.
    pub fn has_files(&self) -> bool {
        self.secrets.are_in_files()
    }

    /// Reads files again that have changed: the secrets that can be used now. Of one that cannot, what was there before stays.
    pub fn read_files_again(&mut self) -> Vec<Arc<str>> {
        let mut usable = vec![];
        for (name, read) in self.secrets.read_again() {
            match read {
                Ok(()) => {
                    tracing::info!(proxy = %self.id, secret = %name, "was read again: its files have changed");
                    usable.push(name);
                }
                Err(error) => {
                    tracing::warn!(proxy = %self.id, secret = %name, %error, "its files have changed and cannot be used; what was there stays");
                }
            }
        }
        if !usable.is_empty() {
            self.follow_checks();
        }
        usable
    }
}
