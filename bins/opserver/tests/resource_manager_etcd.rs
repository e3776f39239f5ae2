//! Several gateways whose resource managers share one set of pools in a real etcd.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

#[path = "../../dockin-ipam/tests/support/etcd.rs"]
mod etcd;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use dockin_net::{
    io::Host,
    meta::{NoAnswer, Trust, World},
    resource_manager::read_answer,
};
use etcd::Etcd;
use serde_json::Value;
use tempfile::TempDir;

/// A gateway with a directory of its own.
struct Gateway {
    child: Child,
    url: String,
    directory: TempDir,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Gateway {
    fn start(etcd: &Etcd) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        let made = Command::new(env!("CARGO_BIN_EXE_dockin-opserver"))
            .args(["init", "--listen", "127.0.0.1:0", "--data"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        fs::write(
            data.join("plugin-token"),
            "0123456789abcdef0123456789abcdef",
        )
        .unwrap();
        let path = data.join("opserver.yaml");
        let manager = format!(
            "resource_manager:\n  token: plugin-token\n  store: {{ type: etcd, endpoints: ['{}'] }}\n  \
             networks:\n    \
             - {{ name: webank, interface: eth0, subnet: 10.0.0.0/24, master: true }}\n    \
             - {{ name: data, interface: eth1, subnet: fd00::/64 }}\n",
            etcd.endpoint()
        );
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text + &manager).unwrap();
        let (child, url) = serve(&path);
        Self {
            child,
            url,
            directory,
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn trust(&self) -> Trust {
        let path = |name: &str| Some(self.data().join(name).display().to_string());
        Trust {
            authority: path("tls/ca.pem"),
            token: path("plugin-token"),
            identity: None,
        }
    }

    fn ask(&self, call: &str) -> Result<Vec<u8>, NoAnswer> {
        let url = format!("{}/rmController/{call}", self.url);
        World::ask(&mut Host, &url, &self.trust())
    }

    fn addresses(&self, pod: &str) -> Result<Vec<IpAddr>, NoAnswer> {
        let body = self.ask(&format!("getPodMultiNetwork?podName={pod}&namespace=shop"))?;
        let attached = read_answer(&body).unwrap();
        Ok(attached.iter().map(|it| it.address.address()).collect())
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([name, &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// `kill -9`.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        (self.child, self.url) = serve(&self.data().join("opserver.yaml"));
    }
}

fn serve(config: &Path) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dockin-opserver"))
        .args(["serve", "--config"])
        .arg(config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = lines
        .by_ref()
        .map(Result::unwrap)
        .inspect(|line| println!("{line}"))
        .find_map(|line| Some(line.strip_prefix("listening on ")?.to_owned()))
        .unwrap();
    thread::spawn(move || lines.for_each(drop));
    (child, url)
}

fn envelope(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

#[test]
fn one_gateway_is_killed_and_the_other_answers_with_the_same_addresses() {
    let etcd = Etcd::start();
    let (mut one, other) = (Gateway::start(&etcd), Gateway::start(&etcd));
    let mut given = BTreeMap::new();
    for number in 0..20 {
        let pod = format!("web-{number}");
        let by = if number % 2 == 0 { &one } else { &other };
        given.insert(pod.clone(), by.addresses(&pod).unwrap());
    }
    one.kill();
    for (pod, addresses) in &given {
        assert_eq!(&other.addresses(pod).unwrap(), addresses, "{pod}");
    }
    // The other goes on, and what it gives meanwhile is nobody's.
    for number in 20..30 {
        let pod = format!("web-{number}");
        given.insert(pod.clone(), other.addresses(&pod).unwrap());
    }
    one.restart();
    for (pod, addresses) in &given {
        assert_eq!(&one.addresses(pod).unwrap(), addresses, "{pod}");
    }
    let mut all: Vec<_> = given.values().flatten().collect();
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!((count, all.len()), (60, 60));
    // Either finds a pod by its address, and what one frees the other gives.
    let web_3 = given["web-3"][0];
    let found = one
        .ask(&format!("getPodInfoByPodIp?podIp={web_3}"))
        .unwrap();
    assert_eq!(envelope(&found)["data"]["podName"], "web-3");
    let refused = one.ask("releasePod?podName=web-3&namespace=shop");
    assert!(refused.unwrap_err().message.contains("405"));
}

#[test]
fn many_pods_asked_for_at_both_gateways_at_once_get_each_address_once() {
    let etcd = Etcd::start();
    let gateways = [Gateway::start(&etcd), Gateway::start(&etcd)];
    let asked: Vec<_> = thread::scope(|scope| {
        let calls: Vec<_> = (0..80)
            .map(|number| {
                // Every pod is asked for at both at the same time.
                let gateway = &gateways[number % 2];
                scope.spawn(move || {
                    let pod = format!("web-{}", number / 2);
                    let mut answer = gateway.addresses(&pod);
                    // Others were first on every try: the plugin is told to ask again.
                    while answer.as_ref().is_err_and(|error| error.later) {
                        answer = gateway.addresses(&pod);
                    }
                    (pod, answer.unwrap())
                })
            })
            .collect();
        calls.into_iter().map(|it| it.join().unwrap()).collect()
    });
    let mut of_pods: BTreeMap<String, Vec<IpAddr>> = BTreeMap::new();
    for (pod, addresses) in asked {
        let first = of_pods
            .entry(pod.clone())
            .or_insert_with(|| addresses.clone());
        assert_eq!(first, &addresses, "{pod}");
    }
    let mut all: Vec<_> = of_pods.values().flatten().collect();
    all.sort();
    all.dedup();
    assert_eq!((of_pods.len(), all.len()), (40, 80));
}

/// Both gateways and etcd are killed and started again at random moments, while pods are asked for
/// at whichever gateway is there.
#[test]
fn whoever_is_killed_when_no_address_is_given_twice_and_a_pods_never_changes() {
    let mut etcd = Etcd::start();
    let mut gateways = [Gateway::start(&etcd), Gateway::start(&etcd)];
    let mut of_pods: BTreeMap<usize, Vec<IpAddr>> = BTreeMap::new();
    let mut refused = 0;
    // What comes next depends on this alone, what is under way when somebody dies does not.
    let mut state = 0x9e37_79b9_u32;
    let mut below = |end: u32| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        usize::try_from(state % end).unwrap()
    };
    for round in 0..12 {
        let pods: Vec<usize> = (0..10).map(|_| below(60)).collect();
        let (victim, pause) = (below(3), u64::try_from(below(30)).unwrap());
        let answers: Vec<_> = thread::scope(|scope| {
            let calls: Vec<_> = pods
                .iter()
                .map(|pod| {
                    let gateway = &gateways[(pod + round) % 2];
                    scope.spawn(move || (*pod, gateway.addresses(&format!("web-{pod}"))))
                })
                .collect();
            thread::sleep(Duration::from_millis(pause));
            match victim {
                2 => etcd.signal("-KILL"),
                gateway => gateways[gateway].signal("-KILL"),
            }
            calls.into_iter().map(|it| it.join().unwrap()).collect()
        });
        match victim {
            2 => {
                etcd.kill();
                etcd.restart();
            }
            gateway => {
                gateways[gateway].kill();
                gateways[gateway].restart();
            }
        }
        for (pod, answer) in answers {
            match answer {
                Ok(addresses) => {
                    let first = of_pods.entry(pod).or_insert_with(|| addresses.clone());
                    assert_eq!(*first, addresses, "web-{pod}");
                }
                Err(error) => {
                    assert!(error.later, "{error:?}");
                    refused += 1;
                }
            }
        }
    }
    println!("{refused} questions without an answer");
    assert!(of_pods.len() > 20, "{of_pods:?}");
    for (pod, addresses) in &of_pods {
        let again = gateways[pod % 2].addresses(&format!("web-{pod}"));
        assert_eq!(&again.unwrap(), addresses, "web-{pod}");
    }
    let mut all: Vec<_> = of_pods.values().flatten().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 2 * of_pods.len());
}

#[test]
fn without_etcd_a_plugin_is_told_to_ask_later_and_all_is_there_when_it_is_back() {
    let mut etcd = Etcd::start();
    let gateway = Gateway::start(&etcd);
    let given = gateway.addresses("web-0").unwrap();
    etcd.kill();
    let silent = gateway.addresses("web-0").unwrap_err();
    assert!(silent.later && silent.message.contains("503"), "{silent:?}");
    etcd.restart();
    assert_eq!(gateway.addresses("web-0").unwrap(), given);
    // One that accepts and does not answer is as good as none.
    etcd.signal("-STOP");
    let silent = gateway.addresses("web-0").unwrap_err();
    assert!(silent.later, "{silent:?}");
    etcd.signal("-CONT");
    assert_eq!(gateway.addresses("web-0").unwrap(), given);
}
