//! Files and folders that are their owner's alone.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::AuthorityError;

/// What anybody but the owner may do with a file; what they may change.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;

/// Makes a folder, and what is above it. One that is there must be ours: whoever else could write to it could put his key there.
pub(super) fn folder(path: &Path) -> Result<(), AuthorityError> {
    let failed = |error| AuthorityError::File(path.to_owned(), error);
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    let found = fs::metadata(path).map_err(failed)?;
    if !is_ours(&found) {
        return Err(AuthorityError::Unusable(path.to_owned(), "it belongs to another user".to_owned()));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(AuthorityError::Unusable(path.to_owned(), "others may write to it: chmod 700".to_owned()));
    }
    Ok(())
}

/// Keeps other processes out of a folder for as long as what is returned is there: of two that start at once, one makes what the
/// other finds.
pub(super) fn lock(folder: &Path) -> Result<File, AuthorityError> {
    let locked = File::open(folder).and_then(|opened| opened.lock().map(|()| opened));
    locked.map_err(|error| AuthorityError::File(folder.to_owned(), error))
}

/// Reads a file that must be ours, and nobody else's to read. It is looked at when it is open: nobody exchanges it in between.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, AuthorityError> {
    let failed = |error| AuthorityError::File(path.to_owned(), error);
    let unusable = |reason: &str| AuthorityError::Unusable(path.to_owned(), reason.to_owned());
    let no_link = i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let mut file = OpenOptions::new().read(true).custom_flags(no_link).open(path).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() || !is_ours(&found) {
        return Err(unusable("it is not a file of this user"));
    }
    if found.mode() & OTHERS != 0 {
        return Err(unusable("others may read it: chmod 600"));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// Writes a file that must not be there yet, and waits until the disk has it.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// The same, but nobody ever finds a part of it.
pub(super) fn put_new(path: &Path, content: &[u8]) -> io::Result<()> {
    const MADE: &str = "made";
    let beside = temporary(path)?;
    let made = write_new(&beside.join(MADE), content).and_then(|()| fs::rename(beside.join(MADE), path));
    let made = made.and_then(|()| path.parent().map_or(Ok(()), sync));
    let cleaned = fs::remove_dir_all(&beside);
    made.and(cleaned)
}

/// Makes an empty folder beside what it will become. Nobody can have guessed its name.
pub(super) fn temporary(beside: &Path) -> io::Result<PathBuf> {
    let mut name = beside.as_os_str().to_owned();
    name.push(format!(".{}", random_hex::<8>()?.as_str()));
    let path = PathBuf::from(name);
    DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

/// Waits until the disk has the names in a folder.
pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// So many random bytes, as digits.
pub(super) fn random_hex<const BYTES: usize>() -> io::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    aws_lc_rs::rand::fill(&mut *bytes).map_err(|_| io::Error::other("the system has no randomness"))?;
    Ok(Zeroizing::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
}

fn is_ours(found: &fs::Metadata) -> bool {
    found.uid() == rustix::process::geteuid().as_raw()
}
