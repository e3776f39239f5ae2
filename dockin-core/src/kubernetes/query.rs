//! Query strings of the streaming and list requests, in the kube-apiserver's spelling and in
//! the kubelet's.
//!
//! Stricter than Kubernetes where it would guess: a parameter given twice, a flag that is
//! neither true nor false, and bytes that are not UTF-8 are refused, so that no two readers of
//! one request understand different things.

use dockin_stream::StreamSet;
use jiff::Timestamp;

use super::{
    selector::{FieldSelector, LabelSelector},
    table::IncludeObject,
};
use crate::{Error, ErrorKind, directory::Pod, runtime::LogOptions};

/// Longest query string, in bytes. Linux itself takes 2 MiB of arguments; HTTP servers far less.
pub const MAX_QUERY: usize = 256 * 1024;

/// Most parameters, and so most arguments of a command.
pub const MAX_PARAMETERS: usize = 1024;

/// A query string's parameters, decoded, in their order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes `text`, which is without the `?`.
    ///
    /// # Errors
    ///
    /// `Malformed` beyond [`MAX_QUERY`] or [`MAX_PARAMETERS`], and for a broken escape, a `;` and
    /// bytes that are not UTF-8, naming the parameter.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_QUERY {
            return Err(malformed(format!(
                "query string of {} bytes, limit {MAX_QUERY}",
                text.len()
            )));
        }
        let mut pairs = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            if pairs.len() == MAX_PARAMETERS {
                return Err(malformed(format!(
                    "more than {MAX_PARAMETERS} query parameters"
                )));
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or_else(|| {
                malformed("a query parameter's name is not percent-encoded UTF-8")
            })?;
            let value = decode(value)
                .ok_or_else(|| malformed(format!("`{name}` is not percent-encoded UTF-8")))?;
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    /// The one value of `name`, or `None`.
    ///
    /// # Errors
    ///
    /// `Malformed` when it is given twice.
    pub fn value(&self, name: &str) -> Result<Option<&str>, Error> {
        self.either(name, name)
    }

    /// Every value of `name`.
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.pairs
            .iter()
            .filter(move |(given, _)| given == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether `name` is set: `true`, `1`, `t` or nothing as its value; `false`, `0` and `f` are
    /// not set.
    ///
    /// # Errors
    ///
    /// `Malformed` for another value, and when it is given twice.
    pub fn flag(&self, name: &str) -> Result<bool, Error> {
        self.either_flag(name, name)
    }

    /// A whole number.
    ///
    /// # Errors
    ///
    /// `Malformed` when it is not one in `0..=i64::MAX`, and when it is given twice.
    pub fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let number = |text: &str| {
            text.parse::<i64>()
                .ok()
                .and_then(|number| u64::try_from(number).ok())
                .ok_or_else(|| malformed(format!("`{name}` must be a whole number, 0 or more")))
        };
        self.value(name)?.map(number).transpose()
    }

    /// The one value of a parameter that has two spellings.
    fn either(&self, name: &str, other: &str) -> Result<Option<&str>, Error> {
        let mut found = self
            .pairs
            .iter()
            .filter(|(given, _)| given == name || given == other)
            .map(|(_, value)| value.as_str());
        let value = found.next();
        match found.next() {
            None => Ok(value),
            Some(_) => Err(malformed(format!("`{name}` is given twice"))),
        }
    }

    fn either_flag(&self, name: &str, other: &str) -> Result<bool, Error> {
        match self
            .either(name, other)?
            .map(str::to_ascii_lowercase)
            .as_deref()
        {
            Some("" | "1" | "t" | "true") => Ok(true),
            None | Some("0" | "f" | "false") => Ok(false),
            Some(_) => Err(malformed(format!("`{name}` must be `true` or `false`"))),
        }
    }
}

/// What an exec or attach request asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ExecOptions {
    /// The command and its arguments; empty for attach.
    pub argv: Vec<String>,
    /// The streams to carry; standard error is dropped when there is a terminal.
    pub streams: StreamSet,
    /// The container's name, when it is given.
    pub container: Option<String>,
}

impl ExecOptions {
    /// Reads an exec's query: `stdin=true&stdout=true&stderr=true&tty=true&container=&command=`
    /// as for the kube-apiserver, or `input=1&output=1&error=1&tty=1&command=` as for the kubelet.
    ///
    /// # Errors
    ///
    /// `Malformed` without a command, for a command with a NUL byte, without any of the three
    /// streams, and as [`Query`].
    pub fn parse_exec(query: &str) -> Result<Self, Error> {
        let query = Query::parse(query)?;
        let argv: Vec<String> = query.values("command").map(str::to_owned).collect();
        match argv.first().map(String::as_str) {
            None => return Err(malformed("you must specify at least 1 container command")),
            Some("") => return Err(malformed("the first `command` is empty")),
            Some(_) => {}
        }
        if argv.iter().any(|argument| argument.contains('\0')) {
            return Err(malformed(
                "`command` has a NUL byte, which no argument can have",
            ));
        }
        Ok(Self {
            argv,
            ..Self::streams_of(&query)?
        })
    }

