#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a failed unwrap is a failed test"
)]

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;
use crate::audit::{Chain, SessionEnd, SigningKey};

fn key() -> SigningKey {
    SigningKey::from_seed(&[3; 32])
}

fn push(chain: &mut Chain, out: &mut Vec<u8>, kind: AuditKind) {
    let event = AuditEvent::new("2026-01-02T03:04:05Z", kind);
    chain.append(out, &serde_json::to_vec(&event).unwrap());
}

fn open(chain: &mut Chain, out: &mut Vec<u8>, more: TrailOpened) {
    let opened = TrailOpened {
        version: 1,
        key: key().public().to_string(),
        previous: chain.head().to_string(),
        ..more
    };
    push(chain, out, AuditKind::TrailOpened(opened));
}

fn end(number: i32) -> AuditKind {
    AuditKind::SessionEnd(SessionEnd {
        exit_status: Some(number),
        ..SessionEnd::default()
    })
}

fn checkpoint(chain: &mut Chain, out: &mut Vec<u8>, closing: bool) {
    let head = key().sign(chain.next_seq() - 1, chain.head());
    push(
        chain,
        out,
        AuditKind::Checkpoint(head.into_checkpoint(closing)),
    );
}

/// Two files: 1 opened, 2–7 records, 8 checkpoint; 9 opened, 10–12 records, 13 checkpoint.
fn trail() -> (Vec<Vec<u8>>, SignedHead) {
    static MADE: OnceLock<(Vec<Vec<u8>>, SignedHead)> = OnceLock::new();
    MADE.get_or_init(make_trail).clone()
}

fn make_trail() -> (Vec<Vec<u8>>, SignedHead) {
    let mut chain = Chain::new(1, ChainHash::START);
    let mut files = Vec::new();
    for records in [6, 3] {
        let mut file = Vec::new();
        open(&mut chain, &mut file, TrailOpened::default());
        for number in 0..records {
            push(&mut chain, &mut file, end(number));
        }
        checkpoint(&mut chain, &mut file, true);
        files.push(file);
    }
    let head = key().sign(chain.next_seq() - 1, chain.head());
    (files, head)
}

fn verify(files: &[Vec<u8>], head: Option<SignedHead>) -> (TrailReport, Vec<Finding>) {
    let mut verifier = TrailVerifier::new([key().public()], head);
    for file in files {
        verifier.begin_file();
        verifier.feed(file);
    }
    verifier.finish()
}

fn lines(file: &[u8]) -> Vec<Vec<u8>> {
    file.split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect()
}

