//! The resource manager of the built program, asked as the plugin asks it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use dockin_net::{
    io::Host,
    meta::{NoAnswer, Trust, World},
    resource_manager::read_answer,
};

struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn init(data: &Path) {
    let made = Command::new(env!("CARGO_BIN_EXE_dockin-opserver"))
        .args(["init", "--data"])
        .arg(data)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success(), "{said}");
}

/// Starts the server with a resource manager; `proof` is what it wants of plugins.
fn start(data: &Path, proof: &str) -> Server {
    let listen = |line: &str| match line.starts_with("listen:") {
        true => "listen: 127.0.0.1:0".to_owned(),
        false => line.to_owned(),
    };
    let text = fs::read_to_string(data.join("opserver.yaml")).unwrap();
    let text: Vec<_> = text.lines().map(listen).collect();
    let manager = format!(
        "resource_manager:\n  listen: 127.0.0.1:0\n  data: rm\n  {proof}\n  networks:\n    \
         - {{ name: webank, interface: eth0, subnet: 10.0.0.0/24, master: true }}\n"
    );
    let path = data.join("with-manager.yaml");
    fs::write(&path, text.join("\n") + "\n" + &manager).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dockin-opserver"))
        .args(["serve", "--config"])
        .arg(path)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map(Result::unwrap)
        .inspect(|line| println!("{line}"))
        .find_map(|line| Some(line.strip_prefix("resource manager on ")?.to_owned()))
        .unwrap();
    // Somebody must read what it goes on to say.
    std::thread::spawn(move || lines.for_each(drop));
    Server { child, address }
}

fn ask(server: &Server, pod: &str, trust: &Trust) -> Result<Vec<u8>, NoAnswer> {
    let url = format!("{}getPodMultiNetwork?podName={pod}", server.address);
    World::ask(&mut Host, &url, trust)
}

fn file(data: &Path, name: &str) -> String {
    let path = data.join(name);
    assert!(path.is_file(), "{}", path.display());
    path.to_str().unwrap().to_owned()
}

fn trust(data: &Path) -> Trust {
    Trust {
        authority: Some(file(data, "tls/ca.pem")),
        ..Trust::default()
    }
}

#[test]
fn a_plugin_with_the_token_gets_a_pods_address_and_others_get_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    init(&data);
    fs::write(
        data.join("plugin-token"),
        "0123456789abcdef0123456789abcdef\n",
    )
    .unwrap();
    let server = start(&data, "token: plugin-token");
    let with_token = Trust {
        token: Some(file(&data, "plugin-token")),
        ..trust(&data)
    };
    let first = ask(&server, "web-0", &with_token).unwrap();
    let attached = read_answer(&first).unwrap();
    assert_eq!(attached[0].address.to_string(), "10.0.0.2/24");
    assert_eq!(ask(&server, "web-0", &with_token).unwrap(), first);
    let refused = ask(&server, "web-0", &trust(&data)).unwrap_err();
    assert!(
        refused.message.contains("401") && !refused.later,
        "{refused:?}"
    );
    // The addresses outlive the server.
    drop(server);
    let server = start(&data, "token: plugin-token");
    assert_eq!(ask(&server, "web-0", &with_token).unwrap(), first);
}

#[test]
fn a_plugin_with_a_certificate_of_the_authority_gets_in_and_one_without_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    init(&data);
    let server = start(&data, "authority: tls/ca.pem");
    let identity = (
        file(&data, "tls/gateway.pem"),
        file(&data, "tls/gateway.key"),
    );
    let with_certificate = Trust {
        identity: Some(identity),
        ..trust(&data)
    };
    assert!(ask(&server, "web-0", &with_certificate).is_ok());
    assert!(ask(&server, "web-0", &trust(&data)).is_err());
}
