//! Replacing a file of the configuration: whole or not at all, and never over what somebody else wrote meanwhile.
//!
//! ```text
//!   write NEW beside it, sync  ->  exchange NEW and the file  ->  what was exchanged is what was expected?
//!   then, when it is in force:   the one before becomes FILE.bak
//!   or, when it was refused:     exchanged back
//! ```
//!
//! At every moment the file's name has one whole version, the one before or the new one, and the one before is still there
//! under some name. A crash in between leaves `.FILE.*.prefixd`, which holds the other of the two.

use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat2};
use prefixd_api::config::version;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use tracing::warn;
use uuid::Uuid;

/// What the one before is called afterwards: the file's name and this.
pub(super) const BACKUP: &str = ".bak";

/// Why a file was not replaced. It is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReplaceError {
    /// Somebody else replaced it.
    #[error("it was changed on disk at this moment")]
    Changed {
        /// The version that it has now.
        found: String,
    },
    /// It is of a kind that is not replaced.
    #[error("{0}")]
    Refused(String),
    /// The system does not let us.
    #[error("{what}: {error}")]
    System {
        /// What failed.
        what: String,
        /// How.
        error: io::Error,
    },
}

/// What is done to the disk, in order. A test looks at the directory before each, as a crash would leave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Create,
    Write,
    Attributes,
    SyncFile,
    Exchange,
    /// Where the file system cannot exchange: the one before is written again under another name,
    CopyBefore,
    /// and the new one is renamed over it.
    Rename,
    SyncDirectory,
    Backup,
    PutBack,
}

/// Told of each step before it is done; an error is the step's.
pub(super) type Watch = Box<dyn FnMut(Step) -> io::Result<()> + Send>;

/// A file that was replaced, until it is known whether that stays.
pub(super) struct Replaced {
    path: PathBuf,
    directory: File,
    /// Holds the version before.
    before: PathBuf,
    /// The version that is there now.
    new: String,
    watch: Watch,
}

/// The file as it is.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path)
}

/// Replaces a file that has the `expected` version.
///
/// # Errors
/// See [`ReplaceError`].
pub(super) fn replace(
    path: &Path,
    expected: &str,
    text: &[u8],
    mut watch: Watch,
) -> Result<Replaced, ReplaceError> {
    let failed = |what: &str| {
        let what = format!("{} cannot be {what}", path.display());
        move |error: io::Error| ReplaceError::System { what, error }
    };
    let current = std::fs::symlink_metadata(path).map_err(failed("read"))?;
    is_plain(path, &current)?;
    let found = read(path).map_err(failed("read"))?;
    unchanged(&found, expected)?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let directory = File::open(directory).map_err(failed("replaced"))?;
    let new = beside(path);
    if let Err(error) = write_beside(&new, &current, text, &mut watch) {
        remove(&new);
        return Err(error.of(path));
    }
    let before = swap(path, &new, &current, expected, &mut watch).map_err(|error| error.of(path))?;
    let mut replaced = Replaced {
        path: path.to_owned(),
        directory,
        before,
        new: version(text),
        watch,
    };
    match replaced.sync() {
        Ok(()) => Ok(replaced),
        Err(error) => {
            let what = match replaced.put_back() {
                Ok(()) => format!("{} cannot be synced to disk and was put back", path.display()),
                Err(told) => told,
            };
            Err(ReplaceError::System { what, error })
        }
    }
}

/// What is a link is somebody else's to replace.
fn is_plain(path: &Path, current: &Metadata) -> Result<(), ReplaceError> {
    let name = path.display();
    if current.file_type().is_symlink() {
        let target = std::fs::read_link(path).unwrap_or_default();
        return Err(ReplaceError::Refused(format!(
            "{name} is a symbolic link to {}, and prefixd does not replace what others manage: change it there, then reload",
            target.display()
        )));
    }
    if !current.is_file() || current.nlink() != 1 {
        return Err(ReplaceError::Refused(format!(
            "{name} is no file of its own (it has {} names), and replacing it would take it from under the others: change it \
             on the machine, then reload",
            current.nlink()
        )));
    }
    Ok(())
}

fn unchanged(text: &[u8], expected: &str) -> Result<(), ReplaceError> {
    match version(text) {
        found if found == expected => Ok(()),
        found => Err(ReplaceError::Changed { found }),
    }
}

/// A name in the same directory that nobody has.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}.prefixd", Uuid::now_v7().simple()))
}

/// Of the system; [`ReplaceError::of`] says of which file.
fn system(error: io::Error) -> ReplaceError {
    ReplaceError::System {
        what: String::new(),
        error,
    }
}

impl ReplaceError {
    fn of(self, path: &Path) -> Self {
        match self {
            Self::System { what, error } if what.is_empty() => Self::System {
                what: format!("{} cannot be replaced", path.display()),
                error,
            },
            other => other,
        }
    }
}

