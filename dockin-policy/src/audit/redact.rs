//! Masks secrets in text and argument lists before anything is written down.

/// Masks secrets in an argument list.
///
/// Masked are values of options and variables whose names speak of secrets,
/// credentials in `Authorization` headers and URLs, and the glued or following
/// value of `-p` and `-u` for programs that take a secret there. A value that
/// follows in the next argument is masked too.
#[must_use]
pub fn redact_argv<S: AsRef<str>>(argv: &[S]) -> Vec<String> {
    let mut masker = Masker::default();
    argv.iter()
        .map(|word| {
            let word = word.as_ref();
            masker.word(word).unwrap_or_else(|| word.to_owned())
        })
        .collect()
}

/// The same, in place.
pub(crate) fn redact_words(argv: &mut [String]) {
    let mut masker = Masker::default();
    for word in argv {
        if let Some(masked) = masker.word(word) {
            *word = masked;
        }
    }
}

/// Masks secrets in a command line or any other text.
///
/// Works on blank-separated words, so that the rest of the text, broken
/// quoting included, stays as it was. Linear in the length of `text`.
///
/// ```
/// # use dockin_policy::audit::redact_text;
/// assert_eq!(redact_text("curl -u ann:s3cret https://x"), "curl -u [redacted] https://x");
/// assert_eq!(redact_text("PASSWORD='a b' ./run --token=abc"), "PASSWORD=[redacted] ./run --token=[redacted]");
/// ```
#[must_use]
pub fn redact_text(text: &str) -> String {
    masked_text(text).unwrap_or_else(|| text.to_owned())
}

/// `text` with its secrets masked, when it has any: most have none.
pub(crate) fn masked_text(text: &str) -> Option<String> {
    let mut masker = Masker {
        text,
        ..Masker::default()
    };
    let mut output = String::new();
    // What of `text` is in the output.
    let mut copied = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = text.get(at..)?;
        let blank = rest
            .find(|character: char| !is_separator(character))
            .unwrap_or(rest.len());
        let (separators, behind) = rest.split_at(blank);
        if separators
            .bytes()
            .any(|byte| matches!(byte, b';' | b'|' | b'&' | b'\n' | b'(' | b')'))
        {
            masker.next_command();
        }
        at += blank;
        let (word, _) = behind.split_at(word_length(behind));
        if let Some(masked) = masker.word(word) {
            output.push_str(text.get(copied..at)?);
            output.push_str(&masked);
            copied = at + word.len();
        }
        at += word.len();
    }
    if copied == 0 {
        return None;
    }
    output.push_str(text.get(copied..)?);
    Some(output)
}

