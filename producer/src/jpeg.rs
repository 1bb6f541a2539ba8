//! What the bytes of a JPEG file say of themselves, without decoding them.

const START_OF_IMAGE: [u8; 2] = [0xff, 0xd8];
const END_OF_IMAGE: [u8; 2] = [0xff, 0xd9];
const HUFFMAN_TABLES: u8 = 0xc4;
const START_OF_SCAN: u8 = 0xda;
const APP1: u8 = 0xe1;

/// How far a picture can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Soundness {
    /// Any decoder takes it, and all show the same.
    Whole,
    /// OpenCV decodes it, others perhaps not or differently: without Huffman tables (some cameras leave the standard
    /// ones out), with an Exif header (which may say that the pixels are to be turned), or with something behind it.
    Odd,
    /// Its end is missing: decoders show gray where it should be, without an error.
    CutOff,
}

/// None if these are not the bytes of a JPEG.
pub fn soundness(bytes: &[u8]) -> Option<Soundness> {
    if !bytes.starts_with(&START_OF_IMAGE) {
        return None;
    }
    let mut at = START_OF_IMAGE.len();
    let mut has_tables = false;
    let mut has_exif = false;
    while let Some(&[0xff, marker, high, low]) = bytes.get(at..at + 4) {
        match marker {
            START_OF_SCAN => return Some(of_scan(&bytes[at..], has_tables && !has_exif)),
            APP1 if bytes[at + 4..].starts_with(b"Exif") => has_exif = true,
            HUFFMAN_TABLES => has_tables = true,
            _ => {}
        }
        at += 2 + usize::from(u16::from_be_bytes([high, low]));
    }
    Some(Soundness::CutOff)
}

fn of_scan(scan: &[u8], is_plain: bool) -> Soundness {
    // Cameras pad the end to their buffers' size.
    let end = scan.iter().rposition(|&byte| byte != 0);
    let is_ended = scan[..end.map_or(0, |at| at + 1)].ends_with(&END_OF_IMAGE);
    match (is_ended, is_plain) {
        (true, true) => Soundness::Whole,
        (true, false) => Soundness::Odd,
        (false, _) if scan.windows(2).any(|pair| pair == END_OF_IMAGE) => Soundness::Odd,
        (false, _) => Soundness::CutOff,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jpeg(segments: &[&[u8]], scan: &[u8]) -> Vec<u8> {
        let mut bytes = START_OF_IMAGE.to_vec();
        for segment in segments {
            bytes.extend([0xff, segment[0]]);
            bytes.extend((segment.len() as u16 + 1).to_be_bytes());
            bytes.extend(&segment[1..]);
        }
        bytes.extend([0xff, START_OF_SCAN, 0, 2]);
        bytes.extend(scan);
        bytes
    }

    #[test]
    fn soundness_is_read_from_the_markers() {
        let tables: &[u8] = &[HUFFMAN_TABLES, 1, 2, 3];
        let exif: &[u8] = &[APP1, b'E', b'x', b'i', b'f', 0, 0];
        let scan = [9, 9, 9, 0xff, 0xd9];
        let of = |bytes: Vec<u8>| soundness(&bytes);
        assert_eq!(of(jpeg(&[tables], &scan)), Some(Soundness::Whole));
        assert_eq!(
            of(jpeg(&[tables], &[&scan[..], &[0; 9]].concat())),
            Some(Soundness::Whole)
        );
        assert_eq!(
            of(jpeg(&[tables], &[&scan[..], b"more"].concat())),
            Some(Soundness::Odd)
        );
        assert_eq!(of(jpeg(&[], &scan)), Some(Soundness::Odd));
        assert_eq!(of(jpeg(&[exif, tables], &scan)), Some(Soundness::Odd));
        assert_eq!(of(jpeg(&[tables], &scan[..4])), Some(Soundness::CutOff));
        assert_eq!(
            soundness(&jpeg(&[tables], &scan)[..7]),
            Some(Soundness::CutOff)
        );
        assert_eq!(soundness(b"text"), None);
        assert_eq!(soundness(&[]), None);
    }
}
