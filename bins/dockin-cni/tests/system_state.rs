//! The built program where an operator's machine is at its worst: calls for one attachment at
//! once, a full disk, a file system that cannot be written. Needs root.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

#[path = "support/net.rs"]
mod net;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use net::{Call, Net};
use serde_json::{Value, json};
use tempfile::TempDir;

const OURS: &str = env!("CARGO_BIN_EXE_dockin-cni");

/// A bridge network with a pool whose leases are in `directory`.
fn network(directory: &Path) -> Value {
    json!({
        "cniVersion": "1.1.0", "name": "pods", "type": "bridge", "bridge": "br0",
        "isGateway": true, "ipMasq": true,
        "ipam": {"type": "dockin-ipam", "subnet": "10.1.0.0/24", "dataDir": directory},
    })
}

/// The same network through `dockin-cni`, with its records in `directory` too.
fn meta(directory: &Path) -> Value {
    let files = directory.parent().unwrap().join("net.d");
    fs::create_dir_all(&files).unwrap();
    let file = json!({"cniVersion": "1.0.0", "name": "front", "type": "bridge", "bridge": "br0"});
    fs::write(files.join("10.conf"), file.to_string()).unwrap();
    json!({
        "cniVersion": "1.0.0", "name": "pods", "type": "dockin-cni",
        "confDir": files, "stateDir": directory,
        "networks": [{"type": "front", "podIp": "10.1.0.2", "subnetMask": "24",
            "gateway": "10.1.0.1", "ifName": "eth0", "master": true}],
    })
}

fn call(host: &Net, netns: &str, verb: &str, config: &Value) -> (Option<i32>, Value) {
    let of = Call {
        verb,
        container: "c1",
        netns,
        args: "",
        config,
    };
    host.cni(OURS, &of)
}

fn address(answer: &Value) -> String {
    answer["ips"][0]["address"]
        .as_str()
        .unwrap_or_default()
        .into()
}

/// What of a pod is there: ports of the bridge, its interface, rules.
fn left(host: &Net, pod: &Net) -> (usize, usize, bool) {
    let rules = host.run("nft", &["list", "ruleset"]).stdout;
    (
        host.json("link show type veth").len(),
        pod.json("link").len() - 1,
        String::from_utf8(rules).unwrap().contains("10.1.0."),
    )
}

const NOTHING: (usize, usize, bool) = (0, 0, false);

/// A file system of `size` bytes, for as long as the value lives.
struct Disk(TempDir);

impl Disk {
    fn new(size: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("state")).unwrap();
        let disk = Self(directory);
        disk.mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "state"]);
        disk
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn mount(&self, words: &[&str]) {
        let done = Command::new("mount").args(words).arg(self.path()).output();
        let done = done.unwrap();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "these tests need root: {told}");
    }

    /// Leaves so many bytes.
    fn fill(&self, left: u64) {
        let path = self.path().join("filling");
        let mut file = fs::File::create(&path).unwrap();
        let mut length = 0_u64;
        while file.write_all(&[7; 4096]).is_ok() {
            length += 4096;
        }
        file.set_len(length.saturating_sub(left)).unwrap();
    }

    fn empty(&self) {
        fs::remove_file(self.path().join("filling")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

#[test]
fn of_calls_for_one_attachment_at_once_one_gets_an_address_and_nothing_of_the_others_stays() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = network(directory.path());
    for _ in 0..5 {
        let (host, pod) = (Net::new(), Net::new());
        let netns = pod.path();
        let answers: Vec<_> = std::thread::scope(|scope| {
            let calls: Vec<_> = (0..6)
                .map(|_| scope.spawn(|| call(&host, &netns, "ADD", &wanted)))
                .collect();
            calls.into_iter().map(|it| it.join().unwrap()).collect()
        });
        let made: Vec<_> = answers.iter().filter(|it| it.0 == Some(0)).collect();
        assert_eq!(made.len(), 1, "{answers:?}");
        let given = address(&made[0].1);
        assert_eq!(left(&host, &pod), (1, 1, true));
        assert!(pod.ip("address show dev eth0").contains(&given));
        let mut checked = wanted.clone();
        checked["prevResult"] = made[0].1.clone();
        assert_eq!(call(&host, &netns, "CHECK", &checked).0, Some(0));
        assert_eq!(call(&host, &netns, "DEL", &wanted).0, Some(0));
        assert_eq!(left(&host, &pod), NOTHING);
    }
}

#[test]
fn whatever_add_and_del_of_one_attachment_do_to_each_other_the_last_del_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let wanted = network(directory.path());
    let (host, pod) = (Net::new(), Net::new());
    let netns = pod.path();
    for _ in 0..8 {
        std::thread::scope(|scope| {
            for verb in ["ADD", "DEL", "ADD", "DEL"] {
                let (host, netns, wanted) = (&host, &netns, &wanted);
                scope.spawn(move || call(host, netns, verb, wanted));
            }
        });
        assert_eq!(call(&host, &netns, "DEL", &wanted).0, Some(0));
        assert_eq!(left(&host, &pod), NOTHING);
        // Its address is free again too: the next one gets in.
        let (code, answer) = call(&host, &netns, "ADD", &wanted);
        assert_eq!(code, Some(0), "{answer}");
        assert_eq!(call(&host, &netns, "DEL", &wanted).0, Some(0));
    }
}

