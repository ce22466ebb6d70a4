//! The store that tokens are kept in: kills, damage, several processes, permissions (THREATS.md 8 to 12, 16).
//! What holds of a card as well, which is no store of files, runs on one too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]
#![allow(clippy::undocumented_unsafe_blocks, missing_docs)]

mod common;

use common::process::Signal;
use common::vectors;
use common::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

/// A uid that is not root's and not ours.
const NOBODY: libc::uid_t = 65534;

fn labelled(label: &str) -> Template {
    Template::new().set(CKA_LABEL, label)
}

fn on_token(label: &str) -> Template {
    labelled(label).set(CKA_TOKEN, true)
}

/// Every file of the store with its bytes.
fn files(world: &World) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(world.path("store"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// The database among the files.
fn database(world: &World) -> PathBuf {
    let is_database = |bytes: &[u8]| bytes.starts_with(b"SQLite format 3\0");
    files(world)
        .into_iter()
        .find(|(_, bytes)| is_database(bytes))
        .unwrap()
        .0
}

fn permissions(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// A token with a key pair named `pair` and a certificate, made by a process that has ended.
fn make_token(world: &World) {
    world.process(|| {
        let session = world.token().user();
        session.ec_with(Curve::P256, &on_token("pair"));
        session
            .create(&certificate().with(&on_token("certificate")))
            .unwrap();
        session.close().unwrap();
        session.module.finalize().unwrap();
    });
}

fn signs(session: Session) {
    let of = |class| session.find_one(&labelled("pair").set(CKA_CLASS, class));
    let (public, private) = (of(CKO_PUBLIC_KEY), of(CKO_PRIVATE_KEY));
    let signature = session.sign(CKM_ECDSA_SHA256, private, b"data").unwrap();
    session
        .verify(CKM_ECDSA_SHA256, public, b"data", &signature)
        .unwrap();
}

/// What was acknowledged is there after SIGKILL, and no pair is half.
#[test]
fn killed_while_creating() {
    isolated(|world| {
        make_token(world);
        let acknowledged = Signal::new();
        let mut expected = 0;
        // Where there is little room, each round has four of its places.
        let room = world.kind.room.map(|room| room.objects);
        let rounds = room.map_or(10, |room| (room as u64 - 2) / 4);
        let each = if room.is_some() { 4 } else { 250 };
        for round in 0..rounds {
            let writer = world.start(|| {
                let session = world.existing_token().user();
                for number in 0..each {
                    session.ec_with(
                        Curve::P256,
                        &on_token("killed").set(CKA_ID, &[round as u8, number]),
                    );
                    acknowledged.send();
                }
                assert!(room.is_some());
                loop {
                    std::thread::park();
                }
            });
            for _ in 0..3 {
                acknowledged.wait();
            }
            std::thread::sleep(std::time::Duration::from_millis(round * 3));
            writer.kill();
            // Every byte sent before the kill stands for a pair that was acknowledged.
            expected += 3 + acknowledged.drain();
            world.process(|| {
                let session = world.existing_token().user();
                let ids = |class| {
                    let found = session
                        .find(&labelled("killed").set(CKA_CLASS, class))
                        .unwrap();
                    let mut ids: Vec<_> = found
                        .into_iter()
                        .map(|key| session.get(key, CKA_ID).unwrap())
                        .collect();
                    ids.sort();
                    ids
                };
                let (public, private) = (ids(CKO_PUBLIC_KEY), ids(CKO_PRIVATE_KEY));
                assert_eq!(public, private, "half a pair");
                assert!(
                    private.len() >= expected,
                    "{} of {expected} acknowledged pairs",
                    private.len()
                );
                assert!(private.len() <= expected + round as usize + 1);
                signs(session);
            });
        }
    });
}

/// Opens a damaged store: an error, or a token whose every answer is right. Nothing is written.
fn open_damaged() {
    let module = Module::load();
    let damage = [
        CKR_DEVICE_ERROR,
        CKR_GENERAL_ERROR,
        CKR_TOKEN_NOT_RECOGNIZED,
        CKR_FUNCTION_FAILED,
        CKR_DEVICE_MEMORY,
    ];
    let answers = || -> Result<(), Rv> {
        module.initialize()?;
        let padded = format!("{:32}", "test token");
        for slot in module.slots()? {
            let info = module.token_info(slot)?;
            if info.label != padded.as_bytes() {
                assert_eq!(
                    info.flags & CKF_TOKEN_INITIALIZED,
                    0,
                    "a token of another name"
                );
                continue;
            }
            let session = Session::open(module, slot, CKF_SERIAL_SESSION)?;
            session.login(CKU_USER, USER_PIN)?;
            for key in session.find(&labelled("pair").set(CKA_CLASS, CKO_PRIVATE_KEY))? {
                let signature = session.sign(CKM_ECDSA_SHA256, key, b"data")?;
                for public in session.find(&labelled("pair").set(CKA_CLASS, CKO_PUBLIC_KEY))? {
                    session.verify(CKM_ECDSA_SHA256, public, b"data", &signature)?;
                }
            }
        }
        Ok(())
    };
    let answer = answers();
    if answer.is_err() {
        answer.refused_with(&damage);
    }
}

#[test]
fn damaged_stores_are_left_as_they_are() {
    isolated_on(STORED, |world| {
        make_token(world);
        let database = database(world);
        let good = fs::read(&database).unwrap();
        let flipped = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] ^= 0x10;
            bytes
        };
        let half = good.len() / 2;
        let mut damages = vec![
            ("cut to half", good[..half].to_vec()),
            ("cut to one page", good[..4096.min(half)].to_vec()),
            ("cut to 100 bytes", good[..100].to_vec()),
            (
                "a text",
                b"This is somebody's letter, not a store.\n".repeat(200),
            ),
            ("zeros", vec![0; good.len()]),
            ("another header", flipped(3)),
        ];
        // Sixteen places all over the file.
        damages.extend((0..16).map(|part| ("a bit", flipped(part * good.len() / 16 + 77))));
        for (what, bytes) in damages {
            fs::write(&database, &bytes).unwrap();
            let before = files(world);
            let child = world.start(open_damaged);
            assert!(child.wait().success(), "{what}");
            let after = files(world);
            assert_eq!(
                before.get(&database),
                after.get(&database),
                "{what}: the file was changed"
            );
            for extra in after.keys().filter(|path| !before.contains_key(*path)) {
                fs::remove_file(extra).unwrap();
            }
        }
        fs::write(&database, &good).unwrap();
        world.process(|| signs(world.existing_token().user()));
    });
}

/// A database, but of another program.
#[test]
fn foreign_databases_are_refused() {
    isolated_on(STORED, |world| {
        make_token(world);
        let database = database(world);
        let mut foreign = fs::read(&database).unwrap();
        // SQLite's application id and user version (file format, 1.3): another program's, another version.
        for place in [68..72, 60..64] {
            let good = foreign.clone();
            foreign[place].copy_from_slice(&[0x7f, 1, 2, 3]);
            fs::write(&database, &foreign).unwrap();
            world.process(|| {
                let module = Module::load();
                let opened = module
                    .initialize()
                    .and_then(|()| module.slots())
                    .and_then(|slots| {
                        slots
                            .into_iter()
                            .try_for_each(|slot| module.token_info(slot).map(drop))
                    });
                opened.refused_with(&[
                    CKR_DEVICE_ERROR,
                    CKR_GENERAL_ERROR,
                    CKR_TOKEN_NOT_RECOGNIZED,
                    CKR_FUNCTION_FAILED,
                ]);
            });
            assert_eq!(
                fs::read(&database).unwrap(),
                foreign,
                "the file was changed"
            );
            foreign = good;
        }
    });
}

#[test]
fn two_writers_lose_nothing() {
    isolated(|world| {
        make_token(world);
        let room = world.kind.room.map(|room| room.objects as u8);
        let each = room.map_or(30, |room| (room - 2) / 3);
        let writers: Vec<_> = ["one", "two", "three"]
            .map(|name| {
                world.start(move || {
                    let session = world.existing_token().user();
                    for number in 0..each {
                        session
                            .create(&data(name).with(&on_token(name)).set(CKA_VALUE, &[number]))
                            .unwrap();
                    }
                })
            })
            .into();
        writers.into_iter().for_each(process::Process::succeeds);
        world.process(|| {
            let session = world.existing_token().user();
            for name in ["one", "two", "three"] {
                let found = session.find(&labelled(name)).unwrap();
                let mut values: Vec<_> = found
                    .into_iter()
                    .map(|object| session.get(object, CKA_VALUE).unwrap())
                    .collect();
                values.sort();
                assert_eq!(
                    values,
                    (0..each).map(|number| vec![number]).collect::<Vec<_>>()
                );
            }
        });
    });
}

/// Another process's change is seen at the next call, or after the next login.
#[test]
fn processes_see_each_other() {
    isolated(|world| {
        make_token(world);
        let (go, done) = (Signal::new(), Signal::new());
        let other = world.start(|| {
            let session = world.existing_token().user();
            done.send();
            go.wait();
            let object = session.create(&data("").with(&on_token("seen"))).unwrap();
            done.send();
            go.wait();
            session.set(object, &labelled("changed")).unwrap();
            done.send();
            go.wait();
            session.destroy(object).unwrap();
            done.send();
        });
        done.wait();
        let session = world.existing_token().user();
        let count = |label: &str| session.find(&labelled(label)).unwrap().len();
        assert_eq!(count("seen"), 0);
        let step = || {
            go.send();
            done.wait();
            if !world.kind.shows_changes_at_once {
                session.logout().unwrap();
                session.login(CKU_USER, USER_PIN).unwrap();
            }
        };
        step();
        let object = session.find_one(&labelled("seen"));
        step();
        assert_eq!((count("seen"), count("changed")), (0, 1));
        assert_eq!(session.get(object, CKA_LABEL).unwrap(), b"changed");
        step();
        assert_eq!(count("changed"), 0);
        session
            .get(object, CKA_LABEL)
            .refused(CKR_OBJECT_HANDLE_INVALID);
        other.succeeds();
    });
}

/// A writer that stops in the middle of its work blocks no reader (a card it does: one process has it
/// at a time), but for an instant: between the two
/// copies of the header of the log's index (one stop in thousands) SQLite waits ten seconds for it.
#[test]
fn a_stopped_writer_blocks_no_reader() {
    const BLOCKED: i32 = 2;
    isolated_on(STORED, |world| {
        make_token(world);
        let ready = Signal::new();
        let writer = world.start(|| {
            let session = world.existing_token().user();
            ready.send();
            loop {
                let object = session
                    .create(&data("").with(&on_token("written")))
                    .unwrap();
                session.destroy(object).unwrap();
            }
        });
        ready.wait();
        let mut blocked = 0;
        for _ in 0..10 {
            std::thread::sleep(std::time::Duration::from_millis(3));
            assert_eq!(unsafe { libc::kill(writer.pid, libc::SIGSTOP) }, 0);
            let reader = world.start(|| {
                let module = Module::load();
                match module.initialize() {
                    Err(Rv(CKR_FUNCTION_FAILED)) => std::process::exit(BLOCKED),
                    answer => answer.unwrap(),
                }
                let session = Token::find(module, "test token").read_only_session();
                session
                    .find(&Template::new().set(CKA_CLASS, CKO_CERTIFICATE))
                    .unwrap();
            });
            let status = reader.wait();
            assert_eq!(unsafe { libc::kill(writer.pid, libc::SIGCONT) }, 0);
            blocked += usize::from(status.code() == Some(BLOCKED));
            if !status.success() && status.code() != Some(BLOCKED) {
                writer.kill();
                panic!("reader: {status}");
            }
        }
        writer.kill();
        assert!(blocked <= 1, "{blocked} of 10 readers were blocked");
    });
}

#[test]
fn files_are_the_owners_alone() {
    isolated_on(STORED, |world| {
        for umask in [0, 0o077, 0o777] {
            let directory = format!("store {umask:o}");
            world.process(|| {
                set_variable("NODETOKEN_STORE", &world.path(&directory));
                unsafe { libc::umask(umask) };
                let session = world.token().user();
                session.create(&data("").with(&on_token("kept"))).unwrap();
                let directory = world.path(&directory);
                assert_eq!(permissions(&directory), 0o700, "with umask {umask:o}");
                for entry in fs::read_dir(&directory).unwrap() {
                    assert_eq!(
                        permissions(&entry.unwrap().path()),
                        0o600,
                        "with umask {umask:o}"
                    );
                }
                assert_eq!(
                    unsafe { libc::umask(0) },
                    umask,
                    "the process's umask is its own"
                );
            });
        }
    });
}

fn set_variable(name: &str, value: &Path) {
    let (name, value) = (
        std::ffi::CString::new(name).unwrap(),
        std::ffi::CString::new(value.to_str().unwrap()).unwrap(),
    );
    assert_eq!(unsafe { libc::setenv(name.as_ptr(), value.as_ptr(), 1) }, 0);
}

/// Nothing through a symbolic link, and nothing that others may write to.
#[test]
fn a_store_of_others_is_refused() {
    isolated_on(STORED, |world| {
        make_token(world);
        let refused = |what: &str, prepare: &dyn Fn()| {
            world.process(|| {
                prepare();
                let module = Module::load();
                let opened = module
                    .initialize()
                    .and_then(|()| module.slots())
                    .map(|slots| {
                        slots.into_iter().any(|slot| {
                            module
                                .token_info(slot)
                                .is_ok_and(|info| info.flags & CKF_TOKEN_INITIALIZED != 0)
                        })
                    });
                assert_ne!(opened, Ok(true), "{what}");
            });
        };
        let (store, database) = (world.path("store"), database(world));
        refused("a link to the file", &|| {
            let moved = world.path("moved");
            fs::rename(&database, &moved).unwrap();
            symlink(&moved, &database).unwrap();
        });
        fs::rename(world.path("moved"), &database).unwrap();
        refused("a directory for all", &|| {
            fs::set_permissions(&store, fs::Permissions::from_mode(0o777)).unwrap();
        });
        fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
        refused("a directory for a group", &|| {
            fs::set_permissions(&store, fs::Permissions::from_mode(0o2770)).unwrap();
        });
        fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
        refused("a file for all", &|| {
            fs::set_permissions(&database, fs::Permissions::from_mode(0o666)).unwrap();
        });
        fs::set_permissions(&database, fs::Permissions::from_mode(0o600)).unwrap();
        world.process(|| signs(world.existing_token().user()));
    });
}

/// Root becomes another user for good, in the group of the same number alone.
fn step_down(user: libc::uid_t) {
    assert_eq!(unsafe { libc::setgroups(0, std::ptr::null()) }, 0);
    assert_eq!(unsafe { libc::setgid(user) }, 0);
    assert_eq!(unsafe { libc::setuid(user) }, 0);
}

/// A file that is not its directory's owner's was planted there, whatever its mode; a whole store of
/// another user who lets this one read it is used. Only root can give files away.
#[test]
fn planted_files_are_refused() {
    const OWNER: libc::uid_t = 65533;
    const PLANTER: libc::uid_t = 65532;
    isolated_on(STORED, |world| {
        if unsafe { libc::getuid() } != 0 {
            eprintln!("not run: it takes root to make files of other users");
            return;
        }
        make_token(world);
        let store = world.path("store");
        let give = |path: &Path, owner: libc::uid_t, mode| {
            std::os::unix::fs::chown(path, Some(owner), Some(owner)).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        };
        let refused = |user: libc::uid_t, what: &Path| {
            world.process(|| {
                if user != 0 {
                    step_down(user);
                }
                let answer = Module::load().initialize();
                let refusal = Err(Rv(CKR_DEVICE_ERROR));
                assert_eq!(answer, refusal, "{} for user {user}", what.display());
            });
        };
        give(store.parent().unwrap(), 0, 0o711);
        let every: Vec<_> = files(world).into_keys().collect();
        assert_eq!(every.len(), 4, "{every:?}");
        for owner in [OWNER, 0] {
            every.iter().for_each(|path| give(path, owner, 0o644));
            give(&store, owner, 0o755);
            for user in [owner, NOBODY] {
                world.process(|| {
                    if user != 0 {
                        step_down(user);
                    }
                    let session = world.existing_token().read_only_session();
                    session.login(CKU_USER, USER_PIN).unwrap();
                    signs(session);
                });
            }
            for path in &every {
                give(path, PLANTER, 0o644);
                refused(owner, path);
                refused(NOBODY, path);
                give(path, owner, 0o644);
            }
        }
        // The writers' lock of a store that does not exist yet.
        let stamp = every
            .iter()
            .find(|path| path.to_str().unwrap().ends_with("-stamp"));
        let stamp = stamp.unwrap();
        for path in every.iter().filter(|path| *path != stamp) {
            fs::remove_file(path).unwrap();
        }
        give(stamp, PLANTER, 0o644);
        world.process(|| {
            let module = world.module();
            let slot = module.slots().unwrap()[0];
            module
                .init_token(slot, SO_PIN, "test token")
                .refused(CKR_DEVICE_ERROR);
        });
    });
}

/// Where nothing can be written, what is there can still be used: signing and reading work, a write
/// is refused exactly, and the store is left alone. Root may write anywhere, so the test steps down.
#[test]
fn a_read_only_store_signs() {
    isolated_on(STORED, |world| {
        make_token(world);
        let store = world.path("store");
        let root = unsafe { libc::getuid() } == 0;
        let set = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            if root {
                std::os::unix::fs::chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
        };
        for path in files(world).keys() {
            set(path, 0o400);
        }
        set(&store, 0o500);
        set(store.parent().unwrap(), 0o500);
        let before = files(world);
        world.process(|| {
            if root {
                step_down(NOBODY);
            }
            let token = world.existing_token();
            // A token that cannot be written to has no read-write session (5.6.1), or has one in vain.
            let session = Session::open(
                token.module,
                token.slot,
                CKF_SERIAL_SESSION | CKF_RW_SESSION,
            )
            .or_else(|rv| {
                if rv == Rv(CKR_TOKEN_WRITE_PROTECTED) {
                    Ok(token.read_only_session())
                } else {
                    Err(rv)
                }
            })
            .unwrap();
            session.login(CKU_USER, USER_PIN).unwrap();
            signs(session);
            session
                .create(&data("").with(&on_token("new")))
                .refused_with(&[CKR_TOKEN_WRITE_PROTECTED, CKR_SESSION_READ_ONLY]);
            assert_eq!(session.find(&labelled("new")).unwrap(), []);
            session.create(&data("a session object")).unwrap();
            // A guess that cannot be counted is not answered (THREATS.md 7).
            session.logout().unwrap();
            session.login(CKU_USER, "wrong-pin-0000").refused_with(&[
                CKR_PIN_INCORRECT,
                CKR_TOKEN_WRITE_PROTECTED,
                CKR_DEVICE_ERROR,
                CKR_FUNCTION_FAILED,
            ]);
        });
        assert_eq!(files(world), before);
        set(store.parent().unwrap(), 0o700);
        set(&store, 0o700);
    });
}

/// At rest nothing secret is in clear, neither are labels of private objects (THREATS.md 11).
#[test]
fn nothing_secret_is_in_the_files() {
    let secret = b"a secret value of thirty-two by!";
    isolated_on(STORED, |world| {
        world.process(|| {
            let session = world.token().user();
            session
                .create(
                    &aes_template(secret)
                        .set(CKA_TOKEN, true)
                        .set(CKA_LABEL, "private label"),
                )
                .unwrap();
            session
                .create(
                    &rsa_private_import()
                        .set(CKA_TOKEN, true)
                        .set(CKA_ID, "private id"),
                )
                .unwrap();
            let private = data("secret label")
                .set(CKA_TOKEN, true)
                .set(CKA_PRIVATE, true);
            session
                .create(&private.set(CKA_VALUE, "secret data"))
                .unwrap();
        });
        let prime = vectors::hex(vectors::RSA_PRIME_1);
        let hidden: [&[u8]; 7] = [
            secret,
            &prime,
            b"private label",
            b"secret label",
            b"secret data",
            USER_PIN.as_bytes(),
            SO_PIN.as_bytes(),
        ];
        for (path, bytes) in files(world) {
            for text in hidden {
                let found = bytes.windows(text.len()).any(|window| window == text);
                assert!(
                    !found,
                    "{:?} in {}",
                    String::from_utf8_lossy(text),
                    path.display()
                );
            }
        }
    });
}
