use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use dockin_core::audit::{Filter, trail_files};
use dockin_policy::audit::AuditEvent;
use jiff::Timestamp;

use super::audit_table::AuditTable;
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
        let filter = Filter {
            user: args.user,
            cluster: args.in_cluster,
            namespace: args.namespace,
            pod: args.pod,
            container: args.container,
            program: args.program,
            verdict: args.verdict,
            rule: args.rule,
            code: args.code,
            session: args.session,
            since: args.since.as_deref().map(moment).transpose()?,
            until: args.until.as_deref().map(moment).transpose()?,
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
    let files = trail_files(path).map_err(|error| unreadable(path, &error))?;
    let (older, _) = files.split_at(files.len().saturating_sub(1));
    let mut records = VecDeque::new();
    let mut keep = |record: Record| {
        if audit.filter.fits(&record.event) {
            records.push_back(record);
            if audit.last.is_some_and(|last| records.len() > last) {
                records.pop_front();
            }
        }
    };
    for file in older {
        let mut lines = Lines::open(file)?;
        while let Some(record) = lines.next()? {
            keep(record);
        }
    }
    let mut lines = Lines::open(path)?;
    while let Some(record) = lines.next()? {
        keep(record);
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
        // Full and renamed: all of it is read, and the trail goes on in a new file.
        if lines.is_renamed() {
            lines = Lines::open(path)?;
        }
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
        let path = format!("/dockin/v1/audit{}", query(&audit.filter, limit).as_str());
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

/// The query that asks a gateway for the newest `limit` events that `filter` takes.
fn query(filter: &Filter, limit: usize) -> Query {
    let mut query = Query::default();
    query.add("limit", &limit.to_string());
    query.add_some("user", filter.user.as_deref());
    query.add_some("cluster", filter.cluster.as_deref());
    query.add_some("namespace", filter.namespace.as_deref());
    query.add_some("pod", filter.pod.as_deref());
    query.add_some("container", filter.container.as_deref());
    query.add_some("program", filter.program.as_deref());
    query.add_some("verdict", filter.verdict.as_deref());
    query.add_some("rule", filter.rule.as_deref());
    query.add_some("code", filter.code.as_deref());
    query.add_some("session", filter.session.as_deref());
    let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
    query.add_some("since", time(filter.since).as_deref());
    query.add_some("until", time(filter.until).as_deref());
    query
}

/// A point in time: given as such, or as a duration before now.
fn moment(text: &str) -> Result<Timestamp, Failure> {
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
        let file = File::open(path).map_err(|error| unreadable(path, &error))?;
        Ok(Self {
            file: BufReader::new(file),
            path: path.to_owned(),
            offset: 0,
            number: 0,
        })
    }

    /// Whether there is another file of that name now.
    fn is_renamed(&self) -> bool {
        let ours = self.file.get_ref().metadata();
        let theirs = std::fs::metadata(&self.path);
        ours.and_then(|ours| theirs.map(|theirs| ours.ino() != theirs.ino()))
            .unwrap_or(false)
    }

    /// The next event; `None` when there is no whole line *yet*.
    fn next(&mut self) -> Result<Option<Record>, Failure> {
        self.read().map_err(|error| unreadable(&self.path, &error))
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

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::local(format!(
        "cannot read audit file `{}`: {error}",
        path.display()
    ))
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
