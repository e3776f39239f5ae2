//! Files, with `kubectl cp`.

use std::{fs, process::Command, time::Duration};

use dockin_harness::{House, Input, Transport, finish, run};
use serde_json::Value;

use crate::{BOTH, house, idle, noise};

fn copy(house: &House, transport: Transport, from: &str, to: &str) {
    let mut command = house.preferred(transport, &["cp", from, to]);
    let got = finish(&mut command, Input::Nothing, Duration::from_secs(180));
    assert_eq!(
        got.code,
        Some(0),
        "{transport:?} cp {from} {to}: {}{}",
        got.text(),
        got.stderr
    );
}

#[test]
fn files_and_folders_are_copied_both_ways_and_written_down() {
    let house = house();
    let container = idle(&house);
    let name = container.name();
    let source = house.scratch().join("source");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("big"), noise(20 * 1024 * 1024)).unwrap();
    fs::write(source.join("deep/er/small file"), b"hello\n").unwrap();
    fs::write(source.join("deep/empty"), b"").unwrap();
    for transport in BOTH {
        let tag = format!("{transport:?}").to_lowercase();
        let there = format!("/data/{tag}");
        let _made = container.exec(&["mkdir", "-p", &there]);
        let big = source.join("big").display().to_string();
        copy(&house, transport, &big, &format!("{name}:{there}/big"));
        let sum = run(Command::new("sha256sum").arg(source.join("big"))).stdout;
        let sum = String::from_utf8(sum).unwrap()[..64].to_owned();
        assert_eq!(
            container.exec(&["sha256sum", &format!("{there}/big")])[..64],
            sum
        );
        let back = house.scratch().join(format!("big-{tag}"));
        copy(
            &house,
            transport,
            &format!("{name}:{there}/big"),
            &back.display().to_string(),
        );
        assert!(
            fs::read(&back).unwrap() == noise(20 * 1024 * 1024),
            "20 MiB differ"
        );

        copy(
            &house,
            transport,
            &source.display().to_string(),
            &format!("{name}:{there}/tree"),
        );
        assert_eq!(
            container.exec(&["cat", &format!("{there}/tree/deep/er/small file")]),
            "hello\n"
        );
        let tree = house.scratch().join(format!("tree-{tag}"));
        copy(
            &house,
            transport,
            &format!("{name}:{there}/tree"),
            &tree.display().to_string(),
        );
        let status = run(Command::new("diff").arg("-r").arg(&source).arg(&tree)).status;
        assert!(status.success(), "the folder came back different");
    }
    let copies: Vec<Value> = house
        .audit()
        .into_iter()
        .filter(|event| event["event"] == "file.copy")
        .collect();
    for direction in ["upload", "download"] {
        let of_big = copies.iter().filter(|event| {
            event["direction"] == direction && event["bytes"].as_u64() > Some(20 * 1024 * 1024)
        });
        // Big and the tree with big in it, over two transports.
        assert_eq!(of_big.count(), 4, "{direction}: {copies:#?}");
    }
    assert!(
        copies
            .iter()
            .all(|event| event["principal"]["user"] == "alice"
                && event["target"]["pod"] == name
                && event["path"].as_str().unwrap().starts_with("/data/"))
    );
}
