use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use serde::Deserialize;
use thiserror::Error;

use crate::{
    Decision,
    rule::{Arguments, Effect, Hours, Pattern, Rule, Scope, normalize},
    shell::{Resolved, Shape, Value},
};

/// Rules that were read and checked as a whole.
#[derive(Debug)]
pub struct RuleSet {
    name: String,
    contact: String,
    pub(crate) default: Decision,
    pub(crate) on_unknown: Decision,
    pub(crate) rules: Vec<Rule>,
    index: Index,
    /// Some rule counts for large files only.
    has_size_rules: bool,
    /// Rules that must allow it too.
    also: Option<Arc<Self>>,
}

/// Which rules may speak of a command, so that not all have to be asked.
#[derive(Debug, Default)]
struct Index {
    /// By the program's name.
    names: HashMap<String, Vec<usize>>,
    /// By a path or the folder above it.
    files: HashMap<String, Vec<usize>>,
    /// Rules about files, for those whose names are not known.
    any_file: Vec<usize>,
    /// Names with wildcards and paths of programs: the rule, and which of its patterns.
    named_by_pattern: Vec<(usize, usize)>,
    /// Rules whose files have wildcards elsewhere than at the end.
    filed_by_pattern: Vec<usize>,
    shaped: Vec<usize>,
}

impl Index {
    fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (number, rule) in rules.iter().enumerate() {
            for (at, pattern) in rule.commands.iter().enumerate() {
                match pattern.literal().filter(|text| !text.contains('/')) {
                    Some(name) => index.names.entry(name.to_owned()).or_default().push(number),
                    None => index.named_by_pattern.push((number, at)),
                }
            }
            if rule.files().next().is_some() {
                index.any_file.push(number);
            }
            let paths: Option<Vec<&str>> = rule
                .files()
                .map(|pattern| pattern.folder().or_else(|| pattern.literal()))
                .collect();
            match paths {
                Some(paths) => {
                    for path in paths {
                        index.files.entry(path.to_owned()).or_default().push(number);
                    }
                }
                None => index.filed_by_pattern.push(number),
            }
            if !rule.shapes.is_empty() {
                index.shaped.push(number);
            }
        }
        index
    }
}

/// Why a text is no rule set. The rules that were in force stay.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("line {line}: {message}")]
pub struct RuleSetError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

/// Rules of one set: more would be a data base.
const MAX_RULES: usize = 100_000;

