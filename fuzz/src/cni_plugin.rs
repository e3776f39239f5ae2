use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
};

use dockin_net::{
    StoreError, Timestamp,
    bridge::{self, Applied, Assigned, KernelError, KernelRoute, Link, Owner, Place, Step},
    cni::{Environment, Outcome},
    meta::{self, NoAnswer, Ran, Trust},
};
use serde_json::{Map, Value, json};

/// One call of `dockin-cni` or of its bridge, then what a runtime does next: the first byte says
/// which command, up to the first line break goes `CNI_ARGS`, then the network configuration.
///
/// The answer is one object or nothing. Plugins that are run are told who the pod is and nothing
/// more, and after the `DEL` behind an `ADD` none of them has anything left.
///
/// # Panics
///
/// A law is broken.
pub fn cni_plugin(data: &[u8]) {
    let (choice, rest) = data.split_first().unwrap_or((&0, &[]));
    let (args, stdin) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => rest.split_at(end),
        None => (&[][..], rest),
    };
    let command = COMMANDS[usize::from(*choice) % COMMANDS.len()];
    let environment = Environment {
        command: command.to_owned(),
        container_id: "c1".to_owned(),
        netns: "/var/run/netns/c1".to_owned(),
        ifname: "eth0".to_owned(),
        args: String::from_utf8_lossy(args).into_owned(),
        path: "/opt/cni/bin".to_owned(),
        ..Environment::default()
    };
    if usize::from(*choice) >= 128 {
        check(command, &bridge::run(&environment, stdin, &mut Empty));
        return;
    }
    let mut node = Node::default();
    check(command, &meta::run(&environment, stdin, &mut node));
    if command != "ADD" {
        return;
    }
    let ending = Environment {
        command: "DEL".to_owned(),
        ..environment
    };
    let ended = meta::run(&ending, stdin, &mut node);
    check("DEL", &ended);
    let attached = |name: &&String| name.contains("/attachments/");
    assert!(node.made.is_empty(), "{:?}", node.made);
    assert_eq!(node.records.keys().find(attached), None);
}

fn check(command: &str, outcome: &Outcome) {
    if outcome.exit_code == 0 && command != "ADD" {
        assert_eq!(outcome.stdout, "");
        return;
    }
    let answer: Map<String, Value> =
        serde_json::from_str(&outcome.stdout).expect("the answer is no object");
    assert!(answer.get("cniVersion").is_some_and(Value::is_string));
    assert!(outcome.stdout.len() < 64 * 1024);
    if outcome.exit_code != 0 {
        assert!(answer["code"].as_u64() > Some(0));
        assert!(answer["msg"].as_str() > Some(""));
    }
}

const COMMANDS: [&str; 5] = ["ADD", "DEL", "CHECK", "GC", "STATUS"];

/// A node with three networks, whose plugins remember what they made.
#[derive(Default)]
struct Node {
    records: BTreeMap<String, String>,
    made: BTreeSet<(String, String)>,
}

impl meta::World for Node {
    fn is_own_namespace(&mut self, _: &str) -> bool {
        false
    }

    fn now(&mut self) -> Timestamp {
        Timestamp(1_700_000_000)
    }

    fn has_namespace(&mut self, _: &str) -> bool {
        true
    }

