//! How the thread that commits writes SQLite's log: gathered, and synced without the times of the file.
//!
//! SQLite writes its log page by page, a call for 24 bytes and a call for the page: ninety calls for a commit of eight
//! events. And it syncs by fsync, which also writes down when the file was last changed. Here what follows on itself is
//! kept until SQLite syncs, reads or measures the log, written by one call, and synced by fdatasync: data, length, and
//! nothing else. What a commit promises is the same: SQLite shows a transaction to others only once its sync came back.
//!
//! Nothing may wait here once a transaction has ended: the place in the file is then another connection's. A commit ends with a
//! sync; and so that one that is given up has written nothing, the connection keeps its pages until it commits
//! ([`PRAGMAS`]), however many they are.
//!
//! Only the connection that commits opens its files by this layer, and of those only the log is changed. Everything else
//! is SQLite's own layer of the system, its locks included.
//!
//! The only module of the daemon with `unsafe`: SQLite asks a file by C. A file of ours is two in one allocation of
//! SQLite's, as long as [`sqlite3_vfs::szOsFile`] says: ours, then the one of SQLite's layer that it speaks to.

#![expect(unsafe_code, reason = "SQLite asks for files by C")]

use rusqlite::ffi::{
    self, SQLITE_ERROR, SQLITE_IOERR_FSYNC, SQLITE_OK, SQLITE_OPEN_WAL, sqlite3_file, sqlite3_io_methods,
    sqlite3_vfs,
};
use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

/// What to open a database by, once [`register`] said yes.
pub(super) const NAME: &CStr = c"prefixd-gathered-log";
/// What a connection of this layer has to be told.
pub(super) const PRAGMAS: &str = "PRAGMA cache_spill = OFF;";
/// Written at once, at most: SQLite's layer counts bytes by 17 bits. A usual commit is one or two of it.
const ROOM: usize = (1 << 17) - 1;

/// A log; SQLite knows it by its first field.
#[repr(C)]
struct Log {
    file: sqlite3_file,
    /// The same log as SQLite's layer has it open: the rest of our allocation.
    inner: *mut sqlite3_file,
    /// To sync it by; absent if it could not be opened once more.
    data: Option<File>,
    /// SQLite's layer has synced it once, which also makes the name of a new file last.
    is_named: bool,
    /// Written by SQLite and not yet by us.
    waiting: Vec<u8>,
    /// Where in the file that begins.
    at: i64,
}

/// Tells SQLite of the layer; once for the process.
///
/// # Errors
/// When SQLite has no layer of its own for this system, or does not take ours.
pub(super) fn register() -> rusqlite::Result<()> {
    static DONE: OnceLock<c_int> = OnceLock::new();
    let code = *DONE.get_or_init(|| {
        // SAFETY: SQLite initialises itself before it answers, and what it answers lives for as long as the process.
        let system = unsafe { ffi::sqlite3_vfs_find(std::ptr::null()) };
        if system.is_null() {
            return SQLITE_ERROR;
        }
        // SAFETY: as above; the description is made of plain values.
        let described = unsafe { std::ptr::read(system) };
        let size = size_of::<Log>().next_multiple_of(8);
        let own = sqlite3_vfs {
            // Tens of bytes.
            szOsFile: described.szOsFile + c_int::try_from(size).unwrap_or(c_int::MAX),
            pNext: std::ptr::null_mut(),
            zName: NAME.as_ptr(),
            pAppData: system.cast(),
            xOpen: Some(open),
            ..described
        };
        // SAFETY: it lives for as long as the process, as SQLite asks.
        unsafe { ffi::sqlite3_vfs_register(Box::leak(Box::new(own)), 0) }
    });
    if code == SQLITE_OK {
        Ok(())
    } else {
        let why = "SQLite does not take prefixd's way of writing its log".to_owned();
        Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(why)))
    }
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    // The first version: those that came later are asked of the database itself only.
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

/// Asks SQLite's layer; it has all the methods of its version.
macro_rules! inner {
    ($log:expr, $method:ident $(, $argument:expr)*) => {{
        let inner = (*$log).inner;
        match (*(*inner).pMethods).$method {
            Some(method) => method(inner $(, $argument)*),
            None => SQLITE_ERROR,
        }
    }};
}

// SAFETY of all that follows: SQLite calls a file's methods with that file, one at a time, between its opening and its
// closing, and with memory of the length it says. Every file with our methods was made by `open` and is a `Log`.

unsafe extern "C" fn open(
    layer: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    unsafe {
        // SQLite's layer looks at its own description to know how files are locked.
        let system = (*layer).pAppData.cast::<sqlite3_vfs>();
        let Some(open) = (*system).xOpen else {
            return SQLITE_ERROR;
        };
        if flags & SQLITE_OPEN_WAL == 0 {
            return open(system, name, file, flags, out_flags);
        }
        let inner = file
            .cast::<u8>()
            .add(size_of::<Log>().next_multiple_of(8))
            .cast::<sqlite3_file>();
        let code = open(system, name, inner, flags, out_flags);
        if (*inner).pMethods.is_null() {
            // Nothing is open, and SQLite will not close it.
            (*file).pMethods = std::ptr::null();
            return code;
        }
        file.cast::<Log>().write(Log {
            file: sqlite3_file { pMethods: &METHODS },
            inner,
            data: None,
            is_named: false,
            waiting: Vec::new(),
            at: 0,
        });
        if !name.is_null() {
            let path = Path::new(OsStr::from_bytes(CStr::from_ptr(name).to_bytes()));
            // Without it the log is synced as SQLite does.
            (*file.cast::<Log>()).data = File::open(path).ok();
        }
        code
    }
}

