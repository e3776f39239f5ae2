//! A node in memory: networks' files, plugins that remember what they made, records.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
};

use dockin_net::{
    StoreError, Timestamp,
    cni::{Environment, Outcome},
    meta::{self, NoAnswer, Ran, Trust},
};
use serde_json::{Value, json};

/// A node in memory. Its plugins remember which interfaces they made.
#[derive(Default)]
pub(crate) struct Node {
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) answer: Option<Value>,
    pub(crate) records: BTreeMap<String, String>,
    pub(crate) made: BTreeSet<(String, String)>,
    pub(crate) calls: Vec<String>,
    pub(crate) stdins: Vec<Value>,
    pub(crate) namespaces: Vec<String>,
    /// What the runtime says the pod's namespace is, where it is another one than usual.
    pub(crate) netns: Option<&'static str>,
    pub(crate) asked: Vec<String>,
    /// `VERB interface` that fails.
    pub(crate) broken: Option<String>,
    /// Are bridges made without a program? Then an interface is there already.
    pub(crate) own_bridge: bool,
    pub(crate) now: u64,
    /// Is the pod's namespace gone?
    pub(crate) vanished: bool,
    /// Calls of this world until nothing works any more.
    pub(crate) power: Option<usize>,
}

impl Node {
    pub(crate) fn new(networks: &[Value]) -> Self {
        Self {
            files: networks
                .iter()
                .enumerate()
                .map(|(index, it)| (format!("{index}.conf"), it.to_string().into_bytes()))
                .collect(),
            ..Self::default()
        }
    }

    pub(crate) fn call(&mut self, verb: &str, config: &Value) -> Outcome {
        let environment = Environment {
            command: verb.into(),
            container_id: "c1".into(),
            netns: self.netns.unwrap_or("/run/netns/c1").into(),
            ifname: "eth0".into(),
            args: "IgnoreUnknown=1;K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web-0;IP=9.9.9.9/8".into(),
            path: "/opt/cni/bin".into(),
            netns_override: String::new(),
        };
        meta::run(&environment, config.to_string().as_bytes(), self)
    }

    fn step(&mut self) -> Result<(), StoreError> {
        match &mut self.power {
            Some(0) => Err(StoreError::Io {
                path: "node".into(),
                message: "the power is gone".into(),
            }),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl meta::World for Node {
    fn is_own_namespace(&mut self, _path: &str) -> bool {
        false
    }

    fn now(&mut self) -> Timestamp {
        Timestamp(self.now)
    }

    fn has_namespace(&mut self, _path: &str) -> bool {
        !self.vanished
    }

    fn ask(&mut self, url: &str, _trust: &Trust) -> Result<Vec<u8>, NoAnswer> {
        self.asked.push(url.into());
        let down = || NoAnswer {
            message: "connection refused".into(),
            later: true,
        };
        self.answer
            .as_ref()
            .map(|it| it.to_string().into_bytes())
            .ok_or_else(down)
    }

    fn network_files(&mut self, _directory: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        Ok(self.files.clone())
    }

    fn find(&mut self, plugin: &str, directories: &[String]) -> Option<String> {
        (plugin != "absent").then(|| format!("{}/{plugin}", directories[0]))
    }

    fn execute(
        &mut self,
        program: &str,
        environment: &Environment,
        stdin: &[u8],
    ) -> Result<Ran, StoreError> {
        self.step()?;
        let config: Value = serde_json::from_slice(stdin).unwrap();
        let call = format!("{} {}", environment.command, environment.ifname);
        let key = (environment.container_id.clone(), environment.ifname.clone());
        self.calls
            .push(format!("{call} {}", program.rsplit('/').next().unwrap()));
        self.stdins.push(config.clone());
        self.namespaces.push(environment.netns.clone());
        assert!(
            !environment.args.contains("9.9.9.9"),
            "{}",
            environment.args
        );
        if self.broken.as_ref() == Some(&call) {
            return Ok(Ran {
                stdout: br#"{"code":11,"msg":"not now"}"#.to_vec(),
                success: false,
            });
        }
        let mut stdout = Vec::new();
        match environment.command.as_str() {
            "ADD" => {
                self.made.insert(key);
                let mut result = config
                    .get("prevResult")
                    .cloned()
                    .unwrap_or_else(|| json!({}));
                result["cniVersion"] = config["cniVersion"].clone();
                if let Some(address) = config["ipam"]["addresses"].get(0) {
                    if config["cniVersion"] == "0.2.0" {
                        result["ip4"] = json!({"ip": address["address"]});
                    } else {
                        result["interfaces"] = json!([
                            {"name": "veth"},
                            {"name": environment.ifname, "sandbox": environment.netns},
                        ]);
                        result["ips"] = json!([{"address": address["address"], "interface": 1}]);
                        result["routes"] = config["ipam"]["routes"].clone();
                        result["dns"] = config["ipam"]["dns"].clone();
                    }
                }
                stdout = result.to_string().into_bytes();
            }
            "DEL" => {
                self.made.remove(&key);
            }
            _ => {}
        }
        Ok(Ran {
            stdout,
            success: true,
        })
    }

    fn bridge(&mut self, environment: &Environment, _stdin: &[u8]) -> Option<Ran> {
        if !self.own_bridge {
            return None;
        }
        let call = format!("{} {} own", environment.command, environment.ifname);
        self.calls.push(call);
        Some(Ran {
            stdout: br#"{"code":101,"msg":"it is there already"}"#.to_vec(),
            success: false,
        })
    }

    fn has_bridge(&self) -> bool {
        self.own_bridge
    }

    fn lock(&mut self, _directory: &str, _name: &str) -> Result<Box<dyn Any>, StoreError> {
        self.step()?;
        Ok(Box::new(()))
    }

    fn read_record(&mut self, _: &str, name: &str) -> Result<Option<String>, StoreError> {
        Ok(self.records.get(name).cloned())
    }

    fn write_record(&mut self, _: &str, name: &str, text: &str) -> Result<(), StoreError> {
        self.step()?;
        self.records.insert(name.into(), text.into());
        Ok(())
    }

    fn remove_record(&mut self, _: &str, name: &str) -> Result<(), StoreError> {
        self.step()?;
        self.records.remove(name);
        Ok(())
    }

    fn record_names(&mut self, _: &str, prefix: &str) -> Result<Vec<String>, StoreError> {
        let names = self.records.keys().filter(|name| name.starts_with(prefix));
        Ok(names.cloned().collect())
    }

    fn log(&mut self, _file: &str, _line: &str) {}
}
