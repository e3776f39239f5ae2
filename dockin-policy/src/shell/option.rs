//! Long options as `getopt_long` reads them.

/// Options that are whole and begin longer ones.
const WHOLE: &[&str] = &["--cc", "--checkpoint", "--exec", "--summary", "--to"];

/// Whether `text`, with or without a value behind `=`, is the long option `option` or an
/// abbreviation of it. One that is no more than the beginning of several is refused by programs.
pub(crate) fn is_long(text: &str, option: &str) -> bool {
    let name = text.split('=').next().unwrap_or(text);
    name == option
        || name.len() > 2
            && option.starts_with(name)
            && option.starts_with("--")
            && !WHOLE.contains(&name)
}

/// The value that is glued to such an option, or that it has none; `None` for other texts.
pub(super) fn long_value<'a>(text: &'a str, option: &str) -> Option<Option<&'a str>> {
    is_long(text, option).then(|| text.split_once('=').map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use super::{is_long, long_value};

    #[test]
    fn a_beginning_of_an_option_is_that_option() {
        for text in ["--filter", "--fil", "--f", "--fil=rm x"] {
            assert!(is_long(text, "--filter"), "{text}");
        }
        for text in ["--", "-f", "--filters", "filter", "--x"] {
            assert!(!is_long(text, "--filter"), "{text}");
        }
        assert!(!is_long("--checkpoint=1", "--checkpoint-action"));
        assert!(is_long("--checkpoint-a=exec=x", "--checkpoint-action"));
    }

    #[test]
    fn the_value_of_an_option_is_behind_it_or_glued_on() {
        assert_eq!(long_value("--pag=rm x", "--pager"), Some(Some("rm x")));
        assert_eq!(long_value("--pag", "--pager"), Some(None));
        assert_eq!(long_value("--other", "--pager"), None);
    }
}