    fn ask(&mut self, url: &str, _: &Trust) -> Result<Vec<u8>, NoAnswer> {
        // What is asked for stands behind the backend, and nothing of it ends a line.
        let query = url.rsplit_once("podName=").expect("who is asked about?").1;
        assert!(query.bytes().all(|byte| byte.is_ascii_graphic()), "{url}");
        Ok(
            br#"{"code":0,"data":[{"type":"one","podIp":"10.0.0.2/24","master":true},
            {"type":"two","podIp":"fd00::2/64","ifName":"net1"}]}"#
                .to_vec(),
        )
    }

    fn network_files(&mut self, _: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let files = [
            json!({"cniVersion": "1.1.0", "name": "one", "type": "ptp"}),
            json!({"cniVersion": "0.4.0", "name": "two", "plugins": [
                {"type": "vlan", "capabilities": {"mac": true}}, {"type": "tuning"}]}),
            json!({"name": "three", "type": "macvlan", "routes": [{"dst": "10.0.0.0/8"}]}),
        ];
        let files = files
            .iter()
            .map(|it| ("file".to_owned(), it.to_string().into_bytes()));
        Ok(files.collect())
    }

    fn find(&mut self, plugin: &str, _: &[String]) -> Option<String> {
        Some(format!("/opt/cni/bin/{plugin}"))
    }

    fn execute(
        &mut self,
        program: &str,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<Ran, StoreError> {
        let config: Value = serde_json::from_slice(stdin).expect("a plugin gets no JSON");
        let pairs: Vec<_> = environment.args.split(';').collect();
        let keys = pairs.iter().map(|pair| pair.split('=').next());
        assert_eq!(
            keys.collect::<Vec<_>>(),
            [
                Some("IgnoreUnknown"),
                Some("K8S_POD_NAMESPACE"),
                Some("K8S_POD_NAME"),
                Some("K8S_POD_INFRA_CONTAINER_ID")
            ]
        );
        let key = (program.to_owned(), environment.ifname.clone());
        let mut stdout = Vec::new();
        match environment.command.as_str() {
            "ADD" => {
                assert!(self.made.insert(key), "made twice");
                let version = &config["cniVersion"];
                let address = config["ipam"]["addresses"][0]["address"].clone();
                let result = match version.as_str() {
                    Some("0.1.0" | "0.2.0" | "") => json!({"cniVersion": version, "dns": {}}),
                    _ => json!({"cniVersion": version, "ips": [{"address": address}]}),
                };
                // The last plugin of a chain has no addresses of its own.
                let result = config.get("prevResult").cloned().unwrap_or(result);
                stdout = result.to_string().into_bytes();
            }
            "DEL" => drop(self.made.remove(&key)),
            _ => {}
        }
        Ok(Ran {
            stdout,
            success: true,
        })
    }

    fn lock(&mut self, _: &str, _: &str) -> Result<Box<dyn Any>, StoreError> {
        Ok(Box::new(()))
    }

    fn read_record(&mut self, _: &str, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.records.get(name).cloned())
    }

    fn write_record(&mut self, _: &str, name: &str, text: &str) -> Result<(), StoreError> {
        let file = name.rsplit('/').next().unwrap_or_default();
        assert!(
            (1..=250).contains(&file.len()) && !name.contains("/../"),
            "{name}"
        );
        self.records.insert(name.to_owned(), text.to_owned());
        Ok(())
    }

    fn remove_record(&mut self, _: &str, name: &str) -> Result<(), StoreError> {
        self.records.remove(name);
        Ok(())
    }

    fn record_names(&mut self, _: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        let names = self.records.keys().filter(|name| name.starts_with(prefix));
        Ok(names.cloned().collect())
    }

    fn log(&mut self, _: &str, _: &str) {}
}

/// A kernel that does everything and shows nothing.
struct Empty;

impl bridge::World for Empty {
    fn is_own_namespace(&mut self, _: &str) -> bool {
        false
    }

    fn allocate(&mut self, _: &str, _: &Environment, _: &[u8]) -> Result<Ran, StoreError> {
        Ok(Ran {
            stdout: br#"{"ips":[{"version":"4","address":"10.0.0.2/24"}]}"#.to_vec(),
            success: true,
        })
    }

    fn enter(&mut self, _: &str) -> Result<bool, KernelError> {
        Ok(true)
    }

    fn apply(&mut self, steps: &[Step]) -> Applied {
        Applied {
            done: steps.to_vec(),
            failed: None,
        }
    }

    fn link(&mut self, _: Place, _: &str) -> Result<Option<Link>, KernelError> {
        Ok(None)
    }

    fn seen(&mut self, _: Place, _: &str) -> Option<Link> {
        None
    }

    fn addresses(&mut self, _: Place, _: &Link) -> Result<Vec<Assigned>, KernelError> {
        Ok(Vec::new())
    }

    fn routes(&mut self) -> Result<Vec<KernelRoute>, KernelError> {
        Ok(Vec::new())
    }

    fn group(&mut self, _: u32) -> Result<Vec<String>, KernelError> {
        Ok(Vec::new())
    }

    fn owners(&mut self) -> Result<Vec<Owner>, KernelError> {
        Ok(Vec::new())
    }
}
