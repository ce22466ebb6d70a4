//! The store's directory and files: names, who may have them, and how they come to be.
//!
//! A store in a directory or file that somebody else could have planted is refused. Who may only
//! read it (a signing process under another uid, a read-only file system) reads it.

use crate::error::{Error, Result, fail};
use cryptoki_sys::*;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// `PRAGMA application_id` of the store's database: "nTok".
pub(super) const APPLICATION_ID: u32 = 0x6e54_6f6b;
/// `PRAGMA user_version`: the layout that this code reads and writes.
pub(super) const FORMAT: u32 = 1;

const SQLITE_HEADER_LEN: usize = 100;

/// Which file a path led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of a file's metadata.
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A database that was found and may be used.
pub(super) struct Found {
    /// Which file it is.
    pub(super) identity: Identity,
    /// Its directory, and so it too, is somebody else's: only to be read.
    pub(super) foreign: bool,
}

/// The paths of a store.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// The database's name.
    name: &'static str,
}

impl Files {
    /// Of the store in `directory` whose database is called `name`.
    pub(super) fn new(directory: &Path, name: &'static str) -> Self {
        Self {
            directory: directory.to_owned(),
            name,
        }
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.directory.join(self.name)
    }

    /// A file beside the database: `-wal`, `-shm`, `-stamp`, `-new`, ….
    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        self.directory.join(format!("{}{suffix}", self.name))
    }

    /// The database under a path without symbolic links, as SQLite wants it to refuse them.
    pub(super) fn resolved_database(&self) -> Result<PathBuf> {
        match fs::canonicalize(&self.directory) {
            Ok(directory) => Ok(directory.join(self.name)),
            Err(error) => Err(io_trouble("resolve", &self.directory, &error)),
        }
    }

    /// Which database there is now; cheap.
    pub(super) fn identity(&self) -> Result<Option<Identity>> {
        Ok(metadata(&self.database())?.map(|found| Identity::of(&found)))
    }

    /// Looks at the directory and at every file; `None` where there is no database.
    pub(super) fn inspect(&self) -> Result<Option<Found>> {
        let Some(directory) = metadata(&self.directory)? else {
            return Ok(None);
        };
        let foreign = self.inspect_directory(&directory)?;
        let Some(database) = metadata(&self.database())? else {
            return Ok(None);
        };
        inspect_file(&self.database(), &database, &directory)?;
        Ok(Some(Found {
            identity: Identity::of(&database),
            foreign,
        }))
    }

    /// Whether the directory is somebody else's; it and what lies there beside the database are
    /// such that nobody but its owner can have made them.
    fn inspect_directory(&self, directory: &Metadata) -> Result<bool> {
        let path = self.directory.display();
        if directory.is_symlink() || !directory.is_dir() {
            return fail!(
                CKR_DEVICE_ERROR,
                "{path} is not a directory (a symbolic link is refused): name the directory itself"
            );
        }
        private(&self.directory, directory, "0700")?;
        let foreign = is_foreign(&self.directory, directory)?;
        for suffix in ["-wal", "-shm", "-stamp"] {
            let path = self.beside(suffix);
            if let Some(file) = metadata(&path)? {
                inspect_file(&path, &file, directory)?;
            }
        }
        Ok(foreign)
    }

    /// Whether nothing but the database can be there: no log, and no way to make one.
    pub(super) fn is_lone_copy(&self) -> bool {
        let log = fs::metadata(self.beside("-wal"));
        let denied = rustix::fs::accessat(
            rustix::fs::CWD,
            &self.directory,
            rustix::fs::Access::WRITE_OK,
            rustix::fs::AtFlags::EACCESS,
        )
        .is_err();
        denied && log.map_or(true, |log| log.len() == 0)
    }

    /// Reads the header of the database before anything that could write to it opens it:
    /// `CKR_DEVICE_ERROR` for anything that is not a store of this layout.
    pub(super) fn check_header(&self, identity: Identity) -> Result<()> {
        let path = self.database();
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(&path)
            .map_err(|error| io_trouble("open", &path, &error))?;
        let opened = file
            .metadata()
            .map_err(|error| io_trouble("look at", &path, &error))?;
        if Identity::of(&opened) != identity {
            return fail!(
                CKR_DEVICE_ERROR,
                "{} was replaced while it was opened: try again",
                path.display()
            );
        }
        let mut header = [0; SQLITE_HEADER_LEN];
        match file.read_exact(&mut header) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(not_a_store(&path));
            }
            Err(error) => return Err(io_trouble("read", &path, &error)),
        }
        // SQLite file format 1.3: magic, write and read version (2: WAL), user version, application.
        let number = |at: usize| {
            let bytes = header.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map(|bytes| u32::from_be_bytes(*bytes))
        };
        let magic = header.starts_with(b"SQLite format 3\0");
        if !magic || number(68) != Some(APPLICATION_ID) {
            return Err(not_a_store(&path));
        }
        match number(60) {
            Some(FORMAT) => {}
            Some(newer) if newer > FORMAT => {
                return fail!(
                    CKR_DEVICE_ERROR,
                    "{} has layout {newer}, newer than this module's {FORMAT}: update the module",
                    path.display()
                );
            }
            _ => return Err(not_a_store(&path)),
        }
        if header.get(18..20) != Some(&[2, 2]) {
            return Err(not_a_store(&path));
        }
        Ok(())
    }

    /// Makes the directory, 0700 whatever the umask, and looks at it.
    pub(super) fn make_directory(&self) -> Result<()> {
        let trouble = |error: &io::Error| io_trouble("make", &self.directory, error);
        if metadata(&self.directory)?.is_none() {
            match DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&self.directory)
            {
                Ok(()) => {
                    fs::set_permissions(&self.directory, Permissions::from_mode(0o700))
                        .map_err(|error| trouble(&error))?;
                    if let Some(parent) = self.directory.parent() {
                        sync_directory(parent)?;
                    }
                }
                Err(error) => return Err(trouble(&error)),
            }
        }
        let Some(directory) = metadata(&self.directory)? else {
            return fail!(CKR_DEVICE_ERROR, "{} is gone", self.directory.display());
        };
        if self.inspect_directory(&directory)? {
            return fail!(
                CKR_TOKEN_WRITE_PROTECTED,
                "{} belongs to another user",
                self.directory.display()
            );
        }
        Ok(())
    }

    /// Makes names in the directory durable.
    pub(super) fn sync(&self) -> Result<()> {
        sync_directory(&self.directory)
    }
}

