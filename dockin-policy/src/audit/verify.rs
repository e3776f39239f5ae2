//! Whether a trail is as it was written.

use std::{collections::BTreeSet, fmt, mem};

use sha2::{Digest as _, Sha256};

use super::{
    AuditEvent, AuditKind, ChainHash, Checkpoint, PublicKey, SignedHead, TrailOpened,
    chain::{Line, to_hex},
};

/// Something in a trail that its writer did not write so.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// Which of the files, counted from 0 in the order in which they were given.
    pub file: usize,
    /// Line in it, from 1; 0 when it is about the file as a whole.
    pub line: u64,
    /// What is wrong.
    pub problem: Problem,
}

/// What can be wrong with a trail.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Problem {
    /// The record's text does not fit its hash: one of them was changed.
    Changed {
        /// The record.
        seq: u64,
    },
    /// Records are not there.
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// The record stands behind later ones.
    Moved {
        /// The record.
        seq: u64,
    },
    /// There was a record of that number already.
    Repeated {
        /// The record.
        seq: u64,
    },
    /// The line is no record.
    NoRecord,
    /// The record has no hash, behind ones that have.
    Unchained {
        /// The record.
        seq: u64,
    },
    /// The records without hashes before this line are not those that were sealed here.
    SealBroken,
    /// A signature does not hold, or is for another record than the one before it.
    BadSignature {
        /// The record with the signature.
        seq: u64,
    },
    /// The checkpoint is signed with a key that is not among the trusted ones.
    UnknownKey {
        /// The record with the signature.
        seq: u64,
        /// That key.
        key: PublicKey,
    },
    /// The file ends within a line, though another file follows.
    CutOff,
    /// The file holds nothing, though another file follows.
    Empty,
    /// The trail ends before a record that the signed head beside it speaks of.
    Truncated {
        /// The last record that is there; 0 without any.
        last: u64,
        /// The last one that was.
        recorded: u64,
    },
    /// The record of the signed head has another hash there.
    OtherHead {
        /// The record.
        seq: u64,
    },
    /// The signed head beside the trail is not signed by a trusted key.
    BadHead,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { seq } => write!(formatter, "record {seq} was changed"),
            Self::Missing { first, last } if first == last => {
                write!(formatter, "record {first} is missing before this line")
            }
            Self::Missing { first, last } => {
                write!(
                    formatter,
                    "records {first} to {last} are missing before this line"
                )
            }
            Self::Moved { seq } => write!(formatter, "record {seq} was moved here"),
            Self::Repeated { seq } => write!(formatter, "record {seq} is here a second time"),
            Self::NoRecord => formatter.write_str("this line is no record"),
            Self::Unchained { seq } => {
                write!(
                    formatter,
                    "record {seq} has no hash, and records before it have one"
                )
            }
            Self::SealBroken => formatter
                .write_str("the records without hashes above are not those that were sealed here"),
            Self::BadSignature { seq } => {
                write!(formatter, "the signature in record {seq} does not hold")
            }
            Self::UnknownKey { seq, key } => {
                write!(
                    formatter,
                    "record {seq} is signed with {key}, which is not trusted"
                )
            }
            Self::CutOff => formatter.write_str("the file ends within a line"),
            Self::Empty => formatter.write_str("the file is empty"),
            Self::Truncated { last, recorded } => write!(
                formatter,
                "the trail ends with record {last}, but record {recorded} was written"
            ),
            Self::OtherHead { seq } => {
                write!(
                    formatter,
                    "record {seq} is not the one that the signed head speaks of"
                )
            }
            Self::BadHead => formatter.write_str("the signed head is not signed by a trusted key"),
        }
    }
}

