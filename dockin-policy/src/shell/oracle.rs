//! Our reading of lines and scripts beside that of tree-sitter's grammar for bash: the same
//! commands with the same words, redirections, pipelines and functions, in the same order.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::{collections::BTreeMap, fs, path::PathBuf};

use tree_sitter::{Node, Tree};

use super::{
    Dialect,
    ast::{Command, Kind, List, Redirect, RedirectKind},
    parse::parse,
};

/// What stands in a text, by where it begins.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Part {
    /// The words of a command, assignments among them.
    Command(Vec<String>),
    /// So many commands in a row.
    Pipeline(usize),
    /// Operator and target.
    Redirect(String),
    Function(String),
    Compound(&'static str),
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Blanks, escaped ends of lines and comments in a word are matters of taste.
fn squeezed(text: &str) -> String {
    text.replace("\\\n", "")
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect()
}

#[derive(Default)]
struct Ours {
    parts: Vec<Part>,
}

impl Ours {
    fn list(&mut self, list: &List<'_>) {
        for item in &list.items {
            if !item.rest.is_empty() {
                self.parts.push(Part::Pipeline(item.rest.len() + 1));
            }
            self.command(&item.first);
            for command in &item.rest {
                self.command(command);
            }
        }
    }

    fn redirects(&mut self, redirects: &[Redirect<'_>]) {
        for redirect in redirects {
            let operator = text(redirect.operator);
            let target = match redirect.kind {
                RedirectKind::Heredoc(_) => String::new(),
                _ => squeezed(&text(redirect.target.raw)),
            };
            self.parts
                .push(Part::Redirect(format!("{operator}{target}")));
        }
    }

    fn command(&mut self, command: &Command<'_>) {
        match &command.kind {
            Kind::Simple { words, .. } => {
                if !words.is_empty() {
                    let words = words.iter().map(|word| squeezed(&text(word.raw)));
                    self.parts.push(Part::Command(words.collect()));
                }
            }
            Kind::Group(list) => {
                self.parts.push(Part::Compound("{"));
                self.list(list);
            }
            Kind::Subshell(list) => {
                self.parts.push(Part::Compound("("));
                self.list(list);
            }
            Kind::If(conditional) => {
                self.parts.push(Part::Compound("if"));
                for (condition, body) in &conditional.clauses {
                    self.list(condition);
                    self.list(body);
                }
                if let Some(body) = &conditional.otherwise {
                    self.list(body);
                }
            }
            Kind::While(repeated) => {
                self.parts.push(Part::Compound("while"));
                self.list(&repeated.condition);
                self.list(&repeated.body);
            }
            Kind::For(each) => {
                self.parts.push(Part::Compound("for"));
                self.list(&each.body);
            }
            Kind::Case(case) => {
                self.parts.push(Part::Compound("case"));
                for arm in &case.arms {
                    self.list(&arm.body);
                }
            }
            Kind::Function { name, inner, .. } => {
                self.parts.push(Part::Function(text(name)));
                self.command(inner);
            }
            Kind::Arithmetic(_) => self.parts.push(Part::Compound("((")),
            Kind::Test(_) => self.parts.push(Part::Compound("[[")),
        }
        self.redirects(&command.redirects);
    }
}

struct Theirs<'t> {
    text: &'t [u8],
    parts: Vec<Part>,
}

impl Theirs<'_> {
    fn said(&self, node: Node<'_>) -> String {
        text(&self.text[node.byte_range()])
    }

    fn children(&mut self, node: Node<'_>) {
        let mut cursor = node.walk();
        for child in node.children(&mut cursor).collect::<Vec<_>>() {
            self.node(child);
        }
    }

    /// A command whose words are its children, redirections behind it.
    fn words(&mut self, node: Node<'_>) {
        let mut cursor = node.walk();
        let (mut words, mut redirects) = (Vec::<String>::new(), Vec::new());
        let mut end = None;
        for child in node.children(&mut cursor).collect::<Vec<_>>() {
            match child.kind() {
                "file_redirect" | "herestring_redirect" | "heredoc_redirect" => {
                    words.extend(self.words_behind(child));
                    redirects.push(child);
                }
                // `$"text"` is two there.
                _ if end == Some(child.start_byte()) => {
                    if let Some(last) = words.last_mut() {
                        last.push_str(&squeezed(&self.said(child)));
                    }
                }
                _ => words.push(squeezed(&self.said(child))),
            }
            end = Some(child.end_byte());
        }
        if !words.is_empty() {
            self.parts.push(Part::Command(words));
        }
        for redirect in redirects {
            self.node(redirect);
        }
    }

    /// Words of the command that stand behind a redirection, which is said to go to all of them.
    fn words_behind(&self, redirect: Node<'_>) -> Vec<String> {
        let mut cursor = redirect.walk();
        redirect
            .children_by_field_name("destination", &mut cursor)
            .skip(1)
            .map(|word| squeezed(&self.said(word)))
            .collect()
    }

    fn node(&mut self, node: Node<'_>) {
        match node.kind() {
            "command" | "declaration_command" | "unset_command" | "variable_assignments" => {
                self.words(node);
            }
            "variable_assignment" => {
                let words = vec![squeezed(&self.said(node))];
                self.parts.push(Part::Command(words));
            }
            "pipeline" => {
                let mut cursor = node.walk();
                let bars = node
                    .children(&mut cursor)
                    .filter(|child| matches!(child.kind(), "|" | "|&"))
                    .count();
                self.parts.push(Part::Pipeline(bars + 1));
                self.children(node);
            }
            "test_command" => {
                let said = self.said(node);
                if said.starts_with("[[") {
                    self.parts.push(Part::Compound("[["));
                } else if said.starts_with("((") {
                    self.parts.push(Part::Compound("(("));
                } else {
                    self.parts.push(Part::Command(vec![squeezed(&said)]));
                }
            }
            "redirected_statement" => {
                self.children(node);
                let mut cursor = node.walk();
                let behind: Vec<String> = node
                    .children_by_field_name("redirect", &mut cursor)
                    .flat_map(|redirect| self.words_behind(redirect))
                    .collect();
                let last = self.parts.iter_mut().rev().find_map(|part| match part {
                    Part::Command(words) => Some(words),
                    _ => None,
                });
                if let Some(words) = last {
                    words.extend(behind);
                }
            }
            "file_redirect" | "herestring_redirect" => {
                let mut cursor = node.walk();
                let end = node
                    .children_by_field_name("destination", &mut cursor)
                    .next()
                    .map_or(node.end_byte(), |first| first.end_byte());
                let said = text(&self.text[node.start_byte()..end]);
                self.parts.push(Part::Redirect(squeezed(&said)));
            }
            "heredoc_redirect" => {
                let mut cursor = node.walk();
                let mut operator = String::new();
                let mut behind = Vec::new();
                for child in node.children(&mut cursor).collect::<Vec<_>>() {
                    match child.kind() {
                        "file_descriptor" | "<<" | "<<-" => operator.push_str(&self.said(child)),
                        "heredoc_start" | "heredoc_body" | "heredoc_end" => {}
                        _ => behind.push(child),
                    }
                }
                self.parts
                    .push(Part::Redirect(operator.trim_end_matches('-').to_owned()));
                for child in behind {
                    self.node(child);
                }
            }
            "function_definition" => {
                let name = node.child_by_field_name("name").unwrap();
                self.parts.push(Part::Function(self.said(name)));
                let mut cursor = node.walk();
                for child in node.children(&mut cursor).collect::<Vec<_>>() {
                    if child.id() != name.id() {
                        self.node(child);
                    }
                }
            }
            "subshell" => {
                self.parts.push(Part::Compound("("));
                self.children(node);
            }
            "compound_statement" => {
                let is_arithmetic = self.said(node).starts_with("((");
                self.parts
                    .push(Part::Compound(if is_arithmetic { "((" } else { "{" }));
                if !is_arithmetic {
                    self.children(node);
                }
            }
            "if_statement" => {
                self.parts.push(Part::Compound("if"));
                self.children(node);
            }
            "while_statement" => {
                self.parts.push(Part::Compound("while"));
                self.children(node);
            }
            "for_statement" | "c_style_for_statement" => {
                self.parts.push(Part::Compound("for"));
                if let Some(body) = node.child_by_field_name("body") {
                    if body.kind() == "compound_statement" {
                        self.children(body);
                    } else {
                        self.node(body);
                    }
                }
            }
            "case_statement" => {
                self.parts.push(Part::Compound("case"));
                let mut cursor = node.walk();
                for child in node.children(&mut cursor).collect::<Vec<_>>() {
                    if child.kind() == "case_item" {
                        let mut inner = child.walk();
                        let values: Vec<usize> = child
                            .children_by_field_name("value", &mut inner)
                            .map(|value| value.id())
                            .collect();
                        let mut inner = child.walk();
                        for part in child.children(&mut inner).collect::<Vec<_>>() {
                            if !values.contains(&part.id()) {
                                self.node(part);
                            }
                        }
                    }
                }
            }
            _ => self.children(node),
        }
    }
}

