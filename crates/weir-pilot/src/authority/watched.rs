//! An authority whose folder may change: what was revoked, a new root, a new key. What does not fit together is said, and the last one
//! that did goes on.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Authority, AuthorityError, Followed, Succession, folder};

/// So often it is looked at.
const PACE: Duration = Duration::from_secs(5);

/// Tells versions of a file apart without reading it: its device, number, length and last change. None if it is not there.
pub(super) type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// The files of an authority's folder, as far as they can be told apart without reading them.
pub(super) type Stamps = Vec<Stamp>;

/// A folder whose authority is in force.
struct Folder {
    path: PathBuf,
    /// As it was when the authority in it was last read.
    read: Stamps,
    /// As it was at the last look.
    seen: Stamps,
}

/// Follows what changes in an authority's folder, if it has one, for as long as somebody looks.
pub(super) fn follow(authority: Authority) -> Followed {
    let folder = authority.folder.clone().map(|(path, read)| Folder::new(path, read));
    let (succession, followed) = authority.succeed();
    if let Some(folder) = folder {
        tokio::spawn(look(folder, succession));
    }
    followed
}

async fn look(mut folder: Folder, succession: Succession) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(PACE) => {}
            () = succession.closed() => return,
        }
        let looked = tokio::task::spawn_blocking(move || {
            let changed = folder.changed();
            (folder, changed)
        });
        let Ok((again, changed)) = looked.await else { return };
        folder = again;
        if let Some(authority) = changed {
            succession.replace(authority, &folder.path);
        }
    }
}

impl Folder {
    fn new(path: PathBuf, read: Stamps) -> Self {
        Self { seen: read.clone(), read, path }
    }

    /// The authority in it, if that is another one than before and can be used.
    fn changed(&mut self) -> Option<Authority> {
        let now = stamps(&self.path);
        // Somebody may be about to write the next file, or half of this one is there: it has to stay the same for two looks.
        let is_settled = std::mem::replace(&mut self.seen, now.clone()) == now;
        if now == self.read || !is_settled {
            return None;
        }
        // Looked at before it is read: what is written meanwhile is seen the next time.
        self.read = now;
        let shown = self.path.display();
        match Authority::of_folder(&self.path) {
            Ok(authority) => {
                tracing::info!("{shown}: the authority has changed, and is in force as it is now");
                Some(authority)
            }
            Err(error) => {
                if may_pass(&error) {
                    self.read = vec![];
                }
                tracing::error!("{shown}: the authority has changed and cannot be used, the last one goes on: {error}");
                None
            }
        }
    }
}

/// Whether it may be otherwise the next time though nothing in the folder has changed.
fn may_pass(error: &AuthorityError) -> bool {
    let stays = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
    matches!(error, AuthorityError::File(_, error) if !stays(error.kind()))
}

/// How a folder is now.
pub(super) fn stamps(folder: &Path) -> Stamps {
    let stamp = |name: &&str| {
        let found = fs::metadata(folder.join(name)).ok()?;
        Some((found.dev(), found.ino(), found.len(), found.ctime(), found.ctime_nsec()))
    };
    folder::FILES.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::folder as made;
    use super::*;

    #[test]
    fn what_changes_in_the_folder_is_in_force_once_it_fits_together() {
        let (own, other) = (made([None; 2]), made([None; 2]));
        let mut folder = Folder::new(own.path().to_owned(), stamps(own.path()));
        let copy = |name: &str| assert!(fs::copy(other.path().join(name), own.path().join(name)).unwrap() > 0);
        assert!(folder.changed().is_none(), "nothing has changed");
        ["ca-cert.pem", "cert-chain.pem", "root-cert.pem"].into_iter().for_each(copy);
        assert!(folder.changed().is_none(), "it may be in the middle of a change");
        assert!(folder.changed().is_none(), "the key is still the old one");
        copy("ca-key.pem");
        assert!(folder.changed().is_none(), "it may be in the middle of a change");
        let now = folder.changed().unwrap();
        assert_eq!(now.roots, Authority::of_folder(other.path()).unwrap().roots);
        assert!(folder.changed().is_none());
    }
}
