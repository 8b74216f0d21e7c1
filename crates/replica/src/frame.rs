//! The frame of a log file: what is written by one write and made durable by one sync.
//!
//! `magic, length, sequence, head crc, body crc, body, padding to 8 bytes`, little-endian. A frame is written
//! only after the one before it is durable. So a frame that does not read is a torn tail if no later frame
//! reads, and damage if one does: a crash can tear nothing but the last frame. Both checksums start from the
//! log's own salt, so that no other log's bytes pass for a frame. What is in a body is `pb`'s business.

/// Bytes before the body.
pub(crate) const HEAD: usize = 24;
/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 8;
const MAGIC: [u8; 4] = *b"HtFr";

/// A frame that reads.
pub(crate) struct Frame<'a> {
    pub(crate) sequence: u64,
    pub(crate) body: &'a [u8],
    /// Where the next frame begins.
    pub(crate) end: usize,
}

/// The bytes of the frame with this body.
pub(crate) fn seal(salt: u32, sequence: u64, encode_body: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = vec![0; HEAD];
    encode_body(&mut bytes);
    let length = (bytes.len() - HEAD) as u32;
    let body_crc = crc(salt, &bytes[HEAD..]);
    bytes[..4].copy_from_slice(&MAGIC);
    bytes[4..8].copy_from_slice(&length.to_le_bytes());
    bytes[8..16].copy_from_slice(&sequence.to_le_bytes());
    let head_crc = crc(salt, &bytes[..16]);
    bytes[16..20].copy_from_slice(&head_crc.to_le_bytes());
    bytes[20..24].copy_from_slice(&body_crc.to_le_bytes());
    bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
    bytes
}

/// The frame at `offset`, if one reads there.
pub(crate) fn read(salt: u32, file: &[u8], offset: usize) -> Option<Frame<'_>> {
    let head = file.get(offset..offset.checked_add(HEAD)?)?;
    if head[..4] != MAGIC || crc(salt, &head[..16]) != word(head, 16) {
        return None;
    }
    let length = word(head, 4) as usize;
    let start = offset + HEAD;
    let body = file.get(start..start.checked_add(length)?)?;
    if crc(salt, body) != word(head, 20) {
        return None;
    }
    let sequence = u64::from(word(head, 8)) | u64::from(word(head, 12)) << 32;
    Some(Frame { sequence, body, end: (start + length).next_multiple_of(ALIGN) })
}

/// Whether a frame that is not older than `sequence` reads anywhere after `offset`.
pub(crate) fn any_after(salt: u32, file: &[u8], offset: usize, sequence: u64) -> bool {
    (offset + ALIGN..file.len())
        .step_by(ALIGN)
        .any(|at| read(salt, file, at).is_some_and(|frame| frame.sequence >= sequence))
}

fn crc(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(salt: u32, sequence: u64, body: &[u8]) -> Vec<u8> {
        seal(salt, sequence, |bytes| bytes.extend_from_slice(body))
    }

    #[test]
    fn a_frame_reads_back() {
        let bytes = sealed(7, 1 << 40, b"hello");
        let frame = read(7, &bytes, 0).unwrap();
        assert_eq!((frame.sequence, frame.body, frame.end), (1 << 40, b"hello".as_slice(), bytes.len()));
    }

    #[test]
    fn no_single_flipped_bit_passes() {
        let whole = sealed(7, 3, b"hello");
        // The padding is not part of what was said.
        for bit in 0..(HEAD + 5) * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(read(7, &bytes, 0).is_none(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_of_another_log_does_not_read() {
        assert!(read(8, &sealed(7, 3, b"hello"), 0).is_none());
    }

    #[test]
    fn a_later_frame_is_found_behind_one_that_does_not_read() {
        let mut bytes = sealed(7, 3, b"hello");
        bytes[HEAD] ^= 1;
        bytes.extend(sealed(7, 4, b"world"));
        assert!(any_after(7, &bytes, 0, 3));
        assert!(!any_after(7, &bytes, 0, 5));
    }
}
