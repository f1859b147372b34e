//! The frame of each record in an event file (`TFRecord`): length, masked CRC-32C of the length, bytes, masked CRC-32C
//! of the bytes.

use std::io::{self, Write};

/// CRC-32C (Castagnoli) of one byte each, reflected polynomial `0x82f63b78`.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Writes one record.
pub(super) fn write_record(writer: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = (bytes.len() as u64).to_le_bytes();
    writer.write_all(&length)?;
    writer.write_all(&masked(crc32c(&length)).to_le_bytes())?;
    writer.write_all(bytes)?;
    writer.write_all(&masked(crc32c(bytes)).to_le_bytes())
}

fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let index = usize::from(crc as u8 ^ byte);
        TABLE.get(index).copied().unwrap_or(0) ^ crc >> 8
    };
    !bytes.iter().fold(!0, step)
}

/// A CRC of data that contain CRCs is weak, so the stored ones are rotated and shifted.
fn masked(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksums_match_rfc_3720_and_the_check_value() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 3720, B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        assert_eq!(crc32c(b""), 0);
    }

    #[test]
    fn a_record_is_framed() {
        let mut bytes = Vec::new();
        write_record(&mut bytes, b"abc").unwrap();
        assert_eq!(bytes.len(), 8 + 4 + 3 + 4);
        assert_eq!(bytes[..8], 3u64.to_le_bytes());
        assert_eq!(&bytes[12..15], b"abc");
    }
}