/// A new file, 0600 whatever the umask; fails where there is one.
pub(super) fn create_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Removes a file that may not be there.
pub(super) fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(io_trouble("remove", path, &error))
        }
        _ => Ok(()),
    }
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|error| io_trouble("sync", path, &error))
}

fn metadata(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_trouble("look at", path, &error)),
    }
}

/// Refuses a file that another than the owner of its directory may have made or can change.
fn inspect_file(path: &Path, file: &Metadata, directory: &Metadata) -> Result<()> {
    let shown = path.display();
    if !file.is_file() {
        return fail!(
            CKR_DEVICE_ERROR,
            "{shown} is not a regular file (a symbolic link is refused)"
        );
    }
    if file.nlink() > 1 {
        return fail!(
            CKR_DEVICE_ERROR,
            "{shown} has {} names (hard links): copy it to a file of its own",
            file.nlink()
        );
    }
    let (owner, expected) = (file.uid(), directory.uid());
    if owner != expected {
        return fail!(
            CKR_DEVICE_ERROR,
            "{shown} belongs to user {owner}, its directory to user {expected}: remove it, or chown \
             it if it was not planted"
        );
    }
    private(path, file, "0600")
}

/// Refuses what its group or everybody may write to; `proper` is the mode to give it.
fn private(path: &Path, metadata: &Metadata, proper: &str) -> Result<()> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 == 0 {
        return Ok(());
    }
    fail!(
        CKR_DEVICE_ERROR,
        "others may write to {} (mode {mode:04o}): chmod {proper} it, if nothing in it was planted",
        path.display()
    )
}

/// Whether a directory is owned by another user than root and this process's.
///
/// Such a store is only read. Where this process is root it is refused: root can write to
/// everything, and would follow whatever its owner laid out.
fn is_foreign(path: &Path, metadata: &Metadata) -> Result<bool> {
    let owner = metadata.uid();
    if owner == 0 {
        return Ok(false);
    }
    let own = rustix::process::geteuid().as_raw();
    if own == 0 {
        return fail!(
            CKR_DEVICE_ERROR,
            "{} belongs to user {owner}, and this process is root: run as that user, or chown it",
            path.display()
        );
    }
    Ok(owner != own)
}

fn not_a_store(path: &Path) -> Error {
    Error::new(
        CKR_DEVICE_ERROR,
        format!(
            "{} is not a nodetoken store, or is damaged; it was left as it is: restore a backup, \
             or name another directory",
            path.display()
        ),
    )
}

/// A file operation that failed, under the standard's code for the cause.
pub(super) fn io_trouble(doing: &str, path: &Path, error: &io::Error) -> Error {
    let rv = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            CKR_DEVICE_MEMORY
        }
        ErrorKind::ReadOnlyFilesystem => CKR_TOKEN_WRITE_PROTECTED,
        ErrorKind::PermissionDenied if doing == "make" => CKR_TOKEN_WRITE_PROTECTED,
        ErrorKind::OutOfMemory => CKR_HOST_MEMORY,
        _ => CKR_DEVICE_ERROR,
    };
    Error::new(rv, format!("cannot {doing} {}: {error}", path.display()))
}
