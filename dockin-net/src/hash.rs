/// FNV-1a, 64 bits, with a byte that no name has after each part.
pub(crate) fn hash(parts: &[&[u8]]) -> u64 {
    let mut number: u64 = 0xcbf2_9ce4_8422_2325;
    for part in parts {
        for byte in part.iter().chain(&[0xff]) {
            number = (number ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    // The low bits of FNV are weak where inputs differ in few bytes.
    number ^ (number >> 32)
}
