//! A filter that rules out most ids that a run does not hold: a Bloom filter in blocks of one cache line, so that a
//! lookup costs one memory read (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007).

/// Bytes of a block.
pub(super) const FILTER_BLOCK: usize = 64;
/// Bits of the filter per id: about one in 150 absent ids passes the filter.
const BITS_PER_ID: u64 = 12;
/// Bits set per id.
const PROBES: u32 = 6;

/// Returns the number of blocks of a filter for that many ids.
pub(super) fn blocks(ids: u64) -> u64 {
    (ids * BITS_PER_ID).div_ceil(8 * FILTER_BLOCK as u64).max(1)
}

/// Returns the block of an id.
pub(super) fn block_of(high: u64, blocks: u64) -> u64 {
    // The upper half of the product is evenly distributed over the blocks.
    ((u128::from(high) * u128::from(blocks)) >> 64) as u64
}

/// Marks an id in its block.
pub(super) fn mark(block: &mut [u8], low: u64) {
    for bit in bits(low) {
        if let Some(byte) = block.get_mut(bit / 8) {
            *byte |= 1 << (bit % 8);
        }
    }
}

/// Returns whether the id may be marked in its block.
pub(super) fn may_hold(block: &[u8], low: u64) -> bool {
    bits(low).all(|bit| block.get(bit / 8).is_some_and(|byte| byte & (1 << (bit % 8)) != 0))
}

fn bits(low: u64) -> impl Iterator<Item = usize> {
    (0..PROBES).map(move |probe| ((low >> (9 * probe)) & 511) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_marked_id_passes_and_few_others_do() {
        let mix = |n: u64| {
            let n = (n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            n ^ (n >> 31)
        };
        let count = 50_000;
        let blocks = blocks(count);
        let mut filter = vec![0; blocks as usize * FILTER_BLOCK];
        let range = |n: u64| {
            let at = block_of(mix(n), blocks) as usize * FILTER_BLOCK;
            at..at + FILTER_BLOCK
        };
        for n in 0..count {
            mark(&mut filter[range(n)], mix(n ^ 0xabcd));
        }
        assert!((0..count).all(|n| may_hold(&filter[range(n)], mix(n ^ 0xabcd))));
        let passed = (count..2 * count).filter(|n| may_hold(&filter[range(*n)], mix(n ^ 0xabcd))).count();
        assert!(passed < count as usize / 80, "{passed}");
    }
}