#[test]
fn a_disk_that_becomes_full_in_the_middle_of_an_add_leaves_nothing_of_it() {
    for config in [network, meta] {
        let mut refused = 0;
        for pages in 0..40 {
            let disk = Disk::new("512k");
            let (host, pod) = (Net::new(), Net::new());
            let netns = pod.path();
            let wanted = config(&disk.path());
            disk.fill(pages * 4096);
            let (code, answer) = call(&host, &netns, "ADD", &wanted);
            if code == Some(0) {
                assert_eq!(call(&host, &netns, "DEL", &wanted).0, Some(0));
                assert_eq!(left(&host, &pod), NOTHING);
                break;
            }
            refused += 1;
            assert_eq!(answer["code"], 5, "with {pages} pages: {answer}");
            let message = answer["msg"].as_str().unwrap();
            assert!(message.contains("No space left"), "{message}");
            assert_eq!(left(&host, &pod), NOTHING, "with {pages} pages");
            // The runtime's DEL, once there is room, and another try.
            disk.empty();
            assert_eq!(call(&host, &netns, "DEL", &wanted).0, Some(0));
            let (code, answer) = call(&host, &netns, "ADD", &wanted);
            assert_eq!(code, Some(0), "with {pages} pages: {answer}");
        }
        assert!((1..40).contains(&refused), "{refused}");
    }
}

#[test]
fn a_state_directory_that_cannot_be_written_is_told_and_nothing_is_made() {
    for config in [network, meta] {
        let disk = Disk::new("1m");
        let (host, pod) = (Net::new(), Net::new());
        let netns = pod.path();
        let wanted = config(&disk.path());
        assert_eq!(call(&host, &netns, "ADD", &wanted).0, Some(0));
        disk.mount(&["-o", "remount,ro"]);
        let other = Net::new();
        let of = Call {
            verb: "ADD",
            container: "c2",
            netns: &other.path(),
            args: "",
            config: &wanted,
        };
        let (code, answer) = host.cni(OURS, &of);
        assert_eq!((code, &answer["code"]), (Some(1), &json!(5)), "{answer}");
        let message = answer["msg"].as_str().unwrap();
        assert!(message.contains("Read-only"), "{message}");
        assert_eq!(other.json("link").len(), 1);
        // Nor is anybody told that an address is free which still has its record.
        assert_eq!(call(&host, &netns, "DEL", &wanted).0, Some(1));
        disk.mount(&["-o", "remount,rw"]);
        assert_eq!(call(&host, &netns, "DEL", &wanted).0, Some(0));
        assert_eq!(left(&host, &pod), NOTHING);
    }
}
