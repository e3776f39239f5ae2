use dockin_stream::{ExitStatus, TerminalSize};

/// The status and the resize object: what a peer's JSON says.
///
/// Success is only what says so in an object, and what was read survives being written.
///
/// # Panics
///
/// A law is broken.
pub fn status_json(data: &[u8]) {
    let status = ExitStatus::parse_json(data);
    if status.is_success() {
        assert!(
            data.trim_ascii_start().starts_with(b"{"),
            "success with what is no object"
        );
        // Text that is not UTF-8 is passed over where nobody reads it.
        if let Ok(value) = serde_json::from_slice::<serde_json::Value>(data) {
            assert_eq!(
                value.get("status").and_then(serde_json::Value::as_str),
                Some("Success")
            );
        }
    }
    assert_eq!(ExitStatus::parse_json(status.to_json().as_bytes()), status);
    assert_eq!(
        status.to_text().is_empty() && !matches!(status, ExitStatus::Failed(_)),
        status.is_success()
    );

    let text = ExitStatus::parse_text(data);
    assert_eq!(text.is_success(), data.is_empty());
    assert_eq!(ExitStatus::parse_text(text.to_text().as_bytes()), text);

    if let Some(size) = TerminalSize::parse(data) {
        assert_eq!(
            TerminalSize::parse(size.to_json_line().as_bytes()),
            Some(size)
        );
    }
}
