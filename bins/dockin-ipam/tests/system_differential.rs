//! Random configurations to the packaged `static` and `host-local`, and to ours: the same answers,
//! and the same files.
//!
//! Needs the package `containernetworking-plugins`, whose programs Debian puts where
//! `CNI_REFERENCE_DIR` says otherwise; fails when it is not there. `DIFFERENTIAL_SEED` makes other
//! configurations.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops where a value is not what it must be"
)]

use std::{
    cell::Cell,
    collections::BTreeMap,
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use proptest::{
    prelude::*,
    sample::select,
    test_runner::{Config, RngSeed, TestRunner},
};
use serde_json::{Value, json};

/// Exit code, and the result or the error code.
type Answer = (Option<i32>, Value);

fn cidr() -> impl Strategy<Value = &'static str> {
    select(vec![
        "10.0.0.2/24",
        "10.0.0.3/24",
        "10.1.0.1/16",
        "fd00::2/64",
        "FD00:0::A/8",
        "0.0.0.0/0",
        "::/0",
        "10.0.0.9/024",
        "::ffff:10.0.0.9/120",
        "1.2.3.4/32",
        "10.0.0.2",
        "",
        "10.0.0.1/33",
        "10.0.0.1/-1",
        "010.0.0.1/8",
        "fe80::1%eth0/64",
        " 10.0.0.1/24",
    ])
}

fn gateway() -> impl Strategy<Value = Value> {
    select(vec![
        json!("10.0.0.1"),
        json!("10.0.0.1"),
        json!("fd00::1"),
        json!(""),
        json!(null),
        json!("10.0.0.01"),
        json!("::ffff:10.0.0.1"),
        json!(7),
    ])
}

fn addresses() -> impl Strategy<Value = Value> {
    let address = (cidr(), proptest::option::of(gateway())).prop_map(|(address, gateway)| {
        let mut object = json!({"address": address});
        if let Some(gateway) = gateway {
            object["gateway"] = gateway;
        }
        object
    });
    let odd = select(vec![
        json!(null),
        json!({}),
        json!("x"),
        json!([null]),
        json!(["x"]),
    ]);
    prop_oneof![12 => proptest::collection::vec(address, 0..3).prop_map(Value::from), 1 => odd]
}

fn routes() -> impl Strategy<Value = Value> {
    let route = (cidr(), gateway()).prop_map(|(dst, gw)| json!({"dst": dst, "gw": gw}));
    proptest::collection::vec(route, 0..3).prop_map(Value::from)
}

fn dns() -> impl Strategy<Value = Value> {
    select(vec![
        json!({"nameservers": ["8.8.8.8"], "search": ["a", "b"], "domain": "c", "options": ["d"]}),
        json!({}),
        json!(null),
        json!("x"),
        json!({"search": []}),
        json!({"domain": 5}),
        json!({"nameservers": "x"}),
        json!({"options": [null]}),
    ])
}

fn runtime() -> impl Strategy<Value = Value> {
    prop_oneof![
        proptest::collection::vec(cidr(), 0..3).prop_map(|ips| json!({"ips": ips})),
        select(vec![
            json!(null),
            json!({}),
            json!("x"),
            json!({"ips": "x"}),
            json!({"mac": "y"})
        ]),
    ]
}

prop_compose! {
    fn config()(
        version in select(vec!["", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "0.3.2", "x"]),
        name in select(vec!["net", "net", "net", "a.b_c-1", "-a", ""]),
        addresses in addresses(),
        routes in proptest::option::of(routes()),
        dns in proptest::option::of(dns()),
        args in proptest::option::of(runtime()),
        capability in proptest::option::of(runtime()),
    ) -> Value {
        let mut config = json!({"cniVersion": version, "name": name});
        config["ipam"] = json!({"type": "static", "addresses": addresses});
        for (key, value) in [("routes", routes), ("dns", dns)] {
            if let Some(value) = value {
                config["ipam"][key] = value;
            }
        }
        if let Some(args) = args {
            config["args"] = json!({"cni": args});
        }
        if let Some(capability) = capability {
            config["runtimeConfig"] = capability;
        }
        config
    }
}

