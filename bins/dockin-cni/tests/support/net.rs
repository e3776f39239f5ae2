//! Network namespaces that live as long as their value: nothing touches the machine's.

use std::{
    fs::File,
    io::Write,
    os::fd::AsRawFd,
    process::{Command, Output, Stdio},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};

/// A namespace.
pub(crate) struct Net(File);

#[allow(dead_code, reason = "each test file uses a part of this")]
impl Net {
    /// A new one, in which `lo` is up.
    pub(crate) fn new() -> Self {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("these tests need root");
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        let net = Self(made.join().unwrap());
        net.ip("link set lo up");
        net
    }

    /// A path that leads here for every process of this user.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Does something in a thread that is here.
    pub(crate) fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).unwrap();
                act()
            });
            there.join().unwrap()
        })
    }

    /// Runs a program here.
    pub(crate) fn run(&self, program: &str, words: &[&str]) -> Output {
        self.within(|| Command::new(program).args(words).output().unwrap())
    }

    /// Runs `ip`, which must succeed; what it prints.
    pub(crate) fn ip(&self, words: &str) -> String {
        let words: Vec<_> = words.split(' ').collect();
        let output = self.run("ip", &words);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "ip {words:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `ip -j` with these words.
    pub(crate) fn json(&self, words: &str) -> Vec<Value> {
        let text = self.ip(&format!("-j {words}"));
        match serde_json::from_str(&text) {
            Ok(Value::Array(list)) => list,
            _ => Vec::new(),
        }
    }

    /// Does the address answer within a second?
    pub(crate) fn pings(&self, address: &str) -> bool {
        let words = ["ping", "-c1", "-W1", address];
        self.run("busybox", &words).status.success()
    }

    /// One call of a plugin from here: its exit code, and what it printed.
    pub(crate) fn cni(&self, program: &str, call: &Call<'_>) -> (Option<i32>, Value) {
        let output = self.within(|| {
            let mut child = call.command(program).spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(call.config.to_string().as_bytes()).unwrap();
            drop(stdin);
            child.wait_with_output().unwrap()
        });
        let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), answer)
    }

    /// What is here, without what differs by chance: numbers and names of pairs, hardware
    /// addresses, and the link-local addresses made of them. Queue lengths are left out as well:
    /// the reference sets 0 where we leave the kernel's.
    pub(crate) fn state(&self) -> Value {
        let name = |it: &Value| {
            let name = it.as_str().unwrap_or_default();
            if name.starts_with("veth") {
                json!("veth")
            } else {
                json!(name)
            }
        };
        let links = self.json("-d link").into_iter().map(|it| {
            let port = &it["linkinfo"]["info_slave_data"];
            // A bridge that got its first port in the moment it was switched on stays `UNKNOWN`.
            let works = it["operstate"] == "UP" || it["operstate"] == "UNKNOWN";
            json!({
                "name": name(&it["ifname"]), "mtu": it["mtu"], "flags": it["flags"],
                "works": works, "master": it["master"],
                "kind": it["linkinfo"]["info_kind"], "promiscuity": it["promiscuity"],
                "hairpin": port["hairpin"], "isolated": port["isolated"],
            })
        });
        let mut addresses = Vec::new();
        for link in self.json("addr") {
            for it in link["addr_info"].as_array().unwrap() {
                let own = it["scope"] == "link";
                addresses.push(json!({
                    "on": name(&link["ifname"]), "prefix": it["prefixlen"], "scope": it["scope"],
                    "address": if own { Value::Null } else { it["local"].clone() },
                    "broadcast": it["broadcast"], "tentative": it["tentative"],
                    "label": it["label"],
                }));
            }
        }
        let mut routes = self.json("route");
        routes.extend(self.json("-6 route"));
        for route in &mut routes {
            route["dev"] = name(&route["dev"]);
        }
        let mut links: Vec<_> = links.collect();
        for list in [&mut links, &mut addresses, &mut routes] {
            list.sort_by_key(Value::to_string);
        }
        json!({"links": links, "addresses": addresses, "routes": routes})
    }
}

/// One call of a plugin.
pub(crate) struct Call<'a> {
    pub(crate) verb: &'a str,
    pub(crate) container: &'a str,
    pub(crate) netns: &'a str,
    pub(crate) args: &'a str,
    pub(crate) config: &'a Value,
}

impl Call<'_> {
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs([
                ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
                ("CNI_COMMAND", self.verb),
                ("CNI_CONTAINERID", self.container),
                ("CNI_NETNS", self.netns),
                ("CNI_IFNAME", "eth0"),
                ("CNI_ARGS", self.args),
                ("CNI_PATH", &plugins()),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// Where the reference's plugins are.
pub(crate) fn plugins() -> String {
    let directory = std::env::var("CNI_REFERENCE_DIR");
    let directory = directory.unwrap_or_else(|_| "/usr/lib/cni".into());
    let there = std::path::Path::new(&directory).join("bridge").is_file();
    assert!(
        there,
        "no `bridge` in {directory}: install containernetworking-plugins"
    );
    directory
}
