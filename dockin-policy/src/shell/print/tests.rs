#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{collections::BTreeSet, fs, path::Path};

use proptest::prelude::*;

use super::print;
use crate::shell::{
    Dialect,
    ast::{Command, ForHead, If, Item, Kind, List, Script},
    parse::parse,
};

/// Everything but where things stand.
fn tree(script: &Script<'_>) -> String {
    let heredocs = script.heredocs.iter().map(|heredoc| {
        // A text that ends with the script gets the end of its line.
        let body = heredoc.body.strip_suffix(b"\n").unwrap_or(heredoc.body);
        (body.to_vec(), heredoc.strips_tabs, heredoc.quoted)
    });
    let heredocs: Vec<_> = heredocs.collect();
    format!("{:?} {heredocs:?}", without_places(&script.list))
}

fn without_places<'a>(list: &List<'a>) -> List<'a> {
    List {
        items: list
            .items
            .iter()
            .map(|item| Item {
                line: 0,
                first: placeless(&item.first),
                rest: item.rest.iter().map(placeless).collect(),
                ..item.clone()
            })
            .collect(),
    }
}

fn placeless<'a>(command: &Command<'a>) -> Command<'a> {
    let mut command = command.clone();
    (command.start, command.end) = (0, 0);
    match &mut command.kind {
        Kind::Group(list) | Kind::Subshell(list) => *list = without_places(list),
        Kind::If(conditional) => {
            let If { clauses, otherwise } = conditional.as_mut();
            for (condition, body) in clauses {
                *condition = without_places(condition);
                *body = without_places(body);
            }
            if let Some(body) = otherwise {
                *body = without_places(body);
            }
        }
        Kind::While(repeated) => {
            repeated.condition = without_places(&repeated.condition);
            repeated.body = without_places(&repeated.body);
        }
        Kind::For(each) => {
            each.body = without_places(&each.body);
            // `for x` goes through `"$@"` whether its body is told by `do` or by a brace.
            if let ForHead::Words { .. } = each.head {}
        }
        Kind::Case(case) => {
            for arm in &mut case.arms {
                arm.body = without_places(&arm.body);
                // The last may end without saying so.
                if arm.end.is_empty() {
                    arm.end = b";;";
                }
            }
        }
        Kind::Function {
            body,
            outside,
            inner,
            ..
        } => {
            *body = b"";
            outside.clear();
            **inner = placeless(inner);
        }
        Kind::Simple { .. } | Kind::Arithmetic(_) | Kind::Test(_) => {}
    }
    command
}

/// Why the printed text is another tree, if it is.
fn differs(text: &[u8], dialect: Dialect) -> Option<String> {
    let script = parse(text, dialect);
    if script.error.is_some() {
        return None;
    }
    let printed = print(&script);
    let again = parse(&printed, dialect);
    let (before, after) = (tree(&script), tree(&again));
    (again.error.is_some() || before != after).then(|| {
        format!(
            "{:?}\nprinted\n{}\n{:?}\n{before}\n{after}",
            String::from_utf8_lossy(text),
            String::from_utf8_lossy(&printed),
            again.error
        )
    })
}

const DIALECTS: [Dialect; 4] = [Dialect::Sh, Dialect::Bash, Dialect::Busybox, Dialect::Zsh];

#[test]
fn lines_of_every_kind_are_printed_as_they_are_read() {
    let read = |name: &str| {
        fs::read_to_string(format!("{}/tests/cases/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let cases: Vec<serde_json::Value> = serde_json::from_str(&read("policy_public.json")).unwrap();
    let benign = read("benign_public.txt");
    let mut lines: Vec<&str> = benign.lines().collect();
    lines.extend(cases.iter().filter_map(|case| case["input"].as_str()));
    let mut wrong = Vec::new();
    let mut count = 0;
    for line in &lines {
        for dialect in DIALECTS {
            count += usize::from(parse(line.as_bytes(), dialect).error.is_none());
            wrong.extend(differs(line.as_bytes(), dialect));
        }
    }
    assert!(count > 10_000, "{count} lines can be read");
    assert!(
        wrong.is_empty(),
        "{} of {count}\n{}",
        wrong.len(),
        wrong[..wrong.len().min(5)].join("\n")
    );
}

#[test]
fn scripts_of_this_machine_are_printed_as_they_are_read() {
    let mut folders = vec![
        "/bin".into(),
        "/usr/sbin".into(),
        "/etc".into(),
        "/usr/lib".into(),
        "/usr/share".into(),
    ];
    let mut seen = BTreeSet::new();
    let (mut count, mut wrong) = (0, Vec::new());
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir::<&Path>(std::path::PathBuf::as_path(&folder)) else {
            continue;
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let is_small = entry
                .metadata()
                .is_ok_and(|it| (10..40_000).contains(&it.len()));
            let Some(text) = is_small.then(|| fs::read(&path).ok()).flatten() else {
                continue;
            };
            let first = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let is_shell =
                first.starts_with(b"#!") && (first.ends_with(b"/sh") || first.ends_with(b"bash"));
            if is_shell && count < 150 && seen.insert(text.clone()) {
                count += 1;
                let why = differs(&text, Dialect::Bash);
                wrong.extend(why.map(|why| {
                    let short: String = why.chars().take(300).collect();
                    format!("{}: {short}", path.display())
                }));
            }
        }
    }
    assert!(count > 50, "{count} scripts");
    assert!(wrong.is_empty(), "{} of {count}: {wrong:#?}", wrong.len());
}

const PIECES: &[&str] = &[
    "if ls; ",
    "if ",
    "then ",
    "else ",
    "fi ",
    "for x in a b; ",
    "for x; ",
    "for ((;;)) ",
    "do ",
    "done ",
    "while ls; ",
    "until ",
    "case a in ",
    "(a|b) ",
    "*) ",
    ";; ",
    ";& ",
    "esac ",
    "{ ",
    "} ",
    "( ",
    ") ",
    "; ",
    "\n",
    "&& ",
    "|| ",
    "| ",
    "|& ",
    "& ",
    "x=1 ",
    "a=(1 2) ",
    "ls ",
    "$x ",
    "'q' ",
    "\"w $(ls) $x\" ",
    "$(ls; cat) ",
    "`ls` ",
    ">f ",
    "2>&1 ",
    "&>>f ",
    "<<E\nt\nE\n",
    "<<-'E' <<F\n\tE\nF\n",
    "<<< x ",
    "! ",
    "time ",
    "coproc ls ",
    "f() ",
    "[[ a == b ]] ",
    "((1)) ",
    "<(ls) ",
    "\\\n",
    "# c\n",
    "select x in a; ",
    "{fd}>f ",
];

#[test]
fn words_that_are_the_shells_elsewhere_stay_words() {
    for text in [
        "! then &>>f ",
        "! esac &>>f",
        "! ! then >f",
        "! >f then",
        "! then 2>f",
    ] {
        for dialect in DIALECTS {
            assert_eq!(differs(text.as_bytes(), dialect), None);
        }
    }
}

proptest! {
    /// What can be read is printed as the same tree.
    #[test]
    fn printing_is_the_inverse_of_reading(
        pieces in proptest::collection::vec(proptest::sample::select(PIECES), 0..14),
        dialect in 0_usize..4,
    ) {
        let why = differs(pieces.concat().as_bytes(), DIALECTS[dialect]);
        prop_assert!(why.is_none(), "{}", why.unwrap());
    }
}
