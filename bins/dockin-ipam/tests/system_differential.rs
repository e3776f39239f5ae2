//! Random configurations to the packaged `static` and to ours: the same answers.
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
    env,
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
    let mut child = Command::new(program)
        .env_clear()
        .envs([
            ("CNI_COMMAND", verb),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_NETNS", "/run/netns/none"),
            ("CNI_IFNAME", "eth0"),
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

#[test]
fn the_packaged_static_answers_the_same() {
    let directory = env::var_os("CNI_REFERENCE_DIR").unwrap_or_else(|| "/usr/lib/cni".into());
    let reference = PathBuf::from(directory).join("static");
    let ours = Path::new(env!("CARGO_BIN_EXE_dockin-ipam"));
    let seed = env::var("DIFFERENTIAL_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let mut runner = TestRunner::new(Config {
        cases: 300,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed.unwrap_or(1)),
        ..Config::default()
    });
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
