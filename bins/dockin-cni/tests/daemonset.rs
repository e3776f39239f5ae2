//! The manifest and the image for clusters: what the init container runs is run, with folders in
//! place of the node's.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

fn own(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

fn manifest() -> Vec<Value> {
    let text = fs::read_to_string(own("daemonset.yaml")).unwrap();
    let documents = text.split("\n---\n");
    documents
        .map(|it| serde_saphyr::from_str(it).unwrap())
        .collect()
}

/// The programs that the plugins' packages build.
fn programs() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for package in ["dockin-cni", "dockin-ipam", "dockin-ask"] {
        let text = fs::read_to_string(own("..").join(package).join("Cargo.toml")).unwrap();
        let mut binary = text.split("[[bin]]").skip(1);
        let first = binary.next().unwrap();
        for section in std::iter::once(first).chain(binary) {
            let line = section.lines().find(|it| it.starts_with("name")).unwrap();
            names.insert(line.split('"').nth(1).unwrap().to_owned());
        }
    }
    assert!(names.len() >= 4, "{names:?}");
    names
}

#[test]
fn the_image_has_every_program() {
    let text = fs::read_to_string(own("Containerfile")).unwrap();
    let copied = text.lines().find_map(|line| line.strip_prefix("COPY "));
    let copied = copied.unwrap().strip_suffix(" /").unwrap();
    let copied: BTreeSet<_> = copied.split(' ').map(str::to_owned).collect();
    assert_eq!(copied, programs());
    assert!(text.contains("ENTRYPOINT [\"/dockin-cni\"]"), "{text}");
}

#[test]
fn the_manifest_installs_every_program_and_a_configuration_that_the_plugin_reads() {
    let root = tempfile::tempdir().unwrap();
    let documents = manifest();
    let (map, set) = (&documents[0], &documents[1]);
    assert_eq!(
        (&map["kind"], &set["kind"]),
        (&"ConfigMap".into(), &"DaemonSet".into())
    );
    let pod = &set["spec"]["template"]["spec"];
    let labels = &set["spec"]["template"]["metadata"]["labels"];
    assert_eq!(&set["spec"]["selector"]["matchLabels"], labels);
    // What each mount of the init container is.
    let container = &pod["initContainers"][0];
    let volumes = pod["volumes"].as_array().unwrap();
    let mut hosts = BTreeMap::new();
    let mut folders = Vec::new();
    for mount in container["volumeMounts"].as_array().unwrap() {
        let path = mount["mountPath"].as_str().unwrap();
        let folder = root.path().join(path.trim_start_matches('/'));
        fs::create_dir_all(&folder).unwrap();
        let named = |it: &&Value| it["name"] == mount["name"];
        let volume = volumes.iter().find(named).unwrap();
        if volume["configMap"].is_object() {
            assert_eq!(volume["configMap"]["name"], map["metadata"]["name"]);
            for (name, text) in map["data"].as_object().unwrap() {
                fs::write(folder.join(name), text.as_str().unwrap()).unwrap();
            }
        } else if volume["secret"].is_object() {
            fs::write(folder.join("ca.pem"), "not read before there is an answer").unwrap();
            fs::write(folder.join("plugin-token"), "0123456789abcdef").unwrap();
        } else {
            let host = volume["hostPath"]["path"].as_str().unwrap();
            hosts.insert(host.to_owned(), folder);
        }
        folders.push(path.to_owned());
    }
    // The image's folder, with whatever lies beside the plugin.
    let image = root.path().join("image");
    fs::create_dir(&image).unwrap();
    for name in programs() {
        fs::write(image.join(name), "a program").unwrap();
    }
    fs::copy(env!("CARGO_BIN_EXE_dockin-cni"), image.join("dockin-cni")).unwrap();
    let words = container["command"].as_array().unwrap();
    let words: Vec<_> = words.iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(words[0], "/dockin-cni");
    let mut install = Command::new(image.join("dockin-cni"));
    for word in &words[1..] {
        match folders
            .iter()
            .any(|folder| word.starts_with(folder.as_str()))
        {
            true => install.arg(root.path().join(word.trim_start_matches('/'))),
            false => install.arg(word),
        };
    }
    let installed = install.output().unwrap();
    assert!(installed.status.success(), "{installed:?}");
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect()
    };
    let mut expected = programs();
    expected.insert("dockin-bridge".into());
    assert_eq!(names(&hosts["/opt/cni/bin"]), expected);
    // The plugin reads what was installed, where it was installed.
    let conf = &hosts["/etc/cni/net.d"];
    let mut text = fs::read_to_string(conf.join("10-dockin.conf")).unwrap();
    let config: Value = serde_json::from_str(&text).unwrap();
    for key in ["backendAuthority", "backendToken"] {
        let path = Path::new(config[key].as_str().unwrap());
        let host = &hosts[path.parent().unwrap().to_str().unwrap()];
        assert!(host.join(path.file_name().unwrap()).is_file(), "{key}");
    }
    assert!(hosts.contains_key(config["confDir"].as_str().unwrap()));
    assert!(hosts.contains_key(config["binDir"].as_str().unwrap()));
    let network = &hosts["/etc/cni/dockin/net.d"].join("webank.conf");
    let network: Value = serde_json::from_slice(&fs::read(network).unwrap()).unwrap();
    assert_eq!(
        (&network["name"], &network["type"]),
        (&"webank".into(), &"bridge".into())
    );
    let state = root.path().join("state");
    let extra = format!("{{\n\"stateDir\": {state:?}, ");
    text = text
        .replacen('{', &extra, 1)
        .replace("/var/log", root.path().to_str().unwrap());
    for (host, folder) in hosts.iter().rev() {
        text = text.replace(&format!("\"{host}"), &format!("\"{}", folder.display()));
    }
    text = text.replace("gateway.example.com:6443", "127.0.0.1:1");
    let mut child = Command::new(env!("CARGO_BIN_EXE_dockin-cni"))
        .env("CNI_COMMAND", "ADD")
        .env("CNI_CONTAINERID", "c1")
        .env("CNI_NETNS", "/run/netns/none")
        .env("CNI_IFNAME", "eth0")
        .env("CNI_PATH", &hosts["/opt/cni/bin"])
        .env("CNI_ARGS", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let error: Value = serde_json::from_slice(&output.stdout).unwrap();
    // It gets as far as the question.
    let message = error["msg"].as_str().unwrap();
    assert!(message.contains("`backend"), "{message}");
}
