//! The memory of a chip: a file with room for a key and a certificate in every slot of PIV.

use littlefs2::consts::{U8, U512};
use littlefs2::driver::Storage;
use littlefs2::io::{Error, Result};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use trussed::virt::StorageConfig;

const BLOCK: usize = 512;
const BLOCKS: usize = 1024;
/// With less than this no more than a few logins go on.
pub const FEW_BLOCKS: usize = BLOCKS / 4;

/// What is in the file, and the file, which is written at once; memory without one loses it.
struct Flash {
    content: Vec<u8>,
    file: Option<File>,
}

/// The memory in this file, which is made when there is none.
pub fn open(path: &Path) -> std::io::Result<StorageConfig<'static>> {
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)?;
    file.set_len((BLOCK * BLOCKS) as u64)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    let format = content.iter().all(|&byte| byte == 0);
    Ok(StorageConfig {
        storage: Box::new(Flash {
            content,
            file: Some(file),
        }),
        format,
    })
}

/// Working memory. Each login leaves a key in it until the next reset, and tests log in often:
/// Trussed's own has room for a few dozen.
pub fn working() -> StorageConfig<'static> {
    StorageConfig {
        storage: Box::new(Flash {
            content: vec![0; BLOCK * BLOCKS],
            file: None,
        }),
        format: true,
    }
}

impl Flash {
    fn put(&mut self, offset: usize, data: &[u8]) -> Result<usize> {
        let place = self.content.get_mut(offset..offset + data.len());
        place.ok_or(Error::NO_SPACE)?.copy_from_slice(data);
        if let Some(file) = &self.file {
            let written = file.write_all_at(data, offset as u64);
            written.map_err(|_| Error::IO)?;
        }
        Ok(data.len())
    }
}

impl Storage for Flash {
    const READ_SIZE: usize = 16;
    const WRITE_SIZE: usize = 16;
    const BLOCK_SIZE: usize = BLOCK;
    const BLOCK_COUNT: usize = BLOCKS;
    const BLOCK_CYCLES: isize = -1;
    type CACHE_SIZE = U512;
    type LOOKAHEAD_SIZE = U8;

    fn read(&mut self, offset: usize, buffer: &mut [u8]) -> Result<usize> {
        let place = self.content.get(offset..offset + buffer.len());
        buffer.copy_from_slice(place.ok_or(Error::IO)?);
        Ok(buffer.len())
    }

    fn write(&mut self, offset: usize, data: &[u8]) -> Result<usize> {
        self.put(offset, data)
    }

    fn erase(&mut self, offset: usize, len: usize) -> Result<usize> {
        self.put(offset, &vec![0xff; len])
    }
}
