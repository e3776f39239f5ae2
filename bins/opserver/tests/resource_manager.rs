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
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};

struct Server {
    child: Child,
    /// The gateway, `https://…`.
    gateway: String,
    /// The resource manager, up to the name of the call.
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

/// Starts the server with a resource manager on a port of its own; `proof` is what it wants of
/// plugins.
fn start(data: &Path, proof: &str) -> Server {
    start_with(
        data,
        "",
        &format!("data: rm\n  listen: 127.0.0.1:0\n  {proof}"),
    )
    .unwrap()
}

/// Starts the server with these keys of its own and of a resource manager; what it says when it
/// does not.
fn start_with(data: &Path, top: &str, keys: &str) -> Result<Server, String> {
    let listen = |line: &str| match line.starts_with("listen:") {
        true => "listen: 127.0.0.1:0".to_owned(),
        false => line.to_owned(),
    };
    let text = fs::read_to_string(data.join("opserver.yaml")).unwrap();
    let text: Vec<_> = text.lines().map(listen).collect();
    let manager = format!(
        "{top}\nresource_manager:\n  {keys}\n  networks:\n    \
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
    let (mut said, mut address) = (String::new(), None);
    for line in lines.by_ref().map(Result::unwrap) {
        if let Some(own) = line.strip_prefix("resource manager on ") {
            address = Some(own.to_owned());
        }
        if let Some(gateway) = line.strip_prefix("listening on ") {
            let gateway = gateway.to_owned();
            // Somebody must read what it goes on to say.
            std::thread::spawn(move || lines.for_each(drop));
            let address = address.unwrap_or_else(|| format!("{gateway}/rmController/"));
            return Ok(Server {
                child,
                gateway,
                address,
            });
        }
        said += &line;
    }
    assert!(!child.wait().unwrap().success());
    Err(said)
}

fn ask(server: &Server, pod: &str, trust: &Trust) -> Result<Vec<u8>, NoAnswer> {
    let url = format!("{}getPodMultiNetwork?podName={pod}", server.address);
    World::ask(&mut Host, &url, trust)
}

/// The status that the gateway gives a `GET`.
fn status(server: &Server, path: &str, trust: &Trust) -> String {
    match World::ask(&mut Host, &format!("{}{path}", server.gateway), trust) {
        Ok(_) => "200".into(),
        Err(error) => error.message.rsplit(' ').next().unwrap().to_owned(),
    }
}

/// How many refusals of the resource manager the audit trail has, which has them before they are
/// told.
fn refusals(data: &Path) -> usize {
    let text = fs::read_to_string(data.join("audit/audit.jsonl")).unwrap();
    text.matches("resource manager: the certificate or the token of a plugin")
        .count()
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
    assert_eq!(refusals(&data), 1);
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

#[test]
fn its_own_port_follows_its_certificate_and_the_authority_of_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    init(&data);
    let one = certified(&data, &authority(&data, "plugins"), "one", "one");
    let server = start(&data, "authority: plugins.pem");
    assert!(ask(&server, "web-0", &one).is_ok());
    let until = |trust: &Trust, wanted: bool| {
        let asked = (0..100).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            ask(&server, "web-0", trust).is_ok()
        });
        assert!(asked.into_iter().any(|answered| answered == wanted));
    };
    // Another authority of plugins: those of before are out, its own are in.
    let two = certified(&data, &authority(&data, "next"), "two", "two");
    assert!(ask(&server, "web-0", &two).is_err());
    fs::rename(data.join("next.pem"), data.join("plugins.pem")).unwrap();
    until(&two, true);
    assert!(ask(&server, "web-0", &one).is_err());
    // What cannot be read leaves what was there in force.
    fs::write(data.join("plugins.pem"), "nothing").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert!(ask(&server, "web-0", &two).is_ok());
    // Another certificate of the port's own, of an authority that only some know.
    let other = folder.path().join("other");
    init(&other);
    let knows_other = Trust {
        authority: Some(file(&other, "tls/ca.pem")),
        ..two.clone()
    };
    assert!(ask(&server, "web-0", &knows_other).is_err());
    let three = certified(&data, &authority(&data, "plugins"), "three", "three");
    for name in ["tls/server.pem", "tls/server.key"] {
        fs::copy(other.join(name), data.join(name)).unwrap();
    }
    let knows_other = Trust {
        authority: knows_other.authority,
        ..three.clone()
    };
    until(&knows_other, true);
    assert!(ask(&server, "web-0", &three).is_err());
}

/// An authority whose certificate is `NAME.pem`.
fn authority(data: &Path, name: &str) -> Issuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    fs::write(data.join(format!("{name}.pem")), certificate.pem()).unwrap();
    Issuer::new(params, key)
}

