//! Rules as a whole: read, checked, and found again.

use std::{collections::BTreeSet, sync::Arc};

use thiserror::Error;

use crate::{
    Decision,
    rule::{Arguments, Effect, Pattern, Rule, Scope},
    shell::{Resolved, Shape},
};

mod document;
mod index;

use document::Document;
use index::Index;

/// Rules that were read and checked as a whole.
#[derive(Debug)]
pub struct RuleSet {
    name: String,
    contact: String,
    pub(crate) default: Decision,
    pub(crate) default_for_ports: Decision,
    pub(crate) on_unknown: Decision,
    pub(crate) rules: Vec<Rule>,
    index: Index,
    /// Some rule counts for large files only.
    has_size_rules: bool,
    /// Rules that must allow it too.
    also: Option<Arc<Self>>,
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

impl RuleSet {
    /// Reads rules, whole or not at all.
    ///
    /// The document has `name`, `contact` (whom a refusal names), `default` (`allow` or `deny`,
    /// for what no rule speaks of), `on_unknown` (`deny`, `ask`, `alert` or `allow`, for what
    /// cannot be known before it runs) and `rules`. Each rule has an `id`, an `effect` (`allow`,
    /// `forbid`, `ask`, `alert`), perhaps a `message`, and at least one of the keys of the first five rows:
    ///
    /// | key | a rule speaks of |
    /// | --- | --- |
    /// | `commands` | programs and builtins by name, `*` and `?` as wildcards, wherever in a line they are run |
    /// | `writes`, `reads` | files that are written, deleted or renamed, or read: by redirections, and by operands of programs whose operands are known; `/etc/**` is everything below, `~/` the home folder |
    /// | `alters` | files that are written, and those that are made or get another owner, mode, time or attribute: `touch`, `mkdir`, `chmod`, `chown`, `setfacl`, … |
    /// | `shapes` | what several commands do together: `download-into-shell`, `fork-bomb` |
    /// | `ports` | port-forwards to these ports of the pod: `22`, `1-1023`, `'*'` for all of them; each connection is judged as it is opened. A port-forward runs nothing, reads no file and reaches the pod as a whole, so a rule with `ports` has no key of programs, files or `containers` |
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
    /// `source`, `exec`, `command`, `builtin`). A redirection is judged by its path. A port that is
    /// forwarded needs a rule with `ports` that allows it.
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
    ///   - { id: no-database, effect: forbid, ports: [3306, 5432-5439], labels: { app: db } }
    /// ",
    /// )?;
    /// assert_eq!(rules.len(), 5);
    /// # Ok::<(), dockin_policy::RuleSetError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RuleSetError`] with the line and the fix: a key that is not known, a value that a key
    /// cannot have, a pattern or a port that is none, an id given twice, a rule that matches
    /// nothing, keys that cannot stand together.
    pub fn parse(yaml: &str) -> Result<Self, RuleSetError> {
        let document = Document::parse(yaml)?;
        let rules = document.rules;
        Ok(Self {
            name: document.name,
            contact: document.contact,
            default: document.default,
            default_for_ports: document.default,
            on_unknown: document.on_unknown,
            index: Index::new(&rules),
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
        self.index.candidates(&self.rules, command)
    }

    /// The rules about what several commands do together.
    pub(crate) fn shaped(&self, shape: Shape) -> impl Iterator<Item = &Rule> {
        let rules = self.index.shaped(&self.rules);
        rules.filter(move |rule| rule.shapes.contains(&shape))
    }

    /// The rules about forwarding `port`, in their order.
    pub(crate) fn about_port(&self, port: u16) -> impl Iterator<Item = &Rule> {
        let rules = self.index.ported(&self.rules);
        rules.filter(move |rule| rule.covers_port(port))
    }

    /// The rules that the predecessor's Redis lists stand for: the union of `raw_cmd` and
    /// `common_cmd`, and `cmd-filter-type`, which is a white list unless it says `blacklist`.
    ///
    /// Names are compared without regard to case there; here they count as they stand and in
    /// small letters. A black list forbids them, which the predecessor's did not. Neither says
    /// anything of ports: whoever may forward one forwards it.
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
                ports: Vec::new(),
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
            default_for_ports: Decision::Allow,
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

#[cfg(test)]
mod tests;
