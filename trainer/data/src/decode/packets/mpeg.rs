//! What the first frame of an MP3 says about the others: the tags that encoders leave there.

/// What a tag says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag {
    /// Bytes from the first frame to the last, where stated.
    pub num_bytes: Option<u64>,
    /// MPEG frames, where stated.
    pub num_frames: Option<u32>,
}

/// The tag of Xing and LAME, or that of Fraunhofer's encoder (VBRI), of a file whose first frame begins with `first`.
pub(super) fn tag(first: &[u8]) -> Option<Tag> {
    let &[0xff, second, _, fourth, ..] = first else { return None };
    let is_mpeg1 = second & 0x18 == 0x18;
    let is_mono = fourth & 0xc0 == 0xc0;
    let has_checksum = second & 1 == 0;
    let side_bytes = match (is_mpeg1, is_mono) {
        (true, false) => 32,
        (true, true) | (false, false) => 17,
        (false, true) => 9,
    };
    let number = |at: usize| match first.get(at..at + 4) {
        Some(&[a, b, c, d]) => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    };
    if first.get(36..40) == Some(b"VBRI") {
        return Some(Tag { num_bytes: number(46).map(u64::from), num_frames: number(50) });
    }
    let at = 4 + side_bytes + if has_checksum { 2 } else { 0 };
    if !matches!(first.get(at..at + 4), Some(b"Xing" | b"Info")) {
        return None;
    }
    let flags = number(at + 4)?;
    let has_frames = flags & 1 != 0;
    let bytes_at = at + if has_frames { 12 } else { 8 };
    Some(Tag {
        num_frames: if has_frames { number(at + 8) } else { None },
        num_bytes: if flags & 2 != 0 { number(bytes_at).map(u64::from) } else { None },
    })
}

/// Length of the ID3v2 tag that begins with `first`; 0 where there is none.
pub(in super::super) fn id3_bytes(first: &[u8]) -> u64 {
    match *first {
        [b'I', b'D', b'3', _, _, flags, a, b, c, d, ..]
            if [a, b, c, d].iter().all(|byte| byte & 0x80 == 0) =>
        {
            let body = [a, b, c, d].iter().fold(0, |sum, &seven| sum << 7 | u64::from(seven));
            let footer = if flags & 0x10 != 0 { 10 } else { 0 };
            10 + body + footer
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_found_behind_the_side_information() {
        // MPEG-1 with joint stereo, MPEG-2 with one channel, and the latter with a checksum.
        for (header, at) in
            [([0xff, 0xfb, 0x90, 0x44], 36), ([0xff, 0xf3, 0x44, 0xc4], 13), ([0xff, 0xf2, 0x44, 0xc4], 15)]
        {
            let mut frame = vec![0; 200];
            frame[..4].copy_from_slice(&header);
            assert_eq!(tag(&frame), None);
            frame[at..at + 16].copy_from_slice(b"Xing\0\0\0\x03\0\0\x01\0\0\0\x20\0");
            assert_eq!(tag(&frame), Some(Tag { num_bytes: Some(0x2000), num_frames: Some(256) }));
            frame[at..at + 12].copy_from_slice(b"Info\0\0\0\x02\0\0\0\x07");
            assert_eq!(tag(&frame), Some(Tag { num_bytes: Some(7), num_frames: None }));
            assert_eq!(tag(&frame[..at + 6]), None);
        }
        let mut frame = vec![0; 60];
        frame[..2].copy_from_slice(&[0xff, 0xfb]);
        frame[36..40].copy_from_slice(b"VBRI");
        frame[46..54].copy_from_slice(&[0, 0, 1, 0, 0, 0, 0, 9]);
        assert_eq!(tag(&frame), Some(Tag { num_bytes: Some(256), num_frames: Some(9) }));
    }

    #[test]
    fn the_length_of_an_id3_tag_is_its_seven_bits() {
        assert_eq!(id3_bytes(b"ID3\x04\0\0\0\0\x01\x02rest"), 10 + 130);
        assert_eq!(id3_bytes(b"ID3\x04\0\x10\0\0\0\0"), 20);
        assert_eq!(id3_bytes(b"ID3\x04\0\0\0\0\x81\x02"), 0);
        assert_eq!((id3_bytes(b"fLaC"), id3_bytes(b"")), (0, 0));
    }
}
