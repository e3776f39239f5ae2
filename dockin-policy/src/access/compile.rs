//! From a [`Source`] to [`AccessRules`]: whole or not at all.

use std::collections::HashMap;

use super::{
    Faults, Mode, Source,
    graph::{Edge, Graph, Span},
    names::{Names, number},
    pattern::{Kind, Patterns},
    pattern_set::{FEW, PatternSet},
    trap,
};

/// Rules in force: immutable, shared by any number of readers without a lock.
///
/// Swap it whole behind an `Arc`; a decision that has begun goes on with the one it took.
#[derive(Debug)]
pub struct AccessRules {
    pub(super) mode: Mode,
    /// Members, roles and policies: the first nodes of the graph, in this order.
    pub(super) names: Names,
    pub(super) domains: Names,
    pub(super) graph: Graph,
    pub(super) nodes: Vec<Node>,
    pub(super) rules: Vec<CompiledRule>,
    pub(super) patterns: Patterns,
    pub(super) indexes: Vec<Index>,
    pub(super) action_sets: Vec<ActionSet>,
    /// Whether some project could forbid what the platform allows.
    pub(super) projects_may_deny: bool,
    sources: Counts,
}

#[derive(Clone, Copy, Debug)]
struct Counts {
    rules: usize,
    links: usize,
}

/// The domain of the platform, which is the first one.
pub(super) const PLATFORM: u32 = 0;

/// Rules of one node that are asked in turn: they lie side by side, an index does not.
const LINEAR: usize = 24;

/// What a node has of its own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Node {
    /// Its rules, denials first.
    pub(super) rules: Span,
    /// The index of its rules, when they are many.
    pub(super) index: Option<u32>,
}

/// A rule as numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompiledRule {
    pub(super) subject: u32,
    pub(super) object: u32,
    pub(super) action: u32,
    line_and_effect: u32,
}

impl CompiledRule {
    pub(super) const fn denies(self) -> bool {
        self.line_and_effect & 1 == 0
    }

    pub(super) const fn line(self) -> u32 {
        self.line_and_effect >> 1
    }
}

/// The rules of one node by their objects.
#[derive(Debug)]
pub(super) struct Index {
    pub(super) deny: PatternSet<u32>,
    pub(super) allow: PatternSet<u32>,
}

/// Actions that some objects share.
#[derive(Debug)]
pub(super) enum ActionSet {
    Few(Vec<u32>),
    Many(PatternSet<()>),
}

impl AccessRules {
    /// Compiles `source`, whole or not at all.
    ///
    /// # Errors
    ///
    /// In [`Mode::Strict`] every trap that the source has, with its line and the way out. In
    /// [`Mode::Compatible`] nothing is refused but what cannot be numbered: more than 2³¹ lines
    /// or 4 GiB of text.
    pub fn compile(source: &Source<'_>, mode: Mode) -> Result<Self, Faults> {
        check_size(source)?;
        if mode == Mode::Strict {
            trap::check_rules(source)?;
        }
        let mut names = Names::default();
        let mut domains = Names::default();
        domains.intern(b"*");
        let mut edges = Vec::with_capacity(source.links.len());
        for link in &source.links {
            let domain = if link.domain.is_empty() {
                "*"
            } else {
                &link.domain
            };
            edges.push(Edge {
                member: names.intern(link.member.as_bytes()),
                domain: domains.intern(domain.as_bytes()),
                role: names.intern(link.role.as_bytes()),
            });
        }
        let (mut rules, patterns) = compile_rules(source, mode, &mut names);
        rules.sort_by_key(|rule| (rule.subject, !rule.denies()));
        let mut nodes = vec![Node::default(); names.len()];
        let mut start = 0;
        for group in rules.chunk_by(|one, other| one.subject == other.subject) {
            let end = start + number(group.len());
            let subject = group.first().map_or(0, |rule| rule.subject);
            if let Some(node) = nodes.get_mut(subject as usize) {
                node.rules = Span { start, end };
            }
            start = end;
        }
        let graph = Graph::new(edges, names.len());
        if mode == Mode::Strict {
            let has_rules = |node: u32| has_rules(&nodes, node) > 0;
            trap::check_links(source, &names, &graph, has_rules)?;
        }
        let budget = rules.len() * 2 + 1_000_000;
        let (graph, bundles) = graph.bundled(|node| has_rules(&nodes, node), budget);
        for bundle in bundles {
            let start = number(rules.len());
            for leaf in bundle.leaves {
                let leaf = nodes.get(leaf as usize).copied().unwrap_or_default();
                rules.extend_from_within(leaf.rules.range());
            }
            if let Some(copied) = rules.get_mut(start as usize..) {
                copied.sort_by_key(|rule| !rule.denies());
            }
            let end = number(rules.len());
            nodes.push(Node {
                rules: Span { start, end },
                index: None,
            });
        }
        let in_project = |edge: &Edge| edge.domain != PLATFORM;
        let mut compiled = Self {
            mode,
            projects_may_deny: rules.iter().any(|rule| rule.denies())
                && graph.edges().iter().any(in_project),
            names,
            domains,
            graph,
            nodes,
            rules,
            patterns,
            indexes: Vec::new(),
            action_sets: Vec::new(),
            sources: Counts {
                rules: source.rules.len(),
                links: source.links.len(),
            },
        };
        compiled.index();
        Ok(compiled)
    }

