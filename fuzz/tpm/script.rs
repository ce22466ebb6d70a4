//! What happens, read from the fuzzer's bytes; all zero where they end, and zero is good behaviour.

pub struct Script {
    bytes: Vec<u8>,
    at: usize,
}

impl Script {
    pub fn new(bytes: &[u8]) -> Self {
        Self {
            bytes: bytes.to_vec(),
            at: 0,
        }
    }

    pub fn is_over(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        byte
    }

    pub fn number(&mut self) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()]))
    }

    /// As many bytes as are left of a number of them.
    pub fn bytes(&mut self) -> Vec<u8> {
        let len = self.number();
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let bytes = rest[..len.min(rest.len())].to_vec();
        self.at += bytes.len();
        bytes
    }

    pub fn one_of<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::from(self.byte()) % values.len()]
    }

    /// Changes some bytes: some flipped, some put in, some taken out, one of them at an edge.
    pub fn edit(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..=self.byte() % 3 {
            let way = self.byte() % 4;
            let at = self.number() % (bytes.len() + 1);
            match way {
                0 => {
                    for (to, from) in bytes[at..].iter_mut().zip(self.bytes()) {
                        *to ^= from;
                    }
                }
                1 => drop(bytes.splice(at..at, self.bytes())),
                2 => {
                    let end = bytes.len().min(at + usize::from(self.byte()));
                    bytes.drain(at..end);
                }
                _ => {
                    let edge = self.one_of(&[0, 1, 0x7f, 0x80, 0xff]);
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = edge;
                    }
                }
            }
        }
    }
}
