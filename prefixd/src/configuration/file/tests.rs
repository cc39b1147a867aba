//! What is on disk at every moment of a replacement, and after every way in which it can fail.

use super::*;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

const OLD: &str = "# a comment\ncustomers: []\n";
const NEW: &str = "customers: []\n";

struct Place {
    dir: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("inventory.yaml");
        std::fs::write(&path, OLD).unwrap();
        std::fs::write(dir.path().join("inventory.yaml.bak"), "the one before that").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        Self { dir, path }
    }

    fn replace(&self, watch: Watch) -> Result<Replaced, ReplaceError> {
        replace(&self.path, &version(OLD), NEW.as_bytes(), watch)
    }

    fn files(&self) -> BTreeMap<String, String> {
        files(self.dir.path())
    }
}

/// Every file with its text.
fn files(dir: &Path) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let text = std::fs::read(entry.path()).unwrap();
            (
                entry.file_name().into_string().unwrap(),
                String::from_utf8(text).unwrap(),
            )
        })
        .collect()
}

fn unwatched() -> Watch {
    Box::new(|_| Ok(()))
}

/// Remembers the steps; fails at one of them.
fn recorded(fail_at: Option<(Step, Errno)>) -> (Watch, Arc<Mutex<Vec<Step>>>) {
    let steps = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&steps);
    let watch = Box::new(move |step| {
        seen.lock().unwrap().push(step);
        match fail_at {
            Some((at, errno)) if at == step => Err(errno.into()),
            _ => Ok(()),
        }
    });
    (watch, steps)
}

#[test]
fn the_new_one_is_there_whole_with_owner_and_mode_and_the_one_before_beside_it() {
    let place = Place::new();
    let before = std::fs::metadata(&place.path).unwrap();
    let replaced = place.replace(unwatched()).unwrap();
    assert_eq!(replaced.backup(), "inventory.yaml.bak");
    replaced.keep().unwrap();
    let expected = [("inventory.yaml", NEW), ("inventory.yaml.bak", OLD)];
    assert_eq!(
        place.files(),
        expected.map(|(name, text)| (name.into(), text.into())).into()
    );
    let after = std::fs::metadata(&place.path).unwrap();
    assert_eq!(
        (after.mode() & 0o7777, after.uid(), after.gid()),
        (0o640, before.uid(), before.gid())
    );
}

#[test]
fn it_is_synced_before_it_takes_the_name_and_the_name_before_anything_depends_on_it() {
    use Step::{Attributes, Backup, Create, Exchange, SyncDirectory, SyncFile, Write};
    let (watch, steps) = recorded(None);
    Place::new().replace(watch).unwrap().keep().unwrap();
    assert_eq!(
        *steps.lock().unwrap(),
        [
            Create,
            Write,
            Attributes,
            SyncFile,
            Exchange,
            SyncDirectory,
            Backup,
            SyncDirectory
        ]
    );
}

/// A crash leaves what is there before a step: looked at before every step, on both ways.
#[test]
fn a_crash_at_any_step_leaves_a_whole_file_and_the_one_before() {
    for can_exchange in [true, false] {
        let place = Place::new();
        let dir = place.dir.path().to_owned();
        let looked = Arc::new(Mutex::new(0));
        let count = Arc::clone(&looked);
        let watch = Box::new(move |step| {
            let files = files(&dir);
            let there = &files["inventory.yaml"];
            assert!([OLD, NEW].contains(&there.as_str()), "{step:?}: {files:?}");
            assert!(files.values().any(|text| text == OLD), "{step:?}: {files:?}");
            *count.lock().unwrap() += 1;
            match step {
                Step::Exchange if !can_exchange => Err(Errno::EINVAL.into()),
                _ => Ok(()),
            }
        });
        place.replace(watch).unwrap().keep().unwrap();
        assert_eq!(place.files().len(), 2, "{:?}", place.files());
        assert_eq!(place.files()["inventory.yaml.bak"], OLD);
        assert_eq!(*looked.lock().unwrap(), if can_exchange { 8 } else { 14 });
    }
}