fn cni_args() -> impl Strategy<Value = &'static str> {
    select(vec![
        "",
        "",
        "",
        "IP=10.0.0.2/24",
        "IP=10.0.0.2/24;GATEWAY=10.0.0.1",
        "IP=bad",
        "FOO=1",
        "FOO=1;IgnoreUnknown=TRUE",
        "IP=",
        "IP=10.0.0.2/24;",
        "GATEWAY=10.0.0.1/24",
        "IgnoreUnknown=",
        "IP=10.0.0.2/24, fd00::2/64;GATEWAY=fd00::1",
        "ip=1;IgnoreUnknown=1",
        "IP==",
    ])
}

fn ask(program: &Path, verb: &str, args: &str, config: &Value) -> Answer {
    ask_about(program, ("c1", "eth0"), verb, args, config)
}

fn ask_about(
    program: &Path,
    (container, interface): (&str, &str),
    verb: &str,
    args: &str,
    config: &Value,
) -> Answer {
    let mut child = Command::new(program)
        .env_clear()
        .envs([
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", container),
            ("CNI_NETNS", "/run/netns/none"),
            ("CNI_IFNAME", interface),
            ("CNI_PATH", "/opt/cni/bin"),
            ("CNI_ARGS", args),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let _ = child
        .stdin
        .take()
        .unwrap()
        .write_all(config.to_string().as_bytes());
    let output = child.wait_with_output().unwrap();
    let mut answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if let Some(code) = answer.get("code") {
        answer = code.clone();
    } else if answer["dns"] == json!({}) {
        answer.as_object_mut().unwrap().remove("dns");
    }
    (output.status.code(), answer)
}

fn reference(name: &str) -> PathBuf {
    let directory = env::var_os("CNI_REFERENCE_DIR").unwrap_or_else(|| "/usr/lib/cni".into());
    PathBuf::from(directory).join(name)
}

fn runner(cases: u32) -> TestRunner {
    let seed = env::var("DIFFERENTIAL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    TestRunner::new(Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed.unwrap_or(1)),
        ..Config::default()
    })
}

#[test]
fn the_packaged_static_answers_the_same() {
    let reference = reference("static");
    let ours = Path::new(env!("CARGO_BIN_EXE_dockin-ipam"));
    let mut runner = runner(300);
    let calls = (
        select(vec!["ADD", "ADD", "ADD", "DEL"]),
        cni_args(),
        config(),
    );
    runner
        .run(&calls, |(verb, args, config)| {
            let theirs = ask(&reference, verb, args, &config);
            prop_assert_eq!(
                ask(ours, verb, args, &config),
                theirs,
                "{} `{}` {}",
                verb,
                args,
                config
            );
            Ok(())
        })
        .unwrap();
}

/// Small ranges, so that they are soon full, and some that cannot be.
fn range() -> impl Strategy<Value = Value> {
    let subnets = vec![
        "10.0.0.0/29",
        "10.0.0.0/29",
        "10.0.1.0/30",
        "10.0.2.0/24",
        "fd00::/125",
        "fd00:1::/64",
        "10.0.0.1/29",
        "10.0.0.0/31",
        "10.0.0.0",
    ];
    let address = |texts: &[&'static str]| proptest::option::weighted(0.2, select(texts.to_vec()));
    let first = address(&[
        "10.0.0.2",
        "10.0.0.5",
        "10.0.2.250",
        "fd00::3",
        "10.9.0.1",
        "x",
    ]);
    let last = address(&["10.0.0.4", "10.0.0.6", "10.0.2.252", "fd00::5", "10.0.0.1"]);
    let gateway = address(&["10.0.0.3", "10.0.0.6", "fd00::2", "10.7.0.1", ""]);
    (select(subnets), first, last, gateway).prop_map(|(subnet, first, last, gateway)| {
        let mut range = json!({ "subnet": subnet });
        for (key, value) in [
            ("rangeStart", first),
            ("rangeEnd", last),
            ("gateway", gateway),
        ] {
            if let Some(value) = value {
                range[key] = value.into();
            }
        }
        range
    })
}

/// `ipam`, mostly one that gives addresses.
fn pools() -> impl Strategy<Value = Value> {
    let small = json!({"subnet": "10.0.0.0/29"});
    let good = select(vec![
        small.clone(),
        json!({"subnet": "10.0.0.0/30"}),
        json!({"ranges": [[small], [{"subnet": "fd00::/125"}]]}),
        json!({"subnet": "10.0.0.0/29", "rangeEnd": "10.0.0.3",
            "ranges": [[{"subnet": "fd00::/125", "rangeStart": "fd00::3"}]]}),
        json!({"ranges": [[
            {"subnet": "10.0.0.0/29", "rangeStart": "10.0.0.4", "rangeEnd": "10.0.0.5"},
            {"subnet": "10.0.1.0/29", "gateway": "10.0.1.6"},
        ]]}),
        json!({"ranges": [[
            {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.250", "gateway": "10.0.0.252"},
        ]]}),
    ]);
    let set = proptest::collection::vec(range(), 1..3);
    let any = (range(), proptest::collection::vec(set, 0..3)).prop_map(|(mut ipam, sets)| {
        ipam["ranges"] = json!(sets);
        ipam
    });
    prop_oneof![6 => good, 2 => any]
}

prop_compose! {
    fn pool_config()(
        version in select(vec!["0.2.0", "0.3.1", "0.4.0", "1.0.0"]),
        ipam in pools(),
        routes in proptest::option::weighted(0.1, routes()),
        capability in proptest::option::weighted(0.1, select(vec![
            json!({"ips": ["10.0.0.4"]}), json!({"ips": ["10.0.0.4/29", "fd00::4"]}),
            json!({"ipRanges": [[{"subnet": "10.0.3.0/29"}]]}), json!({"ips": ["x"]}),
        ])),
    ) -> Value {
        let mut config = json!({"cniVersion": version, "name": "net", "ipam": ipam});
        config["ipam"]["type"] = "host-local".into();
        if let Some(routes) = routes {
            config["ipam"]["routes"] = routes;
        }
        if let Some(capability) = capability {
            config["runtimeConfig"] = capability;
        }
        config
    }
}

/// The files of a network, without the lock.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let entries = fs::read_dir(directory.join("net")).into_iter().flatten();
    let entries = entries.map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name != "lock").then(|| (name, fs::read_to_string(path).unwrap()))
    };
    entries.filter_map(read).collect()
}