/// What a trail holds, beside what is wrong with it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct TrailReport {
    /// Records with a hash that fits.
    pub records: u64,
    /// Records of an earlier version, without hashes.
    pub unchained: u64,
    /// Those of them that no later record seals.
    pub unsealed: u64,
    /// Number of the first record.
    pub first: Option<u64>,
    /// Number and hash of the last record with a hash.
    pub last: Option<(u64, ChainHash)>,
    /// The last record that a signature covers.
    pub signed_through: Option<u64>,
    /// Checkpoints whose signature holds.
    pub checkpoints: u64,
    /// Keys that signed them.
    pub keys: BTreeSet<PublicKey>,
    /// The last record says that the trail was closed on purpose.
    pub closed: bool,
    /// Bytes behind the last whole line: a record that a crash cut off, and that nobody was told
    /// was written.
    pub torn_bytes: u64,
    /// How many findings there were.
    pub findings: u64,
}

/// Reads the files of a trail, oldest first, and finds what is not as it was written.
///
/// For each file call [`begin_file`](Self::begin_file), then [`feed`](Self::feed) with all of its
/// bytes in pieces of any size, and [`poll_finding`](Self::poll_finding) whenever it suits; at the
/// end [`finish`](Self::finish). Memory is bounded by the longest line.
///
/// A finding does not end the search: the chain is taken up again from the hash that the line
/// itself has, so that one changed record is one finding.
#[derive(Debug)]
pub struct TrailVerifier {
    trusted: BTreeSet<PublicKey>,
    head: Option<SignedHead>,
    head_seen: bool,
    /// What is left of the piece before: the beginning of a line.
    partial: Vec<u8>,
    /// The rest of this line is passed over: it is too long.
    skipping: bool,
    files: usize,
    line: u64,
    chain: Option<(u64, ChainHash)>,
    /// The next number, chained or not.
    expected: Option<u64>,
    seal: Sha256,
    /// Ranges that are missing; small, or the trail is worthless.
    missing: Vec<Gap>,
    findings: Vec<Finding>,
    polled: usize,
    report: TrailReport,
}

#[derive(Debug)]
struct Gap {
    first: u64,
    last: u64,
    file: usize,
    line: u64,
}

impl TrailVerifier {
    /// A verifier that takes signatures of the `trusted` keys; of any key when there are none.
    ///
    /// `head` is the signed head that lay beside the trail, when there was one.
    #[must_use]
    pub fn new(trusted: impl IntoIterator<Item = PublicKey>, head: Option<SignedHead>) -> Self {
        Self {
            trusted: trusted.into_iter().collect(),
            head,
            head_seen: false,
            partial: Vec::new(),
            skipping: false,
            files: 0,
            line: 0,
            chain: None,
            expected: None,
            seal: Sha256::new(),
            missing: Vec::new(),
            findings: Vec::new(),
            polled: 0,
            report: TrailReport::default(),
        }
    }

    /// Begins the next file.
    pub fn begin_file(&mut self) {
        if self.files > 0 {
            if self.end_line() {
                self.found(Problem::CutOff);
            } else if self.line == 0 {
                self.found(Problem::Empty);
            }
        }
        self.files += 1;
        self.line = 0;
    }