impl RuleSet {
    /// Reads rules, whole or not at all.
    ///
    /// The document has `name`, `contact` (whom a refusal names), `default` (`allow` or `deny`,
    /// for what no rule speaks of), `on_unknown` (`deny`, `ask`, `alert` or `allow`, for what
    /// cannot be known before it runs) and `rules`. Each rule has an `id`, an `effect` (`allow`,
    /// `forbid`, `ask`, `alert`), perhaps a `message`, and at least one of the keys of the first four rows:
    ///
    /// | key | a rule speaks of |
    /// | --- | --- |
    /// | `commands` | programs and builtins by name, `*` and `?` as wildcards, wherever in a line they are run |
    /// | `writes`, `reads` | files that are written, deleted or renamed, or read: by redirections, and by operands of programs whose operands are known; `/etc/**` is everything below, `~/` the home folder |
    /// | `alters` | files that are written, and those that are made or get another owner, mode, time or attribute: `touch`, `mkdir`, `chmod`, `chown`, `setfacl`, … |
    /// | `shapes` | what several commands do together: `download-into-shell`, `fork-bomb` |
    /// | `arguments` | of those programs only calls with `any_flag`, `any_operand`, `verb` (the first operands), at least `min_operands`, `signal`, or `world_writable` modes; `value_options` take the next argument |
    /// | `size_over` | of those programs only calls with a file larger than this: bytes, or `10MiB`; the container is asked for its size, a folder counts with all that is in it, and where the size is not known, `on_unknown` decides; of a copy by `tar`, all files together |
    /// | `hours` | only then, in UTC: `mon-fri 22:00-06:00`, `sat,sun`, `09:00-17:00`, any of several |
    /// | `users`, `groups`, `clusters`, `namespaces`, `pods`, `containers`, `labels` | only these, with wildcards |
    ///
    /// With `default: deny` programs and builtins need a rule that allows them, `echo` and `umask`
    /// too. No rule is needed for what only steers the shell itself and reaches nothing outside of
    /// it: its flow (`:`, `true`, `false`, `[`, `test`, `let`, `break`, `continue`, `return`,
    /// `exit`, `shift`), its variables (`export`, `readonly`, `declare`, `typeset`, `local`,
    /// `read`, `mapfile`, `readarray`, `getopts`), the folder where it stands (`cd`, `pushd`,
    /// `popd`, `pwd`), and what runs something else that is judged by its own name (`eval`, `.`,
    /// `source`, `exec`, `command`, `builtin`). A redirection is judged by its path.
    ///
    /// A variable that the session never set is empty, as far as the names of programs go; but the
    /// environment may have it, and then `cp x $DEST` writes anywhere. What a rule says of what may
    /// be is heard as far as `on_unknown`. Environments hold places, names and numbers: what one may
    /// have is taken for an operand, and for no option or verb that nobody wrote. So `cat $LOG` runs,
    /// `cp x $DEST` does not where some file is protected, and `git $X` is no `git push`.
    ///
    /// ```
    /// use dockin_policy::RuleSet;
    ///
    /// let rules = RuleSet::parse(
    ///     "
    /// name: shop
    /// on_unknown: ask
    /// rules:
    ///   - { id: big-edit, effect: ask, commands: [vi, vim], size_over: 10MiB }
    ///   - { id: secrets, effect: forbid, reads: ['/run/secrets/**'] }
    ///   - { id: piped, effect: forbid, shapes: [download-into-shell] }
    ///   - { id: no-deploy, effect: forbid, commands: [deploy], hours: ['fri 14:00-24:00'] }
    /// ",
    /// )?;
    /// assert_eq!(rules.len(), 4);
    /// # Ok::<(), dockin_policy::RuleSetError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RuleSetError`] with the line and the fix: a key that is not known, a value that a key
    /// cannot have, a pattern that is none, an id given twice, a rule that matches nothing.
    pub fn parse(yaml: &str) -> Result<Self, RuleSetError> {
        if yaml.trim().is_empty() {
            // A file that is cut short must not become rules that forbid nothing.
            let message = "there is nothing: give at least a `name`".to_owned();
            return Err(RuleSetError { line: 1, message });
        }
        let text: Text = serde_saphyr::from_str(yaml).map_err(|error| RuleSetError {
            line: error.location().map_or(1, |location| {
                usize::try_from(location.line()).unwrap_or(usize::MAX)
            }),
            message: error.without_snippet().to_string(),
        })?;
        if text.rules.len() > MAX_RULES {
            let message = format!("{} rules, limit {MAX_RULES}", text.rules.len());
            return Err(RuleSetError { line: 1, message });
        }
        let mut seen = BTreeSet::new();
        let mut rules = Vec::with_capacity(text.rules.len());
        for rule in text.rules {
            let line = line_of(yaml, &rule.id);
            let wrong = |message| RuleSetError { line, message };
            if !seen.insert(rule.id.clone()) {
                return Err(wrong(format!(
                    "rule `{}` is given twice; rename one",
                    rule.id
                )));
            }
            let id = rule.id.clone();
            rules.push(check(rule).map_err(|error| wrong(format!("rule `{id}`: {error}")))?);
        }
        let index = Index::new(&rules);
        Ok(Self {
            name: text.name,
            index,
            contact: text.contact,
            default: match text.default {
                DefaultText::Allow => Decision::Allow,
                DefaultText::Deny => Decision::Deny,
            },
            on_unknown: text.on_unknown.decision(),
            has_size_rules: rules.iter().any(|rule| rule.size_over.is_some()),
            rules,
            also: None,
        })
    }