/// A certificate for a user in `admins`, in `FILE.pem` and `FILE.key`.
fn certified(data: &Path, by: &Issuer<'_, KeyPair>, file_name: &str, user: &str) -> Trust {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, user);
    let group = DnType::OrganizationName;
    params.distinguished_name.push(group, "admins");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    let (pem, key_file) = (format!("{file_name}.pem"), format!("{file_name}.key"));
    fs::write(data.join(&pem), certificate.pem()).unwrap();
    fs::write(data.join(&key_file), key.serialize_pem()).unwrap();
    Trust {
        identity: Some((file(data, &pem), file(data, &key_file))),
        ..trust(data)
    }
}

#[test]
fn on_the_gateways_port_a_plugins_token_is_nobodys_and_a_persons_is_no_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    init(&data);
    fs::write(
        data.join("plugin-token"),
        "0123456789abcdef0123456789abcdef",
    )
    .unwrap();
    let added = Command::new(env!("CARGO_BIN_EXE_dockin-opserver"))
        .args([
            "token", "add", "--user", "alice", "--group", "admins", "--data",
        ])
        .arg(&data)
        .output()
        .unwrap();
    fs::write(data.join("alice-token"), added.stdout).unwrap();
    let server = start_with(&data, "", "data: rm\n  token: plugin-token").unwrap();
    let with = |name: &str| Trust {
        token: Some(file(&data, name)),
        ..trust(&data)
    };
    let (plugin, alice) = (with("plugin-token"), with("alice-token"));
    let call = "/rmController/getPodMultiNetwork?podName=web-0";
    let ours = "/dockin/v1/clusters";
    for (trust, path, expected) in [
        (&plugin, call, "200"),
        (&alice, call, "401"),
        (&alice, ours, "200"),
        (&plugin, ours, "401"),
        (&plugin, "/version", "401"),
        (&plugin, "/rmController", "401"),
        (
            &plugin,
            "/clusters/local/rmController/getPodMultiNetwork",
            "401",
        ),
        (&plugin, "/rmController/addAppInstance", "404"),
        (&plugin, "/rmController/../version", "404"),
        (&trust(&data), call, "401"),
    ] {
        assert_eq!(status(&server, path, trust), expected, "{path}");
    }
    assert_eq!(refusals(&data), 2, "of a person, and of nobody");
    // Tokens take each other's place while it serves.
    fs::write(
        data.join("plugin-token"),
        "fedcba9876543210fedcba9876543210",
    )
    .unwrap();
    for _ in 0..100 {
        if status(&server, call, &plugin) == "200" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(status(&server, call, &plugin), "200");
}

#[test]
fn on_the_gateways_port_a_plugins_certificate_names_nobody_and_a_persons_is_no_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    init(&data);
    let (people, plugins) = (authority(&data, "people"), authority(&data, "plugins"));
    // The plugin calls itself as the person is called.
    let alice = certified(&data, &people, "alice", "alice");
    let plugin = certified(&data, &plugins, "plugin", "alice");
    let stranger = certified(&data, &authority(&data, "other"), "stranger", "alice");
    let of_people = "client_authority: people.pem";
    let server = start_with(&data, of_people, "data: rm\n  authority: plugins.pem").unwrap();
    let call = "/rmController/getPodMultiNetwork?podName=web-0";
    for (trust, path, expected) in [
        (&plugin, call, "200"),
        (&alice, call, "401"),
        (&trust(&data), call, "401"),
        (&alice, "/dockin/v1/clusters", "200"),
        (&plugin, "/dockin/v1/clusters", "401"),
    ] {
        assert_eq!(status(&server, path, trust), expected, "{path}");
    }
    assert_ne!(status(&server, call, &stranger), "200");
    drop(server);
    let both = start_with(&data, of_people, "data: rm\n  authority: people.pem");
    let refused = both.err().unwrap();
    assert!(refused.contains("authority of their own"), "{refused}");
}

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    init(&data);
    fs::write(data.join("of-a-person"), "dk_0123456789abcdef").unwrap();
    fs::write(data.join("short"), "0123456789abcde").unwrap();
    fs::write(data.join("empty"), "\n").unwrap();
    fs::write(data.join("good"), "0123456789abcdef").unwrap();
    let endpoints = "endpoints: ['http://127.0.0.1:1']";
    for (keys, words) in [
        ("data: rm", "`authority` or `token`"),
        ("data: rm\n  token: of-a-person", "is a person's"),
        ("data: rm\n  token: short", "less than 16"),
        ("data: rm\n  token: empty", "there is none"),
        ("data: rm\n  token: missing", "cannot be read"),
        ("token: good", "either `data`"),
        (
            &format!("token: good\n  data: rm\n  store: {{ type: etcd, {endpoints} }}"),
            "either `data`",
        ),
        (
            &format!("token: good\n  store: {{ type: redis, {endpoints} }}"),
            "the only store is `etcd`",
        ),
        (
            "token: good\n  store: { type: etcd, endpoints: ['etcd:2379'] }",
            "is no address",
        ),
        (
            &format!("token: good\n  store: {{ type: etcd, {endpoints}, user: u }}"),
            "`user` and `password_file`",
        ),
    ] {
        let refused = start_with(&data, "", keys).err().unwrap();
        assert!(refused.contains(words), "{keys}: {refused}");
    }
}
