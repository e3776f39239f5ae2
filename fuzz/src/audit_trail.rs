use std::sync::OnceLock;

use dockin_policy::audit::{
    AuditEvent, AuditKind, Chain, ChainHash, Finding, SessionEnd, SignedHead, SigningKey,
    TrailOpened, TrailReport, TrailVerifier,
};

use crate::cut::pieces;

/// A trail of records that somebody may have changed.
///
/// The first byte says how the rest is cut, the next three what is done to a good trail: which
/// byte is changed, and how. Any bytes are read without a panic and the same however they are
/// cut; a good trail has no findings; a byte changed in it never goes unseen.
///
/// # Panics
///
/// A law is broken.
pub fn audit_trail(data: &[u8]) {
    let [seed, high, low, other, rest @ ..] = data else {
        return;
    };
    let (trail, head) = good();
    let whole = verify(rest, None, 0);
    assert_eq!(verify(rest, None, (*seed).max(1)), whole, "cut differently");
    // What follows a good trail is found, or is a line that has no end.
    let longer = [trail.as_slice(), rest].concat();
    let (report, findings) = verify(&longer, Some(head.clone()), *seed);
    if !rest.is_empty() {
        assert!(!findings.is_empty() || report.torn_bytes > 0 || report.records > RECORDS);
    }

    assert_eq!(verify(trail, Some(head.clone()), *seed).1, []);
    let at = usize::from(u16::from_be_bytes([*high, *low])) % trail.len();
    let mut changed = trail.clone();
    if let Some(byte) = changed.get_mut(at) {
        *byte ^= (*other).max(1);
    }
    let (_, findings) = verify(&changed, Some(head.clone()), *seed);
    assert!(!findings.is_empty(), "byte {at} changed unseen");
    changed.truncate(at);
    let (_, findings) = verify(&changed, Some(head.clone()), *seed);
    assert!(!findings.is_empty(), "cut at {at} unseen");
}

const RECORDS: u64 = 8;

/// The trail is made once: signing takes longer than all the rest.
fn good() -> &'static (Vec<u8>, SignedHead) {
    static GOOD: OnceLock<(Vec<u8>, SignedHead)> = OnceLock::new();
    GOOD.get_or_init(|| {
        let key = SigningKey::from_seed(&[7; 32]);
        let mut chain = Chain::new(1, ChainHash::START);
        let mut trail = Vec::new();
        let mut push = |chain: &mut Chain, kind| {
            let event = AuditEvent::new("2026-01-02T03:04:05Z", kind);
            let json = serde_json::to_vec(&event).unwrap_or_default();
            chain.append(&mut trail, &json);
        };
        let opened = TrailOpened {
            version: 1,
            key: key.public().to_string(),
            previous: chain.head().to_string(),
            ..TrailOpened::default()
        };
        push(&mut chain, AuditKind::TrailOpened(opened));
        for _ in 0..RECORDS - 2 {
            push(&mut chain, AuditKind::SessionEnd(SessionEnd::default()));
        }
        let head = key.sign(chain.next_seq() - 1, chain.head());
        push(
            &mut chain,
            AuditKind::Checkpoint(head.into_checkpoint(true)),
        );
        let head = key.sign(chain.next_seq() - 1, chain.head());
        (trail, head)
    })
}

fn verify(bytes: &[u8], head: Option<SignedHead>, seed: u8) -> (TrailReport, Vec<Finding>) {
    let mut verifier = TrailVerifier::new([], head);
    verifier.begin_file();
    if seed == 0 {
        verifier.feed(bytes);
    } else {
        pieces(bytes, seed).for_each(|piece| verifier.feed(piece));
    }
    verifier.finish()
}
