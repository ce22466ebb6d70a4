//! Certificates that a smart card keeps compressed.
//!
//! A PIV card says so in CertInfo (SP 800-73-4 part 1, appendix A) and means gzip (RFC 1952). Some
//! tools write a zlib stream (RFC 1950) instead, and other readers take that too. A card is not
//! trusted: what comes out is bounded while it comes out.

use super::{Error, Result, refuse};
use flate2::bufread::{GzDecoder, ZlibDecoder};
use std::io::{self, Read};

/// ID1 and ID2 (RFC 1952 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// Output of one step: a certificate is seldom longer.
const STEP: usize = 4096;

/// What `compressed`, gzip or a zlib stream, holds: at most `limit` bytes, with the checksum that
/// belongs to them.
///
/// What follows the stream is not looked at: objects of a card are padded. So of a gzip file only the
/// first member counts.
pub fn inflate(compressed: &[u8], limit: usize) -> Result<Vec<u8>> {
    if compressed.starts_with(&GZIP) {
        read(GzDecoder::new(compressed), limit)
    } else if is_zlib(compressed) {
        read(ZlibDecoder::new(compressed), limit)
    } else {
        refuse!("compressed data are neither gzip nor zlib")
    }
}

/// Whether CMF and FLG are the beginning of a zlib stream: the method is deflate and the check bits
/// hold (RFC 1950 2.2).
fn is_zlib(compressed: &[u8]) -> bool {
    let Some([cmf, flg]) = compressed.first_chunk() else {
        return false;
    };
    cmf & 0x0f == 8 && u16::from_be_bytes([*cmf, *flg]).is_multiple_of(31)
}

/// All that `stream` gives, to its end: the checksum stands behind the last byte.
fn read(mut stream: impl Read, limit: usize) -> Result<Vec<u8>> {
    let mut inflated = Vec::new();
    let mut step = [0; STEP];
    loop {
        let len = stream.read(&mut step).map_err(|error| broken(&error))?;
        let part = step.get(..len).unwrap_or_default();
        if part.is_empty() {
            return Ok(inflated);
        }
        if part.len() > limit.saturating_sub(inflated.len()) {
            return refuse!("compressed data hold more than {limit} bytes");
        }
        // The card chooses the size, as far as the limit goes.
        inflated
            .try_reserve(part.len())
            .map_err(|_| Error::new("no memory for what compressed data hold"))?;
        inflated.extend_from_slice(part);
    }
}

