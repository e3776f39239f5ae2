//! The audit trail: serialising, chaining, signing and verifying records on one core, beside plain SHA-256 over
//! the same bytes in the same run; and the file sink with many sessions at once, beside writing
//! and syncing the same bytes.

#![expect(
    clippy::expect_used,
    reason = "a bench that cannot run fails by panicking"
)]

use std::{fs::File, hint::black_box, io::Write as _, sync::Arc, time::Instant};

use criterion::{Criterion, Throughput};
use dockin_benches::{Ratio, median, report};
use dockin_core::audit::{AuditSink as _, FileSink};
use dockin_policy::audit::{
    AuditEvent, AuditKind, Chain, ChainHash, Command, EventPrincipal, EventTarget, SigningKey,
    TrailOpened, TrailVerifier,
};
use sha2::{Digest as _, Sha256};

/// Records of one trail.
const RECORDS: u64 = 100_000;
/// Records between two checkpoints, as the file sink makes them.
const CHECKPOINT: u64 = 10_000;
/// Different events, made beforehand.
const EVENTS: u64 = 1000;
/// Rounds, each with every contestant once.
const ROUNDS: usize = 9;
/// Sessions that write at once, and what each writes.
const SESSIONS: u64 = 512;
const PER_SESSION: u64 = 40;

fn main() {
    let events: Vec<AuditEvent> = (0..EVENTS).map(event).collect();
    let trail = append(&events, RECORDS);
    let bodies: Vec<Vec<u8>> = trail
        .split_inclusive(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    #[expect(clippy::cast_precision_loss, reason = "small enough")]
    let (records, bytes) = (RECORDS as f64, trail.len() as f64);
    eprintln!("a record has {:.0} bytes", bytes / records);
    let mut appended = Vec::new();
    let mut hashed_each = Vec::new();
    let mut verified = Vec::new();
    let mut hashed_all = Vec::new();
    let mut kept = Vec::new();
    let mut synced = Vec::new();
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        appended.push(records / 1e6 / timed(|| drop(black_box(append(&events, RECORDS)))));
        hashed_each.push(
            records
                / 1e6
                / timed(|| {
                    for body in &bodies {
                        black_box(Sha256::digest(body));
                    }
                }),
        );
        verified.push(bytes / 1e9 / timed(|| verify(&trail)));
        hashed_all.push(
            bytes
                / 1e9
                / timed(|| {
                    black_box(Sha256::digest(&trail));
                }),
        );
        if round % 3 == 0 {
            let (sink, floor) = to_disk();
            kept.push(sink);
            synced.push(floor);
        }
    }
    let (append_rate, verify_rate) = (median(appended), median(verified));
    let ratio = |what: &str, measured, floor, unit, must, aim| Ratio {
        what: what.to_owned(),
        measured,
        floor,
        unit,
        more_is_better: true,
        must,
        aim,
    };
    report(
        "audit_append",
        &[
            ratio(
                "append and chain, of 0.5 million records a second",
                append_rate,
                0.5,
                "M/s",
                Some(1.0),
                Some(2.0),
            ),
            ratio(
                "append and chain, of SHA-256 of each line alone",
                append_rate,
                median(hashed_each),
                "M/s",
                None,
                None,
            ),
            ratio(
                "verify, of 1 GB a second",
                verify_rate,
                1.0,
                "GB/s",
                Some(1.0),
                Some(1.5),
            ),
            ratio(
                "verify, of one SHA-256 over all bytes",
                verify_rate,
                median(hashed_all),
                "GB/s",
                None,
                None,
            ),
            ratio(
                "file sink, 512 sessions, of writing and syncing",
                median(kept),
                median(synced),
                "k/s",
                None,
                None,
            ),
        ],
    );

    let mut criterion = Criterion::default().configure_from_args().sample_size(10);
    let mut group = criterion.benchmark_group("audit");
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("append", |bencher| {
        bencher.iter(|| append(&events, RECORDS))
    });
    group.throughput(Throughput::Bytes(trail.len() as u64));
    group.bench_function("verify", |bencher| bencher.iter(|| verify(&trail)));
    group.finish();
    criterion.final_summary();
}

fn timed(work: impl FnOnce()) -> f64 {
    let begun = Instant::now();
    work();
    begun.elapsed().as_secs_f64()
}

