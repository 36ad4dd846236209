//! A root of our own: made at the first start, and kept where only its owner can read it.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose};
use zeroize::{Zeroize, Zeroizing};

use super::folder::Files;
use super::{Authority, AuthorityError};

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
pub(super) fn make(trust_domain: &str, now: SystemTime) -> Result<Files, rcgen::Error> {
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
    Ok(Files { chain: certificate.clone(), roots: certificate.clone(), certificate, key: written, revoked: vec![] })
}

/// Opens the root that is kept in a folder, or makes one if there never was any.
pub(super) fn open(state: &Path, trust_domain: &str) -> Result<Authority, AuthorityError> {
    let folder = state.join(FOLDER);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| AuthorityError::File(path, error)
    };
    create_folder(state).map_err(failed(state))?;
    if exists(&folder)? {
        return read(&folder);
    }
    let made = state.join(MADE);
    if exists(&made)? {
        let reason = format!("the mesh's root is lost: put {} back, or begin a new mesh by removing this file", folder.display());
        return Err(AuthorityError::Unusable(made, reason));
    }
    let files = make(trust_domain, SystemTime::now())?;
    let temporary = state.join(format!("{FOLDER}.{}", std::process::id()));
    write_all(&temporary, &files).map_err(failed(&temporary))?;
    // Whoever comes first has made it; a second process takes that.
    match fs::rename(&temporary, &folder) {
        Ok(()) => fs::write(&made, "The root of this mesh was made here.\n").map_err(failed(&made))?,
        Err(_) if exists(&folder)? => fs::remove_dir_all(&temporary).map_err(failed(&temporary))?,
        Err(error) => return Err(AuthorityError::File(folder, error)),
    }
    read(&folder)
}

fn exists(path: &Path) -> Result<bool, AuthorityError> {
    path.try_exists().map_err(|error| AuthorityError::File(path.to_owned(), error))
}

fn read(folder: &Path) -> Result<Authority, AuthorityError> {
    let file = |name: &str| {
        let path = folder.join(name);
        fs::read(&path).map_err(|error| AuthorityError::File(path, error))
    };
    let key = folder.join(KEY);
    if !is_private(&key).map_err(|error| AuthorityError::File(key.clone(), error))? {
        return Err(AuthorityError::Unusable(key, "others may read it: chmod 600".to_owned()));
    }
    let text = String::from_utf8(file(KEY)?).map_err(|_| AuthorityError::Unusable(key, "is no PEM".to_owned()))?;
    let certificate = file(CERTIFICATE)?;
    let (chain, roots) = (certificate.clone(), certificate.clone());
    Files { certificate, key: Zeroizing::new(text), chain, roots, revoked: vec![] }.into_authority(folder)
}

fn write_all(folder: &Path, files: &Files) -> io::Result<()> {
    create_folder(folder)?;
    write(&folder.join(CERTIFICATE), &files.certificate)?;
    write(&folder.join(KEY), files.key.as_bytes())
}

#[cfg(unix)]
fn create_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn create_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).create(path)
}

/// Writes a file that only its owner can read.
fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

#[cfg(unix)]
fn is_private(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;
    Ok(fs::metadata(path)?.permissions().mode() & 0o077 == 0)
}

#[cfg(not(unix))]
fn is_private(path: &Path) -> io::Result<bool> {
    fs::metadata(path).map(|_| true)
}