    /// How many rules (`p` lines) there are.
    #[must_use]
    pub const fn rule_count(&self) -> usize {
        self.sources.rules
    }

    /// How many links (`g` lines) there are.
    #[must_use]
    pub const fn link_count(&self) -> usize {
        self.sources.links
    }

    /// The mode they were compiled for.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Gives every node with many rules its index.
    fn index(&mut self) {
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        for at in 0..self.nodes.len() {
            let Some(node) = self.nodes.get(at).copied() else {
                continue;
            };
            if node.rules.len() <= LINEAR {
                continue;
            }
            let rules = self.rules.get(node.rules.range()).unwrap_or_default();
            let denials = rules.partition_point(|rule| rule.denies());
            let (deny, allow) = rules.split_at(denials);
            let deny = by_object(deny);
            let allow = by_object(allow);
            let index = Index {
                deny: self.set_of_objects(deny, &mut known),
                allow: self.set_of_objects(allow, &mut known),
            };
            self.indexes.push(index);
            if let Some(node) = self.nodes.get_mut(at) {
                node.index = Some(number(self.indexes.len() - 1));
            }
        }
    }

    fn set_of_objects(
        &mut self,
        objects: HashMap<u32, Vec<u32>>,
        known: &mut HashMap<Vec<u32>, u32>,
    ) -> PatternSet<u32> {
        let mut members = Vec::with_capacity(objects.len());
        for (object, mut actions) in objects {
            actions.sort_unstable();
            actions.dedup();
            let set = match known.get(&actions) {
                Some(set) => *set,
                None => {
                    let set = number(self.action_sets.len());
                    let made = match actions.len() <= FEW {
                        true => ActionSet::Few(actions.clone()),
                        false => {
                            let members = actions.iter().map(|action| (*action, ())).collect();
                            ActionSet::Many(PatternSet::new(&self.patterns, members))
                        }
                    };
                    self.action_sets.push(made);
                    known.insert(actions, set);
                    set
                }
            };
            members.push((object, set));
        }
        // Hashing has shuffled them; the same source gives the same index.
        members.sort_unstable();
        PatternSet::new(&self.patterns, members)
    }
}

fn by_object(rules: &[CompiledRule]) -> HashMap<u32, Vec<u32>> {
    let mut objects: HashMap<u32, Vec<u32>> = HashMap::new();
    for rule in rules {
        objects.entry(rule.object).or_default().push(rule.action);
    }
    objects
}

fn compile_rules(
    source: &Source<'_>,
    mode: Mode,
    names: &mut Names,
) -> (Vec<CompiledRule>, Patterns) {
    let mut patterns = Patterns::default();
    let mut rules = Vec::with_capacity(source.rules.len());
    for rule in &source.rules {
        let object = patterns.intern(&rule.object, mode);
        let mut action = patterns.intern(&rule.action, mode);
        let broken = |pattern| patterns.kind(pattern) == Kind::Poison;
        let poison = broken(object) || broken(action);
        if broken(object) {
            // The original fails before it has looked at the action.
            action = object;
        }
        let effect = match &*rule.effect {
            // Who would be asked about a broken pattern is refused everything.
            _ if poison => 0,
            "deny" => 0,
            "allow" => 1,
            _ => continue,
        };
        rules.push(CompiledRule {
            subject: names.intern(rule.subject.as_bytes()),
            object,
            action,
            line_and_effect: rule.line << 1 | effect,
        });
    }
    (rules, patterns)
}

fn has_rules(nodes: &[Node], node: u32) -> usize {
    nodes.get(node as usize).map_or(0, |node| node.rules.len())
}

fn check_size(source: &Source<'_>) -> Result<(), Faults> {
    let lines = source.rules.len().max(source.links.len());
    let of_rule = |rule: &super::Rule<'_>| {
        rule.subject.len() + rule.object.len() + rule.action.len() + rule.domain.len()
    };
    let of_link = |link: &super::Link<'_>| link.member.len() + link.role.len() + link.domain.len();
    let text: usize = source.rules.iter().map(of_rule).sum::<usize>()
        + source.links.iter().map(of_link).sum::<usize>();
    if lines >= 1 << 30 || text >= 1 << 31 {
        return Err(Faults::one(
            0,
            "more than 2 GiB of rules; split them by tenant",
        ));
    }
    Ok(())
}
