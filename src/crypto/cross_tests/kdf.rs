//! HKDF and PBKDF2: each engine against the other.

use super::*;

#[test]
fn keys_from_keys_and_passwords() {
    for hash in Hash::ALL {
        for len in [0, 1, 16, 63, 64, 65, 200] {
            let (input, other) = (pattern(len), pattern(len / 2));
            let key =
                both_give!(engine => engine::hkdf_extract(hash, &other, &input).unwrap().to_vec());
            assert_eq!(key.len(), hash.len());
            let out = both_give!(engine => {
                engine::hkdf_expand(hash, &key, &other, len).unwrap().to_vec()
            });
            assert_eq!(out.len(), len);
            let out = both_give!(engine => {
                engine::pbkdf2(hash, &input, &other, 3, len).unwrap().to_vec()
            });
            assert_eq!(out.len(), len);
        }
        for (key, len) in [(hash.len(), 255 * hash.len() + 1), (hash.len() - 1, 1)] {
            let key = pattern(key);
            both_give!(engine => engine::hkdf_expand(hash, &key, b"", len).err().map(|e| e.rv()));
        }
        both_give!(engine => engine::pbkdf2(hash, b"", b"", 0, 1).err().map(|e| e.rv()));
    }
}