    /// Reads on, from any place to any other.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        if !self.partial.is_empty() || self.skipping {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                self.keep(bytes);
                return;
            };
            let (rest, behind) = bytes.split_at(end);
            bytes = behind.get(1..).unwrap_or_default();
            self.keep(rest);
            let line = mem::take(&mut self.partial);
            if mem::take(&mut self.skipping) {
                self.line += 1;
                self.found(Problem::NoRecord);
            } else {
                self.take_line(&line);
            }
        }
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            self.take_line(bytes.get(start..end).unwrap_or_default());
            start = end + 1;
        }
        self.keep(bytes.get(start..).unwrap_or_default());
    }

    /// What is wrong, in the order in which it was found; `None` when nothing more is known yet.
    ///
    /// A missing record may still turn up further on; such gaps come last, from
    /// [`finish`](Self::finish).
    pub fn poll_finding(&mut self) -> Option<Finding> {
        let finding = self.findings.get(self.polled)?.clone();
        self.polled += 1;
        Some(finding)
    }

    /// The end of the last file: what the trail holds, and the findings that were not polled.
    #[must_use]
    pub fn finish(mut self) -> (TrailReport, Vec<Finding>) {
        self.report.torn_bytes = self.partial.len() as u64;
        if self.skipping {
            self.line += 1;
            self.found(Problem::NoRecord);
        }
        for gap in mem::take(&mut self.missing) {
            self.findings.push(Finding {
                file: gap.file,
                line: gap.line,
                problem: Problem::Missing {
                    first: gap.first,
                    last: gap.last,
                },
            });
        }
        self.check_head();
        self.report.findings = self.findings.len() as u64;
        (self.report, self.findings.split_off(self.polled))
    }

    fn check_head(&mut self) {
        self.line = 0;
        let Some(head) = self.head.take() else {
            return;
        };
        match head.signer() {
            Some(key) if self.trusts(&key) => {}
            _ => return self.found(Problem::BadHead),
        }
        let last = self.report.last.map_or(0, |(seq, _)| seq);
        if last < head.through {
            self.found(Problem::Truncated {
                last,
                recorded: head.through,
            });
        } else if self.head_seen {
            let covered = self.report.signed_through.unwrap_or(0);
            self.report.signed_through = Some(covered.max(head.through));
        } else if self.report.first.is_some_and(|first| first <= head.through) {
            self.found(Problem::OtherHead { seq: head.through });
        }
    }

    fn trusts(&self, key: &PublicKey) -> bool {
        self.trusted.is_empty() || self.trusted.contains(key)
    }

    /// Whether a line was open.
    fn end_line(&mut self) -> bool {
        let open = !self.partial.is_empty() || self.skipping;
        self.line += u64::from(open);
        self.partial.clear();
        self.skipping = false;
        open
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.skipping || self.partial.len() + bytes.len() > MAX_LINE {
            self.partial.clear();
            self.skipping = true;
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    fn found(&mut self, problem: Problem) {
        let file = self.files.saturating_sub(1);
        self.findings.push(Finding {
            file,
            line: self.line,
            problem,
        });
    }

    fn take_line(&mut self, bytes: &[u8]) {
        self.line += 1;
        let Some(line) = Line::parse(bytes) else {
            return self.found(Problem::NoRecord);
        };
        let Some(digits) = line.hash else {
            return self.take_unchained(&line, bytes);
        };
        let control = line
            .is_control()
            .then(|| serde_json::from_slice::<AuditEvent>(bytes));
        let opened = match &control {
            Some(Ok(AuditEvent {
                kind: AuditKind::TrailOpened(opened),
                ..
            })) => Some(opened),
            Some(Err(_)) => return self.found(Problem::Changed { seq: line.seq }),
            _ => None,
        };
        let before = match self.chain {
            Some(before) => before,
            // The first of what is here: it says itself what it stands on.
            None => match opened.and_then(|opened| ChainHash::parse(&opened.previous)) {
                Some(previous) => (line.seq.saturating_sub(1), previous),
                None => (0, ChainHash::START),
            },
        };
        let first = self.report.first.is_none();
        self.report.first.get_or_insert(line.seq);
        if line.seq <= before.0 {
            return self.take_earlier(line.seq);
        }
        let expected = match self.chain {
            Some((last, _)) => last.saturating_add(1),
            // Behind records without hashes the numbers go on; without any, a trail may begin
            // anywhere with a head that says so.
            None if first => before.0.saturating_add(1),
            None => self.expected.unwrap_or(before.0.saturating_add(1)),
        };
        let gap = line.seq > expected;
        if gap {
            self.missing.push(Gap {
                first: expected,
                last: line.seq - 1,
                file: self.files.saturating_sub(1),
                line: self.line,
            });
        }
        let hash = before.1.next(line.body);
        let fits = hash.hex() == digits;
        // Behind a gap nothing can be said of this record alone; those that follow stand on it.
        let claimed = if fits {
            hash
        } else {
            std::str::from_utf8(digits)
                .ok()
                .and_then(ChainHash::parse)
                .unwrap_or(hash)
        };
        if fits {
            self.report.records += 1;
        } else if !gap {
            self.found(Problem::Changed { seq: line.seq });
        }
        self.chain = Some((line.seq, claimed));
        self.expected = Some(line.seq.saturating_add(1));
        self.report.last = self.chain;
        self.report.closed = false;
        if self
            .head
            .as_ref()
            .is_some_and(|head| head.through == line.seq)
        {
            self.head_seen = self
                .head
                .as_ref()
                .is_some_and(|head| head.head.as_bytes() == digits);
        }
        match control {
            Some(Ok(AuditEvent {
                kind: AuditKind::TrailOpened(opened),
                ..
            })) => {
                self.take_opened(&opened, line.seq, before.1, gap);
            }
            Some(Ok(AuditEvent {
                kind: AuditKind::Checkpoint(checkpoint),
                ..
            })) => {
                self.take_checkpoint(&checkpoint, line.seq, before);
            }
            _ => {}
        }
    }

    fn take_unchained(&mut self, line: &Line<'_>, bytes: &[u8]) {
        if self.chain.is_some() {
            return self.found(Problem::Unchained { seq: line.seq });
        }
        self.report.first.get_or_insert(line.seq);
        self.seal.update(bytes);
        self.seal.update(b"\n");
        self.report.unchained += 1;
        self.report.unsealed += 1;
        match self.expected {
            Some(expected) if line.seq < expected => self.take_earlier(line.seq),
            expected => {
                if let Some(first) = expected.filter(|expected| *expected < line.seq) {
                    self.missing.push(Gap {
                        first,
                        last: line.seq - 1,
                        file: self.files.saturating_sub(1),
                        line: self.line,
                    });
                }
                self.expected = line.seq.checked_add(1);
            }
        }
    }

    /// A record that should have come before: one of those that were missed, or a second one.
    fn take_earlier(&mut self, seq: u64) {
        let gap = self
            .missing
            .iter()
            .position(|gap| (gap.first..=gap.last).contains(&seq));
        let Some(place) = gap else {
            return self.found(Problem::Repeated { seq });
        };
        let gap = self.missing.swap_remove(place);
        let before = (gap.first, seq.saturating_sub(1));
        for (first, last) in [before, (seq.saturating_add(1), gap.last)] {
            if first <= last {
                self.missing.push(Gap { first, last, ..gap });
            }
        }
        self.found(Problem::Moved { seq });
    }

    fn take_opened(&mut self, opened: &TrailOpened, seq: u64, before: ChainHash, gap: bool) {
        if !gap && opened.previous != before.to_string() {
            self.found(Problem::Changed { seq });
        }
        if opened.missing_through >= seq {
            let recorded = opened.missing_through;
            self.found(Problem::Truncated {
                last: seq.saturating_sub(1),
                recorded,
            });
        }
        if opened.unchained > 0 {
            let seal: [u8; 32] = mem::take(&mut self.seal).finalize().into();
            if opened.unchained == self.report.unchained
                && opened.unchained_sha256.as_deref() == Some(&to_hex(&seal))
            {
                self.report.unsealed = 0;
            } else {
                self.found(Problem::SealBroken);
            }
        }
    }

    fn take_checkpoint(&mut self, checkpoint: &Checkpoint, seq: u64, before: (u64, ChainHash)) {
        let about = checkpoint.through == before.0 && checkpoint.head == before.1.to_string();
        match checkpoint.signer() {
            Some(key) if about && self.trusts(&key) => {
                self.report.keys.insert(key);
                self.report.checkpoints += 1;
                self.report.signed_through = Some(checkpoint.through);
                self.report.closed = checkpoint.closing;
            }
            Some(key) if about => self.found(Problem::UnknownKey { seq, key }),
            _ => self.found(Problem::BadSignature { seq }),
        }
    }
}

/// Longest line that is taken for one, bytes; records are far smaller.
const MAX_LINE: usize = 16 << 20;

#[cfg(test)]
mod tests;
