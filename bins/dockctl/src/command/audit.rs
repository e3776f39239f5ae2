use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use dockin_policy::audit::AuditEvent;
use jiff::Timestamp;

use super::audit_table::{AuditTable, verdict};
use crate::{
    client::{Client, Query},
    failure::Failure,
    high_args::seconds,
    kubeconfig::Connection,
    low_args::{AuditFormat, AuditSearchArgs},
    printable::{printable, printable_json},
};

/// Audit events to show.
#[derive(Debug)]
pub(crate) struct Audit {
    source: Source,
    filter: Filter,
    /// Only the last so many.
    last: Option<usize>,
    follow: bool,
    format: AuditFormat,
}

/// Where the events are.
#[derive(Debug)]
pub(crate) enum Source {
    /// In a file of JSON lines.
    File(PathBuf),
    /// With the gateway.
    Gateway(Box<Connection>),
}

/// What an event must be to be shown; all that is given must fit.
#[derive(Debug, Default)]
struct Filter {
    user: Option<String>,
    pod: Option<String>,
    namespace: Option<String>,
    verdict: Option<String>,
    code: Option<String>,
    session: Option<String>,
    since: Option<Timestamp>,
}

/// An event and the line it came in.
#[derive(Debug)]
struct Record {
    event: AuditEvent,
    line: String,
}

/// How many events a search asks the gateway for.
const SEARCH_LIMIT: usize = 1_000_000;
/// How many events a following tail asks for each time.
const FOLLOW_LIMIT: usize = 10_000;
/// How often a followed file or gateway is looked at.
const FILE_INTERVAL: Duration = Duration::from_millis(250);
const GATEWAY_INTERVAL: Duration = Duration::from_secs(1);

impl Audit {
    /// The last `last` events, and with `follow` what comes after them.
    pub(crate) fn tail(source: Source, last: usize, follow: bool, format: AuditFormat) -> Self {
        Self {
            source,
            filter: Filter::default(),
            last: Some(last),
            follow,
            format,
        }
    }

    /// All events that fit.
    pub(crate) fn search(source: Source, args: AuditSearchArgs) -> Result<Self, Failure> {
        let since = args.since.as_deref().map(since).transpose()?;
        let filter = Filter {
            user: args.user,
            pod: args.pod,
            namespace: args.namespace,
            verdict: args.verdict,
            code: args.code,
            session: args.session,
            since,
        };
        Ok(Self {
            source,
            filter,
            last: None,
            follow: false,
            format: args.output,
        })
    }
}

/// Shows them, oldest first.
pub(crate) async fn run(audit: Audit) -> Result<ExitCode, Failure> {
    let mut printer = Printer::new(audit.format);
    match &audit.source {
        Source::File(path) => from_file(&audit, path, &mut printer).await?,
        Source::Gateway(connection) => from_gateway(&audit, connection, &mut printer).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn from_file(audit: &Audit, path: &Path, printer: &mut Printer) -> Result<(), Failure> {
    let mut lines = Lines::open(path)?;
    let mut records = VecDeque::new();
    while let Some(record) = lines.next()? {
        if audit.filter.fits(&record.event) {
            records.push_back(record);
            if audit.last.is_some_and(|last| records.len() > last) {
                records.pop_front();
            }
        }
    }
    printer.print(records)?;
    if !audit.follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(FILE_INTERVAL).await;
        let mut more = Vec::new();
        while let Some(record) = lines.next()? {
            more.push(record);
        }
        printer.print(
            more.into_iter()
                .filter(|record| audit.filter.fits(&record.event)),
        )?;
    }
}

async fn from_gateway(
    audit: &Audit,
    connection: &Connection,
    printer: &mut Printer,
) -> Result<(), Failure> {
    let client = Client::new(connection)?;
    let mut seen = None;
    let mut limit = audit.last.unwrap_or(SEARCH_LIMIT);
    loop {
        let path = format!("/dockin/v1/audit{}", audit.filter.query(limit).as_str());
        let text = client.own_text(&path).await?;
        let mut records = VecDeque::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match Record::parse(line) {
                Some(record)
                    if (record.event.seq > seen || record.event.seq.is_none())
                        && audit.filter.fits(&record.event) =>
                {
                    records.push_back(record);
                }
                Some(_) => {}
                None => eprintln!("warning: passed over a line that is no audit event"),
            }
        }
        if seen.is_none() {
            let surplus = records
                .len()
                .saturating_sub(audit.last.unwrap_or(usize::MAX));
            records.drain(..surplus);
        }
        seen = records.back().and_then(|record| record.event.seq).or(seen);
        printer.print(records)?;
        if !audit.follow {
            return Ok(());
        }
        limit = FOLLOW_LIMIT;
        tokio::time::sleep(GATEWAY_INTERVAL).await;
    }
}