    /// Whether a rule needs to know the size of a file.
    pub(crate) fn has_size_rules(&self) -> bool {
        self.all().any(|rules| rules.has_size_rules)
    }

    /// These rules, and those that must allow it too.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |rules| rules.also.as_deref())
    }

    /// The rules that may speak of `command`, in their order.
    pub(crate) fn candidates(&self, command: &Resolved) -> Vec<&Rule> {
        let mut numbers: Vec<usize> = Vec::new();
        let named = self.index.named_by_pattern.iter().filter(|(number, at)| {
            let patterns = self.rules.get(*number).map(|rule| &rule.commands);
            patterns
                .and_then(|patterns| patterns.get(*at))
                .is_some_and(|pattern| pattern.names(command))
        });
        numbers.extend(named.map(|(number, _)| number));
        numbers.extend(self.index.names.get(&command.name).into_iter().flatten());
        let mut any_file = false;
        let paths = command.writes.iter().chain(&command.alters);
        for path in paths.chain(&command.reads) {
            let Value::Known(path) = path else {
                any_file = true;
                continue;
            };
            let path = normalize(path);
            let mut rest = path.as_str();
            loop {
                numbers.extend(self.index.files.get(rest).into_iter().flatten());
                match rest.rsplit_once('/') {
                    Some((folder, _)) => rest = folder,
                    None => break,
                }
            }
            numbers.extend(&self.index.filed_by_pattern);
        }
        if any_file {
            numbers.extend(&self.index.any_file);
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
            .into_iter()
            .filter_map(|number| self.rules.get(number))
            .collect()
    }

    /// The rules about what several commands do together.
    pub(crate) fn shaped(&self, shape: Shape) -> impl Iterator<Item = &Rule> {
        self.index
            .shaped
            .iter()
            .filter_map(|number| self.rules.get(*number))
            .filter(move |rule| rule.shapes.contains(&shape))
    }

    /// The rules that the predecessor's Redis lists stand for: the union of `raw_cmd` and
    /// `common_cmd`, and `cmd-filter-type`, which is a white list unless it says `blacklist`.
    ///
    /// Names are compared without regard to case there; here they count as they stand and in
    /// small letters. A black list forbids them, which the predecessor's did not.
    ///
    /// # Errors
    ///
    /// [`RuleSetError`] when a name is no pattern.
    pub fn from_redis_lists(
        raw_cmd: &[String],
        common_cmd: &[String],
        cmd_filter_type: &str,
    ) -> Result<Self, RuleSetError> {
        let is_black = cmd_filter_type.trim().eq_ignore_ascii_case("blacklist");
        let names: BTreeSet<String> = raw_cmd
            .iter()
            .chain(common_cmd)
            .map(|name| name.trim())
            .filter(|name| !name.is_empty())
            .flat_map(|name| [name.to_owned(), name.to_lowercase()])
            .collect();
        let mut rules = Vec::new();
        if !names.is_empty() {
            let commands: Result<Vec<Pattern>, String> = names
                .iter()
                .map(|name| Pattern::new(&globset::escape(name)))
                .collect();
            rules.push(Rule {
                id: if is_black {
                    "redis-blacklist"
                } else {
                    "redis-whitelist"
                }
                .to_owned(),
                effect: if is_black {
                    Effect::Forbid
                } else {
                    Effect::Allow
                },
                message: String::new(),
                scope: Scope::default(),
                commands: commands.map_err(|message| RuleSetError { line: 1, message })?,
                writes: Vec::new(),
                alters: Vec::new(),
                reads: Vec::new(),
                shapes: Vec::new(),
                size_over: None,
                arguments: Arguments::default(),
            });
        }
        Ok(Self {
            name: "redis".to_owned(),
            contact: String::new(),
            default: if is_black {
                Decision::Allow
            } else {
                Decision::Deny
            },
            on_unknown: Decision::Deny,
            has_size_rules: false,
            index: Index::new(&rules),
            rules,
            also: None,
        })
    }

    /// Asks `main` too about whatever is judged, and the more severe verdict counts: what these
    /// rules allow runs only if `main` allows it.
    #[must_use]
    pub fn beside(mut self, main: Arc<Self>) -> Self {
        self.contact.clone_from(&main.contact);
        self.on_unknown = self.on_unknown.max(main.on_unknown);
        self.also = Some(main);
        self
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whom a refusal tells people to ask; may be empty.
    #[must_use]
    pub fn contact(&self) -> &str {
        &self.contact
    }

    /// Number of rules.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are no rules.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Where a rule begins: its id, behind `id:`.
fn line_of(yaml: &str, id: &str) -> usize {
    let found = yaml.lines().position(|line| {
        line.split_once("id:").is_some_and(|(_, rest)| {
            let rest = rest.trim_start().trim_start_matches(['"', '\'']);
            rest.strip_prefix(id).is_some_and(|behind| {
                behind
                    .chars()
                    .next()
                    .is_none_or(|c| !(c.is_alphanumeric() || "-_.".contains(c)))
            })
        })
    });
    found.map_or(1, |index| index + 1)
}

fn check(rule: RuleText) -> Result<Rule, String> {
    if rule.id.is_empty()
        || !rule
            .id
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
    {
        return Err("`id` must be of letters, digits, `-`, `_` and `.`".to_owned());
    }
    if rule.commands.is_empty()
        && rule.writes.is_empty()
        && rule.alters.is_empty()
        && rule.reads.is_empty()
        && rule.shapes.is_empty()
    {
        return Err(
            "it matches nothing: give `commands`, `writes`, `alters`, `reads` or `shapes`"
                .to_owned(),
        );
    }
    let hours = rule
        .hours
        .iter()
        .map(|text| hours(text))
        .collect::<Result<_, _>>()?;
    let size_over = rule.size_over.as_deref().map(bytes_of).transpose()?;
    let patterns = |texts: &[String]| -> Result<Vec<Pattern>, String> {
        texts.iter().map(|text| Pattern::new(text)).collect()
    };
    let labels: Result<BTreeMap<String, Pattern>, String> = rule
        .labels
        .iter()
        .map(|(name, text)| Ok((name.clone(), Pattern::new(text)?)))
        .collect();
    let arguments = rule.arguments;
    Ok(Rule {
        effect: match rule.effect {
            EffectText::Allow => Effect::Allow,
            EffectText::Forbid => Effect::Forbid,
            EffectText::Ask => Effect::Ask,
            EffectText::Alert => Effect::Alert,
        },
        message: rule.message,
        scope: Scope {
            users: patterns(&rule.users)?,
            groups: patterns(&rule.groups)?,
            clusters: patterns(&rule.clusters)?,
            namespaces: patterns(&rule.namespaces)?,
            pods: patterns(&rule.pods)?,
            containers: patterns(&rule.containers)?,
            labels: labels?,
            hours,
        },
        commands: patterns(&rule.commands)?,
        writes: patterns(&rule.writes)?,
        alters: patterns(&rule.alters)?,
        reads: patterns(&rule.reads)?,
        shapes: rule.shapes.iter().map(|shape| shape.shape()).collect(),
        size_over,
        arguments: Arguments {
            any_flag: arguments.any_flag,
            any_operand: patterns(&arguments.any_operand)?,
            verb: arguments
                .verb
                .iter()
                .map(|verb| verb.split_whitespace().map(str::to_owned).collect())
                .collect(),
            value_options: arguments.value_options,
            min_operands: arguments.min_operands,
            signal: arguments
                .signal
                .iter()
                .map(|it| it.to_ascii_uppercase())
                .collect(),
            world_writable: arguments.world_writable,
        },
        id: rule.id,
    })
}

/// `10MiB`, `512KiB`, `1GiB` or a number of bytes.
fn bytes_of(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no size: write bytes, or a number with KiB, MiB or GiB");
    let text_only = text.trim();
    let (number, factor) = [("KiB", 1_u64 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)]
        .into_iter()
        .find_map(|(unit, factor)| Some((text_only.strip_suffix(unit)?, factor)))
        .unwrap_or((text_only, 1));
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// `mon-fri 22:00-06:00`, `sat,sun`, `09:00-17:00`.
fn hours(text: &str) -> Result<Hours, String> {
    const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    let wrong =
        || format!("`{text}` is no time window: write `mon-fri 22:00-06:00`, days or hours alone");
    let day = |name: &str| DAYS.iter().position(|day| *day == name).ok_or_else(wrong);
    let minute = |clock: &str| {
        let (hour, minute) = clock.split_once(':').ok_or_else(wrong)?;
        let (hour, minute): (u16, u16) = (
            hour.parse().map_err(|_| wrong())?,
            minute.parse().map_err(|_| wrong())?,
        );
        if hour > 24 || minute > 59 || hour == 24 && minute > 0 {
            return Err(wrong());
        }
        Ok(hour * 60 + minute)
    };
    let mut found = Hours {
        days: 0,
        from: 0,
        to: 24 * 60,
    };
    for part in text.split_whitespace() {
        if part.contains(':') {
            let (from, to) = part.split_once('-').ok_or_else(wrong)?;
            (found.from, found.to) = (minute(from)?, minute(to)?);
            continue;
        }
        for piece in part.split(',') {
            let (first, last) = piece.split_once('-').unwrap_or((piece, piece));
            let (first, last) = (day(first)?, day(last)?);
            let mut at = first;
            loop {
                found.days |= 1 << at;
                if at == last {
                    break;
                }
                at = (at + 1) % 7;
            }
        }
    }
    if text.trim().is_empty() {
        return Err(wrong());
    }
    if found.days == 0 {
        found.days = 0x7F;
    }
    Ok(found)
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ShapeText {
    DownloadIntoShell,
    ForkBomb,
}

impl ShapeText {
    const fn shape(self) -> Shape {
        match self {
            Self::DownloadIntoShell => Shape::DownloadIntoShell,
            Self::ForkBomb => Shape::ForkBomb,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    name: String,
    #[serde(default)]
    default: DefaultText,
    #[serde(default)]
    on_unknown: UnknownText,
    #[serde(default)]
    contact: String,
    #[serde(default)]
    rules: Vec<RuleText>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum DefaultText {
    #[default]
    Allow,
    Deny,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UnknownText {
    #[default]
    Deny,
    Ask,
    Alert,
    Allow,
}

impl UnknownText {
    const fn decision(&self) -> Decision {
        match self {
            Self::Deny => Decision::Deny,
            Self::Ask => Decision::Ask,
            Self::Alert => Decision::Alert,
            Self::Allow => Decision::Allow,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum EffectText {
    Allow,
    Forbid,
    Ask,
    Alert,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    id: String,
    effect: EffectText,
    #[serde(default)]
    message: String,
    #[serde(default)]
    commands: Vec<String>,
    #[serde(default)]
    writes: Vec<String>,
    #[serde(default)]
    alters: Vec<String>,
    #[serde(default)]
    reads: Vec<String>,
    #[serde(default)]
    shapes: Vec<ShapeText>,
    #[serde(default)]
    size_over: Option<String>,
    #[serde(default)]
    hours: Vec<String>,
    #[serde(default)]
    arguments: ArgumentsText,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    clusters: Vec<String>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default)]
    pods: Vec<String>,
    #[serde(default)]
    containers: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ArgumentsText {
    #[serde(default)]
    any_flag: Vec<String>,
    #[serde(default)]
    any_operand: Vec<String>,
    #[serde(default)]
    verb: Vec<String>,
    #[serde(default)]
    value_options: Vec<String>,
    #[serde(default)]
    min_operands: usize,
    #[serde(default)]
    signal: Vec<String>,
    #[serde(default)]
    world_writable: bool,
}

#[cfg(test)]
mod tests;
