use dockin_net::{
    LeaseStore, Place, StoreError, Timestamp,
    cni::Environment,
    ipam::{self, World},
};

/// One call of the address plugin, whose disk is broken: which command, then the network
/// configuration.
///
/// With exit code 0 an object in the caller's version or nothing at all, with 1 an error with a
/// code and a message.
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
    let environment = Environment {
        command: command.unwrap_or_default().to_owned(),
        container_id: "c1".to_owned(),
        netns: "/var/run/netns/c1".to_owned(),
        ifname: "eth0".to_owned(),
        ..Environment::default()
    };
    let outcome = ipam::run(&environment, stdin, &mut Broken);
    let silent = outcome.exit_code == 0 && !matches!(command, Some("ADD" | "VERSION"));
    assert_eq!(outcome.stdout.is_empty(), silent, "{command:?}");
    if silent {
        return;
    }
    let answer: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&outcome.stdout).expect("the answer is no object");
    let text = |name| answer.get(name).and_then(serde_json::Value::as_str);
    assert!(text("cniVersion").is_some());
    if outcome.exit_code == 0 {
        let asked = serde_json::from_slice::<serde_json::Value>(stdin).ok();
        let version = asked.as_ref().and_then(|asked| asked.get("cniVersion"));
        if let (Some("ADD"), Some(version)) = (command, version.filter(|it| it.is_string())) {
            assert_eq!(answer.get("cniVersion"), Some(version));
        }
        let versions = answer.get("supportedVersions");
        assert_eq!(command == Some("VERSION"), versions.is_some());
    } else {
        assert_eq!(outcome.exit_code, 1);
        let code = answer.get("code").and_then(serde_json::Value::as_u64);
        assert!(code > Some(0));
        assert!(text("msg") > Some(""));
    }
}

/// A machine on which no lease can be kept and no file be read.
struct Broken;

impl World for Broken {
    fn is_own_namespace(&mut self, _: &str) -> bool {
        false
    }

    fn now(&mut self) -> Timestamp {
        Timestamp(1_700_000_000)
    }

    fn boot_id(&mut self) -> Option<String> {
        None
    }

    fn open(&mut self, _: &Place) -> Result<Box<dyn LeaseStore>, StoreError> {
        Err(broken())
    }

    fn read_text(&mut self, _: &str) -> Result<String, StoreError> {
        Err(broken())
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

fn broken() -> StoreError {
    StoreError::Io {
        path: "/disk".to_owned(),
        message: "broken".to_owned(),
    }
}