    /// Reads an attach's query, which is the same without a command.
    ///
    /// # Errors
    ///
    /// `Malformed` with a command, without any of the three streams, and as [`Query`].
    pub fn parse_attach(query: &str) -> Result<Self, Error> {
        let query = Query::parse(query)?;
        if query.values("command").next().is_some() {
            return Err(malformed("`command` is not for attach; use exec"));
        }
        Self::streams_of(&query)
    }

    /// The query in the kube-apiserver's spelling, without the `?`.
    #[must_use]
    pub fn to_apiserver_query(&self) -> String {
        let mut query = self.to_query(["stdin", "stdout", "stderr", "tty"], "true");
        if let Some(container) = &self.container {
            append(&mut query, "container", container);
        }
        query
    }

    /// The query in the kubelet's spelling, without the `?`. The container is in its path.
    #[must_use]
    pub fn to_kubelet_query(&self) -> String {
        self.to_query(["input", "output", "error", "tty"], "1")
    }

    fn streams_of(query: &Query) -> Result<Self, Error> {
        let streams = StreamSet {
            stdin: query.either_flag("stdin", "input")?,
            stdout: query.either_flag("stdout", "output")?,
            stderr: query.either_flag("stderr", "error")?,
            tty: query.flag("tty")?,
        };
        if !streams.any() {
            return Err(malformed(
                "you must specify at least 1 of stdin, stdout, stderr",
            ));
        }
        let container = query.value("container")?.filter(|name| !name.is_empty());
        Ok(Self {
            argv: Vec::new(),
            streams: streams.normalized(),
            container: container.map(str::to_owned),
        })
    }

    fn to_query(&self, names: [&str; 4], yes: &str) -> String {
        let StreamSet {
            stdin,
            stdout,
            stderr,
            tty,
        } = self.streams;
        let mut query = String::new();
        for (name, set) in names.into_iter().zip([stdin, stdout, stderr, tty]) {
            if set {
                append(&mut query, name, yes);
            }
        }
        for argument in &self.argv {
            append(&mut query, "command", argument);
        }
        query
    }
}

/// What a log request asks for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogQuery {
    /// The container's name, when it is given.
    pub container: Option<String>,
    /// What of the log.
    pub options: LogOptions,
    /// End the answer after so many bytes.
    pub limit_bytes: Option<u64>,
}

impl LogQuery {
    /// Reads `follow`, `tailLines`, `timestamps`, `sinceSeconds` or `sinceTime`, `previous`,
    /// `limitBytes` and `container`. `now`, in seconds since the epoch, is what `sinceTime` counts
    /// back from.
    ///
    /// # Errors
    ///
    /// `Malformed` naming the parameter that cannot be, or the two that cannot be together.
    pub fn parse(query: &str, now: i64) -> Result<Self, Error> {
        let query = Query::parse(query)?;
        let seconds = query.number("sinceSeconds")?;
        let time = query.value("sinceTime")?.filter(|text| !text.is_empty());
        if seconds == Some(0) {
            return Err(malformed("`sinceSeconds` must be 1 or more"));
        }
        let since_seconds = match (seconds, time) {
            (Some(_), Some(_)) => {
                return Err(malformed(
                    "only one of `sinceSeconds` and `sinceTime` may be given",
                ));
            }
            (None, Some(text)) => Some(seconds_since(text, now)?),
            (seconds, None) => seconds,
        };
        if query.value("stream")?.is_some_and(|stream| stream != "All") {
            return Err(malformed("`stream` other than `All` is not supported"));
        }
        let limit_bytes = query.number("limitBytes")?;
        if limit_bytes == Some(0) {
            return Err(malformed("`limitBytes` must be 1 or more"));
        }
        let container = query.value("container")?.filter(|name| !name.is_empty());
        Ok(Self {
            container: container.map(str::to_owned),
            options: LogOptions {
                follow: query.flag("follow")?,
                tail: query.number("tailLines")?,
                timestamps: query.flag("timestamps")?,
                since_seconds,
                previous: query.flag("previous")?,
            },
            limit_bytes,
        })
    }