/// What both read in the same order, without what the one or the other calls by another name.
fn comparable(parts: Vec<Part>) -> Vec<Part> {
    let mut parts: Vec<Part> = parts
        .into_iter()
        .map(|part| match part {
            // For tree-sitter `[ … ]` is a statement of its own.
            Part::Command(words) if words.first().is_some_and(|word| word.starts_with('[')) => {
                Part::Command(vec![words.concat()])
            }
            other => other,
        })
        .collect();
    // Redirections hang on commands there and on pipelines here: their number and texts count.
    parts.sort();
    parts
}

fn read(tree_parser: &mut tree_sitter::Parser, text: &[u8]) -> Option<Tree> {
    let tree = tree_parser.parse(text, None).unwrap();
    (!tree.root_node().has_error()).then_some(tree)
}

/// The first difference.
fn difference(text: &[u8], tree: &Tree) -> Option<String> {
    let script = parse(text, Dialect::Bash);
    let mut ours = Ours::default();
    ours.list(&script.list);
    let mut theirs = Theirs {
        text,
        parts: Vec::new(),
    };
    theirs.node(tree.root_node());
    let (ours, theirs) = (comparable(ours.parts), comparable(theirs.parts));
    if ours == theirs {
        return None;
    }
    let only_ours: Vec<_> = ours.iter().filter(|part| !theirs.contains(part)).collect();
    let only_theirs: Vec<_> = theirs.iter().filter(|part| !ours.contains(part)).collect();
    Some(format!(
        "only ours {:?}, only theirs {:?}",
        &only_ours[..only_ours.len().min(4)],
        &only_theirs[..only_theirs.len().min(4)]
    ))
}

