//! Pure: looks over a block of JSON text for the bytes that no string holds as they are.

use wide::u8x16;

/// How many bytes are looked over at once: a mask has so many bits.
pub(super) const BLOCK: usize = 64;

/// Which of the bytes are a quote, a backslash or a control character.
#[inline]
pub(super) fn special(bytes: &[u8; BLOCK]) -> u64 {
    let (parts, _) = bytes.as_chunks::<16>();
    parts.iter().rev().fold(0, |mask, part| {
        let part = u8x16::new(*part);
        let control = part.min(u8x16::splat(0x1f)).simd_eq(part);
        let found = part.simd_eq(u8x16::splat(b'"')) | part.simd_eq(u8x16::splat(b'\\')) | control;
        mask << 16 | u64::from(found.to_bitmask())
    })
}

/// The same of fewer bytes. What lies behind the text counts, so that nothing runs past it.
pub(super) fn special_at_the_end(rest: &[u8]) -> u64 {
    let mut bytes = [0; BLOCK];
    for (byte, last) in bytes.iter_mut().zip(rest) {
        *byte = *last;
    }
    special(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_backslashes_and_control_characters_are_special_and_nothing_else_is() {
        for place in 0..BLOCK {
            for byte in 0..=u8::MAX {
                let mut bytes = [b'a'; BLOCK];
                bytes[place] = byte;
                let found = matches!(byte, b'"' | b'\\' | 0..0x20);
                assert_eq!(special(&bytes), u64::from(found) << place);
            }
        }
    }
}
