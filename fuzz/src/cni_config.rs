use dockin_net::cni;

/// One call of the plugin: which command, then the network configuration.
///
/// Always one object: with exit code 0 in the caller's version, with 1 an error with a code and a
/// message.
///
/// # Panics
///
/// A law is broken.
pub fn cni_config(data: &[u8]) {
    let (choice, stdin) = data.split_first().unwrap_or((&0, &[]));
    let command = match COMMANDS.get(usize::from(*choice)) {
        Some(command) => *command,
        // Any text, also with line breaks and control characters.
        None => std::str::from_utf8(stdin).ok(),
    };
    let outcome = cni::run(command, stdin);
    let answer: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&outcome.stdout).expect("the answer is no object");
    assert!(
        answer
            .get("cniVersion")
            .is_some_and(serde_json::Value::is_string)
    );
    if outcome.exit_code == 0 {
        assert!(
            stdin.trim_ascii_start().starts_with(b"{"),
            "success with what is no object"
        );
        // Text that is not UTF-8 is passed over where nobody reads it.
        if let Ok(serde_json::Value::Object(asked)) = serde_json::from_slice(stdin)
            && let Some(version) = asked.get("cniVersion").filter(|version| !version.is_null())
        {
            assert_eq!(answer.get("cniVersion"), Some(version));
        }
        assert_eq!(command, Some("VERSION"));
        assert!(
            answer
                .get("supportedVersions")
                .is_some_and(serde_json::Value::is_array)
        );
    } else {
        assert_eq!(outcome.exit_code, 1);
        assert!(
            answer
                .get("code")
                .is_some_and(|code| code.as_u64() > Some(0))
        );
        assert!(answer.get("msg").and_then(serde_json::Value::as_str) > Some(""));
    }
}

/// By the first byte of the input; another byte makes the rest of it the command.
const COMMANDS: [Option<&str>; 8] = [
    Some("VERSION"),
    Some("ADD"),
    Some("DEL"),
    Some("CHECK"),
    Some("GC"),
    Some("STATUS"),
    Some(""),
    None,
];