/// What the words before say about the next one.
#[derive(Debug, Default)]
struct Masker<'a> {
    program: Program,
    next: Next,
    /// All of the words.
    text: &'a str,
    /// Whether one of [`FED`] stands among them, once somebody asked.
    is_fed: Option<bool>,
    /// Words behind the program's name that are no options.
    operands: usize,
    /// The operand from which on all are secrets.
    secret_operands: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Program {
    /// The program's name has not come yet.
    #[default]
    None,
    /// `-pSECRET`, as database clients have it.
    GluedPassword,
    /// `-p SECRET`, as login commands have it.
    Password,
    /// `-u USER:SECRET`.
    UserInfo,
    /// `-p SECRET` behind the word `login`.
    Login,
    /// `-P SECRET`, as archivers and database shells have it.
    CapitalPassword,
    /// `-k SECRET`.
    Key,
    /// `USER/SECRET@HOST`.
    Slash,
    /// `NAME=SECRET`, and a secret behind the name of one.
    Store,
    /// Prints what it is given.
    Print,
    Other,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Next {
    #[default]
    Plain,
    Secret,
    /// Behind `Authorization:`: the scheme, then the secret.
    Scheme,
}

impl Masker<'_> {
    /// Another command begins.
    fn next_command(&mut self) {
        *self = Self {
            text: self.text,
            is_fed: self.is_fed,
            ..Self::default()
        };
    }

    /// `word` without its secret, when it has one.
    fn word(&mut self, word: &str) -> Option<String> {
        let bare = word.trim_matches(['"', '\'']);
        match self.next {
            Next::Secret if !word.is_empty() => {
                self.next = Next::Plain;
                return Some(keep_quotes(word));
            }
            Next::Scheme if !word.is_empty() => {
                let is_scheme = SCHEMES
                    .iter()
                    .any(|scheme| bare.eq_ignore_ascii_case(scheme));
                self.next = if is_scheme { Next::Secret } else { Next::Plain };
                return (!is_scheme).then(|| keep_quotes(word));
            }
            _ => {}
        }
        if let Some(masked) = self.option(word, bare) {
            return Some(masked);
        }
        if self.program == Program::None {
            if !bare.contains('=') && !WRAPPERS.contains(&bare) && !bare.starts_with('-') {
                self.program = program(bare);
                self.secret_operands = (base_name(bare) == "htpasswd").then_some(usize::MAX);
            }
        } else if !bare.starts_with('-')
            && let Some(masked) = self.operand(word, bare)
        {
            return Some(masked);
        }
        let has_value = word.bytes().any(|byte| matches!(byte, b'=' | b':'));
        if has_value && let Some(masked) = assignment(word) {
            return Some(masked);
        }
        if let Some(masked) = self.header(word, bare) {
            return Some(masked);
        }
        if has_value && let Some(masked) = user_info(word) {
            return Some(masked);
        }
        let masked = if has_value { self.pairs(word) } else { None };
        known_tokens(masked.as_deref().unwrap_or(word)).or(masked)
    }

    /// What is printed into one of these is the password that it asks for.
    fn is_fed(&mut self) -> bool {
        let text = self.text.as_bytes();
        *self.is_fed.get_or_insert_with(|| {
            FED.iter()
                .any(|reader| memchr::memmem::find(text, reader.as_bytes()).is_some())
        })
    }

    /// A word that is no option.
    fn operand(&mut self, word: &str, bare: &str) -> Option<String> {
        if word.is_empty() || bare.is_empty() {
            return None;
        }
        let number = self.operands;
        self.operands += 1;
        if self.secret_operands.is_some_and(|first| number >= first) {
            return Some(keep_quotes(word));
        }
        let program = self.program;
        match program {
            Program::Print => {
                (!bare.starts_with(['<', '>']) && self.is_fed()).then(|| keep_quotes(word))
            }
            Program::Login if bare == "login" => {
                self.program = Program::Password;
                None
            }
            Program::Slash => {
                let (user, rest) = word.split_once('/')?;
                let host = rest
                    .rfind('@')
                    .and_then(|at| rest.get(at..))
                    .unwrap_or_default();
                Some(format!("{user}/{MASK}{host}"))
            }
            Program::Store => {
                if let Some((name, _)) = word.split_once('=') {
                    return Some(format!("{name}={MASK}{}", closing_quote(word)));
                }
                if is_secret_name(bare) || bare == "login" {
                    self.next = Next::Secret;
                }
                None
            }
            _ => None,
        }
    }

    /// Values inside of a word whose names speak of secrets: parameters of a URL, fields of
    /// JSON, parts of a list.
    fn pairs(&mut self, word: &str) -> Option<String> {
        let mut output = String::new();
        let mut is_masked = false;
        let mut rest = word;
        while let Some(at) = rest.find(['=', ':']) {
            let (before, behind) = rest.split_at(at);
            let (separator, value) = behind.split_at(1);
            output.push_str(before);
            output.push_str(separator);
            rest = value;
            let name = before.trim_end_matches(['"', '\'', '\\']);
            let name = name
                .rsplit(|character: char| {
                    !character.is_alphanumeric() && !matches!(character, '_' | '-' | '.')
                })
                .next()
                .unwrap_or_default();
            if !is_secret_name(name) || value.starts_with("//") {
                continue;
            }
            let opening = value.trim_start_matches(['"', '\'', '\\']);
            let (quotes, value) = value.split_at(value.len() - opening.len());
            let end = value.find(['&', ',', ';', '"', '\'', '\\', '}', ')', ' ']);
            let (secret, behind) = value.split_at(end.unwrap_or(value.len()));
            if secret.is_empty() {
                // `"password":` and then the value as a word of its own.
                if behind.is_empty() && separator == ":" {
                    self.next = Next::Secret;
                }
                continue;
            }
            output.push_str(quotes);
            output.push_str(MASK);
            is_masked = true;
            rest = behind;
        }
        output.push_str(rest);
        is_masked.then_some(output)
    }

    fn option(&mut self, word: &str, bare: &str) -> Option<String> {
        if let Some(name) = bare.strip_prefix("--") {
            if let Some(literal) = name.strip_prefix("from-literal=") {
                let literal = literal.split('=').next().unwrap_or_default();
                return Some(format!(
                    "--from-literal={literal}={MASK}{}",
                    closing_quote(word)
                ));
            }
            if name.contains('=') {
                return assignment(word);
            }
            if is_secret_name(name) || name == "user" && self.program == Program::UserInfo {
                self.next = Next::Secret;
            }
            return None;
        }
        if !bare.starts_with('-') {
            return None;
        }
        let (flag, value) = bare.split_at_checked(2)?;
        let takes_secret = matches!(
            (self.program, flag),
            (Program::GluedPassword | Program::Password, "-p")
                | (Program::Password, "-a" | "-w")
                | (Program::UserInfo, "-u" | "-U")
                | (Program::CapitalPassword, "-P")
                | (Program::Key, "-k")
        );
        if self.secret_operands == Some(usize::MAX) && bare.contains('b') {
            // `htpasswd -b FILE USER SECRET`, without the file with `-n`.
            self.secret_operands = Some(2 - usize::from(bare.contains('n')));
        }
        if takes_secret && !value.is_empty() {
            return Some(format!("{flag}{MASK}"));
        }
        if takes_secret && self.program != Program::GluedPassword {
            self.next = Next::Secret;
        }
        let name = bare.trim_start_matches('-');
        if name.len() > 1 && !name.contains('=') && is_secret_name(name) {
            self.next = Next::Secret;
        }
        if bare.contains('=') {
            assignment(word)
        } else {
            None
        }
    }

    fn header(&mut self, word: &str, bare: &str) -> Option<String> {
        if bare.eq_ignore_ascii_case("bearer") {
            self.next = Next::Secret;
            return None;
        }
        let (name, value) = bare.split_once(':')?;
        let name = name.to_ascii_lowercase();
        if !HEADERS.iter().any(|header| name.ends_with(header)) {
            return None;
        }
        if value.trim().is_empty() {
            self.next = if name.ends_with("authorization") {
                Next::Scheme
            } else {
                Next::Secret
            };
            return None;
        }
        let colon = word.find(':')?;
        let head = word.get(..=colon)?;
        Some(format!("{head}{MASK}{}", closing_quote(word)))
    }
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

fn program(word: &str) -> Program {
    match base_name(word) {
        "mysql" | "mysqldump" | "mysqladmin" | "mysqlimport" | "mysqlshow" | "mariadb"
        | "mariadb-dump" | "7z" | "7za" | "7zr" | "rar" | "unrar" => Program::GluedPassword,
        "sshpass" | "mongo" | "mongosh" | "mongodump" | "redis-cli" | "ldapsearch"
        | "ldapmodify" | "ldapadd" | "ldapdelete" | "htpasswd" | "useradd" | "usermod" => {
            Program::Password
        }
        "curl" | "wget" | "http" | "smbclient" | "rpcclient" => Program::UserInfo,
        "zip" | "unzip" | "ipmitool" | "sqlcmd" | "bcp" => Program::CapitalPassword,
        "docker" | "podman" | "skopeo" | "buildah" | "helm" | "oras" => Program::Login,
        "openssl" => Program::Key,
        "sqlplus" | "sqlldr" | "expdp" | "impdp" => Program::Slash,
        "aws" | "vault" => Program::Store,
        "echo" | "printf" => Program::Print,
        _ => Program::Other,
    }
}

/// `NAME=value`, with or without dashes, when the name speaks of secrets.
fn assignment(word: &str) -> Option<String> {
    let (name, value) = word.split_once('=')?;
    let bare = name.trim_matches(['"', '\'', '-']);
    // `-e PASSWORD=x`, `env:TOKEN=x` and the like: only the last part is the name.
    let bare = bare
        .rsplit(|character: char| {
            !character.is_alphanumeric() && !matches!(character, '_' | '-' | '.')
        })
        .next()?;
    if value.is_empty() || !is_secret_name(bare) {
        return None;
    }
    // The opening quote may stand before the name.
    let tail = if word.starts_with(['"', '\'']) {
        closing_quote(word)
    } else {
        ""
    };
    Some(format!("{name}={MASK}{tail}"))
}

/// `scheme://user:secret@host`.
fn user_info(word: &str) -> Option<String> {
    let start = word.find("://")? + 3;
    let (head, rest) = word.split_at(start);
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let at = rest.get(..authority)?.rfind('@')?;
    Some(format!("{head}{MASK}{}", rest.get(at..)?))
}

/// Tokens that are told by how they begin, whatever stands before them.
fn known_tokens(word: &str) -> Option<String> {
    let mut output = String::new();
    let (mut copied, mut at, mut inside) = (0, 0, false);
    while let Some(rest) = word.get(at..).filter(|rest| rest.len() >= SHORTEST_TOKEN) {
        let Some(first) = rest.chars().next() else {
            break;
        };
        let is_token = |character: char| {
            character.is_ascii_alphanumeric()
                || matches!(character, '_' | '-' | '.' | '+' | '/' | '=')
        };
        if !inside && TOKENS.iter().any(|prefix| rest.starts_with(prefix)) {
            let length = rest
                .find(|character| !is_token(character))
                .unwrap_or(rest.len());
            if length >= SHORTEST_TOKEN {
                output.push_str(word.get(copied..at)?);
                output.push_str(MASK);
                at += length;
                copied = at;
                inside = true;
                continue;
            }
        }
        inside = first.is_ascii_alphanumeric();
        at += first.len_utf8();
    }
    if copied == 0 {
        return None;
    }
    output.push_str(word.get(copied..)?);
    Some(output)
}

/// Characters of the shortest token, prefix included.
const SHORTEST_TOKEN: usize = 20;

fn is_secret_name(name: &str) -> bool {
    let fold = |byte: &u8| match byte {
        b'-' => b'_',
        byte => byte.to_ascii_lowercase(),
    };
    let name = name.as_bytes();
    let is = |text: &[u8], word: &str| text.iter().map(fold).eq(word.bytes());
    let begins = |at: usize, part: &str| {
        name.get(at..at + part.len())
            .is_some_and(|text| is(text, part))
    };
    let may_begin = |byte: &u8| b"aAbBcCpPsStT".contains(byte);
    name.iter()
        .enumerate()
        .any(|(at, byte)| may_begin(byte) && SECRET_PARTS.iter().any(|part| begins(at, part)))
        || SECRET_WORDS.iter().any(|word| {
            let Some(at) = name.len().checked_sub(word.len()) else {
                return false;
            };
            let before = at.checked_sub(1).and_then(|before| name.get(before));
            begins(at, word) && before.is_none_or(|before| fold(before) == b'_')
        })
}

fn keep_quotes(word: &str) -> String {
    let opening = if word.starts_with('"') {
        "\""
    } else if word.starts_with('\'') {
        "'"
    } else {
        ""
    };
    let closing = if opening.is_empty() || word.len() > 1 {
        closing_quote(word)
    } else {
        ""
    };
    format!("{opening}{MASK}{closing}")
}

fn closing_quote(word: &str) -> &'static str {
    match word.chars().next_back() {
        Some('"') => "\"",
        Some('\'') => "'",
        _ => "",
    }
}

