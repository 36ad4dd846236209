//! A root of our own: made at the first start, and kept where only its owner can read it.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};
use zeroize::{Zeroize, Zeroizing};

use super::folder::AuthorityFiles;
use super::{Authority, AuthorityError, private};

/// Where the root is, below the folder of what is kept.
const FOLDER: &str = "ca";
/// That there was a root: whoever finds this and no root has lost it.
const MADE: &str = "ca-was-made";
const CERTIFICATE: &str = "ca-cert.pem";
const KEY: &str = "ca-key.pem";
/// How long a root lasts; Istio's.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// Clocks of other machines may be late by so much.
const SKEW: Duration = Duration::from_secs(24 * 3600);

/// Makes a root for a trust domain.
pub(super) fn make(trust_domain: &str, now: SystemTime) -> Result<AuthorityFiles, rcgen::Error> {
    let mut key = KeyPair::generate()?;
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, trust_domain);
    let mut params = CertificateParams::default();
    params.not_before = (now - SKEW).into();
    params.not_after = (now + LIFETIME).into();
    params.distinguished_name = subject;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    let certificate = params.self_signed(&key)?.pem().into_bytes();
    let written = Zeroizing::new(key.serialize_pem());
    key.zeroize();
    Ok(AuthorityFiles { chain: certificate.clone(), roots: certificate.clone(), certificate, key: written, revoked: vec![] })
}

/// Whether there ever was a root in a folder.
pub(super) fn was_made(state: &Path) -> bool {
    state.join(MADE).exists() || state.join(FOLDER).exists()
}

/// Opens the root that is kept in a folder, or makes one if there never was any.
pub(super) fn open(state: &Path, trust_domain: &str) -> Result<Authority, AuthorityError> {
    let (folder, made) = (state.join(FOLDER), state.join(MADE));
    private::folder(state)?;
    let _locked = private::lock(state)?;
    if exists(&folder)? {
        private::folder(&folder)?;
        mark(state, &made)?;
        return read(&folder);
    }
    if exists(&made)? {
        let reason = format!("the mesh's root is lost: put {} back, or begin a new mesh by removing this file", folder.display());
        return Err(AuthorityError::Unusable(made, reason));
    }
    let files = make(trust_domain, SystemTime::now())?;
    let failed = |error| AuthorityError::File(folder.clone(), error);
    let temporary = private::temporary(&folder).map_err(failed)?;
    let put = write_all(&temporary, &files).map_err(failed).and_then(|()| {
        // First: who stops in between has lost a root that nobody knows, and does not make another without a word.
        mark(state, &made)?;
        fs::rename(&temporary, &folder).and_then(|()| private::sync(state)).map_err(failed)
    });
    if let Err(error) = put {
        // No key lies about.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    read(&folder)
}

/// Writes down that there is a root.
fn mark(state: &Path, made: &Path) -> Result<(), AuthorityError> {
    if exists(made)? {
        return Ok(());
    }
    let written = private::write_new(made, b"The root of this mesh was made here.\n").and_then(|()| private::sync(state));
    written.map_err(|error| AuthorityError::File(made.to_owned(), error))
}

fn exists(path: &Path) -> Result<bool, AuthorityError> {
    path.try_exists().map_err(|error| AuthorityError::File(path.to_owned(), error))
}

fn read(folder: &Path) -> Result<Authority, AuthorityError> {
    let key = private::read(&folder.join(KEY))?;
    let path = folder.join(CERTIFICATE);
    let certificate = fs::read(&path).map_err(|error| AuthorityError::File(path, error))?;
    let (chain, roots) = (certificate.clone(), certificate.clone());
    AuthorityFiles { certificate, key, chain, roots, revoked: vec![] }.into_authority(folder)
}

fn write_all(folder: &Path, files: &AuthorityFiles) -> io::Result<()> {
    private::write_new(&folder.join(CERTIFICATE), &files.certificate)?;
    private::write_new(&folder.join(KEY), files.key.as_bytes())?;
    private::sync(folder)
}