/// Writes a whole file with the owner and mode of another, and syncs it.
fn write_beside(new: &Path, like: &Metadata, text: &[u8], watch: &mut Watch) -> Result<(), ReplaceError> {
    watch(Step::Create).map_err(system)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(new)
        .map_err(system)?;
    watch(Step::Write)
        .and_then(|()| file.write_all(text))
        .map_err(system)?;
    watch(Step::Attributes).map_err(system)?;
    let made = file.metadata().map_err(system)?;
    let other = |ours: u32, theirs: u32| (ours != theirs).then_some(theirs);
    let (owner, group) = (other(made.uid(), like.uid()), other(made.gid(), like.gid()));
    if (owner, group) != (None, None) {
        fchown(&file, owner, group).map_err(|error| {
            ReplaceError::Refused(format!(
                "the file belongs to user {} and group {}, and prefixd (user {}) cannot make its successor so: {error}. Give it \
                 to prefixd's user, or change it on the machine, then reload",
                like.uid(),
                like.gid(),
                made.uid()
            ))
        })?;
    }
    let mode = std::fs::Permissions::from_mode(like.mode() & 0o7777);
    file.set_permissions(mode).map_err(system)?;
    watch(Step::SyncFile)
        .and_then(|()| file.sync_all())
        .map_err(system)
}

/// Brings the new file to its place and answers where the one before is. After a failure `new` is gone, unless it holds what
/// somebody else wrote.
fn swap(
    path: &Path,
    new: &Path,
    current: &Metadata,
    expected: &str,
    watch: &mut Watch,
) -> Result<PathBuf, ReplaceError> {
    match watch(Step::Exchange).and_then(|()| exchange(path, new)) {
        Ok(()) => {
            let Err(error) = is_the_one(path, new, expected) else {
                return Ok(new.to_owned());
            };
            // Somebody's rename came between the look and the exchange: theirs goes back to its place.
            match exchange(path, new) {
                Ok(()) => remove(new),
                Err(error) => {
                    warn!(%error, file = %path.display(), kept = %new.display(), "what somebody else wrote could not be put back");
                }
            }
            Err(error)
        }
        Err(error) if cannot_exchange(&error) => {
            let before = beside(path);
            let swapped = swap_by_copy(path, new, &before, current, expected, watch);
            if swapped.is_err() {
                remove(&before);
                remove(new);
            }
            swapped.map(|()| before)
        }
        Err(error) => {
            remove(new);
            Err(system(error))
        }
    }
}

/// Whether what was exchanged is what was expected to be there.
fn is_the_one(path: &Path, displaced: &Path, expected: &str) -> Result<(), ReplaceError> {
    let found = std::fs::symlink_metadata(displaced).map_err(system)?;
    is_plain(path, &found)?;
    unchanged(&read(displaced).map_err(system)?, expected)
}

/// Without an exchange a rename of somebody else between the last look and ours is lost; that is as good as it gets there.
fn swap_by_copy(
    path: &Path,
    new: &Path,
    before: &Path,
    current: &Metadata,
    expected: &str,
    watch: &mut Watch,
) -> Result<(), ReplaceError> {
    watch(Step::CopyBefore).map_err(system)?;
    let text = read(path).map_err(system)?;
    write_beside(before, current, &text, watch)?;
    is_the_one(path, path, expected)?;
    unchanged(&text, expected)?;
    watch(Step::Rename)
        .and_then(|()| std::fs::rename(new, path))
        .map_err(system)
}

fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    let here = nix::fcntl::AT_FDCWD;
    renameat2(here, one, here, other, RenameFlags::RENAME_EXCHANGE).map_err(io::Error::from)
}

/// NFS and some others.
fn cannot_exchange(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP))
}

/// What is left over is no harm: the name says whose it is.
fn remove(path: &Path) {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            warn!(%error, file = %path.display(), "a temporary file stays behind; it can be removed");
        }
        _ => {}
    }
}

impl Replaced {
    fn sync(&mut self) -> io::Result<()> {
        (self.watch)(Step::SyncDirectory)?;
        self.directory.sync_all()
    }

    /// What the one before will be called.
    pub(super) fn backup(&self) -> String {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        format!("{name}{BACKUP}")
    }

    /// It stays: the one before becomes the backup.
    pub(super) fn keep(mut self) -> io::Result<()> {
        (self.watch)(Step::Backup)?;
        std::fs::rename(&self.before, self.path.with_file_name(self.backup()))?;
        self.sync()
    }

    /// It does not stay: the one before comes back to its place, and the backup before it stays. What somebody else wrote
    /// meanwhile stays as well.
    ///
    /// # Errors
    /// What is where, for a person.
    pub(super) fn put_back(mut self) -> Result<(), String> {
        let (file, kept) = (self.path.display().to_string(), self.before.display().to_string());
        let failed = |error: io::Error| {
            format!(
                "{file} could not be put back: {error}. The version before is in {kept}: put it back before prefixd restarts"
            )
        };
        let stays =
            || format!("{file} was changed on disk once more and stays so; the version before is in {kept}");
        let is_ours = |path: &Path| read(path).map(|text| version(text) == self.new);
        if !is_ours(&self.path).map_err(failed)? {
            return Err(stays());
        }
        match (self.watch)(Step::PutBack).and_then(|()| exchange(&self.path, &self.before)) {
            Ok(()) if is_ours(&self.before).map_err(failed)? => remove(&self.before),
            Ok(()) => {
                exchange(&self.path, &self.before).map_err(failed)?;
                return Err(stays());
            }
            Err(error) if cannot_exchange(&error) => {
                std::fs::rename(&self.before, &self.path).map_err(failed)?;
            }
            Err(error) => return Err(failed(error)),
        }
        self.sync().map_err(|error| {
            format!("{file} was put back, and its directory cannot be synced to disk: {error}")
        })
    }
}

#[cfg(test)]
mod tests;