/// Bytes of the next word: up to a separator outside quotes. A quoted part that
/// is an argument of its own is split at blanks, so that headers are seen.
fn word_length(text: &str) -> usize {
    let mut quote = None;
    let mut value = false;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (quote, character) {
            (None, '\\') => escaped = true,
            (None, '"' | '\'') => {
                quote = Some(character);
                value = at > 0;
            }
            (Some(open), _) if character == open => quote = None,
            (None, _) if is_separator(character) => return at,
            (Some(_), _) if character.is_whitespace() && !value => return at,
            _ => {
                if character == '=' {
                    value = true;
                }
            }
        }
    }
    text.len()
}

fn is_separator(character: char) -> bool {
    character.is_whitespace() || matches!(character, ';' | '|' | '&' | '(' | ')')
}

/// What stands in the place of a secret.
const MASK: &str = "[redacted]";
const SCHEMES: [&str; 6] = ["basic", "bearer", "digest", "negotiate", "token", "apikey"];
const HEADERS: [&str; 7] = [
    "authorization",
    "proxy-authorization",
    "x-api-key",
    "x-auth-token",
    "cookie",
    "-token",
    "-secret",
];
const WRAPPERS: [&str; 12] = [
    "sudo", "env", "exec", "nohup", "time", "nice", "command", "doas", "stdbuf", "setsid",
    "export", "then",
];
/// Programs that read a password from their input.
const FED: [&str; 7] = [
    "chpasswd",
    "passwd --stdin",
    "--password-stdin",
    "sudo -S",
    "sudo -kS",
    "cryptsetup",
    "kinit",
];
/// What tokens of well-known services begin with.
const TOKENS: [&str; 20] = [
    "AKIA",
    "ASIA",
    "AIza",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "sk-",
    "sk_live_",
    "hvs.",
    "dckr_pat_",
    "npm_",
    "pypi-",
    "eyJ",
    "SG.",
];
const SECRET_PARTS: [&str; 11] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "private_key",
    "api_key",
    "apikey",
    "bearer",
    "access_key",
];
const SECRET_WORDS: [&str; 6] = ["pass", "pwd", "pw", "auth", "pgpassword", "mysql_pwd"];

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        reason = "a failed unwrap is a failed test"
    )]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn planted_secrets_do_not_survive_in_text() {
        for line in [
            "mysql -uroot -pS3CRET db",
            "mysql --password=S3CRET",
            "mysql --password S3CRET",
            "sudo mysql -pS3CRET",
            "curl -u ann:S3CRET https://example.test",
            "curl -uann:S3CRET https://example.test",
            "curl --user ann:S3CRET https://example.test",
            "curl https://ann:S3CRET@example.test/x",
            "curl -H 'Authorization: Bearer S3CRET' https://example.test",
            "curl -H \"Authorization: Basic S3CRET\"",
            "curl -H Authorization:S3CRET",
            "curl -H 'X-Api-Key: S3CRET'",
            "curl -H 'x-vault-token: S3CRET'",
            "PASSWORD=S3CRET ./run",
            "PASSWORD='S3CRET and S3CRET' ./run",
            "export DB_PASSWORD=\"S3CRET\"; ls",
            "ls; PGPASSWORD=S3CRET psql",
            "docker run -e 'TOKEN=S3CRET' image",
            "docker login -u ann -p S3CRET host",
            "sshpass -p S3CRET ssh host",
            "sshpass -pS3CRET ssh host",
            "redis-cli -a S3CRET ping",
            "tool --api-key S3CRET",
            "tool --client-secret=S3CRET",
            "tool -password S3CRET",
            "git clone https://S3CRET@example.test/r.git",
            "AWS_SECRET_ACCESS_KEY=S3CRET aws s3 ls",
            "echo x && mysql -pS3CRET",
            "curl 'https://example.test/?a=1&token=S3CRET&b=2'",
            "curl -d '{\"user\":\"ann\",\"password\":\"S3CRET\"}' https://example.test",
            "curl -d '{\"password\": \"S3CRET\"}' https://example.test",
            "curl -d \"{\\\"password\\\":\\\"S3CRET\\\"}\" https://example.test",
            "curl -d 'user=ann&password=S3CRET' https://example.test",
            "curl --oauth2-bearer S3CRET https://example.test",
            "helm install x --set a=1,db.password=S3CRET",
            "openssl enc -k S3CRET -in a",
            "openssl rsa -passin pass:S3CRET -in a",
            "7z x -pS3CRET a.7z",
            "zip -P S3CRET a.zip b",
            "unzip -PS3CRET a.zip",
            "useradd -p S3CRET ann",
            "sqlplus scott/S3CRET@db",
            "smbclient -U ann%S3CRET //h/s",
            "htpasswd -b /etc/htpasswd ann S3CRET",
            "htpasswd -nb ann S3CRET",
            "aws configure set aws_secret_access_key S3CRET",
            "vault login S3CRET",
            "vault kv put secret/app key=S3CRET",
            "kubectl create secret generic s --from-literal=k=S3CRET",
            "echo S3CRET | sudo -S ls",
            "echo 'root:S3CRET' | chpasswd",
            "printf '%s' S3CRET | docker login --password-stdin",
            "git push https://example.test/ghp_S3CRETS3CRETS3CRETS3",
            "echo AKIAS3CRETS3CRETS3CRET",
            "TOKEN_FILE=x curl -H 'X: eyJS3CRETS3CRETS3CRET.S3CRET.S3CRET'",
        ] {
            let masked = redact_text(line);
            assert!(!masked.contains("S3CRET"), "{line} -> {masked}");
            assert!(masked.contains(MASK), "{line} -> {masked}");
        }
    }

    #[test]
    fn planted_secrets_do_not_survive_in_arguments() {
        for argv in [
            &["mysql", "-pS3CRET"][..],
            &["curl", "-H", "Authorization: Bearer S3CRET"],
            &["env", "TOKEN=S3CRET x", "run"],
            &["tool", "--password", "S3CRET with blanks"],
            &["curl", "-u", "ann:S3CRET"],
        ] {
            let masked = redact_argv(argv).join(" ");
            assert!(!masked.contains("S3CRET"), "{argv:?} -> {masked}");
        }
    }

    #[test]
    fn what_holds_no_secret_stays_as_it_is() {
        for line in [
            "ls -la /srv",
            "mkdir -p a/b",
            "ps -p 1",
            "cp -p a b; tar -pxf c",
            "echo 'it''s' \"a  b\"  | grep -u x",
            "kill -9 1",
            "ssh user@host",
            "curl https://example.test/a@b",
            "echo \"unterminated",
            "curl https://example.test/?a=1&b=2",
            "ssh -p 22 host",
            "unzip a.zip",
            "7z x a.7z",
            "openssl x509 -in a.pem",
            "aws s3 ls s3://bucket/sk-1",
            "echo user:ann | cat",
            "cat /srv/eyJ/a.txt",
            "git log --pretty=format:%h",
            "docker run -p 80:80 nginx:1.27",
        ] {
            assert_eq!(redact_text(line), line);
        }
    }

    proptest! {
        /// No text panics, and masking twice is masking once.
        #[test]
        fn any_text_is_masked_once(text in "[ -~\\n漢]{0,80}") {
            let once = redact_text(&text);
            prop_assert_eq!(redact_text(&once), once);
        }
    }
}