    /// The query that reads as this one, without the `?`.
    #[must_use]
    pub fn to_query(&self) -> String {
        let options = &self.options;
        let mut query = String::new();
        for (name, set) in [
            ("follow", options.follow),
            ("timestamps", options.timestamps),
            ("previous", options.previous),
        ] {
            if set {
                append(&mut query, name, "true");
            }
        }
        for (name, number) in [
            ("tailLines", options.tail),
            ("sinceSeconds", options.since_seconds),
            ("limitBytes", self.limit_bytes),
        ] {
            if let Some(number) = number {
                append(&mut query, name, &number.to_string());
            }
        }
        if let Some(container) = &self.container {
            append(&mut query, "container", container);
        }
        query
    }
}

/// What a list request asks for. `limit` and `continue` are ignored: every answer is whole.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListOptions {
    /// Which labels.
    pub labels: LabelSelector,
    /// Which fields.
    pub fields: FieldSelector,
    /// Whether it asks for changes instead of a list.
    pub watch: bool,
    /// What rows of a table bring along.
    pub include: IncludeObject,
}

impl ListOptions {
    /// Reads `labelSelector`, `fieldSelector`, `watch` and `includeObject`.
    ///
    /// # Errors
    ///
    /// `Malformed` naming the parameter.
    pub fn parse(query: &str) -> Result<Self, Error> {
        let query = Query::parse(query)?;
        Ok(Self {
            labels: LabelSelector::parse(query.value("labelSelector")?.unwrap_or_default())?,
            fields: FieldSelector::parse(query.value("fieldSelector")?.unwrap_or_default())?,
            watch: query.flag("watch")?,
            include: IncludeObject::parse(query.value("includeObject")?.unwrap_or_default())?,
        })
    }

    /// Whether `pod` is asked for.
    #[must_use]
    pub fn matches(&self, pod: &Pod) -> bool {
        self.labels.matches(&pod.labels) && self.fields.matches(pod)
    }
}

/// The ports of a port-forward query, in their order: `ports=80&ports=81` or `ports=80,81` as for
/// the kube-apiserver, `port=80` as for the kubelet. Empty when streams will name them.
///
/// # Errors
///
/// `Malformed` for what is not in `1..=65_535`, more than [`MAX_PARAMETERS`] of them, and as
/// [`Query`].
pub fn parse_ports(query: &str) -> Result<Vec<u16>, Error> {
    let query = Query::parse(query)?;
    let ports: Vec<u16> = query
        .values("ports")
        .chain(query.values("port"))
        .flat_map(|value| value.split(','))
        .map(|text| match text.parse() {
            Ok(0) | Err(_) => Err(malformed("`ports` must be numbers from 1 to 65535")),
            Ok(port) => Ok(port),
        })
        .collect::<Result<_, _>>()?;
    if ports.len() > MAX_PARAMETERS {
        return Err(malformed(format!("more than {MAX_PARAMETERS} ports")));
    }
    Ok(ports)
}

/// Appends `name=value` to a query string.
fn append(query: &mut String, name: &str, value: &str) {
    if !query.is_empty() {
        query.push('&');
    }
    query.push_str(name);
    query.push('=');
    encode_into(query, value);
}

