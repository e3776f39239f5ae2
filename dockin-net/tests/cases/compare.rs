//! Reads the cases and compares answers with them, for the function and for the binary.

use std::collections::BTreeMap;

use serde_json::Value;

/// What one run gave.
#[derive(Debug)]
pub(crate) struct Got {
    /// The exit code.
    pub(crate) exit: i64,
    /// Standard output.
    pub(crate) stdout: String,
    /// The store's files afterwards, for the plugins that have some.
    pub(crate) files: BTreeMap<String, String>,
}

/// Every case of the file.
pub(crate) fn cases() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("cni_public.json")).unwrap();
    let cases = file["cases"].as_array().unwrap().clone();
    assert_eq!(cases.len(), 376, "the file has changed");
    cases
}

/// A text field of a case.
pub(crate) fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case[key].as_str().unwrap()
}

/// Runs every case of `plugin` and fails with the list of those that differ.
pub(crate) fn run_all(plugin: &str, count: usize, mut run: impl FnMut(&Value) -> Got) {
    let mut wrong = Vec::new();
    let mut cases = cases();
    cases.retain(|case| case["plugin"] == plugin);
    assert_eq!(cases.len(), count, "cases of `{plugin}`");
    for case in &cases {
        let got = run(case);
        if let Err(why) = compare(case, &got) {
            wrong.push(format!("{}: {why}; got {got:?}", text(case, "name")));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases differ:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
}

fn compare(case: &Value, got: &Got) -> Result<(), String> {
    let expected = recommended(case);
    let want = |key: &str| expected.get(key).or_else(|| case["expect"].get(key));
    let code = expected.get("error_code").or_else(|| {
        (expected["exit"] != 0)
            .then(|| case["expect"].get("error_code"))
            .flatten()
    });
    if want("exit") != Some(&Value::from(got.exit)) {
        return Err(format!("exit code, wanted {:?}", want("exit")));
    }
    let printed: Value = match got.stdout.as_str() {
        "" => Value::Null,
        text => serde_json::from_str(text).map_err(|error| error.to_string())?,
    };
    if got.exit == 0 {
        match want("stdout_json") {
            Some(wanted) if normal(&printed) != normal(wanted) => {
                return Err(format!("printed, wanted {wanted}"));
            }
            None if !printed.is_null() => return Err("printed, wanted nothing".into()),
            _ => {}
        }
    } else if code.is_some_and(|code| printed["code"] != *code) {
        return Err(format!("error code, wanted {code:?}"));
    }
    if let Some(files) = want("files_after")
        && serde_json::json!(got.files) != *files
    {
        return Err(format!("files, wanted {files}"));
    }
    Ok(())
}

/// What ours does instead, in the cases that leave the choice.
fn recommended(case: &Value) -> Value {
    let name = text(case, "name");
    let failed = |code: u32| serde_json::json!({"exit": 1, "error_code": code});
    if case["policy"] != "may_differ" {
        return case["expect"].clone();
    }
    if name.contains("v4mapped-short") || name.ends_with("null-element") {
        return failed(7);
    }
    match name {
        "hostlocal/empty-file-blocks-address" => serde_json::json!({
            "exit": 0,
            "stdout_json": {
                "cniVersion": "1.0.0",
                "ips": [{"address": "10.1.2.2/24", "gateway": "10.1.2.1"}],
            },
            "files_after": {
                "10.1.2.2": "dockin-c1\r\neth0",
                "last_reserved_ip.0": "10.1.2.2",
            },
        }),
        "hostlocal/gc-1.1.0-noop" => serde_json::json!({"exit": 0, "files_after": {}}),
        "hostlocal/status-exhausted-1.1.0" => failed(50),
        _ if name.ends_with("address-missing-in-prev") => failed(999),
        _ => case["expect"].clone(),
    }
}

/// An absent `dns` equals an empty one.
fn normal(value: &Value) -> Value {
    let mut value = value.clone();
    if value["dns"] == serde_json::json!({})
        && let Some(object) = value.as_object_mut()
    {
        object.remove("dns");
    }
    value
}
