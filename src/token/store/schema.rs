//! The tables, and what SQLite's answers mean in the standard's terms.

use super::files::{APPLICATION_ID, FORMAT};
use crate::error::{Error, Result, fail};
use cryptoki_sys::*;
use rusqlite::{Connection, ErrorCode};

/// One statement a table. Revisions are given once in a store, so that what is new lies at the end
/// of its table, and an index finds an object by its name.
const TABLES: [(&str, &str); 3] = [
    (
        "store",
        "CREATE TABLE store (one INTEGER PRIMARY KEY, key BLOB NOT NULL, state BLOB NOT NULL)",
    ),
    (
        "object",
        "CREATE TABLE object (revision INTEGER PRIMARY KEY, slot INTEGER NOT NULL, id BLOB NOT NULL \
         UNIQUE, private INTEGER NOT NULL, body BLOB NOT NULL, secrets BLOB NOT NULL)",
    ),
    (
        "removed",
        "CREATE TABLE removed (revision INTEGER PRIMARY KEY, slot INTEGER NOT NULL, id BLOB NOT NULL)",
    ),
];

/// Lays the tables out in an empty database, with one row in `store`.
pub(super) fn create(connection: &Connection, key: &[u8], state: &[u8]) -> Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", FORMAT)?;
    for (_, table) in TABLES {
        connection.execute(table, [])?;
    }
    connection.execute("INSERT INTO store VALUES (1, ?1, ?2)", (key, state))?;
    Ok(())
}

/// Refuses a database that has other tables, or anything besides tables.
pub(super) fn check(connection: &Connection) -> Result<()> {
    let mut found = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY rowid")?;
    let mut rows = found.query([])?;
    for table in TABLES {
        let row = rows.next()?.map(|row| -> rusqlite::Result<bool> {
            Ok((row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?) == table)
        });
        if !row.transpose()?.unwrap_or(false) {
            return fail!(
                CKR_DEVICE_ERROR,
                "its tables are not a store's: restore a backup"
            );
        }
    }
    match rows.next()? {
        None => Ok(()),
        Some(_) => fail!(
            CKR_DEVICE_ERROR,
            "it has more in it than a store's tables: restore a backup"
        ),
    }
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let (rv, advice) = match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => (CKR_DEVICE_MEMORY, "the disk is full"),
            Some(ErrorCode::SystemIoFailure) if is_full(&error) => {
                (CKR_DEVICE_MEMORY, "the disk is full")
            }
            Some(ErrorCode::ReadOnly) => (CKR_TOKEN_WRITE_PROTECTED, "it can only be read"),
            Some(ErrorCode::OutOfMemory) => (CKR_HOST_MEMORY, "no memory"),
            // The last: a reader waited in vain for a writer in the middle of the log's header.
            Some(
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed,
            ) => (
                CKR_FUNCTION_FAILED,
                "another process holds its lock: try again",
            ),
            Some(ErrorCode::SystemIoFailure) => (
                CKR_DEVICE_ERROR,
                "the disk or file system failed: see the system log",
            ),
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
                (CKR_DEVICE_ERROR, "it cannot be opened")
            }
            _ => (CKR_DEVICE_ERROR, "it is damaged: restore a backup"),
        };
        Error::new(rv, format!("{advice} (SQLite: {error})"))
    }
}

/// Room for the index of the log is asked for apart from room for the log.
fn is_full(error: &rusqlite::Error) -> bool {
    error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}