/// Percent-encodes all but letters, digits and `-._~`.
fn encode_into(query: &mut String, text: &str) {
    const DIGITS: [char; 16] = [
        '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F',
    ];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            query.push(char::from(byte));
        } else {
            query.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Undoes percent-encoding and `+`; `None` for a broken escape, a `;` (some readers take it for
/// `&`) or what is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let (high, low) = (digit(rest.next()?)?, digit(rest.next()?)?);
                u8::try_from(high * 16 + low).ok()?
            }
            b'+' => b' ',
            b';' => return None,
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// Whole seconds from the RFC 3339 time in `text` to `now`, at least 1.
fn seconds_since(text: &str, now: i64) -> Result<u64, Error> {
    let time: Timestamp = text
        .parse()
        .map_err(|_| malformed("`sinceTime` must be a time such as 2006-01-02T15:04:05Z"))?;
    Ok(u64::try_from(now.saturating_sub(time.as_second()))
        .unwrap_or(1)
        .max(1))
}

fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use dockin_stream::StreamSet;

    use super::{
        ExecOptions, ListOptions, LogQuery, MAX_PARAMETERS, MAX_QUERY, Query, parse_ports,
    };

    #[test]
    fn both_spellings_ask_for_the_same() {
        let expected = ExecOptions {
            argv: vec!["sh".to_owned(), "-c".to_owned(), "echo a b & c".to_owned()],
            streams: StreamSet {
                stdin: true,
                stdout: true,
                stderr: false,
                tty: true,
            },
            container: None,
        };
        for query in [
            "command=sh&command=-c&command=echo+a%20b+%26+c&stdin=true&stdout=true&stderr=true&tty=true",
            "input=1&output=1&error=1&tty=1&command=sh&command=-c&command=echo+a%20b+%26+c",
        ] {
            assert_eq!(ExecOptions::parse_exec(query).unwrap(), expected);
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let options = ExecOptions {
            argv: ["sh", "", "ä&=;%+ \n\u{7f}", "--", "\u{1F600}"]
                .map(str::to_owned)
                .to_vec(),
            streams: StreamSet {
                stdin: true,
                stdout: false,
                stderr: true,
                tty: false,
            },
            container: Some("app".to_owned()),
        };
        assert_eq!(
            ExecOptions::parse_exec(&options.to_apiserver_query()).unwrap(),
            options
        );
        let kubelet = ExecOptions::parse_exec(&options.to_kubelet_query()).unwrap();
        assert_eq!(
            kubelet,
            ExecOptions {
                container: None,
                ..options
            }
        );

        let log = LogQuery::parse(
            "container=app&follow=true&tailLines=0&timestamps=1&sinceSeconds=5&previous=t&limitBytes=9",
            0,
        );
        let log = log.unwrap();
        assert_eq!(log.options.tail, Some(0));
        assert_eq!(LogQuery::parse(&log.to_query(), 0).unwrap(), log);
    }

    #[test]
    fn refusals_name_the_parameter() {
        for (query, word) in [
            ("stdout=true", "at least 1 container command"),
            ("command=&stdout=1", "`command` is empty"),
            ("command=ls", "at least 1 of stdin, stdout, stderr"),
            ("command=ls&tty=true", "at least 1 of stdin, stdout, stderr"),
            ("command=ls&stdout=maybe", "`stdout`"),
            ("command=ls&stdout=true&output=1", "`stdout` is given twice"),
            (
                "command=ls&stdout=1&container=a&container=b",
                "`container` is given twice",
            ),
            ("command=%zz&stdout=1", "`command`"),
            ("command=%f&stdout=1", "`command`"),
            ("command=%ff&stdout=1", "`command`"),
            ("command=a%00b&stdout=1", "NUL"),
            ("command=ls;stdout=1", "`command`"),
        ] {
            let error = ExecOptions::parse_exec(query).unwrap_err();
            assert_eq!(error.kind().status().0, 400);
            assert!(error.message().contains(word), "{query}: {error}");
        }
        assert!(ExecOptions::parse_attach("stdin=1&command=ls").is_err());
        assert!(ExecOptions::parse_attach("stdin=1").is_ok());
    }

    #[test]
    fn queries_beyond_the_limits_are_refused() {
        let long = format!("command={}", "x".repeat(MAX_QUERY));
        assert!(Query::parse(&long).is_err());
        assert!(Query::parse(&"command=x&".repeat(MAX_PARAMETERS)).is_ok());
        assert!(Query::parse(&"command=x&".repeat(MAX_PARAMETERS + 1)).is_err());
    }

    #[test]
    fn log_times_become_seconds_before_now() {
        let since =
            |query: &str| LogQuery::parse(query, 1_700_000_100).map(|q| q.options.since_seconds);
        assert_eq!(since("sinceTime=2023-11-14T22:13:20Z").unwrap(), Some(100));
        assert_eq!(since("sinceTime=2033-11-14T22:13:20Z").unwrap(), Some(1));
        assert_eq!(since("").unwrap(), None);
        for bad in [
            "sinceTime=yesterday",
            "sinceSeconds=0",
            "sinceSeconds=-1",
            "sinceSeconds=1&sinceTime=2023-11-14T22:13:20Z",
            "tailLines=ten",
            "tailLines=99999999999999999999",
            "limitBytes=0",
            "stream=Stderr",
        ] {
            assert!(since(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn list_options_are_read_and_paging_is_ignored() {
        let options =
            ListOptions::parse("labelSelector=a%3Db&limit=500&continue=x&watch=1").unwrap();
        assert!(options.watch);
        assert!(ListOptions::parse("labelSelector=%3D").is_err());
        assert!(ListOptions::parse("includeObject=Some").is_err());
        assert_eq!(ListOptions::parse("").unwrap(), ListOptions::default());
    }

    #[test]
    fn ports_are_read_in_every_spelling() {
        assert_eq!(parse_ports("ports=80,81&ports=443").unwrap(), [80, 81, 443]);
        assert_eq!(parse_ports("port=80").unwrap(), [80]);
        assert!(parse_ports("").unwrap().is_empty());
        for bad in ["ports=0", "ports=65536", "ports=", "ports=80,", "port=http"] {
            assert!(parse_ports(bad).is_err(), "{bad}");
        }
    }
}