/// What is found when the lines of the first file are changed by `change`.
fn found(change: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<(usize, u64, Problem)> {
    let (mut files, head) = trail();
    let mut changed = lines(&files[0]);
    change(&mut changed);
    files[0] = changed.concat();
    let (_, findings) = verify(&files, Some(head));
    findings
        .into_iter()
        .map(|it| (it.file, it.line, it.problem))
        .collect()
}

#[test]
fn an_untouched_trail_has_no_findings() {
    let (files, head) = trail();
    let (report, findings) = verify(&files, Some(head));
    assert_eq!(findings, []);
    assert_eq!(
        (report.records, report.first, report.checkpoints),
        (13, Some(1), 2)
    );
    assert_eq!(
        (report.signed_through, report.closed, report.torn_bytes),
        (Some(13), true, 0)
    );
    assert_eq!(report.keys, BTreeSet::from([key().public()]));
}

#[test]
fn each_thing_that_can_be_done_to_a_record_is_named() {
    let change = found(|lines| {
        let text = String::from_utf8(lines[3].clone()).unwrap();
        lines[3] = text
            .replace("\"exit_status\":2", "\"exit_status\":0")
            .into_bytes();
    });
    assert_eq!(change, [(0, 4, Problem::Changed { seq: 4 })]);
    let dropped = found(|lines| drop(lines.drain(2..5)));
    assert_eq!(dropped, [(0, 3, Problem::Missing { first: 3, last: 5 })]);
    let swap = found(|lines| lines.swap(3, 4));
    assert_eq!(swap, [(0, 5, Problem::Moved { seq: 4 })]);
    let repeat = found(|lines| lines.insert(5, lines[3].clone()));
    assert_eq!(repeat, [(0, 6, Problem::Repeated { seq: 4 })]);
    let foreign = found(|lines| lines.insert(2, b"hello\n".to_vec()));
    assert_eq!(foreign, [(0, 3, Problem::NoRecord)]);
    let unhashed = found(|lines| lines.insert(2, b"{\"seq\":3}\n".to_vec()));
    assert_eq!(unhashed, [(0, 3, Problem::Unchained { seq: 3 })]);
    let cut = found(|lines| drop(lines.drain(5..)));
    assert_eq!(cut, [(1, 1, Problem::Missing { first: 6, last: 8 })]);
    let torn = found(|lines| lines[7].truncate(30));
    assert_eq!(torn.first().unwrap(), &(0, 8, Problem::CutOff));
}

#[test]
fn a_shortened_trail_is_found_by_its_signed_head() {
    let (mut files, head) = trail();
    let kept = lines(&files[1]);
    files[1] = kept[..2].concat();
    let (report, findings) = verify(&files, Some(head.clone()));
    assert_eq!(report.last.unwrap().0, 10);
    let truncated = Problem::Truncated {
        last: 10,
        recorded: 13,
    };
    assert_eq!(
        findings,
        [Finding {
            file: 1,
            line: 0,
            problem: truncated
        }]
    );
    let (report, findings) = verify(&files, None);
    assert_eq!(
        (findings.len(), report.closed, report.signed_through),
        (0, false, Some(7))
    );
    let forged = SignedHead {
        through: 10,
        ..head
    };
    assert_eq!(verify(&files, Some(forged)).1[0].problem, Problem::BadHead);
}

#[test]
fn a_trail_that_somebody_else_hashed_anew_has_no_good_signature() {
    let (files, head) = trail();
    let mut chain = Chain::new(1, ChainHash::START);
    let mut forged = Vec::new();
    for line in lines(&files[0]) {
        let text = String::from_utf8(line).unwrap();
        let body = text.split(",\"hash\"").next().unwrap();
        let fields = body.split_once(',').unwrap().1;
        let event = format!(
            "{{{}}}",
            fields.replace("\"exit_status\":2", "\"exit_status\":0")
        );
        chain.append(&mut forged, event.as_bytes());
    }
    let (report, findings) = verify(&[forged], None);
    assert_eq!(report.records, 8);
    assert_eq!(findings[0].problem, Problem::BadSignature { seq: 8 });
    let other = SigningKey::from_seed(&[9; 32]).public();
    let mut verifier = TrailVerifier::new([other], Some(head));
    verifier.begin_file();
    verifier.feed(&files[0]);
    let problems: Vec<Problem> = verifier
        .finish()
        .1
        .into_iter()
        .map(|it| it.problem)
        .collect();
    let key = key().public();
    assert_eq!(
        problems,
        [Problem::UnknownKey { seq: 8, key }, Problem::BadHead]
    );
}

#[test]
fn later_files_alone_are_verified_from_their_own_head() {
    let (files, _) = trail();
    let (report, findings) = verify(&files[1..], None);
    assert_eq!(
        (findings.len(), report.first, report.records),
        (0, Some(9), 5)
    );
}

#[test]
fn records_of_before_the_chain_are_read_and_sealed() {
    let mut file = b"{\"seq\":1,\"a\":1}\n{\"seq\":2,\"a\":2}\n".to_vec();
    let (report, findings) = verify(&[file.clone()], None);
    assert_eq!(
        (report.unchained, report.unsealed, findings.len()),
        (2, 2, 0)
    );
    let seal: [u8; 32] = Sha256::digest(&file).into();
    let mut chain = Chain::new(3, ChainHash::START);
    let more = TrailOpened {
        unchained: 2,
        unchained_sha256: Some(to_hex(&seal)),
        ..TrailOpened::default()
    };
    open(&mut chain, &mut file, more);
    push(&mut chain, &mut file, end(0));
    let (report, findings) = verify(&[file.clone()], None);
    assert_eq!(findings, []);
    assert_eq!(
        (report.unchained, report.unsealed, report.records),
        (2, 0, 2)
    );
    let changed = String::from_utf8(file)
        .unwrap()
        .replace("\"a\":1", "\"a\":3")
        .into_bytes();
    let (_, findings) = verify(&[changed], None);
    assert_eq!(findings[0].problem, Problem::SealBroken);
}

proptest! {
    /// Any one byte changed, any cut: found, or said to be torn. And however it is fed, the same.
    #[test]
    fn no_byte_changes_unseen(file in 0..2_usize, at in any::<prop::sample::Index>(),
                              other in 1_u8.., cut in any::<bool>(), piece in 1..90_usize) {
        let (mut files, head) = trail();
        let at = at.index(files[file].len());
        if cut {
            files[file].truncate(at);
        } else {
            files[file][at] ^= other;
        }
        let (report, findings) = verify(&files, Some(head.clone()));
        prop_assert!(!findings.is_empty(), "{report:?}");
        let mut verifier = TrailVerifier::new([key().public()], Some(head));
        for file in &files {
            verifier.begin_file();
            file.chunks(piece).for_each(|piece| verifier.feed(piece));
        }
        prop_assert_eq!(verifier.finish(), (report, findings));
    }

    /// A trail whose tail is dropped, whole lines or not, is found to be short by its head.
    #[test]
    fn no_end_is_dropped_unseen(at in any::<prop::sample::Index>()) {
        let (files, head) = trail();
        let mut all = files.concat();
        all.truncate(at.index(all.len()));
        prop_assert!(!verify(&[all], Some(head)).1.is_empty());
    }

    /// No bytes panic.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = verify(&[bytes.clone(), bytes], None);
    }
}