/// Writes what is waiting.
unsafe fn flush(log: *mut Log) -> c_int {
    unsafe {
        let waiting = &raw const (*log).waiting;
        if (*waiting).is_empty() {
            return SQLITE_OK;
        }
        let length = c_int::try_from((*waiting).len()).unwrap_or(c_int::MAX);
        let code = inner!(log, xWrite, (*waiting).as_ptr().cast(), length, (*log).at);
        // Also when it failed: SQLite is told, gives the transaction up and writes this place anew.
        (*log).waiting.clear();
        code
    }
}

/// Writes what is waiting, then asks SQLite's layer.
macro_rules! flushed {
    ($file:expr, $method:ident $(, $argument:expr)*) => {{
        let log = $file.cast::<Log>();
        match flush(log) {
            SQLITE_OK => inner!(log, $method $(, $argument)*),
            code => code,
        }
    }};
}

unsafe extern "C" fn write(file: *mut sqlite3_file, bytes: *const c_void, length: c_int, at: i64) -> c_int {
    unsafe {
        let log = file.cast::<Log>();
        let Ok(count) = usize::try_from(length) else {
            return SQLITE_ERROR;
        };
        let held = (*log).waiting.len();
        // No file is as long as an i64 counts.
        let follows = i64::try_from(held).is_ok_and(|held| (*log).at.checked_add(held) == Some(at));
        if !follows || held + count > ROOM {
            let code = flush(log);
            if code != SQLITE_OK {
                return code;
            }
            (*log).at = at;
        }
        (*log)
            .waiting
            .extend_from_slice(std::slice::from_raw_parts(bytes.cast::<u8>(), count));
        SQLITE_OK
    }
}

