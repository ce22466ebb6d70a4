//! `credential::certificate`: any bytes are certificates or an error. Every question about one has an
//! answer, and the pieces cut out of it are pieces of it.

#![no_main]

use libfuzzer_sys::fuzz_target;
use nodetoken::credential::certificate::{self, Certificate, MAX_CERTIFICATES, Purpose};
use nodetoken::credential::status::Status;
use std::time::SystemTime;

fuzz_target!(|input: &[u8]| {
    let Ok(certificates) = certificate::parse(input) else {
        return;
    };
    assert!((1..=MAX_CERTIFICATES).contains(&certificates.len()));
    for certificate in &certificates {
        check(certificate);
    }
    if let Ok(chain) = certificate::order_chain(certificates.clone()) {
        assert!(chain.len() <= certificates.len());
        assert!(
            chain
                .windows(2)
                .all(|two| two[0].issuer_der() == two[1].subject_der())
        );
    }
});

fn check(certificate: &Certificate) {
    let der = certificate.der();
    assert_eq!(Certificate::from_der(der).as_ref(), Ok(certificate));
    for piece in [
        certificate.serial_der(),
        certificate.issuer_der(),
        certificate.subject_der(),
        certificate.public_key_info_der(),
    ] {
        assert!(der.windows(piece.len()).any(|window| window == piece));
    }
    for text in [
        certificate.subject(),
        certificate.issuer(),
        certificate.subject_name(),
        certificate.issuer_name(),
        certificate.serial_hex(),
        certificate.not_after_text(),
    ] {
        assert!(text.len() <= 16 * der.len() + 64);
    }
    let _ = (certificate.is_self_issued(), certificate.key_identifier());
    let _ = (
        certificate.allows(Purpose::Client),
        certificate.allows(Purpose::Server),
    );
    for now in [
        SystemTime::UNIX_EPOCH,
        certificate.not_before(),
        certificate.not_after(),
    ] {
        let _ = Status::at(certificate.not_before(), certificate.not_after(), now);
    }
}
