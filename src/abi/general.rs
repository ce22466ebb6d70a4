//! General-purpose, slot and token management entries (PKCS#11 5.4, 5.5).

use super::{entries, initialize, input, output};
use crate::error::{Error, fail};
use crate::{log, module};
use cryptoki_sys::*;
use std::ffi::c_void;
use std::sync::Once;

const MANUFACTURER: &str = "nodetoken";
const DESCRIPTION: &str = "nodetoken PKCS#11 provider";
const LIBRARY_VERSION: CK_VERSION = CK_VERSION { major: 0, minor: 1 };
const NO_VERSION: CK_VERSION = CK_VERSION { major: 0, minor: 0 };
/// PKCS#11 3.2.
const CRYPTOKI_VERSION: CK_VERSION = CK_VERSION { major: 3, minor: 2 };

static HOOK: Once = Once::new();

entries! {
    /// 5.4.1.
    fn C_Initialize(arguments: *mut c_void) {
        // A bug is told in the log, not on the host's standard error in our own words.
        HOOK.call_once(|| std::panic::set_hook(Box::new(|bug| {
            let place = bug.location().map(ToString::to_string).unwrap_or_default();
            log::write(log::Level::Error, &format!("bug in nodetoken at {place}"));
        })));
        let reserved = initialize::arguments(arguments)?;
        module::initialize(initialize::environment, reserved.as_deref())
    }

    /// 5.4.2.
    fn C_Finalize(reserved: *mut c_void) {
        if !reserved.is_null() {
            return fail!(CKR_ARGUMENTS_BAD, "pReserved is not null");
        }
        module::finalize()
    }

    /// 5.4.3.
    fn C_GetInfo(info: *mut CK_INFO) {
        module::current()?;
        output::put(info, CK_INFO {
            cryptokiVersion: CRYPTOKI_VERSION,
            manufacturerID: output::padded(MANUFACTURER),
            flags: 0,
            libraryDescription: output::padded(DESCRIPTION),
            libraryVersion: LIBRARY_VERSION,
        })
    }

    /// 5.5.1.
    fn C_GetSlotList(token_present: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) {
        let module = module::current()?;
        output::writable(count)?;
        let ids: Vec<_> = module
            .slots(list.is_null())?
            .iter()
            .filter(|slot| {
                let now = slot.presence();
                now.reader && (now.card || token_present == CK_FALSE)
            })
            .map(|slot| slot.place.id)
            .collect();
        output::list(&ids, list, count)
    }

    /// 5.5.2.
    fn C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) {
        let slot = module::current()?.slot(slot)?;
        let present = if slot.presence().card { CKF_TOKEN_PRESENT } else { 0 };
        output::put(info, CK_SLOT_INFO {
            slotDescription: output::padded(&slot.place.description),
            manufacturerID: output::padded(MANUFACTURER),
            flags: present | slot.place.flags,
            hardwareVersion: NO_VERSION,
            firmwareVersion: LIBRARY_VERSION,
        })
    }

    /// 5.5.3.
    fn C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) {
        let slot = module::current()?.slot(slot)?;
        output::writable(info)?;
        slot.presence();
        let token = slot.token().info()?;
        let (sessions, read_write_sessions) = slot.sessions();
        output::put(info, CK_TOKEN_INFO {
            label: output::padded(&token.label),
            manufacturerID: output::padded(&token.manufacturer),
            model: output::padded(&token.model),
            serialNumber: output::padded(&token.serial),
            flags: token.flags,
            ulMaxSessionCount: CK_EFFECTIVELY_INFINITE,
            ulSessionCount: sessions,
            ulMaxRwSessionCount: CK_EFFECTIVELY_INFINITE,
            ulRwSessionCount: read_write_sessions,
            ulMaxPinLen: token.max_pin_len as CK_ULONG,
            ulMinPinLen: token.min_pin_len as CK_ULONG,
            ulTotalPublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePublicMemory: CK_UNAVAILABLE_INFORMATION,
            ulTotalPrivateMemory: CK_UNAVAILABLE_INFORMATION,
            ulFreePrivateMemory: CK_UNAVAILABLE_INFORMATION,
            hardwareVersion: NO_VERSION,
            firmwareVersion: LIBRARY_VERSION,
            utcTime: output::padded(""),
        })
    }

    /// 5.5.4.
    fn C_WaitForSlotEvent(flags: CK_FLAGS, slot: *mut CK_SLOT_ID, reserved: *mut c_void) {
        let module = module::current()?;
        output::writable(slot)?;
        if !reserved.is_null() {
            return fail!(CKR_ARGUMENTS_BAD, "pReserved is not null");
        }
        let changed = module.wait_for_event(flags & CKF_DONT_BLOCK == 0)?;
        output::put(slot, changed)
    }

    /// 5.5.5.
    fn C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) {
        let slot = module::current()?.slot(slot)?;
        slot.token().ready()?;
        let kinds: Vec<_> = slot.mechanisms()?.map(|row| row.kind).collect();
        output::list(&kinds, list, count)
    }

    /// 5.5.6.
    fn C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO) {
        let slot = module::current()?.slot(slot)?;
        slot.token().ready()?;
        let row = slot.mechanisms()?.find(|row| row.kind == kind).ok_or_else(|| {
            Error::new(CKR_MECHANISM_INVALID, format!("mechanism {kind:#x} is not offered"))
        })?;
        output::put(info, CK_MECHANISM_INFO {
            ulMinKeySize: row.sizes.0,
            ulMaxKeySize: row.sizes.1,
            flags: row.functions,
        })
    }

    /// 5.5.7. The label is 32 bytes, padded with blanks.
    fn C_InitToken(slot: CK_SLOT_ID, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG, label: *mut CK_UTF8CHAR) {
        let slot = module::current()?.slot(slot)?;
        let pin = input::given_pin(pin, pin_len)?;
        let label = String::from_utf8_lossy(input::bytes(label, 32)?).into_owned();
        slot.initialize(pin, label.trim_end_matches([' ', '\0']))
    }

    /// 5.5.8.
    fn C_InitPIN(session: CK_SESSION_HANDLE, pin: *mut CK_UTF8CHAR, pin_len: CK_ULONG) {
        super::session(session)?.init_pin(input::given_pin(pin, pin_len)?)
    }

    /// 5.5.9.
    fn C_SetPIN(
        session: CK_SESSION_HANDLE,
        old: *mut CK_UTF8CHAR,
        old_len: CK_ULONG,
        new: *mut CK_UTF8CHAR,
        new_len: CK_ULONG,
    ) {
        super::session(session)?
            .set_pin(input::given_pin(old, old_len)?, input::given_pin(new, new_len)?)
    }

    /// 5.21.1: a function of the past, whose answer does not depend on the session.
    fn C_GetFunctionStatus(_session: CK_SESSION_HANDLE) {
        module::current()?;
        fail!(CKR_FUNCTION_NOT_PARALLEL, "functions do not run in parallel")
    }

    /// 5.21.2: likewise.
    fn C_CancelFunction(_session: CK_SESSION_HANDLE) {
        module::current()?;
        fail!(CKR_FUNCTION_NOT_PARALLEL, "functions do not run in parallel")
    }
}