impl Record {
    fn parse(line: &str) -> Option<Self> {
        let event = serde_json::from_str(line).ok()?;
        Some(Self {
            event,
            line: line.trim().to_owned(),
        })
    }
}

impl Filter {
    fn fits(&self, event: &AuditEvent) -> bool {
        let is = |wanted: &Option<String>, have: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| have == Some(wanted))
        };
        let target = event.target.as_ref();
        is(&self.user, event.principal.as_ref().map(|principal| principal.user.as_str()))
            && is(&self.pod, target.map(|target| target.pod.as_str()))
            && is(&self.namespace, target.map(|target| target.namespace.as_str()))
            && is(&self.verdict, verdict(event))
            && is(&self.code, Some(event.code.as_str()))
            && is(&self.session, event.session.as_deref())
            // A time that cannot be read is shown: an audit search must not lose events.
            && self.since.is_none_or(|since| {
                event.time.parse::<Timestamp>().map_or(true, |time| time >= since)
            })
    }

    fn query(&self, limit: usize) -> Query {
        let mut query = Query::default();
        query.add("limit", &limit.to_string());
        query.add_some("user", self.user.as_deref());
        query.add_some("pod", self.pod.as_deref());
        query.add_some("namespace", self.namespace.as_deref());
        query.add_some("verdict", self.verdict.as_deref());
        query.add_some("code", self.code.as_deref());
        query.add_some("session", self.session.as_deref());
        query.add_some(
            "since",
            self.since.map(|since| since.to_string()).as_deref(),
        );
        query
    }
}

/// A point in time: given as such, or as a duration before now.
fn since(text: &str) -> Result<Timestamp, Failure> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let ago = i64::try_from(seconds(text)?).unwrap_or(i64::MAX);
    Timestamp::from_second(Timestamp::now().as_second().saturating_sub(ago))
        .map_err(|_| Failure::usage(format!("`{text}` is before all time")))
}

/// Whole lines of a file that may still grow.
#[derive(Debug)]
struct Lines {
    file: BufReader<File>,
    path: PathBuf,
    /// Where the next line starts.
    offset: u64,
    number: u64,
}

/// A line of the file, bytes.
const MAX_LINE: u64 = 16 * 1024 * 1024;

impl Lines {
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| {
            Failure::local(format!(
                "cannot read audit file `{}`: {error}",
                path.display()
            ))
        })?;
        Ok(Self {
            file: BufReader::new(file),
            path: path.to_owned(),
            offset: 0,
            number: 0,
        })
    }

    /// The next event; `None` when there is no whole line *yet*.
    fn next(&mut self) -> Result<Option<Record>, Failure> {
        self.read().map_err(|error| {
            Failure::local(format!(
                "cannot read audit file `{}`: {error}",
                self.path.display()
            ))
        })
    }

    fn read(&mut self) -> io::Result<Option<Record>> {
        loop {
            let mut line = Vec::new();
            self.file
                .by_ref()
                .take(MAX_LINE)
                .read_until(b'\n', &mut line)?;
            if line.last() != Some(&b'\n') && (line.len() as u64) < MAX_LINE {
                // Someone is writing it: from its start next time.
                self.file.seek(SeekFrom::Start(self.offset))?;
                return Ok(None);
            }
            self.offset += line.len() as u64;
            self.number += 1;
            match std::str::from_utf8(&line).ok().and_then(Record::parse) {
                Some(record) => return Ok(Some(record)),
                None => eprintln!(
                    "warning: line {} of `{}` is no audit event",
                    self.number,
                    printable(&self.path.display().to_string())
                ),
            }
        }
    }
}

/// Prints events in one format, in as many parts as they come in.
#[derive(Debug)]
struct Printer {
    format: AuditFormat,
    table: AuditTable,
}

impl Printer {
    const fn new(format: AuditFormat) -> Self {
        Self {
            format,
            table: AuditTable::new(),
        }
    }

    fn print(&mut self, records: impl IntoIterator<Item = Record>) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        let printed = match self.format {
            AuditFormat::Table => {
                records
                    .into_iter()
                    .for_each(|record| self.table.push(&record.event));
                self.table.write_to(&mut out)
            }
            AuditFormat::Json => {
                // A file gets the lines as they are.
                let escape = io::stdout().is_terminal();
                records.into_iter().try_for_each(|record| {
                    if escape {
                        writeln!(out, "{}", printable_json(&record.line))
                    } else {
                        writeln!(out, "{}", record.line)
                    }
                })
            }
        };
        printed
            .and_then(|()| out.flush())
            .map_err(|error| Failure::output(&error))
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
