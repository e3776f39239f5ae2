//! Keys of a configuration: in a table of the README, and in the source that reads them.

/// What stands between backquotes.
#[allow(dead_code, reason = "each test file uses a part of this")]
pub(crate) fn quoted(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

/// The first cells of the table that has the row `row`.
pub(crate) fn of_table(readme: &str, row: &str) -> Vec<String> {
    let table = readme.split("\n\n").find(|part| part.contains(row));
    let rows = table
        .unwrap()
        .lines()
        .filter(|line| line.starts_with("| `"));
    rows.flat_map(|line| quoted(line.split('|').nth(1).unwrap()))
        .collect()
}

/// What every configuration has, and what the runtime puts in.
const OF_THE_CONTRACT: [&str; 8] = [
    "cniVersion",
    "name",
    "type",
    "args",
    "cni",
    "runtimeConfig",
    "capabilities",
    "prevResult",
];

/// The names that a source asks a configuration for, but for those of the contract.
pub(crate) fn read_by(source: &str) -> Vec<String> {
    let source = source.split("#[cfg(test)]").next().unwrap();
    let calls = [
        "get(\"",
        "text(\"",
        "flag(\"",
        "on(\"",
        "number(\"",
        "address(\"",
        "seconds(\"",
    ];
    let mut names = Vec::new();
    for call in calls {
        let parts = source.split(call).skip(1);
        names.extend(parts.map(|part| part.split('"').next().unwrap().to_owned()));
    }
    names.retain(|name| !OF_THE_CONTRACT.contains(&name.as_str()));
    names
}
