//! Bytes on their way to a file, gathered at an address from which the disk can fetch them by itself.

/// What the address of bytes, their number and their place in the file are multiples of when the disk is to fetch them by
/// itself. Disks ask for 512 or 4,096.
const BLOCK_BYTES: usize = 4_096;

/// Says whether a place in a file suits the disk.
pub(super) fn suits_disk(offset_bytes: u64) -> bool {
    offset_bytes.is_multiple_of(BLOCK_BYTES as u64)
}

/// Bytes that are gathered up to some number, which go to the file together.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Filled up to the first address that suits the disk, then the bytes. Never grows where that matters.
    buffer: Vec<u8>,
    start: usize,
}

impl Piece {
    /// Makes an empty one with room for some bytes.
    pub(super) fn with_room(bytes: usize) -> Self {
        let mut buffer: Vec<u8> = Vec::with_capacity(bytes + BLOCK_BYTES);
        let start = buffer.as_ptr().addr().wrapping_neg() % BLOCK_BYTES;
        buffer.resize(start, 0);
        Self { buffer, start }
    }

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives an empty one with room for some bytes: this one if it was made so, and not one that grew with its bytes.
    pub(super) fn emptied(mut self, room_bytes: usize) -> Self {
        self.buffer.truncate(self.start);
        let has_room = self.buffer.capacity() >= self.start + room_bytes;
        let begins_well = (self.buffer.as_ptr().addr() + self.start).is_multiple_of(BLOCK_BYTES);
        if has_room && begins_well { self } else { Self::with_room(room_bytes) }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Says whether the disk can fetch the bytes by itself.
    pub(super) fn suits_disk(&self) -> bool {
        let bytes = self.bytes();
        !bytes.is_empty()
            && bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
            && bytes.len().is_multiple_of(BLOCK_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_with_room_suits_the_disk_when_whole_blocks_are_in_it() {
        let mut piece = Piece::with_room(3 * BLOCK_BYTES);
        for round in 0..3 {
            assert!(!piece.suits_disk(), "empty in round {round}");
            piece.extend(&[1; BLOCK_BYTES]);
            assert!(piece.suits_disk());
            piece.extend(&[2; 5]);
            assert!(!piece.suits_disk());
            piece.extend(&[3; 2 * BLOCK_BYTES - 5]);
            assert!(piece.suits_disk());
            assert_eq!((piece.len(), piece.bytes()[BLOCK_BYTES + 4], piece.bytes()[BLOCK_BYTES + 5]), (12_288, 2, 3));
            let address = piece.bytes().as_ptr();
            piece = piece.emptied(3 * BLOCK_BYTES);
            assert_eq!(piece.bytes(), b"");
            assert_eq!(piece.bytes().as_ptr(), address);
        }
    }

    #[test]
    fn a_piece_that_grew_is_exchanged_for_one_that_suits_the_disk() {
        let mut piece = Piece::default();
        piece.extend(&[1; 5]);
        assert_eq!(piece.bytes(), [1; 5]);
        let mut piece = piece.emptied(BLOCK_BYTES);
        piece.extend(&[1; BLOCK_BYTES]);
        assert!(piece.suits_disk());
    }
}