/// A judged line of a session, as a gateway writes it down.
fn event(number: u64) -> AuditEvent {
    let command = Command {
        line: Some(format!("grep -rn 'needle {number}' /var/log | head -20")),
        decision: "allow".to_owned(),
        reason: "no rule forbids it".to_owned(),
        programs: Some(vec![
            vec![
                "grep".to_owned(),
                "-rn".to_owned(),
                format!("needle {number}"),
                "/var/log".to_owned(),
            ],
            vec!["head".to_owned(), "-20".to_owned()],
        ]),
        confidence: Some("sure".to_owned()),
        source: Some("keys".to_owned()),
        ..Command::default()
    };
    AuditEvent::new(
        "2026-11-21T05:21:06.123456789Z",
        AuditKind::CommandVerdict(command),
    )
    .with_session("01a1fd69-8291-7166-b82f-c5b26ba5fe02")
    .with_principal(EventPrincipal {
        user: "alice".to_owned(),
        groups: vec!["dev".to_owned()],
        ..EventPrincipal::default()
    })
    .with_client("192.0.2.17:40312")
    .with_target(EventTarget {
        cluster: "local".to_owned(),
        namespace: "default".to_owned(),
        pod: "web-0".to_owned(),
        container: "app".to_owned(),
    })
}

/// Serialises, chains and signs so many records.
fn append(events: &[AuditEvent], records: u64) -> Vec<u8> {
    let key = SigningKey::from_seed(&[1; 32]);
    let mut chain = Chain::new(1, ChainHash::START);
    let mut trail = Vec::with_capacity(usize::try_from(records * 800).expect("small"));
    let mut json = Vec::new();
    let mut push = |chain: &mut Chain, trail: &mut Vec<u8>, event: &AuditEvent| {
        json.clear();
        serde_json::to_writer(&mut json, event).expect("JSON");
        chain.append(trail, &json);
    };
    let opened = TrailOpened {
        version: 1,
        key: key.public().to_string(),
        previous: chain.head().to_string(),
        ..TrailOpened::default()
    };
    let time = "2026-11-21T05:21:06Z";
    push(
        &mut chain,
        &mut trail,
        &AuditEvent::new(time, AuditKind::TrailOpened(opened)),
    );
    for (number, event) in (1..records).zip(events.iter().cycle()) {
        push(&mut chain, &mut trail, event);
        if number % CHECKPOINT == 0 {
            let head = key
                .sign(chain.next_seq() - 1, chain.head())
                .into_checkpoint(false);
            push(
                &mut chain,
                &mut trail,
                &AuditEvent::new(time, AuditKind::Checkpoint(head)),
            );
        }
    }
    trail
}

fn verify(trail: &[u8]) {
    let mut verifier = TrailVerifier::new([SigningKey::from_seed(&[1; 32]).public()], None);
    verifier.begin_file();
    trail.chunks(1 << 20).for_each(|piece| verifier.feed(piece));
    let (report, findings) = verifier.finish();
    assert!(
        findings.is_empty() && report.records >= RECORDS,
        "{report:?}"
    );
}

/// Thousands of records a second that a file sink acknowledges, and that plain writing with one
/// sync for every full house would reach.
fn to_disk() -> (f64, f64) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let path = folder.path().join("audit.jsonl");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let sink = Arc::new(FileSink::open(&path).expect("a trail"));
    let taken = timed(|| {
        runtime.block_on(async {
            let tasks: Vec<_> = (0..SESSIONS)
                .map(|session| {
                    let sink = Arc::clone(&sink);
                    tokio::spawn(async move {
                        for number in 0..PER_SESSION {
                            sink.append(event(session + number)).await.expect("written");
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("a session");
            }
        });
    });
    drop(sink);
    let written = std::fs::read(&path).expect("the trail");
    let mut file = File::create(folder.path().join("plain")).expect("a file");
    let piece = written.len() / usize::try_from(PER_SESSION).expect("small") + 1;
    let floor = timed(|| {
        for bytes in written.chunks(piece) {
            file.write_all(bytes).expect("written");
            file.sync_data().expect("synced");
        }
    });
    #[expect(clippy::cast_precision_loss, reason = "small enough")]
    let records = (SESSIONS * PER_SESSION) as f64 / 1e3;
    (records / taken, records / floor)
}
