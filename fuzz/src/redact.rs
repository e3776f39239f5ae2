use dockin_policy::audit::{redact_argv, redact_text};

/// A command line that is written down.
///
/// Words stay words, what is already masked stays as it is, and a secret with a telling name is
/// gone, whatever stands before it.
///
/// # Panics
///
/// A law is broken.
pub fn redact(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let _ = redact_text(&text);

    let mut words: Vec<&str> = text.split('\0').collect();
    assert_eq!(redact_argv(&words).len(), words.len());
    for secret in [
        "--password=hunter2-hunter2",
        "DB_PASSWORD=hunter2-hunter2",
        "https://ann:hunter2-hunter2@example.com/",
    ] {
        words.push(secret);
        let masked = redact_argv(&words);
        assert!(
            !masked
                .iter()
                .skip(words.len() - 1)
                .any(|word| word.contains("hunter2")),
            "{secret} is shown behind {words:?}"
        );
        words.pop();
    }
}
