//! Object management entries (PKCS#11 5.7).

use super::{entries, input, output, session};
use cryptoki_sys::*;

entries! {
    /// 5.7.1.
    fn C_CreateObject(
        handle: CK_SESSION_HANDLE,
        template: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
        object: *mut CK_OBJECT_HANDLE,
    ) {
        let session = session(handle)?;
        output::writable(object)?;
        output::put(object, session.create(&input::template(template, count)?)?)
    }

    /// 5.7.2. No template at all makes an equal copy: NSS asks for that.
    fn C_CopyObject(
        handle: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
        copy: *mut CK_OBJECT_HANDLE,
    ) {
        let session = session(handle)?;
        output::writable(copy)?;
        output::put(copy, session.copy(object, &input::template(template, count)?)?)
    }

    /// 5.7.3.
    fn C_DestroyObject(handle: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) {
        session(handle)?.destroy(object)
    }

    /// 5.7.4.
    fn C_GetObjectSize(handle: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, size: *mut CK_ULONG) {
        let session = session(handle)?;
        output::writable(size)?;
        output::put(size, session.size(object)? as CK_ULONG)
    }

    /// 5.7.5.
    fn C_GetAttributeValue(
        handle: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
    ) {
        let session = session(handle)?;
        let asked = input::query(template, count)?;
        let types: Vec<_> = asked.iter().map(|attribute| attribute.type_).collect();
        output::values(template, &asked, &session.get(object, &types)?)
    }

    /// 5.7.6.
    fn C_SetAttributeValue(
        handle: CK_SESSION_HANDLE,
        object: CK_OBJECT_HANDLE,
        template: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
    ) {
        session(handle)?.set(object, &input::template(template, count)?)
    }

    /// 5.7.7.
    fn C_FindObjectsInit(handle: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG) {
        session(handle)?.find_init(&input::template(template, count)?)
    }

    /// 5.7.8.
    fn C_FindObjects(
        handle: CK_SESSION_HANDLE,
        objects: *mut CK_OBJECT_HANDLE,
        most: CK_ULONG,
        count: *mut CK_ULONG,
    ) {
        let session = session(handle)?;
        output::writable(count)?;
        if most > 0 {
            output::writable(objects)?;
        }
        let found = session.find(usize::try_from(most).unwrap_or(usize::MAX))?;
        if !found.is_empty() {
            input::check_nested(objects, found.len() as CK_ULONG)?;
        }
        output::elements(&found, objects);
        output::put(count, found.len() as CK_ULONG)
    }

    /// 5.7.9.
    fn C_FindObjectsFinal(handle: CK_SESSION_HANDLE) {
        session(handle)?.find_final()
    }
}