unsafe extern "C" fn sync(file: *mut sqlite3_file, flags: c_int) -> c_int {
    unsafe {
        let log = file.cast::<Log>();
        let code = flush(log);
        if code != SQLITE_OK {
            return code;
        }
        match &(*log).data {
            Some(data) if (*log).is_named => match data.sync_data() {
                Ok(()) => SQLITE_OK,
                Err(_) => SQLITE_IOERR_FSYNC,
            },
            _ => {
                let code = inner!(log, xSync, flags);
                (*log).is_named = code == SQLITE_OK;
                code
            }
        }
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    unsafe {
        let log = file.cast::<Log>();
        // What nobody synced belongs to a transaction that was given up. Its place in the file may be another's by now.
        let closed = inner!(log, xClose);
        log.drop_in_place();
        (*file).pMethods = std::ptr::null();
        closed
    }
}

unsafe extern "C" fn read(file: *mut sqlite3_file, bytes: *mut c_void, length: c_int, at: i64) -> c_int {
    unsafe { flushed!(file, xRead, bytes, length, at) }
}

unsafe extern "C" fn truncate(file: *mut sqlite3_file, length: i64) -> c_int {
    unsafe { flushed!(file, xTruncate, length) }
}

unsafe extern "C" fn size(file: *mut sqlite3_file, length: *mut i64) -> c_int {
    unsafe { flushed!(file, xFileSize, length) }
}

unsafe extern "C" fn control(file: *mut sqlite3_file, what: c_int, argument: *mut c_void) -> c_int {
    unsafe { flushed!(file, xFileControl, what, argument) }
}

unsafe extern "C" fn lock(file: *mut sqlite3_file, level: c_int) -> c_int {
    unsafe { inner!(file.cast::<Log>(), xLock, level) }
}

unsafe extern "C" fn unlock(file: *mut sqlite3_file, level: c_int) -> c_int {
    unsafe { inner!(file.cast::<Log>(), xUnlock, level) }
}

unsafe extern "C" fn check_reserved_lock(file: *mut sqlite3_file, is_locked: *mut c_int) -> c_int {
    unsafe { inner!(file.cast::<Log>(), xCheckReservedLock, is_locked) }
}

unsafe extern "C" fn sector_size(file: *mut sqlite3_file) -> c_int {
    unsafe { inner!(file.cast::<Log>(), xSectorSize) }
}

unsafe extern "C" fn characteristics(file: *mut sqlite3_file) -> c_int {
    unsafe { inner!(file.cast::<Log>(), xDeviceCharacteristics) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::{Connection, OpenFlags};
    use std::path::PathBuf;

    const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_CREATE);

    fn gathered(path: &Path) -> Connection {
        register().unwrap();
        let connection = Connection::open_with_flags_and_vfs(path, FLAGS, NAME).unwrap();
        connection.execute_batch(PRAGMAS).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;
                 CREATE TABLE IF NOT EXISTS rows (id INTEGER PRIMARY KEY, body TEXT NOT NULL);",
            )
            .unwrap();
        connection
    }

    fn insert(connection: &Connection, rows: std::ops::Range<u32>) {
        let body = "x".repeat(1_500);
        for id in rows {
            connection
                .prepare_cached("INSERT INTO rows VALUES (?1, ?2)")
                .unwrap()
                .execute((id, &body))
                .unwrap();
        }
    }

    fn count(connection: &Connection) -> u32 {
        connection
            .query_row("SELECT COUNT(*) FROM rows", [], |row| row.get(0))
            .unwrap()
    }

    fn is_intact(connection: &Connection) {
        let said: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(said, "ok");
    }

    /// Calls that wrote something, by this thread.
    fn writes() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("syscw: "))
            .unwrap();
        line.parse().unwrap()
    }

    /// The files as a crash would leave them, opened by SQLite's own layer.
    fn after_a_crash(path: &Path) -> (tempfile::TempDir, Connection) {
        let dir = tempfile::tempdir().unwrap();
        let copy = dir.path().join("copy.db");
        let log = |path: &Path| PathBuf::from(format!("{}-wal", path.display()));
        std::fs::copy(path, &copy).unwrap();
        std::fs::copy(log(path), log(&copy)).unwrap();
        let connection = Connection::open(copy).unwrap();
        is_intact(&connection);
        (dir, connection)
    }

    #[test]
    fn a_commit_is_in_the_file_when_it_returns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let connection = gathered(&path);
        for round in 0..5 {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            insert(&connection, round * 20..(round + 1) * 20);
            connection.execute_batch("COMMIT").unwrap();
            let (_dir, copy) = after_a_crash(&path);
            assert_eq!(count(&copy), (round + 1) * 20);
        }
        // Another connection of the process sees the same, over the log and its index.
        assert_eq!(count(&Connection::open(&path).unwrap()), 100);
    }

    #[test]
    fn a_commit_is_few_calls() {
        let dir = tempfile::tempdir().unwrap();
        let connection = gathered(&dir.path().join("a.db"));
        insert(&connection, 0..1);
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        insert(&connection, 1..101);
        let before = writes();
        connection.execute_batch("COMMIT").unwrap();
        // Fifty pages of 4 KiB and their heads, up to 128 KiB by a call.
        let calls = writes() - before;
        assert!((1..=4).contains(&calls), "{calls} calls");
    }

    #[test]
    fn what_outgrows_the_cache_waits_for_its_commit_and_leaves_nothing_when_it_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let connection = gathered(&path);
        connection.execute_batch("PRAGMA cache_size = 10").unwrap();
        insert(&connection, 0..10);
        let other = Connection::open(&path).unwrap();
        other.execute_batch("PRAGMA wal_autocheckpoint = 0").unwrap();
        let mut there = 10;
        for end in ["ROLLBACK", "COMMIT", "ROLLBACK"] {
            connection.execute_batch("BEGIN IMMEDIATE").unwrap();
            let before = writes();
            insert(&connection, 10_000..11_000);
            connection
                .execute_batch("UPDATE rows SET body = body || 'y' WHERE id % 7 = 0")
                .unwrap();
            assert_eq!(count(&connection), there + 1_000);
            assert_eq!(writes(), before, "nothing is in the log before its commit");
            connection.execute_batch(end).unwrap();
            if end == "COMMIT" {
                connection
                    .execute_batch("DELETE FROM rows WHERE id >= 10000")
                    .unwrap();
            }
            // Another connection goes on at the same place of the log, and then this one.
            insert(&other, there..there + 300);
            insert(&connection, there + 300..there + 301);
            there += 301;
            let (_dir, copy) = after_a_crash(&path);
            assert_eq!(count(&copy), there);
            is_intact(&other);
        }
    }

    #[test]
    fn a_log_that_begins_anew_or_is_closed_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let connection = gathered(&path);
        insert(&connection, 0..200);
        let moved = |connection: &Connection| {
            connection
                .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
                .unwrap();
        };
        moved(&connection);
        insert(&connection, 200..250);
        let (_dir, copy) = after_a_crash(&path);
        assert_eq!(count(&copy), 250);
        // By another connection, beside the one that writes.
        let other = Connection::open(&path).unwrap();
        moved(&other);
        insert(&connection, 250..300);
        connection.close().unwrap();
        is_intact(&other);
        assert_eq!(count(&other), 300);
        drop(other);
        assert_eq!(count(&gathered(&path)), 300);
    }

    #[test]
    fn what_cannot_be_opened_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        register().unwrap();
        let missing = dir.path().join("none").join("a.db");
        assert!(Connection::open_with_flags_and_vfs(missing, FLAGS, NAME).is_err());
        // The log itself: a directory has its name.
        let path = dir.path().join("a.db");
        drop(gathered(&path));
        std::fs::create_dir(dir.path().join("a.db-wal")).unwrap();
        let connection = Connection::open_with_flags_and_vfs(&path, FLAGS, NAME).unwrap();
        assert!(
            connection
                .execute_batch("INSERT INTO rows VALUES (1, '')")
                .is_err()
        );
    }
}