fn broken(error: &io::Error) -> Error {
    Error::new(match error.kind() {
        io::ErrorKind::UnexpectedEof => "compressed data end too early",
        _ => "compressed data are damaged",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use flate2::{Compression, GzBuilder};
    use std::io::Write;

    const LIMIT: usize = 1 << 16;

    /// Bytes that compress, but not to nothing.
    fn text(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * at / 7 % 61) as u8).collect()
    }

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(data: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    #[track_caller]
    fn refused(compressed: &[u8], limit: usize, words: &str) {
        let error = inflate(compressed, limit).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }

    #[test]
    fn what_was_compressed_comes_back() {
        for len in [0, 1, 100, STEP - 1, STEP, STEP + 1, 3 * STEP, LIMIT] {
            let data = text(len);
            assert_eq!(inflate(&gzip(&data), LIMIT).unwrap(), data);
            assert_eq!(inflate(&zlib(&data), LIMIT).unwrap(), data);
        }
        for level in 0..=9 {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
            encoder.write_all(&text(2000)).unwrap();
            let compressed = encoder.finish().unwrap();
            assert_eq!(inflate(&compressed, LIMIT).unwrap(), text(2000));
        }
    }

    #[test]
    fn another_program_compressed() {
        // `printf nodetoken | gzip -n9` (GNU gzip 1.12), and compress() of zlib 1.2.13.
        let gzip =
            b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\xcb\x4f\x49\x2d\xc9\xcf\x4e\xcd\x03\
            \x00\xb6\x5c\xb6\xc5\x09\x00\x00\x00";
        let zlib = b"\x78\x9c\xcb\xcb\x4f\x49\x2d\xc9\xcf\x4e\xcd\x03\x00\x12\xf2\x03\xc8";
        assert_eq!(inflate(gzip, 9).unwrap(), b"nodetoken");
        assert_eq!(inflate(zlib, 9).unwrap(), b"nodetoken");
    }

    #[test]
    fn optional_fields_of_the_header_are_passed_over() {
        let mut encoder = GzBuilder::new()
            .filename("certificate.der")
            .comment("of the node")
            .extra("extra")
            .mtime(1)
            .write(Vec::new(), Compression::fast());
        encoder.write_all(&text(900)).unwrap();
        let compressed = encoder.finish().unwrap();
        assert_eq!(inflate(&compressed, 900).unwrap(), text(900));
    }

    #[test]
    fn a_limit_is_kept_to_the_byte() {
        for len in [1, 100, STEP, STEP + 1, 5 * STEP] {
            for compressed in [gzip(&text(len)), zlib(&text(len))] {
                assert_eq!(inflate(&compressed, len).unwrap(), text(len));
                refused(&compressed, len - 1, "hold more than");
                refused(&compressed, 0, "hold more than");
            }
        }
        assert!(inflate(&gzip(b""), 0).unwrap().is_empty());
        assert_eq!(inflate(&gzip(b"a"), usize::MAX).unwrap(), b"a");
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; 64 << 20];
        for bomb in [gzip(&zeros), zlib(&zeros)] {
            assert!(bomb.len() < 128 << 10);
            refused(&bomb, LIMIT, "hold more than");
            // Refused when the limit is passed: the rest is not even read.
            refused(&bomb[..bomb.len() / 2], LIMIT, "hold more than");
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        for compressed in [gzip(&text(2000)), zlib(&text(2000)), gzip(b""), zlib(b"")] {
            for len in 0..compressed.len() {
                let words = if len < 2 { "neither" } else { "too early" };
                refused(&compressed[..len], LIMIT, words);
            }
        }
    }

    #[test]
    fn what_follows_the_stream_is_passed_over() {
        for len in [0, 700, STEP, 2 * STEP] {
            for compressed in [gzip(&text(len)), zlib(&text(len))] {
                for rest in [
                    vec![0; 1],
                    vec![0; 5000],
                    vec![0xff; 300],
                    gzip(b"a second"),
                ] {
                    let padded = [compressed.as_slice(), &rest].concat();
                    assert_eq!(inflate(&padded, len).unwrap(), text(len));
                }
            }
        }
    }

    #[test]
    fn damage_is_noticed() {
        // The checksum of either format; the length of gzip (RFC 1952 2.3.1).
        for (compressed, trailer) in [(gzip(&text(2000)), 8), (zlib(&text(2000)), 4)] {
            for at in compressed.len() - trailer..compressed.len() {
                let mut damaged = compressed.clone();
                damaged[at] ^= 1;
                refused(&damaged, LIMIT, "damaged");
            }
            // Whatever a flipped bit does, no other data come out.
            for at in 0..compressed.len() * 8 {
                let mut damaged = compressed.clone();
                damaged[at / 8] ^= 1 << (at % 8);
                if let Ok(inflated) = inflate(&damaged, LIMIT) {
                    assert_eq!(inflated, text(2000));
                }
            }
        }
    }

    #[test]
    fn other_data_are_refused() {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&text(500)).unwrap();
        let raw = encoder.finish().unwrap();
        for data in [
            &[][..],
            &[0x1f],
            &[0x78],
            &[0x30, 0x82, 1, 2],
            b"PK\x03\x04",
            &raw,
        ] {
            refused(data, LIMIT, "neither");
        }
        // A method that is not deflate, and a dictionary that nobody has (RFC 1950 2.2).
        refused(
            &[0x1f, 0x8b, 9, 0, 0, 0, 0, 0, 0, 3, 3, 0],
            LIMIT,
            "damaged",
        );
        refused(
            &[0x78, 0xbb, 0, 0, 0, 1, 3, 0, 0, 0, 0, 1],
            LIMIT,
            "damaged",
        );
    }
}
