//! Commands and responses as bytes (TPM 2.0 Part 1, 18). The structures inside are those of the
//! library `tpm2-protocol`; here is only what lies around them, since the sessions need the
//! parameters apart from the rest.

use super::fault::{Code, Fault, malformed};
use crate::error::Result;
use crate::memory::Secret;
use tpm2_protocol::TpmWriter;
use tpm2_protocol::frame::{TpmFrame, TpmUnmarshalBody};

const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
const LONGEST: usize = 4096;

/// What a command has besides its authorization.
pub(super) struct Command {
    /// TPM_CC.
    pub(super) code: u32,
    /// The handles, each with what stands for it in a command's digest.
    pub(super) handles: Vec<u8>,
    /// The parameters; the first of them may be encrypted by a session.
    pub(super) parameters: Secret,
}

impl Command {
    /// Of a structure of the library.
    pub(super) fn new<C: TpmFrame>(command: &C) -> std::result::Result<Self, Fault> {
        let mut room = [0; LONGEST];
        let mut writer = TpmWriter::new(&mut room);
        command.marshal_handles(&mut writer)?;
        let handles = writer.as_bytes().to_vec();
        let mut writer = TpmWriter::new(&mut room);
        command.marshal_parameters(&mut writer)?;
        Ok(Self {
            code: command.cc() as u32,
            handles,
            parameters: Secret::copy_of(writer.as_bytes())?,
        })
    }

    /// The same with another first parameter: `first` is the value of a TPM2B, which takes the place
    /// of an empty one. So secret bytes never lie in a structure of the library.
    pub(super) fn with_first(mut self, first: &[u8]) -> Result<Self> {
        let (_, rest) = split_2b(&self.parameters).unwrap_or_default();
        let len = (first.len() as u16).to_be_bytes();
        let mut parameters = Secret::zeroed(len.len() + first.len() + rest.len())?;
        let all = len.iter().chain(first).chain(rest);
        for (to, from) in parameters.iter_mut().zip(all) {
            *to = *from;
        }
        self.parameters = parameters;
        Ok(self)
    }

    /// The bytes for the bus. `authorizations`: the authorization area, if there is one.
    pub(super) fn bytes(&self, authorizations: Option<&[u8]>) -> Vec<u8> {
        let (tag, authorization_len) = match authorizations {
            Some(area) => (SESSIONS, 4 + area.len()),
            None => (NO_SESSIONS, 0),
        };
        let len = 10 + self.handles.len() + authorization_len + self.parameters.len();
        let mut bytes = Vec::with_capacity(len);
        bytes.extend(tag.to_be_bytes());
        bytes.extend((len as u32).to_be_bytes());
        bytes.extend(self.code.to_be_bytes());
        bytes.extend(&self.handles);
        if let Some(area) = authorizations {
            bytes.extend((area.len() as u32).to_be_bytes());
            bytes.extend(area);
        }
        bytes.extend_from_slice(&self.parameters);
        bytes
    }
}

/// What came back on a command that succeeded.
pub(super) struct Response {
    /// The handle, where the command gives one.
    handles: Vec<u8>,
    /// The parameters; the first of them may have to be decrypted.
    pub(super) parameters: Secret,
    /// The authorization area, empty without sessions.
    pub(super) authorizations: Vec<u8>,
}

impl Response {
    /// Takes a response apart; `handles` is how many the command gives. A response code other than
    /// TPM_RC_SUCCESS is a [`Fault::Code`].
    pub(super) fn parse(
        bytes: &[u8],
        handles: usize,
        sessions: bool,
    ) -> std::result::Result<Self, Fault> {
        let cut = || malformed("it is cut short");
        let (tag, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
        let (len, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        let (code, rest) = rest.split_first_chunk().ok_or_else(cut)?;
        if u32::from_be_bytes(*len) as usize != bytes.len() {
            return Err(malformed("its length is not what it says").into());
        }
        match u32::from_be_bytes(*code) {
            0 => {}
            code => return Err(Fault::Code(Code(code))),
        }
        let expected = if sessions { SESSIONS } else { NO_SESSIONS };
        if u16::from_be_bytes(*tag) != expected {
            return Err(malformed("it has another tag than the command").into());
        }
        let (handles, rest) = rest.split_at_checked(4 * handles).ok_or_else(cut)?;
        let (parameters, authorizations) = if sessions {
            let (len, rest) = rest.split_first_chunk().ok_or_else(cut)?;
            rest.split_at_checked(u32::from_be_bytes(*len) as usize)
                .ok_or_else(cut)?
        } else {
            (rest, [].as_slice())
        };
        Ok(Self {
            handles: handles.to_vec(),
            parameters: Secret::copy_of(parameters)?,
            authorizations: authorizations.to_vec(),
        })
    }

    /// The structure of the library that the response is.
    pub(super) fn read<R: TpmUnmarshalBody>(&self) -> std::result::Result<R, Fault> {
        Ok(R::unmarshal_body(&self.handles, &self.parameters)?)
    }

    /// The one TPM2B that the parameters are, where it is a secret.
    pub(super) fn secret(&self) -> Result<Secret> {
        match split_2b(&self.parameters) {
            Some((value, [])) => Secret::copy_of(value),
            _ => Err(malformed("it is not one sized buffer")),
        }
    }
}

/// The value of a TPM2B, and what follows it.
pub(super) fn split_2b(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn rv(fault: Fault) -> cryptoki_sys::CK_RV {
        Error::from(fault).rv()
    }

    #[test]
    fn every_cut_of_a_response_is_noticed() {
        let whole = [
            0x80, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 3, 0, 1, 7, 0, 0, 1, 0, 0,
        ];
        for len in 0..=whole.len() {
            let mut cut = whole[..len].to_vec();
            if let Some(field) = cut.get_mut(2..6) {
                field.copy_from_slice(&(len as u32).to_be_bytes());
            }
            let parsed = Response::parse(&cut, 1, true);
            match parsed {
                // What follows the parameters is the session's to judge.
                Ok(response) => {
                    assert!(len >= 21);
                    assert_eq!(*response.secret().unwrap(), [7]);
                }
                Err(fault) => assert_eq!(rv(fault), cryptoki_sys::CKR_DEVICE_ERROR),
            }
        }
        assert!(Response::parse(&whole, 1, true).is_err());
    }
}
