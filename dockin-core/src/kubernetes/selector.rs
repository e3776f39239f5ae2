//! Label and field selectors of list requests.
//!
//! Spec: Kubernetes `apimachinery/pkg/labels/selector.go` (grammar of [`LabelSelector`]) and
//! `pkg/fields/selector.go`.

use std::collections::{BTreeMap, BTreeSet};

use super::pod::phase;
use crate::{Error, ErrorKind, directory::Pod};

/// Which labels objects must have: `a=b,c!=d,e in (x,y),f notin (z),g,!h`. Empty matches all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LabelSelector {
    requirements: Vec<LabelRequirement>,
}

impl LabelSelector {
    /// Reads the query parameter `labelSelector`.
    ///
    /// # Errors
    ///
    /// `Malformed`, naming the part that is not a requirement.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let requirements = split(text)
            .map(|part| LabelRequirement::parse(part).ok_or_else(|| refused("labelSelector", part)))
            .collect::<Result<_, _>>()?;
        Ok(Self { requirements })
    }

    /// Whether an object with `labels` is asked for.
    #[must_use]
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements
            .iter()
            .all(|requirement| requirement.holds(labels))
    }
}

/// Which fields pods must have: `metadata.name`, `metadata.namespace`, `spec.nodeName` and
/// `status.phase`, each with `=`, `==` or `!=`. Empty matches all.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// Reads the query parameter `fieldSelector`.
    ///
    /// # Errors
    ///
    /// `Malformed`, naming the part that is not a requirement or the field that cannot be
    /// selected by.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let requirements = split(text)
            .map(FieldRequirement::parse)
            .collect::<Result<_, _>>()?;
        Ok(Self { requirements })
    }

    /// Whether `pod` is asked for.
    #[must_use]
    pub fn matches(&self, pod: &Pod) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = match requirement.field {
                Field::Name => &pod.name,
                Field::Namespace => &pod.namespace,
                Field::Node => &pod.node,
                Field::Phase => phase(pod).as_str(),
            };
            (value == requirement.value) == requirement.equal
        })
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct LabelRequirement {
    key: String,
    test: LabelTest,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum LabelTest {
    Exists,
    Absent,
    In(BTreeSet<String>),
    /// Holds for objects without the label, too.
    NotIn(BTreeSet<String>),
}

impl LabelRequirement {
    fn parse(part: &str) -> Option<Self> {
        if let Some(key) = part.strip_prefix('!') {
            return Some(Self {
                key: label_key(key)?,
                test: LabelTest::Absent,
            });
        }
        if let Some((key, values)) = part.split_once('(') {
            let values = values.strip_suffix(')')?;
            let mut words = key.split_whitespace();
            let (key, operator) = (words.next()?, words.next()?);
            let values = values
                .split(',')
                .map(|v| label_value(v.trim()))
                .collect::<Option<_>>()?;
            let test = match (operator, words.next()) {
                ("in", None) => LabelTest::In(values),
                ("notin", None) => LabelTest::NotIn(values),
                _ => return None,
            };
            return Some(Self {
                key: label_key(key)?,
                test,
            });
        }
        let Some((key, equal, value)) = comparison(part) else {
            return Some(Self {
                key: label_key(part)?,
                test: LabelTest::Exists,
            });
        };
        let values = BTreeSet::from([label_value(value)?]);
        let test = if equal {
            LabelTest::In(values)
        } else {
            LabelTest::NotIn(values)
        };
        Some(Self {
            key: label_key(key)?,
            test,
        })
    }

    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        let value = labels.get(&self.key);
        match &self.test {
            LabelTest::Exists => value.is_some(),
            LabelTest::Absent => value.is_none(),
            LabelTest::In(values) => value.is_some_and(|value| values.contains(value)),
            LabelTest::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
        }
    }
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct FieldRequirement {
    field: Field,
    equal: bool,
    value: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Field {
    Name,
    Namespace,
    Node,
    Phase,
}

impl FieldRequirement {
    fn parse(part: &str) -> Result<Self, Error> {
        let (field, equal, value) =
            comparison(part).ok_or_else(|| refused("fieldSelector", part))?;
        let field = match field {
            "metadata.name" => Field::Name,
            "metadata.namespace" => Field::Namespace,
            "spec.nodeName" => Field::Node,
            "status.phase" => Field::Phase,
            _ => {
                return Err(Error::new(
                    ErrorKind::Malformed,
                    format!(
                        "field label not supported: `{}`; supported are `metadata.name`, \
                         `metadata.namespace`, `spec.nodeName` and `status.phase`",
                        printable(field)
                    ),
                ));
            }
        };
        Ok(Self {
            field,
            equal,
            value: value.to_owned(),
        })
    }
}

/// `left`, whether equal is wanted, `right`.
fn comparison(part: &str) -> Option<(&str, bool, &str)> {
    let (left, right) = part.split_once('=')?;
    let right = right.strip_prefix('=').unwrap_or(right).trim();
    match left.strip_suffix('!') {
        Some(left) => Some((left.trim(), false, right)),
        None => Some((left.trim(), true, right)),
    }
}

/// The parts between commas that are not inside parentheses.
fn split(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.split(move |character| {
        match character {
            '(' => inside = true,
            ')' => inside = false,
            _ => {}
        }
        character == ',' && !inside
    })
    .map(str::trim)
    .filter(move |part| !(part.is_empty() && text.trim().is_empty()))
}

/// A qualified name: `[prefix/]name`.
fn label_key(text: &str) -> Option<String> {
    let text = text.trim();
    let legal = (1..=317).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._/".contains(&byte));
    legal.then(|| text.to_owned())
}

fn label_value(text: &str) -> Option<String> {
    let legal = text.len() <= 63
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    legal.then(|| text.to_owned())
}

fn refused(parameter: &str, part: &str) -> Error {
    Error::new(
        ErrorKind::Malformed,
        format!(
            "`{parameter}` has a part that is no requirement: `{}`",
            printable(part)
        ),
    )
}

fn printable(text: &str) -> String {
    text.chars()
        .take(64)
        .flat_map(char::escape_default)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::{super::pod::tests::web, FieldSelector, LabelSelector};

    fn matches(selector: &str, labels: &[(&str, &str)]) -> bool {
        let labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        LabelSelector::parse(selector).unwrap().matches(&labels)
    }

    #[test]
    fn every_requirement_of_the_grammar_selects() {
        let web = [("app", "web"), ("tier", "front")];
        for selector in [
            "",
            "app",
            "!gone",
            "app=web",
            "app==web",
            "app = web , tier=front",
            "app!=db",
            "gone!=x",
            "app in (db, web),tier",
            "app notin (db)",
            "gone notin (x)",
        ] {
            assert!(matches(selector, &web), "{selector}");
        }
        for selector in [
            "gone",
            "!app",
            "app=db",
            "app!=web",
            "app in (db,x)",
            "gone in (x)",
            "app=",
        ] {
            assert!(!matches(selector, &web), "{selector}");
        }
        assert!(matches("a.example.com/b=", &[("a.example.com/b", "")]));
    }

    #[test]
    fn text_that_is_no_selector_is_refused_not_ignored() {
        for bad in [
            "=web",
            "app in web",
            "app in (a",
            "app,,tier",
            "a b",
            "app~=x",
            "!",
            "a=b c",
            "x on (y)",
            ",",
        ] {
            assert!(LabelSelector::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn fields_select_pods_and_unknown_fields_are_refused() {
        for (selector, expected) in [
            ("metadata.name=web-0", true),
            ("metadata.name!=web-0", false),
            ("metadata.namespace==dev,spec.nodeName=node1", true),
            ("status.phase=Running", true),
            ("status.phase!=Succeeded,status.phase!=Failed", true),
            ("spec.nodeName=", false),
            ("", true),
        ] {
            assert_eq!(
                FieldSelector::parse(selector).unwrap().matches(&web()),
                expected,
                "{selector}"
            );
        }
        let error = FieldSelector::parse("spec.host=x").unwrap_err();
        assert!(error.message().contains("spec.host"), "{error}");
        assert!(FieldSelector::parse("metadata.name").is_err());
    }
}