/// A reason, and the texts that it is the reason for.
type Explained = (&'static str, fn(&str) -> bool);

/// Why tree-sitter's grammar reads something in another way than bash does.
const EXPLAINED: &[Explained] = &[
    (
        "`time` and `coproc` are words of the command for it",
        |text| text.starts_with("time ") || text.starts_with("coproc "),
    ),
    ("a `-` in front of a here-document is lost", |text| {
        text.contains(" - <<")
    }),
    ("a digit in front of `<&` is a word", |text| {
        text.contains("exec 0<&9")
    }),
];

#[test]
fn commands_are_those_that_tree_sitter_reads() {
    let mut tree_parser = tree_sitter::Parser::new();
    tree_parser
        .set_language(&tree_sitter_bash::LANGUAGE.into())
        .unwrap();
    let mut texts: Vec<(String, Vec<u8>)> = Vec::new();
    let cases = |name: &str| {
        fs::read_to_string(format!("{}/tests/cases/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    for line in cases("benign_public.txt").lines() {
        texts.push((line.to_owned(), line.as_bytes().to_vec()));
    }
    let public: Vec<serde_json::Value> =
        serde_json::from_str(&cases("policy_public.json")).unwrap();
    for case in public {
        if let (Some(line), Some("bash")) = (case["input"].as_str(), case["shell"].as_str()) {
            texts.push((line.to_owned(), line.as_bytes().to_vec()));
        }
    }
    let lines = texts.len();
    texts.extend(scripts());
    let (mut same, mut unread, mut explained) = (0, 0, BTreeMap::new());
    let mut different = Vec::new();
    for (name, text) in &texts {
        if parse(text, Dialect::Bash).error.is_some() {
            continue;
        }
        let Some(tree) = read(&mut tree_parser, text) else {
            unread += 1;
            continue;
        };
        match difference(text, &tree) {
            None => same += 1,
            Some(what) => match EXPLAINED
                .iter()
                .find(|(_, applies)| applies(&String::from_utf8_lossy(text)))
            {
                Some((why, _)) => *explained.entry(*why).or_insert(0) += 1,
                None => different.push(format!("{name:?}: {what}")),
            },
        }
    }
    println!(
        "{lines} lines and {} scripts: {same} the same, {unread} that tree-sitter does not read, explained {explained:#?}, {} different: {:#?}",
        texts.len() - lines,
        different.len(),
        &different[..different.len().min(60)]
    );
    assert!(same > 3000 && unread * 100 < same);
    assert!(different.is_empty());
}

fn scripts() -> Vec<(String, Vec<u8>)> {
    let mut folders: Vec<PathBuf> = ["/bin", "/usr/sbin", "/etc", "/usr/lib", "/usr/share"]
        .iter()
        .map(PathBuf::from)
        .collect();
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_symlink() || found.len() >= 200 {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if fs::metadata(&path).is_ok_and(|it| (10..60_000).contains(&it.len()))
                && let Ok(text) = fs::read(&path)
                && text.starts_with(b"#!")
                && text
                    .split(|byte| *byte == b'\n')
                    .next()
                    .is_some_and(|line| line.ends_with(b"/sh") || line.ends_with(b"/bash"))
            {
                found.push((path.display().to_string(), text));
            }
        }
    }
    found
}
