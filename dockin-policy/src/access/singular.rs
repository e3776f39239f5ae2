//! The singular of a resource's name, as TKEStack's actions spell it.

/// The singular of `word`.
///
/// By the endings that the `inflect` library of go-openapi knows, version 0.19, so that actions
/// come out as existing policies spell them: `prometheuses` is `prometheuse`.
#[must_use]
pub(super) fn singular(word: &str) -> String {
    let lower = word.to_lowercase();
    if UNCOUNTABLE.contains(&lower.as_str()) {
        return word.to_owned();
    }
    if let Some((_, one)) = WHOLE.iter().find(|(many, _)| *many == word) {
        return (*one).to_owned();
    }
    let ends = |(many, one): &(&str, &str)| Some(format!("{}{one}", word.strip_suffix(many)?));
    if let Some(found) = IRREGULAR.iter().find_map(ends) {
        return found;
    }
    // A consonant before `ies` or `ves` makes `y`, `fe` or `f`; so do most vowels, there.
    if let Some((before, stem)) = letter_before(word, "ies")
        && !matches!(before, 'a' | 'e' | 'i' | 'o' | 'u')
    {
        return format!("{stem}y");
    }
    if word.ends_with("quies") {
        return format!("{}y", word.strip_suffix("ies").unwrap_or(word));
    }
    match letter_before(word, "ves") {
        Some(('l' | 'r', stem)) => return format!("{stem}f"),
        Some((_, stem)) if !stem.is_empty() => return format!("{stem}fe"),
        _ => {}
    }
    LAST.iter()
        .find_map(ends)
        .unwrap_or_else(|| word.to_owned())
}

/// The ASCII letter before `ending`, and everything before the ending.
fn letter_before<'a>(word: &'a str, ending: &str) -> Option<(char, &'a str)> {
    let stem = word.strip_suffix(ending)?;
    let last = stem.chars().next_back()?;
    last.is_ascii_lowercase().then_some((last, stem))
}

const UNCOUNTABLE: [&str; 10] = [
    "equipment",
    "information",
    "rice",
    "money",
    "species",
    "series",
    "fish",
    "sheep",
    "jeans",
    "police",
];

const WHOLE: [(&str, &str); 2] = [("oxen", "ox"), ("quizzes", "quiz")];

/// Endings that come before the rules about letters.
const IRREGULAR: [(&str, &str); 33] = [
    ("zombies", "zombie"),
    ("moves", "move"),
    ("sexes", "sex"),
    ("children", "child"),
    ("men", "man"),
    ("people", "person"),
    ("databases", "database"),
    ("matrices", "matrix"),
    ("indices", "index"),
    ("vertices", "vertex"),
    ("aliases", "alias"),
    ("statuses", "status"),
    ("viri", "virus"),
    ("octopi", "octopus"),
    ("testes", "testis"),
    ("axes", "axis"),
    ("crises", "crisis"),
    ("shoes", "shoe"),
    ("oes", "o"),
    ("buses", "bus"),
    ("lice", "louse"),
    ("mice", "mouse"),
    ("shes", "sh"),
    ("sses", "ss"),
    ("ches", "ch"),
    ("xes", "x"),
    ("movies", "movie"),
    ("series", "series"),
    ("hives", "hive"),
    ("tives", "tive"),
    ("analyses", "analysis"),
    ("theses", "thesis"),
    ("news", "news"),
];

/// Endings that come after them.
const LAST: [(&str, &str); 8] = [
    ("synopses", "synopsis"),
    ("prognoses", "prognosis"),
    ("parentheses", "parenthesis"),
    ("diagnoses", "diagnosis"),
    ("bases", "basis"),
    ("ia", "ium"),
    ("ta", "tum"),
    ("s", ""),
];

#[cfg(test)]
mod tests {
    use super::singular;

    #[test]
    fn names_of_resources_become_those_of_actions() {
        for (many, one) in [
            ("pods", "pod"),
            ("policies", "policy"),
            ("galaxies", "galaxy"),
            ("prometheuses", "prometheuse"),
            ("ingresses", "ingress"),
            ("storageclasses", "storageclass"),
            ("componentstatuses", "componentstatus"),
            ("leases", "lease"),
            ("endpoints", "endpoint"),
            ("indices", "index"),
            ("parentheses", "parenthesis"),
            ("databases", "database"),
            ("bases", "basis"),
            ("archives", "archive"),
            ("slaves", "slafe"),
            ("shelves", "shelf"),
            ("series", "series"),
            ("metadata", "metadatum"),
            ("apply", "apply"),
            ("", ""),
        ] {
            assert_eq!(singular(many), one, "{many}");
        }
    }
}
