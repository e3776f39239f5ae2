use std::fmt::Write as _;

/// `text` with all but the unreserved characters escaped: as a segment of a path, or as a value in
/// a query, a form or a header.
///
/// Spec: RFC 3986 §2.1 and §2.3.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // A `String` takes everything.
            let _infallible = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::percent_encode;

    #[test]
    fn unreserved_characters_stay_and_all_others_are_two_digits_a_byte() {
        assert_eq!(percent_encode("aZ09-._~"), "aZ09-._~");
        assert_eq!(percent_encode("a/b c\n+%é"), "a%2Fb%20c%0A%2B%25%C3%A9");
        assert_eq!(percent_encode(""), "");
    }
}
