use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{
        PasswordHasher as _,
        phc::{Output, PasswordHash},
    },
};
use tokio::sync::Semaphore;

use super::passwords;
use crate::{Error, ErrorKind};

/// Where passwords are looked at: no more than two at once, each in memory that is kept.
///
/// Memory that is asked for and given back each time would be kept by the allocator for as many
/// threads as there are, and so be many times what two passwords need.
pub(super) struct PasswordHashes {
    places: Semaphore,
    free: Arc<Mutex<Vec<Vec<Block>>>>,
}

/// Passwords that are looked at at once; each takes 19 MiB, with the parameters that are ours.
const PLACES: usize = 2;
/// How long an attempt waits for a place.
const PATIENCE: Duration = Duration::from_secs(5);

impl PasswordHashes {
    pub(super) fn new() -> Self {
        Self {
            places: Semaphore::new(PLACES),
            free: Arc::default(),
        }
    }

    /// Whether `password` is the one that `against` was made of.
    ///
    /// # Errors
    ///
    /// `Exhausted` when too many wait.
    pub(super) async fn verify(&self, password: &str, against: String) -> Result<bool, Error> {
        let place = tokio::time::timeout(PATIENCE, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(passwords::wait(PATIENCE));
        };
        let (password, free) = (password.to_owned(), Arc::clone(&self.free));
        let right = tokio::task::spawn_blocking(move || {
            let taken = || free.lock().unwrap_or_else(PoisonError::into_inner);
            let mut memory = taken().pop().unwrap_or_default();
            let right = is_right(&password, &against, &mut memory);
            taken().push(memory);
            right
        });
        Ok(right.await.unwrap_or(false))
    }
}

impl fmt::Debug for PasswordHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordHashes").finish_non_exhaustive()
    }
}

/// Argon2id with the parameters that RFC 9106 §4 and OWASP name for small memory: 19 MiB, two
/// passes, one lane; in PHC format.
pub(super) fn hash(password: &str) -> Result<String, Error> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the password cannot be hashed")
                .with_source(error.to_string())
        })?;
    Ok(hash.to_string())
}

/// Whether `text` can be what [`hash`] made.
pub(super) fn is_hash(text: &str) -> bool {
    PasswordHash::new(text)
        .is_ok_and(|hash| hash.algorithm.as_str() == Algorithm::Argon2id.as_str())
}

fn is_right(password: &str, against: &str, memory: &mut Vec<Block>) -> bool {
    computed(password, against, memory).is_some_and(|(computed, expected)| computed == expected)
}

/// What the password comes to, and what it should; both compare in constant time.
fn computed(password: &str, against: &str, memory: &mut Vec<Block>) -> Option<(Output, Output)> {
    let hash = PasswordHash::new(against).ok()?;
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash
        .version
        .map_or(Ok(Version::default()), Version::try_from);
    let params = Params::try_from(&hash).ok()?;
    let (salt, expected) = (hash.salt?, hash.hash?);
    let needed = params.block_count();
    if memory.len() < needed {
        memory.resize(needed, Block::new());
    }
    let blocks = memory.get_mut(..needed)?;
    let mut output = vec![0; expected.len()];
    Argon2::new(algorithm, version.ok()?, params)
        .hash_password_into_with_memory(password.as_bytes(), &salt, &mut output, blocks)
        .ok()?;
    Some((Output::new(&output).ok()?, expected))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use argon2::{Argon2, password_hash::PasswordVerifier as _};

    use super::{PLACES, PasswordHashes, hash, is_hash, is_right};

    #[test]
    fn memory_that_was_used_before_changes_no_verdict() {
        let (ours, other) = (
            hash("correct horse").unwrap(),
            hash("battery staple").unwrap(),
        );
        // Other parameters than ours: another program's hash.
        let small = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAAAAAAAA";
        let mut memory = Vec::new();
        for _ in 0..2 {
            for (password, against, right) in [
                ("correct horse", ours.as_str(), true),
                ("battery staple", ours.as_str(), false),
                ("battery staple", other.as_str(), true),
                ("", ours.as_str(), false),
                ("correct horse", small, false),
                ("correct horse", "no hash", false),
                ("correct horse", "$argon2id$v=19$m=8,t=1,p=1", false),
            ] {
                assert_eq!(is_right(password, against, &mut memory), right, "{against}");
                let theirs = Argon2::default().verify_password(password.as_bytes(), against);
                assert_eq!(theirs.is_ok(), right, "{against}");
            }
        }
        assert!(is_hash(&ours) && !is_hash("no hash"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_crowd_shares_the_memory_of_two() {
        let hashes = PasswordHashes::new();
        let hash = hash("correct horse").unwrap();
        let crowd = (0..12).map(|_| hashes.verify("correct horse", hash.clone()));
        let told = futures::future::join_all(crowd).await;
        // Some of them may have waited for too long.
        assert!(told.iter().flatten().all(|right| *right));
        assert!(told.iter().any(Result::is_ok));
        assert!((1..=PLACES).contains(&hashes.free.lock().unwrap().len()));
    }
}
