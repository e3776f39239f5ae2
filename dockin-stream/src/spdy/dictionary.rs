use std::sync::LazyLock;

/// Adler-32 of [`DICTIONARY`], the dictionary id in a zlib header with FDICT.
pub(super) const DICTIONARY_ID: u32 = 0xe3c6_a7c2;

/// The preset dictionary: each of `WORDS` behind its length as a u32, then `TAIL`.
///
/// Spec: SPDY Protocol draft 3, section 2.6.10.1.
pub(super) static DICTIONARY: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut dictionary = Vec::with_capacity(1423);
    for word in WORDS {
        // Words are short literals; the length fits.
        let length = u32::try_from(word.len()).unwrap_or(0);
        dictionary.extend_from_slice(&length.to_be_bytes());
        dictionary.extend_from_slice(word.as_bytes());
    }
    for part in TAIL {
        dictionary.extend_from_slice(part.as_bytes());
    }
    dictionary
});

const WORDS: [&str; 65] = [
    "options",
    "head",
    "post",
    "put",
    "delete",
    "trace",
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "accept-ranges",
    "age",
    "allow",
    "authorization",
    "cache-control",
    "connection",
    "content-base",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "from",
    "host",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authorization",
    "range",
    "referer",
    "retry-after",
    "server",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "warning",
    "www-authenticate",
    "method",
    "get",
    "status",
    "200 OK",
    "version",
    "HTTP/1.1",
    "url",
    "public",
    "set-cookie",
    "keep-alive",
    "origin",
];

/// Status codes and values that follow the words without lengths.
const TAIL: [&str; 12] = [
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505",
    "203 Non-Authoritative Information",
    "204 No Content",
    "301 Moved Permanently",
    "400 Bad Request",
    "401 Unauthorized",
    "403 Forbidden",
    "404 Not Found",
    "500 Internal Server Error501 Not Implemented503 Service Unavailable",
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT",
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,\
     text/plain,text/javascript,publicprivatemax-age=gzip,deflate,sdch",
    "charset=utf-8charset=iso-8859-1,utf-,*,enq=0.",
];

#[cfg(test)]
mod tests {
    use super::{DICTIONARY, DICTIONARY_ID};

    #[test]
    fn dictionary_has_the_specified_length_and_checksum() {
        let (low, high) = DICTIONARY
            .iter()
            .fold((1_u32, 0_u32), |(low, high), &byte| {
                let low = (low + u32::from(byte)) % 65_521;
                (low, (high + low) % 65_521)
            });
        assert_eq!(DICTIONARY.len(), 1423);
        assert_eq!((high << 16) | low, DICTIONARY_ID);
    }
}