#[test]
fn the_packaged_host_local_answers_and_writes_the_same() {
    let programs = [
        reference("host-local"),
        PathBuf::from(env!("CARGO_BIN_EXE_dockin-ipam")),
    ];
    let call = (
        select(vec!["ADD", "ADD", "ADD", "DEL", "CHECK"]),
        select(vec!["c1", "c2", "c3", "c4", "c5"]),
        select(vec!["eth0", "eth0", "eth0", "net1"]),
        prop_oneof![
            4 => Just(""),
            1 => select(vec!["IP=10.0.0.4", "IP=fd00::3", "IP=10.0.0.1", "IP=x", "FOO=1"]),
        ],
    );
    let histories = (pool_config(), proptest::collection::vec(call, 4..14));
    let given = Cell::new(0);
    runner(100)
        .run(&histories, |(config, history)| {
            let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            for (verb, container, interface, args) in &history {
                let [theirs, ours] = [0, 1].map(|index| {
                    let mut config = config.clone();
                    config["ipam"]["dataDir"] = folders[index].path().to_str().unwrap().into();
                    let of = (*container, *interface);
                    let answer = ask_about(&programs[index], of, verb, args, &config);
                    (answer, files(folders[index].path()))
                });
                if *verb == "ADD" && ours.0.0 == Some(0) {
                    given.set(given.get() + 1);
                }
                prop_assert_eq!(ours, theirs, "{} {} `{}` {}", verb, container, args, config);
            }
            Ok(())
        })
        .unwrap();
    assert!(
        given.get() >= 100,
        "hardly a configuration is good: {given:?}"
    );
}