#[test]
fn a_step_that_fails_changes_nothing_and_leaves_nothing_behind() {
    use Step::{Attributes, CopyBefore, Create, Exchange, Rename, SyncDirectory, SyncFile, Write};
    for step in [Create, Write, Attributes, SyncFile, Exchange, SyncDirectory] {
        let place = Place::new();
        let before = place.files();
        // The directory is synced once more when it is put back: that it fails again is said.
        let (watch, _) = recorded(Some((step, Errno::EIO)));
        let error = place.replace(watch).err().unwrap().to_string();
        assert!(error.contains("inventory.yaml"), "{step:?}: {error}");
        assert_eq!(place.files(), before, "{step:?}");
    }
    for step in [CopyBefore, Rename] {
        let place = Place::new();
        let before = place.files();
        let watch = Box::new(move |at| match at {
            Exchange => Err(Errno::EOPNOTSUPP.into()),
            at if at == step => Err(Errno::ENOSPC.into()),
            _ => Ok(()),
        });
        assert!(place.replace(watch).is_err());
        assert_eq!(place.files(), before, "{step:?}");
    }
}

#[test]
fn what_somebody_else_wrote_at_the_last_moment_stays() {
    for can_exchange in [true, false] {
        let place = Place::new();
        let dir = place.dir.path().to_owned();
        let watch = Box::new(move |step| {
            // As an editor does it: a new file renamed over the old one.
            if step == Step::Exchange {
                std::fs::write(dir.join("theirs"), "customers: [theirs]\n").unwrap();
                std::fs::rename(dir.join("theirs"), dir.join("inventory.yaml")).unwrap();
                if !can_exchange {
                    return Err(Errno::ENOSYS.into());
                }
            }
            Ok(())
        });
        let error = place.replace(watch).err().unwrap();
        assert!(
            matches!(&error, ReplaceError::Changed { found } if *found == version("customers: [theirs]\n")),
            "{error}"
        );
        let files = place.files();
        assert_eq!(files["inventory.yaml"], "customers: [theirs]\n");
        assert_eq!(files["inventory.yaml.bak"], "the one before that");
        assert_eq!(files.len(), 2, "{files:?}");
    }
}

#[test]
fn what_was_refused_is_put_back_and_the_backup_before_it_stays() {
    let place = Place::new();
    let before = place.files();
    place.replace(unwatched()).unwrap().put_back().unwrap();
    assert_eq!(place.files(), before);

    // Where nothing can be exchanged.
    let (watch, _) = recorded(Some((Step::PutBack, Errno::EINVAL)));
    place.replace(watch).unwrap().put_back().unwrap();
    assert_eq!(place.files(), before);

    // Somebody wrote once more: that stays, and the one before is named.
    let replaced = place.replace(unwatched()).unwrap();
    std::fs::write(&place.path, "customers: [theirs]\n").unwrap();
    let told = replaced.put_back().unwrap_err();
    let files = place.files();
    assert_eq!(files["inventory.yaml"], "customers: [theirs]\n");
    let (kept, _) = files.iter().find(|(_, text)| *text == OLD).unwrap();
    assert!(told.contains(kept.as_str()), "{told}: {kept}");
}

#[test]
fn another_version_is_not_replaced() {
    let place = Place::new();
    let before = place.files();
    let error = replace(&place.path, &version("other"), NEW.as_bytes(), unwatched());
    assert!(matches!(error, Err(ReplaceError::Changed { found }) if found == version(OLD)));
    assert_eq!(place.files(), before);
}

#[test]
fn a_link_is_not_replaced_and_it_is_said_where_it_leads() {
    let place = Place::new();
    let managed = place.dir.path().join("managed.yaml");
    std::fs::rename(&place.path, &managed).unwrap();
    std::os::unix::fs::symlink(&managed, &place.path).unwrap();
    let told = place.replace(unwatched()).err().unwrap().to_string();
    assert!(
        told.contains("symbolic link") && told.contains("managed.yaml"),
        "{told}"
    );
    assert!(place.path.is_symlink());

    std::fs::remove_file(&place.path).unwrap();
    std::fs::hard_link(&managed, &place.path).unwrap();
    let told = place.replace(unwatched()).err().unwrap().to_string();
    assert!(told.contains("2 names"), "{told}");
    assert_eq!(std::fs::read_to_string(&managed).unwrap(), OLD);
}

/// root may write everywhere, so the system's refusal is played.
#[test]
fn a_directory_that_takes_nothing_is_named() {
    for (errno, part) in [
        (Errno::EROFS, "Read-only file system"),
        (Errno::EACCES, "Permission denied"),
    ] {
        let place = Place::new();
        let (watch, _) = recorded(Some((Step::Create, errno)));
        let told = place.replace(watch).err().unwrap().to_string();
        assert!(
            told.contains("inventory.yaml cannot be replaced") && told.contains(part),
            "{told}"
        );
    }
}
