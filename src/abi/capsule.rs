//! Key encapsulation entries (PKCS#11 5.18.8, 5.18.9).

use super::{entries, input, output, parameter, session};
use crate::operation::Room;
use cryptoki_sys::*;

entries! {
    /// 5.18.8. Nothing is made while there is no room for the ciphertext.
    fn C_EncapsulateKey(
        handle: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        public_key: CK_OBJECT_HANDLE,
        template: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
        ciphertext: *mut CK_BYTE,
        ciphertext_len: *mut CK_ULONG,
        key: *mut CK_OBJECT_HANDLE,
    ) {
        let session = session(handle)?;
        let how = parameter::given_mechanism(mechanism)?;
        let template = input::template(template, count)?;
        let room = output::room(ciphertext, ciphertext_len)?;
        // Who asks for a length gets no key.
        if room != Room::Query {
            output::writable(key)?;
        }
        let (answer, made) = session.encapsulate(how, public_key, &template, room)?;
        if let Some(made) = made {
            output::put(key, made)?;
        }
        output::answer(answer, ciphertext, ciphertext_len)
    }

    /// 5.18.9.
    fn C_DecapsulateKey(
        handle: CK_SESSION_HANDLE,
        mechanism: *mut CK_MECHANISM,
        private_key: CK_OBJECT_HANDLE,
        template: *mut CK_ATTRIBUTE,
        count: CK_ULONG,
        ciphertext: *mut CK_BYTE,
        ciphertext_len: CK_ULONG,
        key: *mut CK_OBJECT_HANDLE,
    ) {
        let session = session(handle)?;
        output::writable(key)?;
        let how = parameter::given_mechanism(mechanism)?;
        let template = input::template(template, count)?;
        let ciphertext = input::bytes(ciphertext, ciphertext_len)?;
        output::put(key, session.decapsulate(how, private_key, &template, ciphertext)?)
    }
}
